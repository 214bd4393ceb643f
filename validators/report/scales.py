"""On which scale does a check's figure stand, and which way is good?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from validators.base import Finding
from validators.report.text import figure, finite, share

Kind = Literal["ratio", "share", "score", "count", "change", "plain"]


@dataclass(frozen=True)
class Scale:
    """what: the figure in words; kind: how it is written; base: where its bar starts; low, high: the least ends of the bar;
    least: whether its limit is a least value, and not a most."""

    what: str
    kind: Kind = "plain"
    base: float = 0.0
    low: float = 0.0
    high: float = 0.0
    least: bool = False

    def write(self, value: float | None) -> str:
        """The figure as this scale writes it."""
        if value is not None and self.kind == "share":
            return f"{100 * value:.{1 if abs(value) < 1e-3 else 2}g} %" if abs(value) < 0.1 else share(value)
        if value is not None and self.kind == "change":
            return f"{value:+.3f}"
        return figure(value, 2 if self.kind == "ratio" else 3)

    def bound(self, limit: float | None) -> str:
        """The limit with the side on which a figure must stay; empty where there is none."""
        sign = "\N{GREATER-THAN OR EQUAL TO}" if self.least else "\N{LESS-THAN OR EQUAL TO}"
        return "" if finite(limit) is None else f"{sign} {self.write(limit)}"

    def beyond(self, value: float | None, limit: float | None) -> bool:
        """Whether the figure stands on the far side of its limit."""
        if value is None or limit is None:
            return False
        return value < limit if self.least else value > limit


RATIO = Scale("ratio to real rows", "ratio", high=1.25, least=True)
AUC = Scale("how surely a classifier tells it from real", "score", base=0.5, low=0.4, high=0.8)
RISK = Scale("attacks that succeed on training rows alone", "share", high=0.2)

SCALES: Mapping[str, Scale] = {
    "schema": Scale("rules broken", "count", high=4),
    "suite": Scale("expectations that fail", "count", high=4),
    "modes": replace(RATIO, what="thinnest cell: got over expected"),
    "copies": Scale("rows that copy training rows", "share"),
    "spread": Scale("real row lies farther out than a synthetic one", "share", base=0.5, low=0.44, high=0.62),
    "labels": Scale("rows that look like another class", "share"),
    "duplicates": Scale("repeats, in multiples of real rows'", "ratio", high=2.5),
    "coverage": replace(RATIO, what="real rows that are reached, over real rows'"),
    "pairs": Scale("largest sure change of a pair's correlation", "score", high=0.5),
    "fidelity": Scale("likeness of columns and pairs", "score", high=1.0, least=True),
    "membership": Scale("how surely a training row is told from an unseen one", "score", base=0.5, low=0.4, high=0.8),
    "singling_out": RISK,
    "linkability": RISK,
    "inference": RISK,
    "rare": Scale("rows in rare combinations, in multiples of real rows'", "ratio", base=1.0, high=2.0),
    "utility": replace(RATIO, what="model trained on it, over one trained on real rows"),
}

#: Figures that stand in for the check's own where `details["figure"]` names them.
FIGURES: Mapping[tuple[str, str], Scale] = {
    ("coverage", "distance"): Scale("distance from real pictures, over unseen real ones'", "ratio", high=2.0),
    ("coverage", "density"): replace(RATIO, what="rows that lie where real rows lie, over real rows'"),
    ("fidelity", "column_shapes"): Scale("likeness of columns", "score", high=1.0, least=True),
    ("fidelity", "pair_trends"): Scale("likeness of pairs", "score", high=1.0, least=True),
    ("fidelity", "c2st_auc"): AUC,
    ("fidelity", "kid"): Scale("distance of the looks (KID)"),
    ("fidelity", "predictive"): Scale("error of foretelling the next reading, over real windows'", "ratio", base=1.0, high=2.0),
    ("fidelity", "marginals"): Scale("difference of what channels read", "score", high=0.5),
    ("fidelity", "autocorrelation"): Scale("difference of autocorrelations", "score", high=0.5),
    ("fidelity", "cross_correlation"): Scale("difference of channels' correlations", "score", high=0.5),
    ("fidelity", "spectrum"): Scale("difference of spectra, in powers of ten", "score", high=1.0),
    ("fidelity", "mmd"): Scale("distance of the distributions (MMD)"),
    ("utility", "gain"): Scale("gain in average precision", "change", low=-0.1, high=0.1, least=True),
    ("utility", "iou_gain"): Scale("gain in overlap (IoU)", "change", low=-0.1, high=0.1, least=True),
}


def scale_named(check: str, figure: object) -> Scale:
    """The scale of a check's figure, or of that which stands in for it as `details["figure"]` names it."""
    return FIGURES.get((check, str(figure))) or SCALES.get(check) or Scale("")


def scale_of(finding: Finding) -> Scale:
    """The scale of a finding's figure, wide enough for the figure, its limit and its reference."""
    scale = scale_named(finding.check, finding.details.get("figure"))
    seen = [v for v in (finite(f) for f in (finding.value, finding.reference, finding.limit)) if v is not None]
    most, least = max(seen, default=0.0), min(seen, default=0.0)
    # An end of nothing would divide by it; room above the largest figure shows that the bar does not end there.
    high = max(scale.high, most if most <= scale.high else most * 1.15, scale.base + 1e-6)
    if not scale.high:
        high = max(most * 1.4, 0.02)
    return replace(scale, low=min(scale.low, least), high=high)


def level(check: str, spent: float, *, privacy: bool = False) -> float | None:
    """The part of the spent alpha that a check may use; None for a check that has none. privacy: whether its checks ran."""
    from validators.base import share_of

    part = share_of(check, privacy=privacy)
    return None if part is None else spent * part
