"""Which few marginals of a table can be told with privacy, and which rows have them? The best at small budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from data.dataset import Dataset
from data.schema import Column
from generators import _stored as stored
from generators.base import SILENT, Progress, Traits
from generators.tabular._dp_account import rho_epsilon, rho_for
from generators.tabular._dp_base import Private
from generators.tabular._dp_domain import find, left, looks
from generators.tabular._dp_family import DOMAIN_PART, Spent, encode, noise_of
from generators.tabular._dp_marginals import Chain, learn
from generators.tabular._table import at_least, one_thread, refuse, rng_of

__all__ = ["DPMarginals"]

Array = np.ndarray
ARRAYS = "chain.npz"


@dataclass
class DPMarginals(Private):
    """Noisy counts of the marginals that matter, and the distribution of most entropy that has them.

    Columns become tokens (levels, bins); the marginals of single columns are measured, then those of two columns (of three with
    the class) of which the model is most wrong; a Markov random field is fitted to all of them. What is learned is
    (epsilon, delta) differentially private: nobody who sees the model or its rows can tell much better than by guessing whether
    one row was in train. Good at: tables of up to some dozens of columns, small budgets. Not for: fine detail of numbers.

    Source: McKenna et al. 2022 (AIM, arXiv 2201.12677); inference by the package mbi (McKenna et al. 2019, arXiv
    1901.09136).

    Fields, beside those of `Private` (generators/tabular/_dp_base.py):
        noise: of a single Gaussian mechanism that would spend as much. marginals: how many beyond single columns; twice the
            columns if not stated.

    Learned: `cells_` (tokens of each column), `chain_` (chances), `known_` (of columns with undeclared levels), `finish_`,
    `spent_` (what was spent)."""

    batch_rows: ClassVar[int] = 65_536
    traits: ClassVar[Traits] = Traits(
        kind="marginals with differential privacy",
        rows=200,
        rows_of_class=20,
        private=True,
        fails=("diversity", "blur"),
    )

    marginals: int | None = None

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
            nulls = [i for i, c in enumerate(found.cells) if c.nulls]
            tokens = encode(train, found.cells)
            self.chain_ = learn(tokens, sizes, classed, rho - domain, most, source, progress, nulls=nulls)
        paid = Spent(epsilon, delta, math.sqrt(1 / (2 * rho)), "zero-concentrated (AIM)", self.bounds, self.secure, rows)
        self._keep(train, found.cells, self._known(), paid)
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

    def _spends(self, rows: int, columns: Sequence[Column], noise: float, delta: float) -> float:
        return rho_epsilon(1 / (2 * noise**2), delta)

    def _first(self) -> int:
        return self.chain_.order[0]

    def _tokens(self, rows: int, given: dict[int, int], part: int, rng: np.random.Generator) -> Array:
        return self.chain_.draw(rows, rng, given)

    def _write(self, folder: Path) -> dict[str, Any]:
        tables: dict[str, Any] = {f"t{i}": table for i, table in enumerate(self.chain_.tables)}
        np.savez(folder / ARRAYS, **tables | {f"k.{name}": p for name, p in self.known_.items()})
        return {"order": self.chain_.order, "parents": self.chain_.parents}

    def _read(self, folder: Path, state: dict[str, Any]) -> None:
        with stored.arrays(folder / ARRAYS) as arrays:
            tables = tuple(arrays[f"t{i}"] for i in range(len(state["order"])))
            self.known_ = {name[2:]: arrays[name] for name in arrays.files if name.startswith("k.")}
        self.chain_ = Chain(tuple(state["order"]), tuple(map(tuple, state["parents"])), tables)
