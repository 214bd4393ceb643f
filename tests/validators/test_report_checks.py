"""Do the page and the card say what the checks found, in figures that mean something?"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.validators.rows import evidence as of_frames
from tests.validators.rows import frame
from tests.validators.test_report import NASTY, VERDICTS, Page, decision
from validators.base import SHARES, Culprit, Evidence, Finding
from validators.gate import Decision, decide
from validators.judge import checks
from validators.labels import LabelsCheck
from validators.report import benefit, classes, confusion, render_card, render_html, scales, verdict
from validators.spread import SpreadCheck
from validators.utility import UtilityCheck

NAMES = sorted(check.name for check in checks(suite=Path("suite.json")))


@cache
def swapped() -> tuple[Evidence, tuple[Finding, ...]]:
    """A set whose classes carry the city and whose labels are swapped on a third of the rows, and what two checks say."""
    train, holdout, made = (frame(900, seed) for seed in (1, 2, 3))
    for rows in (train, holdout, made):
        rows["label"] = np.where(rows.city == "east", "yes", "no")
    wrong = np.random.default_rng(0).random(len(made)) < 0.34
    made["label"] = np.where(wrong, np.where(made.label == "yes", "no", "yes"), made.label)
    sides = of_frames(train, holdout, made)
    return sides, (LabelsCheck().evaluate(sides), SpreadCheck().evaluate(sides))


def told(*findings: Finding, **changes: Any) -> Decision:
    return decision("BLOCK", findings=findings, **changes)


# --- scales and bars


@pytest.mark.parametrize("name", NAMES)
def test_every_check_has_a_scale_of_its_own(name: str) -> None:
    assert scales.scale_of(Finding(name, "PASS", value=0.5)).what


@pytest.mark.parametrize(
    ("finding", "written", "bound", "beyond"),
    [
        (Finding("modes", "PASS", value=0.46, limit=0.5, reference=0.5), "0.46", "≥ 0.5", True),
        (Finding("coverage", "PASS", value=0.97, limit=0.8), "0.97", "≥ 0.8", False),
        (Finding("copies", "PASS", value=0.0012, limit=0.002), "0.12 %", "≤ 0.2 %", False),
        (Finding("spread", "BLOCK", value=0.6, limit=0.55, reference=0.5), "60 %", "≤ 55 %", True),
        (Finding("fidelity", "PASS", value=0.7, limit=0.8, details={"figure": "c2st_auc"}), "0.7", "≤ 0.8", False),
        (Finding("utility", "PASS", value=-0.01, limit=0.0, details={"figure": "gain"}), "-0.010", "≥ +0.000", True),
        (Finding("someone's own", "PASS", value=12.0), "12", "", False),
    ],
    ids=lambda value: value.check if isinstance(value, Finding) else None,
)
def test_a_figure_is_written_on_its_scale(finding: Finding, written: str, bound: str, beyond: bool) -> None:
    scale = scales.scale_of(finding)
    assert (scale.write(finding.value), scale.bound(finding.limit)) == (written, bound)
    assert scale.beyond(finding.value, finding.limit) is beyond
    for figure in (finding.value, finding.limit, finding.reference):
        assert figure is None or scale.low <= figure <= scale.high


def bars(finding: Finding) -> list[tuple[str, float]]:
    """Colour and width of each bar of a check's picture."""
    view = verdict.check(finding, 0.005)
    found = re.findall(r'width="([\d.]+)" height="8" class="(\w+) solid"', str(view["chart"]))
    return [(css, float(width)) for width, css in found]


def test_bars_are_as_long_as_their_figures() -> None:
    made, real = bars(Finding("modes", "PASS", value=0.5, reference=1.0, limit=0.5))
    assert (made[0], real[0]) == ("fake", "real")
    assert real[1] == pytest.approx(2 * made[1], rel=0.01)
    # 50 % is "alike": from there the bar of a spread starts, to the left for what spreads too wide.
    assert bars(Finding("spread", "PASS", value=0.5, reference=0.5)) == [("fake", 1.5), ("real", 1.5)]
    assert bars(Finding("labels", "PASS", value=0.0, reference=0.0, limit=0.05)) == [("fake", 1.5), ("real", 1.5)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_figure_that_is_none_has_no_bar(value: float | None) -> None:
    view = verdict.check(Finding("modes", "SKIPPED", value=value, summary="there was nothing to see"), 0.005)
    assert not view["chart"]
    assert view["plain"] and view["summary"] == "There was nothing to see."


def test_p_values_are_read_on_demand_and_skips_at_once() -> None:
    found = (
        Finding("modes", "PASS", value=0.4, limit=0.5, p_value=0.123, summary="the modes are there"),
        Finding("labels", "SKIPPED", summary="there are no two classes"),
        Finding("spread", "ERROR", summary="the check 'spread' could not judge (ValueError: why)"),
    )
    html = render_html(told(*found, spent=0.004))
    assert [str(v) for v in re.findall(r"<summary>.*?</summary>", html, flags=re.DOTALL) if "0.12" in v] == []
    said = Page(html).said
    assert f"alpha of this check {0.004 * SHARES['modes']:.2g}" in said
    assert "p-value, adjusted 0.12" in said
    assert "Beyond its limit, but by no more than chance explains." in said
    open_at_once = " ".join(re.findall(r"<summary>(.*?)</summary>", html, flags=re.DOTALL))
    assert "There are no two classes." in open_at_once and "ValueError: why" in open_at_once
    assert "The modes are there." not in open_at_once


def test_the_limit_stands_on_ratios_only_where_it_is_one() -> None:
    culprit = Culprit(cell="class a", expected=1, observed=0.9, ratio=0.9, p_adjusted=0.001)
    assert "limit" in str(verdict.cell(Finding("modes", "BLOCK", limit=0.5), culprit)["chart"])
    assert "limit" not in str(verdict.cell(Finding("spread", "BLOCK", limit=0.55), culprit)["chart"])


def test_a_ratio_beyond_the_scale_points_out_of_it() -> None:
    wide = verdict.cell(Finding("labels", "BLOCK"), Culprit(cell="a", expected=2, observed=9, ratio=4.5, ratio_ci=(3.0, 7.0)))
    assert "<circle" not in str(wide["chart"]) and "fake solid" in str(wide["chart"])
    endless = verdict.cell(None, Culprit(cell="a", expected=0, observed=9, ratio=1.2, ratio_ci=(0.4, float("inf"))))
    assert "interval from 0.4 up" in str(endless["chart"])


# --- classes


def test_classes_tell_what_each_check_found() -> None:
    sides, found = swapped()
    assert [f.verdict for f in found] == ["BLOCK", "PASS"]
    table = classes.table(told(*found, detectable={"yes": 0.02, "no": None}))
    assert table is not None
    rows = {row["name"]: row for row in table["open"]}
    assert set(rows) == {"yes", "no"}
    assert rows["yes"]["seen"] == "2.0 %" and rows["no"]["blind"]
    assert rows["yes"]["labels_what"] in ("like no", "among others")
    made, real = (float(part.rstrip(" %")) for part in rows["yes"]["labels"].split(" | "))
    assert made > real + 10
    assert 0.7 < float(rows["yes"]["spread"]) < 1.5
    assert table["has"] == {"seen": True, "reach": False, "inside": False, "spread": True, "labels": True}


def test_the_confusion_is_that_of_the_check() -> None:
    labels = swapped()[1][0]
    matrix = confusion.confusion([labels])
    assert matrix is not None
    tests = {test["name"]: test for test in labels.details["tests"]}
    i, j = matrix.names.index("yes"), matrix.names.index("no")
    measured = tests["class yes: rows that look like class no"]
    assert (matrix.real[i, j], matrix.synthetic[i, j]) == (measured["real"], measured["synthetic"])
    assert matrix.synthetic.sum(axis=1) == pytest.approx([1, 1])
    labels_of = [str(chart) for chart in confusion.pictures(matrix)]
    assert "that look like" in labels_of[2]
    assert "Whose class rows look like" in Page(render_html(told(labels), evidence=swapped()[0])).said


def test_many_classes_are_folded_worst_first_and_have_no_matrix() -> None:
    names = [f"kind {i}" for i in range(60)]
    scopes = [
        {"name": f"class {name}", "measure": "to the middle of the class", "auc": 0.5, "scale": 1.0, "p": 1.0} for name in names
    ]
    scopes[41] |= {"auc": 0.7, "scale": 0.6}
    tests = [
        {"name": f"class {a}: rows that look like class {b}", "synthetic": 0.1, "real": 0.1, "p": 1.0}
        for a in names[:15] for b in names[:15] if a != b
    ]  # fmt: skip
    found = (Finding("spread", "PASS", details={"scopes": scopes}), Finding("labels", "PASS", details={"tests": tests[:200]}))
    table = classes.table(told(*found, detectable=dict.fromkeys(names, 0.1)))
    assert table is not None
    assert table["open"][0]["name"] == "kind 41"
    assert (len(table["open"]), len(table["folded"])) == (12, 48)
    assert confusion.confusion(found) is None
    assert "48 more classes" in render_html(told(*found, detectable=dict.fromkeys(names, 0.1)))


# --- utility


@cache
def useful() -> tuple[Evidence, Finding]:
    train, holdout, made = (frame(n, seed) for n, seed in ((240, 1), (240, 2), (600, 3)))
    for rows in (train, holdout, made):
        rows["label"] = np.where(rows.x + rows.y > 4, "yes", "no")
    sides = of_frames(train, holdout, made)
    return sides, UtilityCheck(depth="full").evaluate(sides)


def test_the_sweep_shows_every_arm_with_its_interval() -> None:
    _, finding = useful()
    view = benefit.section([finding])
    assert view is not None
    lead = [arm for arm in finding.details["sweep"] if arm["metric"] == "average_precision"]
    assert str(view["chart"]).count('class="mark m') == len(lead)
    assert str(view["chart"]).count("solidline") == len(lead)
    assert len(view["rows"]) == len(finding.details["sweep"])
    gains = [gain for gain in finding.details["gains"] if gain["metric"] == "average_precision"]
    assert [g["value"] for g in view["gains"]] == [f"{gain['value']:+.3f}" for gain in gains]
    assert {t["metric"] for t in view["transfers"]} == {"ROC AUC", "average precision", "balanced accuracy"}
    said = Page(render_html(told(finding))).said
    assert "Does it help a model?" in said and "The whole sweep as a table" in said


def test_a_gain_is_named_by_its_interval() -> None:
    arm = {"method": "nothing", "ratio": 0.0, "learner": "trees"}
    gain = {"of": arm | {"method": "synthetic rows", "ratio": 2.0}, "over": arm, "metric": "average_precision", "value": 0.0}
    made = [gain | {"low": low, "high": high} for low, high in ((0.01, 0.02), (-0.1, 0.1), (-0.3, -0.1))]
    sweep = [arm | {"metric": "average_precision", "value": 0.5, "low": 0.4, "high": 0.6}]
    view = benefit.section([Finding("utility", "PASS", details={"gains": made, "sweep": sweep})])
    assert view is not None
    assert [g["word"] for g in view["gains"]] == ["helps", "no gain", "hurts"]
    assert view["gains"][0]["of"] == "2 : 1 synthetic to real (trees)"


def test_no_section_where_utility_did_not_judge() -> None:
    assert benefit.section([Finding("utility", "SKIPPED", summary="no target")]) is None
    assert benefit.section([Finding("modes", "PASS")]) is None


# --- whatever a check of another's making leaves behind


@pytest.mark.parametrize(
    "odd", [None, 7, "words", [1, None, "x"], [{"name": None}], {"a": {"b": 1}}, [[1, 2]], [{"tail": "x"}]]
)
@pytest.mark.parametrize("check", NAMES)
def test_odd_details_never_break_the_page(check: str, odd: Any) -> None:
    keys = ("scopes", "tests", "tstr", "sweep", "gains", "failed", "synthetic", "real", "figure", "expectations", "minority")
    finding = Finding(check, "WARN", value=0.5, details=dict.fromkeys(keys, odd))
    assert "WARN" in Page(render_html(told(finding))).said


# --- the card of a notebook


@pytest.mark.parametrize("word", VERDICTS)
def test_the_card_says_verdict_reason_and_next_step(word: str) -> None:
    card = Page(decision(word)._repr_html_())
    for part in (word, f"The reason of {word.lower()} in one sentence", "Train longer or raise", "modes", "1.2 %", "Few rows."):
        assert part in card.said
    assert ("colour=red & size=big" in card.said) is (word == "BLOCK")
    assert card.tags[0][1]["class"] == f"counterpoise {word.lower()}"
    assert [a for a in card.named("svg") if not a.get("aria-label")] == []


def test_the_card_keeps_to_itself_and_escapes() -> None:
    culprit = Culprit(cell=NASTY, expected=10, observed=0, ratio=0.0)
    finding = Finding(NASTY, "BLOCK", value=0.1, summary=NASTY, culprits=(culprit,))
    html = render_card(told(finding, reason=NASTY, next_action=NASTY, lineage={"notices": [NASTY]}))
    assert "<script" not in html and not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert Page(html).said.count("<script>alert('x')</script>") >= 6
    style = re.search(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    assert style is not None
    rules = re.sub(r"@media [^{]*\{", "", style[1])
    selectors = [part.strip() for head in re.findall(r"([^{}]+)\{", rules) for part in head.split(",")]
    assert [s for s in selectors if ".counterpoise" not in s] == []


def test_the_card_counts_what_it_leaves_out() -> None:
    cells = tuple(Culprit(cell=f"cell {i}", expected=10, observed=0, ratio=0.0) for i in range(9))
    card = Page(render_card(told(Finding("modes", "BLOCK", value=0.0, culprits=cells))))
    assert "and 4 more in decision.findings" in card.said
    assert len(render_card(told(Finding("modes", "BLOCK", value=0.0, culprits=cells)))) < 12_000


def test_a_real_decision_makes_a_card_and_a_page() -> None:
    sides, found = swapped()
    made = decide(found, intent=sides.intent)
    assert made.verdict == "BLOCK"
    assert "BLOCK" in Page(made._repr_html_()).said
    assert "class yes: rows" in Page(render_html(replace(made, lineage={"dataset": "x"}), evidence=sides)).said
