"""How was the family chosen: by what families say of themselves, or by trials?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from validators.report import svg
from validators.report.swept import swept
from validators.report.text import clean, crop, figure, finite, listed, sentence, tick

View = dict[str, Any]
WIDTH, HEIGHT, LEFT, BOTTOM = 620.0, 230.0, 56.0, 190.0
#: Figure that leads -> its axis.
AXES: Mapping[str, str] = {
    "utility": "gain in average precision of the scarce classes",
    "coverage": "share of reference rows reached",
    "fidelity": "AUC of a classifier that tells drawn rows from real ones, away from .5",
}


def section(choice: Mapping[str, Any] | None) -> View | None:
    """What choice.json says, for the page; None where the plan names the family and how much it draws."""
    if not choice:
        return None
    told_of = choice.get("sweep")
    amounts = swept(told_of) if isinstance(told_of, Mapping) else None
    rubric = choice.get("rubric")
    if not isinstance(rubric, Mapping):
        if amounts is None:
            return None
        rubric = {}
    told = choice.get("bakeoff")
    tried = _tried(told) if isinstance(told, Mapping) and told.get("trials") else None
    out = [(clean(o.get("family")), o.get("question"), sentence(str(o.get("reason", "")))) for o in listed(rubric.get("out"))]
    return {
        "family": clean(choice.get("family")),
        "said": f"{clean(choice.get('family'))}: {clean(choice.get('reason', '')).rstrip('.')}.",
        "left": [(clean(i.get("family")), sentence(str(i.get("reason", "")))) for i in listed(rubric.get("left"))],
        # Those that draw other data altogether say nothing of the choice.
        "out": [each for each in out if each[1] != 1],
        "tried": tried,
        "swept": amounts,
    }


def _tried(told: Mapping[str, Any]) -> View:
    """The trials: a chart of the last rung that gave figures, and all of them as a table."""
    trials = [t for t in listed(told.get("trials")) if isinstance(t, Mapping)]
    figured = [t for t in trials if not t.get("failed")]
    last = max((int(t.get("rung", 0)) for t in figured), default=0)
    lead, best = str(told.get("lead")), [clean(f) for f in listed(told.get("front"))]
    means = [t for t in listed(told.get("standings")) if isinstance(t, Mapping)]
    better = -1 if lead == "fidelity" else 1
    means.sort(key=lambda t: -better * (_value(t, lead) or 0.0))
    # Of the last rung the means over turns, best first; then what failed there, and all that was tried before.
    shown = means + [t for t in trials if t.get("rung") != last or t.get("failed")]
    return {
        "chart": _picture(means, lead, best),
        "rows": [_row(t, last, best) for t in shown],
        "turns": figure(told.get("turns")) if any(int(t.get("turns", 1)) > 1 for t in means) else "",
        "minutes": figure(told.get("budget_minutes")),
        "reference": figure(told.get("reference_rows")),
        "scarce": ", ".join(crop(level, 30) for level in listed(told.get("scarce"))[:6]),
    }


def _row(trial: Mapping[str, Any], last: int, best: Sequence[str]) -> View:
    return {
        "family": clean(trial.get("family")),
        "rung": int(trial.get("rung", 0)) + 1,
        "rows": figure(trial.get("rows")),
        "turns": figure(trial.get("turns")),
        "utility": "" if finite(trial.get("utility")) is None else f"{finite(trial.get('utility')):+.3f}",
        "coverage": figure(trial.get("coverage")),
        "auc": figure(trial.get("auc")),
        "fit": figure(trial.get("fit_seconds")),
        "thousand": figure(trial.get("seconds_per_1000")),
        "memory": figure(trial.get("peak_mb")),
        "failed": sentence(str(trial.get("failed", ""))),
        "front": trial.get("rung") == last and clean(trial.get("family")) in best,
    }


def _value(trial: Mapping[str, Any], lead: str) -> float | None:
    if lead != "fidelity":
        return finite(trial.get(lead))
    auc = finite(trial.get("auc"))
    return None if auc is None else abs(auc - 0.5)


def _picture(trials: Sequence[Mapping[str, Any]], lead: str, best: Sequence[str]) -> Markup | None:
    """Cost to the right, the leading figure upwards, the better one above; those on the Pareto front filled."""
    points = [
        (clean(t.get("family")), cost, value)
        for t in trials
        if (cost := finite(t.get("cost"))) is not None and (value := _value(t, lead)) is not None
    ]
    if not points:
        return None
    most = max(cost for _, cost, _ in points) * 1.15 or 1.0
    low, high = min(v for *_, v in points), max(v for *_, v in points)
    room = max(high - low, 0.01) * 0.12
    ends = (high + room, low - room) if lead == "fidelity" else (low - room, high + room)
    parts: list[Markup | str] = []
    for level in (low, (low + high) / 2, high) if high > low else (low,):
        parts.append(svg.line(LEFT, _y(level, ends), WIDTH, _y(level, ends), "grid"))
        parts.append(svg.words(LEFT - 5, _y(level, ends) + 4, f"{level:.3f}", anchor="end"))
    for name, cost, value in points:
        x, y = LEFT + cost / most * (WIDTH - LEFT), _y(value, ends)
        parts.append(svg.tag("circle", svg.tag("title", name), cx=x, cy=y, r=5, class_=f"mark m{0 if name in best else 1}"))
        beyond = x > WIDTH - 110
        parts.append(
            svg.words(x - 9 if beyond else x + 9, y + 4, crop(name, 22), anchor="end" if beyond else "start", full=name)
        )
    parts.append(svg.line(LEFT, BOTTOM, WIDTH, BOTTOM, "axis"))
    parts.append(svg.words(LEFT, BOTTOM + 16, "0 s"))
    parts.append(svg.words(WIDTH, BOTTOM + 16, f"{tick(most)} s to fit and draw", anchor="end"))
    parts.append(svg.words(LEFT, BOTTOM + 32, f"Upwards: {AXES.get(lead, lead)}"))
    told = "; ".join(f"{name} {value:.3f} at {cost:.3g} s" for name, cost, value in points)
    return svg.chart(WIDTH, HEIGHT, f"{AXES.get(lead, lead)} by cost of the families in the last trials: {told}", parts)


def _y(value: float, ends: tuple[float, float]) -> float:
    """ends: of the axis, below and above."""
    return BOTTOM - (value - ends[0]) / (ends[1] - ends[0]) * (BOTTOM - 10)
