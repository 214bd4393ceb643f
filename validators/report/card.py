"""How does a Decision look in a notebook?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from validators.report import gauges as draw
from validators.report import page, verdict

if TYPE_CHECKING:
    from validators.gate import Decision

#: Cells that a card shows; the page shows more.
SHOWN = 5


def build(decision: Decision) -> dict[str, Any]:
    """What the template of the card needs: the first screen of the page, without what takes rows to draw."""
    shown = verdict.worst(decision.findings)[:SHOWN]
    return {
        **page.head(decision),
        "whole": page.whole(decision, None),
        "ruler": draw.ruler(),
        "checks": verdict.checks(decision.findings, decision.spent),
        "cells": [verdict.cell(finding, culprit) for finding, culprit in shown],
        "more": max(0, sum(len(f.culprits) for f in decision.findings) - len(shown)),
        "attempt": decision.attempt,
    }
