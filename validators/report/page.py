"""What stands on the page, and in which order?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from validators.base import Evidence
from validators.report import benefit, classes, confusion, gallery, series, sets, training, verdict
from validators.report import choice as choices
from validators.report import gauges as draw
from validators.report.text import clean, crop, figure, listed, sentence, share

if TYPE_CHECKING:
    from validators.gate import Decision

View = dict[str, Any]

#: Verdict -> (what it means in words, the sign that stands for it when colour cannot).
MEANING: Mapping[str, tuple[str, str]] = {
    "PASS": ("This set may be published", "\N{HEAVY CHECK MARK}"),
    "WARN": ("This set may be published, with care", "!"),
    "BLOCK": ("This set must not be published", "\N{MULTIPLICATION X}"),
    "INCONCLUSIVE": ("The gate could not see enough to judge", "?"),
}
#: What it means where even a large gap could have passed unseen.
COARSE = "This set may be published, as far as so few real rows can tell"
#: What of the lineage stands on the first screen, in this order, and how it is called there.
BRIEF: Mapping[str, str] = {"run": "run", "model": "model", "seed": "seed", "data_sha256": "data", "plan_sha256": "plan"}
#: What stands there for files judged without a run.
FILES = ("train", "holdout", "synthetic")
HASH = 10
# Every row, also in a label of a chart, where `data.words.spoken` would leave what follows a quote.
_ROW, _TITLE = re.compile(r"\brow(s?)\b"), re.compile(r"\bRow(s?)\b")


def build(
    decision: Decision,
    *,
    evidence: Evidence | None = None,
    training: Sequence[Mapping[str, Any]] | None = None,
    choice: Mapping[str, Any] | None = None,
    title: str | None = None,
    fewest: int = 1,
) -> View:
    """Everything the template needs, drawn and worded."""
    flagged = verdict.worst(decision.findings)
    unit = "picture" if gallery.pictorial(evidence) else "window" if series.serial(evidence) else "row"
    pictures = sets.pictures(evidence, flagged, fewest=fewest)
    view = {
        **head(decision, title),
        "sizes": _sizes(evidence),
        "facts": _facts(decision),
        "brief": _brief(decision),
        "whole": whole(decision, evidence),
        "ruler": draw.ruler(),
        "cells": [verdict.cell(finding, culprit) for finding, culprit in flagged],
        "others": [verdict.cell(None, culprit) for culprit in pictures.lowest],
        "checks": verdict.checks(decision.findings, decision.spent),
        "classes": classes.table(decision),
        "confusion": _confusion(decision),
        "benefit": benefit.section(decision.findings),
        "lineage": _lineage(decision),
        "fewest": fewest,
        "bins_only": fewest > 1,
        "choice": choices.section(choice),
        "training": _training(training),
        **pictures.views,
    }
    # Checks and charts speak of rows; images and names of classes are left as they are.
    told = view if unit == "row" else _in_units(view, unit)
    looks = gallery.sections(evidence, decision.findings, bins_only=fewest > 1)
    return {**told, "unit": unit, **looks, **series.sections(evidence, decision.findings, fewest=fewest)}


def _in_units(view: Any, unit: str) -> Any:
    """The view with its rows called what they are."""
    if isinstance(view, dict):
        return {key: value if key == "shots" else _in_units(value, unit) for key, value in view.items()}
    if isinstance(view, (list, tuple)):
        return type(view)(_in_units(value, unit) for value in view)
    return type(view)(_ROW.sub(rf"{unit}\1", _TITLE.sub(rf"{unit.title()}\1", view))) if isinstance(view, str) else view


def head(decision: Decision, title: str | None = None) -> View:
    """The verdict in words, the reason and the next action."""
    word, sign = MEANING.get(decision.verdict, MEANING["INCONCLUSIVE"])
    coarse = decision.coarse and decision.verdict == "PASS"
    return {
        "name": clean(title or decision.lineage.get("dataset") or decision.lineage.get("name") or "synthetic data"),
        "verdict": decision.verdict,
        "meaning": COARSE if coarse else word,
        "sign": sign,
        "coarse": coarse,
        "reason": sentence(decision.reason),
        "action": sentence(decision.next_action),
        "notices": [sentence(str(note)) for note in listed(decision.lineage.get("notices"))],
    }


def whole(decision: Decision, evidence: Evidence | None) -> View:
    """The smallest mode whose absence would be noticed, beside the one that was asked for."""
    asked = evidence.intent.detect if evidence is not None else None
    smallest = decision.smallest_detectable_mode
    return {
        "share": share(smallest) if smallest is not None else "none",
        "asked": share(asked) if asked is not None else "",
        "blind": smallest is None or (asked is not None and smallest > asked),
    }


def _sizes(evidence: Evidence | None) -> list[tuple[str, str]]:
    if evidence is None:
        return []
    parts = {"synthetic": evidence.synthetic, "train": evidence.train, "holdout": evidence.holdout}
    if evidence.reference is not evidence.train:
        parts["reference"] = evidence.reference
    return [(part, f"{data.num_rows:,}") for part, data in parts.items()]


def _facts(decision: Decision) -> list[tuple[str, str]]:
    alpha = f"{figure(decision.spent)} of {figure(decision.alpha)}"
    return [("Attempt on this holdout", str(decision.attempt)), ("False alarms allowed", alpha)]


def _brief(decision: Decision) -> list[tuple[str, str]]:
    told = decision.lineage
    found = [(name, told[key], key.endswith("sha256")) for key, name in BRIEF.items() if told.get(key) not in (None, "")]
    files = [(name, crop(str(told[name]).rsplit("/", 1)[-1], 32)) for name in FILES if told.get(name)]
    return [(name, clean(value)[:HASH] if digest else crop(value, 32)) for name, value, digest in found] or files


def _lineage(decision: Decision) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in decision.lineage.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{clean(k)} {clean(v)}" for k, v in value.items())
        else:
            text = ", ".join(clean(v) for v in listed(value))
        if text and key != "notices":
            rows.append((clean(key).replace("_", " "), text))
    return rows


def _confusion(decision: Decision) -> View | None:
    found = confusion.confusion(decision.findings)
    if found is None:
        return None
    worst = [
        (crop(own, 40), crop(other, 40), share(found.real[i, j]), share(found.synthetic[i, j]))
        for i, own in enumerate(found.names)
        for j, other in enumerate(found.names)
        if i != j and found.real[i, j] == found.real[i, j]
    ]
    return {"charts": confusion.pictures(found), "names": [crop(n, 40) for n in found.names], "rows": worst}


def _training(entries: Sequence[Mapping[str, Any]] | None) -> View | None:
    lines = training.series(entries or ())
    if not lines:
        return None
    table = [(crop(name, 40), figure(points[0][1]), figure(points[-1][1])) for name, points in lines.items()]
    return {"chart": training.picture(lines), "names": [row[0] for row in table], "table": table}
