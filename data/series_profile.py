"""What is in these series: how many windows of each class, how long, of which machines, and what does each channel read?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.windows import CLASS, ENTITY, Windows, attributes_of, windows

#: A class with fewer windows is scarce.
FEW = 30


def profile_series(rows: Dataset) -> dict[str, Any]:
    """The run's profile.json for series. JSON values only.

    lengths: least and greatest of the windows; entities: how many they are of; period: seconds between readings; classes: of
    each its windows and entities; channels: of each its levels with their shares, or low, mean, high and deviation, and the
    share of readings that are missing; imbalance: the largest class over the smallest."""
    held = windows(rows)
    classes = [_class(held, k) for k in range(len(held.classes))]
    counts = [c["windows"] for c in classes]
    target = {"name": CLASS, "kind": "categorical", "missing": 0} if held.classes else None
    out: dict[str, Any] = {
        "rows": len(held),
        "lengths": [int(held.lengths.min()), int(held.lengths.max())],
        "entities": _entities(held, np.arange(len(held))),
        "period": held.period,
        "target": target,
        "group": ENTITY,
        "classes": classes,
        "channels": [_channel(held, c) for c in range(len(held.channels))],
        "attributes": [column.name for column in attributes_of(rows.schema)],
        "imbalance": max(counts) / max(min(counts), 1) if counts else None,
        "columns": [],
    }
    return out | {"notices": _notices(out)}


def _entities(held: Windows, mine: np.ndarray) -> int:
    """Entities among these windows; one that is of none is of its own."""
    known = Counter(held.entities[i] for i in mine if held.entities[i] is not None)
    return len(known) + len(mine) - sum(known.values())


def _class(held: Windows, k: int) -> dict[str, Any]:
    mine = np.flatnonzero(held.labels == k)
    return {"name": held.classes[k], "windows": len(mine), "entities": _entities(held, mine)}


def _channel(held: Windows, c: int) -> dict[str, Any]:
    read = held.values[:, c][held.inside]
    there = read[np.isfinite(read)].astype(np.float64)
    out: dict[str, Any] = {"name": held.channels[c], "missing": 1 - len(there) / max(len(read), 1)}
    if levels := held.levels[c]:
        counts = np.bincount(there.astype(np.int64), minlength=len(levels))
        return out | {"levels": {level: float(n / max(len(there), 1)) for level, n in zip(levels, counts, strict=True)}}
    if not len(there):
        return out | {"low": None, "mean": None, "high": None, "deviation": None}
    return out | {
        "low": float(there.min()), "mean": float(there.mean()), "high": float(there.max()), "deviation": float(there.std()),
    }  # fmt: skip


def _notices(facts: dict[str, Any]) -> list[str]:
    said = []
    for c in facts["classes"]:
        if c["windows"] < FEW:
            few = "1 window" if c["windows"] == 1 else f"{c['windows']} windows"
            said.append(f"class {c['name']!r} has {few}: the gate can see only the loss of large parts of it")
    for channel in facts["channels"]:
        if channel.get("low") is not None and channel["low"] == channel["high"]:
            said.append(f"the channel {channel['name']!r} reads {channel['low']:.6g} throughout, and tells nothing")
        if channel["missing"] > 0.2:
            share = 100 * channel["missing"]
            said.append(f"{share:.0f} % of the readings of {channel['name']!r} are missing; none is in drawn windows")
    return said
