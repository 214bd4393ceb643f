"""What is in these pictures: how many of each class, how large, what is marked on them, and which belong together?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.images import CLASS, GROUP, Pictures, pictures

#: A class with fewer pictures is scarce; a mark with fewer pixels is hardly seen at this size.
FEW, SPECK = 30, 4


def profile_pictures(rows: Dataset) -> dict[str, Any]:
    """The run's profile.json for pictures. JSON values only.

    classes: of each its pictures, how many have a mask, the groups it falls into, the median share of a picture that its
    masks mark, and brightness (mean and deviation, 0..255); imbalance: the largest class over the smallest; groups: of each
    that holds several pictures where these came from; apart: groups of all classes together, a picture alone being one."""
    held = pictures(rows)
    classes = [_class(held, k) for k in range(len(held.classes))]
    counts = [c["pictures"] for c in classes]
    out: dict[str, Any] = {
        "rows": len(held),
        "size": held.size,
        "mode": "gray" if held.channels == 1 else "rgb",
        "target": {"name": CLASS, "kind": "categorical", "missing": 0},
        "group": GROUP,
        "classes": classes,
        "groups": _groups(held),
        "apart": _apart(held, np.arange(len(held))),
        "imbalance": max(counts) / max(min(counts), 1) if counts else None,
        "columns": [],
    }
    return out | {"notices": _notices(held, classes)}


def _groups(held: Pictures) -> dict[str, list[str]]:
    """Group -> where its pictures came from, for groups of two and more, in the order of the pictures."""
    found: dict[str, list[str]] = {}
    for group, source in zip(held.groups, held.sources, strict=True):
        if group is not None:
            found.setdefault(str(group), []).append(str(source))
    return {group: sources for group, sources in found.items() if len(sources) > 1}


def _apart(held: Pictures, mine: np.ndarray) -> int:
    """Groups among these pictures; one that belongs to none is a group of its own."""
    groups = Counter(held.groups[i] for i in mine if held.groups and held.groups[i] is not None)
    return len(groups) + len(mine) - sum(groups.values())


def _class(held: Pictures, k: int) -> dict[str, Any]:
    mine = np.flatnonzero(held.labels == k)
    marked = held.masks[mine].mean(axis=(1, 2))
    pixels = held.pixels[mine].astype(np.float32)
    return {
        "name": held.classes[k],
        "pictures": len(mine),
        "with_mask": int(held.masked[mine].sum()),
        "marked": int((marked > 0).sum()),
        "groups": _apart(held, mine),
        "marked_share": float(np.median(marked[marked > 0])) if (marked > 0).any() else 0.0,
        "brightness": [float(pixels.mean()), float(pixels.std())] if len(mine) else [0.0, 0.0],
    }


def _notices(held: Pictures, classes: list[dict[str, Any]]) -> list[str]:
    said = []
    for c in classes:
        if c["pictures"] < FEW:
            few = "1 picture" if c["pictures"] == 1 else f"{c['pictures']} pictures"
            said.append(f"class {c['name']!r} has {few}: the gate can see only the loss of large parts of it")
        if 1 < c["pictures"] and c["groups"] < 4 <= c["pictures"]:
            said.append(
                f"the {c['pictures']} pictures of class {c['name']!r} come from {c['groups']} groups, which cannot be cut: "
                "train and holdout will differ in size from what the shares ask for"
            )
    specks = int(((held.masks.sum(axis=(1, 2)) < SPECK) & held.masks.any(axis=(1, 2))).sum())
    if specks:
        said.append(f"{specks} masks mark fewer than {SPECK} pixels at {held.size} px; state a larger data.size to see them")
    return said
