"""Where does a picture lie among the others, what lies between two, and how unusual is it? An autoencoder that can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from data.dataset import Dataset
from data.images import Pictures, chunks
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal, unseal
from generators.image._loop import Precision, Rules, grid, train
from generators.image._normals import class_normals, draws
from generators.image._pictures import (
    Facts,
    balanced,
    fingerprint,
    learned,
    read_json,
    to_bytes,
    to_unit,
    torch_seed,
    write_json,
)
from generators.image._vae_net import Layout, Pair
from generators.image._vae_score import Scorer
from generators.image._vae_texture import Texture
from generators.image._vae_train import PAIR, Lesson, Lessons

__all__ = ["VAE"]

Array = np.ndarray
WEIGHTS = "weights.pt"
STATE = "state.json"
#: Looks in a training, unless `look_every` says otherwise.
LOOKS = 6
#: Pictures that go through the networks at once.
AT_ONCE = 64
#: Logit below the likeliest pixel of a mask down to which pixels are marked, where no mask is empty.
FAINT = 1.0


@dataclass
class VAE:
    """A class-conditional variational autoencoder of pictures of 8 to 512 pixels, with an anomaly score.

    Quick, never collapsed, and blurry: what it draws has the light, the layout and, as noise of the right spectrum, the
    grain of the real pictures, but no sharp detail; small defects come out faint. Take it for what the latent space is good
    for (`encode`, `decode`, `interpolate`, `reconstruct`), for `score`, and as the bar that sharper families must pass.

    Sources: Kingma and Welling 2014; Higgins et al. 2017 (beta); Kingma et al. 2016 (free bits); Rybkin et al. 2021 (the width
    of the error that fits best, so that beta 1 suits every set); Charbonnier et al. 1994 (the error); Ghosh et al. 2020
    (samples come from a normal distribution fitted to the latents of each class after training).

    Fields:
        steps: updates; left out, they follow from the number of pictures: 1,000 and two for each, at most 20,000.
        batch_size: pictures a step. width: channels of the finest stage; each coarser one has twice as many, up to four times.
        latent: numbers that a picture is put into.
        beta: weight of the divergence from the prior; below 1 sharper and less smooth a space, above 1 the reverse.
        free_nats: divergence of each latent number that costs nothing, so that it is used at all.
        warmup: share of the steps in which the weight of the divergence rises to beta.
        texture: whether drawn pictures get grain.
        balance: 1 shows all classes equally often, 0 as often as they come.
        normal: the class of good parts that `score` refers to; left out, the one named as good parts are, or whose masks are
            all empty, or else all pictures.
        learning_rate: of AdamW. ema: the share of the weights' moving average that is kept each step.
        look_every: steps between two grids of samples beside the checkpoint; left out, there are six.
        precision: "bf16" for the forward pass in bfloat16, "no", "auto" for bf16 on a GPU that can.
        checkpoint_seconds: how often the state is written while training. device: "auto", "cpu", "cuda".
    """

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="VAE",
        rows=20,
        rows_of_class=5,
        latent=True,
        scores=True,
        fails=("blur", "diversity"),
    )

    steps: int | None = None
    batch_size: int = 16
    width: int = 32
    latent: int = 64
    beta: float = 1.0
    free_nats: float = 0.02
    warmup: float = 0.2
    texture: bool = True
    balance: float = 0.75
    normal: str | None = None
    learning_rate: float = 1e-3
    ema: float = 0.995
    look_every: int | None = None
    precision: Precision = "auto"
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one. Raises GeneratorError for rows of a table, no
        pictures, a setting that makes no sense, or a loss that stops being a number."""
        self._check()
        known = learned(train)
        self.facts_ = Facts.of(known, self.normal)
        self.masked_ = bool(known.masked.any())
        self.marked_ = tuple(_marked(known, k) for k in range(len(known.classes)))
        self._train(known, seed, progress, checkpoint, fingerprint(train, self, seed) if checkpoint else "")
        self._settle(known, seed)
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures in batches of at most 256, with masks where train had some.

        Raises GeneratorError for a condition on anything but the class, or a class that was not learned."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def encode(self, pictures: Array) -> Array:
        """Latents (n, latent) float32 of pictures (n, h, w, c) uint8, the means of their distributions.

        Raises GeneratorError for pictures of another size or mode than was learned."""
        return np.asarray(self._means(self._fitting(pictures)).numpy())

    def decode(self, latents: Array, labels: Array) -> Array:
        """Pictures (n, h, w, c) uint8 of latents (n, latent), read for classes: labels (n,) int64, or (n, k) weights."""
        return to_bytes(self._read(torch.as_tensor(latents), self._weights(labels))[:, : self.facts_.channels])

    def reconstruct(self, pictures: Array, labels: Array | None = None) -> Array:
        """Pictures (n, h, w, c) uint8 put into latents and read back as of their classes, or as of the normal class."""
        if labels is None:
            labels = np.full(len(pictures), self._reference())
        return self.decode(self.encode(pictures), labels)

    def interpolate(self, a: Array, b: Array, steps: int, *, of: tuple[str, str] | None = None) -> Array:
        """From picture a to picture b, (h, w, c) uint8 each, in `steps` pictures (steps, h, w, c), the ends read back.

        of: the classes of a and b; left out, both are read as of the normal class. Raises GeneratorError for less than two
        steps or an unknown class."""
        if steps < 2:
            raise GeneratorError(f"interpolate: {steps} steps do not lead from one picture to another; ask for 2 or more")
        ends = [self._reference()] * 2 if of is None else [self.facts_.label({"class": name}) for name in of]
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        latents = self.encode(np.stack([a, b]))
        weights = np.eye(len(self.facts_.classes), dtype=np.float32)[np.array(ends, dtype=np.int64)]
        return self.decode((1 - share) * latents[0] + share * latents[1], (1 - share) * weights[0] + share * weights[1])

    def score(self, dataset: Dataset) -> Array:
        """How unusual each picture is beside the normal class: (n,) float, higher is more unusual.

        Raises GeneratorError for pictures of another size or mode than was learned."""
        pixels = self._fitting(learned(dataset).pixels)
        return self.scorer_.score(pixels, self._lacking(pixels))

    def save(self, folder: Path) -> None:
        """Write the weights and the envelope. They hold small patches of normal pictures, which `score` compares with."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"{name}.{k}": v.cpu() for name, part in self._parts().items() for k, v in part.state_dict().items()}
        torch.save(weights, folder / WEIGHTS)
        write_json(folder / STATE, {"facts": self.facts_.to_json(), "masked": self.masked_, "marked": self.marked_})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**unseal(folder)["settings"])
        state = read_json(folder / STATE)
        family.facts_ = Facts.from_json(state["facts"])
        family.masked_, family.marked_ = state["masked"], tuple(state["marked"])
        weights = stored.weights(folder / WEIGHTS)
        family._blank(0)
        for name, part in family._parts().items():
            own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
            part.load_state_dict(own)
        return family

    def _check(self) -> None:
        for name in ("steps", "batch_size", "width", "latent", "look_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is less than 1; leave it out for the default")
        for name in ("beta", "free_nats", "warmup"):
            if getattr(self, name) < 0:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is less than 0; leave it out for the default")
        if not 0 <= self.ema < 1:
            raise GeneratorError(f"generator.ema: {self.ema} is not in [0, 1); use 0.995")
        if self.learning_rate <= 0:
            raise GeneratorError(f"generator.learning_rate: {self.learning_rate} is not above 0; use 1e-3")

    def _blank(self, seed: int) -> None:
        """Parts of the right shapes that have learned nothing."""
        facts = self.facts_
        layout = Layout(facts.size, facts.channels, self.masked_, len(facts.classes), self.width, self.latent)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            self.pair_ = Pair(layout)
        self.latents_ = Latents(len(facts.classes), self.latent)
        self.texture_ = Texture(facts.channels, layout.side)
        self.scorer_ = Scorer(facts.channels)

    def _parts(self) -> dict[str, torch.nn.Module]:
        return {PAIR: self.pair_, "latents": self.latents_, "texture": self.texture_, "scorer": self.scorer_}

    def _train(self, known: Pictures, seed: int, progress: Progress, checkpoint: Path | None, mark: str) -> None:
        steps = self.steps or min(20_000, 1000 + 2 * len(known))
        self._blank(seed)
        data = {
            "pixels": torch.from_numpy(known.pixels), "masks": torch.from_numpy(known.masks),
            "labels": torch.from_numpy(known.labels), "known": torch.from_numpy(known.masked),
        }  # fmt: skip
        beside = known.pixels[:: -(-len(known) // 8)], known.labels[:: -(-len(known) // 8)]

        def show(average: torch.nn.Module, device: torch.device) -> Array:
            self.pair_ = average  # type: ignore[assignment]
            return grid(np.concatenate([beside[0], self.reconstruct(*beside)]), columns=len(beside[0]))

        lesson = Lesson(self.learning_rate, steps, self.beta, self.free_nats, self.warmup)
        rules = Rules(
            steps=steps, batch_size=self.batch_size, ema=self.ema, precision=self.precision, device=self.device,
            look_every=self.look_every or max(1, steps // LOOKS), checkpoint_seconds=self.checkpoint_seconds,
        )  # fmt: skip
        # Without a folder for them nobody sees the grids.
        lessons = Lessons(self.pair_, lesson, show if checkpoint else None)
        done = train(
            lessons, data, rules, seed=seed, progress=progress, weights=balanced(known.labels, self.balance),
            checkpoint=checkpoint, fingerprint=mark,
        )  # fmt: skip
        self.pair_ = done.average[PAIR]  # type: ignore[assignment]

    def _settle(self, known: Pictures, seed: int) -> None:
        """What follows from the trained networks: where the latents of each class lie, the texture, what is normal."""
        labels = torch.from_numpy(known.labels)
        means, spreads = self._encoded(known.pixels)
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed % 2**63))
        self.latents_.learn(means + noise * torch.exp(spreads / 2), labels)
        back = self._read(means, self._weights(known.labels))[:, : known.channels]
        layout = self.pair_.layout
        self.texture_.learn(layout.padded(to_unit(torch.from_numpy(known.pixels))), layout.padded(back))
        normal = np.arange(len(known))
        if self.facts_.normal is not None:
            normal = np.flatnonzero(known.labels == self.facts_.classes.index(self.facts_.normal))
        pixels = known.pixels[normal]
        self.scorer_.learn(pixels, self._lacking(pixels), seed=seed)

    def _draw(self, labels: Array, rng: np.random.Generator) -> tuple[Array, Sequence[Array | None], Sequence[str | None]]:
        stream = torch.Generator().manual_seed(torch_seed(rng))
        which = torch.from_numpy(labels)
        latents = draws(
            self.latents_.means, self.latents_.factors, which, torch.randn(len(labels), self.latent, generator=stream)
        )
        images = self._read(latents, self._weights(labels))
        shown = images[:, : self.facts_.channels]
        if self.texture:
            layout = self.pair_.layout
            grain = self.texture_.drawn(torch.randn(len(labels), layout.channels, layout.side, layout.side, generator=stream))
            shown = shown + grain[:, :, : layout.size, : layout.size]
        if not self.masked_:
            return to_bytes(shown), [None] * len(labels), [None] * len(labels)
        return to_bytes(shown), list(self._masks(images[:, -1].numpy(), labels)), [None] * len(labels)

    def _masks(self, logits: Array, labels: Array) -> Array:
        """(n, h, w) bool. Where a class's masks are never empty, what is likeliest is marked."""
        always = np.array([kind == "always" for kind in self.marked_])[labels]
        never = np.array([kind == "never" for kind in self.marked_])[labels]
        top = logits.max(axis=(1, 2), keepdims=True)
        lowered = np.where(always[:, None, None], np.minimum(0.0, top - FAINT), 0.0)
        return np.asarray((logits > lowered) & ~never[:, None, None])

    @torch.no_grad()
    def _encoded(self, pixels: Array) -> tuple[Tensor, Tensor]:
        """Means and log variances of the latents, (n, latent) each, on the CPU."""
        pair, device = self._pair()
        parts = []
        for start, stop in chunks(len(pixels), AT_ONCE):
            shown = pair.layout.padded(to_unit(torch.from_numpy(pixels[start:stop]).to(device)))
            parts.append(torch.stack(pair.encoder(shown)).float().cpu())
        both = torch.cat(parts, dim=1) if parts else torch.zeros(2, 0, self.latent)
        return both[0], both[1]

    def _means(self, pixels: Array) -> Tensor:
        return self._encoded(pixels)[0]

    @torch.no_grad()
    def _read(self, latents: Tensor, weights: Tensor) -> Tensor:
        """(n, latent) and (n, k) -> (n, planes, size, size) on the CPU."""
        pair, device = self._pair()
        size = pair.layout.size
        parts = [
            pair.decoder(latents[a:b].to(device), weights[a:b].to(device))[:, :, :size, :size].float().cpu()
            for a, b in chunks(len(latents), AT_ONCE)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, pair.layout.planes, size, size)

    def _pair(self) -> tuple[Pair, torch.device]:
        device = torch.device("cuda") if self.device != "cpu" and torch.cuda.is_available() else torch.device("cpu")
        return self.pair_.to(device), device

    def _weights(self, labels: Array) -> Tensor:
        given = torch.as_tensor(labels)
        return given.float() if given.ndim == 2 else F.one_hot(given.long(), len(self.facts_.classes)).float()

    def _reference(self) -> int:
        """The label that pictures of unknown class are read back as: the normal one, or the most frequent."""
        if self.facts_.normal is not None:
            return self.facts_.classes.index(self.facts_.normal)
        return int(np.argmax(self.facts_.shares))

    def _lacking(self, pixels: Array) -> Tensor:
        """What is not read back of pictures taken as normal: (n, c, s, s)."""
        back = self._read(self._means(pixels), self._weights(np.full(len(pixels), self._reference())))
        return to_unit(torch.from_numpy(pixels)) - back[:, : self.facts_.channels]

    def _fitting(self, pixels: Array) -> Array:
        wanted = (self.facts_.size, self.facts_.size, self.facts_.channels)
        if pixels.shape[1:] != wanted and len(pixels):
            raise GeneratorError(
                f"the pictures are {pixels.shape[1:]} (height, width, channels), and {wanted} was learned; bring them to that"
            )
        return pixels


class Latents(torch.nn.Module):
    """A normal distribution of latents for each class: means (k, latent), factors (k, latent, latent)."""

    means: Tensor
    factors: Tensor

    def __init__(self, classes: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, latent))
        self.register_buffer("factors", torch.zeros(classes, latent, latent))

    def learn(self, latents: Tensor, labels: Tensor) -> None:
        """From latents (n, latent) and labels (n,)."""
        means, factors = class_normals(latents, labels, len(self.means))
        self.means.copy_(means)
        self.factors.copy_(factors)


def _marked(known: Pictures, k: int) -> str:
    """Whether the known masks of a class mark something: "always", "never" or "sometimes" ("sometimes" for no known mask)."""
    masks = known.masks[known.masked & (known.labels == k)].any(axis=(1, 2))
    if not len(masks):
        return "sometimes"
    return "always" if masks.all() else "sometimes" if masks.any() else "never"
