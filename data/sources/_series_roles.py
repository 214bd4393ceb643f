"""Which column says when, whose, what and which class, in a table of readings?"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.encode_values import floats, plain
from data.errors import DataError
from data.sources._found import listed, told

Array = np.ndarray
#: Most levels of a channel of words.
LEVELS = 20
#: Names of columns of numbers that say when.
TIMES = frozenset({"time", "timestamp", "datetime", "date", "t", "seconds", "secs", "unix", "epoch", "ts", "time_s"})
#: A counter of rows, rather than a channel.
COUNTERS = frozenset({"", "index", "id", "row", "unnamed: 0", "unnamed_0", "__index_level_0__", "no", "nr"})


@dataclass(frozen=True)
class Stated:
    """What a plan says of the columns; None is found out."""

    time: str | None = None
    entity: str | None = None
    labels: str | None = None
    channels: Sequence[str] | None = None
    attributes: Sequence[str] | None = None


@dataclass(frozen=True)
class Roles:
    """The part of each column. levels: of each channel, () for numbers."""

    time: str | None
    entity: str | None
    labels: str | None
    attributes: tuple[str, ...]
    channels: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...] = field(default=())


def roles(table: pa.Table, stated: Stated, origin: str, said: list[str]) -> Roles:
    """What the columns mean, as stated and as found. said: what was found or left out is added to it.

    Raises DataError for a stated column that is not there or cannot be what it is said to be, and for no channel."""
    for option, names in _stated(stated):
        for name in names:
            if name not in table.column_names:
                near = difflib.get_close_matches(name, table.column_names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the columns are {listed(table.column_names)}"
                raise DataError(f"{origin}: {option} names the column {name!r}, which is not there; {hint}")
    time = stated.time or _time(table, stated, said)
    entity = stated.entity or (entity_of(table, time, taken=_taken(stated)) if time else None)
    if entity and not stated.entity:
        said.append(f"The column {entity!r} is taken for the entity, as its values come at the same moments.")
    if entity and table.column(entity).null_count == table.num_rows:
        raise DataError(f"{origin}: the column {entity!r} names no entity in any row; name another in data.entity, or none")
    used = {name for name in (time, entity, stated.labels) if name}
    free = [name for name in table.column_names if name not in used]
    attributes = list(stated.attributes) if stated.attributes is not None else _constant(table, entity, free, stated)
    if entity is not None and stated.attributes is None and (ids := _names_of(table, entity, attributes)):
        said.append(told("Columns left out that only name the entity once more", ids))
        attributes, free = [n for n in attributes if n not in ids], [n for n in free if n not in ids]
    attributes = _complete(table, attributes, said, origin, asked=stated.attributes is not None)
    free = [name for name in free if name not in attributes]
    channels = list(stated.channels) if stated.channels is not None else _channels(table, free, said)
    if not channels:
        raise DataError(
            f"{origin} has no column of numbers to be a channel (its columns are {listed(table.column_names)}); state "
            "data.channels, or mend the file"
        )
    if both := [name for name in channels if name in used]:
        raise DataError(
            f"{origin}: the column {both[0]!r} cannot be a channel and say when, whose or which class; leave it out"
        )
    return Roles(time, entity, stated.labels, tuple(attributes), tuple(channels), tuple(_levels(table, channels, origin)))


def _stated(stated: Stated) -> list[tuple[str, Sequence[str]]]:
    one = {"data.time": stated.time, "data.entity": stated.entity, "data.class_column": stated.labels}
    some = {"data.channels": stated.channels, "data.attributes": stated.attributes}
    return [(key, [name]) for key, name in one.items() if name] + [(key, names) for key, names in some.items() if names]


def _taken(stated: Stated) -> set[str]:
    return {name for _, names in _stated(stated) for name in names}


def _time(table: pa.Table, stated: Stated, said: list[str]) -> str | None:
    """The column of moments; of several the one with the most different ones."""
    taken = _taken(stated)
    dated = [f.name for f in table.schema if pa.types.is_temporal(f.type) and f.name not in taken]
    if dated:
        best = max(dated, key=lambda name: pc.count_distinct(table.column(name)).as_py())
        if len(dated) > 1:
            said.append(
                f"Of the columns of dates ({listed(dated)}) {best!r} is taken for the time; state data.time for another."
            )
        return str(best)
    for field_ in table.schema:
        name = field_.name
        if name.strip().lower() in TIMES and _is_number(field_.type) and name not in taken:
            said.append(f"The column {name!r} is taken for the time; state data.time for another.")
            return str(name)
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def moments(column: pa.ChunkedArray, name: str, origin: str) -> tuple[Array, str]:
    """(n,) float64 seconds since 1970 in UTC of dates or numbers, NaN where missing; and in words what numbers were taken for.

    Numbers as large as today's Unix time in milli-, micro- or nanoseconds are that, others are seconds. Raises DataError for
    words."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        exact = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
        return floats(exact, name) / 1e6, ""
    if pa.types.is_dictionary(kind) or not (_is_number(kind) or pa.types.is_null(kind)):
        text = next((str(v) for v in column.to_pylist() if v is not None), "")
        raise DataError(
            f"{origin}: the column {name!r} holds {text!r}, which is no moment of time; write dates as 2024-01-31 08:00:00, or "
            "seconds as numbers"
        )
    numbers = floats(column, name)
    middle = float(np.nanmedian(np.abs(numbers))) if np.isfinite(numbers).any() else 0.0
    for least, parts, word in ((1e17, 1e9, "nanoseconds"), (1e14, 1e6, "microseconds"), (1e11, 1e3, "milliseconds")):
        if middle > least:
            return numbers / parts, word
    return numbers, "seconds"


def entity_of(table: pa.Table, time: str, *, taken: set[str] | None = None) -> str | None:
    """The column that tells things apart which were read at the same moments; None where moments hardly repeat.

    It has few values for its rows, and hardly any moment comes twice for one of them."""
    column = table.column(time)
    if pc.count_distinct(column).as_py() > 0.6 * len(column):
        return None
    for field_ in table.schema:
        if field_.name == time or field_.name in (taken or ()) or not _names_things(field_.type):
            continue
        levels = pc.count_distinct(table.column(field_.name)).as_py()
        if 2 <= levels <= len(column) / 10:
            pairs = table.select([field_.name, time]).group_by([field_.name, time]).aggregate([]).num_rows
            if pairs >= 0.99 * len(column):
                return str(field_.name)
    return None


def _names_things(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(of.is_string(kind) or of.is_large_string(kind) or of.is_integer(kind) or of.is_dictionary(kind))


def _constant(table: pa.Table, entity: str | None, free: Sequence[str], stated: Stated) -> list[str]:
    """Columns with one value in each entity, and several in all."""
    if entity is None or pc.count_distinct(table.column(entity)).as_py() < 2:
        return []
    channels = set(stated.channels or ())
    plain_ = [n for n in free if n not in channels and _is_plain(table.schema.field(n).type)]
    out = []
    for name in plain_:
        values = table.column(name)
        if values.null_count == len(values) or pc.count_distinct(values).as_py() < 2:
            continue
        within = pa.table({"of": plain(table.column(entity)), "held": plain(values)}).group_by("of")
        if max(within.aggregate([("held", "count_distinct")]).column("held_count_distinct").to_pylist()) <= 1:
            out.append(name)
    return out


def _names_of(table: pa.Table, entity: str, names: Sequence[str]) -> list[str]:
    """Columns of words that are another one for each entity, of three and more."""
    many = pc.count_distinct(table.column(entity)).as_py()
    worded = [n for n in names if _names_things(table.schema.field(n).type) and not _is_number(table.schema.field(n).type)]
    return [n for n in worded if many > 2 and pc.count_distinct(table.column(n)).as_py() == many]


def _is_plain(kind: pa.DataType) -> bool:
    return bool(_is_number(kind) or _names_things(kind) or pa.types.is_boolean(kind))


def _complete(table: pa.Table, names: list[str], said: list[str], origin: str, *, asked: bool) -> list[str]:
    """Those without missing values. Raises DataError for one that is stated."""
    gone = [name for name in names if table.column(name).null_count == table.num_rows]
    if gone and asked:
        raise DataError(f"{origin}: the attribute {gone[0]!r} is missing in every row; leave it out of data.attributes")
    return [name for name in names if name not in gone]


def _channels(table: pa.Table, free: Sequence[str], said: list[str]) -> list[str]:
    """Columns of numbers, and of few levels; what is left out is said."""
    out, wordy = [], []
    for name in free:
        column = table.column(name)
        kind = column.type
        if column.null_count == len(column):
            said.append(f"The channel {name!r} holds no reading and is left out.")
        elif _counts_rows(name, column):
            said.append(f"The column {name!r} counts the rows and is left out.")
        elif _is_number(kind) or (_is_plain(kind) and pc.count_distinct(column).as_py() <= LEVELS):
            out.append(name)
        else:
            wordy.append(name)
    if wordy:
        said.append(told(f"Left out, being neither numbers nor of at most {LEVELS} levels", wordy))
    return out


def _counts_rows(name: str, column: pa.ChunkedArray) -> bool:
    if name.strip().lower() not in COUNTERS or not pa.types.is_integer(column.type) or column.null_count or len(column) < 3:
        return False
    return bool((np.diff(floats(column, name)) == 1).all())


def _levels(table: pa.Table, channels: Sequence[str], origin: str) -> list[tuple[str, ...]]:
    out: list[tuple[str, ...]] = []
    for name in channels:
        column = table.column(name)
        if _is_number(column.type):
            out.append(())
            continue
        if pa.types.is_temporal(column.type):
            raise DataError(f"{origin}: the column {name!r} holds dates, which are no channel; leave it out of data.channels")
        counted = {text(v["values"]): int(v["counts"]) for v in pc.value_counts(plain(column.drop_null())).to_pylist()}
        if len(counted) > LEVELS:
            raise DataError(
                f"{origin}: the column {name!r} has {len(counted)} levels, and a channel at most {LEVELS}; leave it out of "
                "data.channels"
            )
        out.append(tuple(sorted(counted, key=lambda level: (-counted[level], level))))
    return out


def text(value: object) -> str:
    """A level as it is spelled: true and false for truth values, 3 for 3.0."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def read_as_numbers(column: pa.ChunkedArray, name: str, levels: Sequence[str]) -> Array:
    """(n,) float64 readings; positions among the levels where there are some, NaN where missing."""
    if not levels:
        return floats(column, name)
    place = {level: float(i) for i, level in enumerate(levels)}
    coded = pc.dictionary_encode(plain(column))
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    of_code = np.array([place[text(v)] for v in coded.dictionary.to_pylist()] or [np.nan])
    codes = coded.indices.to_numpy(zero_copy_only=False)
    known = np.isfinite(codes.astype(np.float64))
    return np.where(known, of_code[np.where(known, codes, 0).astype(np.int64)], np.nan)
