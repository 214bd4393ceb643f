"""How strongly do two columns depend on one another, and by how much has that surely changed?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtri
from scipy.stats import t as student

from data.dataset import Dataset
from data.encode import Ranks
from data.encode_values import Levels, floats
from data.schema import Column
from validators.stats import Array

#: Parts that a column is cut into, at most, and reference rows that each cell of two columns has on average, at least.
PARTS, CELL_ROWS = 10, 5
#: Reference rows that a part needs to be given a value of its own.
PART_ROWS = 5
#: Columns whose pairs are compared, at most; reference rows that values are learned from.
MOST_COLUMNS, REFERENCE_ROWS = 100, 50_000
#: Rows in which both columns of a pair must vary, in reference and holdout. Errors by which a loss of it all must stand out.
LEAST_EFFECTIVE, WORTH = 20, 3.0
#: -log of the chance that more rows of a kind are to come than RARE of those known, which hold none. Fourth moment of a normal.
RARE, NORMAL = 14.0, 3.0
#: Least error of a correlation, times the holdout rows.
LEAST_ERROR = 0.1
#: Ranks are kept so far from 0 and 1.
EDGE = 1e-5
#: Largest change that is looked for; what a change of 1 is in r, at least: of parts, of numbers, and of numbers
#: where it is only to be warned of.
MOST_CHANGE, OF_PARTS, OF_NUMBERS, OF_NUMBERS_FINE = 3.0, 0.2, 0.1, 0.02
LINE, ANY = "line", "any"


@dataclass(frozen=True)
class Pairs:
    """Correlations of k pairs of columns in holdout and synthetic rows.

    names: the pairs; kinds: LINE where two numbers' ranks are correlated, ANY where the parts of both columns are;
    real, made: (k,) correlations; real_noise, made_noise: (k,) their variances times the rows;
    rows: holdout rows, synthetic rows, and real rows of holdout and reference together."""

    names: list[tuple[str, str]]
    kinds: list[str]
    real: Array
    made: Array
    real_noise: Array
    made_noise: Array
    rows: tuple[int, int, int]

    def changed(self, alpha: float, *, fine: bool = False) -> Array:
        """By how much each correlation has surely changed, each at this level: (k,), 0 where nothing is sure.

        The largest c for which the synthetic correlation is surely farther than c from the real one, by Student's t on the
        variances of both. A change is one of Fisher's z, atanh(r), and of a part of it in r, a fifth for ANY and a tenth for
        LINE, a fiftieth where `fine`: near 1, where z has no end, a few rows off the line are not a large change. Of ANY only
        what is lost counts, as its values were chosen for the reference rows, and who has learned from those may well show
        more."""
        bound = float(student.isf(alpha / 2, self._freedom))
        lost = self._beyond(self.real, self.made, bound, fine)
        return np.where(self._line, np.maximum(lost, self._beyond(-self.real, -self.made, bound, fine)), lost)

    def p_values(self, tolerance: float, *, fine: bool = False) -> Array:
        """(k,) p of "the correlation has changed by no more than `tolerance`", unadjusted."""
        least = self._least(fine)
        below = self._distance(self.real, self.made, np.full(len(self.real), tolerance), least)
        above = self._distance(-self.real, -self.made, np.full(len(self.real), tolerance), least)
        t = np.where(self._line, np.maximum(below, above), below)
        return np.asarray(np.minimum(2 * student.sf(t, self._freedom), 1.0))

    def noticed(self, alpha: float, strength: float, tolerance: float) -> float | None:
        """To what a correlation of `strength` must have fallen to be noticed with about 95 % power; None if nothing is."""
        n, m, known = self.rows
        bound = float(student.isf(alpha / 2, self._freedom)) + 1.645
        for least in np.arange(strength, 0.0, -0.01):
            noise = _of_holdout(_noise(strength), _noise(least), NORMAL, known)
            error = np.sqrt(_noise(least) / m + _slope(strength, tolerance, OF_NUMBERS) ** 2 * noise / n)
            if _moved(strength, tolerance, OF_NUMBERS) - least > bound * error:
                return float(round(least, 2))
        return None

    @property
    def _freedom(self) -> int:
        return max(min(self.rows) - 2, 1)

    @property
    def _line(self) -> Array:
        return np.array([kind == LINE for kind in self.kinds], dtype=bool)

    def _least(self, fine: bool) -> Array:
        return np.where(self._line, OF_NUMBERS_FINE if fine else OF_NUMBERS, OF_PARTS)

    def _beyond(self, real: Array, made: Array, bound: float, fine: bool) -> Array:
        """The largest c so that made + bound errors lies below real moved by c, by bisection; 0 where there is none: (k,)."""
        low, high, least = np.zeros(len(real)), np.full(len(real), MOST_CHANGE), self._least(fine)
        some = self._distance(real, made, low, least) > bound
        for _ in range(30):
            middle = (low + high) / 2
            sure = self._distance(real, made, middle, least) > bound
            low, high = np.where(sure, middle, low), np.where(sure, high, middle)
        return np.where(some, low, 0.0)

    def _distance(self, real: Array, made: Array, change: Array, least: Array) -> Array:
        """How many errors the synthetic correlation lies below the real one less `change`: (k,)."""
        n, m, _ = self.rows
        error = np.sqrt(self.made_noise / m + _slope(real, change, least) ** 2 * self.real_noise / n)
        # Where both sides are the same function of the other column in every row there is no error, and no difference.
        return np.asarray((_moved(real, change, least) - made) / np.maximum(error, LEAST_ERROR / n))


def _moved(r: Array | float, change: Array | float, least: Array | float) -> Array:
    """The correlation that lies `change` below r: tanh(atanh(r) - change), and lower by `least` times it at least."""
    return np.minimum(_fisher(r, change), r - least * np.asarray(change))


def _fisher(r: Array | float, change: Array | float) -> Array:
    step = np.tanh(change)
    return np.asarray((r - step) / np.maximum(1 - r * step, 1e-12))


def _slope(r: Array | float, change: Array | float, least: Array | float) -> Array:
    """The derivative of `_moved` by r."""
    step = np.tanh(change)
    slope = (1 - step**2) / np.maximum(1 - r * step, 1e-12) ** 2
    return np.where(_fisher(r, change) < r - least * np.asarray(change), slope, 1.0)


def _noise(r: float) -> float:
    return float((1 - r**2) ** 2)


# --- columns as values


@dataclass(frozen=True)
class Reader:
    """Any column as parts: its most frequent levels, or ranges of equal mass, the others (`most` - 1), null (`most`)."""

    column: Column
    most: int
    levels: Levels | None
    ranks: Ranks | None

    @classmethod
    def fit(cls, column: Column, rows: Dataset) -> Reader:
        """Learned from reference rows."""
        values, most = rows.column(column.name), int(np.clip(np.sqrt(rows.num_rows / CELL_ROWS), 2, PARTS))
        if column.discrete:
            return cls(column, most, Levels.fit(values, column), None)
        seen = floats(values, column.name)
        return cls(column, most, None, Ranks.fit(seen[~np.isnan(seen)]))

    def read(self, rows: Dataset) -> tuple[Array, Array | None]:
        """(n,) parts and, of numbers, (n,) normal scores of their ranks, null in the middle."""
        values, last = rows.column(self.column.name), self.most - 1
        if self.levels is not None:
            codes = self.levels.read(values)
            return np.where(codes == -2, self.most, np.where(codes < 0, last, np.minimum(codes, last))), None
        assert self.ranks is not None  # noqa: S101 - a column has levels or an order
        seen = floats(values, self.column.name)
        rank = self.ranks(seen)
        parts = np.where(np.isnan(seen), self.most, np.minimum(rank * self.most, last)).astype(np.int64)
        return parts, ndtri(rank.clip(EDGE, 1 - EDGE))


# --- correlations


def compare(
    columns: Sequence[Column], reference: Dataset, holdout: Dataset, made: Dataset, *, whole: bool = True
) -> tuple[Pairs, Pairs]:
    """Correlations of all pairs of these columns, of synthetic and of reference rows beside the holdout's; of more than
    MOST_COLUMNS, of those that depend most on others.

    Two numbers: of the normal scores of their ranks (LINE). Any two columns: of the values given to their parts that correlate
    most in the reference rows (ANY), the first pair of canonical variables of their table (Hirschfeld 1935; Greenacre 1984,
    Theory and Applications of Correspondence Analysis, section 4.1), where the reference shows a dependence whose loss could
    be noticed. Of rows that are not the `whole` set only such pairs are compared, two numbers by their ranks alone. Columns
    and values that vary in less than LEAST_EFFECTIVE rows are left out. Variances are those of the influence function, so
    that no distribution is assumed."""
    if reference.num_rows > REFERENCE_ROWS:
        reference = reference.take(np.linspace(0, reference.num_rows - 1, REFERENCE_ROWS).astype(np.int64))
    readers = [Reader.fit(column, reference) for column in columns]
    sides = [[reader.read(rows) for reader in readers] for rows in (reference, holdout, made)]
    kept = _chosen(sides[0])
    names = [columns[k].name for k in kept]
    found = _lines(names, [[side[k][1] for k in kept] for side in sides], whole)
    numbers = [not whole and readers[k].ranks is not None for k in kept]
    found += _parts(names, numbers, [readers[k].most + 1 for k in kept], [[side[k][0] for k in kept] for side in sides])
    told, real, other = (_columns([each.sides[side] for each in found]) for side in range(3))
    fourth = np.array([reference.num_rows / each.sides[0].effective for each in found])
    known = holdout.num_rows + reference.num_rows

    def beside(side: Array, rows: int) -> Pairs:
        noise = _of_holdout(np.maximum(real[1], told[1]), side[1], fourth, known)
        names, kinds = [each.names for each in found], [each.kind for each in found]
        return Pairs(names, kinds, real[0], side[0], noise, side[1], (holdout.num_rows, rows, known))

    return beside(other, made.num_rows), beside(told, reference.num_rows)


def _columns(side: Sequence[Correlation]) -> Array:
    """Correlations and their variances: (2, k)."""
    return np.array([(each.r, each.noise) for each in side]).reshape(-1, 2).T


def _of_holdout(real: Array | float, made: Array | float, fourth: Array | float, known: int) -> Array:
    """The variance of the holdout's correlation, times its rows.

    Where all real rows agree, as those of two columns do that are all but equal, their own variance is nothing, and rows that
    disagree may yet be among the unseen: RARE of all rows that are `known`, at most, each of which adds about the square of the
    fourth moment. What the synthetic rows show is the most that is added."""
    return np.asarray(np.maximum(real, np.minimum(real + RARE * np.square(fourth) / known, made)))


def _chosen(read: Sequence[tuple[Array, Array | None]]) -> list[int]:
    """The columns that are compared, in their order."""
    if len(read) <= MOST_COLUMNS:
        return list(range(len(read)))
    values = np.stack([parts == 0 if scores is None else scores for parts, scores in read]).astype(np.float64)
    strength = np.abs(np.nan_to_num(_moments(values)[0]))
    np.fill_diagonal(strength, 0.0)
    return sorted(np.argsort(-strength.max(axis=1), kind="stable")[:MOST_COLUMNS].tolist())


@dataclass(frozen=True)
class Correlation:
    """r, the variance of its influence function, and in how many rows both columns vary."""

    r: float
    noise: float
    effective: float


#: What a column that does not vary among the synthetic rows has with any other.
NONE = Correlation(0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Found:
    """A pair of columns; sides: in reference, holdout and synthetic rows."""

    names: tuple[str, str]
    kind: str
    sides: tuple[Correlation, Correlation, Correlation]


def _lines(names: Sequence[str], scores: Sequence[Sequence[Array | None]], whole: bool) -> list[Found]:
    """Pairs of numbers, unless `whole` those that correlate in the reference."""
    numbers = [k for k in range(len(names)) if scores[0][k] is not None]
    if len(numbers) < 2:
        return []
    stacked = [np.stack([each for each in side if each is not None]) for side in scores]
    found, rows = [_moments(side) for side in stacked], stacked[1].shape[1]
    varies = np.minimum(*(side[2] for side in found[:2])) >= LEAST_EFFECTIVE
    out: list[Found] = []
    for i, j in combinations(np.flatnonzero(varies).tolist(), 2):
        told, real, made = (
            Correlation(float(r[i, j]), float(noise[i, j]), float(min(many[i], many[j]))) if np.isfinite(r[i, j]) else NONE
            for r, noise, many in found
        )
        if whole or abs(told.r) * np.sqrt(rows) > WORTH:
            out.append(Found((names[numbers[i]], names[numbers[j]]), LINE, (told, real, made)))
    return out


def _moments(values: Array) -> tuple[Array, Array, Array]:
    """(p, n) -> correlations (p, p), the variances of their influence functions, E (xy - r (x^2 + y^2) / 2)^2, and in how many
    rows each column varies (p,): n over its fourth moment, which is about the rarer rows of a column of two values."""
    centred = values - values.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.where(spread > 1e-12, centred / spread, np.nan)
    n = x.shape[1]
    square = x**2
    r, both, cubed, fourth = x @ x.T / n, square @ square.T / n, (x * square) @ x.T / n, (square**2).mean(axis=1)
    noise = both - r * (cubed + cubed.T) + r**2 / 4 * (fourth[:, None] + 2 * both + fourth[None, :])
    return r, noise, np.nan_to_num(n / fourth)


def _parts(
    names: Sequence[str], left_out: Sequence[bool], sizes: Sequence[int], parts: Sequence[Sequence[Array]]
) -> list[Found]:
    """Pairs of any columns, by the parts of both; pairs of which both are left out are not looked at."""
    out: list[Found] = []
    for i, j in combinations(range(len(names)), 2):
        if left_out[i] and left_out[j]:
            continue
        table = _counts(parts[0], i, j, sizes)
        if (values := _canonical(table)) is None or (told := _weighed(*values, table)) is None:
            continue
        if not _worth(told, table, len(parts[1][i])):
            continue
        if (real := _weighed(*values, _counts(parts[1], i, j, sizes))) is None:
            continue
        made = _weighed(*values, _counts(parts[2], i, j, sizes)) or NONE
        if min(told.effective, real.effective) >= LEAST_EFFECTIVE:
            out.append(Found((names[i], names[j]), ANY, (told, real, made)))
    return out


def _counts(parts: Sequence[Array], i: int, j: int, sizes: Sequence[int]) -> Array:
    return np.bincount(parts[i] * sizes[j] + parts[j], minlength=sizes[i] * sizes[j]).reshape(sizes[i], sizes[j])


def _worth(told: Correlation, table: Array, rows: int) -> bool:
    """Whether the loss of this dependence could be noticed by so many holdout rows: chance alone correlates the values that
    are chosen by the square of about (sqrt(a - 1) + sqrt(b - 1))^2 / n, which is taken away."""
    a, b = ((table.sum(axis=axis) >= PART_ROWS).sum() - 1 for axis in (1, 0))
    strength = np.sqrt(max(told.r**2 - (np.sqrt(a) + np.sqrt(b)) ** 2 / max(table.sum(), 1), 0.0))
    return bool(strength * np.sqrt(rows) > WORTH)


def _canonical(table: Array) -> tuple[Array, Array] | None:
    """Values of rows and columns of a table of counts that correlate most; 0 for parts too rare to be given one."""
    rows, columns = table.sum(axis=1) >= PART_ROWS, table.sum(axis=0) >= PART_ROWS
    shares = table[np.ix_(rows, columns)].astype(np.float64)
    if min(shares.shape) < 2 or shares.sum() == 0:
        return None
    shares /= shares.sum()
    a, b = shares.sum(axis=1), shares.sum(axis=0)
    if not (a > 0).all() or not (b > 0).all():
        return None
    left, _, right = np.linalg.svd((shares - np.outer(a, b)) / np.sqrt(np.outer(a, b)))
    f, g = np.zeros(table.shape[0]), np.zeros(table.shape[1])
    f[rows], g[columns] = left[:, 0] / np.sqrt(a), right[0] / np.sqrt(b)
    return f, g


def _weighed(f: Array, g: Array, table: Array) -> Correlation | None:
    """The correlation of the values over a table of counts; None where either does not vary."""
    shares = table / max(table.sum(), 1)
    a, b = shares.sum(axis=1), shares.sum(axis=0)
    f, g = f - a @ f, g - b @ g
    wide = np.sqrt(a @ f**2), np.sqrt(b @ g**2)
    if min(wide) < 1e-9:
        return None
    f, g = f / wide[0], g / wide[1]
    x, y = f[:, None], g[None, :]
    r = float((shares * x * y).sum())
    noise = float((shares * (x * y - r / 2 * (x**2 + y**2)) ** 2).sum())
    return Correlation(r, noise, float(table.sum() / max(a @ f**4, b @ g**4)))
