"""Is the history of a dataset beside its versions after every run, and one verb away?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pytest
from typer.testing import CliRunner

from flows.begin import loaded
from flows.cli import app
from flows.history import refresh
from tests.conftest import mixed_plan, mixed_table
from tests.flows.test_cli import refused

RUNNER = CliRunner()


def cli(*words: object) -> Any:
    return RUNNER.invoke(app, [str(word) for word in words])


def run(plan: Path, *more: str) -> Any:
    return cli("run", plan, "--quiet", "--runs", plan.parent / "runs", "-o", "gate.alpha=1e-9", *more)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version, a night that was blocked, and another version."""
    folder = tmp_path_factory.mktemp("nights")
    plan = mixed_plan(folder)
    for rows, family, code in ((300, "smote", 0), (330, "bootstrap", 3), (360, "smote", 0)):
        pacsv.write_csv(mixed_table(rows), folder / "mixed.csv")
        done = run(plan, "-o", f"generator.use={family}")
        assert done.exit_code == code, done.output
    return plan


def test_every_run_leaves_the_page(nights: Path) -> None:
    page = (nights.parent / "published/mixed/index.html").read_text()
    assert "2 versions, 1 in quarantine" in page and 'href="v000002/report.html"' in page
    assert "Since v000001: 300 real rows to 360." in page


def test_the_verb_tells_of_plan_name_and_folder_alike(nights: Path, tmp_path: Path) -> None:
    folder = nights.parent
    told = []
    for what in (nights, "mixed", folder / "published/mixed"):
        done = cli("history", what, "--runs", folder / "runs", "--json", tmp_path / "h.json")
        assert done.exit_code == 0, done.output
        told.append(done.stdout.splitlines()[:-1])
        assert Path(done.stdout.splitlines()[-1]).resolve() == folder / "published/mixed/index.html"
    assert told[0] == told[1] == told[2]
    lines = [line.split() for line in told[0]]
    assert [line[0] for line in lines] == ["version", "v000002", "run", "v000001"]
    assert "LATEST" in lines[1] and "BLOCK" in lines[2] and "copies" in " ".join(lines[2])
    attempts = json.loads((tmp_path / "h.json").read_text())
    assert [each["verdict"] for each in attempts][1] == "BLOCK" and attempts[2]["moved"][0].startswith("Since v000001")
    assert {finding["check"] for finding in attempts[0]["findings"]} >= {"modes", "copies", "coverage"}


def test_the_page_elsewhere_leads_back(nights: Path, tmp_path: Path) -> None:
    done = cli("history", nights, "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    uri = (nights.parent / "published/mixed/v000001/report.html").resolve().as_uri()
    assert f'href="{uri}"' in (tmp_path / "page.html").read_text()


def test_what_has_no_history_is_refused(plan_file: Path, tmp_path: Path) -> None:
    refused(
        cli("history", "nothing", "--runs", tmp_path / "runs"), "nothing is no plan, no dataset's folder or address, and no run"
    )
    refused(cli("history", plan_file), "holds no version and nothing in quarantine")
    refused(cli("history", plan_file, "--out", tmp_path / "no/page.html"), "holds no version")
    assert not (tmp_path / "published").exists()


def test_a_page_that_cannot_be_written_takes_no_version(nights: Path, tmp_path: Path) -> None:
    shutil.copytree(nights.parent, tmp_path / "copy")
    plan = tmp_path / "copy/mixed.yaml"
    plan.write_text(nights.read_text().replace(str(nights.parent), str(tmp_path / "copy")))
    page = tmp_path / "copy/published/mixed/index.html"
    page.unlink()
    page.mkdir()
    pacsv.write_csv(mixed_table(390), tmp_path / "copy/mixed.csv")
    done = run(plan, "-o", "generator.use=smote")
    assert done.exit_code == 0 and "v000003" in done.stdout, done.output
    assert "was not made anew" in str(refresh(loaded(plan, None)))
    refused(cli("history", plan), "index.html")
    page.rmdir()
    assert refresh(loaded(plan, None)) is None and page.is_file()
    assert not list(page.parent.glob(".index*"))
