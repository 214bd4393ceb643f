"""May this synthetic set be published? The only place where verdicts are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.words import spoken
from validators.base import Culprit, Finding, Intent, Verdict
from validators.stats import listed

#: What the process answers: 0 may be published, 3 must not, 4 could not be seen.
EXIT_CODES: Mapping[str, int] = {"PASS": 0, "WARN": 0, "BLOCK": 3, "INCONCLUSIVE": 4}
SHOWN_CULPRITS = 10
#: Synthetic rows for each holdout row that buy most of the gate's power.
DRAWS = 10
#: Where no smaller part of the set, or of a class, would have been missed, a PASS says so before anything else.
COARSE, COARSE_CLASS = 0.1, 0.5

#: What to do when a check blocks and has no advice of its own.
ADVICE: Mapping[str, str] = {
    "schema": "correct the values that the summary names in what the generator writes, or declare the column otherwise",
    "modes": "train the generator longer or try another family, then judge a new attempt",
    "copies": "train shorter, with more regularisation, or drop the copied rows and judge a new attempt",
    "spread": "the generator keeps to the middle of its classes: train longer, or draw without truncation or guidance",
    "labels": "give the class more weight as a condition, or drop the rows that a classifier takes for another class",
    "duplicates": "the generator has collapsed onto few rows: train longer, pack more rows per critic call, or lower its rate",
    "coverage": "train longer or give the generator more capacity, then judge a new attempt",
    "pairs": "train longer or try another family, then judge a new attempt",
    "membership": "train with differential privacy (or a smaller epsilon), shorter, or on more rows, then judge a new attempt",
    "singling_out": "train with differential privacy, or write the columns that the finding names more coarsely",
    "linkability": "train with differential privacy, or release fewer columns together",
    "inference": "train with differential privacy, or leave the guessed columns that the finding names out of the release",
    "rare": "write the quasi-identifiers more coarsely (ages in years of ten, regions for places), or train with differential "
    "privacy",
    "fidelity": "train longer, or loosen the limit in the plan if the figure is good enough for its purpose",
}

#: The same of rows with a promise of privacy, where each step of training is paid for: the checks of what was learned.
LEARNED = ("modes", "spread", "labels", "duplicates", "coverage", "pairs", "fidelity")
PRIVATE_ADVICE = (
    "a private family learns no more for nothing: declare bounds and levels (columns), write columns more coarsely or leave "
    "out what nobody needs, try another private family, or allow a larger epsilon; then judge a new attempt"
)


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """What the gate could have seen: the smallest mode whose complete loss is flagged with 95 % power.

    whole: as a share of the set; classes: class -> as a share of that class; None where even a complete loss would
    pass unseen. rows_needed: holdout rows with which a mode of `Intent.detect` would be seen, given DRAWS synthetic rows
    for each; class_rows_needed: class -> holdout rows with which the loss of the whole class would be seen; few_synthetic:
    there are fewer than DRAWS synthetic rows for each holdout row; rows, class_rows: holdout rows that were judged, of all
    and of each class; unit: what a row is."""

    whole: float | None = None
    classes: Mapping[str, float | None] = field(default_factory=dict)
    rows_needed: int | None = None
    class_rows_needed: Mapping[str, int | None] = field(default_factory=dict)
    few_synthetic: bool = False
    rows: int | None = None
    class_rows: Mapping[str, int] = field(default_factory=dict)
    unit: str = "row"

    @property
    def kind(self) -> str:
        """What a mode is called."""
        return "kind of defect" if self.unit == "picture" else "mode"

    @classmethod
    def of(cls, findings: Sequence[Finding]) -> Detectable:
        """What the check of modes has written down about its own power; nothing is detectable where it did not run."""
        for finding in findings:
            if "detectable" in finding.details:
                return cls(**finding.details["detectable"])
        return cls()

    @property
    def coarse(self) -> bool:
        """Whether even a large part could be missing and nobody would see."""
        return self.whole is not None and (self.whole > COARSE or self.worst is not None)

    @property
    def worst(self) -> str | None:
        """The class of which the largest part could be missing unseen, where that is most of it and it is not alone."""
        known = {name: share for name, share in self.classes.items() if share is not None}
        name = max(known, key=lambda each: known[each], default=None)
        return None if name is None or len(known) < 2 or known[name] <= COARSE_CLASS else name


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The gate's answer, with everything a report shows. `to_json` is report.json."""

    verdict: Verdict
    reason: str
    next_action: str
    smallest_detectable_mode: float | None
    detectable: Mapping[str, float | None]
    coarse: bool = False
    attempt: int
    alpha: float
    spent: float
    findings: tuple[Finding, ...]
    lineage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 for PASS and WARN, 3 for BLOCK, 4 for INCONCLUSIVE."""
        return EXIT_CODES[self.verdict]

    def _repr_html_(self) -> str:
        """What a notebook shows in place of the figures: a card of its own."""
        from validators.report import render_card

        return render_card(self)

    def to_json(self) -> dict[str, Any]:
        """report.json: strict JSON values only (no NaN, no infinity), figures to six significant digits."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "next_action": self.next_action,
            "smallest_detectable_mode": _plain(self.smallest_detectable_mode),
            "attempt": self.attempt,
            "alpha": _plain(self.alpha),
            "findings": [_finding(finding) for finding in self.findings],
            "lineage": _plain(self.lineage),
        }


def decide(
    findings: Sequence[Finding],
    *,
    intent: Intent,
    detectable: Detectable | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> Decision:
    """All findings together -> one verdict, one reason, one next action.

    Where the yardstick itself is broken (`details["yardstick"]`: the holdout is no unseen set of the same kind) nothing is
    concluded. Any BLOCK blocks; else an ERROR, an INCONCLUSIVE finding or a mode the gate could not have seen makes it
    INCONCLUSIVE; else any WARN warns. SKIPPED findings are listed and change nothing."""
    seen = Detectable.of(findings) if detectable is None else detectable
    if any(f.details.get("yardstick") for f in findings):
        findings = [_undecided(f) for f in findings]
    verdict, reason, action = _judge(findings, intent, seen)
    if seen.unit != "row":
        reason, action = spoken(reason, seen.unit), spoken(action, seen.unit)
    return Decision(
        verdict=verdict,
        reason=reason,
        next_action=action,
        smallest_detectable_mode=seen.whole,
        detectable=dict(seen.classes),
        coarse=seen.coarse,
        attempt=intent.attempt,
        alpha=intent.alpha,
        spent=intent.spent,
        findings=tuple(findings),
        lineage=dict(lineage or {}),
    )


def _undecided(finding: Finding) -> Finding:
    """What a check says by a broken yardstick is no verdict; only the schema needs none."""
    if finding.check in ("schema", "suite") or finding.verdict not in ("BLOCK", "WARN", "PASS"):
        return finding
    return replace(finding, verdict="INCONCLUSIVE", culprits=())


def _judge(findings: Sequence[Finding], intent: Intent, seen: Detectable) -> tuple[Verdict, str, str]:
    broken = [f for f in findings if f.details.get("yardstick")]
    if broken:
        return "INCONCLUSIVE", _and_others(broken), _advice(broken[0])
    promised = intent.privacy is not None and intent.privacy.promised
    blocked = [f for f in findings if f.verdict == "BLOCK"]
    if blocked:
        return "BLOCK", _and_others(blocked), _advice(blocked[0], promised=promised)
    errors = [f for f in findings if f.verdict == "ERROR"]
    if errors:
        return "INCONCLUSIVE", _and_others(errors), "mend what the error names and judge again"
    if unseen := _unseen(intent, seen) or _unlooked(findings, seen):
        return ("INCONCLUSIVE", *unseen)
    unsure = [f for f in findings if f.verdict == "INCONCLUSIVE"]
    if unsure:
        return "INCONCLUSIVE", _and_others(unsure), _advice(unsure[0], "judge again with more holdout rows")
    warned = [f for f in findings if f.verdict == "WARN"]
    if warned:
        return "WARN", _and_others(warned), f"use it if its purpose allows this; else {_advice(warned[0], promised=promised)}"
    return ("PASS", *_passed(findings, seen))


def _passed(findings: Sequence[Finding], seen: Detectable) -> tuple[str, str]:
    """Reason and next action; where the gate could see large gaps alone, that comes first."""
    judged = sum(f.verdict == "PASS" for f in findings)
    skipped = [f.check for f in findings if f.verdict == "SKIPPED"]
    blind = f"; {listed(skipped)} could not judge" if skipped else ""
    if seen.coarse:
        more = f"the set may be used; with more holdout {seen.unit}s the gate would see smaller gaps"
        return f"{_limits(seen)}; all {judged} checks passed{blind}", more
    if seen.whole is None:
        lost = f"any {seen.kind} could be missing unseen, as none could be looked for nor was asked for"
        more = f"the set may be used; with more holdout {seen.unit}s the gate would see gaps"
        return f"{lost}; all {judged} checks passed{blind}", more
    loss = f"and the loss of a mode of {_share(seen.whole)} of the set would have been seen"
    return f"all {judged} checks passed, {loss}{blind}", "nothing: the set may be used"


def _limits(seen: Detectable) -> str:
    """What so few rows could not show, in words."""
    count = "so few" if seen.rows is None else f"{seen.rows:,}"
    units = seen.unit if seen.rows == 1 else f"{seen.unit}s"
    said = f"with {count} judged real {units}, a {seen.kind} making up less than {_share(seen.whole)} could be missing unseen"
    if seen.worst is None:
        return said
    few = seen.class_rows.get(seen.worst)
    own = "" if few is None else f", which has {few} of them"
    return f"{said}, and of class {seen.worst!r}{own}, any part below {_share(seen.classes[seen.worst])}"


def _unseen(intent: Intent, seen: Detectable) -> tuple[str, str] | None:
    """Reason and next action when the gate could not have seen what it is asked to see, else None."""
    blind = [name for name, smallest in seen.classes.items() if smallest is None]
    counts = {name: seen.class_rows_needed.get(name) for name in blind}
    wants = [f"about {rows} of class {name!r}" if rows else f"more of class {name!r}" for name, rows in counts.items()]
    more = f", with {DRAWS} synthetic rows for each" if seen.few_synthetic else ""
    # Who asks for no less than the whole set asks for no mode at all.
    if intent.detect < 1 and (seen.whole is None or seen.whole > intent.detect):
        least = "no mode at all" if seen.whole is None else f"no mode smaller than {_share(seen.whole)}"
        reason = f"with these rows the gate sees {least}, but is asked to see modes of {_share(intent.detect)} of the set"
        rows = f"about {seen.rows_needed} holdout rows would do" if seen.rows_needed else "judge with more holdout rows"
        classes = f"; each class needs enough of its own: {listed(wants)}" if wants else ""
        way = "" if seen.whole is None else f"; or set detect to {_ceil(seen.whole)}"
        return reason, rows + more + (classes or way)
    if not blind:
        return None
    first = blind[0]
    if (needed := counts[first]) and needed <= seen.class_rows.get(first, 0):
        # The holdout would do; what is short are synthetic rows beside it.
        reason = f"class {first!r} has too few synthetic rows: even its complete loss could not be told from chance"
        return (
            reason,
            f"judge about {DRAWS * needed} synthetic rows of class {first!r}; or give it no share in the intended mix",
        )
    reason = f"class {blind[0]!r} has too few holdout rows: even its complete loss could not be told from chance"
    others = f" (and {listed([repr(name) for name in blind[1:]])})" if len(blind) > 1 else ""
    return reason + others, f"{listed(wants)} would do{more}; or give the class no share in the intended mix"


def _unlooked(findings: Sequence[Finding], seen: Detectable) -> tuple[str, str] | None:
    """Reason and next action when the pictures were too few to look for a single mode, though none was asked for, else None."""
    if (
        seen.unit != "picture"
        or seen.whole is not None
        or not any(f.check == "modes" and f.verdict == "SKIPPED" for f in findings)
    ):
        return None
    count = "so few" if seen.rows is None else f"{seen.rows:,}"
    reason = f"with {count} judged real pictures no {seen.kind} could be looked for, and any could be missing unseen"
    return reason, "judge with more holdout pictures (split.holdout)"


def _and_others(findings: Sequence[Finding]) -> str:
    first = findings[0].summary.rstrip(".") or f"the check {findings[0].check!r} did not pass"
    if len(findings) == 1:
        return first
    return f"{first} (and {', '.join(f.check for f in findings[1:])})"


def _advice(finding: Finding, otherwise: str = "judge a new attempt", *, promised: bool = False) -> str:
    if promised and finding.check in LEARNED:
        return PRIVATE_ADVICE
    return str(finding.details.get("advice") or ADVICE.get(finding.check, otherwise))


def _share(value: float | None) -> str:
    return "unknown size" if value is None else f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def _ceil(value: float) -> float:
    return math.ceil(value * 100) / 100


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "value": _plain(finding.value),
        "limit": _plain(finding.limit),
        "reference": _plain(finding.reference),
        "p_value": _plain(finding.p_value),
        "summary": finding.summary,
        "culprits": [_culprit(culprit) for culprit in finding.culprits[:SHOWN_CULPRITS]],
    }


def _culprit(culprit: Culprit) -> dict[str, Any]:
    return {
        "cell": culprit.cell,
        "expected": _plain(culprit.expected),
        "observed": _plain(culprit.observed),
        "ratio": _plain(culprit.ratio),
        "ratio_ci": None if culprit.ratio_ci is None else [_plain(bound) for bound in culprit.ratio_ci],
        "p_adjusted": _plain(culprit.p_adjusted),
    }


def _plain(value: Any) -> Any:
    """Any figure as strict JSON: NaN and infinities become null, floats keep six significant digits."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        return [_plain(v) for v in value]
    return str(value)
