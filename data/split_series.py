"""Which windows are learned from, and which are judged by, when no moment may stand on both sides?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from data.dataset import Dataset
from data.errors import DataError
from data.images import good
from data.split import HOLDOUT, REFERENCE, TRAIN, Split, _assemble, _check_filled, _check_shares, _deal
from data.windows import CLASS, ELAPSED, NORMAL, Windows, windows

Array = np.ndarray
How = Literal["auto", "entity", "time", "last"]
#: Entities for each part from which on whole ones are dealt.
ENTITIES = 3
#: Blocks that a time line is cut into; window lengths that a block has at least, of long and of short series.
BLOCKS, ROOMY, TIGHT = 20, 8, 2
#: The share that the usual class must have to be the background against which others are events.
BACKGROUND = 0.5
WHY = "they lie across the border of two parts in time"


@dataclass(frozen=True)
class _Line:
    """One entity's windows. rows: (w,) positions in the dataset, by start; start, end: (w,) seconds, NaN where unknown."""

    rows: Array
    start: Array
    end: Array


def split_windows(dataset: Dataset, *, reference: float, holdout: float, seed: int, how: How = "auto") -> Split:
    """Cut a dataset of series into train, reference and holdout, by shares of its windows.

    No window of one part overlaps in time a window of another part of the same entity. how: entity puts whole entities into
    one part; time cuts the time line of each into blocks, around events rather than through them, and deals these so that
    every class is in every part as well as they allow; last holds out the last share of each time line, the reference before
    it; auto takes entity where there are ENTITIES for each part and each class lives in several, else time. Windows across the
    border of two parts are left out; `notices` says how many. A class that lives in too few blocks is in train first, then in
    holdout. The same seed gives the same split.

    Raises DataError for shares that leave no train windows, an unknown way, and for parts that get no window."""
    _check_shares(reference, holdout)
    if how not in ("auto", "entity", "time", "last"):
        raise DataError(f"split.by: {how!r} is no way to cut series; it must be auto, entity, time or last")
    if not len(dataset):
        raise DataError("the data hold no windows, so there is nothing to split; state a shorter data.length")
    held = windows(dataset)
    labels = _labels(dataset, held)
    shares = np.array([1 - reference - holdout, reference, holdout])
    known = np.flatnonzero(labels >= 0)
    if len(known) < int((shares > 0).sum()):
        raise DataError(f"{len(known)} windows cannot be cut into {int((shares > 0).sum())} parts; give more")
    lines = _lines(held, known)
    said: list[str] = []
    chosen = _chosen(lines, labels, shares, said) if how == "auto" else how
    rng = np.random.default_rng(seed)
    part = np.full(len(held), -1, dtype=np.int64)
    if chosen == "entity":
        _by_entity(part, lines, labels, shares, rng)
    elif chosen == "last":
        _by_last(part, lines, shares)
    else:
        _by_time(part, lines, labels, held, shares, rng)
    _tell(part, labels, held, shares, said, chosen)
    rows = [np.flatnonzero(part == place) for place in range(3)]
    _check_filled(rows, shares)
    found = _assemble(dataset, rows, np.flatnonzero(labels < 0), reference)
    return replace(found, left=int(((part < 0) & (labels >= 0)).sum()), why=WHY, said=tuple(said))


def _labels(dataset: Dataset, held: Windows) -> Array:
    """(n,) int64 classes, -1 where missing; zeros without classes."""
    return held.labels if CLASS in dataset.schema and held.classes else np.zeros(len(held), dtype=np.int64)


def _lines(held: Windows, rows: Array) -> list[_Line]:
    """The time lines of the entities; windows of nobody share one where their time is known, and are alone where not."""
    ends = held.starts + spans(held)
    by_name: dict[str, list[int]] = {}
    for row in rows.tolist():
        who = held.entities[row]
        alone = who is None and not np.isfinite(held.starts[row])
        by_name.setdefault(f"\x00{row}" if alone else f"\x01{who or ''}", []).append(row)
    out = []
    for some in by_name.values():
        places = np.array(some, dtype=np.int64)
        places = places[np.argsort(held.starts[places], kind="stable")]
        out.append(_Line(places, held.starts[places], ends[places]))
    return out


def spans(held: Windows) -> Array:
    """(n,) seconds from the first reading of a window to where the next reading would be.

    Without a period the channel ELAPSED tells, and the last reading lasts as long as the usual one."""
    if held.period is not None:
        return np.asarray(held.lengths * held.period, dtype=np.float64)
    if ELAPSED not in held.channels:
        return np.asarray(held.lengths, dtype=np.float64)
    steps = np.nan_to_num(held.values[:, held.channels.index(ELAPSED)].astype(np.float64))[:, 1:]
    # Between the last reading and the next one nothing was read that a window could share: the least step will do.
    return np.asarray(steps.sum(axis=1) + 1e-9 + 1e-6 * steps.sum(axis=1))


def _chosen(lines: list[_Line], labels: Array, shares: Array, said: list[str]) -> How:
    """Whole entities where each part can have some, and each class lives in as many as learning and judging need."""
    needed = int((shares > 0).sum())
    timed = all(np.isfinite(line.start).all() for line in lines)
    if len(lines) >= needed * (ENTITIES if timed else 1):
        lives = _table(lines, labels)
        lonely = int(((lives > 0).sum(axis=0) < min(2, needed)).sum())
        largest = lives.sum(axis=1).max() / lives.sum()
        if not timed or (not lonely and largest <= max(1.5 * shares[TRAIN], 0.5)):
            return "entity"
        why = "a class lives in one entity alone" if lonely else "one entity has most of the windows"
        said.append(f"Each entity's time is cut, as {why}: parts share entities, but no moment; state split.by to change that.")
    elif not timed:
        raise DataError(
            f"{len(lines)} entities cannot be cut into {needed} parts, and windows do not say when they start; give more"
        )
    return "time"


def _table(groups: list[_Line], labels: Array) -> Array:
    """Windows of each class in each group: (groups, classes)."""
    _, codes = np.unique(labels, return_inverse=True)
    return np.stack([np.bincount(codes[group.rows], minlength=codes.max() + 1) for group in groups]).astype(np.float64)


def _by_entity(part: Array, lines: list[_Line], labels: Array, shares: Array, rng: np.random.Generator) -> None:
    needed = int((shares > 0).sum())
    if len(lines) < needed:
        raise DataError(f"{len(lines)} entities cannot be cut into {needed} parts, one each; state split.by: time")
    table = _filled(_table(lines, labels), shares, rng)
    for line, home in zip(lines, table, strict=True):
        part[line.rows] = home


def _by_last(part: Array, lines: list[_Line], shares: Array) -> None:
    """The last share of each time line is the holdout, the reference lies before it."""
    _need_times(lines)
    for line in lines:
        count = len(line.rows)
        late = _border(line, count - round(count * shares[HOLDOUT])) if shares[HOLDOUT] > 0 else np.inf
        middle = _border(line, count - round(count * (shares[HOLDOUT] + shares[REFERENCE]))) if shares[REFERENCE] > 0 else late
        where = np.full(count, -1, dtype=np.int64)
        where[line.end <= middle + _slack(line)] = TRAIN
        where[(line.start >= middle) & (line.end <= late + _slack(line))] = REFERENCE
        where[line.start >= late] = HOLDOUT
        part[line.rows] = where


def _border(line: _Line, place: int) -> float:
    """Where the window at this place starts; behind all where there is none."""
    return float(line.start[place]) if place < len(line.rows) else float("inf")


def _slack(line: _Line) -> float:
    """What moments are uncertain by, in seconds: far less than a reading."""
    return 1e-6 * float(np.median(line.end - line.start))


def _need_times(lines: list[_Line]) -> None:
    if any(not np.isfinite(line.start).all() for line in lines):
        raise DataError("windows do not say when they start, so that time cannot be cut; state split.by: entity")


def _by_time(part: Array, lines: list[_Line], labels: Array, held: Windows, shares: Array, rng: np.random.Generator) -> None:
    """Blocks of all time lines are dealt; windows in blocks of one part belong to it, others to none."""
    _need_times(lines)
    usual = _background(labels, held)
    touched: list[tuple[Array, Array]] = []
    wholly: list[Array] = []
    first = 0
    for line in lines:
        cuts = borders(
            line.start, line.end, labels[line.rows] != usual if usual is not None else np.zeros(len(line.rows), bool)
        )
        low = np.searchsorted(cuts, line.start + _slack(line), side="right")
        high = np.searchsorted(cuts, line.end - _slack(line), side="left")
        touched.append((first + low, first + np.maximum(high, low)))
        wholly.append(np.where(high <= low, first + low, -1))
        first += len(cuts) + 1
    rows = np.concatenate([line.rows for line in lines])
    low, high = (np.concatenate([pair[i] for pair in touched]) for i in (0, 1))
    of = np.concatenate(wholly)
    blocks = [_Line(rows[of == b], np.zeros(0), np.zeros(0)) for b in range(first)]
    full = [b for b, block in enumerate(blocks) if len(block.rows)]
    needed = int((shares > 0).sum())
    if len(full) < needed:
        raise DataError(
            f"the windows fall into {len(full)} blocks of time that do not overlap, and {needed} parts need one each; state a "
            "shorter data.length, or give longer series"
        )
    home = np.full(first, -1, dtype=np.int64)
    home[full] = _filled(_table([blocks[b] for b in full], labels), shares, rng)
    home = _around(home)
    part[rows] = _agreed(home, low, high)
    for level in np.unique(labels[rows]):  # a class whose windows all lie across borders is learned at least
        mine = np.flatnonzero(labels[rows] == level)
        if not (part[rows[mine]] == TRAIN).any():
            for b in range(low[mine[0]], high[mine[0]] + 1):
                home[b] = TRAIN
            part[rows] = _agreed(home, low, high)


def _around(home: Array) -> Array:
    """Blocks that hold no whole window take the part of the one before them."""
    out = home.copy()
    for b in range(len(out)):
        if out[b] < 0:
            out[b] = out[b - 1] if b and out[b - 1] >= 0 else TRAIN
    return out


def _agreed(home: Array, low: Array, high: Array) -> Array:
    """The part of each window: that of all blocks from `low` to `high`, -1 where these differ."""
    out = home[low].copy()
    for step in range(1, int((high - low).max(initial=0)) + 1):
        at = np.minimum(low + step, high)
        out[home[at] != home[low]] = -1
    return np.asarray(out)


def _background(labels: Array, held: Windows) -> int | None:
    """The class in which nothing happens; None where no class is so common that the others are events."""
    if not held.classes:
        return None
    if (named := NORMAL if NORMAL in held.classes else good(held.classes)) is not None:
        return held.classes.index(named)
    counts = np.bincount(labels[labels >= 0], minlength=len(held.classes))
    return int(counts.argmax()) if counts.max() >= BACKGROUND * counts.sum() else None


def borders(start: Array, end: Array, event: Array) -> Array:
    """Moments at which a time line is cut into blocks: (w,) starts, ascending, ends, and which windows are of events.

    Blocks are BLOCKS to a line where they are long for their windows; events that do not overlap come into blocks of their
    own, cut from one another in the middle between them, and only long ones are cut themselves."""
    length = float(np.median(end - start))
    whole = float(end.max() - start.min())
    target = max(whole / BLOCKS, min(ROOMY * length, max(whole / (BLOCKS / 2), TIGHT * length)))
    out: list[float] = []
    before = float(start.min())
    joined = _joined(start[event], end[event])
    for low, high in joined:
        out += _between(before, low, target, at_start=before == float(start.min()) and not out)
        out += [low + (high - low) * (i + 1) / n for n in [int((high - low) // target)] if n > 1 for i in range(n - 1)]
        before = high
    if not joined:
        count = max(round(whole / target), 1)
        return before + whole * np.arange(1, count) / count
    rest = float(end.max()) - before
    count = int(rest // target)
    out += [float(end.max()) - rest * (i + 1) / (count + 0.5) for i in reversed(range(count))]
    return np.array(out)


def _joined(start: Array, end: Array) -> list[tuple[float, float]]:
    """Spans of windows that overlap one another, as (start, end), ascending."""
    out: list[tuple[float, float]] = []
    for low, high in zip(start.tolist(), end.tolist(), strict=True):
        if out and low < out[-1][1] - 1e-6 * (high - low):
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return out


def _between(low: float, high: float, target: float, *, at_start: bool) -> list[float]:
    """Cuts from the end of one event to the start of the next: at least one, in the middle; or from the start of the line."""
    room = high - low
    if at_start:
        count = int(room // target)
        return [low + room * (i + 1) / (count + 0.5) for i in range(count)]
    count = int(room // target) + 1
    return [low + room * (i + 0.5) / count for i in range(count)]


def _filled(table: Array, shares: Array, rng: np.random.Generator) -> Array:
    """The part of each group, dealt by classes: then moved until each class that has groups enough is in every part."""
    home = _deal(table, shares, rng)
    for part, least in ((TRAIN, 1), (HOLDOUT, 2), (REFERENCE, 3)):
        if shares[part] <= 0:
            continue
        for level in np.argsort((table > 0).sum(axis=0), kind="stable"):
            holders = np.flatnonzero(table[:, level])
            if len(holders) < least or np.any(home[holders] == part):
                continue
            movable = [g for g in holders if part == TRAIN or _spared(table, home, int(g), part)]
            if movable:
                home[min(movable, key=lambda g: (table[g].sum(), int(g)))] = part
    _no_part_empty(table, home, shares)
    return home


def _spared(table: Array, home: Array, group: int, part: int) -> bool:
    """Whether the group's part keeps its classes without it; a reference may lose them to the holdout."""
    if home[group] == REFERENCE and part == HOLDOUT:
        return True
    rest = (home == home[group]) & (np.arange(len(home)) != group)
    return bool(np.all(table[rest].sum(axis=0)[table[group] > 0] > 0))


def _no_part_empty(table: Array, home: Array, shares: Array) -> None:
    """A part that got no group takes the smallest of the part with the most."""
    for part in (HOLDOUT, REFERENCE, TRAIN):
        if shares[part] > 0 and not (home == part).any():
            counts = np.bincount(home, minlength=3)
            givers = np.flatnonzero(home == int(counts.argmax()))
            home[givers[table[givers].sum(axis=1).argmin()]] = part


def _tell(part: Array, labels: Array, held: Windows, shares: Array, said: list[str], how: How) -> None:
    why = "it happens too few times that do not overlap" if how == "time" else "it does not happen there"
    for k, name in enumerate(held.classes):
        if not (labels == k).any():
            continue
        gone = [word for place, word in ((TRAIN, "train"), (REFERENCE, "reference"), (HOLDOUT, "holdout"))
                if shares[place] > 0 and not (part[labels == k] == place).any()]  # fmt: skip
        if gone:
            where = " or in ".join(gone)
            said.append(f"Class {name!r} is not in {where}: {why}.")
