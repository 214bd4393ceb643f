"""How did the losses run while the generator learned?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from validators.report import svg
from validators.report.text import clean, crop, figure, finite, tick

WIDTH, HEIGHT, LEFT = 620.0, 190.0, 46.0
#: More points than a phone has pixels say nothing more.
POINTS = 400
LINES = 6


def series(training: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Name of a loss -> its (epoch, value) in order; values that are not finite are left out, and so are figures that were
    told once: a family that does not learn by steps says how many patches it took, which is no curve."""
    found: dict[str, list[tuple[float, float]]] = {}
    for place, entry in enumerate(training, start=1):
        losses = entry.get("losses") if isinstance(entry.get("losses"), Mapping) else entry
        epoch = finite(entry.get("epoch", entry.get("step")))
        for name, value in (losses or {}).items():
            number = None if name in ("epoch", "step") else finite(value)
            if number is not None:
                found.setdefault(clean(name), []).append((place if epoch is None else epoch, number))
    curves = [(name, points) for name, points in found.items() if len({at for at, _ in points}) > 1]
    return dict(curves[:LINES])


def picture(lines: Mapping[str, Sequence[tuple[float, float]]]) -> Markup:
    """All losses over the epochs on one scale, each with its own dash and its name at the end."""
    epochs = [e for points in lines.values() for e, _ in points]
    # The first epochs often dwarf the rest; the scale holds all but the outermost 1 %.
    low, high = np.quantile([v for points in lines.values() for _, v in points], [0.005, 0.995]).tolist()
    low, high = (low - 0.5, high + 0.5) if high <= low else (low, high)
    start, end = min(epochs), max(max(epochs), min(epochs) + 1)
    parts: list[Markup | str] = []
    for level in (low, (low + high) / 2, high):
        y = _y(level, low, high)
        parts.append(svg.line(LEFT, y, WIDTH, y, "grid"))
        parts.append(svg.words(LEFT - 5, y + 4, tick(level), anchor="end"))
    for number, points in enumerate(lines.values()):
        kept = points[:: max(1, len(points) // POINTS)]
        drawn = [(LEFT + (e - start) / (end - start) * (WIDTH - LEFT), _y(v, low, high)) for e, v in kept]
        parts.append(svg.path(drawn, f"loss l{number}"))
    parts.append(svg.words(LEFT, HEIGHT + 16, f"epoch {start:g}"))
    parts.append(svg.words(WIDTH, HEIGHT + 16, f"{end:g}", anchor="end"))
    ends = ", ".join(f"{crop(name, 24)} ends at {figure(points[-1][1])}" for name, points in lines.items())
    return svg.chart(WIDTH, HEIGHT + 20, f"Training losses from epoch {start:g} to {end:g}: {ends}", parts)


def _y(value: float, low: float, high: float) -> float:
    return 8 + (1 - min(max((value - low) / (high - low), 0), 1)) * (HEIGHT - 14)
