"""Does a collector hear of a run, and does a run not care whether it does?"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data.errors import DataError
from flows import followers, telemetry
from flows.followers import Aside, followed
from flows.walk import walk
from tests.flows.collector import collecting, refusing, silent
from tests.flows.test_walk import start

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
GAN = ("generator.use=gan", "generator.epochs=6", "generator.min_steps=5", "gate.alpha=1e-9", "gate.utility=off")
needed = pytest.mark.skipif(telemetry._absent("opentelemetry.sdk"), reason="the extra otel is not installed")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*telemetry.ENDPOINTS, *telemetry.PROTOCOLS, telemetry.EXPORTER, "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


@needed
def test_a_collector_hears_of_a_run(plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "EVERY", 0.0)
    run = start(plan_file, *GAN)
    with collecting() as (url, took):
        monkeypatch.setenv(ENDPOINT, url)
        stages = walk(run)
    assert took.paths == ["/v1/metrics"]
    assert took.resource["service.name"] == "counterpoise" and took.resource["counterpoise.run"] == f"mixed/{run.id}"
    assert took.labels == {("counterpoise.dataset", "mixed"), ("counterpoise.family", "gan")}
    for stage, entry in run.stages.items():
        if stage in stages:
            count, total = took.of("stage.duration", stage=stage)
            assert count == 1 and total == pytest.approx(entry["seconds"], abs=0.5)
    assert took.of("sample.rows") == sum(stages["sample"]["rows"].values()) and took.of("sample.rate") > took.of("sample.rows")
    last = json.loads((run.folder / "training.json").read_text())[-1]
    told = {dict(labels)["figure"]: value for (name, labels), value in took.values.items() if name == "training.figure"}
    assert told and told == {name: pytest.approx(last[name]) for name in told}
    assert took.of("training.rate", unit=next(iter(last))) > 0
    assert took.of("memory.peak", stage="fit") > 100e6
    report = json.loads((run.folder / "report.json").read_text())
    assert took.of("verdicts", verdict=report["verdict"]) == took.of("versions") == took.of("runs", outcome="published") == 1
    for finding in report["findings"]:
        assert took.of("check.verdicts", check=finding["check"], verdict=finding["verdict"]) == 1
        if finding["value"] is not None:
            assert took.of("check.value", check=finding["check"]) == pytest.approx(finding["value"])
    units = {name: unit for name, _, unit, _ in telemetry.INSTRUMENTS}
    assert took.units == {f"counterpoise.{name}": unit for name, unit in units.items() if not name.startswith("gpu")}
    # Once more: nothing was done, so nothing is counted, but that a run ended.
    with collecting() as (url, again):
        monkeypatch.setenv(ENDPOINT, url)
        walk(start(plan_file, *GAN))
    assert again.of("runs", outcome="unchanged") == 1 and again.of("check.value", check="copies") == 0
    assert not {name for name, _ in again.values} & {"verdicts", "check.verdicts", "versions", "stage.duration", "sample.rows"}


@needed
def test_a_refusal_is_heard_too_at_an_address_for_metrics_alone(plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = plan_file.parent / "mixed.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:4]))
    with collecting() as (url, took):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{url}/there")
        with pytest.raises(DataError):
            walk(start(plan_file))
    assert took.paths == ["/there"] and took.of("runs", outcome="refused") == 1
    assert took.of("stage.duration", stage="read")[0] == 1


@needed
@pytest.mark.parametrize("way", ["refuses", "never answers"])
def test_a_dead_collector_costs_seconds_and_one_sentence(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    monkeypatch.setattr(telemetry, "PATIENCE", 2.0)
    monkeypatch.setattr(telemetry.Telemetry, "patience", 2.0)
    with silent() as address:
        url = refusing() if way == "refuses" else address
        monkeypatch.setenv(ENDPOINT, url.replace("//", "//me:hunter22@"))
        run = start(plan_file)
        with followed(run):
            (_, aside) = followers.following()
            began = time.monotonic()
            for i in range(1000):
                aside.begin("fit").advance(i, 1000, "step", loss=0.5)
            aside.end("fit", "done", {"family": "gan"}, 1.0)
            assert time.monotonic() - began < 1.0
            began = time.monotonic()
    assert time.monotonic() - began < 8.0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"counterpoise: the OpenTelemetry collector at {url.replace('//', '//me:***@')}" in said
    assert "is not told of this run any more" in said or "did not answer within 2 s" in said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {ENDPOINT: "http://x"},
            f"{ENDPOINT} asks for metrics, which need OpenTelemetry: pip install -c constraints.txt -e '.[otel]'",
        ),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, "OTEL_METRICS_EXPORTER asks for metrics, which need OpenTelemetry"),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus"},
            "OTEL_METRICS_EXPORTER=prometheus: metrics go out over OTLP alone; set it to",
        ),
        ({ENDPOINT: "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: OTLP is spoken as"),
        ({ENDPOINT: "http://x", "OTEL_METRICS_EXPORTER": "none"}, ""),
        ({ENDPOINT: "http://x", "OTEL_SDK_DISABLED": "true"}, ""),
        ({}, ""),
    ],
)
def test_what_cannot_be_had_is_a_sentence_and_the_run_goes_on(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)  # as if it were not installed
    monkeypatch.setattr(telemetry, "_absent", lambda module: True)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert telemetry.follower(start(plan_file)) is None
    heard = capsys.readouterr().err
    assert heard.startswith(f"counterpoise: {said}") and heard.endswith("no collector is told of it\n") if said else not heard


class Broken:
    """A follower that cannot bear any stage."""

    called, patience = "the follower", 2.0

    def advance(self, *_: Any) -> None: ...

    def end(self, *_: Any) -> None:
        raise OSError("x://me:hunter22@host is gone\nfor good")

    def over(self, outcome: str) -> None:
        raise AssertionError("never told")


def test_a_follower_that_breaks_is_told_no_more_and_its_secret_not_at_all(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(followers, "_made", lambda run: iter([Broken()]))
    with followed(start(plan_file)):
        for teller in followers.following():
            teller.end("read", "done", {}, 1.0)
            teller.end("split", "done", {}, 1.0)
    assert capsys.readouterr().err == (
        "counterpoise: the follower is not told of this run any more (OSError: x://me:***@host is gone); the run goes on\n"
    )
    assert followers.following() == ()


def test_an_aside_keeps_the_last_figures_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []

    class Ear(Broken):
        def advance(self, *told: Any) -> None:
            heard.append(told)

        def end(self, *told: Any) -> None:
            heard.append(told[0])

        def over(self, outcome: str) -> None:
            heard.append(outcome)

    aside = Aside(Ear())
    progress = aside.begin("fit")
    for i in range(1, 6):
        progress.advance(i, 5, "step", loss=1.0 / i)
    aside.end("fit", "done", {}, 0.1)
    aside.over("published")
    assert heard == [("fit", 1, 5, "step", {"loss": 1.0}), ("fit", 5, 5, "step", {"loss": 0.2}), "fit", "published"]
