"""How do the sets look side by side: columns, pairs, the map of the rows, distances to train?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.schema import Column
from validators.base import Culprit, Evidence, Finding
from validators.report import atlas, cloud, columns, gallery, near, pairs
from validators.report import gauges as draw
from validators.report.lowest import lowest
from validators.report.members import CELLS
from validators.report.rows import Drawn, Rows, gather
from validators.report.series import serial
from validators.report.text import clean, crop, figure, many, share

View = dict[str, Any]
WORST = 10
#: Columns shown at once; the rest wait behind a fold, and beyond LAST they are named only.
OPEN, LAST = 12, 120
SCATTER_ROWS = 5_000
#: The check whose cells are regions of the data.
MODES = "modes"


@dataclass(frozen=True)
class Pictures:
    """views: the parts of the page that need rows, None where they cannot be drawn; lowest: cells that no check flags."""

    views: View = field(default_factory=lambda: {"columns": None, "trends": None, "scatter": None, "nearness": None})
    lowest: Sequence[Culprit] = ()


def pictures(evidence: Evidence | None, flagged: Sequence[tuple[Finding, Culprit]], *, fewest: int = 1) -> Pictures:
    """Everything that is drawn from rows; they are drawn once and looked at by all pictures. flagged: cells by their check;
    fewest: above 1, real rows show in bins of at least so many alone."""
    rows = None if evidence is None else gather(evidence)
    if evidence is None or rows is None:
        return Pictures()
    looked_at = gallery.pictorial(evidence) or serial(evidence)
    # Of pictures and series, columns show what a person can read, and copies are looked for in a space of their own.
    plain = gather(evidence.memo[gallery.SHOWN]) or rows if looked_at else rows
    near_rows = gather(evidence.memo[gallery.TRACES]) if looked_at else rows
    real, again, fake = plain.reference, plain.holdout, plain.synthetic
    shown = [c for c in real.rows.schema.learned if c.name in fake.rows.schema]
    bars = [columns.compare(c, real, again, fake, fewest=fewest) for c in shown[:LAST]]
    bars.sort(key=lambda b: b.noise - b.difference)
    # Other checks name whole classes and rows, which would ring half of the map.
    regions = [culprit for finding, culprit in flagged if finding.check == MODES]
    views = {
        "columns": _columns(evidence, bars, shown[LAST:], plain),
        "trends": None if looked_at else _trends([b.column for b in bars], real, fake, target=real.rows.schema.target),
        "scatter": _mapped(evidence, rows, regions, fewest),
        "nearness": _nearness(near_rows, fewest),
    }
    few, known = WORST - len(flagged), {culprit.cell for _, culprit in flagged}
    return Pictures(views, lowest(bars, again, fake, count=few, known=known, fewest=fewest) if few > 0 else ())


def _mapped(evidence: Evidence, rows: Rows, regions: Sequence[Culprit], fewest: int) -> View | None:
    """The map; that of series is drawn of what modes are judged by, as its columns have names that a person can read."""
    if not serial(evidence):
        return _scatter(evidence, rows.reference, rows.synthetic, regions, fewest)
    judged = evidence.memo[MODES]
    own = gather(judged)
    return None if own is None else _scatter(judged, own.reference, own.synthetic, regions, fewest)


def _columns(evidence: Evidence, bars: Sequence[columns.Bars], unnamed: Sequence[Column], rows: Rows) -> View:
    cards = [
        {
            "name": crop(b.column.name, 60),
            "kind": b.column.kind,
            "target": b.column.name == evidence.reference.schema.target,
            "difference": share(b.difference),
            "noise": share(b.noise),
            "far": b.difference > max(2 * b.noise, 0.05),
            "chart": columns.picture(b),
            "missing": _missing(b),
        }
        for b in bars
    ]
    left_out = [clean(c.name) for c in evidence.reference.schema if not c.learned] + [clean(c.name) for c in unnamed]
    return {
        "open": cards[:OPEN],
        "folded": cards[OPEN:],
        "all": cards,
        "left_out": left_out,
        "drawn": f"Real: {_part(rows.reference)} of the reference. Synthetic: {_part(rows.synthetic)}.",
        "mixed": evidence.intent.mix is not None,
    }


def _part(drawn: Drawn) -> str:
    return many(drawn.total, "row") + (f" (a draw of {len(drawn):,})" if len(drawn) < drawn.total else "")


def _missing(bars: columns.Bars) -> str:
    if "missing" not in bars.names or not bars.special[-1]:
        return ""
    return f"{share(bars.real[-1])} real, {share(bars.synthetic[-1])} synthetic"


def _trends(ranked: Sequence[Column], real: Drawn, fake: Drawn, *, target: str | None) -> View | None:
    """Heat maps of at most pairs.SHOWN columns: the target, then those that differ most."""
    chosen = sorted(ranked, key=lambda c: c.name != target)[: pairs.SHOWN]
    if len(chosen) < 2:
        return None
    chosen = [c for c in real.rows.schema.learned if c in chosen]
    trend = pairs.trends(chosen, real.head(SCATTER_ROWS), fake.head(SCATTER_ROWS))
    worst = [(crop(a, 30), crop(b, 30), figure(r, 2), figure(s, 2)) for a, b, r, s in trend.worst(WORST)]
    known = ~np.isnan(trend.gap) & ~np.eye(len(chosen), dtype=bool)
    mean = float(np.abs(trend.gap[known]).mean()) if known.any() else None
    return {
        "charts": pairs.pictures(trend),
        "worst": worst,
        "mean": figure(mean, 2),
        "reach": figure(trend.reach, 2),
        "left_out": max(0, len(ranked) - len(chosen)),
    }


def _scatter(evidence: Evidence, real: Drawn, fake: Drawn, culprits: Sequence[Culprit], fewest: int) -> View | None:
    bins_only = fewest > 1
    limit = cloud.COUNTED if bins_only else cloud.POINTS
    found = cloud.scatter(real, fake, culprits, evidence.intent, limit=limit, known=evidence.memo.get(CELLS))
    if found is None:
        return None
    shots = gallery.of_cells(evidence, real, fake, found, bins_only=bins_only)
    cells = [
        {
            "shots": shots[i] if shots else None,
            "number": i + 1,
            # What sets a cell of few rows apart may be one row's own level.
            "name": "" if bins_only else clean(cell.name),
            "real": share(cell.real),
            "made": share(cell.synthetic),
            "ratio": figure(cell.ratio, 2),
            "interval": f"{figure(cell.interval[0], 2)} to {figure(cell.interval[1], 2)}",
            "state": cell.state,
            "chart": draw.whisker(cell.ratio, cell.interval, evidence.intent.rho),
        }
        for i, cell in enumerate(found.cells)
        if int((found.real_cells == i).sum()) >= fewest
    ]
    if not cells:  # a map of so few rows would be empty
        return None
    return {
        "charts": atlas.pictures(found, fewest=fewest),
        "cells": cells,
        "explained": share(found.explained),
        "marks": [] if bins_only else [crop(name, 100) for name in found.marks],
        "ringed": bool(found.marked.any()) and not bins_only,
        "holes": len(found.holes),
        "counts": (many(len(found.real), "row"), many(len(found.synthetic), "row")),
    }


def _nearness(rows: Rows | None, fewest: int) -> View | None:
    if rows is None:
        return None
    found = near.nearness(rows.at.train, rows.holdout, rows.synthetic, seed=rows.at.intent.seed + 3)
    if found is None:
        return None
    # Beyond an outer quantile of few rows lies one row's own distance.
    quantiles = [q for q in (0.01, 0.05, 0.25, 0.5, 0.75) if fewest == 1 or q * len(found.holdout) >= fewest]
    table = [
        (f"{100 * q:g} %", *(figure(float(np.quantile(v, q))) for v in (found.holdout, found.synthetic))) for q in quantiles
    ]
    exact = [_exact(int((v == 0).sum()), len(v), fewest) for v in (found.holdout, found.synthetic)]
    return {
        "charts": near.pictures(found, fewest=fewest),
        "table": [("copies", *exact), *table],
        "drawn": f"{len(found.holdout):,} rows of each against {many(found.train_rows, 'training row')}",
    }


def _exact(count: int, rows: int, fewest: int) -> str:
    """The share of copies; of fewer than `fewest` rows no more than that."""
    return share(count / rows) if count >= fewest or fewest == 1 else f"fewer than {fewest} rows"
