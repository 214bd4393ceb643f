"""What did each way to add rows bring, in folds of train? A line for each, with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from validators.report import svg
from validators.report.text import clean, crop, finite, listed, sentence

View = dict[str, Any]
WIDTH, LEFT, STEP, TOP = 640.0, 250.0, 21.0, 8.0
#: Lines that are shown, best first.
MOST = 16


def swept(told: Mapping[str, Any] | None) -> View | None:
    """What choice.json says of a sweep, for the page; None where there was none."""
    trials = [t for t in listed((told or {}).get("trials")) if isinstance(t, Mapping) and finite(t.get("gain")) is not None]
    if not told or not trials:
        return None
    failed = told.get("failed")
    lost = failed.items() if isinstance(failed, Mapping) else ()
    return {
        "said": sentence(str(told.get("says", ""))),
        "chart": _chart(trials[:MOST]),
        "more": max(len(trials) - MOST, 0),
        "failed": [(clean(name), sentence(str(why))) for name, why in lost],
    }


def _chart(trials: list[Mapping[str, Any]]) -> Markup:
    """Gains over nothing to the right; a line as long as two standard errors either way."""
    each = [(_named(t), finite(t.get("gain")) or 0.0, finite(t.get("error")) or 0.0) for t in trials]
    low = min(0.0, *(gain - 2 * error for _, gain, error in each))
    high = max(0.0, *(gain + 2 * error for _, gain, error in each))
    room = max(high - low, 0.01) * 0.04
    low, high = low - room, high + room
    bottom = TOP + STEP * len(each)

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT)

    parts: list[Markup | str] = [svg.line(x(0.0), TOP, x(0.0), bottom, "limit quiet")]
    for i, (name, gain, error) in enumerate(each):
        y = TOP + STEP * (i + 0.5)
        parts.append(svg.words(LEFT - 10, y + 4, crop(name, 36), anchor="end", full=name))
        parts.append(svg.line(x(gain - 2 * error), y, x(gain + 2 * error), y, "axis"))
        tip = svg.tag("title", f"{name}: {gain:+.3f} +- {error:.3f}")
        parts.append(svg.tag("circle", tip, cx=x(gain), cy=y, r=4.5, class_=f"mark m{0 if gain > 0 else 1}"))
    parts.append(svg.line(LEFT, bottom, WIDTH, bottom, "axis"))
    for value, anchor in ((low + room, "start"), (0.0, "middle"), (high - room, "end")):
        parts.append(svg.words(x(value), bottom + 16, f"{value:+.2f}" if value else "nothing", anchor=anchor))
    told = "; ".join(f"{name} {gain:+.3f} +- {error:.3f}" for name, gain, error in each)
    return svg.chart(WIDTH, bottom + 24, f"Gain in average precision of each way over nothing: {told}", parts)


def _named(trial: Mapping[str, Any]) -> str:
    level = finite(trial.get("level"))
    if not level:
        return clean(trial.get("method"))
    return f"{clean(trial.get('method'))} to {100 * level:.3g} %{', the largest too' if trial.get('both') else ''}"
