"""Which few marginals of a table can be told with privacy, and which rows have them? The best at small budgets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.schema import Column
from generators.base import SILENT, Condition, Progress, Traits, seal
from generators.tabular._conditions import matching, part_seed, resolve
from generators.tabular._dp_account import rho_epsilon, rho_for
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
)
from generators.tabular._dp_marginals import Chain, learn
from generators.tabular._table import Finish, at_least, one_thread, open_model, refuse, rng_of, write_json

__all__ = ["DPMarginals"]

Array = np.ndarray
STATE, ARRAYS = "state.json", "chain.npz"
ROWS = 65_536


@dataclass
class DPMarginals:
    """Noisy counts of the marginals that matter, and the distribution of most entropy that has them.

    Columns become tokens (levels, bins); the marginals of single columns are measured, then those of two columns (of three with
    the class) of which the model is most wrong; a Markov random field is fitted to all of them. What is learned is
    (epsilon, delta) differentially private: nobody who sees the model or its rows can tell much better than by guessing whether
    one row was in train. Good at: tables of up to some dozens of columns, small budgets. Not for: fine detail of numbers.

    Source: McKenna et al. 2022 (AIM, arXiv 2201.12677); inference by the package mbi (McKenna et al. 2019, arXiv
    1901.09136).

    Fields:
        epsilon: the budget; 3 where neither it nor `noise` is stated. noise: in place of it, the noise of a single Gaussian
            mechanism that would spend as much. delta: how likely the promise may fail; 1 / (10 n) if not stated.
        bounds: whether ranges and levels that the plan does not declare are refused ("declared"), paid for ("budget"), or read
            off ("data"), which is then not private end to end. k: noisy counts do not find what fewer rows hold, whatever the
            budget.
        marginals: how many beyond single columns; twice the columns if not stated.
        secure: noise from the system's secrets; without, from the seed, for tests: who knows the seed can take it off.

    Learned: `cells_` (tokens of each column), `chain_` (chances), `known_` (of columns with undeclared levels), `finish_`,
    `spent_` (what was spent)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = False
    traits: ClassVar[Traits] = Traits(
        kind="marginals with differential privacy",
        rows=200,
        rows_of_class=20,
        private=True,
        fails=("diversity", "blur"),
    )

    epsilon: float | None = None
    noise: float | None = None
    delta: float | None = None
    bounds: Literal["declared", "budget", "data"] = "declared"
    k: int = 5
    marginals: int | None = None
    secure: bool = True

    def promised(self, rows: int, columns: Sequence[Column]) -> tuple[float, float]:
        """The epsilon and delta that a fit on so many rows of these columns spends, told without a look at them.

        Raises GeneratorError for settings that promise nothing, and columns that declare too little."""
        check(self, rows, columns)
        delta = delta_of(self, rows)
        rest = left(columns, self.bounds) * delta
        return (self.epsilon or EPSILON) if self.noise is None else rho_epsilon(1 / (2 * self.noise**2), rest), delta

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Measure and fit. What is measured is not measured twice: a killed fit has spent its budget, and starts anew.

        Raises GeneratorError when there is nothing to learn, for settings that make no sense, for columns that declare too
        little, and without mbi."""
        refuse(train)
        at_least(self, 1, "marginals", "k")
        source, rows = noise_of(self, seed), train.num_rows
        epsilon, delta = self.promised(rows, train.schema.learned)
        # Finding values that only the rows show uses a part of delta; the conversion has the rest.
        rest = left(train.schema.learned, self.bounds) * delta
        rho = rho_for(epsilon, rest) if self.noise is None else 1 / (2 * self.noise**2)
        count = looks(train.schema.learned, self.bounds)
        domain = rho * DOMAIN_PART if count else 0.0
        found = find(train, self.bounds, math.sqrt(count / (2 * domain)) if count else 1.0, delta, source, k=self.k)
        self.cells_ = found.cells
        sizes, names = [c.size for c in found.cells], [c.name for c in found.cells]
        target = train.schema.target
        classed = names.index(target) if target in names and train.schema[target].discrete else None
        with one_thread():
            most = self.marginals if self.marginals is not None else 2 * len(sizes)
            self.chain_ = learn(encode(train, found.cells), sizes, classed, rho - domain, most, source, progress)
        self.known_ = self._known()
        self.finish_ = finish_of(train.schema, found.cells)
        self.spent_ = Spent(epsilon, delta, math.sqrt(1 / (2 * rho)), "zero-concentrated (AIM)", self.bounds, self.secure, rows)
        return self

    def _known(self) -> dict[str, Array]:
        """Of columns with a token for other levels, the chances of the others, from rows of the model."""
        some = (
            self.chain_.draw(20_000, rng_of(0)) if any(c.others for c in self.cells_) else np.zeros((0, len(self.cells_)), int)
        )
        out = {}
        for i, column in enumerate(self.cells_):
            if column.others:
                counts = np.bincount(some[:, i], minlength=column.size)[: column.values].astype(float) + 1e-9
                out[column.name] = counts / counts.sum()
        return out

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows. A condition on the class is drawn directly; one on other columns throws rows away.

        Raises GeneratorError for a condition that is hardly ever met."""
        wanted = resolve(where, self.finish_.schema)
        given, rest = self._given(wanted)
        start = 0

        def draw(rows: int, part: int) -> pa.RecordBatch:
            rng = rng_of(part)
            tokens = self.chain_.draw(rows, rng, given)
            return pa.RecordBatch.from_pydict(columns_of(self.cells_, tokens, self.known_, rng))

        for batch in matching(draw, n, rest, seed=part_seed(seed, 1), rows=ROWS):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def _given(self, wanted: Mapping[str, Any]) -> tuple[dict[int, int], dict[str, Any]]:
        """The condition on the first column of the chain as a token, and what is left of the condition."""
        first = self.cells_[self.chain_.order[0]]
        if first.levels is None or wanted.get(first.name) is None:
            return {}, dict(wanted)
        rest = {name: value for name, value in wanted.items() if name != first.name}
        return {self.chain_.order[0]: first.levels.values.index(wanted[first.name])}, rest

    def save(self, folder: Path) -> None:
        """Write tokens, chances, what was spent, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        tables: dict[str, Any] = {f"t{i}": table for i, table in enumerate(self.chain_.tables)}
        np.savez(folder / ARRAYS, **tables | {f"k.{name}": p for name, p in self.known_.items()})
        state = {
            "finish": self.finish_.to_state(),
            "cells": [c.to_state() for c in self.cells_],
            "order": self.chain_.order,
            "parents": self.chain_.parents,
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
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            tables = tuple(arrays[f"t{i}"] for i in range(len(state["order"])))
            family.known_ = {name[2:]: arrays[name] for name in arrays.files if name.startswith("k.")}
        family.chain_ = Chain(tuple(state["order"]), tuple(map(tuple, state["parents"])), tables)
        return family
