"""How unusual is each window of these series, and which are so unusual that it is no chance?"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Schema
from data.windows import CLASS, ELAPSED, OWN, READINGS, SERIES, attributes_of, description, readings, windows
from flows.pipes import note
from flows.run import Run
from flows.stages.read import notices_of
from flows.stages.shared import load_schema

#: What of a plan's source is of its own readings alone.
OF_ITS_OWN = ("use", "keep", "path", "events", "class_column", "counts", "seed")
#: A window is flagged where at most this share of normal ones is as unusual.
FLAGGED = 0.01
#: Rates that differ by no more than this share are one.
SAME = 0.1
HEAD = ("entity", "start", "end", "source", "class", "score")


def series_like(run: Run, data: Path) -> Dataset:
    """The windows of a file or folder, cut as the run's own were: by its plan's length, stride, channels and resampling.

    Raises DataError where the data are no such series, or lack a channel that the model has learned."""
    known = load_schema(run)
    if data.suffix.lower() in (".parquet", ".pq") and SERIES in pq.read_schema(data).names:
        return _fitted(pq.read_table(data), known, known, data)
    own = run.plan.data
    use = str(own.use)
    if use == "pump":
        raise DataError(f"{data} holds no windows; of a simulated pump give a .parquet file as `counterpoise sample` writes it")
    options = {k: v for k, v in own.model_dump(exclude_none=True).items() if k not in OF_ITS_OWN}
    # New readings may be of one machine, quiet throughout, and of events that nobody has marked yet.
    options |= {"path": str(data), "few": True, **_found(run, known, use, options)}
    table = importlib.import_module(f"data.sources.{use}").read(**options)
    for sentence in notices_of(table):
        note(f"score    · {sentence}")
    told = description(table)
    _same_rate(told, known, data)
    return _fitted(table, told, known, data)


def _found(run: Run, known: Schema, use: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the plan left to be found, as it was found in the run's own readings."""
    out: dict[str, Any] = {}
    shortest, longest = json.loads((run.folder / "profile.json").read_text())["lengths"]
    if "length" not in options and shortest == longest:
        out["length"] = longest
    if use == "series" and options.get("layout") != "wide" and "channels" not in options:
        out["channels"] = [name for name in known[SERIES].channels if name != ELAPSED]
    if use == "series" and "attributes" not in options and (named := [c.name for c in attributes_of(known)]):
        out["attributes"] = named
    return out


def _same_rate(told: Schema, known: Schema, data: Path) -> None:
    """Raises DataError where readings come more or less often than those that the model has learned."""
    mine, learned = told[SERIES].period, known[SERIES].period
    if mine is not None and learned is not None and abs(mine / learned - 1) > SAME:
        raise DataError(
            f"{data} has a reading every {mine:g} s, and the model has learned one every {learned:g} s; state data.resample: "
            f"{max(mine, learned):g}s in the plan, or bring the readings to that rate"
        )


def _fitted(table: pa.Table, told: Schema, known: Schema, data: Path) -> Dataset:
    """The windows with the channels and levels of the run, whatever of them is there."""
    column, own = known[SERIES], told[SERIES]
    if own.channels != column.channels:
        lacking = [name for name in column.channels if name not in own.channels]
        what = (
            f"lacks the channel {lacking[0]!r}" if lacking else f"has the channels {', '.join(own.channels)} in another order"
        )
        raise DataError(f"{data} {what}; the model has learned {', '.join(column.channels)}")
    if table.column(SERIES).type != READINGS:
        raise DataError(f"{data}: the column {SERIES!r} holds no readings; give windows as `counterpoise sample` writes them")
    columns: dict[str, Any] = {name: table.column(name) for name in OWN if name in table.column_names and name in known}
    if CLASS in known and CLASS not in columns:
        columns[CLASS] = pa.nulls(table.num_rows, pa.string())
    for each in known:
        if each.name not in columns:
            there = each.name in table.column_names
            field = known.arrow().field(each.name)
            columns[each.name] = table.column(each.name).cast(field.type) if there else pa.nulls(table.num_rows, field.type)
    rows = Dataset(pa.table({name: columns[name] for name in known.names}), known)
    return rows if own.levels == column.levels else _relevelled(rows, own.levels, column.levels, data)


def _relevelled(rows: Dataset, told: Any, known: Any, data: Path) -> Dataset:
    """Readings of levels as positions among the run's own levels. Raises DataError for a level that the run has not."""
    held = windows(rows)
    values = held.values.copy()
    for c, (mine, theirs) in enumerate(zip(told, known, strict=True)):
        if mine == theirs:
            continue
        if fresh := [level for level in mine if level not in theirs]:
            raise DataError(f"{data}: the channel {held.channels[c]!r} holds {fresh[0]!r}, which the model has never seen")
        place = np.array([theirs.index(level) for level in mine], dtype=np.float32)
        read = values[:, c]
        read[np.isfinite(read)] = place[read[np.isfinite(read)].astype(np.int64)]
    at = rows.table.column_names.index(SERIES)
    return Dataset(rows.table.set_column(at, SERIES, readings(values, held.lengths)), rows.schema)


def scored(model: Any, rows: Dataset, scores: np.ndarray) -> tuple[list[str], Iterator[list[str]]]:
    """The head and the lines of what `counterpoise score` writes, the most unusual window first.

    A model that knows how unusual normal windows are says with each the share of normal ones that are as unusual, and flags
    those beyond its threshold."""
    held = windows(rows)
    knows = hasattr(model, "p_value") and model.false_alarms_ < 1
    p = np.asarray(model.p_value(rows)) if knows else None
    head = [*HEAD, *(["p", "flag"] if p is not None else [])]
    named = rows.table.column(CLASS).to_pylist() if CLASS in rows.schema else [None] * len(held)
    step = held.period or 0.0
    # With few windows kept aside no chance is as small as is asked for: then the smallest that there is.
    limit = max(FLAGGED, float(model.false_alarms_)) if p is not None else FLAGGED

    def lines() -> Iterator[list[str]]:
        for i in np.argsort(-scores, kind="stable"):
            begin = held.starts[i]
            ends = [_moment(begin), _moment(begin + step * held.lengths[i]) if step else ""]
            line = [held.entities[i] or "", *ends, held.sources[i] or "", named[i] or "", f"{scores[i]:.6g}"]
            yield [*line, *([f"{p[i]:.4g}", str(int(p[i] <= limit))] if p is not None else [])]

    return head, lines()


def _moment(seconds: float) -> str:
    return "" if not np.isfinite(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
