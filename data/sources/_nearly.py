"""Which text columns would be numbers, or dates, if a word or two meant "missing"? Their users are told how to say so."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from data.sources._typed import ALWAYS, AMONG_NUMBERS, read_as

#: Where a reader leaves a sentence for each such column: column -> sentence, as JSON.
NEARLY = b"counterpoise.nearly"
#: So many spellings may stand in the way; one alone, and without a digit, where the numbers are few and could be codes.
MOST_MARKERS, FEW_NUMBERS = 5, 20
LONGEST = 40
SAMPLE = 1000
_NUMBER = r"^[+-]?([0-9][0-9.,' ]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DATE = r"^[0-9]{1,4}[-/. ][A-Za-z0-9]{1,9}[-/. ][0-9]{1,4}([T ].*)?$"
_KNOWN = ALWAYS | AMONG_NUMBERS | {"NA"}


def with_nearly(
    table: pa.Table, raw: pa.Table, *, missing: Sequence[str] | None, commas: bool = False, points: bool = True
) -> pa.Table:
    """The typed table, with a sentence in its metadata for each column that a marker or two keep from being numbers.

    raw: the same rows as text. missing: the markers that the user stated, None where they were found out."""
    known = _KNOWN if missing is None else {"", *(marker.strip() for marker in missing)}
    found: dict[str, tuple[str, list[str], int]] = {}
    for field in table.schema:
        if field.type in (pa.string(), pa.large_string()):
            if seen := _nearly(table.column(field.name), known, commas=commas, points=points):
                found[field.name] = seen
    if not found:
        return table
    # Stated markers take the place of those that are found out, so that all which this file holds must be stated.
    used = set(missing or ()) | {""}
    for name in table.column_names:
        used |= _used(raw.column(name), table.column(name), known, every=name in found)
    markers = sorted(used | {marker for _, markers, _ in found.values() for marker in markers})
    shown = f"`missing: [{', '.join(_quoted(marker) for marker in markers)}]`"
    said = {name: _sentence(name, *seen, shown) for name, seen in found.items()}
    return table.replace_schema_metadata({NEARLY: json.dumps(said)})


def nearly_of(table: pa.Table) -> dict[str, str]:
    """The sentence on each column of the table that a marker or two keep from being numbers."""
    said = json.loads((table.schema.metadata or {}).get(NEARLY, b"{}"))
    return {name: str(said[name]) for name in table.column_names if name in said}


def _nearly(
    values: pa.ChunkedArray, known: frozenset[str] | set[str], *, commas: bool, points: bool
) -> tuple[str, list[str], int] | None:
    """What the column would be, what stands in the way, and in how many rows; None where it is words."""
    sample = values.take(pa.array(range(0, len(values), max(1, len(values) // SAMPLE)))).drop_null()
    if not any(pc.any(_matches(pc.utf8_trim_whitespace(sample), pattern)).as_py() for pattern in (_NUMBER, _DATE)):
        return None
    counted = pc.value_counts(pc.utf8_trim_whitespace(values.drop_null()))
    bare, rows = counted.field("values").cast(pa.string()), counted.field("counts")
    gone = pc.is_in(bare, value_set=pa.array(sorted(known), pa.string()))
    for pattern in (_NUMBER, _DATE):
        odd = pc.and_not(pc.invert(_matches(bare, pattern)), gone)
        others = bare.filter(odd).to_pylist()
        typed = len(bare) - len(others) - (gone.true_count)
        if not 1 <= len(others) <= MOST_MARKERS or typed < 2 or max(map(len, others)) > LONGEST:
            continue
        if typed < FEW_NUMBERS and (len(others) > 1 or any(sign.isdigit() for sign in others[0])):
            continue
        held = int(pc.sum(rows.filter(odd)).as_py())
        if 2 * held > pc.sum(rows.filter(pc.invert(gone))).as_py():
            continue
        kind = read_as(bare, pc.or_(gone, odd), commas=commas, points=points)
        if kind is not None and not pa.types.is_boolean(kind):
            return "dates" if pa.types.is_temporal(kind) else "numbers", others, held
    return None


def _matches(bare: pa.Array, pattern: str) -> pa.BooleanArray | pa.ChunkedArray:
    return pc.match_substring_regex(bare, pattern)


def _used(raw: pa.ChunkedArray, typed: pa.ChunkedArray, known: frozenset[str] | set[str], *, every: bool) -> set[str]:
    """The known markers that mean "missing" in this column, or `every` one that stands in it."""
    if not typed.null_count and not every:
        return set()
    bare = pc.utf8_trim_whitespace(raw)
    bare = bare if every else bare.filter(pc.is_null(typed))
    return set(pc.unique(bare).to_pylist()) & known


def _sentence(name: str, what: str, markers: list[str], rows: int, stated: str) -> str:
    shown = " and ".join([", ".join(map(repr, markers[:-1])), repr(markers[-1])] if markers[1:] else [repr(markers[0])])
    slip = "correct what is a slip; " if any(sign.isdigit() for marker in markers for sign in marker) else ""
    count = f"{rows:,} row" + ("s" if rows > 1 else "")
    return f"column {name!r} is {what} except for {shown} in {count}; {slip}if that means missing, add {stated} under data"


def _quoted(marker: str) -> str:
    return "'" + marker.replace("'", "''") + "'"
