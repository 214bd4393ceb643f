"""Do drawn tables refer to one another as real ones do: validly, as often, and with children that are like their parents?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode_coarse import Coarse, information
from data.encode_values import floats, plain
from data.relations import ForeignKey, Tables, counts, faults, repeated_rows
from data.schema import Schema
from validators.fidelity import c2st
from validators.shapes import all_shapes, all_trends, pair_trend, read
from validators.stats import Array

#: A classifier is asked about tables of so many rows at least; and about so many at most.
ASKED, MOST = 40, 4000
#: Pairs of columns of two tables that say at least so much of each other in the real tables (nats) are compared by how much.
SAYING = 0.01
#: Times that rows above are dealt out anew, to see what chance says.
DEALT = 5
#: Levels whose share among the children is compared.
SHARES = 5


@dataclass(frozen=True)
class Reference:
    """One foreign key, real beside made: children a parent has on average, parents without any, rows that refer to none.

    Of the numbers of children per parent, variation: total variation over at most a dozen ranges; distance: that of Kolmogorov
    and Smirnov."""

    key: str
    children: tuple[float, float]
    childless: tuple[float, float]
    nulls: tuple[float, float]
    variation: float
    distance: float


@dataclass(frozen=True)
class Across:
    """Columns of a table and of one above it, joined. steps: 1 for a parent, 2 for its parent.

    trends: mean trend of pairs, one column of each (SDMetrics' intertable trends); said: what pairs that say something of each
    other in the real tables say on average, in nats, real and made (mutual information of coarse columns, less chance)."""

    child: str
    above: str
    steps: int
    trends: float
    said: tuple[float, float] | None


@dataclass(frozen=True)
class Whole:
    """One table. shapes, trends: SDMetrics' mean column shapes and pair trends, None without columns for it; auc: how well a
    classifier tells its rows, with what their children are like, from real ones (0.5: not at all), None for few rows."""

    table: str
    rows: tuple[int, int]
    shapes: float | None
    trends: float | None
    auc: float | None
    auc_ci: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """Everything that is measured of made tables beside real ones. faults: keys that do not hold, a sentence each."""

    faults: tuple[str, ...]
    references: tuple[Reference, ...]
    across: tuple[Across, ...]
    tables: tuple[Whole, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def figures(self) -> dict[str, float]:
        """One number each: means over keys, pairs of tables and tables."""
        said = [a.said for a in self.across if a.said is not None]
        means = {
            "variation": [r.variation for r in self.references],
            "distance": [r.distance for r in self.references],
            "shapes": [t.shapes for t in self.tables if t.shapes is not None],
            "trends": [t.trends for t in self.tables if t.trends is not None],
            "across parents": [a.trends for a in self.across if a.steps == 1],
            "across grandparents": [a.trends for a in self.across if a.steps == 2],
            "auc": [t.auc for t in self.tables if t.auc is not None],
        }
        out = {name: float(np.mean(values)) for name, values in means.items() if values}
        whole = sum(real for real, _ in said)
        return out | ({"said": sum(made for _, made in said) / whole} if whole else {})


def compare(real: Tables, made: Tables, *, seed: int = 0) -> Comparison:
    """All figures of `made`, whose tables have the columns of `real`."""
    relations = real.relations
    coarse = {
        name: {c.name: Coarse.fit(part.column(c.name), c) for c in part.schema.learned} for name, part in real.parts.items()
    }
    return Comparison(
        tuple([*faults(made), *_repeated_links(real, made)]),
        tuple(_reference(real, made, key) for key in relations.foreign),
        tuple(found for path in _paths(real) if (found := _across(real, made, path)) is not None),
        tuple(_whole(real, made, name, coarse, seed) for name in relations.tables),
    )


def _repeated_links(real: Tables, made: Tables) -> Iterator[str]:
    """Rows that refer to the same parents as another, where no two real rows do."""
    for name in real.relations.tables:
        keys = [key for key in real.relations.of(name) if not key.to_itself]
        if len(keys) < 2 or repeated_rows([real.places(key) for key in keys]).any():
            continue
        if twice := int(repeated_rows([made.places(key) for key in keys]).sum()):
            yield f"{twice} rows of {name!r} refer to the same rows as another, which no real rows do; draw them again"


def _reference(real: Tables, made: Tables, key: ForeignKey) -> Reference:
    sides = [(t.places(key), t[key.parent].num_rows) for t in (real, made)]
    number = [counts(places, max(rows, 1)) for places, rows in sides]
    size = int(max(each.max(initial=0) for each in number)) + 1
    a, b = (np.bincount(each, minlength=size) / max(len(each), 1) for each in number)
    ranges = Coarse.of_numbers(key.name, number[0].astype(np.float64)).of(np.arange(size, dtype=np.float64))
    parts = np.bincount(ranges, a - b)

    def both(values: list[float]) -> tuple[float, float]:
        return values[0], values[1]

    return Reference(
        key.name,
        both([float(each.mean()) for each in number]),
        both([float((each == 0).mean()) for each in number]),
        both([float((places < 0).mean()) if len(places) else 0.0 for places, _ in sides]),
        variation=0.5 * float(np.abs(parts).sum()),
        distance=float(np.abs(np.cumsum(a) - np.cumsum(b)).max()),
    )


def _paths(tables: Tables) -> Iterator[tuple[ForeignKey, ...]]:
    """Ways from a table to its parents and theirs, by foreign keys."""
    for key in (k for k in tables.relations.foreign if not k.to_itself):
        yield (key,)
        yield from ((key, up) for up in tables.relations.of(key.parent) if not up.to_itself)


def _across(real: Tables, made: Tables, path: tuple[ForeignKey, ...]) -> Across | None:
    child, above = path[0].table, path[-1].parent
    sides = [_joined(tables, path) for tables in (real, made)]
    mine, theirs = ([f"{name}.{c.name}" for c in real[name].schema.learned] for name in (child, above))
    if not mine or not theirs or min(side.num_rows for side in sides) < 2:
        return None
    columns = read(*sides)
    trends = [t for a in mine for b in theirs if (t := pair_trend(columns, a, b)) is not None]
    # As the children see them: in a list of genres each is one row, but many tracks are of some.
    coarse = {c.name: Coarse.fit(sides[0].column(c.name), c) for c in sides[0].schema}
    told = [_said(tables, path, coarse) for tables in (real, made)]
    saying = [place for place, nats in enumerate(told[0]) if nats >= SAYING]
    pair = (float(np.mean([told[0][k] for k in saying])), float(np.mean([told[1][k] for k in saying]))) if saying else None
    name = f"{child}.{' -> '.join(key.column for key in path)}"
    return Across(name, above, len(path), float(np.mean(trends)), pair) if trends else None


def _said(tables: Tables, path: tuple[ForeignKey, ...], coarse: Mapping[str, Coarse]) -> list[float]:
    """How much each column of a table says of each column of the one above it, in nats, less what it says when the rows above
    are dealt out anew: children of one parent say the same, so chance says more than their number lets expect."""
    child, above = path[0].table, path[-1].parent
    at = _places(tables, path)
    kept = np.flatnonzero(at >= 0)
    mine, theirs = (
        [coarse[f"{name}.{c.name}"].read(tables[name].column(c.name)) for c in tables[name].schema.learned]
        for name in (child, above)
    )
    mine = [codes[kept] for codes in mine]
    rng = np.random.default_rng(73)
    dealt = [np.arange(tables[above].num_rows), *(rng.permutation(tables[above].num_rows) for _ in range(DEALT))]
    out = []
    for a in mine:
        for b in theirs:
            # So many rows that `information` takes nothing away by itself.
            first, *others = (information(a, b[order][at[kept]], 1 << 60) for order in dealt)
            out.append(max(first - float(np.mean(others)), 0.0))
    return out


def _places(tables: Tables, path: tuple[ForeignKey, ...]) -> Array:
    """The row above that each row refers to along a path, -1 for none: (n,) int64."""
    at = np.arange(tables[path[0].table].num_rows)
    for key in path:
        at = np.where(at >= 0, tables.places(key)[np.maximum(at, 0)], -1)
    return at


def _joined(tables: Tables, path: tuple[ForeignKey, ...]) -> Dataset:
    """Rows of a table beside those that they refer to along a path; columns are called table.column."""
    at = _places(tables, path)
    kept = np.flatnonzero(at >= 0)
    ends = ((path[0].table, kept), (path[-1].parent, at[kept]))
    columns, made = [], {}
    for name, rows in ends:
        part = tables[name]
        for column in part.schema.learned:
            called = f"{name}.{column.name}"
            made[called] = plain(part.column(column.name)).take(pa.array(rows))
            columns.append(type(column)(**{**vars(column), "name": called, "dtype": str(made[called].type)}))
    return Dataset(pa.table(made), Schema(tuple(columns)))


def _whole(real: Tables, made: Tables, name: str, coarse: Mapping[str, Mapping[str, Coarse]], seed: int) -> Whole:
    a, b = real[name], made[name]
    columns = read(a, b)
    shapes, trends = list(all_shapes(columns).values()), list(all_trends(columns).values())
    auc, interval = None, None
    if min(a.num_rows, b.num_rows) >= ASKED:
        sides = [_with_children(tables, name, coarse) for tables in (real, made)]
        if sides[0].shape[1]:
            size = min(a.num_rows, b.num_rows, MOST)
            rng = np.random.default_rng([seed, 71])
            auc, interval = c2st(*(side[rng.permutation(len(side))[:size]] for side in sides), seed=seed)
    return Whole(
        name,
        (a.num_rows, b.num_rows),
        float(np.mean(shapes)) if shapes else None,
        float(np.mean(trends)) if trends else None,
        auc,
        interval,
    )


def _with_children(tables: Tables, name: str, coarse: Mapping[str, Mapping[str, Coarse]]) -> Array:
    """Rows of a table as numbers: its columns, how many children under each key, and what these are like on average."""
    part = tables[name]
    out = [_numbers(part, column, coarse[name][column]) for column in coarse[name]]
    for key in tables.relations.to(name):
        parents = tables.places(key)
        number = counts(parents, part.num_rows)
        out.append(number.astype(np.float64))
        child = tables[key.table]
        for column in coarse[key.table] if not key.to_itself else ():
            each = coarse[key.table][column]
            values = _numbers(child, column, each)
            kinds = range(min(len(each.levels), SHARES)) if each.levels is not None else ()
            seen = [(values == kind).astype(np.float64) for kind in kinds] if each.levels is not None else [values]
            out += [_mean(value, parents, part.num_rows) for value in seen]
    return np.stack(out, axis=1) if out else np.zeros((part.num_rows, 0))


def _numbers(part: Dataset, column: str, coarse: Coarse) -> Array:
    values = part.column(column)
    return floats(values, column) if coarse.levels is None else coarse.read(values).astype(np.float64)


def _mean(values: Array, parents: Array, rows: int) -> Array:
    """The mean over each row's children, NaN without any."""
    kept = (parents >= 0) & np.isfinite(values)
    number = np.bincount(parents[kept], minlength=rows)
    total = np.bincount(parents[kept], values[kept], minlength=rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / number)


def scattered(real: Tables, *, seed: int) -> Tables:
    """The real rows with children given to parents at random: what every table alone looks like, and nothing between them."""
    rng = np.random.default_rng([seed, 72])
    parts = dict(real.parts)
    for key in real.relations.foreign:
        table = parts[key.table].table
        places = real.places(key)
        drawn = np.where(places >= 0, rng.integers(max(real[key.parent].num_rows, 1), size=len(places)), -1)
        values = plain(real[key.parent].column(key.key)).take(pa.array(drawn, mask=drawn < 0))
        place = table.schema.get_field_index(key.column)
        parts[key.table] = Dataset(table.set_column(place, key.column, values), parts[key.table].schema)
    return Tables(parts, real.relations)
