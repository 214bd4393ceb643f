"""Does MLflow keep a run, one for all tries of it, and does a run not care whether MLflow is there?"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from data.errors import DataError
from flows import followers, tracking
from flows.followers import followed
from flows.walk import walk
from tests.flows.collector import refusing, silent
from tests.flows.test_walk import start

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
GAN = ("generator.use=gan", "generator.epochs=6", "generator.min_steps=5", "gate.alpha=1e-9", "gate.utility=off")


@pytest.fixture(autouse=True)
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that the environment names."""
    monkeypatch.chdir(tmp_path)  # MLflow puts artifacts of such a store there
    for name, value in {**tracking._SETTINGS, tracking.URI: f"sqlite:///{tmp_path}/mlflow.db"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(tracking.EXPERIMENT, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A client of that store, in which nothing is."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def kept(client: Any, experiment: str = "mixed") -> Any:
    """The only run that MLflow keeps."""
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return found


def tags(run: Any) -> dict[str, str]:
    return {name.removeprefix("counterpoise."): value for name, value in run.data.tags.items() if "counterpoise." in name}


def test_a_run_and_its_second_try_are_one_run_of_mlflow(plan_file: Path, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "EVERY", 0.0)
    run, table = start(plan_file, *GAN), plan_file.parent / "mixed.csv"
    text = table.read_text()
    table.write_text("a,b\n")
    with pytest.raises(DataError):
        walk(run)
    first = kept(store)
    assert first.info.status == "FAILED" and tags(first)["outcome"] == "refused"
    assert first.data.params["generator.epochs"] == "6" and first.data.params["name"] == "mixed"
    table.write_text(text)
    stages = walk(run)
    done = kept(store)
    assert done.info.run_id == first.info.run_id and done.info.status == "FINISHED"
    report = json.loads((run.folder / "report.json").read_text())
    assert tags(done).items() >= {
        "run": f"mixed/{run.id}", "dataset": "mixed", "family": "gan", "version": "v000001", "outcome": "published",
        "verdict": report["verdict"], "reason": report["reason"], "uri": stages["publish"]["uri"],
    }.items()  # fmt: skip
    for finding in report["findings"]:
        assert tags(done)[f"check.{finding['check']}"] == finding["verdict"]
        if finding["value"] is not None:
            assert done.data.metrics[f"check/{finding['check']}/value"] == pytest.approx(finding["value"])
    assert done.data.metrics["seconds/fit"] > 0
    curve = json.loads((run.folder / "training.json").read_text())
    unit, *names = curve[-1]
    assert names
    for name in names:
        points = store.get_metric_history(done.info.run_id, f"training/{name}")
        assert [p.step for p in points] == [told[unit] for told in curve if name in told]
        assert points[-1].value == pytest.approx(curve[-1][name])
    assert {file.path for file in store.list_artifacts(done.info.run_id)} == {"report.html", "report.json"}
    # A third time nothing is done, and nothing is told twice.
    walk(start(plan_file, *GAN))
    again = kept(store)
    assert tags(again)["outcome"] == "unchanged" and again.data.metrics == done.data.metrics
    assert len(store.get_metric_history(done.info.run_id, f"training/{names[0]}")) == len(points)
    assert len(store.get_metric_history(done.info.run_id, "check/copies/value")) == 1


def test_a_long_curve_is_thinned_and_what_a_killed_try_told_is_not_told_again(plan_file: Path, store: Any) -> None:
    run = start(plan_file)
    with followed(run):
        (_, aside) = followers.following()
        aside.begin("fit").advance(40, 4000, "step", **{"loss (real)": 9.5})
    curve = [{"step": i, "loss (real)": float(i)} for i in range(4000)]
    (run.folder / "training.json").write_text(json.dumps(curve))
    with followed(run):
        followers.following()[1].end("fit", "done", {"family": "gan"}, 1.0)
    points = store.get_metric_history(kept(store).info.run_id, "training/loss _real_")
    assert [p.step for p in sorted(points, key=lambda p: p.step)] == list(range(0, 4000, 4))
    assert [p.value for p in points if p.step == 40] == [9.5]


@pytest.mark.parametrize("way", ["refuses", "never answers"])
def test_a_dead_server_costs_seconds_and_one_sentence(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 3.0)
    with silent() as address:
        url = refusing() if way == "refuses" else address
        monkeypatch.setenv(tracking.URI, url.replace("//", "//me:hunter22@"))
        began = time.monotonic()
        with followed(start(plan_file)):
            for teller in followers.following():
                teller.end("read", "done", {"rows": 3, "columns": 2}, 1.0)
                teller.end("split", "done", {"rows": {}}, 1.0)
        assert time.monotonic() - began < 9.0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"counterpoise: MLflow at {url.replace('//', '//me:***@')}")
    assert ("is not told of this run any more" in said or "did not answer within 3 s" in said) and "hunter22" not in said


def test_without_mlflow_a_run_says_so_and_goes_on(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(tracking.URI, "sqlite:///x.db")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    assert tracking.follower(start(plan_file)) is None
    assert capsys.readouterr().err == (
        "counterpoise: MLFLOW_TRACKING_URI is set, but MLflow is not installed: "
        "pip install -c constraints.txt -e '.[mlflow]'; the run goes on without\n"
    )
