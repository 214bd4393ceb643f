"""Which rows are models trained and tested on? Draws of each class, with the weights that give the class mix back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data.dataset import Dataset
from data.encode_values import plain
from data.schema import Column, Schema
from validators._utility_cells import Encoder, Seen
from validators._utility_learners import Rows
from validators._utility_scores import draws_for, resampled
from validators.base import Evidence, Intent
from validators.mix import intended
from validators.points import drawn
from validators.sides import Sides, sides
from validators.stats import Array

#: Holdout rows that a class needs to be tested.
LEAST_TESTED = 10
#: Train rows that the encoder looks at.
ENCODER_ROWS = 10_000
#: Holdout rows that are scored, and cells of them.
TEST_ROWS, TEST_CELLS, LEAST_TEST_ROWS = 10_000, 500_000, 3000


class CannotJudgeError(ValueError):
    """Why models cannot be compared on these rows, in one sentence."""


def share_out(counts: Array, most: int) -> Array:
    """How many rows of each class to keep so that at most `most` are left: (k,) -> (k,) int, the largest are cut first."""
    counts = np.ceil(counts).astype(np.int64)
    if counts.sum() <= most:
        return counts
    low, high = 0, int(counts.max())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle)
    return np.asarray(np.minimum(counts, max(low, 1)))


@dataclass(frozen=True)
class Pool:
    """Rows in memory with their classes. labels: (n,) -1 where a row has none; mass: (k,) rows of each class in the whole
    set, of which `rows` may be a sample."""

    rows: Dataset
    labels: Array
    mass: Array

    @property
    def total(self) -> int:
        return int(self.mass.sum())

    @property
    def present(self) -> int:
        """How many classes there are."""
        return int((self.mass > 0).sum())

    def places(self, counts: Array, rng: np.random.Generator) -> Array:
        """Positions of that many random rows of each class, of all it has where it has fewer. Ascending."""
        parts = [drawn_of(np.flatnonzero(self.labels == y), int(k), rng) for y, k in enumerate(counts) if k]
        return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))

    def draw(self, encoder: Encoder, counts: Array, mass: Array, rng: np.random.Generator) -> Rows:
        """At most that many random rows of each class, weighted so that each class weighs its mass. counts, mass: (k,)."""
        return self.at(encoder, self.places(counts, rng), mass)

    def at(self, encoder: Encoder, places: Array, mass: Array) -> Rows:
        """The rows at these positions, weighted so that each class weighs its mass."""
        y = self.labels[places].astype(np.int64)
        held = np.bincount(y, minlength=len(mass))
        return Rows(encoder.read(self.rows.take(places)), y, (mass / np.maximum(held, 1))[y])


def drawn_of(rows: Array, most: int, rng: np.random.Generator) -> Array:
    """At most `most` of these, at random."""
    return rows if most >= len(rows) else rows[drawn(len(rows), most, rng)]


@dataclass(frozen=True)
class Test:
    """Real rows that models are tested on. weights: (n, 1 + draws), the first column for the estimate itself."""

    seen: Seen
    y: Array
    weights: Array


@dataclass(frozen=True)
class Task:
    """One classification: names of the classes, those that are tested, the rarest of these in train, and the rows.

    reference: None where it is the train set itself or holds a single class; groups: (n,) group of each train row, None
    without a group column."""

    names: tuple[str, ...]
    tested: Array
    minority: int
    encoder: Encoder
    train: Pool
    groups: Array | None
    reference: Pool | None
    synthetic: Pool
    test: Test
    intent: Intent

    @property
    def focus(self) -> Array:
        """Classes whose ranking is judged: the rarer of two, or all that are tested."""
        return np.array([self.minority]) if len(self.names) == 2 else self.tested


def task(evidence: Evidence) -> Task:
    """What models are to learn from this evidence. Raises CannotJudgeError where they cannot."""
    seen = sides(evidence)
    if seen.classes is None or len(seen.names) < 2:
        raise CannotJudgeError("only one class is judged, so there is nothing to predict")
    names, k = seen.names, len(seen.names)
    train = _pool(seen.train, _labels(seen.train, seen.intent), k)
    held = _pool(seen.holdout, seen.classes.holdout, k)
    synthetic = _synthetic(seen, k)
    tested = _tested(names, train, held)
    encoder = _encoder(train, evidence.intent.seed)
    distinct = evidence.reference is not evidence.train
    reference = _pool(seen.reference, seen.classes.reference, k) if distinct else None
    return Task(
        names=names,
        tested=tested,
        minority=int(tested[np.argmin(train.mass[tested])]),
        encoder=encoder,
        train=train,
        groups=groups_of(seen.train),
        reference=reference if reference is not None and reference.present > 1 else None,
        synthetic=synthetic,
        test=test_of(held, encoder, np.random.default_rng([evidence.intent.seed, 41]), classes=len(tested)),
        intent=evidence.intent,
    )


def test_of(pool: Pool, encoder: Encoder, rng: np.random.Generator, *, classes: int, draws: int | None = None) -> Test:
    """The rows of a pool as a test, cut to TEST_ROWS. draws: resamples; None for as many as are affordable."""
    # Classes are scored once each, and wide rows take long to encode: fewer rows of them.
    most = max(min(TEST_ROWS // (1 if classes <= 2 else classes), TEST_CELLS // encoder.columns), LEAST_TEST_ROWS)
    rows = pool.draw(encoder, share_out(pool.mass, most), pool.mass, rng)
    draws = draws_for(len(rows.y), 1 if classes <= 2 else classes) if draws is None else draws
    return Test(Seen(encoder, rows.cells), rows.y, resampled(rows.y, rows.w, draws, rng))


def features(schema: Schema) -> list[Column]:
    """The columns that predict: neither the target nor the group, whose values the holdout does not share."""
    return [c for c in schema.learned if c.name not in (schema.target, schema.group)]


def encoder_of(train: Dataset, columns: list[Column], labels: Array | None = None) -> Encoder:
    """The encoder of these train rows. Raises CannotJudgeError when no column varies."""
    encoder = Encoder.fit(train, columns, labels)
    if not encoder.columns:
        raise CannotJudgeError("no column besides the target varies in train, so there is nothing to predict from")
    return encoder


def _encoder(train: Pool, seed: int) -> Encoder:
    places = train.places(share_out(train.mass, ENCODER_ROWS), np.random.default_rng([seed, 43]))
    return encoder_of(train.rows.take(places), features(train.rows.schema), train.labels[places])


def narrow(rows: Dataset) -> Dataset:
    """Only the columns that predict, so that drawing rows copies nothing else; all where there are none."""
    names = [c.name for c in features(rows.schema)]
    return replace(rows, schema=rows.schema.select(names)) if names else rows


def _pool(rows: Dataset, labels: Array, k: int) -> Pool:
    return Pool(narrow(rows), labels, np.bincount(labels[labels >= 0], minlength=k).astype(float))


def _synthetic(seen: Sides, k: int) -> Pool:
    labels = seen.classes.synthetic if seen.classes is not None else np.zeros(0, dtype=np.int16)
    return Pool(narrow(seen.sample), seen.sample_labels, np.bincount(labels[labels >= 0], minlength=k).astype(float))


def _labels(rows: Dataset, intent: Intent) -> Array:
    """Class of each row among those the intended mix holds, -1 for none."""
    levels, mix = rows.schema.classes(), intended(intent, rows.schema)
    wanted = [i for i, level in enumerate(levels) if mix is None or level in mix]
    place = np.full(len(levels) + 1, -1, dtype=np.int16)  # the last one is read at -1
    place[wanted] = np.arange(len(wanted))
    return np.asarray(place[rows.labels()])


def groups_of(rows: Dataset) -> Array | None:
    """A number for each group; rows without one are groups of their own."""
    if rows.schema.group is None:
        return None
    codes = plain(rows.column(rows.schema.group)).dictionary_encode().indices
    found = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.asarray(np.where(found < 0, found.max(initial=0) + 1 + np.arange(len(found)), found))


def _tested(names: tuple[str, ...], train: Pool, held: Pool) -> Array:
    """(t,) classes with train rows and enough holdout rows. Raises CannotJudgeError when fewer than two are left."""
    if train.present < 2:
        raise CannotJudgeError("train holds one class alone, so no model can be trained on it")
    tested = np.flatnonzero((held.mass >= LEAST_TESTED) & (train.mass > 0))
    if len(tested) < 2:
        known = np.where(train.mass > 0, held.mass, np.inf)
        y = int(np.argmin(known))
        raise CannotJudgeError(
            f"class {names[y]!r} has {int(held.mass[y])} holdout rows, and {LEAST_TESTED} are needed to compare models"
        )
    return np.asarray(tested)
