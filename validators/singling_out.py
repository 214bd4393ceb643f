"""Do the synthetic rows tell by which few conditions a single person can be found?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from data.dataset import Dataset
from data.schema import Column
from validators._privacy_risk import Attack, judged
from validators._privacy_rows import LEAST, attacked
from validators._privacy_space import column_keys, numbers
from validators.base import Evidence, Finding
from validators.singling_out_size import stretch
from validators.stats import Array

CHECK = "singling_out"
#: Predicates of each attack, and how many are tried to find so many.
GUESSES, TRIES = 2000, 20_000
#: Rows of a side; train and synthetic have as many, since the chance to be alone depends on that.
MOST = 10_000
#: The holdout may be so many times smaller: the model of its size errs by some .03 of a rate then, and by .1 at ten times.
STRETCH = 3
#: Columns of a multivariate predicate.
FEWEST, WIDEST = 2, 5
#: Rows of both sides that a predicate may hold for to mark them.
HELD = 6

Op = Literal["is", "<=", ">=", "null"]
Condition = tuple[int, Op, Any]
Predicate = tuple[Condition, ...]


@dataclass(frozen=True)
class SinglingOutCheck:
    """An attacker makes conditions that hold for one synthetic row, and hopes that they hold for one real person.

    Univariate: a value that one synthetic row has, or a least or greatest value and beyond. Multivariate: conditions on two to
    five columns of a random synthetic row (a level; a number and beyond, away from the median) that no other one meets. A
    success is a predicate that holds for exactly one of N training rows, N synthetic rows make them up, and naive ones are
    drawn from the columns' ranges and levels at random. The control is the same predicate among holdout rows. Where these are
    fewer than N, the chance to be alone among them is another, and the control's rate is multiplied by what
    `singling_out_size` finds for N. N is at most 10,000, and at most STRETCH times the holdout; of more training rows a random
    part is attacked, and what leaks of the others is not counted.

    Blocks where the risk, (attack - control) / (1 - control), is surely above .10: the lower end of its 95 % interval is, and
    training rows are marked by rare predicates more than holdout rows are, by Mann-Whitney's test at this check's share of
    alpha, which is then its rate of false alarms where nothing leaks: predicates share rows, and their successes cannot be
    tested as if they did not. Warns from .05.

    Source: Giomi et al. 2023, A Unified Framework for Quantifying Privacy Risk in Synthetic Data (PoPETs 2023(2)), section 5.1
    and algorithms 1 and 2; the size of the control as its package anonymeter does it (`validators.singling_out_size`)."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for quasi-identifiers that are not there; too few rows give SKIPPED."""
        seen = attacked(evidence)
        at, rng = seen.at, seen.rng(3)
        size = min(at.train.num_rows, STRETCH * at.holdout.num_rows, at.sample.num_rows, MOST)
        unseen = min(at.holdout.num_rows, size)
        if unseen < LEAST:
            return Finding(CHECK, "SKIPPED", summary=f"{unseen} rows a side are too few to attack; {LEAST} are needed")
        taken = ((at.train, size), (at.holdout, unseen), (at.sample, size))
        some = [rows.take(rng.permutation(rows.num_rows)[:count]) for rows, count in taken]
        columns = seen.roles.columns
        train, holdout, made = (_Rows.of(rows, columns) for rows in some)
        both = (train, holdout)
        tries = [("one column", _univariate(made, rng), 1)]
        if len(columns) >= FEWEST:
            tries.append((f"{FEWEST} to {min(WIDEST, len(columns))} columns", _multivariate(made, rng), WIDEST))
        attacks = [_attack(f"singling out by {name}", kept, made, both, widest, rng) for name, kept, widest in tries if kept]
        if not attacks:
            return Finding(CHECK, "SKIPPED", summary="no condition holds for a single synthetic row")
        return judged(CHECK, attacks, evidence, rows=size, holdout_rows=unseen, train_rows=at.train.num_rows)


@dataclass(frozen=True)
class _Rows:
    """Columns of one side as arrays: numbers (n,) float64 with NaN, levels (n,) uint64 keys; nulls: (n,) bool each."""

    values: tuple[Array, ...]
    nulls: tuple[Array, ...]
    ordered: tuple[bool, ...]

    @classmethod
    def of(cls, rows: Dataset, columns: tuple[Column, ...]) -> _Rows:
        values = tuple(column_keys(rows, c) if c.discrete else numbers(rows, c) for c in columns)
        nulls = tuple(
            np.asarray(rows.column(c.name).is_null(nan_is_null=True).to_numpy(zero_copy_only=False), dtype=bool)
            for c in columns
        )
        return cls(values, nulls, tuple(not c.discrete for c in columns))

    def holds(self, predicate: Predicate) -> Array:
        """Positions of the rows that meet all conditions: (k,)."""
        met = [self._met(*condition) for condition in predicate]
        return np.flatnonzero(np.logical_and.reduce(met))

    def _met(self, column: int, op: Op, value: Any) -> Array:
        if op == "null":
            return self.nulls[column]
        seen = self.values[column]
        return np.asarray(seen == value if op == "is" else seen <= value if op == "<=" else seen >= value)

    def known(self, column: int) -> Array:
        """Values that are no null."""
        return self.values[column][~self.nulls[column]]


def _univariate(made: _Rows, rng: np.random.Generator) -> list[Predicate]:
    """At most GUESSES conditions on one column that hold for one synthetic row (algorithm 1)."""
    out: list[Predicate] = []
    for column, ordered in enumerate(made.ordered):
        values, counts = np.unique(made.known(column), return_counts=True)
        if not len(values):
            continue
        out += [((column, "is", value),) for value in values[counts == 1]]
        if ordered:
            ends: tuple[tuple[Op, int], ...] = (("<=", 0), (">=", -1))
            out += [((column, op, values[end]),) for op, end in ends if counts[end] == 1]
        if made.nulls[column].sum() == 1:
            out.append(((column, "null", None),))
    return [out[i] for i in rng.permutation(len(out))[:GUESSES]]


def _multivariate(made: _Rows, rng: np.random.Generator) -> list[Predicate]:
    """At most GUESSES conditions on several columns of a random row that hold for it alone (algorithm 2)."""
    middles = [float(np.nanmedian(v)) if o and len(made.known(j)) else 0.0
               for j, (v, o) in enumerate(zip(made.values, made.ordered, strict=True))]  # fmt: skip
    width = len(made.values)
    out: list[Predicate] = []
    for _ in range(TRIES):
        if len(out) == GUESSES:
            break
        row = int(rng.integers(len(made.values[0])))
        chosen = rng.permutation(width)[: int(rng.integers(FEWEST, min(WIDEST, width) + 1))]
        predicate = tuple(_condition(made, int(j), row, middles[j]) for j in chosen)
        if len(made.holds(predicate)) == 1:
            out.append(predicate)
    return out


def _condition(made: _Rows, column: int, row: int, middle: float) -> Condition:
    if made.nulls[column][row]:
        return column, "null", None
    value = made.values[column][row]
    if not made.ordered[column]:
        return column, "is", value
    return column, ">=" if value >= middle else "<=", value


def _naive(made: _Rows, widest: int, count: int, rng: np.random.Generator) -> list[Predicate]:
    """Conditions of random columns, directions and values within the ranges and levels of the synthetic rows."""
    width = len(made.values)
    spans = [made.known(j) for j in range(width)]
    levels = [s if not len(s) else (s.min(), s.max()) if o else np.unique(s) for s, o in zip(spans, made.ordered, strict=True)]
    full = [j for j in range(width) if len(spans[j])]
    out: list[Predicate] = []
    for _ in range(count if full else 0):
        most = min(widest, len(full))
        many = 1 if widest == 1 else int(rng.integers(min(FEWEST, most), most + 1))
        chosen = rng.permutation(full)[:many]
        out.append(tuple(_random(int(j), levels[j], made.ordered[j], rng) for j in chosen))
    return out


def _random(column: int, levels: Any, ordered: bool, rng: np.random.Generator) -> Condition:
    if not ordered:
        return column, "is", levels[rng.integers(len(levels))]
    operators: tuple[Op, ...] = ("is", "<=", ">=")
    return column, operators[int(rng.integers(3))], float(rng.uniform(*levels))


def _attack(
    name: str, predicates: list[Predicate], made: _Rows, both: tuple[_Rows, _Rows], widest: int, rng: np.random.Generator
) -> Attack:
    held = [[rows.holds(predicate) for predicate in predicates] for rows in both]
    hits = [sum(len(rows) == 1 for rows in side) for side in held]
    sizes = [len(rows.values[0]) for rows in both]
    naive = _naive(made, widest, len(predicates), rng)
    guessed = sum(len(both[0].holds(predicate)) == 1 for predicate in naive)
    times = stretch(np.array([len(rows) for rows in held[1]]), sizes[1], sizes[0])
    return Attack(name, len(predicates), hits[0], hits[1], guessed, _marked(held, sizes), times)


def _marked(held: list[list[Array]], sizes: Sequence[int]) -> float:
    """How surprising it is that training rows are marked by more predicates than holdout rows are.

    A predicate marks the rows that it holds for, each by one over their number, where they are few on both sides together.
    That does not look at which side they are on, so that where nothing leaks the marks of both sides are exchangeable, however
    many rows each has, and Mann-Whitney's test of them errs as often as it says, though predicates share rows."""
    from scipy.stats import mannwhitneyu

    marks = [np.zeros(size) for size in sizes]
    for one, two in zip(*held, strict=True):
        if 0 < (total := len(one) + len(two)) <= HELD:
            marks[0][one] += 1 / total
            marks[1][two] += 1 / total
    return 1.0 if np.ptp(np.concatenate(marks)) == 0 else float(mannwhitneyu(marks[0], marks[1], alternative="greater").pvalue)
