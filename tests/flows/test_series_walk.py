"""Do series go the whole way: init, plan, run, sample, score?"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data.samples import pump
from data.windows import description
from flows.cli import app
from tests.readings import write_oven

runner = CliRunner()
QUICK = ["-o", "generator.epochs=3", "-o", "generator.min_steps=60", "-o", "gate.utility=off"]


def call(desk: Path, *words: Any, code: int = 0) -> Any:
    """The answer of a verb that is given in this folder."""
    before = Path.cwd()
    os.chdir(desk)
    try:
        done = runner.invoke(app, [str(word) for word in words])
    finally:
        os.chdir(before)
    assert done.exit_code == code, (done.output, done.stderr)
    return done


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the pump that ended, whatever its verdict."""
    desk = tmp_path_factory.mktemp("desk")
    (desk / "pump.yaml").write_text(
        "name: pump\nseed: 1\ndata: {use: pump, length: 48, counts: {steady: 90, start: 40, leak: 24}}\n"
        "split: {reference: 0, holdout: 0.3}\ngenerator: {use: series.vae}\nsample: {mix: balanced}\n"
        "gate: {draws: 10, detect: 1.0}\n"
    )
    done = runner.invoke(app, ["run", str(desk / "pump.yaml"), "--runs", str(desk / "runs"), "-q", *QUICK,
                               "-o", f"publish.root={desk / 'published'}"])  # fmt: skip
    assert done.exit_code in (0, 3), (done.output, done.stderr)
    return desk


def test_a_run_of_series_is_drawn_judged_and_told_of_as_windows(desk: Path) -> None:
    (folder,) = (desk / "runs/pump").iterdir()
    profile = json.loads((folder / "profile.json").read_text())
    assert profile["rows"] == 154 and profile["lengths"] == [48, 48]
    assert profile["channels"][4]["levels"].keys() == set(pump.VALVE)
    parts = {part: pq.read_table(folder / f"work/{part}.parquet") for part in ("train", "holdout")}
    whose = {part: set(table.column("entity").to_pylist()) for part, table in parts.items()}
    assert whose["train"].isdisjoint(whose["holdout"]), "a pump stands on one side"
    drawn = pq.read_table(sorted((folder / "samples").glob("*.parquet")))
    assert drawn.schema.names == description(_read()).names
    counts = pd.Series(drawn.column("class").to_pylist()).value_counts().to_dict()
    assert counts == {"start": 50, "leak": 66}
    report = json.loads((folder / "report.json").read_text())
    said = " ".join([report["reason"], report["next_action"], *(f["summary"] for f in report["findings"])])
    assert "window" in said and " rows" not in said and "picture" not in said, said
    checks = {finding["check"] for finding in report["findings"]}
    assert {"schema", "modes", "copies", "spread", "labels", "duplicates", "coverage"} <= checks
    assert not [f for f in report["findings"] if f["verdict"] == "ERROR"], report["findings"]
    page = (folder / "report.html").read_text()
    assert "<svg" in page and "window" in page
    assert '<section id="courses"' in page and "pressure in windows of class leak" in page


def _read() -> Any:
    from data.sources.pump import read

    return read(counts={"steady": 1})


def test_more_is_drawn_and_scored(desk: Path) -> None:
    call(desk, "sample", "pump", "--rows", 12, "--where", "class=leak", "--where", "model=P75", "--out", "more.parquet")
    more = pq.read_table(desk / "more.parquet")
    assert set(more.column("class").to_pylist()) == {"leak"} and set(more.column("model").to_pylist()) == {"P75"}
    (folder,) = (desk / "runs/pump").iterdir()
    told = call(desk, "score", "pump", folder / "work/holdout.parquet").stdout
    lines = list(csv.DictReader(io.StringIO(told)))
    holdout = pq.read_table(folder / "work/holdout.parquet")
    assert len(lines) == holdout.num_rows and list(lines[0])[:6] == ["entity", "start", "end", "source", "class", "score"]
    scores = np.array([float(line["score"]) for line in lines])
    assert (np.diff(scores) <= 0).all() and lines[0]["start"] < lines[0]["end"]
    of = {name: np.mean([float(line["score"]) for line in lines if line["class"] == name]) for name in ("steady", "start")}
    assert of["start"] > of["steady"], "a start is no steady running"


def test_what_series_have_not_is_refused(desk: Path) -> None:
    plan = desk / "pump.yaml"
    for words, said in [
        (("-o", "generator.use=gan"), "'gan' learns rows of a table and these are series; use one of series."),
        (("-o", "target=model"), "series have their classes in 'class'"),
        (("-o", "purpose=release", "-o", "sample.mix=natural"), "no family promises differential privacy of series"),
        (("-o", "sample.rows=sweep"), "of pictures and series"),
        (("-o", "choose=bakeoff", "-o", "generator.use=auto"), "trials are for tables; of series"),
    ]:
        done = call(desk, "run", plan, *words, code=2)
        assert said in done.stderr, done.stderr
    assert "tune judges by rows of one table, and these are series" in call(desk, "tune", plan, code=2).stderr
    assert "no windows" in call(desk, "score", "pump", plan, code=2).stderr


def test_windows_leave_as_readings(desk: Path) -> None:
    told = call(desk, "sample", "pump", "--rows", 2, "--where", "class=start").stdout
    frame = pd.read_csv(io.StringIO(told))
    assert len(frame) == 96 and set(frame["valve"]) <= set(pump.VALVE) and set(frame["class"]) == {"start"}
    done = call(desk, "export", "pump", "--to", "csv", "--blocked", "--out", desk / "out")
    assert "holdout" in done.stdout and "leak" in done.stdout
    train = pd.read_csv(desk / "out/train.csv")
    assert set(train["is_synthetic"]) == {True, False} and set(train["split"]) == {"train"}
    assert "windows of run" in call(desk, "export", "pump", "--to", "coco", "--blocked", code=2).stderr
    call(desk, "sample", "pump", "--rows", 30, "--out", "many")
    assert sum(pq.read_metadata(path).num_rows for path in (desk / "many").glob("*.parquet")) == 30


def test_init_writes_a_plan_for_readings_that_runs(tmp_path: Path) -> None:
    write_oven(tmp_path / "oven.csv")
    assert "oven.yaml" in call(tmp_path, "init", "oven.csv").output
    text = (tmp_path / "oven.yaml").read_text()
    assert "use: series" in text and "windows of heat, load" in text and "use: series." in text
    said = call(tmp_path, "plan", "oven.yaml", "--no-measure").stdout
    assert "windows of" in said and "one every 300 s" in said
    places = ["-o", f"data.path={tmp_path / 'oven.csv'}", "-o", f"publish.root={tmp_path / 'out'}"]
    done = runner.invoke(app, ["run", str(tmp_path / "oven.yaml"), "-q", "--runs", str(tmp_path / "runs"), *QUICK, *places])
    assert done.exit_code in (0, 3, 4), (done.output, done.stderr)
