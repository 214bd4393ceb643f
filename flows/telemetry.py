"""Which figures of a run does an OpenTelemetry collector hear of, where the standard variables name one?"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from data.secrets import hidden
from flows.pipes import say
from flows.run import Run
from flows.watched import Watched

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics import MeterProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
TIMEOUTS = ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
EXPORTER = "OTEL_METRICS_EXPORTER"
#: Seconds that the end of a run waits for the collector.
PATIENCE = 5.0
#: Seconds that one export, tries again included, may take where no variable says: the library's ten are not worth a run's end.
TIMEOUT = 2.0
#: Upper ends of the classes that durations are counted in, in seconds.
SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

#: Name, kind, unit, what it is.
INSTRUMENTS = (
    ("stage.duration", "histogram", "s", "Duration of a stage that was done"),
    ("sample.rows", "counter", "{row}", "Rows drawn for the dataset"),
    ("sample.rate", "gauge", "{row}/s", "Rows drawn a second, those for the gate among them; of a release not"),
    ("training.rate", "gauge", "{step}/s", "Steps, or epochs, of the training a second"),
    ("training.figure", "gauge", "1", "The last figure, a loss above all, that a training told of"),
    ("memory.peak", "gauge", "By", "Most memory that the process has held"),
    ("gpu.memory.peak", "gauge", "By", "Most memory of the GPU that tensors have held"),
    ("check.value", "gauge", "1", "The figure of a check"),
    ("check.limit", "gauge", "1", "The limit of that figure"),
    ("check.verdicts", "counter", "{verdict}", "Verdicts of checks"),
    ("verdicts", "counter", "{verdict}", "Verdicts of the gate"),
    ("versions", "counter", "{version}", "Versions published"),
    ("runs", "counter", "{run}", "Runs that ended, by outcome"),
)


def follower(run: Run) -> Telemetry | None:
    """Who tells the collector that the environment names; None where it names none, or one that cannot be told."""
    if not (variable := _asked()):
        return None
    if lacking := _lacking(variable):
        say(f"{lacking}; the run goes on, and no collector is told of it", level="warning")
        return None
    return Telemetry(Watched.of(run), exporter())


def _asked() -> str | None:
    """The variable that asks for metrics over OTLP."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if (exporter := os.environ.get(EXPORTER, "").strip().lower()) == "none":
        return None
    return EXPORTER if exporter else next((name for name in ENDPOINTS if os.environ.get(name)), None)


def _lacking(variable: str) -> str | None:
    """Why what the environment asks for cannot be had, with what to do, else None."""
    exporter = os.environ.get(EXPORTER, "otlp").strip().lower() or "otlp"
    if exporter != "otlp":
        return f"{EXPORTER}={exporter}: metrics go out over OTLP alone; set it to otlp or none"
    protocol = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        named = next(name for name in PROTOCOLS if os.environ.get(name))
        return (
            f"{named}={protocol}: OTLP is spoken as http/protobuf alone; set it to that, and name the collector's port for it"
        )
    if any(_absent(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")):
        return f"{variable} asks for metrics, which need OpenTelemetry: pip install -c constraints.txt -e '.[otel]'"
    return None


def _absent(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def endpoint() -> str:
    """The collector's address as the environment has it, without secrets."""
    return hidden(next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "http://localhost:4318"))


def exporter() -> Any:
    """What speaks to the collector, as the standard variables have it, and remembers in `lost` whether it was heard last."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult

    class Exporter(OTLPMetricExporter):
        lost = False

        def export(self, *given: Any, **named: Any) -> MetricExportResult:
            result = super().export(*given, **named)
            self.lost = result is not MetricExportResult.SUCCESS
            return result

    # A collector that is away is told of once, by us; the library would write a line for each try.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    return Exporter(timeout=None if any(os.environ.get(name) for name in TIMEOUTS) else TIMEOUT)


class Telemetry:
    """Records what a run tells, and sends it to a collector.

    Names follow OpenTelemetry's conventions: durations are histograms in seconds, units are UCUM's."""

    called, patience = "the OpenTelemetry collector", PATIENCE

    def __init__(self, watched: Watched, exporter: Any) -> None:
        self.watched, self.exporter = watched, exporter
        self.called = f"the OpenTelemetry collector at {endpoint()}"
        self.labels = {"counterpoise.dataset": watched.dataset}
        self.pace = _Pace()
        self.provider = _provider(watched, exporter)
        self.instruments = _instruments(self.provider.get_meter("counterpoise", version("counterpoise")))

    def advance(self, stage: str, done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
        if stage != "fit":
            return
        for name, value in self.watched.figures(figures).items():
            self._tell("training.figure", float(value), figure=name)
        if (rate := self.pace.after(done, what)) is not None:
            self._tell("training.rate", rate, unit=what)

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        told = self.watched.facts(stage, facts)
        if stage == "choose" and "family" in told:
            self.labels["counterpoise.family"] = str(told["family"])
        if how == "done":
            self._tell("stage.duration", seconds, stage=stage)
            if stage == "sample":
                self._drawn(told, seconds)
            if stage == "fit" and self.pace.what and self.pace.first == self.pace.last and not facts.get("resumed"):
                self._tell("training.rate", self.pace.last / max(seconds, 1e-3), unit=self.pace.what)
            if stage == "publish" and told.get("version"):
                self._tell("versions", 1)
        if stage == "judge":
            self._judged(counted=how == "done")
        self._memory(stage)

    def over(self, outcome: str) -> None:
        self._tell("runs", 1, outcome=outcome)
        self.provider.shutdown(timeout_millis=1000 * PATIENCE)
        if self.exporter.lost:
            raise ConnectionError("it did not take the figures")

    def _drawn(self, facts: Mapping[str, Any], seconds: float) -> None:
        rows = sum(facts["rows"].values()) if isinstance(facts["rows"], Mapping) else facts["rows"]
        self._tell("sample.rows", rows)
        self._tell("sample.rate", (rows + sum(facts.get("judged", {}).values())) / max(seconds, 1e-3))

    def _judged(self, *, counted: bool) -> None:
        if (report := self.watched.report()) is None:
            return
        if counted:
            self._tell("verdicts", 1, verdict=report["verdict"])
        for finding in report["findings"]:
            labels = {"check": finding["check"], "verdict": finding["verdict"]}
            if counted:
                self._tell("check.verdicts", 1, **labels)
            for what in ("value", "limit"):
                if finding[what] is not None:
                    self._tell(f"check.{what}", float(finding[what]), check=finding["check"])

    def _memory(self, stage: str) -> None:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        self._tell("memory.peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, stage=stage)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            self._tell("gpu.memory.peak", torch.cuda.max_memory_allocated(), stage=stage)

    def _tell(self, name: str, value: float, **labels: str) -> None:
        instrument = self.instruments[name]
        told = {**self.labels, **{f"counterpoise.{label}": text for label, text in labels.items()}}
        getattr(instrument, {"counter": "add", "histogram": "record", "gauge": "set"}[_KINDS[name]])(value, told)


class _Pace:
    """How many steps a second a training makes. Not from nought: it may go on from a checkpoint, and another may follow it."""

    def __init__(self) -> None:
        self.what, self.first, self.last, self.since = "", 0, 0, 0.0

    def after(self, done: int, what: str) -> float | None:
        """Steps a second until now; None of what has only begun."""
        now = time.monotonic()
        if what != self.what or done < self.last:
            self.what, self.first, self.since = what, done, now
        self.last = done
        return (done - self.first) / (now - self.since) if done > self.first and now > self.since else None


_KINDS = {name: kind for name, kind, _, _ in INSTRUMENTS}


def _provider(watched: Watched, exporter: Any) -> MeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    about = {
        "service.version": version("counterpoise"),
        "service.instance.id": str(uuid.uuid4()),
        "counterpoise.run": watched.called,
    }
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        about["service.name"] = "counterpoise"
    # Ended by us, who wait no longer than PATIENCE.
    reader = PeriodicExportingMetricReader(exporter)
    return MeterProvider([reader], resource=Resource.create(about), shutdown_on_exit=False)


def _instruments(meter: Meter) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, kind, unit, text in INSTRUMENTS:
        more = {"explicit_bucket_boundaries_advisory": SECONDS} if kind == "histogram" else {}
        made[name] = getattr(meter, f"create_{kind}")(f"counterpoise.{name}", unit=unit, description=text, **more)
    return made
