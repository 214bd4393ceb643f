"""Which windows do tables of readings hold: long ones, with a row a moment, and wide ones, with a row a series?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data.encode_values import plain
from data.errors import DataError
from data.sources._found import told
from data.sources._series_cut import Cut, table_of
from data.sources._series_events import Events, check_inside, classes_of, from_file, from_labels
from data.sources._series_files import FILE, loaded
from data.sources._series_length import usual_length
from data.sources._series_lines import (
    How,
    Line,
    common,
    is_count,
    ordered,
    rate,
    resampled,
    seconds,
    spelled,
    stretches,
)
from data.sources._series_roles import Roles, Stated, moments, read_as_numbers, roles, text
from data.sources._series_wide import is_wide, read_wide

Array = np.ndarray


def read(
    path: str | Path,
    *,
    layout: Literal["auto", "long", "wide"] = "auto",
    time: str | None = None,
    entity: str | None = None,
    channels: Sequence[str] | None = None,
    class_column: str | None = None,
    normal: str | None = None,
    events: str | Path | None = None,
    attributes: Sequence[str] | None = None,
    length: int | str | None = None,
    stride: int | str | None = None,
    resample: str | None = None,
    aggregate: How = "auto",
    period: float | None = None,
    gaps: int | str | None = None,
    least: float = 0.8,
    overlap: float = 0.5,
    few: bool = False,
) -> pa.Table:
    """The windows of a csv or Parquet file, or of a folder of them, as a table that `data.windows.description` describes.

    A long table has a row a moment; in a folder each file is an entity, unless `entity` names a column. A wide one has a row a
    series: its readings in order, empty behind its end, and perhaps its class, first or in `class_column`. What is None is
    found out. length, stride: readings, or a span as "8h"; half of length. resample: a span; what was read within it becomes
    one reading by `aggregate`. period: seconds between readings where nothing says when they were read, 1 if None. gaps:
    how long a hole may be to be bridged, 3 readings; longer ones cut the series. least: the share of its readings a window
    must have. overlap: the share of a window, or of an event that is shorter, that names the window. few: one class will do,
    and no window is left out for a doubtful one. What was repaired or left out is told in the metadata, a sentence each.

    Raises DataError, one sentence, for what cannot be read or repaired: no such file or column, no channel, one reading,
    windows longer than every series, rates without a common one, events outside the series."""
    if class_column is not None and events is not None:
        raise DataError("state data.class_column or data.events, not both: each says which windows are of which class")
    said: list[str] = []
    source = Path(path)
    if layout == "wide" or (layout == "auto" and time is None and events is None and is_wide(source)):
        cut = Cut(length if length is not None else 0, stride, overlap, least, few)
        return read_wide(source, cut, said, class_column=class_column, entity=entity, columns=channels, attributes=attributes,
                         period=period)  # fmt: skip
    table, files = loaded(source, said)
    stated = Stated(time, entity or (FILE if FILE in table.column_names else None), class_column, channels, attributes)
    part = roles(table, stated, str(path), said)
    numbers = [not levels for levels in part.levels]
    lines, classes, usual = _lines(table, part, source, normal, period, said)
    lines, kept = _attributes_of(lines, part, said)
    lines = ordered(lines, numbers, said)
    if max(len(line.times) for line in lines) < 2:
        raise DataError(
            f"{path}: all rows of an entity are of one moment, which makes one reading; check data.time and data.entity"
        )
    happened = _events(
        lines, class_column, classes, usual, events, {line.entity: files.get(line.entity, source.name) for line in lines}, said
    )
    lines, every = _at_one_rate(lines, numbers, resample, aggregate, said)
    part, lines, numbers = _without_constant(part, lines, numbers, said, asked=channels is not None, few=few)
    if happened is not None:
        check_inside(happened, lines, every, str(events or class_column), said)
    pieces = stretches(lines, every, numbers, _limit(gaps, every, lines), said)
    if length is None:
        length = usual_length(pieces, numbers)
        said.append(f"Windows have {length} readings, by how the series repeat themselves; state data.length to change that.")
    cut = Cut(length, stride, overlap, least, few)
    return table_of(pieces, part.channels, part.levels, every, cut, happened, said, origin=str(path), attributes=kept)


def _lines(
    table: pa.Table, part: Roles, source: Path, normal: str | None, period: float | None, said: list[str]
) -> tuple[list[Line], list[str], str | None]:
    """The readings entity by entity; the classes of their labels, and which of these says that nothing happens."""
    origin = str(source)
    times = _times(table, part, origin, period, said)
    values = np.stack(
        [read_as_numbers(table.column(n), n, levels) for n, levels in zip(part.channels, part.levels, strict=True)]
    )
    for c, name in enumerate(part.channels):
        if not np.isfinite(values[c]).any():
            raise DataError(f"{origin}: the channel {name!r} holds no reading; leave it out of data.channels")
    labels, usual = None, None
    classes: list[str] = []
    if part.labels is not None:
        labels, classes, usual = classes_of(table.column(part.labels), normal)
    held = {name: plain(table.column(name)) for name in part.attributes}
    out = []
    for who, rows in _by_entity(table, part, source, said):
        known = rows[np.isfinite(times[rows])] if part.time is not None else rows
        if not len(known):
            continue
        of = {name: _one(column.take(pa.array(known))) for name, column in held.items()}
        own = np.arange(len(known)) * (period or 1.0) if part.time is None else times[known]
        out.append(Line(who, own, values[:, known], None if labels is None else labels[known], of))
    if not out:
        raise DataError(f"{origin}: no row says when it was read; name another column in data.time")
    if max(len(line.times) for line in out) < 2:
        raise DataError(
            f"{origin} holds one reading of each entity, and a series has many; check data.entity, or give more rows"
        )
    return out, classes, usual


def _times(table: pa.Table, part: Roles, origin: str, period: float | None, said: list[str]) -> Array:
    if part.time is None:
        every = spelled(period) if period else "1 s"
        said.append(f"No column says when readings were made: rows are taken in order, one every {every} (data.period).")
        return np.zeros(table.num_rows)
    times, unit = moments(table.column(part.time), part.time, origin)
    if gone := int(np.isnan(times).sum()):
        said.append(
            told(f"Rows left out that have no {part.time!r}", [str(i + 1) for i in np.flatnonzero(np.isnan(times))][:gone])
        )
    if unit and unit != "seconds":
        said.append(f"The numbers in {part.time!r} are taken for {unit} since 1970.")
    return times


def _by_entity(table: pa.Table, part: Roles, source: Path, said: list[str]) -> list[tuple[str, Array]]:
    """(entity, (n,) its rows) in the order of their first rows."""
    if part.entity is None:
        return [(source.name.split(".")[0] or source.name, np.arange(table.num_rows))]
    coded = plain(table.column(part.entity)).dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if gone := int((codes < 0).sum()):
        said.append(f"{gone} rows without a value in {part.entity!r} are left out.")
    order = np.argsort(codes, kind="stable")
    names = [text(value) for value in coded.dictionary.to_pylist()]
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    return [(name, order[bounds[i] : bounds[i + 1]]) for i, name in enumerate(names)]


def _one(values: pa.Array) -> Any:
    """The value of an attribute: the first that is there."""
    known = values.drop_null()
    return known[0].as_py() if len(known) else None


def _attributes_of(lines: list[Line], part: Roles, said: list[str]) -> tuple[list[Line], list[str]]:
    """The names of the attributes that every entity has."""
    gone = [name for name in part.attributes if any(line.attributes.get(name) is None for line in lines)]
    if gone:
        said.append(told("Attributes left out, as some entity has no value of them", gone))
    return lines, [name for name in part.attributes if name not in gone]


def _events(
    lines: Sequence[Line],
    labels: str | None,
    classes: Sequence[str],
    usual: str | None,
    events: str | Path | None,
    files: dict[str, str],
    said: list[str],
) -> Events | None:
    if labels is not None:
        return from_labels(lines, classes, usual)
    return from_file(events, files, said) if events is not None else None


def _at_one_rate(
    lines: list[Line], numbers: Sequence[bool], resample: str | None, how: How, said: list[str]
) -> tuple[list[Line], float | None]:
    """The lines at one rate, and the seconds between readings; None where they come as they come."""
    if resample is not None:
        span = seconds(resample, "data.resample")
        return [resampled(line, span, numbers, how) for line in lines], span
    every = rate(lines)
    if every is None:
        said.append(
            "Readings come at uneven moments: a channel holds the seconds before each; state data.resample for even ones."
        )
        return lines, None
    if (coarse := common(lines)) is not None:
        said.append(
            f"Entities were read at several rates: all are resampled to the coarsest, one reading every {spelled(coarse)}."
        )
        return [resampled(line, coarse, numbers, how) if line.usual < 0.95 * coarse else line for line in lines], coarse
    return lines, every


def _without_constant(
    part: Roles, lines: list[Line], numbers: list[bool], said: list[str], *, asked: bool, few: bool
) -> tuple[Roles, list[Line], list[bool]]:
    """The channels that change; constant ones stay where they are stated, or where readings are but to be scored."""
    low = np.min([np.nanmin(line.values, axis=1, initial=np.inf) for line in lines], axis=0)
    high = np.max([np.nanmax(line.values, axis=1, initial=-np.inf) for line in lines], axis=0)
    flat = [name for name, a, b in zip(part.channels, low, high, strict=True) if a >= b]
    if not flat:
        return part, lines, numbers
    if asked or few:
        said.append(told("Channels that never change", flat))
        return part, lines, numbers
    if len(flat) == len(part.channels):
        raise DataError(f"every channel is constant ({', '.join(flat[:5])}), so there is nothing to learn; check the readings")
    said.append(told("Channels left out, as they never change", flat))
    keep = [c for c, name in enumerate(part.channels) if name not in flat]
    chosen = Roles(part.time, part.entity, part.labels, part.attributes, tuple(part.channels[c] for c in keep),
                   tuple(part.levels[c] for c in keep))  # fmt: skip
    lines = [Line(x.entity, x.times, x.values[keep], x.labels, x.attributes) for x in lines]
    return chosen, lines, [numbers[c] for c in keep]


def _limit(gaps: int | str | None, every: float | None, lines: Sequence[Line]) -> float | None:
    """How long a hole may be: in readings where these are even, else in seconds."""
    if gaps is None:
        return None
    steps = [line.usual for line in lines if len(line.times) > 1]
    usual = float(np.median(steps)) if steps else 1.0
    if is_count(gaps):
        return int(gaps) if every else (int(gaps) + 1) * usual
    span = seconds(gaps, "data.gaps")
    return round(span / every) if every else span
