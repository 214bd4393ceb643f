"""How did a dataset fare, version by version?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from data.history import Attempt, History
from validators.report import svg
from validators.report.page import MEANING
from validators.report.scales import Scale, scale_named
from validators.report.text import NONE, clean, crop, figure, finite, many, sentence, share
from validators.report.verdict import SEVERITY

View = dict[str, Any]
#: Verdict -> the sign that stands for it where colour cannot.
SIGNS: Mapping[str, str] = {
    **{verdict: sign for verdict, (_, sign) in MEANING.items()},
    "ERROR": "\N{MULTIPLICATION X}",
    "SKIPPED": NONE,
}
#: Pixels of a bar of rows, and of a check's line.
BAR, LINE, TALL = 46.0, 150.0, 26.0
CLASSES = 6
#: Attempts up to which each has a dot on a line; of more those alone that did not pass.
DOTS = 30


def build(history: History, base: str | None) -> View:
    """Everything the template needs, drawn and worded."""
    attempts, versions = list(history.attempts), history.versions
    latest = next((attempt for attempt in versions if attempt.name == history.latest), None)
    since = attempts[attempts.index(latest) + 1 :] if latest else attempts
    return {
        "name": clean(history.dataset),
        "uri": clean(history.uri),
        "latest": _entry(latest, base, history.latest) if latest else None,
        "since": _since(since, latest),
        "counts": f"{many(len(versions), 'version')}, {len(attempts) - len(versions):,} in quarantine",
        "left": history.left,
        "columns": [_column(attempt, base, history.latest) for attempt in attempts],
        "bars": _bars(attempts),
        "lines": [_line(check, attempts) for check in _checks(attempts)],
        "entries": [_entry(attempt, base, history.latest) for attempt in reversed(attempts)],
        "signs": [(verdict, sign, verdict.lower()) for verdict, sign in SIGNS.items() if verdict != "ERROR"],
    }


def _since(attempts: Sequence[Attempt], latest: Attempt | None) -> str:
    """That attempts after the version that readers get were not published; nothing where there are none."""
    if not attempts:
        return ""
    count = "The attempt since then was" if len(attempts) == 1 else f"The {len(attempts):,} attempts since then were"
    if latest is None:
        count = "The only attempt was" if len(attempts) == 1 else f"All {len(attempts):,} attempts were"
    last = attempts[-1]
    said = "It" if len(attempts) == 1 else "The last one"
    return f"{count} not published. {said} ended in {last.verdict}: {clean(last.reason)}."


def when(attempt: Attempt) -> str:
    """As "2026-11-30 03:04", UTC."""
    return datetime.fromtimestamp(attempt.when, UTC).strftime("%Y-%m-%d %H:%M")


def called(attempt: Attempt) -> str:
    """A version by its name, and what lies in quarantine by its run."""
    return clean(attempt.name) if attempt.version else f"quarantine, run {clean(attempt.run)}"


def _link(attempt: Attempt, base: str | None, file: str) -> str | None:
    return None if base is None else f"{base}{attempt.name}/{file}"


def _column(attempt: Attempt, base: str | None, latest: str | None) -> View:
    """The head of a column, and the gate's verdict below it."""
    short = f"v{int(attempt.name[1:])}" if attempt.version else "\N{MIDDLE DOT}"
    return {
        "short": short,
        "now": attempt.name == latest,
        "css": attempt.verdict.lower(),
        "sign": SIGNS.get(attempt.verdict, NONE),
        "tip": f"{called(attempt)}, {when(attempt)} UTC: {attempt.verdict}, {clean(attempt.reason)}",
        "report": _link(attempt, base, "report.html"),
    }


def _bars(attempts: Sequence[Attempt]) -> list[View]:
    """Of each attempt a bar of its rows: real ones below, synthetic ones above."""
    most = max((attempt.rows for attempt in attempts), default=0) or 1
    found = []
    for attempt in attempts:
        # Of a version from before counts were written down it is not known which rows are real.
        real, drawn = (attempt.real, attempt.synthetic) if attempt.classes else (0, 0)
        heights = [n / most * BAR for n in (real, drawn, 0 if attempt.classes else attempt.rows)]
        y, parts = BAR, []
        for height, css in zip(heights, ("real", "fake", "all"), strict=True):
            y -= height
            parts.append(svg.rect(0, y, 10, height, css))
        tip = f"{called(attempt)}: {_told_rows(attempt)}"
        found.append({"chart": svg.chart(10, BAR, tip, parts, css="bar", fit="none"), "tip": tip})
    return found


def _told_rows(attempt: Attempt) -> str:
    said = many(attempt.rows, "row")
    if attempt.classes:
        said += f", {attempt.real:,} real and {attempt.synthetic:,} synthetic"
    named = [each for each in attempt.classes if each[0] is not None]
    shown = "; ".join(f"{crop(label, 30)} {real + drawn:,}" for label, real, drawn in named[:CLASSES])
    more = f"; {len(named) - CLASSES:,} more classes" if len(named) > CLASSES else ""
    return said + (f" ({shown}{more})" if shown else "")


def _checks(attempts: Sequence[Attempt]) -> list[str]:
    """Every check that any attempt ran, in the order of the newest that has it."""
    found: dict[str, None] = {}
    for attempt in reversed(attempts):
        found.update({str(finding.get("check")): None for finding in attempt.findings})
    return list(found)


def _line(check: str, attempts: Sequence[Attempt]) -> View:
    """A check over all attempts: its verdicts as cells, its figure as a line beside its limit."""
    found = [_finding(attempt, check) for attempt in attempts]
    known = [finding for finding in found if finding]
    last = known[-1]
    kind = last.get("details", {}).get("figure")
    scale = scale_named(check, kind)
    # Where the check told of another figure then, that one has no place on this scale.
    values = [finite(f.get("value")) if f and f.get("details", {}).get("figure") == kind else None for f in found]
    limit = finite(last.get("limit"))
    return {
        "check": clean(check),
        "what": scale.what,
        "cells": [_cell(attempt, finding) for attempt, finding in zip(attempts, found, strict=True)],
        "chart": _chart(values, found, limit, scale, check),
        "value": "" if finite(last.get("value")) is None else scale.write(finite(last.get("value"))),
        "limit": scale.bound(limit),
        "css": str(last.get("verdict")).lower(),
    }


def _finding(attempt: Attempt, check: str) -> Mapping[str, Any] | None:
    return next((finding for finding in attempt.findings if finding.get("check") == check), None)


def _cell(attempt: Attempt, finding: Mapping[str, Any] | None) -> View:
    if finding is None:
        return {"css": "none", "sign": "", "tip": f"{called(attempt)}: not run"}
    verdict = str(finding.get("verdict"))
    tip = f"{called(attempt)}: {verdict}, {clean(finding.get('summary', ''))}"
    return {"css": verdict.lower(), "sign": SIGNS.get(verdict, NONE), "tip": tip}


def _chart(
    values: Sequence[float | None], found: Sequence[Mapping[str, Any] | None], limit: float | None, scale: Scale, check: str
) -> Markup | None:
    """The figure of each attempt from the oldest to the newest, with the limit as a dashed line."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    ends = [*known, *([] if limit is None else [limit])]
    low, high = min(ends), max(ends)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    step = (LINE - 10) / max(len(values) - 1, 1)

    def at(place: int, value: float) -> tuple[float, float]:
        return 5 + place * step, 4 + (1 - (value - low) / (high - low)) * (TALL - 8)

    parts: list[Markup | str] = []
    if limit is not None:
        parts.append(svg.line(0, at(0, limit)[1], LINE, at(0, limit)[1], "limit"))
    parts.append(svg.path([at(place, value) for place, value in enumerate(values) if value is not None], "trend"))
    for place, (value, finding) in enumerate(zip(values, found, strict=True)):
        flagged = finding is not None and finding.get("verdict") != "PASS"
        if value is not None and finding is not None and (flagged or len(values) <= DOTS or place == len(values) - 1):
            x, y = at(place, value)
            parts.append(svg.tag("circle", cx=x, cy=y, r=2.4, class_=f"mark {str(finding.get('verdict')).lower()}"))
    told = ", ".join(scale.write(value) for value in known[-6:])
    label = f"{clean(check)}, {scale.what or 'its figure'}, the last ones: {told}; limit {scale.bound(limit) or 'none'}"
    return svg.chart(LINE, TALL, label, parts, css="spark")


def _entry(attempt: Attempt, base: str | None, latest: str | None) -> View:
    """A version as the table of all of them tells of it."""
    return {
        "name": clean(attempt.name) if attempt.version else "quarantine",
        "version": attempt.version,
        "now": attempt.name == latest,
        "tags": [clean(tag) for tag in attempt.tags],
        "when": when(attempt),
        "verdict": attempt.verdict,
        "sign": SIGNS.get(attempt.verdict, NONE),
        "css": attempt.verdict.lower(),
        "meaning": MEANING.get(attempt.verdict, ("", ""))[0],
        "reason": sentence(attempt.reason),
        "flagged": ", ".join(flagged(attempt)),
        "rows": figure(attempt.rows),
        "mix": _told_rows(attempt),
        "model": clean(attempt.model) if attempt.model else NONE,
        "smallest": share(attempt.smallest) if attempt.smallest is not None else NONE,
        "run": clean(attempt.run),
        "moved": [sentence(each) for each in attempt.moved],
        "report": _link(attempt, base, "report.html"),
        "card": _link(attempt, base, "README.md"),
        "manifest": _link(attempt, base, "manifest.json"),
    }


def flagged(attempt: Attempt) -> list[str]:
    """The checks that did not pass, the worst first."""
    worst = sorted(attempt.findings, key=lambda f: _rank(str(f.get("verdict"))))
    return [clean(f.get("check")) for f in worst if f.get("verdict") in ("BLOCK", "ERROR", "INCONCLUSIVE", "WARN")]


def _rank(verdict: str) -> int:
    return SEVERITY.index(verdict) if verdict in SEVERITY else len(SEVERITY)
