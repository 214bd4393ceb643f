"""Does a team that lives in Great Expectations see the gate's figures, and does its suite fail where the gate blocks?"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from tests.validators.rows import evidence, frame
from validators.base import Finding, Intent
from validators.expectations import sampled, session, validate
from validators.gate import Decision, Detectable, decide
from validators.gx_docs import write_docs
from validators.gx_expectations import ExpectGateFigureToBeWithin, ExpectNoMissingMode
from validators.gx_gate import gate_frame, gate_suite

SAID = "1 of 40 cells is missing: city=far has 0 rows where 150 were expected"
FINE = (
    Finding("schema", "PASS", value=0.0, limit=0.0, reference=0.0, summary="every one of 12 expectations holds"),
    Finding("modes", "PASS", value=0.93, limit=0.5, p_value=0.4, summary="no cell is thin", details={"tested": 40, "on": True}),
    Finding("copies", "WARN", value=0.002, limit=0.004, reference=0.001, p_value=0.02, summary="0.2 % are copies"),
    Finding("labels", "SKIPPED", summary="there are no two classes"),
    Finding("coverage", "PASS", value=0.97, limit=0.8, reference=1.0, summary="97 % are reached"),
)
MISSING = replace(FINE[1], verdict="BLOCK", value=0.0, p_value=1e-30, summary=SAID)


def decided(*findings: Finding, smallest: float = 0.01) -> Decision:
    return decide(findings, intent=Intent(), detectable=Detectable(whole=smallest))


def answered(rows: pd.DataFrame, suite: gx.ExpectationSuite) -> dict[str, Any]:
    """Expectation (and the check or figure it is about) -> (success, observed value)."""
    with session() as context:
        result = validate(context, rows, suite, rows="figures")
    out = {}
    for each in result.results:
        kwargs = each.expectation_config.kwargs
        about = kwargs.get("check") or kwargs.get("figure") or ""
        out[f"{each.expectation_config.type} {about}".strip()] = (each.success, each.result["observed_value"])
    return out


def test_the_frame_is_one_row_with_the_figures_of_every_check() -> None:
    rows = gate_frame(decided(*FINE))
    assert len(rows) == 1
    row = rows.iloc[0]
    assert (row.verdict, row.modes_verdict, row.labels_verdict) == ("WARN", "PASS", "SKIPPED")
    assert (row.modes_worst_ratio, row.copies_share, row.coverage_ratio) == (0.93, 0.002, 0.97)
    assert (row.modes_p_value, row.modes_tested, row.smallest_detectable_mode) == (0.4, 40, 0.01)
    assert np.isnan(row.labels_share) and "modes_on" not in rows
    assert gate_frame(FINE).columns.tolist() == [c for c in rows if c.split("_")[0] in {f.check for f in FINE}]


def test_what_the_gate_lets_pass_holds_and_what_it_blocks_fails() -> None:
    suite = gate_suite(decided(*FINE), detect=0.05)
    fine = answered(gate_frame(decided(*FINE)), suite)
    assert len(fine) == 7 and all(success for success, _ in fine.values())
    assert fine["expect_gate_check_to_pass copies"][1].startswith("WARN (copies_share 0.002, limit 0.004, real 0.001): 0.2 %")
    # The suite knows the checks alone: the next run's frame is judged by the same one, read back from its JSON.
    later = gx.ExpectationSuite(**gate_suite(decided(*FINE), detect=0.05).to_json_dict())
    broken = decided(FINE[0], MISSING, *FINE[2:], smallest=0.2)
    seen = answered(gate_frame(broken), later)
    failed = {name for name, (success, _) in seen.items() if not success}
    assert failed == {
        "expect_gate_to_pass",
        "expect_no_missing_mode",
        "expect_gate_figure_to_be_within smallest_detectable_mode",
    }
    assert seen["expect_no_missing_mode"][1] == f"BLOCK (modes_worst_ratio 0, limit 0.5): {SAID}"


def test_a_team_can_ask_more_of_the_figures_than_the_gate_does() -> None:
    asked = [
        ExpectGateFigureToBeWithin(figure="coverage_ratio", min_value=0.99),
        ExpectGateFigureToBeWithin(figure="modes_worst_ratio", min_value=0.5, max_value=1.5),
        ExpectGateFigureToBeWithin(figure="labels_share", max_value=1.0),
        ExpectNoMissingMode(),
    ]
    seen = answered(gate_frame(decided(*FINE)), gx.ExpectationSuite(name="ours", expectations=asked))
    assert [success for success, _ in seen.values()] == [False, True, False, True]
    assert seen["expect_gate_figure_to_be_within labels_share"] == (False, "not measured")


def test_docs_hold_the_figures_and_nothing_else_is_left_printed_or_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home, scratch, here = (tmp_path / name for name in ("home", "scratch", "here"))
    for folder in (home, scratch, here):
        folder.mkdir()

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = dict(os.environ)
    made = frame(300, 3)
    made.loc[:99, "city"] = "atlantis"
    decision = decided(FINE[0], MISSING, *FINE[2:])
    index = write_docs(tmp_path / "docs", evidence(frame(400, 1), frame(400, 2), made), decision)
    assert not any(list(folder.iterdir()) for folder in (home, scratch, here))
    assert dict(os.environ) == before and tuple(capfd.readouterr()) == ("", "")

    said = index.read_text()
    assert f"<strong>BLOCK</strong>: {SAID}" in said
    pages = {
        page.relative_to(tmp_path / "docs/validations").parts[0]: page for page in index.parent.glob("validations/**/*.html")
    }
    assert set(pages) == {"gate", "schema"}
    assert all(str(page.relative_to(index.parent)).replace(" ", "%20") in said for page in pages.values())
    gate, schema = pages["gate"].read_text(), pages["schema"].read_text()
    assert "No region of the real data is missing or thin among the synthetic rows" in gate
    assert f"BLOCK (modes_worst_ratio 0, limit 0.5): {SAID}" in gate
    assert "coverage_ratio 0.97" in gate and "is at most 0.05" in gate
    assert "atlantis" in schema and "100 unexpected values found" in schema


@pytest.mark.parametrize(
    ("fault", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space"),
        (KeyError("title"), DataError, "a page cannot be drawn .KeyError"),
    ],
)
def test_a_page_that_was_not_written_is_no_page_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    fault: Exception, raised: type[Exception], words: str,
) -> None:  # fmt: skip
    from great_expectations.data_context.store.html_site_store import HtmlSiteStore

    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(HtmlSiteStore, "set", fails)
    with pytest.raises(raised, match=words):
        write_docs(tmp_path / "docs", evidence(frame(400, 1), frame(400, 2), frame(300, 3)), decided(*FINE))
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("total", [99, 100, 101, 1234])
def test_a_sample_is_drawn_evenly_from_all_rows_and_each_row_once(total: int) -> None:
    rows = evidence(frame(50, 1), frame(50, 2), frame(total, 3)).synthetic
    rows = replace(rows, source=rows.table.set_column(0, "x", [np.arange(total, dtype=float)]))
    taken = sampled(rows, 100, seed=7).table.column("x").to_numpy()
    assert len(taken) == min(total, 100) and (np.diff(taken) > 0).all()
    assert np.abs(np.diff(taken)).max() <= 2 * max(1, total / 100)
