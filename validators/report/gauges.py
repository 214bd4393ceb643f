"""How do a check's figure, a cell's ratio and a class's figures look as small bars?"""

from __future__ import annotations

from markupsafe import Markup

from validators.base import Finding
from validators.report import svg
from validators.report.scales import Scale
from validators.report.text import figure, finite, share

#: A ratio is drawn on 0..2, so that 1, "as expected", stands in the middle.
RATIO_TOP = 2.0
WHISKER, GAUGE, PAIR = 120.0, 240.0, 96.0


def whisker(ratio: float | None, interval: tuple[float, float] | None, limit: float | None = None) -> Markup:
    """A ratio as a dot with its interval; the middle is 1, "as expected", the dashed line the limit."""
    point = finite(ratio)
    if point is None:
        return Markup("")
    middle = 9.0
    parts: list[Markup | str] = [svg.line(4, middle, WHISKER - 4, middle, "grid"), svg.line(_at(1), 1, _at(1), 17, "axis")]
    bound = finite(limit)
    if bound is not None and 0 < bound < RATIO_TOP:
        parts.append(svg.line(_at(bound), 1, _at(bound), 17, "limit"))
    low, high = (finite(v) for v in interval or (None, None))
    if interval is not None and low is not None:
        # An interval without an upper end runs to the end of the scale.
        end = RATIO_TOP if high is None else high
        parts.append(svg.line(_at(low), middle, _at(end), middle, "fake range"))
        parts += [svg.line(_at(v), middle - 4, _at(v), middle + 4, "fake range") for v in (low, end) if v < RATIO_TOP]
    if point > RATIO_TOP:
        tip = [(WHISKER - 8, middle - 4), (WHISKER - 2, middle), (WHISKER - 8, middle + 4)]
        parts.append(svg.path(tip, "fake solid", close=True))
    else:
        parts.append(svg.tag("circle", cx=_at(point), cy=middle, r=3.2, class_="fake solid"))
    return svg.chart(WHISKER, 18, f"Ratio {figure(point, 2)}{_span(low, high)}", parts, css="chart whisker")


def _at(ratio: float) -> float:
    return 4 + min(max(ratio, 0), RATIO_TOP) / RATIO_TOP * (WHISKER - 8)


def _span(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f", interval from {figure(low, 2)}" + (f" to {figure(high, 2)}" if high is not None else " up")


def ruler() -> Markup:
    """The scale that every whisker below it stands on."""
    at = ((0, 4.0, "start"), (1, 60.0, "middle"), (2, 116.0, "end"))
    parts = [svg.words(x, 11, str(n), anchor=a) for n, x, a in at]
    return svg.chart(WHISKER, 12, "Scale of the ratio, 0 to 2", parts, css="chart whisker")


def check(finding: Finding, scale: Scale) -> Markup:
    """The check's figure above the same figure for real against real, with the limit across both."""
    value, reference, limit = (finite(v) for v in (finding.value, finding.reference, finding.limit))
    if value is None:
        return Markup("")

    def x(number: float) -> float:
        return (min(max(number, scale.low), scale.high) - scale.low) / (scale.high - scale.low) * GAUGE

    parts: list[Markup | str] = _lane(2, x(value), x(scale.base), "fake solid")
    # Without a reference the second lane stays empty, so that all pictures are equally high.
    bottom = 22.0 if reference is not None else 12.0
    if reference is not None:
        parts += _lane(12, x(reference), x(scale.base), "real solid")
    if scale.base > scale.low:
        parts.append(svg.line(x(scale.base), 0, x(scale.base), bottom, "axis"))
    if limit is not None:
        # At an end of the scale half of the line would be cut off.
        place = min(max(x(limit), 1.0), GAUGE - 1)
        parts.append(svg.line(place, 0, place, bottom, "limit"))
    return svg.chart(GAUGE, 22, _told(finding, scale), parts, css="chart gauge", fit="none")


def _lane(y: float, end: float, base: float, css: str) -> list[Markup | str]:
    """A track and the bar on it, from its base; nothing at all is still a line."""
    left, wide = min(end, base), max(abs(end - base), 1.5)
    return [svg.rect(0, y, GAUGE, 8, "track"), svg.rect(min(left, GAUGE - wide), y, wide, 8, css)]


def _told(finding: Finding, scale: Scale) -> str:
    what = f" ({scale.what})" if scale.what else ""
    label = f"{finding.check}{what}: {scale.write(finite(finding.value))}"
    if finite(finding.reference) is not None:
        label += f"; real against real {scale.write(finding.reference)}"
    return label + (f"; limit {scale.bound(finding.limit)}" if finite(finding.limit) is not None else "")


def pair(name: str, made: float | None, real: float | None, top: float = 1.0) -> Markup:
    """Two shares as bars, synthetic above real, on 0..top."""
    if (made := finite(made)) is None:
        return Markup("")
    real = finite(real)
    ends = [(1.0, made, "fake solid")] + ([(7.0, real, "real solid")] if real is not None else [])
    parts: list[Markup | str] = []
    for y, value, css in ends:
        wide = PAIR * min(max(value / top, 0), 1)
        parts += [svg.rect(0, y, PAIR, 5, "track"), svg.rect(0, y, max(wide, 1), 5, css)]
    beside = f", real {share(real)}" if real is not None else ""
    return svg.chart(PAIR, 13, f"{name}: synthetic {share(made)}{beside}", parts, css="chart pair")


def dumbbell(name: str, scales: list[tuple[str, float, bool]]) -> Markup:
    """Spread beside real spread, 1 in the middle of 0.5 to 1.5: (measure, scale, flagged) as a disc, then a ring."""
    known = [(what, value, far) for what, scale, far in scales if (value := finite(scale)) is not None]
    if not known:
        return Markup("")

    def x(value: float) -> float:
        return 5 + (min(max(value, 0.5), 1.5) - 0.5) * (PAIR - 10)

    spots = [x(value) for _, value, _ in known]
    parts: list[Markup | str] = [svg.line(5, 8, PAIR - 5, 8, "grid"), svg.line(x(1), 1, x(1), 15, "axis")]
    parts.append(svg.line(min(spots), 8, max(spots), 8, "fake range"))
    for place, ((_, _, far), spot) in enumerate(zip(known, spots, strict=True)):
        css = f"{'disc' if place == 0 else 'ring'}{' far' if far else ''}"
        parts.append(svg.tag("circle", cx=spot, cy=8, r=3.6, class_=css))
    told = ", ".join(f"{what} {figure(value, 2)}" for what, value, _ in known)
    return svg.chart(PAIR, 16, f"{name}: distance over that of real rows: {told}", parts, css="chart pair")


def detectable(name: str, smallest: float | None) -> Markup:
    """The share of a class that could vanish unseen, as a bar over the whole class."""
    seen = finite(smallest)
    unseen = 1.0 if seen is None else min(max(seen, 0), 1)
    parts = [svg.rect(0, 3, PAIR, 7, "track"), svg.rect(0, 3, max(PAIR * unseen, 1.5), 7, "blind")]
    told = "even its complete loss would pass unseen" if seen is None else f"a loss of {share(seen)} of it would be seen"
    return svg.chart(PAIR, 13, f"{name}: {told}", parts, css="chart pair")
