"""When does something happen in a series, and which windows have the class of it?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.encode_values import plain
from data.errors import DataError
from data.images import good
from data.sources import csv as csv_source
from data.sources._found import listed, told
from data.sources._series_lines import Line
from data.sources._series_roles import moments, text
from data.windows import NORMAL

Array = np.ndarray
#: The class of events that have no name.
ANOMALY = "anomaly"


@dataclass(frozen=True)
class Event:
    """Something that happens from `start` to `end`, both included, in seconds. entity: None where all entities are meant."""

    entity: str | None
    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Events:
    """All events. normal: the class of windows without one; whole: whether every reading belongs to one."""

    all: tuple[Event, ...]
    normal: str = NORMAL
    whole: bool = False

    def of(self, entity: str) -> list[Event]:
        return [event for event in self.all if event.entity in (None, entity)]


def classes_of(column: pa.ChunkedArray, normal: str | None) -> tuple[Array, list[str], str | None]:
    """(n,) positions of each reading's label among the classes, -1 for none or normal; the classes; which level is normal.

    normal: the level that says that nothing happens; if None, 0 or false beside another, or what is named so."""
    coded = pc.dictionary_encode(plain(column))
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    names = [text(v) for v in coded.dictionary.to_pylist()]
    two = set(names) <= {"0", "1"} or set(names) <= {"false", "true"}
    if normal is not None and normal not in names:
        raise DataError(f"data.normal: no reading is labelled {normal!r}; the labels are {listed(names)}")
    if two and normal is None:
        names = [NORMAL if name in ("0", "false") else ANOMALY for name in names]
    usual = normal if normal is not None else good(names)
    if usual is None and column.null_count:
        usual = NORMAL
    classes = sorted({name for name in names if name != usual})
    place = np.array([classes.index(name) if name != usual else -1 for name in names] + [-1], dtype=np.int64)
    codes = pc.fill_null(coded.indices.cast(pa.int64()), len(names)).to_numpy(zero_copy_only=False)
    return place[codes], classes, usual


def from_labels(lines: Sequence[Line], classes: Sequence[str], normal: str | None) -> Events:
    """The events that labels of readings tell of: each run of one label."""
    out: list[Event] = []
    for line in lines:
        if line.labels is None or not len(line.labels):
            continue
        first = np.flatnonzero(np.diff(line.labels, prepend=-2) != 0)
        last = np.append(first[1:], len(line.labels)) - 1
        out += [
            Event(line.entity, float(line.times[a]), float(line.times[b]), classes[line.labels[a]])
            for a, b in zip(first, last, strict=True)
            if line.labels[a] >= 0
        ]
    return Events(tuple(out), normal or NORMAL, whole=normal is None)


def from_file(path: str | Path, entities: Mapping[str, str], said: list[str]) -> Events:
    """The events of a file of label windows.

    json: as of the Numenta benchmark, {key: [[start, end], ...]} with files or entities as keys, or [[start, end], ...]; a
    moment in place of a pair is an event of one reading. csv: columns start and end, perhaps class and entity. entities:
    name -> the file it was read from. Raises DataError for another form, an end before its start, and for events of which
    none is of one of the entities."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"data.events: there is no file {file}; check the path (relative paths start at the working folder)")
    found = _of_json(file) if file.suffix.lower() == ".json" else _of_csv(file)
    for event in found:
        if event.end < event.start:
            raise DataError(f"{file}: an event ends at {_when(event.end)}, before it starts at {_when(event.start)}; mend it")
    out, strange = [], []
    for event in found:
        whose = event.entity if event.entity is None else _entity(event.entity, entities)
        if event.entity is not None and whose is None:
            strange.append(event.entity)
            continue
        out.append(Event(whose, event.start, event.end, event.name))
    if not out and strange:
        raise DataError(
            f"{file} tells of {listed(list(dict.fromkeys(strange)))}, and none of that is an entity here "
            f"({listed(list(entities))}); name them alike"
        )
    # A benchmark's file of labels tells of all its series; that others are not read here needs no word.
    if strange and file.suffix.lower() != ".json":
        said.append(told(f"Events in {file.name} of entities that are not here", list(dict.fromkeys(strange))))
    return Events(tuple(out))


def _entity(key: str, entities: Mapping[str, str]) -> str | None:
    """The entity that a key names: by its name, by its file, or by the end of its path."""
    if key in entities:
        return key
    bare = PurePosixPath(key)
    hits = [name for name, file in entities.items() if bare.name == PurePosixPath(file).name or bare.stem == name]
    return hits[0] if len(hits) == 1 else None


def _of_json(file: Path) -> list[Event]:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read as JSON ({' '.join(str(error).split())[:100]}); check that it is whole"
        ) from None
    parts = held.items() if isinstance(held, dict) else [(None, held)]
    out = []
    for key, spans in parts:
        if not isinstance(spans, list):
            raise DataError(f"{file}: {key!r} must hold a list of [start, end], not {str(spans)[:40]!r}")
        out += [_span(span, key, file) for span in spans]
    return out


def _span(span: Any, key: str | None, file: Path) -> Event:
    if isinstance(span, dict) and {"start", "end"} <= set(span):
        whose = span.get("entity", key)
        start, end = _moment(span["start"], file), _moment(span["end"], file)
        return Event(None if whose is None else str(whose), start, end, str(span.get("class", ANOMALY)))
    ends = span if isinstance(span, list) else [span, span]
    if len(ends) not in (2, 3):
        raise DataError(f"{file}: an event must be [start, end] or [start, end, class], not {str(span)[:60]}")
    return Event(key, _moment(ends[0], file), _moment(ends[1], file), str(ends[2]) if len(ends) == 3 else ANOMALY)


def _moment(value: Any, file: Path) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        when = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise DataError(f"{file}: {str(value)[:40]!r} is no moment of time; write it as 2024-01-31 08:00:00") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _of_csv(file: Path) -> list[Event]:
    table = csv_source.read(file)
    names = {name.strip().lower(): name for name in table.column_names}
    if not {"start", "end"} <= set(names):
        raise DataError(
            f"{file} must have the columns start and end, and may have class and entity; it has {listed(list(names))}"
        )
    start, end = (moments(table.column(names[part]), names[part], str(file))[0] for part in ("start", "end"))
    if np.isnan(start).any() or np.isnan(end).any():
        row = int(np.flatnonzero(np.isnan(start) | np.isnan(end))[0]) + 1
        raise DataError(f"{file}: row {row} lacks the start or the end of its event; fill it in, or leave the row out")
    none = [None] * len(table)
    named = table.column(names["class"]).to_pylist() if "class" in names else none
    whose = table.column(names["entity"]).to_pylist() if "entity" in names else none
    return [
        Event(None if who is None else text(who), float(a), float(b), ANOMALY if what is None else text(what))
        for a, b, what, who in zip(start, end, named, whose, strict=True)
    ]


def check_inside(events: Events, lines: Sequence[Line], period: float | None, source: str, said: list[str]) -> None:
    """Raises DataError where no event lies within what was read; some that do not are said. period: of a reading."""
    if not events.all:
        return
    reach = {
        line.entity: (float(line.times.min()), float(line.times.max()) + (period or 0.0)) for line in lines if len(line.times)
    }
    outside = []
    for event in events.all:
        spans = reach.values() if event.entity is None else [reach[event.entity]] if event.entity in reach else []
        if not any(event.start <= high and event.end >= low for low, high in spans):
            outside.append(event)
    if len(outside) == len(events.all):
        low, high = min(a for a, _ in reach.values()), max(b for _, b in reach.values())
        raise DataError(
            f"{source}: no event lies within the series, which reach from {_when(low)} to {_when(high)} (the first event "
            f"starts at {_when(outside[0].start)}); check time zones and entities"
        )
    if outside:
        said.append(told("Events outside the series", [f"{e.name} at {_when(e.start)}" for e in outside]))


def _when(moment: float) -> str:
    """A moment as a date where it is one of our time."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S") if 1e8 < moment < 2e10 else f"{moment:.6g}"


def named(
    times: Array,
    first: Array,
    last: Array,
    events: Sequence[Event],
    rank: Counter[str],
    held: Events,
    overlap: float,
    period: float,
) -> tuple[list[str], Array]:
    """The class of each window, and which are doubtful: touched by an event, but too little to be named after it.

    times: (n,) of the readings; first, last: (w,) where each window begins and ends (behind its last reading), ascending. An
    event names a window of which it covers `overlap`, or which holds that share of the event where it is the shorter; of
    several the class with the fewest readings. Where every reading has a class, the most frequent in it does if none
    suffices."""
    best: list[tuple[int, str] | None] = [None] * len(first)
    most: list[tuple[int, str]] = [(0, held.normal)] * len(first)
    touched = np.zeros(len(first), dtype=bool)
    for event in events:
        a = int(np.searchsorted(times, event.start - period * (1 - 1e-9), side="right" if period else "left"))
        b = max(int(np.searchsorted(times, event.end, side="right")), a + 1)
        if a >= len(times) or event.end < times[0]:
            continue
        near = np.arange(np.searchsorted(last, a, side="right"), np.searchsorted(first, b, side="left"))
        shared = np.minimum(last[near], b) - np.maximum(first[near], a)
        enough = shared >= overlap * np.minimum(last[near] - first[near], b - a)
        touched[near] |= shared > 0
        for i, count, sure in zip(near.tolist(), shared.tolist(), enough.tolist(), strict=True):
            if count > most[i][0]:
                most[i] = (count, event.name)
            before = best[i]
            if sure and count > 0 and (before is None or (rank[event.name], event.name) < before):
                best[i] = (rank[event.name], event.name)
    names = [
        one[1] if one is not None else (more[1] if held.whole else held.normal) for one, more in zip(best, most, strict=True)
    ]
    sure_ = np.array([one is not None for one in best], dtype=bool)
    return names, touched & ~sure_ & (not held.whole)
