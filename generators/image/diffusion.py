"""What would more pictures of a class look like, when there is time to learn them? A denoiser that draws masks as well."""

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
from generators.image._diffusion_change import TOLD, WAYS
from generators.image._diffusion_net import Denoiser, Layout
from generators.image._diffusion_train import NET, Lesson, Lessons, Way, drawings, prepare, resident, shown
from generators.image._loop import Precision, Rules, device_of, train
from generators.image._noise import OBJECTIVES, SAMPLERS, Objective, Sampler
from generators.image._pictures import (
    Facts,
    balanced,
    fingerprint,
    learned,
    read_json,
    to_bytes,
    write_json,
)

__all__ = ["Diffusion"]

WEIGHTS = "weights.pt"
STATE = "state.json"
#: Looks in a training, unless `look_every` says otherwise.
LOOKS = 6
#: Times that a picture is drawn again when its mask is empty, though none of its class's is.
AGAIN = 2


@dataclass
class Diffusion:
    """A class-conditional denoiser of pictures of 8 to 512 pixels, built on the UNet and the schedulers of diffusers.

    A picture costs at most `evaluations` evaluations of the network, 20 unless set otherwise, those for guidance included;
    one whose mask came out empty, where no training picture of its class has an empty one, is drawn again, at most twice.

    Sources: Ho et al. 2020 (DDPM); Song et al. 2021 (DDIM); Lu et al. 2022 (DPM-Solver++); Lipman et al. 2023 (flow
    matching); Salimans and Ho 2022 (v); Hang et al. 2023 (min-SNR weights); Ho and Salimans 2022 (guidance); Karras et al.
    2022 (steps closer where there is little noise, changes that do not leak).

    What is different, and why. The network corrects the guess of a normal distribution of each class's slow waves, and the way
    from noise to picture begins late, at slow waves drawn from it, so that few steps and a short training do for light and
    layout (see _diffusion_prior). Any objective can be sampled in any way. Where training pictures have masks, the mask is
    one more channel, and drawn pictures come with theirs.

    Fields:
        steps: updates; left out, they follow from the number of pictures: 1,500 and two for each, at most 40,000.
        batch_size: pictures a step. width: channels of the finest level; coarser ones have twice as many.
        patch: pixels a side that are one cell of the UNet; left out, by the size: 1 to 32 pixels, 2 to 96, 4 to 192, 8 above.
        dropout: share of features left out while training; against learning by heart.
        objective: the terms in which an error counts: "epsilon" of the noise, "v" of a mix of noise and picture that is as
            hard at every level, "flow" of the velocity of a straight flow, learned mostly at the middle levels.
        sampler: "dpm++", "ddim", "ddpm" (draws noise at every step, and needs more of them), "flow" (Euler's method).
        guidance: 1 draws what was learned; more makes pictures more typical of their class and less varied.
        evaluations: of the network for one picture.
        snr_gamma: of the min-SNR weights; None weighs all levels alike in terms of the objective.
        balance: 1 shows all classes equally often, 0 as often as they come.
        augment: how pictures are changed while training, of flip, turn (by quarters), move, scale; the network is told, so
            none appears in samples. augment_chance: of each.
        learning_rate: of AdamW. ema: the share of the weights' moving average that is kept each step.
        look_every: steps between two grids of samples beside the checkpoint; left out, there are six.
        precision: "bf16" for the forward pass in bfloat16, "no", "auto" for bf16 on a GPU that can.
        compiled: compile the network by torch.compile while training; pays for long trainings on a GPU.
        checkpoint_seconds: how often the state is written while training. device: "auto", "cpu", "cuda".
    """

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="diffusion",
        rows=25,
        rows_of_class=5,
        gain=-0.20,
        passes=20,
        fails=("slow", "privacy"),
    )

    steps: int | None = None
    batch_size: int = 16
    width: int = 32
    patch: int | None = None
    dropout: float = 0.05
    objective: Objective = "v"
    sampler: Sampler = "dpm++"
    guidance: float = 1.5
    evaluations: int = 20
    snr_gamma: float | None = 5.0
    balance: float = 0.75
    augment: tuple[str, ...] = WAYS
    augment_chance: float = 0.25
    learning_rate: float = 1e-3
    ema: float = 0.998
    look_every: int | None = None
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
        self._train(known, seed, progress, checkpoint, fingerprint(train, self, seed) if checkpoint else "")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures in batches of at most 256, with masks where train had some.

        Raises GeneratorError for a condition on anything but the class, or a class that was not learned."""
        self._check()
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def save(self, folder: Path) -> None:
        """Write the weights and the envelope. The weights hold mean and spread of each class's slow waves."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({name: value.cpu() for name, value in self.net_.state_dict().items()}, folder / WEIGHTS)
        write_json(folder / STATE, {"facts": self.facts_.to_json(), "masked": self.masked_, "marked": self.marked_})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        settings: dict[str, Any] = unseal(folder)["settings"]
        settings["augment"] = tuple(settings["augment"])
        family = cls(**settings)
        state = read_json(folder / STATE)
        family.facts_ = Facts.from_json(state["facts"])
        family.masked_, family.marked_ = state["masked"], tuple(state["marked"])
        family.net_ = family._network(0).eval().requires_grad_(False)
        family.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self) -> None:
        for name in ("steps", "batch_size", "width", "patch", "look_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is less than 1; leave it out for the default")
        for name, known in (("objective", OBJECTIVES), ("sampler", SAMPLERS)):
            if getattr(self, name) not in known:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)!r} is none of {', '.join(known)}")
        for name in ("ema", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is not in [0, 1); leave it out for the default")
        if self.guidance < 1:
            raise GeneratorError(f"generator.guidance: {self.guidance} is less than 1; use 1 for none")
        if self.evaluations < 4:
            raise GeneratorError(f"generator.evaluations: {self.evaluations} is too few to draw a picture; use 20")
        if self.learning_rate <= 0 or (self.snr_gamma is not None and self.snr_gamma <= 0):
            raise GeneratorError("generator: learning_rate and snr_gamma must be above 0; use 1e-3 and 5")
        if unknown := [way for way in self.augment if way not in WAYS]:
            raise GeneratorError(f"generator.augment: {unknown[0]!r} is none of {', '.join(WAYS)}")

    def _network(self, seed: int) -> Denoiser:
        facts = self.facts_
        layout = Layout(
            facts.size, facts.channels, self.masked_, len(facts.classes), self.width, TOLD, self.patch, self.dropout
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            return Denoiser(layout)

    def _way(self) -> Way:
        return Way(self.sampler, self.guidance, self.evaluations)

    def _train(self, known: Pictures, seed: int, progress: Progress, checkpoint: Path | None, mark: str) -> None:
        steps = self.steps or min(40_000, 1500 + 2 * len(known))
        net, data = self._network(seed), resident(known)
        prepare(net, data, self.augment, seed)
        if device_of(self.device).type == "cuda":  # a CPU gains nothing from it
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        present = np.flatnonzero(self.facts_.shares).tolist()

        def show(average: torch.nn.Module, device: torch.device) -> np.ndarray:
            return shown(average, self._way(), present, device)

        lesson = Lesson(
            self.objective, self.learning_rate, steps, self.snr_gamma, self.augment, self.augment_chance, self.compiled
        )  # fmt: skip
        rules = Rules(
            steps=steps, batch_size=self.batch_size, ema=self.ema, precision=self.precision, device=self.device,
            look_every=self.look_every or max(1, steps // LOOKS), checkpoint_seconds=self.checkpoint_seconds,
        )  # fmt: skip
        # Without a folder for them nobody sees the grids.
        lessons = Lessons(net, lesson, show if checkpoint else None)
        done = train(
            lessons, data, rules, seed=seed, progress=progress, weights=balanced(known.labels, self.balance),
            checkpoint=checkpoint, fingerprint=mark,
        )  # fmt: skip
        self.net_: Any = done.average[NET]

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
        """(n, h, w, c) uint8 and (n, h, w) bool, each picture from a stream of its own."""
        device = torch.device("cuda") if self.device != "cpu" and torch.cuda.is_available() else torch.device("cpu")
        seeds = rng.integers(2**62, size=len(labels)).tolist()
        images = drawings(self.net_.to(device), self._way(), labels, seeds, device)
        return to_bytes(images[:, : self.facts_.channels]), np.asarray(images[:, -1].numpy() > 0)


def _marked(known: Pictures, k: int) -> str:
    """Whether the known masks of a class mark something: "always", "never" or "sometimes" ("sometimes" for no known mask)."""
    masks = known.masks[known.masked & (known.labels == k)].any(axis=(1, 2))
    if not len(masks):
        return "sometimes"
    return "always" if masks.all() else "sometimes" if masks.any() else "never"
