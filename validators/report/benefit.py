"""Does the set help the model it is for? Trained on synthetic beside trained on real, and the sweep of augmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from validators.base import Finding
from validators.report import gauges, svg
from validators.report.text import clean, crop, figure, finite, listed, sentence

View = dict[str, Any]
METRICS: Mapping[str, str] = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "recall_at_precision": "recall at the stated precision",
    "mae": "mean absolute error",
    "r2": "R\N{SUPERSCRIPT TWO}",
    "iou": "overlap (IoU)",
}
LEAD, OVERLAP = "average_precision", "iou"
#: What the checks call training on the real rows alone, and the ways that add synthetic ones.
NOTHING, SYNTHETIC = "nothing", ("synthetic rows", "synthetic pictures")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640.0, 250.0, 44.0, 12.0, 214.0
LEARNERS = 4


def section(findings: Sequence[Finding]) -> View | None:
    """What the check of utility measured; None where it did not judge."""
    finding = next((f for f in findings if f.check == "utility"), None)
    if finding is None or finding.verdict in ("SKIPPED", "ERROR"):
        return None
    transfers = _transfers(finding.details.get("tstr"))
    points = _points(finding.details.get("sweep"))
    if not transfers and not points:
        return None
    unit = "pictures" if finding.details.get("unit") == "pictures" else "rows"
    lead, overlap = ([p for p in points if p["metric"] == metric] for metric in (LEAD, OVERLAP))
    learners = _learners(lead or points)
    # Where a way is perfect without synthetic pictures, one dot at the top is no chart.
    ended = bool(finding.details.get("nothing_to_gain"))
    return {
        "said": f"{sentence(finding.summary)} {sentence(str(finding.details.get('advice') or ''))}" if ended else "",
        "unit": unit,
        "minority": clean(finding.details.get("minority") or ""),
        "advice": clean(finding.details.get("advice") or ""),
        "transfers": transfers,
        "again": any(each["again"] for each in transfers),
        "chart": _picture(lead, learners, unit) if points and not ended else None,
        "overlap": _picture(overlap, _learners(overlap), unit, OVERLAP),
        "learners": learners,
        "gains": _gains(finding.details.get("gains")),
        "rows": [_written(p) for p in points],
        "seeds": any(p["seeds"] for p in points),
        "chosen": clean(finding.details.get("chosen_on") or ""),
    }


def _learners(points: Sequence[View]) -> list[str]:
    return list(dict.fromkeys(p["learner"] for p in points))[:LEARNERS]


def _transfers(tstr: Any) -> list[View]:
    out = []
    for learner, ratios in tstr.items() if isinstance(tstr, Mapping) else ():
        for metric, each in ratios.items() if isinstance(ratios, Mapping) else ():
            if isinstance(each, Mapping):
                low, high, ratio = finite(each.get("low")), finite(each.get("high")), finite(each.get("ratio"))
                span = (low, high) if low is not None and high is not None else None
                out.append(
                    {
                        "learner": clean(learner),
                        "metric": METRICS.get(metric, clean(metric)),
                        "made": figure(each.get("synthetic")),
                        "real": figure(each.get("real")),
                        "ratio": figure(ratio),
                        "span": f"{figure(low)} to {figure(high)}" if span else "",
                        "again": figure(each.get("reference")) if finite(each.get("reference")) is not None else "",
                        "chart": gauges.whisker(ratio, span),
                    }
                )
    return out


def _points(sweep: Any) -> list[View]:
    """Arms whose figure exists: method, ratio, learner, metric, value and its interval."""
    out = []
    for arm in sweep if isinstance(sweep, Sequence) else ():
        if isinstance(arm, Mapping) and (value := finite(arm.get("value"))) is not None:
            method, ratio = clean(arm.get("method")), finite(arm.get("ratio")) or 0.0
            ends = [finite(arm.get(key)) for key in ("low", "high")]
            low, high = (value if end is None else end for end in ends)
            learner, metric = clean(arm.get("learner")), str(arm.get("metric"))
            out.append(
                {"way": _way(method, ratio), "ratio": ratio, "learner": learner, "metric": metric}
                | {"value": value, "low": low, "high": high}
                | {"seeds": [one for each in listed(arm.get("seeds")) if (one := finite(each)) is not None]}
            )
    return out


def _way(method: str, ratio: float) -> str:
    if method in SYNTHETIC:
        return f"{ratio:.2g} : 1"
    return "real alone" if method == NOTHING else method


def _written(point: View) -> View:
    return {
        "way": f"{point['way']} synthetic to real" if point["ratio"] else point["way"],
        "learner": point["learner"],
        "metric": METRICS.get(point["metric"], clean(point["metric"])),
        "value": figure(point["value"]),
        "span": f"{figure(point['low'])} to {figure(point['high'])}",
        "seeds": ", ".join(figure(one) for one in point["seeds"]),
    }


def _gains(gains: Any) -> list[View]:
    """The lead metric's paired differences."""
    out = []
    for gain in gains if isinstance(gains, Sequence) else ():
        if not isinstance(gain, Mapping) or gain.get("metric") != LEAD:
            continue
        value, low, high = (finite(gain.get(key)) for key in ("value", "low", "high"))
        if value is None or low is None or high is None:
            continue
        better, than = (_arm(gain.get(key)) for key in ("of", "over"))
        word = "helps" if low > 0 else "hurts" if high < 0 else "no gain"
        out.append({"of": better, "over": than, "value": f"{value:+.3f}", "span": f"{low:+.3f} to {high:+.3f}", "word": word})
    return out


def _arm(arm: Any) -> str:
    if not isinstance(arm, Mapping):
        return clean(arm)
    ratio = finite(arm.get("ratio")) or 0.0
    way = _way(clean(arm.get("method")), ratio)
    return f"{way} synthetic to real ({clean(arm.get('learner'))})" if ratio else f"{way} ({clean(arm.get('learner'))})"


def _picture(points: Sequence[View], learners: Sequence[str], unit: str = "rows", metric: str = LEAD) -> Markup | None:
    """Each way on a place of its own, cheap ones first, then growing ratios joined by a line; a mark a learner."""
    if not points:
        return None
    ways = list(dict.fromkeys(p["way"] for p in sorted(points, key=lambda p: p["ratio"])))
    low, high = min(p["low"] for p in points), max(p["high"] for p in points)
    room = max(high - low, 0.01) * 0.06
    low, high = max(low - room, 0.0) if low >= 0 else low - room, high + room
    step = (WIDTH - LEFT) / len(ways)
    parts: list[Markup | str] = _axes(low, high)
    for place, way in enumerate(ways):
        parts += _name(way, LEFT + (place + 0.5) * step)
    if any(p["ratio"] for p in points):
        cheap = sum(1 for way in ways if any(p["way"] == way and not p["ratio"] for p in points))
        parts.append(svg.line(LEFT + cheap * step, TOP, LEFT + cheap * step, BOTTOM, "grid"))
        parts.append(svg.words(WIDTH, BOTTOM + 32, f"synthetic {unit} to each real {unit.removesuffix('s')}", anchor="end"))
    for number, learner in enumerate(learners):
        own = [p for p in points if p["learner"] == learner]
        parts += _marks(own, ways, step, number, len(learners), (low, high))
    return svg.chart(WIDTH, HEIGHT, _told(points, learners, metric), parts)


def _name(way: str, x: float) -> list[Markup | str]:
    """A way's name in two lines where it has two words."""
    first, _, rest = (way, "", "") if way.endswith(": 1") else way.partition(" ")
    lines = [svg.words(x, BOTTOM + 16, crop(first, 14), anchor="middle", full=way)]
    return [*lines, svg.words(x, BOTTOM + 30, crop(rest, 14), anchor="middle", full=way)] if rest else list(lines)


def _axes(low: float, high: float) -> list[Markup | str]:
    parts: list[Markup | str] = []
    for level in (low, (low + high) / 2, high):
        y = _y(level, low, high)
        parts.append(svg.line(LEFT, y, WIDTH, y, "grid"))
        parts.append(svg.words(LEFT - 5, y + 4, f"{level:.2f}", anchor="end"))
    return parts


def _y(value: float, low: float, high: float) -> float:
    return BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP)


def _marks(
    own: Sequence[View], ways: Sequence[str], step: float, number: int, count: int, ends: tuple[float, float]
) -> list[Markup | str]:
    """Intervals and marks of one learner, and the line through its ratios."""
    parts: list[Markup | str] = []
    line = []
    for point in sorted(own, key=lambda p: ways.index(p["way"])):
        # Learners stand side by side, or their intervals would hide each other.
        x = LEFT + (ways.index(point["way"]) + 0.5) * step + (number - (count - 1) / 2) * 14
        y = _y(point["value"], *ends)
        parts.append(svg.line(x, _y(point["low"], *ends), x, _y(point["high"], *ends), f"loss l{number} solidline"))
        parts.append(svg.tag("circle", cx=x, cy=y, r=4, class_=f"mark m{number}"))
        if point["ratio"]:
            line.append((x, y))
    return [svg.path(line, f"loss l{number}"), *parts] if len(line) > 1 else parts


def _told(points: Sequence[View], learners: Sequence[str], metric: str) -> str:
    told = []
    for learner in learners:
        own = [p for p in points if p["learner"] == learner]
        if own:
            best = max(own, key=lambda p: p["value"])
            told.append(f"{learner} is best with {best['way']}, {figure(best['value'])}")
    what = "Overlap (IoU) of what is marked" if metric == OVERLAP else "Average precision of the rarest class"
    return f"{what} by way of training, with 95 % intervals: {'; '.join(told)}"
