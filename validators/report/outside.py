"""What of a decision may go out with the rows of a release, whose real rows must not be told of?

The full report names cells, and counts the real rows in them; its sentences quote values. What goes out keeps the verdict,
figure, interval and limit of each check, and cells of levels that enough real rows hold. All else is left out, not masked: what
is not listed here does not go out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.dataset import Dataset
from validators.base import Culprit, Evidence, Finding
from validators.report.classes import WHOLE
from validators.report.members import levels_alone, members
from validators.report.scales import scale_of
from validators.report.text import finite, listed
from validators.stats import listed as spoken

if TYPE_CHECKING:
    from validators.gate import Decision

#: Check -> what of its details goes out: figures of the whole set or of a class, and lists of such.
TOLD: Mapping[str, Sequence[str]] = {
    "schema": ("expectations",),
    "suite": ("expectations",),
    "modes": ("tested", "warn_limit"),
    "copies": ("near_share", "warn_limit"),
    "spread": ("scopes", "warn_limit"),
    "duplicates": ("inside", "inside_real", "ratio_lower_bound", "warn_limit"),
    "labels": ("classes",),
    "coverage": ("scopes", "figure", "warn_limit"),
    "pairs": ("compared", "tests"),
    "fidelity": ("figure", "synthetic", "real"),
    "membership": ("attacks", "targets", "synthetic_rows", "tpr_limit", "warn_limit"),
    "singling_out": ("attacks", "warn_limit"),
    "linkability": ("attacks", "warn_limit"),
    "inference": ("attacks", "warn_limit"),
    "rare": ("warn_limit",),
    "utility": ("figure", "tstr"),
}
#: Checks whose cells name columns alone, and that whose cells are levels of them.
OF_COLUMNS, OF_LEVELS = ("pairs", "fidelity"), "modes"
#: Significant digits of what goes out; p-values have fewer.
DIGITS, P_DIGITS = 3, 1
NOTE = (
    "this report may go out with the rows: it holds no real row, no extreme, and nothing of fewer than {k} real rows; the full "
    "report stays where the rows were made"
)


def outside(decision: Decision, evidence: Evidence, *, k: int) -> Decision:
    """The decision as those may read it who get the rows: `k` is the least number of real rows that anything shown stands for.

    Sentences are written anew from figures; cells, classes and details that could tell of fewer than k rows are left out."""
    known = _classes(evidence, k)
    findings = tuple(_finding(finding, evidence, known, k) for finding in decision.findings)
    reason, action = _reason(decision, findings)
    lineage = {name: value for name, value in decision.lineage.items() if name != "notices"}
    return replace(
        decision,
        reason=reason,
        next_action=action,
        smallest_detectable_mode=_round(decision.smallest_detectable_mode),
        detectable={name: _round(least) for name, least in decision.detectable.items() if name in known},
        findings=findings,
        lineage={**lineage, "notices": [NOTE.format(k=k)]},
    )


def write_outside(decision: Decision, folder: Path, *, evidence: Evidence, k: int, title: str | None = None) -> None:
    """Write report.json and report.html of `outside` into a folder. Raises DataError where it cannot be written."""
    from validators.report.write import write

    write(outside(decision, evidence, k=k), folder=folder, evidence=evidence, title=title, fewest=k)


def _classes(evidence: Evidence, k: int) -> set[str]:
    """Names of the classes that k rows or more hold on each real side."""
    names = [str(level) for level in evidence.reference.schema.classes()]
    sides = [np.bincount(rows.labels() + 1, minlength=len(names) + 1)[1:] for rows in _real(evidence)] if names else []
    return {name for i, name in enumerate(names) if all(side[i] >= k for side in sides)}


def _real(evidence: Evidence) -> tuple[Dataset, ...]:
    return evidence.train, evidence.reference, evidence.holdout


def _finding(finding: Finding, evidence: Evidence, known: set[str], k: int) -> Finding:
    told = {name: finding.details[name] for name in TOLD.get(finding.check, ()) if name in finding.details}
    plain = replace(
        finding,
        value=_round(finding.value),
        reference=_round(finding.reference),
        p_value=_round(finding.p_value, P_DIGITS),
        culprits=tuple(_culprits(finding, evidence, k)),
        details={name: _plain(value, known) for name, value in told.items()},
    )
    return replace(plain, summary=_summary(plain))


def _culprits(finding: Finding, evidence: Evidence, k: int) -> Iterator[Culprit]:
    for culprit in finding.culprits:
        if _held(finding.check, culprit.cell, evidence, k):
            yield replace(
                culprit,
                expected=_round(culprit.expected) or 0.0,
                observed=_round(culprit.observed) or 0.0,
                ratio=_round(culprit.ratio),
                ratio_ci=_both(culprit.ratio_ci),
                p_adjusted=_round(culprit.p_adjusted, P_DIGITS),
            )


def _held(check: str, cell: str, evidence: Evidence, k: int) -> bool:
    """Whether a cell names columns alone, or levels that k rows or more of each real side hold together.

    Ranges are left out: their ends are values of real rows."""
    schema = evidence.reference.schema
    if check in OF_COLUMNS:
        # Within a class the name ends with it, which may be a rare one.
        return cell in {column.name for column in schema} or cell in _pairs([column.name for column in schema.learned])
    if check != OF_LEVELS or not levels_alone(cell, schema):
        return False
    counts = [members(cell, rows) for rows in _real(evidence)]
    return all(inside is not None and int(inside.sum()) >= k for inside in counts)


def _pairs(names: Sequence[str]) -> set[str]:
    return {f"{a} with {b}" for a in names for b in names}


def _plain(value: Any, known: set[str]) -> Any:
    """Rounded figures; of lists by class those of classes that are known. Whatever else stands there is left out."""
    if isinstance(value, Mapping):
        return {
            str(name): _plain(part, known) for name, part in value.items() if name not in ("rows", "guesses", "train", "unseen")
        }
    if isinstance(value, (list, tuple)):
        return [_plain(part, known) for part in value if not isinstance(part, Mapping) or _shown(part, known)]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    return _round(value)


def _shown(part: Mapping[str, Any], known: set[str]) -> bool:
    """Whether an entry is of no class, of the whole set, or of a known class."""
    name = str(part.get("name", WHOLE))
    return name == WHOLE or name.removeprefix("class ") in known


def _round(value: Any, digits: int = DIGITS) -> float | None:
    number = finite(value)
    return None if number is None else float(f"{number:.{digits}g}")


def _both(ends: tuple[float, float] | None) -> tuple[float, float] | None:
    # The upper end may be infinite, and stays so.
    return None if ends is None else (float(f"{ends[0]:.{DIGITS}g}"), float(f"{ends[1]:.{DIGITS}g}"))


# --- in words


def _summary(finding: Finding) -> str:
    """The figure, its interval, that of real rows and the limit, in one sentence."""
    if finding.verdict in ("SKIPPED", "ERROR"):
        return "this check could not judge" if finding.verdict == "SKIPPED" else "this check failed and has judged nothing"
    scale, value = scale_of(finding), finite(finding.value)
    if value is None:
        return "nothing can be told by this check" if finding.verdict == "INCONCLUSIVE" else "this check has no single figure"
    said = f"{scale.what or finding.check}: {scale.write(value)}"
    low, high = interval(finding)
    if low is not None:
        said += f" ({scale.write(low)} to {scale.write(high)})" if high is not None else f" (surely {scale.write(low)})"
    if finite(finding.reference) is not None:
        said += f", real rows {scale.write(finding.reference)}"
    return said + (f", limit {scale.bound(finding.limit)}" if finite(finding.limit) is not None else "")


def interval(finding: Finding) -> tuple[float | None, float | None]:
    """The 95 % interval of a finding's figure, both ends None where the check has none."""
    details, value = finding.details, finite(finding.value)
    for attack in listed(details.get("attacks")):
        for figure, ends in (("auc", "auc_ci"), ("risk", "risk_ci")):
            if finite(attack.get(figure)) is not None and max(attack[figure], 0.0) == value:
                return _ends(attack.get(ends))
    made = details.get("synthetic")
    if details.get("figure") == "c2st_auc" and isinstance(made, Mapping):
        return _ends(made.get("c2st_ci"))
    for ratios in (details.get("tstr") or {}).values():
        for each in ratios.values() if isinstance(ratios, Mapping) else ():
            if isinstance(each, Mapping) and each.get("ratio") == value:
                return _ends((each.get("low"), each.get("high")))
    return finite(details.get("ratio_lower_bound")), None


def _ends(value: Any) -> tuple[float | None, float | None]:
    low, high = value if isinstance(value, (list, tuple)) and len(value) == 2 else (None, None)
    return finite(low), finite(high)


def _reason(decision: Decision, findings: Sequence[Finding]) -> tuple[str, str]:
    """Why, and what a reader is to do, by names of checks alone."""
    by = {verdict: [f.check for f in findings if f.verdict == verdict] for verdict in ("PASS", "WARN", "BLOCK", "ERROR")}
    unsure = [f.check for f in findings if f.verdict == "INCONCLUSIVE"]
    skipped = [f.check for f in findings if f.verdict == "SKIPPED"]
    blind = f"; {spoken(skipped)} could not judge" if skipped else ""
    ask = "ask those who made the rows, who hold the full report"
    if decision.verdict == "BLOCK":
        return f"blocked by {spoken(by['BLOCK'])}{blind}", f"do not use these rows; {ask}"
    if decision.verdict == "WARN":
        return (
            f"{len(by['PASS'])} checks passed, with a warning by {spoken(by['WARN'])}{blind}",
            "use the rows if their purpose allows this",
        )
    if decision.verdict == "PASS":
        return f"all {len(by['PASS'])} checks that could judge passed{blind}", "nothing: the set may be used"
    why = f"failed: {spoken(by['ERROR'])}" if by["ERROR"] else f"nothing could be told by {spoken(unsure)}" if unsure else ""
    return (why or "the gate could not see what it was asked to see") + blind, f"do not rely on these rows; {ask}"
