"""How do a check's figure, a cell's ratio and a class's blind spot look as a small bar?"""

from __future__ import annotations

from markupsafe import Markup

from validators.base import Finding
from validators.report import svg
from validators.report.text import figure, finite, share

#: A cell's ratio is drawn on 0..2, so that 1, "as expected", stands in the middle.
RATIO_TOP = 2.0


def whisker(ratio: float | None, interval: tuple[float, float] | None, limit: float | None) -> Markup:
    """Observed/expected as a dot with its interval; the middle is "as expected", the dashed line the limit."""
    point = finite(ratio)
    if point is None:
        return Markup("")
    width, middle = 120.0, 9.0

    def x(value: float) -> float:
        return 4 + min(max(value, 0), RATIO_TOP) / RATIO_TOP * (width - 8)

    parts: list[Markup | str] = [svg.line(4, middle, width - 4, middle, "grid"), svg.line(x(1), 1, x(1), 17, "axis")]
    bound = finite(limit)
    if bound is not None and 0 < bound < RATIO_TOP:
        parts.append(svg.line(x(bound), 1, x(bound), 17, "limit"))
    low, high = (finite(v) for v in interval or (None, None))
    if low is not None and high is not None:
        parts.append(svg.line(x(low), middle, x(high), middle, "fake range"))
        parts += [svg.line(x(v), middle - 4, x(v), middle + 4, "fake range") for v in (low, high)]
    parts.append(svg.tag("circle", cx=x(point), cy=middle, r=3.2, class_="fake solid"))
    span = f", interval {figure(low, 2)} to {figure(high, 2)}" if low is not None else ""
    return svg.chart(width, 18, f"Ratio {figure(point, 2)}{span}", parts, css="chart whisker")


def ruler() -> Markup:
    """The scale that every whisker below it stands on."""
    at = ((0, 4.0, "start"), (1, 60.0, "middle"), (2, 116.0, "end"))
    return svg.chart(
        120, 12, "Scale of the ratio, 0 to 2", [svg.words(x, 11, str(n), anchor=a) for n, x, a in at], css="chart whisker"
    )


def check(finding: Finding) -> Markup:
    """The check's figure above the same figure for real against real, with the limit across both."""
    value, reference, limit = (finite(v) for v in (finding.value, finding.reference, finding.limit))
    if value is None:
        return Markup("")
    top = _top([v for v in (value, reference, limit) if v is not None])
    width, high = 240.0, 9.0

    def x(figure_: float) -> float:
        return min(max(figure_, 0), top) / top * width

    parts: list[Markup | str] = [svg.rect(0, 4, width, high, "track", rx=2), svg.rect(0, 4, x(value), high, "fake solid", rx=2)]
    if reference is not None:
        parts += [svg.rect(0, 17, width, high, "track", rx=2), svg.rect(0, 17, x(reference), high, "real solid", rx=2)]
    bottom = 30.0 if reference is not None else 17.0
    if limit is not None:
        parts.append(svg.line(x(limit), 0, x(limit), bottom, "limit"))
    label = f"{finding.check}: {figure(value)}" + (f"; real against real {figure(reference)}" if reference is not None else "")
    label += f"; limit {figure(limit)}" if limit is not None else ""
    return svg.chart(width, bottom, label, parts, css="chart gauge")


def detectable(name: str, smallest: float | None) -> Markup:
    """The share of a class that could vanish unseen, as a bar over the whole class."""
    seen = finite(smallest)
    unseen = 1.0 if seen is None else min(max(seen, 0), 1)
    parts = [svg.rect(0, 0, 160, 9, "track", rx=2), svg.rect(0, 0, max(160 * unseen, 1.5), 9, "blind", rx=2)]
    told = "even its complete loss would pass unseen" if seen is None else f"a loss of {share(seen)} of it would be seen"
    return svg.chart(160, 9, f"{name}: {told}", parts, css="chart blindbar")


def _top(figures: list[float]) -> float:
    """A round end of the scale: 1 for shares, else a little above the largest figure."""
    most = max(max(figures), 0.0)
    # A figure of nearly nothing must not fill its bar.
    return 1.0 if most <= 0 or 0.4 < most <= 1 else max(most * 1.15, 0.02)
