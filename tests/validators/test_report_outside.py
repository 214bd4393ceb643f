"""Does the report that goes out with a release keep what its readers need, and nothing of few real rows?"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.infer import infer
from tests.validators.test_report import Page, decision, evidence, same, schema
from validators.base import Culprit, Evidence, Finding
from validators.gate import Decision
from validators.judge import judge
from validators.report import columns, outside, write_outside
from validators.report import rows as report_rows

SECRET = "Mr Only One"


def levels() -> Evidence:
    """200 rows a side: three levels, one of which two rows hold; a class that one row has; numbers with odd extremes."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "town": ["north"] * 120 + ["south"] * 78 + [SECRET] * 2,
            "label": ["no"] * 150 + ["yes"] * 49 + ["hermit"],
            "pay": np.r_[rng.normal(1000, 100, 198), -98765.4, 123456.7],
        }
    )
    made = schema(
        table, {"pay": "numeric"}, {"town": ("north", "south", SECRET), "label": ("hermit", "no", "yes")}, target="label"
    )
    return same(Dataset(table, made))


def told() -> Decision:
    cells = ("town=north", f"town={SECRET}", "pay over 123456.7", "pay up to -98765.4", "class yes", "class hermit",
             "town=south within class no", "town=south within class hermit", "a region around pay 123456.7")  # fmt: skip
    culprits = tuple(Culprit(cell=cell, expected=123.456, observed=7, ratio=0.1, ratio_ci=(0.01, np.inf)) for cell in cells)
    scopes = [
        {"name": name, "coverage": 0.5, "real": 0.9, "rows": 3} for name in ("the whole set", "class yes", "class hermit")
    ]
    attack = {"attack": "guessing pay", "guesses": 187, "risk": 0.0238, "risk_ci": [0.01, 0.0456789], "rate": 0.3}
    findings = (
        Finding("modes", "BLOCK", value=0.1, limit=0.5, summary=f"town={SECRET} has 2 rows", culprits=culprits,
                details={"detectable": {"classes": {"hermit": 1.0}}, "advice": f"more of {SECRET}"}),
        Finding("schema", "BLOCK", value=1, limit=0, summary="pay beyond -98765.4 and 123456.7", culprits=culprits[2:3],
                details={"failed": [{"rule": "between -98765.4 and 123456.7"}]}),
        Finding("pairs", "PASS", value=0.1, culprits=(
            Culprit(cell="town with pay", expected=0.5, observed=0.1),
            Culprit(cell="town with pay (class hermit)", expected=0.5, observed=0.1))),
        Finding("coverage", "PASS", value=0.9, limit=0.8, details={"scopes": scopes}),
        Finding("inference", "PASS", value=0.0238, limit=0.1, p_value=0.12345, details={"attacks": [attack]}),
        Finding("theirs", "PASS", value=1.0, summary=SECRET, details={"any": SECRET}),
        Finding("copies", "ERROR", summary=f"failed on {SECRET}", details={"error": SECRET}),
    )  # fmt: skip
    return decision(
        "BLOCK", findings=findings, reason=f"{SECRET} is missing", detectable={"yes": 0.03, "hermit": None},
        lineage={"run": "a1", "notices": [f"2 rows of {SECRET} were left out"]},
    )  # fmt: skip


def test_what_goes_out_names_levels_of_many_rows_and_columns_alone() -> None:
    out = outside(told(), levels(), k=5)
    cells = {finding.check: [culprit.cell for culprit in finding.culprits] for finding in out.findings}
    assert cells["modes"] == ["town=north", "class yes", "town=south within class no"]
    assert cells["schema"] == [] and cells["pairs"] == ["town with pay"]
    assert out.detectable == {"yes": 0.03}
    scopes = next(f for f in out.findings if f.check == "coverage").details["scopes"]
    assert [scope["name"] for scope in scopes] == ["the whole set", "class yes"] and "rows" not in scopes[0]
    # Two rows more than k of a level, and it is told.
    assert "town=" + SECRET in [c.cell for c in outside(told(), levels(), k=2).findings[0].culprits]


def test_what_goes_out_keeps_figure_interval_and_limit(tmp_path: Path) -> None:
    write_outside(told(), tmp_path, evidence=levels(), k=5, title="towns")
    said = json.loads((tmp_path / "report.json").read_text())
    assert set(said) == set(told().to_json()) and said["verdict"] == "BLOCK"
    assert said["reason"] == "blocked by modes and schema" and "full report" in said["next_action"]
    risk = next(f for f in said["findings"] if f["check"] == "inference")
    assert (risk["value"], risk["limit"], risk["p_value"]) == (0.0238, 0.1, 0.1)
    assert risk["summary"] == "attacks that succeed on training rows alone: 2.4 % (1 % to 4.6 %), limit \u2264 10 %"
    assert said["lineage"]["run"] == "a1" and "nothing of fewer than 5 real rows" in said["lineage"]["notices"][0]
    page = Page((tmp_path / "report.html").read_text())
    assert "2.4 %" in page.said and "town=north" in page.said and "This report may go out" in page.said


def test_nothing_of_few_rows_is_in_either_file(tmp_path: Path) -> None:
    write_outside(told(), tmp_path, evidence=levels(), k=5)
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert not [secret for secret in (SECRET, "hermit", "98765", "123456", "98.8k", "123k", "187") if secret in text], path


@pytest.mark.parametrize("verdict", ["PASS", "WARN", "BLOCK", "INCONCLUSIVE"])
def test_every_verdict_is_told_by_names_of_checks(verdict: str) -> None:
    out = outside(decision(verdict), evidence(), k=5)
    assert out.verdict == verdict and out.reason and out.next_action
    assert "reason of" not in out.reason and "colour" not in out.reason + out.next_action


def test_a_real_decision_goes_out_whole(tmp_path: Path) -> None:
    sides = [replace(rows, source=rows.table) for rows in (evidence().train, evidence().holdout, evidence().synthetic)]
    found = judge(*sides, utility="quick")
    write_outside(found, tmp_path, evidence=evidence(), k=5)
    said = json.loads((tmp_path / "report.json").read_text())
    assert [f["verdict"] for f in said["findings"]] == [f.verdict for f in found.findings]
    for cell in (c["cell"] for f in said["findings"] for c in f["culprits"]):
        assert not re.search(r" over | up to |region", cell)
    assert Page((tmp_path / "report.html").read_text()).said


# --- bins


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.5]), st.floats(-1e6, 1e6)), min_size=1, max_size=80),
    st.integers(2, 9),
)
def test_every_bin_holds_k_real_rows(values: list[float | None], k: int) -> None:
    table = pa.table({"x": pa.array(values, pa.float64())})
    drawn = report_rows.draw(Dataset(table, schema(table, {"x": "numeric"}, {})), seed=0)
    bars = columns.compare(drawn.rows.schema["x"], drawn, drawn, drawn, fewest=k)
    shown = len(values) if "missing" in bars.names else sum(v is not None for v in values)
    counts = bars.real * shown
    assert np.all(counts >= k - 1e-6)
    # What is left out cannot be told from what is shown.
    assert not len(bars.names) or bars.real.sum() == pytest.approx(1)
    assert bars.wide is None or len(bars.wide) == len(bars.names)
    columns.picture(bars)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([None, *"abcdefghijklmnop"]), min_size=1, max_size=60), st.integers(2, 9))
def test_every_level_holds_k_real_rows(values: list[str | None], k: int) -> None:
    table = pa.table({"x": pa.array(values, pa.string())})
    drawn = report_rows.draw(Dataset(table, schema(table, {}, {"x": tuple("abcdefghijklmnop")})), seed=0)
    bars = columns.compare(drawn.rows.schema["x"], drawn, drawn, drawn, fewest=k)
    known = sum(v is not None for v in values)
    counts = bars.real * (len(values) if "missing" in bars.names else known)
    assert np.all(counts >= k - 1e-6)


def test_the_axis_ends_at_no_real_extreme() -> None:
    years = np.r_[1931, np.repeat(1932, 8), np.repeat(np.arange(1940, 1955), 5), np.repeat(1956, 3), 1957].astype(float)
    table = pa.table({"born": years})
    drawn = report_rows.draw(Dataset(table, schema(table, {"born": "numeric"}, {})), seed=0)
    chart = str(columns.picture(columns.compare(drawn.rows.schema["born"], drawn, drawn, drawn, fewest=5)))
    assert "1931" not in chart and "1957" not in chart


def test_the_axis_of_whole_numbers_ends_where_the_plan_says() -> None:
    """Bins are even, so that the last one may reach further than any value can."""
    sugar = np.random.default_rng(0).integers(159, 261, 3000)
    table = pa.table({"sugar": pa.array(sugar, pa.int64())})
    told = infer(table, stated={"sugar": {"low": 159, "high": 260}})
    drawn = report_rows.draw(Dataset(table, told), seed=0)
    bars = columns.compare(drawn.rows.schema["sugar"], drawn, drawn, drawn, fewest=5)
    assert bars.ends is not None and bars.ends[1] == "260" and bars.names[-1].endswith(" to 260")


def test_the_axis_of_dates_ends_where_the_plan_says() -> None:
    days = np.datetime64("1931-05-01") + np.random.default_rng(0).integers(0, 20_000, 3000)
    table = pa.table({"born": pa.array(days.astype("datetime64[D]"))})
    told = infer(table, stated={"born": {"low": "1920-01-01", "high": "2010-12-31"}})
    drawn = report_rows.draw(Dataset(table, told), seed=0)
    bars = columns.compare(drawn.rows.schema["born"], drawn, drawn, drawn, fewest=5)
    assert bars.ends == ("1920-01-01", "2010-12-31")
