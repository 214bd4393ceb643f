"""What would more pictures of a class look like, when there are few? A class-conditional GAN that draws masks as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.images import Pictures
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal, unseal
from generators.image._gan_augment import WAYS
from generators.image._gan_game import MAKER, Game, Play, drawings, resident, watch_on
from generators.image._gan_nets import Critic, Layout, Maker
from generators.image._loop import Precision, Rules, device_of, train
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

__all__ = ["GAN"]

WEIGHTS = "weights.pt"
STATE = "state.json"
#: Looks in a training, unless `look_every` says otherwise, and the share of them before a stop.
LOOKS, WARM = 24, 0.33
#: Times that a picture is drawn again when its mask is empty, though none of its class's is.
AGAIN = 4


@dataclass
class GAN:
    """A class-conditional GAN for few pictures of 8 to 512 pixels, without normalisation layers.

    Sources: Huang et al. 2024 (R3GAN, arXiv 2501.05441): relativistic loss, R1 and R2, residual blocks that start as the
    identity; Miyato and Koyama 2018: classes by projection; Karras et al. 2020 (ADA, arXiv 2006.06676): changes of what the
    critic sees that do not leak, as often as it overfits; Karras et al. 2019: noise at every stage.

    What is different, and why. The generator starts from thumbnails drawn from a normal distribution for each class, so that
    light and layout are right, and varied, before anything is learned. A watch compares samples with the training pictures
    class by class while training; the best weights are kept, and a collapse ends it (see _gan_watch). Where training pictures
    have masks, the mask is one more channel, and drawn pictures come with theirs.

    Fields:
        steps: updates; left out, they follow from the number of pictures: 800 and two for each, at most 20,000.
        batch_size: pictures a step. width: channels at the finest stage; each coarser one has twice as many, up to eight
            times. depth: residual blocks a stage. latent: length of the noise vector.
        learning_rate: of Adam, for both networks; after half the steps it sinks to a tenth.
        penalty: weight of R1 and R2, sinking likewise.
        balance: 1 shows all classes equally often, 0 as often as they come.
        augment: what the critic sees changed, of flip, rotate (by quarters), shift, scale, colour, cutout; none of them
            appears in samples. augment_start: the first chance of each. augment_goal: how often, right less wrong, the
            critic may know a real picture from a drawn one before the chance grows.
        start: begin with thumbnails.
        ema: the share of the generator's moving average that is kept each step; samples come from the average.
        look_every: steps between two looks of the watch; left out, there are about 24. patience: looks without better
            weights that end the training.
        precision: "bf16" for the forward pass in bfloat16, "no", "auto" for bf16 on a GPU that can.
        compiled: compile the generator by torch.compile while training; pays for long trainings on a GPU.
        checkpoint_seconds: how often the state is written while training. device: "auto", "cpu", "cuda".
    """

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(kind="GAN", rows=25, rows_of_class=5, gain=-0.28, fails=("diversity", "instability"))

    steps: int | None = None
    batch_size: int = 16
    width: int = 32
    depth: int = 2
    latent: int = 64
    learning_rate: float = 1e-3
    penalty: float = 1.0
    balance: float = 0.75
    augment: tuple[str, ...] = WAYS
    augment_start: float = 0.2
    augment_goal: float = 0.7
    start: bool = True
    ema: float = 0.99
    look_every: int | None = None
    patience: int = 10
    precision: Precision = "auto"
    compiled: bool = False
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one. Raises GeneratorError for rows of a table, no
        pictures, a setting that makes no sense, or a loss that stops being a number."""
        self._check()
        known = learned(train)
        self.facts_ = Facts.of(known)
        self.masked_ = bool(known.masked.any())
        self.marked_ = tuple(_marked(known, k) for k in range(len(known.classes)))
        mark = fingerprint(train, self, seed) if checkpoint else ""
        self._train(known, seed, progress, checkpoint, mark)
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures in batches of at most 256, with masks where train had some.

        Raises GeneratorError for a condition on anything but the class, or a class that was not learned."""
        device = torch.device("cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.maker_.to(device)
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def save(self, folder: Path) -> None:
        """Write the weights and the envelope. The weights hold a mean thumbnail of each class."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({name: value.cpu() for name, value in self.maker_.state_dict().items()}, folder / WEIGHTS)
        state = {"facts": self.facts_.to_json(), "masked": self.masked_, "marked": self.marked_, "kept": self.kept_}
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        settings: dict[str, Any] = unseal(folder)["settings"]
        settings["augment"] = tuple(settings["augment"])
        family = cls(**settings)
        state = read_json(folder / STATE)
        family.facts_ = Facts.from_json(state["facts"])
        family.masked_, family.marked_, family.kept_ = state["masked"], tuple(state["marked"]), state["kept"]
        family.maker_ = family._networks(0)[0].eval()
        family.maker_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self) -> None:
        for name in ("batch_size", "width", "depth", "latent", "patience"):
            if getattr(self, name) < 1:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is less than 1; leave it out for the default")
        for name in ("steps", "look_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is less than 1; leave it out for the default")
        if not 0 <= self.ema < 1:
            raise GeneratorError(f"generator.ema: {self.ema} is not in [0, 1); use 0.99")
        if self.learning_rate <= 0 or self.penalty < 0:
            raise GeneratorError("generator: learning_rate must be above 0 and penalty not below; use 1e-3 and 1")
        if unknown := [way for way in self.augment if way not in WAYS]:
            raise GeneratorError(f"generator.augment: {unknown[0]!r} is none of {', '.join(WAYS)}")

    def _layout(self) -> Layout:
        facts = self.facts_
        return Layout(facts.size, facts.channels, self.masked_, len(facts.classes), self.width, self.latent, self.depth)

    def _networks(self, seed: int) -> tuple[Maker, Critic]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            return Maker(self._layout()), Critic(self._layout())

    def _train(self, known: Pictures, seed: int, progress: Progress, checkpoint: Path | None, mark: str) -> None:
        steps = self.steps or min(20_000, 800 + 2 * len(known))
        look_every = self.look_every or max(1, steps // LOOKS)
        maker, critic = self._networks(seed)
        if device_of(self.device).type == "cuda":  # a CPU gains nothing from it
            maker, critic = (part.to(memory_format=torch.channels_last) for part in (maker, critic))  # type: ignore[call-overload]
        data = resident(known)
        if self.start:
            maker.start.learn(to_unit(data["pixels"]), data["labels"])
        play = Play(self.learning_rate, self.penalty, self.augment, self.augment_start, self.augment_goal, max(1, steps // 5),
                    steps, self.compiled)  # fmt: skip
        watch = watch_on(known, self._layout(), patience=self.patience, warm=int(WARM * steps / look_every))
        rules = Rules(
            steps=steps, batch_size=self.batch_size, ema=self.ema, precision=self.precision, device=self.device,
            look_every=look_every, checkpoint_seconds=self.checkpoint_seconds,
        )  # fmt: skip
        game = Game(self._layout(), maker, critic, play, watch)
        done = train(
            game, data, rules, seed=seed, progress=progress, weights=balanced(known.labels, self.balance),
            checkpoint=checkpoint, fingerprint=mark,
        )  # fmt: skip
        if not watch.weights:
            raise GeneratorError("the GAN drew nothing that can be compared; lower generator.learning_rate")
        self.maker_ = done.average[MAKER]
        self.maker_.load_state_dict(watch.weights)
        self.kept_: dict[str, Any] = {
            "step": watch.best_step, "of": done.steps, "score": round(watch.best, 6),
            "collapsed": known.classes[watch.collapsed] if watch.collapsed >= 0 else None,
        }  # fmt: skip
        progress.advance(
            done.steps, done.steps, "step", kept_step=float(watch.best_step), collapsed=float(watch.collapsed >= 0)
        )

    def _draw(
        self, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, Sequence[np.ndarray | None], Sequence[str | None]]:
        pixels, masks = self._pictures(labels, rng)
        if not self.masked_:
            return pixels, [None] * len(labels), [None] * len(labels)
        always = np.array([kind == "always" for kind in self.marked_])[labels]
        masks[np.array([kind == "never" for kind in self.marked_])[labels]] = False
        for _ in range(AGAIN):
            lacking = np.flatnonzero(always & ~masks.any(axis=(1, 2)))
            if not len(lacking):
                break
            pixels[lacking], masks[lacking] = self._pictures(labels[lacking], rng)
        return pixels, list(masks), [None] * len(labels)

    def _pictures(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(n, h, w, c) uint8 and (n, h, w) bool, as the generator draws them."""
        noise = torch.randn(len(labels), self._layout().noise, generator=torch.Generator().manual_seed(torch_seed(rng)))
        images = drawings(self.maker_, noise, torch.from_numpy(labels))
        return to_bytes(images[:, : self.facts_.channels]), np.asarray(images[:, -1].numpy() > 0)


def _marked(known: Pictures, k: int) -> str:
    """Whether the known masks of a class mark something: "always", "never" or "sometimes" ("sometimes" for no known mask)."""
    masks = known.masks[known.masked & (known.labels == k)].any(axis=(1, 2))
    if not len(masks):
        return "sometimes"
    return "always" if masks.all() else "sometimes" if masks.any() else "never"
