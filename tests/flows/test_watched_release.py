"""Do those who watch a release, by logs, metrics or MLflow, hear no more of its real rows than who gets the drawn ones?"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows import followers, logs, tell, tracking
from flows.cli import app
from flows.metrics import exposition
from flows.stages import fit
from tests.flows.collector import collecting
from tests.flows.leaks import Secrets
from tests.flows.test_release import desk

pytest.importorskip("opacus")
pytest.importorskip("presidio_analyzer")
pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
__all__ = ["desk"]
#: The greatest pay of all, by far.
EXTREME = 9876.54


@pytest.fixture
def watched(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A release whose source holds an extreme value, and everybody listening but the collector."""
    people = pd.read_csv(desk / "people.csv")
    people.loc[17, "pay"] = EXTREME
    people.to_csv(desk / "people.csv", index=False)
    for name, value in {**tracking._SETTINGS, tracking.URI: f"sqlite:///{desk}/mlflow.db", logs.LOGS: "json"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logs, "_AT_WORK", {})
    monkeypatch.setattr(logs, "_INSTEAD", {})
    return desk


def test_nothing_that_is_told_of_a_release_tells_of_its_real_rows(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    plain = fit._Recorder.advance
    monkeypatch.setattr(fit._Recorder, "advance", lambda *told, **figures: plain(*told, **figures, loss=31337.5))
    monkeypatch.setattr(followers, "EVERY", 0.0)
    monkeypatch.setattr(tell, "EVERY", 0.0)
    with collecting() as (url, took):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        answer = CliRunner().invoke(app, ["run", "plan.yaml", "-o", "generator.steps=5"])
    assert answer.exit_code in (0, 3, 4), answer.output
    run = next((watched / "runs/people").iterdir())
    stages = json.loads((run / "stages.json").read_text())
    lines = [json.loads(line) for line in answer.stderr.splitlines()]
    client = MlflowClient(f"sqlite:///{watched}/mlflow.db")
    (kept,) = client.search_runs([client.get_experiment_by_name("people").experiment_id])
    told = {
        "logs": answer.stderr,
        "prometheus": exposition(watched / "runs"),
        "collector": json.dumps([took.resource, sorted(map(str, took.values.items()))]),
        "mlflow": json.dumps([kept.data.params, kept.data.tags, kept.data.metrics])
        + "".join(path.read_text() for path in Path("mlruns").rglob("report.*")),
    }
    assert all(stages["alias"] in text for text in told.values())
    # Words of the source, its extreme, the run's id, which follows from its bytes, where it lies, and a loss.
    people = pd.read_csv(watched / "people.csv")
    secrets = [run.name, stages["fingerprint"], stages["read"]["facts"]["data_sha256"], "people.csv", "31337"]
    secrets += [*people["mail"], *sorted(Secrets.of(people, personal=("mail",)).ends), "9,876.5"]
    assert str(EXTREME) in secrets and "31337" in (run / "training.json").read_text()
    assert str(EXTREME) in (run / "report.json").read_text() + (run / "profile.json").read_text()
    for where, text in told.items():
        assert not [secret for secret in secrets if secret in text], where
    # What is told: that it went on, and what the report for the outside says.
    report = json.loads((run / "outside/report.json").read_text())
    for finding in (f for f in report["findings"] if f["value"] is not None):
        name, value = finding["check"], pytest.approx(finding["value"])
        assert took.of("check.value", check=name) == kept.data.metrics[f"check/{name}/value"] == value
    assert not [name for name in kept.data.metrics if name.startswith("training/")]
    assert not {"training.figure"} & {name for name, _ in took.values} and "training_figure{" not in told["prometheus"]
    assert not [name for name in kept.data.params if name.startswith("data.")] and kept.data.params["purpose"] == "release"
    (sent,) = Path("mlruns").rglob("report.json")
    assert sent.read_text() == (run / "outside/report.json").read_text()
    ended = {line["stage"]: line for line in lines if line["event"] == "done"}
    assert list(ended) == ["read", "profile", "choose", "split", "fit", "sample", "judge", "publish"]
    assert {line["run"] for line in lines if "stage" in line} == {f"people/{stages['alias']}"}
    assert (
        "facts" not in ended["read"]
        and "facts" not in ended["split"]
        and ended["judge"]["facts"] == {"verdict": report["verdict"]}
    )
    assert set(ended["sample"]["facts"]) == {"rows"} and not [line for line in lines if "figures" in line]
    assert [line for line in lines if line["event"] == "progress"]
