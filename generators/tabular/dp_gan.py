"""Who tells drawn rows from real ones without remembering a single one? A GAN with differential privacy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from data.dataset import Dataset
from generators import _stored as stored
from generators.base import SILENT, Progress, Range, Traits
from generators.tabular._conditions import part_seed
from generators.tabular._dp_base import Stepped
from generators.tabular._dp_family import noise_of, shares
from generators.tabular._dp_gan_nets import Discriminator, Generator
from generators.tabular._dp_gan_train import Game, Rules, mixture, play, shrunk
from generators.tabular._dp_noise import Noise
from generators.tabular._dp_sgd import Schedule
from generators.tabular._table import at_least, one_thread, refuse

__all__ = ["DPGAN"]

Array = np.ndarray
WEIGHTS = "weights.pt"
#: The most that a row's gradient counts; how far a step goes is the learning rate's to say.
CLIP = 1.0
#: Rows of each class that are drawn to tune biases on.
TUNED_ON = 4_000


@dataclass
class DPGAN(Stepped):
    """A GAN whose discriminator alone sees real rows, by DP-SGD; the generator sees the discriminator alone.

    Columns become tokens (levels, bins of noisy counts). Tokens are counted class by class, with noise: the generator begins
    with columns that are independent within a class, and learns from the discriminator which tokens come together. Classes are
    drawn as noisy counts say, so that a rare one stays, and a condition on the class is drawn directly. What is learned is
    (epsilon, delta) differentially private. Good at: the shares of classes and of values. Not for: a rare class that a model
    must learn to find, numbers that hang together sharply; `dp_marginals` and `dp_autoregressive` draw rows that are nearer to
    real ones.

    Sources: Xie et al. 2018 (DPGAN, arXiv 1802.06739); Bie, Kamath and Zhang 2023 (arXiv 2302.02936); Neunhoeffer, Wu and Dwork
    2021 (arXiv 2007.11934); DP-SGD by Opacus.

    Fields, beside those of `Private` and `Stepped` (generators/tabular/_dp_base.py):
        learning_rate: of the discriminator. stay: what the generator pays for leaving the noisy counts, the more the nearer to
            independent columns. turns: moves of both networks for each private step. features: of the discriminator.
            latent: length of the generator's noise; width: of its layers.

    Learned: `cells_` (tokens of each column, the class first), `makers_` (generators), `shares_` (of the classes), `classed_`,
    `known_`, `finish_`, `spent_` (what was spent)."""

    traits: ClassVar[Traits] = Traits(
        kind="GAN with differential privacy",
        rows=5000,
        rows_of_class=50,
        private=True,
        fails=("blur", "diversity", "instability"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "steps": Range(200, 2000, log=True),
        "learning_rate": Range(0.2, 3.0, log=True),
        "stay": Range(0.1, 3.0, log=True),
    }

    learning_rate: float = 1.0
    stay: float = 0.1
    turns: int = 5
    features: int = 64
    latent: int = 32
    width: int = 128

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn. A killed fit starts anew: what its noise hid was never seen.

        Raises GeneratorError when there is nothing to learn, for settings that make no sense, for a budget that is too small,
        and for columns that declare too little."""
        refuse(train)
        at_least(self, 1, "steps", "batch_size", "turns", "features", "latent", "width", "k")
        at_least(self, 1e-9, "learning_rate")
        at_least(self, 0, "stay")
        source = noise_of(self, seed)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokens, deviation, noise, paid = self._open(train, source)
            first = self.cells_[0]
            self.classed_ = first.name == train.schema.target and first.levels is not None
            counts = self._counted(tokens, deviation, source)
            schedule = Schedule(noise, CLIP, self._rate(len(tokens)), self.steps, self.learning_rate)
            self.makers_ = self._learn(tokens, counts, schedule, source, seed, progress)
        self._keep(train, self.cells_, self._known(counts), paid)
        return self

    def _counted(self, tokens: Array, deviation: float, source: Noise) -> list[Array]:
        """(classes, size) chances of each column's tokens given the class, from noisy counts. Sets `shares_`.

        A row is in one cell of each column's counts, whether classes are told apart there or not."""
        label, rest = self._apart(tokens)
        classes = self.cells_[0].size if self.classed_ else 1
        if self.classed_:
            self.shares_ = shares(np.bincount(label, minlength=classes) + deviation * source.normal(classes), deviation)
        else:
            self.shares_ = np.ones(1)
        out = []
        for i, size in enumerate(self._sizes()):
            counts = np.bincount(label * size + rest[:, i], minlength=classes * size).reshape(classes, size)
            noisy = counts + deviation * source.normal((classes, size))
            out.append(shrunk(noisy, deviation, self.shares_, len(tokens)))
        return out

    def _apart(self, tokens: Array) -> tuple[Array, Array]:
        """(n,) classes and (n, columns) tokens of the other columns."""
        if self.classed_:
            return tokens[:, 0], tokens[:, 1:]
        return np.zeros(len(tokens), dtype=np.int64), tokens

    def _sizes(self) -> list[int]:
        return [c.size for c in self.cells_[self.classed_ :]]

    def _known(self, counts: Sequence[Array]) -> dict[str, Array]:
        """Of columns with a token for other levels, the chances of the others."""
        whole = [self.shares_] * self.classed_ + [self.shares_ @ each for each in counts]
        out = {}
        for column, p in zip(self.cells_, whole, strict=True):
            if column.others:
                kept = np.maximum(p[: column.values], 1e-9)
                out[column.name] = kept / kept.sum()
        return out

    def _learn(
        self, tokens: Array, counts: Sequence[Array], schedule: Schedule, source: Noise, seed: int, progress: Progress
    ) -> list[Generator]:
        label, rest = self._apart(tokens)
        known = torch.from_numpy(np.concatenate([np.zeros((len(self.shares_), 0)), *counts], axis=1)).float()
        classes = torch.from_numpy(self.shares_).float()
        maker = self._empty(known, seed)
        if not self._sizes():
            progress.advance(1, 1, "step")
            return [maker]
        with torch.random.fork_rng(devices=[]):  # what its layers begin with is written over
            critic = Discriminator(classes @ known, classes, self.features)
        critic.start(part_seed(seed, 3))
        game = Game(
            critic, maker, torch.from_numpy(rest), torch.from_numpy(label), classes, known, Rules(self.turns, self.stay)
        )
        out = play(game, schedule, source, part_seed(seed, 4), progress)
        for k, each in enumerate(out):
            each.tune(known, TUNED_ON, torch.Generator().manual_seed(part_seed(seed, 5 + k)))
        return out

    def _empty(self, known: torch.Tensor, seed: int) -> Generator:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(part_seed(seed, 2))
            return Generator(self._sizes(), known, self.latent, self.width).eval()

    def _tokens(self, rows: int, given: dict[int, int], part: int, rng: np.random.Generator) -> Array:
        source = torch.Generator().manual_seed(part % 2**63)
        if given and self.classed_:
            label = torch.full((rows,), given[0])
        else:
            label = torch.multinomial(torch.from_numpy(self.shares_), rows, replacement=True, generator=source)
        drawn = mixture(self.makers_, label, source)
        return (torch.cat([label[:, None], drawn], dim=1) if self.classed_ else drawn).numpy()

    def _write(self, folder: Path) -> dict[str, Any]:
        torch.save([maker.state_dict() for maker in self.makers_], folder / WEIGHTS)
        known = {name: p.tolist() for name, p in self.known_.items()}
        return {"known": known, "shares": self.shares_.tolist(), "classed": self.classed_}

    def _read(self, folder: Path, state: dict[str, Any]) -> None:
        self.known_ = {name: np.array(p) for name, p in state["known"].items()}
        self.shares_, self.classed_ = np.array(state["shares"]), state["classed"]
        self.makers_ = []
        for weights in stored.weights(folder / WEIGHTS):
            self.makers_.append(self._empty(torch.zeros_like(weights["bias"]), 0))
            self.makers_[-1].load_state_dict(weights)
