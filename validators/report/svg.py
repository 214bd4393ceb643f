"""How is a chart written down as SVG, with every word in it escaped?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Number = float | int


def tag(name: str, *inside: Markup | str, **attributes: Number | str | None) -> Markup:
    """An element: `tag("rect", x=1, class_="real")` -> `<rect x="1" class="real"/>`; text and values are escaped."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not inside:
        return Markup(f"<{name}{written}/>")  # noqa: S704 - names are ours, values were escaped above
    return Markup(f"<{name}{written}>{Markup('').join(inside)}</{name}>")  # noqa: S704 - join escapes plain text


def chart(
    width: Number, height: Number, label: str, parts: Iterable[Markup | str], *, css: str = "chart", fit: str | None = None
) -> Markup:
    """A picture with a text alternative; it scales with its container, keeping its shape unless `fit` is "none"."""
    box = f"0 0 {_short(width)} {_short(height)}"
    return tag("svg", *parts, viewBox=box, preserveAspectRatio=fit, role="img", aria_label=label, class_=css)


def rect(x: Number, y: Number, width: Number, height: Number, css: str, *, tip: str = "", rx: Number | None = None) -> Markup:
    """A rectangle, at least nothing wide and high, with a tip shown on hover."""
    inside = (tag("title", tip),) if tip else ()
    return tag("rect", *inside, x=x, y=y, width=max(width, 0), height=max(height, 0), rx=rx, class_=css)


def line(x1: Number, y1: Number, x2: Number, y2: Number, css: str) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def words(x: Number, y: Number, text: str, css: str = "tick", *, anchor: str = "start", full: str = "") -> Markup:
    """Text; `full` is what hovering shows when `text` was cut."""
    inside = (text, tag("title", full)) if full and full != text else (text,)
    return tag("text", *inside, x=x, y=y, class_=css, text_anchor=None if anchor == "start" else anchor)


def path(points: Sequence[tuple[float, float]], css: str, *, close: bool = False) -> Markup:
    """A polyline through `points`; empty when there are none."""
    if not points:
        return Markup("")
    steps = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
    return tag("path", d=f"M{steps}{'Z' if close else ''}", class_=css)


def dots(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """Round dots as one path of zero-length strokes: about ten bytes a point instead of forty."""
    steps = "".join(f"M{_short(x)} {_short(y)}h0" for x, y in points)
    return tag("path", d=steps, class_=css) if steps else Markup("")


def _short(value: Number | str) -> str:
    if isinstance(value, str):
        return value
    text = f"{float(value):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
