"""What does a column of text mean: numbers, truth values, dates, or words; and which of its words mean "missing"?

Missing markers, compared without surrounding blanks:
- always: an empty field, blanks alone, and the words of ALWAYS ("?", "N/A", "null", "NaN", ...);
- "NA": always, unless every other level is a code of two capitals (regions and countries: NA is Namibia, North America);
- the words of AMONG_NUMBERS ("-", "None", "unknown", ...) only where all that remains is numbers, truth values or dates:
  among words they may be a level of their own ("None" as in "no basement"), and stay one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

ALWAYS = frozenset(
    {"", "?", "N/A", "n/a", "#N/A", "#N/A N/A", "<NA>", "NULL", "null", "Null", "NaN", "nan", "NAN", "-nan", "NaT", "#NULL!"}
)
AMONG_NUMBERS = frozenset(
    {"-", "--", "---", ".", "..", "*", "None", "none", "NONE", "na", "n.a.", "nil", "unknown", "Unknown", "missing", "Missing"}
)
#: A column whose first rows mostly differ is typed row by row, others spelling by spelling.
HEAD_ROWS = 20_000
_CODE = r"^[+-]?0[0-9xX]|^\+[0-9]{7,}$"
_COMMA = r"^[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+),?[0-9]*([eE][+-]?[0-9]+)?$"
_THOUSANDS = r"^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?$|^[+-]?[0-9]{1,3}(\.[0-9]+)?$"
_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?$"
_ISO_ZONED = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_TIMES = (("", ""), (r" [0-9]{1,2}:[0-9]{2}", " %H:%M"), (r" [0-9]{1,2}:[0-9]{2}:[0-9]{2}", " %H:%M:%S"))
#: Written dates other than ISO 8601, tried in this order: where day and month could be swapped throughout, "/" puts the
#: month first (as pandas does), "." and "-" the day.
_DATES = (
    (r"[0-9]{4}/(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})", "%Y/%m/%d"),
    (r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/[0-9]{4}", "%m/%d/%Y"),
    (r"(?P<d>[0-9]{1,2})/(?P<m>[0-9]{1,2})/[0-9]{4}", "%d/%m/%Y"),
    (r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.[0-9]{4}", "%d.%m.%Y"),
    (r"(?P<d>[0-9]{1,2})-(?P<m>[0-9]{1,2})-[0-9]{4}", "%d-%m-%Y"),
    (r"(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})-[0-9]{4}", "%m-%d-%Y"),
    (r"(?P<d>[0-9]{1,2})[ -](?P<m>[A-Z][a-z]{2})[ -][0-9]{4}", "%d %b %Y"),
)


@dataclass
class Infinite(Exception):
    """A number column holds an infinity: which column, which row (from 0), and how it is spelled."""

    column: str
    row: int
    text: str


def typed_table(raw: pa.Table, *, missing: Sequence[str] | None = None, commas: bool = False, points: bool = True) -> pa.Table:
    """Every text column as what it means; other columns stay. Raises Infinite.

    missing: markers stated by the user, None for the rules above. commas, points: decimal signs to understand."""

    def work(name: str) -> pa.ChunkedArray:
        column = raw.column(name)
        return typed(column, name, missing=missing, commas=commas, points=points) if column.type == pa.string() else column

    # Arrow lets go of the interpreter while it works, so columns go in parallel.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        columns = list(pool.map(work, raw.column_names))
    return pa.table(columns, names=raw.column_names)


def stamped(table: pa.Table) -> pa.Table:
    """Text columns that hold ISO 8601 dates throughout as dates and timestamps, for databases that have no such type."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        present = column.drop_null()
        if field.type != pa.string() or len(present) == 0 or not _dated(present[0].as_py()):
            continue
        for pattern in (_ISO_DATE, _ISO, _ISO_ZONED):
            spellings = pc.unique(present)
            values = _dates(column.combine_chunks(), spellings) if _all(spellings, pattern) else None
            if values is not None:
                table = table.set_column(place, field.name, values)
                break
    return table


def typed(
    column: pa.ChunkedArray, name: str, *, missing: Sequence[str] | None = None, commas: bool = False, points: bool = True
) -> pa.ChunkedArray:
    """One text column as what it means. The distinct spellings are looked at once each, then put back in place."""
    if len(column) == 0:
        return column
    spellings, places = _distinct(column)
    bare = pc.utf8_trim_whitespace(spellings)
    gone = _missing(bare, missing)
    wide = gone if missing is not None else pc.or_(gone, _is_in(bare, AMONG_NUMBERS | {"NA"}))
    values = _numbers_or_dates(bare, wide, commas=commas, points=points)
    if values is None:
        values = pc.if_else(gone, pa.scalar(None, spellings.type), spellings)
    elif pa.types.is_floating(values.type):
        _refuse_infinite(values, places, spellings, name)
    return pa.chunked_array([values if places is None else values.take(places)])


def read_as(bare: pa.Array, gone: pa.Array, *, commas: bool = False, points: bool = True) -> pa.DataType | None:
    """The type of trimmed spellings, if those where `gone` is true mean "missing"; None when they are words."""
    values = _numbers_or_dates(bare, gone, commas=commas, points=points)
    return None if values is None else values.type


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array | None]:
    """The distinct spellings and the place of each row among them; all rows and None where most have their own."""
    # One array, since chunks would each carry the whole dictionary; text beyond 2 GiB needs 64-bit offsets.
    flat = column.combine_chunks() if column.nbytes < 2**31 - 1 else column.cast(pa.large_string()).combine_chunks()
    head = flat[:HEAD_ROWS]
    if len(flat) > HEAD_ROWS and len(pc.unique(head)) > 0.5 * len(head):
        return flat, None
    coded = pc.dictionary_encode(flat)
    return coded.dictionary, coded.indices


def _missing(bare: pa.Array, stated: Sequence[str] | None) -> pa.Array:
    if stated is not None:
        return _is_in(bare, {""} | {marker.strip() for marker in stated})
    gone = _is_in(bare, ALWAYS)
    rest = bare.filter(pc.invert(pc.or_(gone, pc.equal(bare, "NA"))))
    codes = len(rest) > 1 and pc.all(pc.match_substring_regex(rest, "^[A-Z]{2}$")).as_py()
    return gone if codes else pc.or_(gone, pc.equal(bare, "NA"))


def _is_in(bare: pa.Array, words: frozenset[str] | set[str]) -> pa.Array:
    return pc.is_in(bare, value_set=pa.array(sorted(words), pa.string()))


def _numbers_or_dates(bare: pa.Array, gone: pa.Array, *, commas: bool, points: bool) -> pa.Array | None:
    """The levels as typed values, null where `gone`; None when they are words."""
    levels = pc.if_else(gone, pa.scalar(None, pa.string()), bare)
    present = levels.drop_null()
    if len(present) == 0:
        return None
    if len(present) <= 2 and pc.all(_is_in(pc.utf8_lower(present), {"true", "false"})).as_py():
        return pc.equal(pc.utf8_lower(levels), "true")
    first = present[0].as_py()
    if not (first[0].isascii() and (first[0].isdigit() or first[0] in "+-.iI")):
        return None
    dates = _dates(levels, present) if _dated(first) else None
    return dates if dates is not None else _numbers(levels, present, commas=commas, points=points)


def _dated(first: str) -> bool:
    """Whether a value is worth trying as a date; most numbers are told by this without a single pattern."""
    return len(first) >= 8 and (any(first[1:].count(sign) >= 2 for sign in "-/.") or " " in first)


def _numbers(levels: pa.Array, present: pa.Array, *, commas: bool, points: bool) -> pa.Array | None:
    if _any(present, _CODE):  # leading zeros and long +numbers are codes: as numbers they would lose their spelling
        return None
    for kind in (pa.int64(), pa.float64()) if points else (pa.int64(),):
        values = _cast(_plus(levels), kind)
        if values is not None and not (kind == pa.float64() and _too_long(present)):
            return values
    if commas and _all(present, _COMMA):
        return _cast(_plus(pc.replace_substring(pc.replace_substring(levels, ".", ""), ",", ".")), pa.float64())
    if points and _all(present, _THOUSANDS):
        plain = _plus(pc.replace_substring(levels, ",", ""))
        whole = _cast(plain, pa.int64())
        return whole if whole is not None else _cast(plain, pa.float64())
    return None


def _too_long(present: pa.Array) -> bool:
    """Whole numbers beyond 64 bits are codes: as floats they would lose their last digits."""
    return _all(present, r"^[+-]?[0-9]+$")


def _plus(levels: pa.Array) -> pa.Array:
    return pc.utf8_ltrim(levels, characters="+")


def _dates(levels: pa.Array, present: pa.Array) -> pa.Array | None:
    if _all(present, _ISO_DATE):
        return _cast(levels, pa.date32())
    if _all(present, _ISO):
        return _cast(levels, _stamp(present))
    if _all(present, _ISO_ZONED):
        return _cast(levels, _stamp(present, "UTC"))
    for pattern, written in _DATES:
        for clock, written_clock in _TIMES:
            if _all(present, f"^{pattern}{clock}$".replace("?P<m>", "").replace("?P<d>", "")):
                values = _strptime(levels, f"^{pattern}", written + written_clock)
                if values is not None:
                    return values if clock else values.cast(pa.date32())
    return None


def _stamp(present: pa.Array, zone: str | None = None) -> pa.DataType:
    fine = _any(present, r"\.[0-9]{7,9}")
    return pa.timestamp("ns" if fine else "us", tz=zone)


def _strptime(levels: pa.Array, pattern: str, written: str) -> pa.Array | None:
    text = pc.replace_substring_regex(levels, "-", " ") if "%b" in written else levels
    values = pc.strptime(text, format=written, unit="us", error_is_null=True)
    if values.null_count != levels.null_count:
        return None
    # The platform's strptime rolls 31/02 over into March: the day must come out as it was written.
    day = pc.struct_field(pc.extract_regex(levels, pattern), "d").cast(pa.int64())
    return values if pc.all(pc.equal(pc.day(values), day)).as_py() in (True, None) else None


def _cast(levels: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return levels.cast(kind)
    except pa.ArrowInvalid:
        return None


def _all(present: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(present[:64], pattern)).as_py()) and bool(
        pc.all(pc.match_substring_regex(present, pattern)).as_py()
    )


def _any(present: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(present, pattern)).as_py())


def _refuse_infinite(values: pa.Array, places: pa.Array | None, spellings: pa.Array, name: str) -> None:
    infinite = pc.fill_null(pc.is_inf(values), False)
    if not pc.any(infinite).as_py():
        return
    row = pc.index(infinite if places is None else infinite.take(places), True).as_py()
    spelled = spellings[row if places is None else places[row].as_py()]
    raise Infinite(name, row, spelled.as_py().strip())
