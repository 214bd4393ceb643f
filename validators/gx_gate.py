"""How does a team that lives in Great Expectations see the gate? As a one-row frame, a suite, and pages of Data Docs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from validators.base import Finding
from validators.gate import Decision

if TYPE_CHECKING:
    import great_expectations as gx

#: What a check's figure (`Finding.value`) is called in the frame; `value` where nothing is said here.
FIGURES: Mapping[str, str] = {
    "schema": "failed_rules",
    "modes": "worst_ratio",
    "copies": "share",
    "spread": "auc",
    "labels": "share",
    "duplicates": "ratio",
    "coverage": "ratio",
    "pairs": "change",
    "suite": "failed_expectations",
}


def gate_frame(decision: Decision | Sequence[Finding]) -> pd.DataFrame:
    """The gate's figures as one row: a column for each, missing ones NaN.

    Of each check: `<check>_verdict`, its figure (`modes_worst_ratio`, `copies_share`, `coverage_ratio`, ...; see FIGURES),
    `_limit`, `_reference` (the figure of real against real data), `_p_value`, `_summary`, and every plain number of its
    details. Of a Decision also `verdict`, `reason`, `next_action`, `smallest_detectable_mode`, `attempt`, `alpha`, `spent`."""
    row: dict[str, Any] = {}
    if isinstance(decision, Decision):
        row = {name: getattr(decision, name) for name in ("verdict", "reason", "next_action")}
        for name in ("smallest_detectable_mode", "attempt", "alpha", "spent"):
            row[name] = _number(getattr(decision, name))
    for finding in _findings(decision):
        row |= {f"{finding.check}_{name}": value for name, value in _figures(finding).items()}
    return pd.DataFrame([row])


def _findings(decision: Decision | Sequence[Finding]) -> Sequence[Finding]:
    return decision.findings if isinstance(decision, Decision) else decision


def _figures(finding: Finding) -> dict[str, Any]:
    plain = {k: _number(v) for k, v in finding.details.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return plain | {
        "verdict": finding.verdict,
        FIGURES.get(finding.check, "value"): _number(finding.value),
        "limit": _number(finding.limit),
        "reference": _number(finding.reference),
        "p_value": _number(finding.p_value),
        "summary": finding.summary,
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def gate_suite(decision: Decision | Sequence[Finding], *, detect: float | None = None) -> gx.ExpectationSuite:
    """What must hold of `gate_frame`: the gate passes, every check that ran does not block, no mode went unseen.

    Only the names of the checks are taken from `decision`, so that the suite fits the frames of later runs, too. detect:
    the smallest mode, as a share of the set, whose loss must be visible; None asks for none."""
    import great_expectations as gx

    from validators import gx_expectations as own

    asked: list[Any] = [own.ExpectGateToPass()] if isinstance(decision, Decision) else []
    if isinstance(decision, Decision) and detect is not None:
        meaning = "The smallest mode whose loss would be seen, as a share of the set,"
        asked.append(own.ExpectGateFigureToBeWithin(figure="smallest_detectable_mode", max_value=detect, meaning=meaning))
    asked += [_asked(finding.check) for finding in _findings(decision)]
    return gx.ExpectationSuite(name="gate", expectations=asked, meta={"notes": NOTES})


def _asked(check: str) -> Any:
    from validators import gx_expectations as own

    if check == "modes":
        return own.ExpectNoMissingMode()
    return own.ExpectGateCheckToPass(check=check, figure=f"{check}_{FIGURES.get(check, 'value')}")


NOTES = "One row: the figures of the gate's decision. Each check of the gate is one expectation."
