"""Does Prometheus read how the runs stand, from their files alone, and no more of a release than goes out?"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from data.errors import UserError
from flows import schedule
from flows.begin import begun
from flows.cli import app
from flows.metrics import FIGURES, GAUGES, exposition, listen
from flows.run import AT_WORK, Run, all_runs
from flows.show import run_rows
from flows.walk import walk
from tests.flows.test_walk import start

runner = CliRunner()
OFF = ("gate.utility=off",)


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """(gauge, the values of its labels in their order) -> value, of a text that Prometheus can read."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type == "gauge"
        for sample in family.samples:
            labels = ("dataset", *GAUGES[sample.name[13:]][1]) if sample.labels else ()
            found[sample.name[13:], tuple(sample.labels[label] for label in labels)] = sample.value
    return found


def fake(folder: Path, *, at: float, release: bool = False, **files: Any) -> Run:
    """A run's folder with these files, which moved last at `at`."""
    folder.mkdir(parents=True)
    purpose = "purpose: release\n" if release else ""
    (folder / "plan.yaml").write_text(
        f"name: {folder.parent.name}\n{purpose}data: {{use: csv, path: x.csv}}\ntarget: label\ngenerator: {{use: gan}}\n"
    )
    for name, value in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        stem = path.with_suffix(".txt" if name == "refused" else ".json")
        stem.write_text(value if isinstance(value, str) else json.dumps(value))
    for path in folder.iterdir():
        os.utime(path, (at, at))
    return Run(folder)


def stage(seconds: float, **facts: Any) -> dict[str, Any]:
    return {"key": "k", "seconds": seconds, "facts": facts}


def finding(check: str, verdict: str, value: float | None) -> dict[str, Any]:
    return {"check": check, "verdict": verdict, "value": value, "limit": 0.5, "reference": None, "culprits": ["secret cell"]}


def test_a_real_run_is_told_of(plan_file: Path, tmp_path: Path) -> None:
    runs = plan_file.parent / "runs"
    settings = ("generator.use=gan", "generator.epochs=2", "generator.min_steps=5", "gate.alpha=1e-9", *OFF)
    run = start(plan_file, *settings)
    stages = walk(run)
    walk(start(plan_file, *OFF))  # copies: blocked; the latest from now on
    os.utime(run.folder / "stages.json", (time.time() + 5, time.time() + 5))
    found = samples(exposition(runs))
    assert found["runs", ("mixed", "published")] == found["runs", ("mixed", "blocked")] == 1
    assert found["run_info", ("mixed", run.id, "gan")] == 1 and found["run_refused", ("mixed",)] == 0
    assert found["stage_duration_seconds", ("mixed", "fit")] == run.stages["fit"]["seconds"] > 0
    drawn, judged = (sum(stages["sample"][part].values()) for part in ("rows", "judged"))
    assert found["sample_rows", ("mixed",)] == drawn
    assert found["sample_rows_per_second", ("mixed",)] == pytest.approx((drawn + judged) / run.stages["sample"]["seconds"])
    last = json.loads((run.folder / "training.json").read_text())[-1]
    losses = {labels[1]: value for (name, labels), value in found.items() if name == "training_figure"}
    assert losses and losses == {name: pytest.approx(last[name]) for name in losses}
    unit = next(iter(last))
    assert found["training_progress", ("mixed", unit)] == last[unit] and unit not in losses
    report = json.loads((run.folder / "report.json").read_text())
    assert found["verdict", ("mixed", report["verdict"])] == 1 and sum(v for (n, _), v in found.items() if n == "verdict") == 1
    told = {labels[1]: value for (name, labels), value in found.items() if name == "check_value"}
    assert told == {f["check"]: pytest.approx(f["value"]) for f in report["findings"] if f["value"] is not None}
    assert found["published_rows", ("mixed",)] == stages["publish"]["rows"]
    assert time.time() - found["published_timestamp_seconds", ("mixed",)] < 120
    # A file for node_exporter, whole or not at all.
    out = tmp_path / "counterpoise.prom"
    answer = runner.invoke(app, ["metrics", "--runs", str(runs), "--out", str(out)])
    assert answer.exit_code == 0 and samples(out.read_text()).keys() == found.keys()
    assert [path.name for path in tmp_path.glob("*.prom*")] == [out.name]


def test_a_training_that_goes_on_is_told_of_by_its_last_whole_line(tmp_path: Path) -> None:
    many = {f"loss_{i}": 1.0 for i in range(FIGURES + 10)}
    run = fake(tmp_path / "a/1", at=10, stages={"read": stage(2, rows=9)}, training=[{"step": 3, "loss": 9.0}])
    line = json.dumps({"step": 70, "loss": 0.25, "weird": float("nan"), **many})
    (run.folder / "training.jsonl").write_text(f'{{"step": 69, "loss": 1}}\n{line}\n{{"step": 71, "lo')
    pulse = {"stage": "fit", "since": 5.0, "process": os.getpid(), "host": socket.gethostname()}
    (run.folder / AT_WORK).write_text(json.dumps(pulse))
    found = samples(exposition(tmp_path))
    assert found["run_at_work", ("a", "fit")] == 1
    assert found["training_progress", ("a", "step")] == 70 and found["training_figure", ("a", "loss")] == 0.25
    assert sum(name == "training_figure" for name, _ in found) == FIGURES
    assert found["runs", ("a", "unfinished")] == 1 and not any(name == "verdict" for name, _ in found)


def test_a_refused_run_does_not_hide_the_verdict_before_it(tmp_path: Path) -> None:
    report = {"verdict": "WARN", "smallest_detectable_mode": None, "findings": [finding("modes", "WARN", 0.4)]}
    fake(tmp_path / "a/1", at=10, report=report, published={"version": "v000003", "rows": 40}, stages={})
    fake(tmp_path / "a/2", at=20, refused="a.csv is gone", stages={})
    fake(tmp_path / "b/1", at=30, relations={}, stages={})
    found = samples(exposition(tmp_path))
    assert found["run_refused", ("a",)] == 1 and found["verdict", ("a", "WARN")] == 1
    assert found["check_verdict", ("a", "modes", "WARN")] == 1 and found["check_limit", ("a", "modes")] == 0.5
    assert ("check_reference", ("a", "modes")) not in found and found["published_timestamp_seconds", ("a",)] == 10
    assert found["runs", ("a", "refused")] == found["runs", ("a", "published")] == found["runs", ("b", "compared")] == 1
    assert "secret cell" not in exposition(tmp_path) and "a.csv" not in exposition(tmp_path)


def test_an_attempt_that_found_no_source_is_told_of_until_one_does(plan_file: Path, tmp_path: Path) -> None:
    runs, source = tmp_path / "runs", tmp_path / "mixed.csv"
    last = start(plan_file)
    begun(plan_file, None, runs, fresh=False)
    source.rename(tmp_path / "away.csv")
    for _ in range(2):
        with pytest.raises(UserError, match="mixed.csv"):
            begun(plan_file, None, runs, fresh=False)
    assert samples(exposition(runs))["run_refused", ("mixed",)] == 1
    assert samples(exposition(runs))["runs", ("mixed", "refused")] == 0, "the run itself went on"
    listed = runner.invoke(app, ["runs", "--runs", str(runs)]).output
    assert f"mixed/{last.id}: an attempt after it could not begin: " in listed and "mixed.csv" in listed
    (tmp_path / "away.csv").rename(source)
    begun(plan_file, None, runs, fresh=False)
    assert samples(exposition(runs))["run_refused", ("mixed",)] == 0 and run_rows(all_runs(runs))[-1]["why"] is None
    source.unlink()
    with pytest.raises(UserError):
        begun(plan_file, None, tmp_path / "none", fresh=False)
    assert not (tmp_path / "none").exists()


def test_of_a_release_no_more_is_told_than_goes_out(tmp_path: Path) -> None:
    inside = {"verdict": "PASS", "smallest_detectable_mode": 0.123456, "findings": [finding("modes", "PASS", 0.98765432)]}
    told = {"verdict": "PASS", "smallest_detectable_mode": 0.123, "findings": [finding("modes", "PASS", 0.988)]}
    sample = stage(2, rows={"yes": 100}, judged={"yes": 77})
    run = fake(
        tmp_path / "people/0123456789",
        at=10, release=True, report=inside, outside__report=told, training=[{"step": 9, "loss": 31337.0}],
        stages={"alias": "drawn", "sample": sample, "read": stage(1, rows=987654)},
    )  # fmt: skip
    text = exposition(tmp_path)
    found = samples(text)
    assert found["run_info", ("people", "drawn", "")] == 1 and found["check_value", ("people", "modes")] == 0.988
    assert found["sample_rows_per_second", ("people",)] == 50  # the gate's rows would count real ones
    assert not [secret for secret in ("0123456789", "0.98765432", "0.123456", "31337", "987654") if secret in text]
    shutil.rmtree(run.folder / "outside")
    assert not any(name == "verdict" for name, _ in samples(exposition(tmp_path)))


def test_what_cannot_be_read_takes_nothing_else_away(tmp_path: Path) -> None:
    fake(tmp_path / "a/1", at=10, stages='{"read": {"key"', report="", published={"version": "v000001", "rows": 4})
    broken = fake(tmp_path / "b/1", at=10, stages={})
    (broken.folder / "plan.yaml").write_text("name: [")
    found = samples(exposition(tmp_path))
    assert found["published_rows", ("a",)] == 4 and found["runs", ("b", "unfinished")] == 1
    assert not any(name.startswith("run_") for name, _ in found)
    assert samples(exposition(tmp_path / "none")).keys() == {("read_duration_seconds", ())}


def test_two_hundred_runs_are_read_at_once(tmp_path: Path) -> None:
    report = {
        "verdict": "PASS",
        "smallest_detectable_mode": 0.1,
        "findings": [finding(f"c{i}", "PASS", 1.0) for i in range(12)],
    }
    for i in range(200):
        held = {"published": {"version": f"v{i}", "rows": 4}, "stages": {"fit": stage(1, family="gan")}}
        fake(tmp_path / f"d{i % 10}" / f"r{i}", at=i, report=report, **held)
    began = time.perf_counter()
    text = exposition(tmp_path)
    assert time.perf_counter() - began < 10 and len(text.splitlines()) < 2000
    assert samples(text)["runs", ("d3", "published")] == 20 and samples(text)["run_info", ("d3", "r193", "")] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("metrics", "--out", "figures.txt"), "--out figures.txt: the textfile collector reads files that end in .prom alone"),
        (("metrics", "--out", "none/figures.prom"), "none/figures.prom cannot be written (No such file or directory); name a"),
    ],
)
def test_a_file_that_nobody_would_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = runner.invoke(app, [*words])
    assert answer.exit_code == 2 and said in answer.output


def test_a_schedule_answers_meanwhile(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, read = plan_file.parent / "runs", []
    fake(runs / "mixed/1", at=10, refused="no", stages={})

    @contextmanager
    def no_server() -> Any:
        yield

    def keep(*_: Any, **__: Any) -> None:
        address = capsys.readouterr().err.partition("figures at ")[2].partition(";")[0]
        with urllib.request.urlopen(address, timeout=10) as answer:
            read.append((answer.headers["Content-Type"], answer.read().decode()))
        port = address.rpartition(":")[2].partition("/")[0]
        with pytest.raises(UserError, match=f"--metrics {port}: nothing can listen there .*; name another port"):
            listen(runs, port)

    monkeypatch.setattr(schedule, "server", no_server)
    monkeypatch.setattr(schedule, "keep", keep)
    schedule.serve([plan_file], schedule.Night("0 3 * * *", "UTC", runs=runs), quiet=False, metrics="0")
    ((kind, text),) = read
    assert kind.startswith("text/plain; version=") and samples(text)["run_refused", ("mixed",)] == 1


@pytest.mark.parametrize("at", ["x", "host:", ":9464", "70000", "1.2.3.4:port"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, at: str) -> None:
    with pytest.raises(UserError, match="name a port of this machine, as 9464"):
        listen(tmp_path, at)
