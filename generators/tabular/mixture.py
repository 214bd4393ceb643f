"""Of which few Gaussians are the numbers of each class made? A mixture of them, class by class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, seal
from generators.tabular._class_mixture import ClassMixture
from generators.tabular._conditions import matching, outside, part_seed, place_of, resolve
from generators.tabular._plain_rows import PlainRows, by_class, flagged, some
from generators.tabular._table import Finish, at_least, open_model, refuse, rng_of, write_json

__all__ = ["Mixture"]

Array = np.ndarray
STATE = "state.json"
ARRAYS = "mixtures.npz"


@dataclass
class Mixture:
    """A Gaussian mixture of each class; levels come from real rows that belong to the component that gives the numbers.

    A reference that is quick and hard to beat where a class has few rows and its columns are numbers. Numbers are
    standardised within their class, and every component has a full covariance. So a class of few rows has fewer
    components: ten rows are needed for each, and 2 (p + 1) where p of its columns are numbers that vary. A single
    component is the mean and the covariance of the class, with one row's worth of independence between columns, so that
    fewer rows than columns will do. A component that ends with fewer than ten rows takes in the spread of the others, so
    that it is no copy of a row. A column of which the class has one value varies as it does within other classes; where
    no class has two rows, its row is drawn again.

    Levels are drawn together, as a row of the class holds them that belongs to the component, so that pairs of levels
    stay; within a component they say nothing of the numbers. Whether a number is missing is such a level. Where it is
    missing in train, numbers are drawn given the rest of their row while the mixture is fitted. In a class without any
    number that varies, rows of levels would be copies: there each level is drawn by itself within a component, and the
    components are those of a latent class model.

    Drawn numbers are clipped to the range of train, rounded and made whole as their column is. A value that all rows of a
    component hold is kept; else a column that repeats few values is smeared between them. A saved model holds combinations
    of levels of training rows, and no row's numbers but those of a class of one row.

    Sources: McLachlan and Peel 2000 (Finite Mixture Models); scikit-learn's GaussianMixture (Pedregosa et al. 2011);
    Lazarsfeld and Henry 1968 (latent classes); Celeux and Diebolt 1985 (stochastic EM, for what is missing).

    Fields:
        components: Gaussians of each class at most.
        max_rows: rows of a class that are learned from; a random choice beyond it.

    Learned: `rows_` (how they are read), `mixtures_` (of each class), `gaps_` (numbers that may be missing), `shares_`."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="Gaussian mixture",
        rows=2,
        rows_of_class=2,
        reference=True,
        fails=("blur", "privacy"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {"components": Range(1, 12, log=True)}

    components: int = 3
    max_rows: int = 20_000

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Fit the mixture of each class.

        Raises GeneratorError when there is nothing to learn or a setting makes no sense, DataError for infinite values."""
        from threadpoolctl import threadpool_limits

        refuse(train)
        at_least(self, 1, "components", "max_rows")
        self.finish_, self.rows_ = Finish.fit(train), PlainRows.fit(train)
        labels, numbers = self.rows_.labels(train), self.rows_.numbers(train)
        self.shares_ = np.bincount(labels) / len(labels)
        self.gaps_ = np.flatnonzero(np.isnan(numbers).any(axis=0))
        codes, spread = flagged(numbers, self.rows_.codes(train), self.gaps_), _within(numbers, labels)
        kept = some(labels, self.max_rows, rng_of(seed))
        classes = np.unique(labels)
        self.mixtures_: dict[int, ClassMixture] = {}
        for done, label in enumerate(classes.tolist()):
            rows = kept[labels[kept] == label]
            with threadpool_limits(1):  # the same sums on any number of cores, and small matrices gain nothing by more
                self.mixtures_[label] = ClassMixture.fit(
                    numbers[rows], codes[rows], self.components, spread=spread, seed=part_seed(seed, label)
                )
            progress.advance(done + 1, len(classes), "class")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows. A condition on the class is drawn directly; one on other columns throws rows away.

        Raises GeneratorError for a class or a number that train does not reach, or a condition that is hardly ever met."""
        wanted = resolve(where, self.finish_.schema)
        target = self.rows_.target
        label = self.rows_.label(wanted.pop(target), self.shares_) if target in wanted else None
        for name, value in wanted.items():
            self._reaches(name, value)
        start = 0

        def draw(rows: int, part: int) -> pa.RecordBatch:
            return self.rows_.write(*by_class(self._drawn, rows, label, self.shares_, part), self.gaps_)

        for batch in matching(draw, n, wanted, seed=seed):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def save(self, folder: Path) -> None:
        """Write the mixtures, how to read rows, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = {f"{k}.{f.name}": getattr(mixture, f.name) for k, mixture in self.mixtures_.items() for f in fields(mixture)}
        np.savez(folder / ARRAYS, shares=self.shares_, gaps=self.gaps_, **parts)
        write_json(folder / STATE, {"finish": self.finish_.to_state(), **self.rows_.to_state()})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        family.finish_ = Finish.from_state(state["finish"])
        family.rows_ = PlainRows.from_state(state, family.finish_.schema.target)
        with stored.arrays(folder / ARRAYS) as arrays:
            family.shares_, family.gaps_ = arrays["shares"], arrays["gaps"]
            family.mixtures_ = {
                int(k): ClassMixture(**{f.name: arrays[f"{k}.{f.name}"] for f in fields(ClassMixture)})
                for k in np.flatnonzero(family.shares_)
            }
        return family

    def _drawn(self, label: int, n: int, seed: int) -> tuple[Array, Array]:
        return self.mixtures_[label].draw(n, rng_of(seed))

    def _reaches(self, name: str, value: object) -> None:
        """Raises GeneratorError for a number beyond the range of train, which no drawn row holds."""
        scale = self.rows_.scales.get(name)
        if scale is not None and value is not None and not scale.low <= place_of(scale, value, name) <= scale.high:
            raise GeneratorError(outside(name, value, scale))


def _within(numbers: Array, labels: Array) -> Array:
    """The standard deviation of each column about the means of the classes: (n, p) with NaN -> (p,), 0 where none has two."""
    total, free = np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
    for label in np.unique(labels):
        own = numbers[labels == label]
        seen = ~np.isnan(own)
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, own, 0).sum(axis=0) / count
        total += (np.where(seen, own - mean, 0) ** 2).sum(axis=0)
        free += count - 1
    return np.sqrt(total / np.maximum(free, 1))
