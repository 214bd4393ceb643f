"""What stands on the page, and in which order?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.schema import Column
from validators.base import Culprit, Evidence, Finding
from validators.report import cloud, columns, pairs, training
from validators.report import gauges as draw
from validators.report.rows import Drawn
from validators.report.rows import draw as some_rows
from validators.report.text import clean, crop, figure, many, share

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
SEVERITY = ("BLOCK", "ERROR", "INCONCLUSIVE", "WARN", "PASS", "SKIPPED")
WORST = 10
#: Columns shown at once; the rest wait behind a fold, and beyond LAST they are named only.
OPEN, LAST = 12, 120
SCATTER_ROWS = 5_000


def build(
    decision: Decision,
    *,
    evidence: Evidence | None = None,
    training: Sequence[Mapping[str, Any]] | None = None,
    title: str | None = None,
    bins_only: bool = False,
) -> View:
    """Everything the template needs, drawn and worded."""
    name = clean(title or decision.lineage.get("dataset") or decision.lineage.get("name") or "synthetic data")
    word, sign = MEANING.get(decision.verdict, MEANING["INCONCLUSIVE"])
    cells = _worst(decision.findings)
    return {
        "name": name,
        "verdict": decision.verdict,
        "meaning": word,
        "sign": sign,
        "reason": sentence(decision.reason),
        "action": sentence(decision.next_action),
        "notices": [sentence(str(note)) for note in _listed(decision.lineage.get("notices"))],
        "facts": _facts(decision, evidence),
        "ruler": draw.ruler(),
        "cells": [_cell(finding, culprit) for finding, culprit in cells],
        "whole": _whole(decision, evidence),
        "classes": _classes(decision),
        "checks": [_check(finding) for finding in _by_severity(decision.findings)],
        "lineage": _lineage(decision),
        "bins_only": bins_only,
        "training": _training(training),
        **_sets(evidence, [culprit for _, culprit in cells], bins_only),
    }


def sentence(text: str) -> str:
    """A capital first and a full stop last."""
    text = clean(text) if text else ""
    if not text or text == "(blank)":
        return ""
    # A name from the data keeps its spelling: "occupation=Sales has ...".
    first = text[0].upper() if text.split()[0].isalpha() else text[0]
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _listed(value: Any) -> list[Any]:
    """A list as it is, nothing as no list, one value as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _by_severity(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: SEVERITY.index(f.verdict))


# --- the verdict and its numbers


def _facts(decision: Decision, evidence: Evidence | None) -> list[tuple[str, str]]:
    rows = []
    if evidence is not None:
        real = {"train": evidence.train, "reference": evidence.reference, "holdout": evidence.holdout}
        rows = [("Synthetic rows judged", f"{evidence.synthetic.num_rows:,}")]
        rows += [(f"Real rows, {part}", f"{data.num_rows:,}") for part, data in real.items()]
    alpha = f"{figure(decision.spent)} of {figure(decision.alpha)}"
    return [*rows, ("Attempt", str(decision.attempt)), ("False alarms allowed", alpha)]


def _worst(findings: Sequence[Finding]) -> list[tuple[Finding, Culprit]]:
    """The ten worst cells of all checks: blocking checks first, then by adjusted p, then by distance from 1."""
    found = [(finding, culprit) for finding in findings for culprit in finding.culprits]
    # Pairs of rows have no share to compare; they are listed only where no cell is.
    found = [pair for pair in found if pair[1].ratio is not None] or found

    def rank(pair: tuple[Finding, Culprit]) -> tuple[float, ...]:
        finding, culprit = pair
        p = 1.0 if culprit.p_adjusted is None else culprit.p_adjusted
        return (SEVERITY.index(finding.verdict), p, -abs((1.0 if culprit.ratio is None else culprit.ratio) - 1))

    return sorted(found, key=rank)[:WORST]


def _cell(finding: Finding, culprit: Culprit) -> View:
    low, high = culprit.ratio_ci or (None, None)
    return {
        "name": clean(culprit.cell),
        "check": finding.check,
        "expected": figure(culprit.expected, 4),
        "observed": figure(culprit.observed, 4),
        "ratio": figure(culprit.ratio, 2),
        "interval": f"{figure(low, 2)} to {figure(high, 2)}" if culprit.ratio_ci else "",
        "p": figure(culprit.p_adjusted, 2),
        "chart": draw.whisker(culprit.ratio, culprit.ratio_ci, finding.limit),
    }


def _whole(decision: Decision, evidence: Evidence | None) -> View:
    asked = evidence.intent.detect if evidence is not None else None
    smallest = decision.smallest_detectable_mode
    return {
        "share": share(smallest) if smallest is not None else "none",
        "asked": share(asked) if asked is not None else "",
        "blind": smallest is None or (asked is not None and smallest > asked),
    }


def _classes(decision: Decision) -> list[View]:
    return [
        {
            "name": clean(name),
            "share": share(value) if value is not None else "could not be seen",
            "blind": value is None,
            "chart": draw.detectable(clean(name), value),
        }
        for name, value in decision.detectable.items()
    ]


def _check(finding: Finding) -> View:
    return {
        "name": clean(finding.check),
        "verdict": finding.verdict,
        "summary": sentence(finding.summary),
        "value": figure(finding.value),
        "limit": figure(finding.limit),
        "reference": figure(finding.reference),
        "p": figure(finding.p_value, 2) if finding.p_value is not None else "",
        "chart": draw.check(finding),
    }


def _lineage(decision: Decision) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in decision.lineage.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{clean(k)} {clean(v)}" for k, v in value.items())
        else:
            text = ", ".join(clean(v) for v in _listed(value))
        if text and key != "notices":
            rows.append((clean(key).replace("_", " "), text))
    return rows


def _training(entries: Sequence[Mapping[str, Any]] | None) -> View | None:
    lines = training.series(entries or ())
    if not lines:
        return None
    table = [(crop(name, 40), figure(points[0][1]), figure(points[-1][1])) for name, points in lines.items()]
    return {"chart": training.picture(lines), "names": [row[0] for row in table], "table": table}


# --- the sets, side by side


def _sets(evidence: Evidence | None, culprits: Sequence[Culprit], bins_only: bool) -> View:
    if evidence is None or not evidence.synthetic.num_rows or not evidence.reference.num_rows:
        return {"columns": None, "trends": None, "scatter": None, "nearness": None}
    seed, mix = evidence.intent.seed, evidence.intent.mix
    real = some_rows(evidence.reference, seed=seed, mix=mix)
    again = some_rows(evidence.holdout, seed=seed + 1, mix=mix)
    fake = some_rows(evidence.synthetic, seed=seed + 2)
    shown = [c for c in evidence.reference.schema.learned if c.name in evidence.synthetic.schema]
    bars = sorted(
        (columns.compare(c, real, again, fake, bins_only=bins_only) for c in shown[:LAST]), key=lambda b: b.noise - b.difference
    )
    return {
        "columns": _columns(evidence, bars, shown[LAST:], (real, again, fake)),
        "trends": _trends([b.column for b in bars], real, fake, target=evidence.reference.schema.target),
        "scatter": _scatter(real, fake, culprits, bins_only),
        "nearness": _nearness(evidence, again, fake),
    }


def _columns(evidence: Evidence, bars: Sequence[columns.Bars], unnamed: Sequence[Column], sets: tuple[Drawn, ...]) -> View:
    cards = [
        {
            "name": crop(b.column.name, 60),
            "kind": b.column.kind,
            "target": b.column.name == evidence.reference.schema.target,
            "difference": share(b.difference),
            "noise": share(b.noise),
            "far": b.difference > max(2 * b.noise, 0.05),
            "chart": columns.picture(b),
            "missing": _missing(b),
        }
        for b in bars
    ]
    left_out = [clean(c.name) for c in evidence.reference.schema if not c.learned] + [clean(c.name) for c in unnamed]
    part = [many(d.total, "row") + (f" (a draw of {len(d):,})" if len(d) < d.total else "") for d in sets]
    return {
        "open": cards[:OPEN],
        "folded": cards[OPEN:],
        "all": cards,
        "left_out": left_out,
        "drawn": f"Real: {part[0]} of the reference. Synthetic: {part[2]}.",
        "mixed": evidence.intent.mix is not None,
    }


def _missing(bars: columns.Bars) -> str:
    if "missing" not in bars.names or not bars.special[-1]:
        return ""
    return f"{share(bars.real[-1])} real, {share(bars.synthetic[-1])} synthetic"


def _trends(ranked: Sequence[Column], real: Drawn, fake: Drawn, *, target: str | None) -> View | None:
    """Heat maps of at most pairs.SHOWN columns: the target, then those that differ most."""
    chosen = sorted(ranked, key=lambda c: c.name != target)[: pairs.SHOWN]
    if len(chosen) < 2:
        return None
    chosen = [c for c in real.rows.schema.learned if c in chosen]
    trend = pairs.trends(chosen, real.head(SCATTER_ROWS), fake.head(SCATTER_ROWS))
    worst = [(crop(a, 30), crop(b, 30), figure(r, 2), figure(s, 2)) for a, b, r, s in trend.worst(WORST)]
    known = ~np.isnan(trend.gap) & ~np.eye(len(chosen), dtype=bool)
    mean = float(np.abs(trend.gap[known]).mean()) if known.any() else None
    return {
        "charts": pairs.pictures(trend),
        "worst": worst,
        "mean": figure(mean, 2),
        "reach": figure(trend.reach, 2),
        "left_out": max(0, len(ranked) - len(chosen)),
    }


def _scatter(real: Drawn, fake: Drawn, culprits: Sequence[Culprit], bins_only: bool) -> View | None:
    found = cloud.scatter(real, fake, culprits, limit=cloud.COUNTED if bins_only else cloud.POINTS)
    if found is None:
        return None
    return {
        "chart": cloud.picture(found, bins_only=bins_only),
        "explained": share(found.explained),
        "marks": [crop(name, 100) for name in found.cells],
        "points": f"{many(len(found.real), 'real row')} and {many(len(found.synthetic), 'synthetic row')}",
    }


def _nearness(evidence: Evidence, again: Drawn, fake: Drawn) -> View | None:
    train = some_rows(evidence.train, seed=evidence.intent.seed + 3, limit=cloud.TRAIN)
    found = cloud.nearness(train, again, fake)
    if found is None:
        return None
    rows = [
        (f"{100 * q:g} %", figure(float(np.quantile(found.holdout, q))), figure(float(np.quantile(found.synthetic, q))))
        for q in (0.01, 0.05, 0.25, 0.5, 0.75)
    ]
    exact = [share(float((v == 0).mean())) for v in (found.holdout, found.synthetic)]
    return {
        "chart": cloud.distance_picture(found),
        "table": [("at distance 0", *exact), *rows],
        "drawn": f"{len(found.holdout):,} rows of each against {many(found.train_rows, 'training row')}",
    }
