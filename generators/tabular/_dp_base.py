"""What is the same in every family with a privacy budget: its promise, and how rows are drawn, written and read back?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.schema import Column
from generators.base import Condition, GeneratorError, seal
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
)
from generators.tabular._dp_noise import Noise
from generators.tabular._table import Finish, one_thread, open_model, rng_of, write_json

Array = np.ndarray
STATE = "state.json"
#: Of the budget, what counting single columns takes in a family that then learns by steps.
SINGLES_PART = 0.05
#: Columns are looked at with so many times the noise of a step where the plan states the noise.
LOOK_NOISE = 10.0


@dataclass
class Private:
    """Settings of every private family, and what it does with the tokens that it draws.

    Fields:
        epsilon: the budget; 3 where neither it nor `noise` is stated. noise: in place of it. delta: how likely the promise may
            fail; 1 / (10 n) if not stated.
        bounds: whether ranges and levels that the plan does not declare are refused ("declared"), paid for ("budget"), or read
            off ("data"), which is then not private end to end. k: noisy counts do not find what fewer rows hold, whatever the
            budget.
        secure: noise from the system's secrets; without, from the seed, for tests: who knows the seed can take it off.

    Learned: `cells_` (tokens of each column), `known_` (of columns with undeclared levels, the chances of the known ones),
    `finish_`, `spent_` (what was spent). A family has `_spends`, `_first`, `_tokens`, `_write` and `_read` of its own."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = False
    #: Rows of a batch.
    batch_rows: ClassVar[int] = 16_384

    epsilon: float | None = None
    noise: float | None = None
    delta: float | None = None
    bounds: Literal["declared", "budget", "data"] = "declared"
    k: int = 5
    secure: bool = True

    def promised(self, rows: int, columns: Sequence[Column]) -> tuple[float, float]:
        """The epsilon and delta that a fit on so many rows of these columns spends, told without a look at them.

        Raises GeneratorError for settings that promise nothing, and columns that declare too little."""
        check(self, rows, columns)
        delta = delta_of(self, rows)
        if self.noise is None:
            return self.epsilon or EPSILON, delta
        return self._spends(rows, columns, self.noise, left(columns, self.bounds) * delta), delta

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows. A condition on the class is drawn directly; one on other columns throws rows away.

        Raises GeneratorError for a condition that is hardly ever met."""
        wanted = resolve(where, self.finish_.schema)
        place = self._first()
        first, given, start = self.cells_[place], dict[int, int](), 0
        if first.levels is not None and wanted.get(first.name) is not None:
            given = {place: first.levels.values.index(wanted.pop(first.name))}

        def draw(rows: int, part: int) -> pa.RecordBatch:
            rng = rng_of(part)
            with one_thread():
                tokens = self._tokens(rows, given, part, rng)
            return pa.RecordBatch.from_pydict(columns_of(self.cells_, tokens, self.known_, rng))

        for batch in matching(draw, n, wanted, seed=part_seed(seed, 1), rows=self.batch_rows):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def save(self, folder: Path) -> None:
        """Write tokens, what was learned, what was spent, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        own = self._write(folder)
        state = {
            "finish": self.finish_.to_state(),
            "cells": [c.to_state() for c in self.cells_],
            **own,
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
        family.spent_ = Spent(**state["spent"])
        family._read(folder, state)
        return family

    def _keep(self, train: Dataset, cells: Sequence[Cells], known: dict[str, Array], paid: Spent) -> None:
        """What rows are finished with, once all is learned."""
        self.cells_, self.known_, self.spent_ = tuple(cells), known, paid
        self.finish_ = finish_of(train.schema, cells)

    def _spends(self, rows: int, columns: Sequence[Column], noise: float, delta: float) -> float:
        """Epsilon of a fit with this noise."""
        raise NotImplementedError

    def _first(self) -> int:
        """The place in `cells_` of the column that is drawn before all others."""
        return 0

    def _tokens(self, rows: int, given: dict[int, int], part: int, rng: np.random.Generator) -> Array:
        """(rows, columns) tokens. given: that of the first column where it is set; part: the seed."""
        raise NotImplementedError

    def _write(self, folder: Path) -> dict[str, Any]:
        """Write what is learned, and say what of it belongs into the state."""
        raise NotImplementedError

    def _read(self, folder: Path, state: dict[str, Any]) -> None:
        """Read what `_write` wrote and said."""
        raise NotImplementedError


@dataclass
class Stepped(Private):
    """A family that learns by DP-SGD, once its columns are found and their tokens counted.

    Fields:
        noise: of a step, over the most that a row's gradient may be long. steps, batch_size: how often it learns, and from how
            many rows on average."""

    #: Rows of a step at most as a share of all.
    most_rate: ClassVar[float] = 0.25

    steps: int = 600
    batch_size: int = 512

    def _open(self, train: Dataset, source: Noise) -> tuple[Array, float, float, Spent]:
        """Find the columns: (n, columns) tokens, the standard deviation of their counts, the noise of a step, what is spent.

        Raises GeneratorError without opacus, for a budget that is too small, and for columns that declare too little."""
        try:
            import opacus  # noqa: F401
        except ImportError:
            name = type(self).__module__.rpartition(".")[2]
            raise GeneratorError(
                f"generator.use: {name} needs opacus, which is not installed; run: pip install 'counterpoise[privacy]'"
            ) from None
        rows, columns = train.num_rows, train.schema.learned
        epsilon, delta = self.promised(rows, columns)
        rest = left(columns, self.bounds) * delta
        noise = self.noise or self._noise(rows, columns, epsilon, rest)
        look, single = self._look_noise(columns, epsilon, rest)
        found = find(train, self.bounds, look, delta, source, k=self.k)
        # The class first, then from few tokens to many.
        self.cells_ = tuple(sorted(found.cells, key=lambda c: (c.name != train.schema.target, c.size)))
        tokens = encode(train, self.cells_)
        paid = Spent(epsilon, delta, noise, "DP-SGD", self.bounds, self.secure, rows)
        return tokens, single * math.sqrt(tokens.shape[1]), noise, paid

    def _rate(self, rows: int) -> float:
        return min(self.batch_size / rows, self.most_rate)

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

    def _spends(self, rows: int, columns: Sequence[Column], noise: float, delta: float) -> float:
        return spent(self._parts(rows, columns, noise), delta)

    def _noise(self, rows: int, columns: Sequence[Column], epsilon: float, delta: float) -> float:
        beside = [p for p in self._parts(rows, columns, 1.0, epsilon, delta)[:2] if p.steps]
        return noise_for(epsilon, delta, rate=self._rate(rows), steps=self.steps, beside=beside)
