"""What is in these data, and what should their user know before anything is learned from them?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from data.dataset import Dataset
from data.schema import Column, Schema

BINS = 20
TOP_LEVELS = 20
MANY_LEVELS = 1000
SAMPLE_ROWS = 10_000
PAIR_COLUMNS = 200
SAME = 0.9999
#: Categories are suspected to be numbers from so many levels and this share of them on.
NUMBER_LEVELS, NUMBER_SHARE = 20, 0.9


def profile(dataset: Dataset, nearly: Collection[str] | None = None) -> dict[str, Any]:
    """The run's profile.json: rows, each column, the target's classes, duplicates and notices. JSON values only.

    A column's `histogram` holds bin edges and counts, never single values; `top` its most frequent levels with counts.
    `imbalance` is the largest class's rows over the smallest one's. `duplicates` counts the rows beyond the first of
    each kind, over the learned columns (ids would make every row unique). nearly: columns of which `nearly_numbers` tells;
    None where the reader could not know."""
    table = dataset.table
    columns = [_column(column, table.column(column.name)) for column in dataset.schema]
    repeated = _repeated(table, dataset.schema)
    rows = table.num_rows
    out: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "target": _target(dataset.schema, table),
        "duplicates": {"rows": repeated, "share": repeated / rows if rows else 0.0},
    }
    return out | {"notices": _notices(out, dataset.schema, table, nearly)}


def notices(dataset: Dataset) -> list[str]:
    """What a user should know, a sentence each: columns left out, constant, empty, alike; classes that are scarce."""
    found: list[str] = profile(dataset)["notices"]
    return found


def _column(column: Column, values: pa.ChunkedArray) -> dict[str, Any]:
    plain = values.cast(values.type.value_type) if pt.is_dictionary(values.type) else values
    out: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.dtype,
        "nulls": plain.null_count,
        "null_share": plain.null_count / len(plain) if len(plain) else 0.0,
        "pii": column.pii,
    }
    if column.kind in ("image", "series"):
        return out
    out["distinct"] = int(pc.count_distinct(plain, mode="only_valid").as_py())
    if column.discrete:
        return out | {"levels": len(column.categories), "top": _top(column, plain)}
    if column.kind in ("numeric", "integer", "datetime"):
        bounds = {"low": column.low, "high": column.high, "decimals": column.decimals}
        return out | bounds | {"histogram": _histogram(column, plain)}
    return out


def _top(column: Column, values: pa.ChunkedArray) -> list[dict[str, Any]]:
    counted = pc.value_counts(values.drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    first = sorted(pairs, key=lambda pair: (-pair[1], str(pair[0])))[:TOP_LEVELS]
    return [{"level": str(level), "rows": rows} for level, rows in first]


def _histogram(column: Column, values: pa.ChunkedArray) -> dict[str, Any] | None:
    """Equal bins from the least to the greatest value; edges in the column's unit, ISO 8601 text for times."""
    numbers = _float(values.drop_null())
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return None
    counts, edges = np.histogram(numbers, bins=BINS)
    shown: list[Any] = [float(edge) for edge in edges]
    if column.kind == "datetime":
        shown = [str(np.datetime64(int(edge), "us")) for edge in edges]
    return {"edges": shown, "counts": [int(count) for count in counts]}


def _float(values: pa.ChunkedArray) -> np.ndarray:
    """Numbers as they are, times as microseconds since 1970: (n,) float64, nulls as NaN."""
    if pt.is_timestamp(values.type) or pt.is_date(values.type):
        zone = values.type.tz if pt.is_timestamp(values.type) else None
        values = values.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    return np.asarray(values.cast(pa.float64(), safe=False), dtype=np.float64)


def _target(schema: Schema, table: pa.Table) -> dict[str, Any] | None:
    if schema.target is None:
        return None
    column, values = schema[schema.target], table.column(schema.target)
    out: dict[str, Any] = {"name": column.name, "kind": column.kind, "missing": values.null_count}
    if not column.discrete:
        return out
    plain = values.cast(values.type.value_type) if pt.is_dictionary(values.type) else values
    counted = pc.value_counts(plain.drop_null())
    rows = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    known = sum(rows.values())
    classes = [{"level": str(c), "rows": rows.get(c, 0), "share": rows.get(c, 0) / max(known, 1)} for c in column.categories]
    present = [count for count in rows.values() if count]
    return out | {"classes": classes, "imbalance": max(present) / min(present) if present else None}


def _repeated(table: pa.Table, schema: Schema) -> int:
    """Rows that stand there already, over the learned columns."""
    names = [column.name for column in schema.learned]
    if not names or table.num_rows == 0:
        return 0
    codes = np.zeros(table.num_rows, dtype=np.int64)
    for name in names:
        # Codes are renumbered after each column, so that they stay below the number of rows.
        _, codes = np.unique(codes * _span(column := _codes(table.column(name))) + column, return_inverse=True)
    return int(table.num_rows - (codes.max() + 1))


def _codes(values: pa.ChunkedArray) -> np.ndarray:
    """Each value as a number, equal for equal values; nulls are a value of their own. (n,) int64"""
    plain = values.cast(values.type.value_type) if pt.is_dictionary(values.type) else values
    coded = pc.dictionary_encode(plain, null_encoding="encode").combine_chunks()
    return np.asarray(coded.indices, dtype=np.int64)


def _span(codes: np.ndarray) -> int:
    return int(codes.max()) + 1


def nearly_numbers(schema: Schema, nearly: Mapping[str, str]) -> list[str]:
    """What a reader said of columns that a marker or two keep from being numbers, with what becomes of each until then."""
    return [f"{said}; until then {_until(schema[name])}" for name, said in nearly.items()]


def _until(column: Column) -> str:
    if column.kind == "id":
        return "new ids are made for it"
    return "it is free text and left out" if column.kind == "text" else f"it is {len(column.categories):,} categories"


def _notices(found: dict[str, Any], schema: Schema, table: pa.Table, nearly: Collection[str] | None) -> list[str]:
    out: list[str] = []
    for facts in found["columns"]:
        if facts["name"] not in (nearly or ()):
            out.extend(_about_column(facts, found["rows"], is_target=facts["name"] == schema.target))
    out.extend(_nearly_numbers(schema) if nearly is None else ())
    out.extend(_alike(schema, table))
    if found["duplicates"]["share"] >= 0.01:
        rows, share = found["duplicates"]["rows"], found["duplicates"]["share"]
        out.append(f"{rows} rows ({share:.1%}) repeat another row in every learned column.")
    out.extend(_about_target(found["target"]))
    return out


def _about_column(facts: dict[str, Any], rows: int, *, is_target: bool) -> Iterator[str]:
    name = repr(facts["name"])
    if facts["nulls"] == rows:
        yield f"Column {name} holds no value at all; it stays empty in what goes out."
    elif facts["kind"] == "text":
        yield f"Column {name} is free text and is left out; state columns.{facts['name']}.kind to keep it."
    elif facts["kind"] == "id":
        yield f"Column {name} is an id; new ids of the same shape are made for it."
    elif facts["kind"] in ("image", "series"):
        yield f"Column {name} holds {facts['kind']} data and is left out of the table."
    elif facts.get("distinct") == 1 and not is_target:
        yield f"Column {name} holds the same value in every row that has one."
    elif facts.get("levels", 0) > MANY_LEVELS:
        yield f"Column {name} has {facts['levels']} levels; rare ones can hardly be learned."
    if facts["null_share"] > 0.5 and facts["nulls"] < rows:
        yield f"Column {name} is empty in {facts['null_share']:.0%} of the rows."
    if facts["pii"]:
        yield f"Column {name} looks like personal data ({facts['pii']})."


def _nearly_numbers(schema: Schema) -> Iterator[str]:
    """Words that are numbers but for a marker or two: somebody wrote "n.k." for a missing weight."""
    for column in schema.of_kind("categorical"):
        spellings = pa.array([level for level in column.categories if isinstance(level, str)], pa.string())
        if len(spellings) < NUMBER_LEVELS:
            continue
        number = pc.match_substring_regex(spellings, r"^\s*[+-]?[0-9][0-9.,' ]*\s*$")
        others = spellings.filter(pc.invert(number)).to_pylist()
        if others and len(others) <= (1 - NUMBER_SHARE) * len(spellings):
            shown = ", ".join(repr(level) for level in others[:3])
            yield (
                f"Column {column.name!r} is read as {len(spellings)} categories because of {shown}; all else are numbers. "
                "If that means missing, leave those values empty in the source."
            )


def _about_target(target: dict[str, Any] | None) -> Iterator[str]:
    if target is None:
        return
    if target["missing"]:
        yield f"The target {target['name']!r} is missing in {target['missing']} rows; they are left out of the split."
    if target.get("imbalance") and target["imbalance"] >= 1.5:
        small = min((each for each in target["classes"] if each["rows"]), key=lambda each: each["rows"])
        yield (
            f"The classes of {target['name']!r} are out of balance by {target['imbalance']:.1f} to 1; "
            f"{small['level'].strip()!r} is the smallest with {small['rows']} rows."
        )


def _alike(schema: Schema, table: pa.Table) -> Iterator[str]:
    """Pairs of columns of which one says what the other says, on at most SAMPLE_ROWS rows spread over the table."""
    if table.num_rows < 20:
        return
    step = max(table.num_rows // SAMPLE_ROWS, 1)
    sample = table.take(pa.array(np.arange(0, table.num_rows, step)))
    numeric = [c.name for c in schema.of_kind("numeric", "integer", "datetime")][:PAIR_COLUMNS]
    yield from _correlated(numeric, sample)
    discrete = [c.name for c in schema.of_kind("categorical") if 2 <= len(c.categories) <= 100][:PAIR_COLUMNS]
    codes = {name: _codes(sample.column(name)) for name in discrete}
    levels = {name: len(np.unique(code)) for name, code in codes.items()}
    for one, other in combinations(discrete, 2):
        if levels[one] != levels[other] or levels[one] < 2:
            continue
        if len(np.unique(codes[one] * _span(codes[other]) + codes[other])) == levels[one]:
            yield f"Columns {one!r} and {other!r} say the same: each level of one goes with one level of the other."


def _correlated(names: list[str], sample: pa.Table) -> Iterator[str]:
    values = [_float(sample.column(name)) for name in names]
    moving = [(name, v) for name, v in zip(names, values, strict=True) if np.isfinite(v).sum() >= 20 and np.nanstd(v) > 0]
    if len(moving) < 2:
        return
    filled = np.array([np.where(np.isnan(v), np.nanmean(v), v) for _, v in moving])
    strength = np.abs(np.corrcoef(filled))
    for i, j in combinations(range(len(moving)), 2):
        if strength[i, j] >= SAME:
            yield f"Columns {moving[i][0]!r} and {moving[j][0]!r} carry the same numbers (correlation {strength[i, j]:.4f})."
