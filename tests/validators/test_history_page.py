"""Does the page of all versions tell of each, and open in a browser as it should?"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.history import Attempt, History
from tests.validators.test_report import NASTY
from tests.validators.test_report_browser import CHROMIUM, SIZES, Tab, ask, tab
from validators.report import render_history
from validators.report.history import build

__all__ = ["tab"]

PASSED = {"check": "coverage", "verdict": "PASS", "value": 0.93, "limit": 0.8, "reference": 1.0, "summary": "all is reached"}
WHOLE = {"check": "modes", "verdict": "PASS", "value": 1.0, "limit": 0.5, "summary": "whole"}
THIN = {**PASSED, "verdict": "BLOCK", "value": 0.41, "summary": "half of it is not reached"}


def attempt(number: int, **changes: Any) -> Attempt:
    told: dict[str, Any] = {
        "name": f"v{number:06d}", "version": True, "when": 1.79e9 + 86400 * number, "verdict": "PASS", "reason": "all is there",
        "smallest": 0.04, "findings": (WHOLE, PASSED),
        "rows": 100 + number, "real": 60, "synthetic": 40 + number, "classes": (("good", 60, 0), ("bad", 0, 40 + number)),
        "run": f"run{number}", "purpose": "augment", "model": "gan", "moved": (), "tags": (),
    }  # fmt: skip
    return Attempt(**(told | changes))


def blocked(number: int, **changes: Any) -> Attempt:
    told = {
        "name": f"quarantine/run{number}",
        "version": False,
        "verdict": "BLOCK",
        "reason": "coverage is thin",
        "findings": (THIN,),
    }
    return attempt(number, **(told | changes))


def history(*attempts: Attempt, latest: str | None = None, left: int = 0) -> History:
    named = [each.name for each in attempts if each.version]
    return History("parts", "published/parts", latest or (named[-1] if named else None), attempts, left)


def test_every_attempt_has_its_column_and_its_line() -> None:
    found = history(
        attempt(1, tags=("audited",)), blocked(2), attempt(3, moved=("Since v000001: 60 real rows to 70", "New columns: x"))
    )
    view = build(found, "")
    assert [each["short"] for each in view["columns"]] == ["v1", "\N{MIDDLE DOT}", "v3"]
    lines = {line["check"]: line for line in view["lines"]}
    assert [cell["css"] for cell in lines["coverage"]["cells"]] == ["pass", "block", "pass"]
    assert [cell["css"] for cell in lines["modes"]["cells"]] == ["pass", "none", "pass"]  # the blocked one did not run it
    assert (lines["coverage"]["value"], lines["coverage"]["limit"]) == ("0.93", "\N{GREATER-THAN OR EQUAL TO} 0.8")
    assert "half of it is not reached" in lines["coverage"]["cells"][1]["tip"]
    assert [entry["name"] for entry in view["entries"]] == ["v000003", "quarantine", "v000001"]
    assert view["entries"][1]["flagged"] == "coverage" and view["since"] == ""
    page = render_history(found)
    assert "audited" in page and "New columns: x." in page and 'href="v000003/report.html"' in page
    assert 'href="quarantine/run2/report.html"' in page


def test_what_was_blocked_since_is_said_first() -> None:
    assert build(history(attempt(1), blocked(2)), "")["since"] == (
        "The attempt since then was not published. It ended in BLOCK: coverage is thin."
    )
    assert build(history(attempt(1), blocked(2), blocked(3)), "")["since"].startswith(
        "The 2 attempts since then were not published."
    )
    assert build(history(blocked(1), blocked(2)), "")["since"].startswith("All 2 attempts were not published.")
    page = render_history(history(blocked(1)))
    assert "No version is published." in page and "The only attempt was not published." in page


def test_another_figure_of_a_check_is_not_drawn_on_its_scale() -> None:
    gain = {
        "check": "utility",
        "verdict": "PASS",
        "value": 0.02,
        "limit": None,
        "details": {"figure": "gain"},
        "summary": "more",
    }
    ratio = {"check": "utility", "verdict": "PASS", "value": 0.97, "limit": 0.9, "summary": "as good"}
    (line,) = build(history(attempt(1, findings=(ratio,)), attempt(2, findings=(gain,))), "")["lines"]
    assert (line["value"], line["what"]) == ("+0.020", "gain in average precision")
    assert str(line["chart"]).count("<circle") == 1  # the ratio of before has no place there


def test_figures_that_are_none_or_not_finite_are_left_out() -> None:
    odd = [{**PASSED, "value": value} for value in (None, float("nan"), float("inf"))]
    (line,) = build(history(*(attempt(k, findings=(each,)) for k, each in enumerate(odd))), "")["lines"]
    assert (line["value"], line["chart"], [cell["css"] for cell in line["cells"]]) == ("", None, ["pass"] * 3)


def test_links_lead_where_the_versions_lie() -> None:
    found = history(attempt(1))
    assert 'href="file:///lake/parts/v000001/report.html"' in render_history(found, "file:///lake/parts/")
    assert 'href="v' not in render_history(found, None) and "report</a>" not in render_history(found, None)


def test_names_from_the_data_are_words() -> None:
    odd = attempt(1, reason=NASTY, model=NASTY, moved=(NASTY, NASTY), tags=(NASTY,), classes=((NASTY, 1, 1), (None, 1, 1)))
    odd = replace(odd, findings=({**PASSED, "check": NASTY, "summary": NASTY},))
    page = render_history(replace(history(odd, blocked(2, reason=NASTY, run=NASTY)), dataset=NASTY))
    assert NASTY not in page and "<script" not in page.lower()
    assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', page))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install Debian's package `chromium`")
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_long_history_fits_its_page(tab: Tab, tmp_path: Path, size: tuple[int, int]) -> None:
    many = [
        blocked(k) if k % 7 == 3 else attempt(k, moved=("Since the last: more rows", "A column drifted")) for k in range(1, 101)
    ]
    page = tmp_path / "index.html"
    page.write_text(render_history(history(*many, left=12)), encoding="utf-8")
    assert page.stat().st_size < 600_000
    tab.ask("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)
    tab.events.clear()
    tab.ask("Page.navigate", url=page.resolve().as_uri())
    while not tab.named("Page.loadEventFired"):
        tab.ask("Runtime.evaluate", expression="1")
    assert tab.named("Log.entryAdded") == [] == tab.named("Runtime.exceptionThrown")
    asked = [event["request"]["url"] for event in tab.named("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert ask(tab, "document.documentElement.scrollWidth") <= size[0], "the page scrolls sideways"
    # The newest column is seen first, beside the names of the checks.
    newest, box, name = (
        ask(
            tab,
            f"(() => {{ const r = document.querySelector('{what}').getBoundingClientRect(); return [r.left, r.right]; }})()",
        )
        for what in (".time thead .at.latest", ".late", ".time tbody th")
    )
    assert box[0] - 1 <= name[0] and newest[1] <= box[1] + 1 and newest[0] >= name[1] - 1
    heights = ask(tab, "[...document.querySelectorAll('.hero')].map(e => e.getBoundingClientRect().bottom)")
    assert heights[0] <= size[1], "the verdict of LATEST is on the first screen"
