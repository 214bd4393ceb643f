"""Where do windows begin and end in stretches of readings, and how do they become a table?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.infer import infer
from data.schema import Column
from data.sources._found import told
from data.sources._series_events import Event, Events, named
from data.sources._series_lines import Line, is_count, seconds, spelled
from data.sources._series_notices import with_notices
from data.windows import ELAPSED, batch, described, schema

Array = np.ndarray


@dataclass(frozen=True)
class Cut:
    """How windows are cut.

    length, stride: readings, or a span of time; a length of 0 for whole series; overlap: see `_series_events.named`; least:
    the share of its readings a window must have; few: windows of one class, or with doubtful labels, will do, to be scored."""

    length: int | str
    stride: int | str | None = None
    overlap: float = 0.5
    least: float = 0.8
    few: bool = False


@dataclass(frozen=True)
class Made:
    """Windows of one stretch. values: (w, channels, longest); lengths, starts: (w,)."""

    line: Line
    values: Array
    lengths: Array
    starts: Array
    names: list[str]
    doubtful: Array


def counted(length: int | str, period: float | None, what: str) -> int | float:
    """Readings; seconds where readings come as they come and a span of time is stated."""
    if is_count(length):
        if what == "data.length" and int(length) == 0:
            return 0
        if int(length) < 1:
            raise DataError(f"{what}: {length} readings make no window; state 2 or more")
        return int(length)
    span = seconds(length, what)
    if period is None:
        return span
    if span < period * (1 - 1e-9):
        raise DataError(f"{what}: {length} is shorter than from one reading to the next, {spelled(period)}; state a longer one")
    return max(int(round(span / period)), 1)


def table_of(
    stretches: Sequence[Line],
    channels: Sequence[str],
    levels: Sequence[tuple[str, ...]],
    period: float | None,
    cut: Cut,
    events: Events | None,
    said: list[str],
    *,
    origin: str,
    attributes: Sequence[str] = (),
) -> pa.Table:
    """The windows of all stretches as a table with its schema and what its reader has to tell in its metadata.

    period: seconds between readings; None adds a channel ELAPSED, the seconds since the reading before. events: None where
    windows have no classes. Raises DataError where windows are longer than every stretch, or none is left."""
    length = counted(cut.length, period, "data.length")
    if length == 1:
        raise DataError("data.length: a window must have 2 readings or more")
    stride = length / 2 if cut.stride is None else counted(cut.stride, period, "data.stride")
    stride = (
        max(int(stride), 1) if isinstance(length, int) and (period or cut.stride is None or is_count(cut.stride)) else stride
    )
    rank: Counter[str] = Counter()
    for event in events.all if events else ():
        rank[event.name] += sum(_readings(line, event) for line in stretches if event.entity in (None, line.entity))
    made = [_made(line, length, stride, period, cut, events, rank) for line in stretches]
    if not any(len(one.starts) for one in made):
        _refuse(stretches, cut, period, origin)
    _tell_short(made, stretches, said)
    kept = [_kept(one, cut) for one in made]
    _tell_kept(made, kept, cut, said)
    if not any(len(one.starts) for one in kept):
        raise DataError(
            f"{origin}: no window of {cut.length} holds {cut.least:.0%} of its readings and a clear label; state a shorter "
            "data.length, a longer data.gaps, or a smaller data.least"
        )
    return _assembled([k for k in kept if len(k.starts)], channels, levels, period, events, said, cut, attributes)


def _readings(line: Line, event: Event) -> int:
    return int(np.searchsorted(line.times, event.end, side="right") - np.searchsorted(line.times, event.start, side="left"))


def _made(
    line: Line,
    length: int | float,
    stride: int | float,
    period: float | None,
    cut: Cut,
    events: Events | None,
    rank: Counter[str],
) -> Made:
    first, last = _places(line.times, length, stride, line.usual)
    lengths = last - first
    values = line.values if period else np.concatenate([line.values, [np.diff(line.times, prepend=line.times[0])]])
    out = np.full((len(first), len(values), int(lengths.max(initial=1))), np.nan, dtype=np.float32)
    if len(first):
        at = first[:, None] + np.arange(out.shape[2])[None]
        inside = at < last[:, None]
        out = np.where(inside[:, None], values[:, np.minimum(at, len(line.times) - 1)].transpose(1, 0, 2), np.nan)
    names, doubtful = [line.level or ""] * len(first), np.zeros(len(first), dtype=bool)
    if events is not None and len(first) and line.level is None:
        mine = events.of(line.entity)
        names, doubtful = named(line.times, first, last, mine, rank, events, cut.overlap, period or 0.0)
    return Made(line, out.astype(np.float32), lengths, line.times[first], names, doubtful)


def _places(times: Array, length: int | float, stride: int | float, usual: float) -> tuple[Array, Array]:
    """(w,) first readings and (w,) places behind the last of all windows that lie within the stretch whole."""
    if length == 0:
        whole = np.full(1 if len(times) > 1 else 0, len(times), dtype=np.int64)
        return np.zeros_like(whole), whole
    if isinstance(length, int) and isinstance(stride, int):
        first = np.arange(0, len(times) - length + 1, stride, dtype=np.int64)
        return first, first + length
    if isinstance(length, int):
        count = int((times[-1] - times[0]) // stride) + 1
        first = np.unique(np.searchsorted(times, times[0] + stride * np.arange(count)))
        first = first[first + length <= len(times)]
        return first, first + length
    if len(times) < 2:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if isinstance(stride, int):
        first = np.arange(0, len(times), stride, dtype=np.int64)
    else:
        count = int((times[-1] - times[0]) // stride) + 1
        first = np.unique(np.searchsorted(times, times[0] + stride * np.arange(count)))
    last = np.searchsorted(times, times[first] + length)
    whole = (times[first] + length <= times[-1] + usual * (1 + 1e-9)) & (last - first >= 2)
    return first[whole], last[whole]


def _refuse(stretches: Sequence[Line], cut: Cut, period: float | None, origin: str) -> None:
    longest = max(stretches, key=lambda line: len(line.times))
    count = len(longest.times)
    if count == 1:
        raise DataError(f"{origin} holds one reading of {longest.entity!r}, and a series has many; give more of them")
    span = f", {spelled(longest.times[-1] - longest.times[0] + (period or 0.0))}" if period is None else ""
    raise DataError(
        f"data.length: windows of {cut.length} are longer than every series in {origin}; the longest without a hole is of "
        f"{longest.entity!r} and has {count} readings{span}: state a shorter length, or a longer data.gaps"
    )


def _tell_short(made: Sequence[Made], stretches: Sequence[Line], said: list[str]) -> None:
    some = {one.line.entity for one in made if len(one.starts)}
    if none := list(dict.fromkeys(line.entity for line in stretches if line.entity not in some)):
        said.append(told("Left out, being shorter than a window", none))
    if (pieces := sum(1 for one in made if not len(one.starts) and one.line.entity in some)) > 0:
        many = "1 stretch" if pieces == 1 else f"{pieces} stretches"
        said.append(f"{many} between holes, too short for a window, left out.")


def _kept(made: Made, cut: Cut) -> Made:
    channels = len(made.line.values)
    share = np.isfinite(made.values[:, :channels]).sum(axis=(1, 2)) / np.maximum(made.lengths * channels, 1)
    some = (share >= cut.least - 1e-9) & (share > 0)
    keep = np.flatnonzero(some & (~made.doubtful | cut.few))
    return replace(
        made,
        values=made.values[keep],
        lengths=made.lengths[keep],
        starts=made.starts[keep],
        names=[made.names[i] for i in keep],
        doubtful=made.doubtful[keep],
    )


def _tell_kept(made: Sequence[Made], kept: Sequence[Made], cut: Cut, said: list[str]) -> None:
    doubtful = 0 if cut.few else sum(int(one.doubtful.sum()) for one in made)
    gone = sum(len(one.starts) for one in made) - sum(len(one.starts) for one in kept) - doubtful
    if gone > 0:
        said.append(f"{_many(gone)} left out that {'has' if gone == 1 else 'have'} less than {cut.least:.0%} of the readings.")
    if doubtful:
        said.append(
            f"{_many(doubtful)} left out that events touch, but by less than {cut.overlap:.0%} of the window or of the event: "
            "neither class would be true."
        )


def _many(count: int) -> str:
    return "1 window is" if count == 1 else f"{count} windows are"


def _assembled(
    made: Sequence[Made],
    channels: Sequence[str],
    levels: Sequence[tuple[str, ...]],
    period: float | None,
    events: Events | None,
    said: list[str],
    cut: Cut,
    attributes: Sequence[str],
) -> pa.Table:
    longest = max(one.values.shape[2] for one in made)
    values = np.concatenate(
        [np.pad(m.values, ((0, 0), (0, 0), (0, longest - m.values.shape[2])), constant_values=np.nan) for m in made]
    )
    empty = [name for c, name in enumerate(channels) if not np.isfinite(values[:, c]).any()]
    if empty:
        raise DataError(f"the channel {empty[0]!r} holds no reading in any window that is left; leave it out of data.channels")
    names = [name for one in made for name in one.names]
    counts = Counter(names)
    classes = sorted(counts, key=lambda name: (-counts[name], name)) if events is not None else []
    _check_classes(classes, events, said, cut)
    if len(classes) < 2 and not cut.few:
        classes = []
    entities = [one.line.entity for one in made for _ in one.starts]
    starts = np.concatenate([one.starts for one in made])
    kinds = [*levels, ()] if period is None else list(levels)
    of, held = _attributes(made, attributes, entities)
    rows = schema([*channels, ELAPSED] if period is None else channels, classes, levels=kinds, period=period, attributes=of)
    part = batch(
        rows,
        values,
        np.concatenate([one.lengths for one in made]),
        classes=names if classes else None,
        starts=starts.tolist(),
        entities=entities,
        sources=[f"{who}@{_stamp(when)}" for who, when in zip(entities, starts.tolist(), strict=True)],
        attributes=held,
    )
    return with_notices(described(pa.Table.from_batches([part], schema=rows.arrow()), rows), said)


def _check_classes(classes: Sequence[str], events: Events | None, said: list[str], cut: Cut) -> None:
    if events is None:
        return
    if lost := sorted({event.name for event in events.all} - set(classes)):
        said.append(told("Classes whose events name no window", lost))
    if len(classes) < 2 and not cut.few:
        said.append(f"All windows are of one class, {classes[0]!r}, so that they have none here.")


def _attributes(made: Sequence[Made], names: Sequence[str], entities: Sequence[str]) -> tuple[list[Column], dict[str, Any]]:
    """The columns of attributes, and their values window by window."""
    by_entity = {one.line.entity: one.line.attributes for one in made}
    if not names:
        return [], {}
    table = pa.table({name: pa.array([of.get(name) for of in by_entity.values()]) for name in names})
    place = {who: i for i, who in enumerate(by_entity)}
    spread = table.take(pa.array([place[who] for who in entities]))
    kinds = {name: _kind(table.column(name)) for name in names}
    rows = infer(spread, stated={name: {"kind": kind} for name, kind in kinds.items()})
    columns = [replace(column, declared=frozenset()) for column in rows]
    return columns, {name: spread.column(name).combine_chunks() for name in names}


def _kind(column: pa.ChunkedArray) -> str:
    if pa.types.is_boolean(column.type):
        return "boolean"
    if pa.types.is_integer(column.type):
        return "integer"
    return "numeric" if pa.types.is_floating(column.type) else "categorical"


def _stamp(moment: float) -> str:
    """A moment in the name of a window: a date where it is one of our time, else seconds."""
    if 1e8 < moment < 2e10:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds" if moment == int(moment) else "milliseconds")
    return f"{moment:.6f}".rstrip("0").rstrip(".")
