"""What comes next in a row, learned so that no single row shows? An autoregressive network with differential privacy."""

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
from generators.tabular._dp_bins import SURE
from generators.tabular._dp_family import noise_of, shares
from generators.tabular._dp_net import Net
from generators.tabular._dp_noise import Noise
from generators.tabular._dp_sgd import Averages, Schedule, private_optimizer, rates, step
from generators.tabular._table import at_least, one_thread, refuse

__all__ = ["DPAutoregressive"]

Array = np.ndarray
WEIGHTS = "weights.pt"
#: Rows that are drawn to tune biases on.
TUNED_ON = 20_000


@dataclass
class DPAutoregressive(Stepped):
    """Guesses the columns of a row one by one, the class first; learned by DP-SGD.

    Columns become tokens (levels, bins of noisy counts). The gradient of each row is clipped, and noise hides what is left of
    it; every row is in a step by chance, so that nobody knows who was. What is learned is (epsilon, delta) differentially
    private. Good at: tables of many rows, conditions on the class. Not for: some hundred rows, or a budget well below 1.

    Sources: Abadi et al. 2016 (DP-SGD, arXiv 1607.00133), by Opacus; Gopi et al. 2021 (arXiv 2106.02848) for what it spends.

    Fields, beside those of `Private` and `Stepped` (generators/tabular/_dp_base.py):
        learning_rate: of Adam. clip: the most that a row's gradient may be long. width, blocks: of the network.

    Learned: `cells_` (tokens of each column, as they are drawn), `net_`, `known_`, `finish_`, `spent_` (what was spent)."""

    traits: ClassVar[Traits] = Traits(
        kind="autoregressive with differential privacy",
        rows=1000,
        rows_of_class=50,
        private=True,
        fails=("diversity", "blur"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "steps": Range(200, 2000, log=True),
        "learning_rate": Range(2e-3, 2e-2, log=True),
        "clip": Range(0.2, 5.0, log=True),
    }

    learning_rate: float = 0.01
    clip: float = 1.0
    width: int = 64
    blocks: int = 2

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn. A killed fit starts anew: what its noise hid was never seen.

        Raises GeneratorError when there is nothing to learn, for settings that make no sense, for a budget that is too small,
        and for columns that declare too little."""
        refuse(train)
        at_least(self, 1, "steps", "batch_size", "width", "blocks", "k")
        at_least(self, 1e-9, "learning_rate", "clip")
        source = noise_of(self, seed)
        tokens, deviation, noise, paid = self._open(train, source)
        singles = self._singles(tokens, deviation, source)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schedule = Schedule(noise, self.clip, self._rate(len(tokens)), self.steps, self.learning_rate)
            self.net_ = self._learn(tokens, singles, schedule, source, seed, progress)
        known = {
            c.name: np.maximum(p[: c.values], 1e-9) / np.maximum(p[: c.values], 1e-9).sum()
            for c, p in zip(self.cells_, singles, strict=True)
            if c.others
        }
        self._keep(train, self.cells_, known, paid)
        return self

    def _singles(self, tokens: Array, deviation: float, source: Noise) -> list[Array]:
        """Chances of the tokens of each column, from noisy counts."""
        counts = [np.bincount(tokens[:, i], minlength=c.size) for i, c in enumerate(self.cells_)]
        noisy = [count + deviation * source.normal(len(count)) for count in counts]
        for column, count in zip(self.cells_, noisy, strict=True):
            if column.nulls and column.size > 1 and count[-1] <= SURE * deviation:
                count[-1] = 0.0  # nulls that do not stand clear of the noise would be the noise's
        return [shares(count, deviation) for count in noisy]

    def _learn(
        self, tokens: Array, singles: Sequence[Array], schedule: Schedule, source: Noise, seed: int, progress: Progress
    ) -> Net:
        net = self._net()
        net.start(singles, seed, [0 if c.levels is not None else c.values - len(c.atoms) for c in self.cells_])
        module, optimizer = private_optimizer(net, len(tokens), schedule, source)
        x, means, expected = torch.from_numpy(tokens), Averages(net), max(schedule.rate * len(tokens), 1.0)
        for k, rate in enumerate(rates(schedule)):
            for group in optimizer.original_optimizer.param_groups:
                group["lr"] = rate
            step(module, optimizer, lambda part: net.loss(x[part]).sum(), source.chosen(len(tokens), schedule.rate), expected)
            if k >= (1 - schedule.average) * schedule.steps:
                means.add()
            # The loss is of real rows: it is not told.
            progress.advance(k + 1, schedule.steps, "step")
        means.take()
        out = self._net()
        out.load_state_dict({name: p.detach() for name, p in net.state_dict().items()})
        out.eval()
        for i, cells in enumerate(self.cells_):
            if cells.nulls and cells.size > 1 and singles[i][-1] == 0:
                out.never(i, cells.size - 1)
        out.tune(singles, TUNED_ON, torch.Generator().manual_seed(part_seed(seed, 2) % 2**63))
        return out

    def _net(self) -> Net:
        with torch.random.fork_rng(devices=[]):  # what its layers begin with is written over
            return Net([c.size for c in self.cells_], self.width, 2 * self.width, self.blocks)

    def _tokens(self, rows: int, given: dict[int, int], part: int, rng: np.random.Generator) -> Array:
        return self.net_.draw(rows, given, torch.Generator().manual_seed(part % 2**63)).numpy()

    def _write(self, folder: Path) -> dict[str, Any]:
        torch.save(self.net_.state_dict(), folder / WEIGHTS)
        return {"known": {name: p.tolist() for name, p in self.known_.items()}}

    def _read(self, folder: Path, state: dict[str, Any]) -> None:
        self.known_ = {name: np.array(p) for name, p in state["known"].items()}
        self.net_ = self._net()
        self.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        self.net_.eval()
