"""Does a warm night begin with the model that published last, and lead to the same rows again?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.load import load
from flows.run import all_runs
from flows.warm import warm_start
from tests.flows.stubs import LEDGER
from tests.flows.test_synthesize import server

__all__ = ["server"]
FAMILY = "generator.use=tests.flows.stubs:Goes"


def night(plan: Path, *overrides: str) -> Any:
    from flows.nightly import nightly

    words = [FAMILY, "gate.alpha=1e-9", *overrides]
    return nightly(str(plan), words, str(plan.parent / "runs"), warm=True, return_state=True)


def grown(plan: Path) -> None:
    """Tomorrow's rows."""
    table = pd.read_csv(plan.parent / "mixed.csv")
    pd.concat([table, table.head(40)], ignore_index=True).to_csv(plan.parent / "mixed.csv", index=False)


def begun_with(plan: Path) -> list[str | None]:
    """What each run's training began with, in turn."""
    return [run.plan.generator.settings.get("begin") for run in all_runs(plan.parent / "runs")]


@pytest.mark.usefixtures("server")
def test_a_night_begins_where_the_last_version_came_from(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(LEDGER, str(tmp_path / "fits"))
    caplog.set_level("INFO")
    fits = lambda: len((tmp_path / "fits").read_text().splitlines())  # noqa: E731
    assert night(plan_file).name == "Published" and begun_with(plan_file) == [None]
    assert "Training: cold: no run has published yet" in caplog.text
    assert night(plan_file).name == "Unchanged" and fits() == 1
    first = all_runs(plan_file.parent / "runs")[0]
    grown(plan_file)
    assert night(plan_file).name == "Published" and begun_with(plan_file) == [None, str(first.folder / "model")]
    assert f"Training: begins with the model of run {first.id}" in caplog.text
    # The same bytes again: the night finds its run, with what that began with, and trains nothing.
    assert night(plan_file).name == "Unchanged" and fits() == 2
    # A night that is blocked hands nothing on.
    second = all_runs(plan_file.parent / "runs")[1]
    grown(plan_file)
    assert night(plan_file, "generator.use=bootstrap", "gate.alpha=0.01").name == "Blocked"
    grown(plan_file)
    assert night(plan_file).name == "Published" and begun_with(plan_file)[-1] == str(second.folder / "model")
    cards = sorted((plan_file.parent / "published/mixed").glob("v*/manifest.json"))
    assert "begin: " in json.loads(cards[-1].read_text())["plan"]


@pytest.mark.usefixtures("server")
def test_what_does_not_fit_begins_cold(plan_file: Path) -> None:
    runs = plan_file.parent / "runs"
    assert night(plan_file).name == "Published"
    grown(plan_file)

    def start(*overrides: str) -> str:
        found = warm_start(load(plan_file, [FAMILY, "gate.alpha=1e-9", *overrides]), runs)
        assert found.overrides == () or "begins with" in found.says
        return found.says

    first = all_runs(runs)[0]
    assert start() == f"begins with the model of run {first.id}"
    assert start("generator.width=0.5") == f"cold: the plan is another one than that of run {first.id}"
    assert start("seed=4") == f"cold: the plan is another one than that of run {first.id}"
    assert start("generator.begin=/somewhere") == "cold: the plan names its own generator.begin"
    assert start("generator.use=smote") == "cold: smote does not begin with an earlier model"
    assert start("generator.use=auto").startswith("cold: auto does not")
    (first.folder / "model").rename(first.folder / "gone")
    assert start() == f"cold: run {first.id} has no model any more"


def test_the_family_of_painted_defects_takes_its_own_denoiser() -> None:
    from dataclasses import fields

    from generators.image.finetune import FineTune

    assert FineTune.warm in {field.name for field in fields(FineTune)}
