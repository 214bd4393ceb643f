"""Where does a window lie among the others, what lies between two, and how unusual is it? An autoencoder that can tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from data.dataset import Dataset
from data.windows import NORMAL, Windows
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, device_of, seal
from generators.series._aside import aside, p_values, threshold
from generators.series._facts import Facts, Given
from generators.series._planes import AT_ONCE, Layout, asked_as, like, planes
from generators.series._scale import Scale
from generators.series._vae_latents import Latents
from generators.series._vae_net import Net
from generators.series._vae_noise import Noise
from generators.series._vae_score import Scorer, measured
from generators.tabular._density_train import Training, learn, rules_of, seeded
from generators.tabular._table import at_least, at_most, mark_of, one_thread, open_model, rng_of, write_json

__all__ = ["VAE"]

Array = np.ndarray
WEIGHTS, STATE = "weights.pt", "state.json"
EPOCHS = 30
#: Windows set aside from training that are enough to say how far off normal ones are.
FRESH = 20


@dataclass
class VAE:
    """A conditional variational autoencoder of windows: convolutions, noise that is learned, and an anomaly score.

    What it draws is a smooth course, whose point is drawn from a density fitted to those of its class, and noise with the
    memory and the quantiles of what the decoder leaves (_vae_noise.py). Sharp steps at places that vary come out blunt. Take it
    for the latent space (`encode`, `decode`, `interpolate`, `reconstruct`), for `score`, and as the bar that sharper families
    must pass.

    Sources: Kingma and Welling 2014; Rybkin et al. 2021 (the noise is learned, which settles beta); Kingma et al. 2016 (free
    bits); Ghosh et al. 2020 (a density of the points, fitted after training); Vovk et al. 2005 (the threshold).

    Fields:
        epochs: passes over the training windows; left out, EPOCHS, or as many as make `min_steps` steps.
        batch_size: windows a step; of few windows a sixteenth, at least 32.
        width: channels of the finest stage; coarser ones have twice as many. latent: numbers that a window is put into.
        beta: weight of the divergence from the prior. free_nats: divergence of each latent number that costs nothing.
        warmup: share of the training in which the divergence comes to its weight.
        noise: whether drawn windows get noise; without it they are what the decoder expects.
        normal: the class that `score` refers to; left out, NORMAL where there is a class of that name, else the most frequent.
        calibration: share of the normal windows that are kept from training, by which scores become chances; 0 for none. Of
            fewer than 20 none are.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay.
        ema: the share of the moving average of the weights that is kept each step.
        held_out: share of the rest that is set aside to see when to stop. patience: looks (there are 20) without a better
            figure that end it.
        checkpoint_seconds: how often the state is written while training. device: "auto", "cpu", "cuda"."""

    modality: ClassVar[str] = "series"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="VAE",
        rows=50,
        rows_of_class=5,
        latent=True,
        scores=True,
        fails=("blur", "privacy"),
    )

    epochs: int | None = None
    min_steps: int = 1500
    batch_size: int = 32
    width: int = 32
    latent: int = 24
    beta: float = 1.0
    free_nats: float = 0.02
    warmup: float = 0.2
    noise: bool = True
    normal: str | None = None
    calibration: float = 0.2
    learning_rate: float = 2e-3
    decay: float = 0.01
    ema: float = 0.99
    held_out: float = 0.1
    patience: int = 6
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one. Raises GeneratorError for rows of a table, no window,
        a setting that makes no sense, or a loss that stops being a number."""
        self._check()
        device = device_of(self.device)
        self.facts_, held = Facts.of(train)
        self.normal_ = self._normal()
        self.scale_ = Scale.of(held)
        self._blank(seed)
        kept, out = aside(held, held.labels == self.normal_, self.calibration, rng_of(seed, 41))
        with one_thread():
            training = self._training(held.take(kept), self.facts_.about[kept], seed, device)
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
            self.net_ = training.average.eval()
            self.net_.load_state_dict(training.best)
            self._settle(held, kept, out, training, seed)
        self.net_ = self.net_.cpu()
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` windows in batches of at most 256; without missing readings.

        Raises GeneratorError for a condition on anything but the class and the attributes, or on what cannot be."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def encode(self, dataset: Dataset) -> Array:
        """Points (n, latent) float32 of windows, the means of their distributions, as of the normal class.

        Raises GeneratorError for windows of other channels, or longer ones, than were learned."""
        return np.asarray(self._points(*self._looked_at(dataset)).numpy())

    def decode(self, points: Array, given: Given | None = None) -> Array:
        """What is expected of windows at points (n, latent): (n, channels, longest) float32, without noise.

        given: class, attributes and length of each; left out, the normal class's usual ones."""
        given = given or self._usual(len(points))
        mean, _ = self._read(torch.as_tensor(points, dtype=torch.float32), torch.from_numpy(given.about))
        return self._cut(self.scale_.back(self._levels(mean, None).numpy()), given.lengths)

    def reconstruct(self, dataset: Dataset) -> Array:
        """Windows put into points and read back, as of the normal class: (n, channels, longest) float32."""
        held = like(self.facts_, dataset)
        return self.decode(self.encode(dataset), asked_as(self.facts_, held, self.normal_))

    def interpolate(self, ends: Dataset, steps: int) -> Array:
        """From the first of two windows to the second, in `steps` windows with the ends read back: (steps, channels, longest)
        float32. Raises GeneratorError for other than two windows, or less than two steps."""
        if steps < 2 or ends.num_rows != 2:
            raise GeneratorError(f"interpolate: give 2 windows and 2 steps or more, not {ends.num_rows} and {steps}")
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        points = self.encode(ends)
        return self.decode((1 - share) * points[0] + share * points[1])

    def score(self, dataset: Dataset) -> Array:
        """How unusual each window is beside the normal ones: (n,) float64, higher is more unusual (_vae_score.py).

        Raises GeneratorError for windows of other channels, or longer ones, than were learned."""
        return self._scored(*self._looked_at(dataset))

    def p_value(self, dataset: Dataset) -> Array:
        """The chance that a normal window scores as high: (n,), valid for windows exchangeable with those set aside; for
        windows of one course of time nearly so. Without any set aside it is 1."""
        return p_values(self.calibration_, self.score(dataset))

    def threshold_(self, false_alarm: float = 0.01) -> float:
        """The score beyond which at most this share of fresh normal windows lies, in the mean over what was set aside.

        Raises GeneratorError where too few windows were set aside to promise that: `false_alarms_` is the least share."""
        return threshold(self.calibration_, false_alarm)

    @property
    def false_alarms_(self) -> float:
        """The least share of false alarms for which there is a threshold."""
        return 1 / (len(self.calibration_) + 1)

    def save(self, folder: Path) -> None:
        """Write weights and envelope. They hold no readings, but the points of training windows."""
        folder.mkdir(parents=True, exist_ok=True)
        self.facts_.save(folder)
        held = {f"{name}.{k}": v.cpu() for name, part in self._parts().items() for k, v in part.state_dict().items()}
        torch.save(held | {"calibration": torch.from_numpy(self.calibration_)}, folder / WEIGHTS)
        write_json(folder / STATE, {"scale": self.scale_.to_json(), "normal": self.normal_})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        family.facts_ = Facts.load(folder)
        state = json.loads((folder / STATE).read_text())
        family.scale_, family.normal_ = Scale.from_json(state["scale"]), state["normal"]
        family._blank(0)
        weights = stored.weights(folder / WEIGHTS)
        family.calibration_ = weights.pop("calibration").numpy()
        for name, part in family._parts().items():
            part.load_state_dict({k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")})
        family.net_.eval()
        return family

    def _check(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "width", "latent", "patience")
        at_least(self, 0, "min_steps", "decay", "learning_rate", "beta", "free_nats")
        at_most(self, warmup=1.0, ema=0.99999, held_out=0.5, calibration=0.9)

    def _normal(self) -> int:
        """The label of the normal class. Raises GeneratorError where the setting names none of train's."""
        classes, counts = self.facts_.classes, np.bincount(self.facts_.labels)
        seen = [name for k, name in enumerate(classes) if k < len(counts) and counts[k]]
        if self.normal is not None:
            if self.normal not in seen:
                what = f"the classes are {', '.join(seen)}" if seen else "windows here have no class; leave it out"
                raise GeneratorError(f"generator.normal: there are no training windows of class {self.normal!r}; {what}")
            return classes.index(self.normal)
        return classes.index(NORMAL) if NORMAL in seen else int(counts.argmax())

    def _blank(self, seed: int) -> None:
        """Parts of the right shapes that have learned nothing."""
        self.layout_ = Layout.of(self.facts_, self.scale_)
        classes = max(len(self.facts_.classes), 1)
        with seeded(int(rng_of(seed, 42).integers(2**31)), torch.device("cpu")):
            self.net_ = Net(self.layout_, self.width, self.latent, self.beta, self.free_nats, self.warmup)
        self.latents_, self.noise_ = Latents(classes, self.latent), Noise(classes, len(self.layout_.numbers))
        self.scorer_ = Scorer(self.layout_)
        self.calibration_ = np.zeros(0)

    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"net": self.net_, "latents": self.latents_, "noise": self.noise_, "scorer": self.scorer_}

    def _training(self, held: Windows, about: Array, seed: int, device: torch.device) -> Training[Net]:
        rows = [*planes(self.layout_, self.scale_, held.values), torch.from_numpy(about)]
        label = torch.from_numpy(held.labels) if held.classes else None
        return Training(self.net_.to(device), [row.to(device) for row in rows], label, rules_of(self, EPOCHS, seed))

    @torch.no_grad()
    def _settle(self, held: Windows, kept: Array, out: Array, training: Training[Net], seed: int) -> None:
        """What follows from the trained network: where points lie, what noise is, how normal windows score."""
        x, known = planes(self.layout_, self.scale_, held.values)
        about, labels = torch.from_numpy(self.facts_.about), torch.from_numpy(held.labels)
        mean, spread = self._encoded(x, known, about)
        chance = torch.Generator().manual_seed(int(rng_of(seed, 43).integers(2**31)))
        self.latents_.learn(mean[kept], spread[kept], labels[kept], chance)
        numbers = self.layout_.numbers
        guess, around = self._read(mean, about)
        left = (x[:, numbers] - guess[:, numbers]) * (-around).exp()
        self.noise_.learn(left[kept], known[kept][:, numbers], labels[kept])
        # Windows that had no part in the training say how far off normal ones are.
        fresh = kept[training.dealt_out[: len(training.held[0])]]
        fresh = fresh[held.labels[fresh] == self.normal_]
        usual = fresh if len(fresh) >= FRESH else kept[held.labels[kept] == self.normal_]
        own = torch.from_numpy(asked_as(self.facts_, held, self.normal_).about)
        self.scorer_.learn(self._measured(x[usual], known[usual], own[usual]))
        if len(out):
            self.calibration_ = np.sort(self._scored(x[out], known[out], own[out]))

    def _draw(self, given: Given, rng: np.random.Generator) -> Array:
        chance = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
        labels, longest = torch.from_numpy(given.labels), int(given.lengths.max(initial=1))
        mean, around = self._read(self.latents_.drawn(labels, chance), torch.from_numpy(given.about))
        if self.noise and self.layout_.numbers:
            own = self.noise_.drawn(labels, longest, chance)
            mean[:, self.layout_.numbers, :longest] += around.exp()[:, :, :longest] * own
        return self.scale_.back(self._levels(mean[:, :, :longest], chance).numpy())

    def _levels(self, mean: Tensor, chance: torch.Generator | None) -> Tensor:
        """Logits of levels as planes whose greatest is the level; with chance one that is drawn, by one number for a whole
        window: a level lasts, and changes where its chance goes by that number."""
        out = mean.clone()
        for a, b in self.layout_.levels:
            if chance is None:
                continue
            upto = torch.softmax(mean[:, a:b], dim=1).cumsum(dim=1)
            at = torch.rand(len(mean), 1, 1, generator=chance)
            which = (upto[:, :-1] <= at).sum(dim=1)
            out[:, a:b] = F.one_hot(which, b - a).movedim(2, 1).to(out)
        return out

    def _looked_at(self, dataset: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        held = like(self.facts_, dataset)
        given = asked_as(self.facts_, held, self.normal_)
        return *planes(self.layout_, self.scale_, held.values), torch.from_numpy(given.about)

    def _usual(self, n: int) -> Given:
        own = np.flatnonzero(self.facts_.labels == self.normal_)
        about = np.repeat(self.facts_.about[own].mean(axis=0, keepdims=True), n, axis=0).astype(np.float32)
        return Given(np.full(n, self.normal_), about, np.full(n, self.facts_.longest))

    def _cut(self, values: Array, lengths: Array) -> Array:
        values = values[:, :, : self.facts_.longest]
        return np.where(np.arange(values.shape[2])[None, None] < lengths[:, None, None], values, np.nan).astype(np.float32)

    def _points(self, x: Tensor, known: Tensor, about: Tensor) -> Tensor:
        return self._encoded(x, known, about)[0]

    @torch.no_grad()
    def _encoded(self, x: Tensor, known: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log deviations of points, (n, latent) each, on the CPU."""
        net, device = self._net()
        found = [net.encoder(*(p.to(device) for p in part)) for part in _parted(x, known, about)]
        return torch.cat([m.cpu() for m, _ in found]), torch.cat([s.cpu() for _, s in found])

    @torch.no_grad()
    def _read(self, points: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
        """(n, latent), (n, d) -> (n, planes, side), (n, planes of numbers, side) on the CPU."""
        net, device = self._net()
        found = [net.decoder(*(p.to(device) for p in part)) for part in _parted(points, about)]
        return torch.cat([m.cpu() for m, _ in found]), torch.cat([s.cpu() for _, s in found])

    def _net(self) -> tuple[Net, torch.device]:
        device = device_of(self.device)
        return self.net_.to(device), device

    @torch.no_grad()
    def _measured(self, x: Tensor, known: Tensor, about: Tensor) -> Tensor:
        net, _ = self._net()
        found = [measured(net, self.latents_, self.noise_, self.normal_, *part) for part in _parted(x, known, about)]
        return torch.cat(found)

    def _scored(self, x: Tensor, known: Tensor, about: Tensor) -> Array:
        with one_thread():
            return np.asarray(self.scorer_.together(self._measured(x, known, about)).numpy())


def _parted(*rows: Tensor) -> list[tuple[Tensor, ...]]:
    """Some windows at a time, of at least one part."""
    return list(zip(*(torch.split(row, AT_ONCE) for row in rows), strict=True))
