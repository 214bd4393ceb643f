"""What would a person see who looks at the windows: how each class runs, how it swings, and what is missing?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from data.windows import Windows
from validators._series_checks import MODES
from validators.base import Culprit, Evidence, Finding
from validators.mix import intended
from validators.report import courses
from validators.report.members import CELLS, members
from validators.report.text import clean, crop, figure

View = dict[str, Any]
Array = np.ndarray[Any, Any]

#: Classes and channels that are drawn, windows of each side, classes that are open, and points of all courses together.
CLASSES, CHANNELS, EACH, OPEN, POINTS = 8, 10, 3, 2, 1200
#: Windows of a side that band and mean are taken of, at most.
MOST = 2_000
#: Missing cells that are shown, real windows of each, and channels of a window.
CELLS_SHOWN, OF_CELL, OF_WINDOW = 6, 3, 4


def serial(evidence: Evidence | None) -> bool:
    """Whether this is evidence of series, with the windows themselves."""
    return evidence is not None and "windows" in evidence.memo


def sections(evidence: Evidence | None, findings: Sequence[Finding], *, fewest: int = 1) -> View:
    """The parts of the page that show windows; each None where there is nothing to show.

    fewest: above 1 no real window is shown, and means only of so many or more."""
    if evidence is None or not serial(evidence):
        return {"courses": None, "unreached": None}
    sides = evidence.memo["windows"]
    culprits = [culprit for finding in findings for culprit in finding.culprits]
    return {
        "courses": _courses(sides, evidence, fewest),
        "unreached": None if fewest > 1 else _unreached(sides["reference"], evidence, culprits),
    }


@dataclass(frozen=True)
class _Pair:
    """The windows of one class. real: of the training windows, made: synthetic, unseen: of the holdout."""

    name: str
    real: Windows
    made: Windows
    unseen: Windows
    seed: tuple[int, ...]
    fewest: int
    points: int

    def some(self, side: str) -> list[int]:
        """Positions of a few windows of a side, drawn at random."""
        if side == "real" and self.fewest > 1:
            return []
        held = getattr(self, side)
        return sorted(np.random.default_rng([*self.seed, side == "real"]).permutation(len(held))[:EACH].tolist())


def _courses(sides: Mapping[str, Windows], evidence: Evidence, fewest: int) -> View:
    train = sides["train"]
    chosen = _judged(train, evidence)
    channels = list(range(len(train.channels)))[:CHANNELS]
    points = int(np.clip(POINTS // max(len(chosen[:CLASSES]) * len(channels), 1), 20, 80))
    classes = []
    for k in chosen[:CLASSES]:
        held = {side: _of_class(windows, k, 1 if side == "synthetic" else fewest) for side, windows in sides.items()}
        name = clean(train.classes[k]) if train.classes else ""
        seed = (evidence.intent.seed, 83, int(k))
        pair = _Pair(name, held["train"], held["synthetic"], held["holdout"], seed, fewest, points)
        counts = {side: f"{int((sides[side].labels == k).sum()):,}" for side in ("train", "synthetic")}
        rows = [_channel(pair, c) for c in channels]
        classes.append({"name": name, "rows": rows, "real": counts["train"], "made": counts["synthetic"]})
    return {
        "open": classes[:OPEN],
        "folded": classes[OPEN:],
        "classes_left_out": [clean(train.classes[k]) for k in chosen[CLASSES:]],
        "channels_left_out": [clean(name) for name in train.channels[CHANNELS:]],
        "each": EACH,
        "levels": any(train.levels[c] for c in channels),
    }


def _judged(train: Windows, evidence: Evidence) -> list[int]:
    """Positions of the classes under judgement that have real windows."""
    if not train.classes:
        return [0]
    mix = intended(evidence.intent, evidence.reference.schema)
    wanted = [k for k, name in enumerate(train.classes) if mix is None or mix.get(name, 0) > 0]
    return [k for k in wanted if (train.labels == k).any()]


def _of_class(held: Windows, k: int, fewest: int) -> Windows:
    """The windows of a class, or none where there are fewer than may be told of."""
    mine = np.flatnonzero(held.labels == k)
    return held.take(mine[:: max(1, -(-len(mine) // MOST))] if len(mine) >= fewest else [])


def _channel(pair: _Pair, c: int) -> View:
    name, levels = crop(pair.real.channels[c], 60), pair.real.levels[c]
    drawn = _of_levels(pair, c, levels) if levels else _of_numbers(pair, c)
    return {"name": name, "charts": drawn}


def _said(pair: _Pair, c: int) -> str:
    return crop(pair.real.channels[c], 60) + (f" in windows of class {crop(pair.name, 60)}" if pair.name else "")


def _of_numbers(pair: _Pair, c: int) -> list[tuple[str, Markup]]:
    real, made = pair.real.values[:, c], pair.made.values[:, c]
    # The ends of the scale would tell extremes of real windows.
    axis = courses.axis_of([made] if pair.fewest > 1 else [real, made], max(real.shape[1], made.shape[1]), pair.real.period)
    means = {side: _mean(getattr(pair, side), c) for side in ("real", "made")}
    what = _said(pair, c)
    label = f"{what}, over {courses.span(axis.steps, axis.period)}"
    left = courses.panel(
        real, pair.some("real"), axis, "real", f"{label}, real: {means['real']}", pair.points, None, pair.fewest,
    )  # fmt: skip
    right = courses.panel(
        made, pair.some("made"), axis, "fake", f"{label}, synthetic: {means['made']}", pair.points, real,
    )  # fmt: skip
    return [("Real", left), ("Synthetic", right), ("Spectrum", _spectrum(pair, c, what)), ("Autocorrelation", _memory(pair, c))]


def _mean(held: Windows, c: int) -> str:
    read = held.values[:, c]
    read = read[np.isfinite(read)]
    return f"mean {figure(read.mean())}, deviation {figure(read.std())}" if len(read) else "no reading"


def _spectrum(pair: _Pair, c: int, what: str) -> Markup:
    lines = [(*courses.spectrum(held, c), css) for held, css in _three(pair)]
    fastest = courses.span(2, pair.real.period)
    longest = courses.span(pair.real.longest, pair.real.period)
    strongest = [_strongest(x, y, pair.real.period) for x, y, css in lines if css != "curve unseen"]
    told = f"Spectrum of {what}: most power at {strongest[0]} (real), {strongest[1]} (synthetic)"
    return courses.curves(lines, (f"every {longest}", f"every {fastest}"), told)


def _strongest(x: Array, y: Array, period: float | None) -> str:
    """The period around which a spectrum is highest, in words."""
    if not np.isfinite(y).any():
        return "no period"
    return f"a period near {courses.span(2 / float(x[int(np.nanargmax(y))]), period)}"


def _memory(pair: _Pair, c: int) -> Markup:
    levels = bool(pair.real.levels[c])
    lags = max(2, min(int(pair.real.longest * courses.LAGS), 48))
    found = [(courses.memory(held, c, lags, levels), css) for held, css in _three(pair)]
    at = np.linspace(0, 1, lags + 1)
    first = [figure(y[1], 2) for y, css in found if css != "curve unseen"]
    what = "Share of readings at the level of before" if levels else "Autocorrelation"
    far = courses.span(lags, pair.real.period)
    told = f"{what} of {_said(pair, c)}, up to {far}: one reading on {first[0]} (real), {first[1]} (synthetic)"
    ends = ("0", f"{far} later")
    return courses.curves([(at, y, css) for y, css in found], ends, told, floor=0.0)


def _three(pair: _Pair) -> list[tuple[Windows, str]]:
    """The sides whose curves are compared, the unseen real windows first: they lie below."""
    unseen = [(pair.unseen, "curve unseen")] if len(pair.unseen) >= courses.FOR_BAND else []
    return [*unseen, (pair.real, "curve real"), (pair.made, "curve fake")]


def _of_levels(pair: _Pair, c: int, levels: Sequence[str]) -> list[tuple[str, Markup]]:
    real, made = pair.real.values[:, c], pair.made.values[:, c]
    names = [clean(level) for level in levels]
    axis = courses.Axis(-0.4, len(levels) - 0.6, max(real.shape[1], made.shape[1]), pair.real.period)
    real_shares, made_shares = (courses.shares_of(read, len(levels)) for read in (real, made))
    told = "; ".join(
        f"{crop(name, 24)} {figure(100 * a, 2)} % and {figure(100 * b, 2)} %"
        for name, a, b in zip(names, real_shares, made_shares, strict=True)
    )
    label = f"{_said(pair, c)}, over {courses.span(axis.steps, axis.period)}"
    return [
        ("Real", courses.steps(real, pair.some("real"), axis, names, "real", f"{label}, real windows as steps")),
        ("Synthetic", courses.steps(made, pair.some("made"), axis, names, "fake", f"{label}, synthetic windows as steps")),
        (
            "Share of each level",
            courses.bars(real_shares, made_shares, names, f"Levels of {_said(pair, c)}, real and synthetic: {told}"),
        ),
        ("Still at its level", _memory(pair, c)),
    ]


def _unreached(held: Windows, evidence: Evidence, culprits: Sequence[Culprit]) -> list[View] | None:
    """Real windows of the cells that are missing or thin."""
    rows = evidence.memo[MODES].reference
    known = {**evidence.memo[MODES].memo.get(CELLS, {}), **evidence.memo.get(CELLS, {})}
    out: list[View] = []
    for culprit in culprits:
        if len(out) == CELLS_SHOWN:
            break
        if culprit.ratio is None or culprit.ratio >= 1 or any(one["cell"] == culprit.cell for one in out):
            continue
        inside = members(culprit.cell, rows, known)
        if inside is None or not inside.any():
            continue
        some = np.random.default_rng([evidence.intent.seed, 89, len(out)]).permutation(np.flatnonzero(inside))[:OF_CELL]
        out.append(
            {
                "cell": culprit.cell,
                "name": crop(culprit.cell, 160),
                "counts": f"{figure(culprit.observed)} where {figure(culprit.expected)} were expected",
                "charts": [_window(held, int(i), culprit.cell) for i in sorted(some.tolist())],
            }
        )
    return out or None


def _window(held: Windows, i: int, cell: str) -> View:
    """One real window, those channels first that its cell speaks of."""
    order = sorted(range(len(held.channels)), key=lambda c: held.channels[c] not in cell)[:OF_WINDOW]
    length, charts = int(held.lengths[i]), []
    for c in order:
        read, levels = held.values[i : i + 1, c, :length], held.levels[c]
        what = f"{crop(held.channels[c], 60)} of a real window in this cell, over {courses.span(length, held.period)}"
        if levels:
            axis = courses.Axis(-0.4, len(levels) - 0.6, length, held.period)
            drawn = courses.steps(read, [0], axis, [clean(name) for name in levels], "real", what)
        else:
            drawn = courses.panel(read, [0], courses.axis_of([read], length, held.period), "real alone", what, 80, None)
        charts.append((crop(held.channels[c], 40), drawn))
    name = clean(held.classes[int(held.labels[i])]) if held.classes else ""
    return {"of": name, "charts": charts}
