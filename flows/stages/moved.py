"""What moved since the version before: rows, classes, columns, the gate's figures?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.encode_values import floats
from data.schema import Column
from flows.away import bring
from flows.run import Run, all_runs
from flows.stages.shared import dataset

#: Chance of one false word over all columns, and the least distance of two distributions that is worth one.
ALPHA, LEAST = 0.01, 0.05
#: Columns, classes and checks that are told of, the furthest first.
TOLD = 8


def before(run: Run) -> Run | None:
    """The run of the same name that published last, this one aside; None where there is none."""
    others = [other for other in all_runs(run.folder.parent.parent) if other.folder.parent == run.folder.parent]
    published = [other for other in others if other.folder != run.folder and other.version is not None]
    if not published:
        return None
    bring(published[-1].folder)
    return published[-1]


def moved(run: Run) -> dict[str, Any]:
    """What a run's source and judgement have that those of the version before had not; {} where there is none.

    Rows and classes as [before, now]; columns that came and went; `drift`, of the columns that could be compared (of pictures
    none) those whose values are distributed otherwise (two-sample test, at ALPHA over all columns, and LEAST apart); `figures`
    of checks."""
    old = before(run)
    if old is None:
        return {}
    then, now = dataset(old), dataset(run)
    shared = [column for column in now.schema.learned if column.name in then.schema]
    return {
        "version": old.version,
        "rows": [then.num_rows, now.num_rows],
        "came": [name for name in now.schema.names if name not in then.schema],
        "went": [name for name in then.schema.names if name not in now.schema],
        "classes": _classes(then, now),
        "compared": len(shared),
        "drift": _drift(then, now, shared),
        "families": [_family(old), _family(run)],
        "figures": _figures(old, run),
    }


def _family(run: Run) -> str:
    return str(run.settled.generator.use)


def _classes(then: Dataset, now: Dataset) -> dict[str, list[int]]:
    target = now.schema.target
    if target is None or not now.schema[target].discrete or target not in then.schema:
        return {}
    counts = [_counts(rows, target) for rows in (then, now)]
    return {level: [count.get(level, 0) for count in counts] for level in sorted({*counts[0], *counts[1]})}


def _counts(rows: Dataset, name: str) -> dict[str, int]:
    found = rows.column(name).value_counts().to_pylist()
    return {"missing" if each["values"] is None else str(each["values"]).strip(): each["counts"] for each in found}


def _drift(then: Dataset, now: Dataset, columns: Sequence[Column]) -> list[dict[str, Any]]:
    out = []
    for column in columns:
        distance, p, says = _levels(then, now, column) if column.discrete else _numbers(then, now, column)
        if p * len(columns) <= ALPHA and distance >= LEAST:
            out.append({"column": column.name, "distance": round(distance, 4), "p": float(f"{p:.1g}"), "says": says})
    return sorted(out, key=lambda each: -float(each["distance"]))


def _numbers(then: Dataset, now: Dataset, column: Column) -> tuple[float, float, str]:
    """Kolmogorov and Smirnov's distance, its p, and in words."""
    from scipy.stats import ks_2samp

    sides = [floats(rows.column(column.name), column.name) for rows in (then, now)]
    sides = [side[np.isfinite(side)] for side in sides]
    if not all(map(len, sides)):
        return 0.0, 1.0, ""
    found = ks_2samp(*sides, method="asymp")
    words = [f"{np.median(side):.4g}" for side in sides]
    # Times are numbers that nobody reads.
    says = "" if column.kind == "datetime" else f"median {words[0]} to {words[1]}"
    return float(found.statistic), float(found.pvalue), says


def _levels(then: Dataset, now: Dataset, column: Column) -> tuple[float, float, str]:
    """Total variation, the p of a test of independence, and in words the level that moved most."""
    from scipy.stats import chi2_contingency

    counts = [_counts(rows, column.name) for rows in (then, now)]
    levels = sorted({*counts[0], *counts[1]})
    table = np.array([[count.get(level, 0) for level in levels] for count in counts], dtype=float)
    if len(levels) < 2 or not table.sum(axis=1).all():
        return 0.0, 1.0, ""
    shares = table / table.sum(axis=1, keepdims=True)
    most = int(np.abs(shares[1] - shares[0]).argmax())
    says = f"{levels[most]} {100 * shares[0][most]:.3g} % to {100 * shares[1][most]:.3g} %"
    return float(np.abs(shares[1] - shares[0]).sum() / 2), float(chi2_contingency(table).pvalue), says


def _figures(old: Run, run: Run) -> dict[str, list[Any]]:
    """Check -> verdict and figure, before and now, where either moved by a tenth or the verdict did."""
    then, now = (
        {each["check"]: each for each in json.loads((side.folder / "report.json").read_text())["findings"]}
        for side in (old, run)
    )
    out = {}
    for name in (name for name in now if name in then):
        was, is_ = (side[name] for side in (then, now))
        if was["verdict"] != is_["verdict"] or _far(was["value"], is_["value"]):
            out[name] = [was["verdict"], was["value"], is_["verdict"], is_["value"]]
    return out


def _far(was: float | None, is_: float | None) -> bool:
    if was is None or is_ is None:
        return was is not is_
    return abs(is_ - was) > 0.1 * max(abs(was), abs(is_), 1e-9)


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What moved, a sentence each; none where there is no version before."""
    if not found:
        return []
    was, is_ = found["rows"]
    out = [f"Since {found['version']}: {was:,} real rows to {is_:,}"]
    out += [f"New columns: {', '.join(found['came'])}"] if found["came"] else []
    out += [f"Columns that are gone: {', '.join(found['went'])}"] if found["went"] else []
    classes = [f"{level} {a:,} to {b:,}" for level, (a, b) in found["classes"].items() if a != b]
    out += [f"Rows of classes: {_some(classes)}"] if classes else []
    drift = [f"{d['column']} ({d['says'] + '; ' if d['says'] else ''}distance {d['distance']:.2g})" for d in found["drift"]]
    if found["compared"]:
        out.append(f"Columns of the source that drifted: {_some(drift)}" if drift else "No column of the source drifted")
    old, new = found["families"]
    out += [f"Another family: {old} to {new}"] if old != new else []
    told = [f"{name} {_told(v[0], v[1])} to {_told(v[2], v[3])}" for name, v in found["figures"].items()]
    out += [f"Figures of the gate that moved: {_some(told)}"] if told else []
    return out


def _told(verdict: str, value: float | None) -> str:
    return verdict if value is None else f"{verdict} {value:.3g}"


def _some(words: Sequence[str]) -> str:
    more = f", and {len(words) - TOLD} more" if len(words) > TOLD else ""
    return ", ".join(words[:TOLD]) + more
