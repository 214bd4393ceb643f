"""Does the gate decide as it says, and is report.json strict?"""

from __future__ import annotations

import json
import math

import pytest

from tests.validators.rows import evidence, frame
from validators import Decision, judge
from validators.base import Culprit, Evidence, Finding, Intent
from validators.copies import Excess
from validators.gate import Detectable, decide
from validators.judge import pronounce
from validators.modes import ModesCheck

SEEN = Detectable(whole=0.01, classes={"yes": 0.1})


def verdict(*verdicts: str, seen: Detectable = SEEN) -> Decision:
    findings = [Finding(f"check{i}", v, summary=f"said {v}") for i, v in enumerate(verdicts)]  # type: ignore[arg-type]
    return decide(findings, intent=Intent(), detectable=seen)


@pytest.mark.parametrize(
    ("verdicts", "expected", "code"),
    [
        (("PASS", "SKIPPED"), "PASS", 0),
        (("PASS", "WARN"), "WARN", 0),
        (("ERROR", "WARN"), "INCONCLUSIVE", 4),
        (("ERROR", "BLOCK"), "BLOCK", 3),
    ],
)
def test_the_worst_finding_decides(verdicts: tuple[str, ...], expected: str, code: int) -> None:
    decision = verdict(*verdicts)
    assert (decision.verdict, decision.exit_code) == (expected, code)


def test_what_could_not_be_seen_is_never_a_pass() -> None:
    coarse = verdict("PASS", seen=Detectable(whole=0.2, rows_needed=630))
    assert coarse.verdict == "INCONCLUSIVE" and "630 holdout rows would do" in coarse.next_action
    blind = verdict("PASS", seen=Detectable(whole=0.01, classes={"rare": None}, class_rows_needed={"rare": 7}))
    assert blind.verdict == "INCONCLUSIVE" and "'rare'" in blind.reason


def test_report_json_is_strict() -> None:
    culprit = Culprit(cell="a", expected=3, observed=0, ratio=math.nan, ratio_ci=(0.0, math.inf))
    decision = decide([Finding("modes", "BLOCK", value=math.nan, culprits=(culprit,))], intent=Intent(), detectable=SEEN)
    plain = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    assert list(plain) == [
        "verdict",
        "reason",
        "next_action",
        "smallest_detectable_mode",
        "attempt",
        "alpha",
        "findings",
        "lineage",
    ]
    assert plain["findings"][0]["culprits"][0]["ratio_ci"] == [0.0, None]


class Broken:
    name = "broken"

    def evaluate(self, evidence: Evidence) -> Finding:
        raise ZeroDivisionError("no rows")


def test_a_check_that_raises_becomes_an_error_and_not_a_pass() -> None:
    decision = pronounce(evidence(frame(50, 1), frame(50, 2), frame(50, 3)), only=[Broken()])
    assert decision.verdict == "INCONCLUSIVE" and "ZeroDivisionError: no rows" in decision.findings[0].summary


def test_all_checks_together_judge_frames() -> None:
    decision = judge(frame(800, 1), frame(800, 2), frame(1600, 3), target="label")
    assert {f.verdict for f in decision.findings} == {"PASS"}, [f.summary for f in decision.findings]
    assert {f.check for f in decision.findings} >= {"schema", "modes", "copies", "spread", "labels", "coverage", "utility"}
    assert decision.verdict == "PASS"


def test_a_check_that_is_unsure_or_raised_is_never_a_pass() -> None:
    unsure = verdict("PASS", "INCONCLUSIVE", "WARN")
    assert (unsure.verdict, unsure.reason) == ("INCONCLUSIVE", "said INCONCLUSIVE")
    both = verdict("ERROR", "ERROR")
    assert both.reason == "said ERROR (and check1)" and "judge again" in both.next_action


def test_nothing_detectable_is_inconclusive_and_says_what_helps() -> None:
    nothing = decide([Finding("fidelity", "PASS")], intent=Intent())
    assert nothing.verdict == "INCONCLUSIVE" and "no mode at all" in nothing.reason
    assert nothing.smallest_detectable_mode is None and nothing.exit_code == 4


def test_a_block_outweighs_what_could_not_be_seen() -> None:
    assert verdict("BLOCK", seen=Detectable()).verdict == "BLOCK"


@pytest.mark.parametrize("attempt", [1, 2, 5])
def test_attempt_k_spends_alpha_over_two_to_the_k(attempt: int) -> None:
    decision = decide([Finding("a", "PASS")], intent=Intent(alpha=0.02, attempt=attempt), detectable=SEEN)
    assert decision.spent == 0.02 / 2**attempt and decision.to_json()["attempt"] == attempt
    assert sum(Intent(alpha=0.02, attempt=k).spent for k in range(1, 60)) <= 0.02


def test_later_attempts_need_stronger_evidence() -> None:
    levels = [0.75 * Intent(attempt=k).level("copies") for k in (1, 3)]
    assert [Excess(10, 500, 0, 500, alpha=level).verdict for level in levels] == ["BLOCK", "PASS"]
    sides = frame(800, 1), frame(800, 2), frame(800, 3)
    sizes = [Detectable.of([ModesCheck().evaluate(evidence(*sides, attempt=k))]).whole for k in (1, 6)]
    assert sizes[0] is not None and sizes[1] is not None and sizes[0] < sizes[1]
