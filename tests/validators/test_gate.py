"""Does the gate decide as it says, and is report.json strict?"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from tests.validators.rows import evidence, frame
from validators import Decision, judge
from validators.base import Culprit, Evidence, Finding, Intent, Privacy
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


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            Detectable(whole=0.44, rows=12),
            "with 12 judged real rows, a mode making up less than 44 % could be missing unseen; ",
        ),
        (
            Detectable(whole=0.06, classes={"pit": 0.75, "stain": 0.3}, rows=78, class_rows={"pit": 6}, unit="picture"),
            "with 78 judged real pictures, a kind of defect making up less than 6 % could be missing unseen, and of class "
            "'pit', which has 6 of them, any part below 75 %; ",
        ),
    ],
)
def test_a_pass_says_first_what_so_few_rows_could_not_show(seen: Detectable, said: str) -> None:
    passed = decide([Finding("modes", "PASS"), Finding("spread", "SKIPPED")], intent=Intent(detect=1.0), detectable=seen)
    assert (passed.verdict, passed.coarse) == ("PASS", True)
    assert passed.reason == f"{said}all 1 checks passed; spread could not judge"
    assert "would see smaller gaps" in passed.next_action
    blind = decide([Finding("schema", "PASS")], intent=Intent(detect=1.0), detectable=Detectable(unit="picture"))
    assert blind.reason.startswith("any kind of defect could be missing unseen, as none could be looked for")
    assert "with more holdout pictures the gate would see gaps" in blind.next_action
    skipped = [Finding("modes", "SKIPPED"), Finding("copies", "PASS")]
    unlooked = decide(skipped, intent=Intent(detect=1.0), detectable=Detectable(unit="picture", rows=7))
    assert unlooked.verdict == "INCONCLUSIVE" and "more holdout pictures" in unlooked.next_action
    assert (
        unlooked.reason == "with 7 judged real pictures no kind of defect could be looked for, and any could be missing unseen"
    )
    fine = verdict("PASS")
    assert not fine.coarse and fine.next_action == "nothing: the set may be used"


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


@dataclass(frozen=True)
class Slow:
    """Takes long, and says where it stands."""

    name: ClassVar[str] = "slow"
    tell: Any = None

    def evaluate(self, evidence: Evidence) -> Finding:
        self.tell.advance(1, 2, "half")
        return Finding("slow", "PASS")


def test_where_the_judging_stands_is_told_as_it_is() -> None:
    told: list[tuple[int, int, str]] = []

    class Heard:
        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            told.append((done, total, what))

    pronounce(evidence(frame(50, 1), frame(50, 2), frame(50, 3)), only=[Broken(), Slow()], progress=Heard())
    ends = [(0, 2, "now broken; checks done"), (1, 2, "now slow; checks done"), (1, 2, "half"), (2, 2, "checks done")]
    assert told == ends


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


def test_what_is_short_of_a_class_are_synthetic_rows() -> None:
    seen = Detectable(
        whole=0.02, classes={"yes": None}, class_rows_needed={"yes": 8}, few_synthetic=True, class_rows={"yes": 8}
    )
    told = decide([Finding("modes", "PASS")], intent=Intent(), detectable=seen)
    assert told.verdict == "INCONCLUSIVE" and told.reason.startswith("class 'yes' has too few synthetic rows")
    assert "about 80 synthetic rows of class 'yes'" in told.next_action


def test_after_a_block_more_training_is_no_advice_where_it_is_paid_for() -> None:
    lost = [Finding("modes", "BLOCK", summary="a mode is lost")]
    seen = Detectable(whole=0.01)
    usual = decide(lost, intent=Intent(privacy=Privacy()), detectable=seen)
    assert "train the generator longer" in usual.next_action
    promised = decide(lost, intent=Intent(privacy=Privacy(promised=True)), detectable=seen)
    assert "train" not in promised.next_action and "allow a larger epsilon" in promised.next_action
    found = decide([Finding("rare", "BLOCK")], intent=Intent(privacy=Privacy(promised=True)), detectable=seen)
    assert "quasi-identifiers more coarsely" in found.next_action
