"""What comes next in a row, learned so that no single row shows? An autoregressive network with differential privacy."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.schema import Column
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, seal
from generators.tabular._conditions import matching, part_seed, resolve
from generators.tabular._dp_account import Part, noise_for, rho_for, spent
from generators.tabular._dp_domain import Cells, find, left, looks
from generators.tabular._dp_family import (
    DOMAIN_PART,
    EPSILON,
    Spent,
    check,
    columns_of,
    delta_of,
    encode,
    finish_of,
    noise_of,
    shares,
)
from generators.tabular._dp_net import Net
from generators.tabular._dp_noise import Noise
from generators.tabular._dp_sgd import Averages, Schedule, private_optimizer, rates, step
from generators.tabular._table import Finish, at_least, one_thread, open_model, refuse, rng_of, write_json

__all__ = ["DPAutoregressive"]

Array = np.ndarray
STATE, WEIGHTS = "state.json", "weights.pt"
ROWS = 16_384
#: Of the budget, what counting single columns takes: each column begins as it is by itself.
SINGLES_PART = 0.05
#: Columns are looked at with so many times the noise of a step where the plan states the noise.
LOOK_NOISE = 10.0
#: Rows that are drawn to tune biases on.
TUNED_ON = 20_000
#: Rows of a step at most as a share of all.
MOST_RATE = 0.25


@dataclass
class DPAutoregressive:
    """Guesses the columns of a row one by one, the class first; learned by DP-SGD.

    Columns become tokens (levels, bins of noisy counts). The gradient of each row is clipped, and noise hides what is left of
    it; every row is in a step by chance, so that nobody knows who was. What is learned is (epsilon, delta) differentially
    private. Good at: tables of many rows, conditions on the class. Not for: some hundred rows, or a budget well below 1.

    Sources: Abadi et al. 2016 (DP-SGD, arXiv 1607.00133), by Opacus; Gopi et al. 2021 (arXiv 2106.02848) for what it spends.

    Fields:
        epsilon: the budget; 3 where neither it nor `noise` is stated. noise: the noise of a step, over `clip`, in its place.
            delta: how likely the promise may fail; 1 / (10 n) if not stated.
        bounds: whether ranges and levels that the plan does not declare are refused ("declared"), paid for ("budget"), or read
            off ("data"), which is then not private end to end. k: noisy counts do not find what fewer rows hold, whatever the
            budget.
        steps, batch_size: how often it learns, and from how many rows on average. learning_rate: of Adam. clip: the most that a
            row's gradient may be long. width, blocks: of the network.
        secure: noise from the system's secrets; without, from the seed, for tests: who knows the seed can take it off.

    Learned: `cells_` (tokens of each column, as they are drawn), `net_`, `known_`, `finish_`, `spent_` (what was spent)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = False
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

    epsilon: float | None = None
    noise: float | None = None
    delta: float | None = None
    bounds: Literal["declared", "budget", "data"] = "declared"
    k: int = 5
    steps: int = 600
    batch_size: int = 512
    learning_rate: float = 0.01
    clip: float = 1.0
    width: int = 64
    blocks: int = 2
    secure: bool = True

    def promised(self, rows: int, columns: Sequence[Column]) -> tuple[float, float]:
        """The epsilon and delta that a fit on so many rows of these columns spends, told without a look at them.

        Raises GeneratorError for settings that promise nothing, and columns that declare too little."""
        check(self, rows, columns)
        delta = delta_of(self, rows)
        if self.noise is None:
            return self.epsilon or EPSILON, delta
        return spent(self._parts(rows, columns, self.noise), left(columns, self.bounds) * delta), delta

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn. A killed fit starts anew: what its noise hid was never seen.

        Raises GeneratorError when there is nothing to learn, for settings that make no sense, for a budget that is too small,
        and for columns that declare too little."""
        refuse(train)
        at_least(self, 1, "steps", "batch_size", "width", "blocks", "k")
        at_least(self, 1e-9, "learning_rate", "clip")
        try:
            import opacus  # noqa: F401
        except ImportError:
            raise GeneratorError(
                "generator.use: dp_autoregressive needs opacus, which is not installed; run: pip install "
                "'counterpoise[privacy]'"
            ) from None
        rows, columns, source = train.num_rows, train.schema.learned, noise_of(self, seed)
        epsilon, delta = self.promised(rows, columns)
        rest = left(columns, self.bounds) * delta
        noise = self.noise or self._noise(rows, columns, epsilon, rest)
        look = self._look_noise(columns, epsilon, rest)
        found = find(train, self.bounds, look[0], delta, source, k=self.k)
        # The class first, then from few tokens to many.
        self.cells_ = tuple(sorted(found.cells, key=lambda c: (c.name != train.schema.target, c.size)))
        tokens = encode(train, self.cells_)
        singles = self._singles(tokens, look[1], source)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schedule = Schedule(noise, self.clip, self._rate(rows), self.steps, self.learning_rate)
            self.net_ = self._learn(tokens, singles, schedule, source, seed, progress)
        self.known_ = {
            c.name: np.maximum(p[: c.values], 1e-9) / np.maximum(p[: c.values], 1e-9).sum()
            for c, p in zip(self.cells_, singles, strict=True)
            if c.others
        }
        self.finish_ = finish_of(train.schema, found.cells)
        self.spent_ = Spent(epsilon, delta, noise, "DP-SGD", self.bounds, self.secure, rows)
        return self

    def _rate(self, rows: int) -> float:
        return min(self.batch_size / rows, MOST_RATE)

    def _look_noise(self, columns: Sequence[Column], epsilon: float, delta: float) -> tuple[float, float]:
        """Noise of each look at the columns, and of their counts."""
        if self.noise is not None:
            return LOOK_NOISE * self.noise, LOOK_NOISE * self.noise
        rho, count = rho_for(epsilon, delta), looks(columns, self.bounds)
        return math.sqrt(max(count, 1) / (2 * DOMAIN_PART * rho)), math.sqrt(1 / (2 * SINGLES_PART * rho))

    def _parts(
        self, rows: int, columns: Sequence[Column], noise: float, epsilon: float = 0.0, delta: float = 0.0
    ) -> list[Part]:
        look, single = self._look_noise(columns, epsilon, delta)
        count = looks(columns, self.bounds)
        return [Part(look, steps=count), Part(single), Part(noise, self._rate(rows), self.steps)]

    def _noise(self, rows: int, columns: Sequence[Column], epsilon: float, delta: float) -> float:
        beside = [p for p in self._parts(rows, columns, 1.0, epsilon, delta)[:2] if p.steps]
        return noise_for(epsilon, delta, rate=self._rate(rows), steps=self.steps, beside=beside)

    def _singles(self, tokens: Array, noise: float, source: Noise) -> list[Array]:
        """Chances of the tokens of each column, from noisy counts."""
        deviation = noise * math.sqrt(tokens.shape[1])
        counts = [np.bincount(tokens[:, i], minlength=c.size) for i, c in enumerate(self.cells_)]
        return [shares(count + deviation * source.normal(len(count)), deviation) for count in counts]

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
        out.eval().tune(singles, TUNED_ON, torch.Generator().manual_seed(part_seed(seed, 2) % 2**63))
        return out

    def _net(self) -> Net:
        with torch.random.fork_rng(devices=[]):  # what its layers begin with is written over
            return Net([c.size for c in self.cells_], self.width, 2 * self.width, self.blocks)

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows. A condition on the class is drawn directly; one on other columns throws rows away.

        Raises GeneratorError for a condition that is hardly ever met."""
        wanted = resolve(where, self.finish_.schema)
        first = self.cells_[0]
        given: dict[int, int] = {}
        if first.levels is not None and wanted.get(first.name) is not None:
            given = {0: first.levels.values.index(wanted.pop(first.name))}
        start = 0

        def draw(rows: int, part: int) -> pa.RecordBatch:
            with one_thread():
                tokens = self.net_.draw(rows, given, torch.Generator().manual_seed(part % 2**63)).numpy()
            return pa.RecordBatch.from_pydict(columns_of(self.cells_, tokens, self.known_, rng_of(part)))

        for batch in matching(draw, n, wanted, seed=part_seed(seed, 1), rows=ROWS):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def save(self, folder: Path) -> None:
        """Write tokens, weights, what was spent, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.net_.state_dict(), folder / WEIGHTS)
        state: dict[str, Any] = {
            "finish": self.finish_.to_state(),
            "cells": [c.to_state() for c in self.cells_],
            "known": {name: p.tolist() for name, p in self.known_.items()},
            "spent": {k: v for k, v in self.spent_.to_json().items() if k != "end_to_end"},
        }
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        family.finish_ = Finish.from_state(state["finish"])
        family.cells_ = tuple(Cells.from_state(c) for c in state["cells"])
        family.known_ = {name: np.array(p) for name, p in state["known"].items()}
        family.spent_ = Spent(**state["spent"])
        family.net_ = family._net()
        family.net_.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
        family.net_.eval()
        return family
