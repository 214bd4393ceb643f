"""What would a person see who looks at the pictures: what is missing, what comes near to a copy, each class side by side?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from data.images import Pictures
from validators._pictures_copies import MEMO as TRACES
from validators._pictures_copies import Nearest, Pair, nearest_pairs
from validators._pictures_features import SHOWN, judged_rows
from validators.base import Culprit, Evidence, Finding
from validators.looks import MEMO as LOOKS
from validators.points import keys
from validators.report import svg
from validators.report.cloud import Cloud
from validators.report.members import CELLS
from validators.report.rows import Drawn
from validators.report.text import clean, crop, figure, many, share
from validators.report.thumbs import closer, shot

__all__ = ["SHOWN", "TRACES", "of_cells", "pictorial", "sections"]

View = dict[str, Any]
Array = np.ndarray[Any, Any]

#: Pictures of a class on each side, classes with a gallery, pairs of a synthetic picture and its nearest training picture,
#: such pairs of unseen real ones beside them, missing cells, and real pictures of each.
EACH, CLASSES, PAIRS, UNSEEN, CELLS_SHOWN, OF_CELL = 10, 12, 8, 2, 6, 10
#: Pictures of each side that stand for a cell of the map.
OF_MAP = 4


def pictorial(evidence: Evidence | None) -> bool:
    """Whether this is evidence of pictures, with the pictures themselves."""
    return evidence is not None and "pictures" in evidence.memo


def sections(evidence: Evidence | None, findings: Sequence[Finding], *, bins_only: bool) -> View:
    """The parts of the page that show pictures; each None where there is nothing to show. bins_only: no real picture."""
    if evidence is None or not pictorial(evidence):
        return {"gallery": None, "pairs": None, "missing": None}
    album = Album(evidence.memo["pictures"], evidence, bins_only)
    return {
        "gallery": _gallery(album),
        "pairs": _pairs(album),
        "missing": None if bins_only else _missing(album, [culprit for finding in findings for culprit in finding.culprits]),
    }


@dataclass(frozen=True)
class Album:
    """The pictures of each side, row by row as in the evidence."""

    sides: Mapping[str, Pictures]
    evidence: Evidence
    bins_only: bool

    def shot(self, side: str, i: int, label: str) -> Markup:
        """One picture; label: in words what it is."""
        held = self.sides[side]
        return shot(held.pixels[i], held.masks[i] if held.masked[i] else None, label)

    def marked(self, side: str, i: int, label: str) -> Markup:
        """One picture, and below it what is marked in it, enlarged."""
        held = self.sides[side]
        near = closer(held.pixels[i], held.masks[i], f"what is marked in {label}, enlarged") if held.masked[i] else None
        whole = self.shot(side, i, label)
        return whole if near is None else svg.tag("span", whole, near, class_="closer")

    def class_of(self, side: str, i: int) -> str:
        held = self.sides[side]
        return clean(held.classes[int(held.labels[i])])

    def number(self, i: int) -> int:
        """The position of a synthetic picture in the set as it was handed in."""
        looked = self.evidence.memo.get(LOOKS)
        return i if looked is None else int(looked.places[i])


def _gallery(album: Album) -> View | None:
    """A row of real and a row of synthetic pictures for each class that is judged."""
    made, real = album.sides["synthetic"], album.sides["train"]
    judged = set(real.labels[judged_rows(album.evidence, album.evidence.train)].tolist())
    classes = [k for k in range(len(made.classes)) if k in judged and (made.labels == k).any()]
    rows = [_class(album, k) for k in classes[:CLASSES]]
    left_out = [clean(made.classes[k]) for k in classes[CLASSES:]]
    marked = any(album.sides[side].masked.any() for side in ("train", "synthetic"))
    return {"classes": rows, "left_out": left_out, "marked": marked} if rows else None


def _class(album: Album, k: int) -> View:
    name = clean(album.sides["train"].classes[k])
    shown: View = {}
    for place, side in enumerate(("train", "synthetic")):
        mine = np.flatnonzero(album.sides[side].labels == k)
        rng = np.random.default_rng([album.evidence.intent.seed, 71, k, place])
        some = np.sort(rng.permutation(mine)[:EACH])
        word = "real" if side == "train" else "synthetic"
        hidden = side == "train" and album.bins_only
        shown[side] = [] if hidden else [album.marked(side, int(i), f"a {word} picture of {name}") for i in some]
        shown[f"{side}_count"] = many(len(mine), "picture")
    return {"name": name, **shown}


def _pairs(album: Album) -> View | None:
    """The synthetic pictures nearest to a training picture, and for the scale of it the nearest unseen real ones."""
    nearest = nearest_pairs(album.evidence)
    if nearest is None:
        return None
    unseen = [] if album.bins_only else [_pair(album, "holdout", pair, nearest) for pair in nearest.holdout_pairs[:UNSEEN]]
    return {
        "made": [_pair(album, "synthetic", pair, nearest) for pair in nearest.pairs[:PAIRS]],
        "unseen": unseen,
        "holdout": many(len(nearest.holdout), "unseen real picture"),
        "before": share(float((nearest.synthetic < nearest.holdout[0]).mean())),
        "closest": figure(float(nearest.holdout[0]), 2),
    }


def _pair(album: Album, side: str, pair: Pair, nearest: Nearest) -> View:
    name = album.class_of(side, pair.synthetic)
    number = album.number(pair.synthetic) if side == "synthetic" else pair.synthetic
    what = f"synthetic picture {number}" if side == "synthetic" else "an unseen real picture"
    beside = f"training picture {pair.train}"
    return {
        "shot": album.shot(side, pair.synthetic, f"{what}, {name}"),
        "train": None if album.bins_only else album.shot("train", pair.train, f"{beside}, the nearest to {what}"),
        "what": f"{number} · {name}" if side == "synthetic" else name,
        "distance": figure(pair.distance, 2),
        "said": _said(pair, nearest) if side == "synthetic" else "as near as unseen ones come",
        "far": side == "synthetic" and pair.nearer == 0 and pair.distance < 0.5 * float(nearest.holdout[0]),
    }


def _said(pair: Pair, nearest: Nearest) -> str:
    if pair.nearer == 0:
        return "nearer than every unseen one"
    return f"{share(pair.nearer)} of unseen ones are nearer"


def _missing(album: Album, culprits: Sequence[Culprit]) -> list[View] | None:
    """Real pictures of the cells that are missing or thin."""
    known = album.evidence.memo.get(CELLS, {})
    out: list[View] = []
    for culprit in culprits:
        if culprit.cell not in known or len(out) == CELLS_SHOWN:
            continue
        inside = np.flatnonzero(known[culprit.cell](album.evidence.reference))
        if not len(inside):
            continue
        rng = np.random.default_rng([album.evidence.intent.seed, 73, len(out)])
        words, name = _parts(culprit.cell)
        some = np.sort(rng.permutation(inside)[:OF_CELL])
        out.append(
            {
                "words": words or name,
                "name": name if words else "",
                "counts": f"{figure(culprit.observed)} where {figure(culprit.expected)} were expected",
                "shots": [
                    album.marked("reference", int(i), f"a real picture of {album.class_of('reference', int(i))} in this cell")
                    for i in some
                ],
                "count": many(len(inside), "real picture"),
            }
        )  # fmt: skip
    return out or None


def _parts(cell: str) -> tuple[str, str]:
    """The words for a cell and its name, as `_pictures_missing` joins them."""
    words, found, name = clean(cell).partition(": ")
    return (words, crop(name, 120)) if found else ("", crop(words, 120))


def of_cells(evidence: Evidence, real: Drawn, fake: Drawn, found: Cloud, *, bins_only: bool) -> list[View] | None:
    """A few real and synthetic pictures of each cell of the map; None for rows of a table."""
    if not pictorial(evidence):
        return None
    album = Album(evidence.memo["pictures"], evidence, bins_only)
    out: list[View] = [{} for _ in found.cells]
    for side, drawn, codes in (("reference", real, found.real_cells), ("synthetic", fake, found.synthetic_cells)):
        known = keys(getattr(evidence, side))
        order = np.argsort(known, kind="stable")
        mine = keys(drawn.head(len(codes)).rows)
        places = order[np.searchsorted(known[order], mine)]
        for i, view in enumerate(out):
            hidden = side == "reference" and bins_only
            rows = [] if hidden else places[codes == i][:OF_MAP].tolist()
            view[side] = [album.shot(side, int(k), f"a picture of {album.class_of(side, int(k))}") for k in rows]
    return out
