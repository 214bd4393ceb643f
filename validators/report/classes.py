"""How does each class fare: what could be seen of it, how far it is reached, how wide it spreads, whose it looks like?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from validators.report import gauges
from validators.report.text import clean, figure, finite, share

if TYPE_CHECKING:
    from validators.gate import Decision

View = dict[str, Any]
WHOLE = "the whole set"
#: Classes shown at once, the worst of more; the rest wait behind a fold.
OPEN = 12
#: From here a figure is marked: the limits at which the checks of spread and labels warn.
SHRUNK, MISTAKEN = 0.53, 0.02
#: What a figure must miss its mark by to count as one step of trouble, when classes are ranked.
STEPS: Mapping[str, float] = {"reach": 0.1, "spread": 0.02, "labels": 0.03}


@dataclass
class Row:
    """What the checks have written down about one class (or the whole set)."""

    name: str
    seen: float | None = None
    told: bool = False
    reach: Mapping[str, Any] = field(default_factory=dict)
    spread: list[Mapping[str, Any]] = field(default_factory=list)
    mixed: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def trouble(self) -> float:
        """How far this class lies from real rows; the more, the sooner it is shown."""
        reach = [finite(self.reach.get(key)) for key in ("ratio", "inside_ratio")]
        parts = [(1 - v) / STEPS["reach"] for v in reach if v is not None]
        parts += [(v - 0.5) / STEPS["spread"] for m in self.spread if (v := finite(m.get("auc"))) is not None]
        parts += [_excess(test) / STEPS["labels"] for test in self.mixed]
        return max(parts, default=0.0) + (100.0 if self.told and self.seen is None else 0.0)


def _excess(test: Mapping[str, Any]) -> float:
    return (finite(test.get("synthetic")) or 0.0) - (finite(test.get("real")) or 0.0)


def table(decision: Decision) -> View | None:
    """One row a class with its figures as small charts; None where no check has looked at classes."""
    rows = _rows(decision)
    if not rows:
        return None
    views = [_view(row) for row in rows]
    folded = sorted(rows[OPEN:], key=lambda r: -r.trouble) if len(rows) > OPEN else []
    if folded:
        whole, rest = [r for r in rows if r.name == WHOLE], [r for r in rows if r.name != WHOLE]
        views = [_view(r) for r in [*whole, *sorted(rest, key=lambda r: -r.trouble)]]
    return {
        "open": views[:OPEN],
        "folded": views[OPEN:],
        "has": {key: any(view[key] for view in views) for key in ("seen", "reach", "inside", "spread", "labels")},
    }


def _rows(decision: Decision) -> list[Row]:
    found: dict[str, Row] = {}

    def row(name: Any) -> Row:
        name = str(name)
        name = name if name == WHOLE else name.removeprefix("class ")
        return found.setdefault(name, Row(name))

    details = {finding.check: finding.details for finding in decision.findings}
    for scope in _listed(details.get("coverage"), "scopes"):
        row(scope.get("name")).reach = scope
    for name, smallest in decision.detectable.items():
        one = row(f"class {name}")
        one.seen, one.told = smallest, True
    for scope in _listed(details.get("spread"), "scopes"):
        row(scope.get("name")).spread.append(scope)
    for test in _listed(details.get("labels"), "tests"):
        if pair := parsed(test):
            row(f"class {pair[0]}").mixed.append(test)
    return list(found.values())


def _listed(details: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    """Entries that are mappings; whatever else a check of another's making has left there is passed over."""
    values = (details or {}).get(key)
    return [each for each in values if isinstance(each, Mapping)] if isinstance(values, Sequence) else []


_PAIR = re.compile(r"^class (?P<own>.*): rows (?:that look like class (?P<other>.*)|among rows of other classes)$", re.DOTALL)


def parsed(test: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The class of a test of labels and the class that its rows look like, None for any other; None if it is no such test."""
    found = _PAIR.match(str(test.get("name")))
    return None if found is None else (found["own"], found["other"])


def _view(row: Row) -> View:
    name = clean(row.name)
    shown = row.told
    return {
        "name": name,
        "blind": shown and row.seen is None,
        "seen": (share(row.seen) if row.seen is not None else "unseen") if shown else "",
        "seen_chart": gauges.detectable(name, row.seen) if shown else Markup(""),
        **_reached(name, row.reach, "reach", "coverage", "real", "rows reached"),
        **_reached(name, row.reach, "inside", "clipped_density", "real_clipped_density", "rows where real rows lie"),
        **_spread(name, row.spread),
        **_mixed(name, row.mixed),
    }


def _reached(name: str, scope: Mapping[str, Any], key: str, made: str, real: str, what: str) -> View:
    values = (finite(scope.get(made)), finite(scope.get(real)))
    if values[0] is None or (key == "inside" and values[1] is None):
        return {key: "", f"{key}_chart": Markup("")}
    return {key: _beside(*values), f"{key}_chart": gauges.pair(f"{name}, {what}", *values)}


def _beside(made: float | None, real: float | None) -> str:
    return share(made) + (f" | {share(real)}" if real is not None else "")


def _spread(name: str, scopes: Sequence[Mapping[str, Any]]) -> View:
    known = [s for s in scopes if finite(s.get("scale")) is not None]
    # The ring stands for the middle of the class: it must come second, whatever order the check has.
    ordered = sorted(known, key=lambda s: "middle" in str(s.get("measure")))
    marks = [(str(s.get("measure")), float(s["scale"]), (finite(s.get("auc")) or 0.5) > SHRUNK) for s in ordered]
    worst = max(known, key=lambda s: finite(s.get("auc")) or 0.5, default=None)
    return {"spread": figure(worst["scale"], 2) if worst else "", "spread_chart": gauges.dumbbell(name, marks)}


def _mixed(name: str, tests: Sequence[Mapping[str, Any]]) -> View:
    """The worst of the class's tests."""
    if not tests:
        return {"labels": "", "labels_chart": Markup(""), "labels_what": ""}
    worst = max(tests, key=_excess)
    pair = parsed(worst)
    values = (finite(worst.get("synthetic")), finite(worst.get("real")))
    like = f"like {clean(pair[1])}" if pair and pair[1] is not None else "among others"
    far = _excess(worst) > MISTAKEN
    return {
        "labels": _beside(*values),
        "labels_chart": gauges.pair(f"{name}, rows that look {like}", *values),
        "labels_what": like if far else "",
    }
