"""What lies between neighbours of one class? SMOTE and its kin, as imbalanced-learn draws them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, seal
from generators.tabular._conditions import matching, resolve
from generators.tabular._plain_rows import PlainRows, by_class, flagged, some
from generators.tabular._table import Finish, at_least, open_model, refuse, rng_of, write_json

if TYPE_CHECKING:
    from imblearn.over_sampling.base import BaseOverSampler

__all__ = ["SMOTE"]

STATE = "state.json"
ROWS = "rows.npz"
#: Most rows that one call of imbalanced-learn draws; it returns the real rows before the new ones each time.
DRAW_ROWS = 50_000
#: SMOTEN compares all rows of a class with all: 5,000 rows take 200 MB.
MOST_NOMINAL = 5_000


@dataclass
class SMOTE:
    """Synthetic Minority Over-sampling Technique: a row plus a random step towards a neighbour of its class.

    imbalanced-learn's SMOTE where every column is a number, SMOTENC where some are levels, SMOTEN where all are.
    Numbers are standardised first, so that the neighbours do not depend on units; a missing number is a level of its
    own beside the median. A reference: it invents nothing outside the line between two rows, and the tail of a class
    of few rows is what those rows say. A saved model holds the training rows.

    Source: Chawla et al. 2002 (SMOTE, SMOTE-NC, SMOTE-N); imbalanced-learn (Lemaitre et al. 2017).

    Fields:
        k_neighbors: neighbours to step towards; a class of fewer rows uses all it has.
        max_rows: rows of a class that are kept; a random choice beyond it.

    Learned: `rows_` (how they are read), `numbers_` (n, p) standardised, `codes_` (n, q), `labels_` (n,), `shares_`."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="neighbours",
        rows=2,
        rows_of_class=2,
        reference=True,
        fails=("privacy", "diversity"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {"k_neighbors": Range(1, 20, log=True)}

    k_neighbors: int = 5
    max_rows: int = 20_000

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Remember the rows, class by class.

        Raises GeneratorError when a class has one row, or there is nothing to learn."""
        refuse(train)
        at_least(self, 1, "k_neighbors")
        at_least(self, 2, "max_rows")
        self.finish_ = Finish.fit(train)
        self.rows_ = PlainRows.fit(train)
        labels = self._labels(train)
        kept = some(labels, self.max_rows if self.rows_.scales else min(self.max_rows, MOST_NOMINAL), rng_of(seed))
        self.shares_ = np.bincount(labels) / len(labels)
        self.labels_ = labels[kept]
        self._remember(self.rows_.numbers(train)[kept], self.rows_.codes(train)[kept])
        progress.advance(1, 1, "fit")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows. A condition on the target draws new rows of that class; others throw rows away.

        Raises GeneratorError for a class that train does not have, or a condition that is hardly ever met."""
        wanted = resolve(where, self.finish_.schema)
        target = self.rows_.target
        label = self.rows_.label(wanted.pop(target), self.shares_) if target in wanted else None
        start = 0

        def draw(rows: int, part: int) -> pa.RecordBatch:
            return self._learned(rows, label, part)

        for batch in matching(draw, n, wanted, seed=seed, rows=DRAW_ROWS):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def save(self, folder: Path) -> None:
        """Write the training rows as numbers and codes, how to read them, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self, f"{name}_") for name in ARRAYS}
        np.savez(folder / ROWS, **arrays)
        state = {"finish": self.finish_.to_state(), **self.rows_.to_state()}
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        family.finish_ = Finish.from_state(state["finish"])
        family.rows_ = PlainRows.from_state(state, family.finish_.schema.target)
        with stored.arrays(folder / ROWS) as arrays:
            for name in ARRAYS:
                setattr(family, f"{name}_", arrays[name])
        return family

    def _labels(self, train: Dataset) -> np.ndarray:
        """The class of each row. Raises GeneratorError when a class has one row."""
        labels = self.rows_.labels(train)
        if (alone := np.flatnonzero(np.bincount(labels) == 1)).size:
            what = f"class {self.rows_.name(int(alone[0]))} has" if self.rows_.target else "there is"
            raise GeneratorError(
                f"{what} one row only, and SMOTE needs two to draw between; add rows or use generator.use: gan"
            )
        return labels

    def _remember(self, raw: np.ndarray, codes: np.ndarray) -> None:
        missing = np.isnan(raw)
        self.gaps_ = np.flatnonzero(missing.any(axis=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # columns of nulls alone have no median
            middle = np.nan_to_num(np.nanmedian(raw, axis=0)) if raw.shape[1] else np.zeros(0)
        filled = np.where(missing, middle, raw)
        self.centre_ = filled.mean(axis=0)
        self.spread_ = np.where(filled.std(axis=0) > 0, filled.std(axis=0), 1.0)
        self.numbers_ = (filled - self.centre_) / self.spread_
        self.codes_ = flagged(raw, codes, self.gaps_)

    def _learned(self, n: int, label: int | None, seed: int) -> pa.RecordBatch:
        """`n` rows of the learned columns, of one class or in the shares of train."""
        numbers, codes, labels = by_class(self._between, n, label, self.shares_, seed)
        return self.rows_.write(numbers * self.spread_ + self.centre_, codes, labels, self.gaps_)

    def _between(self, label: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """`n` new rows of one class: standardised numbers and codes."""
        own = self.labels_ == label
        p, q = self.numbers_.shape[1], self.codes_.shape[1]
        if p + q == 0:
            return np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int64)
        sampler = self._sampler(int(own.sum()), {1: int(own.sum()) + n}, seed)
        # SMOTE and SMOTE-NC look at the class alone; SMOTE-N weighs levels by what they say of the class.
        rows = np.flatnonzero(own) if p else np.arange(len(own))
        x = np.hstack([self.numbers_[rows], self.codes_[rows].astype(np.float64)])
        y = own[rows].astype(np.int64)
        if y.all():  # imbalanced-learn refuses a single class; rows of another are never stepped towards
            x, y = np.vstack([x, x[:1]]), np.append(y, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            new = sampler.fit_resample(x, y)[0][len(x) :]
        return new[:, :p], np.rint(new[:, p:]).astype(np.int64)

    def _sampler(self, rows: int, strategy: dict[int, int], seed: int) -> BaseOverSampler:
        from imblearn import over_sampling

        p, q = self.numbers_.shape[1], self.codes_.shape[1]
        settings = {"sampling_strategy": strategy, "random_state": seed, "k_neighbors": min(self.k_neighbors, rows - 1)}
        if not q:
            return over_sampling.SMOTE(**settings)
        if not p:
            return over_sampling.SMOTEN(**settings)
        return over_sampling.SMOTENC(categorical_features=list(range(p, p + q)), **settings)


ARRAYS = ("numbers", "codes", "labels", "shares", "gaps", "centre", "spread")
