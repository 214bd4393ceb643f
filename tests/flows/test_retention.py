"""Do old runs go, but those of what is named, and those at work?"""

from __future__ import annotations

import fcntl
from pathlib import Path

import pyarrow.csv as pacsv
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.run import Run, all_runs
from tests.conftest import mixed_table

runner = CliRunner()


def said(*words: str) -> tuple[int, str]:
    answer = runner.invoke(app, [*words])
    return answer.exit_code, " ".join(answer.output.split())


@pytest.fixture
def nights(plan_file: Path) -> Path:
    """Four versions of a table that grew."""
    for rows in (300, 330, 360, 390):
        pacsv.write_csv(mixed_table(rows), plan_file.parent / "mixed.csv")
        settings = ("-o", "generator.use=smote", "-o", "gate.alpha=1e-9", "--runs", str(plan_file.parent / "runs"))
        code, text = said("run", str(plan_file), "--quiet", *settings)
        assert code == 0, text
    return plan_file


def test_runs_go_with_their_versions(nights: Path) -> None:
    folder = nights.parent
    runs = [run.folder for run in all_runs(folder / "runs")]
    assert said("tag", str(nights), "audited", "v000001") == (0, "audited v000001")
    assert said("tag", str(nights)) == (0, "audited v000001")
    with (runs[1] / ".lock").open("a+") as file:  # a process is at work on the second
        fcntl.flock(file, fcntl.LOCK_EX)
        code, text = said("prune", "--keep", "1", "--runs", str(folder / "runs"))
    assert code == 0 and "mixed: took away 2 of" in text and "v000002 v000003" in text and "and 1 runs" in text
    assert [run.folder for run in all_runs(folder / "runs")] == [runs[0], runs[1], runs[3]]
    assert sorted(p.name for p in (folder / "published/mixed").glob("v*")) == ["v000001", "v000004"]
    # The card of a version says what moved; the same run again finds its version and does nothing.
    card = (folder / "published/mixed/v000004/README.md").read_text()
    assert "## What moved\n\n- Since v000003: 360 real rows to 390.\n" in card
    assert "What moved" not in (folder / "published/mixed/v000001/README.md").read_text()
    assert said("prune", str(nights), "--keep", "1", "--dry-run", "--runs", str(folder / "runs"))[1].startswith(
        f"mixed: would take away 0 of {folder}/published/mixed and 1 runs"
    )
    assert Run(runs[3]).stages["publish"]["facts"]["version"] == "v000004"


def test_what_cannot_be_pruned_or_tagged_is_one_sentence(plan_file: Path) -> None:
    code, text = said("prune", "--runs", str(plan_file.parent / "none"))
    assert code == 2 and "there is no run under" in text
    code, text = said("tag", str(plan_file), "audited")
    assert code == 2 and "has no version yet" in text
    assert said("prune", str(plan_file), "--keep", "0")[0] == 2
