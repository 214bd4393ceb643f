"""Do columns depend on one another as they do in real rows, pair by pair?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from validators.base import Culprit, Evidence, Finding, Verdict, figures_of
from validators.dependence import ANY, MOST_COLUMNS, Pairs, compare
from validators.sides import Sides, sides

CHECK = "pairs"
#: Changes of a correlation that are borne (validators/dependence.py): .79 may become .67, or .98 .955, before it blocks.
BORNE, WARNED = 0.25, 0.1
#: Holdout and synthetic rows of a scope that is looked at.
LEAST_ROWS = 50
#: The strength of a pair whose loss is said to be noticed or not.
EXAMPLE = 0.8
SHOWN = 10


@dataclass(frozen=True)
class PairsCheck:
    """The correlation of every pair of columns in synthetic rows against that in holdout rows, over all and in each class.

    The figure is the largest change that is sure at this check's alpha (Bonferroni over all pairs): one of Fisher's z, which
    is that of the correlation itself near 0; above .95 of two numbers, or .9 of other columns, ten or five times it. Blocks
    above BORNE, or what the plan sets as `limits["pairs"]["change"]`; warns above WARNED, of two numbers up to .99 in z
    alone. See validators/dependence.py for what is correlated."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; too few rows or columns give SKIPPED."""
        borne = check_limits(evidence.intent.limits.get(CHECK, {})).get("change", BORNE)
        at = sides(evidence)
        columns = at.reference.schema.learned
        if len(columns) < 2:
            return Finding(CHECK, "SKIPPED", summary="there is one column, and no pair to compare")
        scopes = _scopes(at)
        if not scopes:
            needed = f"{LEAST_ROWS} reference, holdout and synthetic rows are needed to compare pairs of columns"
            return Finding(CHECK, "SKIPPED", summary=needed)
        tests = sum(len(pairs.real) for _, pairs, _ in scopes)
        if not tests:
            return Finding(CHECK, "SKIPPED", summary="no two columns vary in the holdout rows, so that no pair can be compared")
        return _finding(scopes, len(columns), evidence.intent.level(CHECK) / tests, borne)


def check_limits(stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limits; raises DataError for a figure that does not exist."""
    return figures_of(CHECK, stated, ("change",), "there is")


Scope = tuple[str, Pairs, Pairs]


def _scopes(at: Sides) -> list[Scope]:
    """Of the whole set and each class that has rows enough: name, synthetic against holdout, reference against holdout."""
    out = []
    target = at.reference.schema.target
    for place, (name, r, h, s) in enumerate(at.scopes()):
        if min(len(r), len(h), len(s)) < LEAST_ROWS:
            continue
        columns = [c for c in at.reference.schema.learned if not place or c.name != target]
        reference, holdout, made = at.reference.take(r), at.holdout.take(h), at.sample.take(s)
        out.append((name if place else "", *compare(columns, reference, holdout, made, whole=not place)))
    return out


def _finding(scopes: list[Scope], columns: int, alpha: float, borne: float) -> Finding:
    changed, finely = ([pairs.changed(alpha, fine=fine) for _, pairs, _ in scopes] for fine in (False, True))
    flat = [(float(c[k]), scope, k) for scope, c in enumerate(changed) for k in range(len(c))]
    worst = max(change for change, _, _ in flat)
    off = [each for each in flat if max(each[0], finely[each[1]][each[2]]) > min(WARNED, borne)]
    flagged = _plainest(sorted(off, key=lambda each: -each[0]), scopes)
    noticed = scopes[0][1].noticed(alpha, EXAMPLE, borne)
    many = sum(len({frozenset(pair) for pair in pairs.names}) for _, pairs, _ in scopes)
    # A check that could not have seen the loss of a strong pair has not passed.
    passed: Verdict = "SKIPPED" if noticed is None else "PASS"
    verdict: Verdict = "BLOCK" if worst > borne else "WARN" if flagged else passed
    held = [len(flat) * pairs.p_values(borne) for _, pairs, _ in scopes]
    warned = [len(flat) * pairs.p_values(WARNED, fine=True) for _, pairs, _ in scopes]
    return Finding(
        CHECK,
        verdict,
        value=worst,
        limit=borne,
        reference=max(float(other.changed(alpha).max(initial=0.0)) for _, _, other in scopes),
        p_value=min(1.0, *(float(p.min(initial=1.0)) for p in held)),
        summary=_summary(scopes, flagged, _counted(many, columns), noticed),
        culprits=tuple(
            _culprit(scopes[scope], k, float((held if change > borne else warned)[scope][k]))
            for change, scope, k in flagged[:SHOWN]
        ),
        details={
            "compared": many,
            "columns": columns,
            "tests": len(flat),
            "noticed": noticed,
            "warn_limit": WARNED,
            "flagged": [_plain(scopes[scope], k, change) for change, scope, k in flagged[:50]],
            **({"advice": _advice(scopes, flagged[0])} if flagged else {}),
        },
    )


def _counted(many: int, columns: int) -> str:
    """How many pairs, and of which columns where not of all."""
    some = f" of the {MOST_COLUMNS} columns of {columns} that depend most on others" if columns > MOST_COLUMNS else ""
    return f"{many} pairs{some}"


def _plainest(ordered: list[tuple[float, int, int]], scopes: list[Scope]) -> list[tuple[float, int, int]]:
    """Each pair of columns once: where it has changed most."""
    seen, out = set(), []
    for each in ordered:
        _, scope, k = each
        pair = frozenset(scopes[scope][1].names[k])
        if pair not in seen:
            seen.add(pair)
            out.append(each)
    return out


def _culprit(scope: Scope, k: int, p: float) -> Culprit:
    name, pairs, _ = scope
    real, made = float(pairs.real[k]), float(pairs.made[k])
    return Culprit(
        cell=_called(name, pairs, k),
        expected=real,
        observed=made,
        ratio=made / real if abs(real) > abs(made) and made * real >= 0 else None,
        p_adjusted=min(1.0, p),
    )


def _called(name: str, pairs: Pairs, k: int) -> str:
    a, b = pairs.names[k]
    within = f" ({name})" if name else ""
    return f"{a} with {b}{within}"


def _plain(scope: Scope, k: int, change: float) -> dict[str, Any]:
    name, pairs, _ = scope
    return {
        "pair": list(pairs.names[k]),
        "scope": name or "the whole set",
        "kind": pairs.kinds[k],
        "real": float(pairs.real[k]),
        "synthetic": float(pairs.made[k]),
        "change": change,
    }


def _summary(scopes: list[Scope], flagged: list[tuple[float, int, int]], many: str, noticed: float | None) -> str:
    if not flagged and noticed is None:
        return f"with so few rows the loss of a correlation of {EXAMPLE:g} would pass unseen among {many}{_farthest(scopes)}"
    if not flagged:
        seen = f"one of {EXAMPLE:g} that fell to {noticed:g} would have been noticed"
        return f"no correlation of {many} has surely changed; {seen}{_farthest(scopes)}"
    _, scope, k = flagged[0]
    name, pairs, _ = scopes[scope]
    measure = "strength of the dependence" if pairs.kinds[k] == ANY else "correlation of ranks"
    more = f", and {len(flagged) - 1} more of {many} have changed" if len(flagged) > 1 else f", among {many}"
    made, real = _figures(pairs, k)
    said = f"the {measure} of {_called(name, pairs, k)} is {made}, where real rows have {real}"
    return said + more


def _farthest(scopes: list[Scope]) -> str:
    """The pair of the first scope that lies farthest off, though perhaps by chance."""
    name, pairs, _ = scopes[0]
    if not len(pairs.real):
        return ""
    k = int(
        np.argmax(np.where([kind != ANY for kind in pairs.kinds], np.abs(pairs.made - pairs.real), pairs.real - pairs.made))
    )
    made, real = _figures(pairs, k)
    return f"; farthest off is {_called(name, pairs, k)}, {made} for {real}"


def _figures(pairs: Pairs, k: int) -> tuple[str, str]:
    """Both correlations, with digits enough to tell lines from one another."""
    digits = 2 if max(abs(pairs.made[k]), abs(pairs.real[k])) < 0.95 else 4
    return f"{pairs.made[k]:.{digits}f}", f"{pairs.real[k]:.{digits}f}"


def _advice(scopes: list[Scope], worst: tuple[float, int, int]) -> str:
    _, scope, k = worst
    name, pairs, _ = scopes[scope]
    a, b = pairs.names[k]
    if abs(pairs.made[k]) < abs(pairs.real[k]):
        lost = f"the generator loses how {a!r} and {b!r} go together"
        return f"{lost}: train longer or try another family, then judge a new attempt"
    return (
        f"the generator makes {a!r} and {b!r} go together more than they do: train with more regularisation or try another "
        "family, then judge a new attempt"
    )
