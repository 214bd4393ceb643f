"""What of a run does MLflow keep, where MLFLOW_TRACKING_URI names a server or a database?"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from configs.load import dump
from data.secrets import hidden
from flows.pipes import say
from flows.run import OUTSIDE, Run
from flows.watched import Watched

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
#: Seconds that the end of a run waits for MLflow; for a file longer, as a new one that is left half made is good for nothing.
PATIENCE, OF_FILE = 30.0, 300.0
#: The tag by which a run is found again.
CALLED = "counterpoise.run"
#: Points of a curve, characters of a parameter or tag, and entries of one request, at most.
POINTS, CHARACTERS, BATCH = 1000, 5000, 100
#: How MLflow calls the ends of runs; all others are FINISHED.
STATUS = {"refused": "FAILED", "failed": "FAILED", "stopped": "KILLED"}
#: Set before MLflow is imported, and never over what the user has set: a server that is away is given up soon.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "GIT_PYTHON_REFRESH": "quiet",
}


def follower(run: Run) -> Tracking | None:
    """Who tells MLflow; None where the environment names no place, or MLflow is not installed."""
    if not os.environ.get(URI):
        return None
    if importlib.util.find_spec("mlflow") is None:
        say(
            f"{URI} is set, but MLflow is not installed: pip install -c constraints.txt -e '.[mlflow]'; the run goes on "
            "without",
            level="warning",
        )
        return None
    return Tracking(Watched.of(run))


class Tracking:
    """Tells MLflow of one run. The same run tried again goes on in the same run of MLflow, found by its tag."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.patience = OF_FILE if os.environ[URI].startswith("sqlite:") else PATIENCE
        self.called = f"MLflow at {hidden(os.environ[URI])}"

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own, imported when the first stage has ended: it takes seconds."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        from mlflow import MlflowClient

        return MlflowClient()

    @cached_property
    def id(self) -> str:
        """The run of MLflow, begun with the parameters of the plan where there is none yet."""
        name = os.environ.get(EXPERIMENT) or self.watched.dataset
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        there = self.client.search_runs([experiment], f"tags.`{CALLED}` = '{self.watched.called}'", max_results=1)
        if there:
            self.client.update_run(there[0].info.run_id, status="RUNNING")
            return str(there[0].info.run_id)
        tags = {CALLED: self.watched.called, "counterpoise.dataset": self.watched.dataset}
        made = self.client.create_run(experiment, tags=tags, run_name=self.watched.called)
        self._parameters(made.info.run_id)
        return str(made.info.run_id)

    def advance(self, stage: str, done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
        if stage == "fit":
            told = self.watched.figures(figures)
            self._figures({f"training/{name}": [(done, value)] for name, value in told.items()})

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        told = self.watched.facts(stage, facts)
        if how == "done":
            self._figures({f"seconds/{stage}": [(0, seconds)]})
        for name in {"choose": ("family",), "publish": ("version", "uri")}.get(stage, ()):
            if told.get(name):
                self._tag(name, str(told[name]))
        if stage == "fit":
            self._curves()
        if stage == "judge":
            self._judged()

    def over(self, outcome: str) -> None:
        self._tag("outcome", outcome)
        self.client.set_terminated(self.id, STATUS.get(outcome, "FINISHED"))

    def _parameters(self, run: str) -> None:
        from mlflow.entities import Param
        from ruamel.yaml import YAML

        # As a version's manifest shows the plan of a release.
        without = {"data": True, "privacy": {"ledger"}} if self.watched.release else None
        plan = YAML(typ="safe", pure=True).load(dump(self.watched.run.plan, without=without))
        held = [Param(_key(name), hidden(str(value))[:CHARACTERS]) for name, value in _flat(plan)]
        for first in range(0, len(held), BATCH):
            self.client.log_batch(run, params=held[first : first + BATCH])

    def _curves(self) -> None:
        """The whole curve, but for points that are there already: told while it went on, or by a try that was killed."""
        path = self.watched.run.folder / "training.json"
        curves: dict[str, list[tuple[int, float]]] = {}
        for told in json.loads(path.read_text(encoding="utf-8")) if path.is_file() else ():
            step, *figures = told.items()
            for name, value in self.watched.figures(dict(figures)).items():
                curves.setdefault(f"training/{name}", []).append((int(step[1]), value))
        for name, points in curves.items():
            there = {point.step for point in self.client.get_metric_history(self.id, _key(name))}
            thinned = points[:: -(-len(points) // POINTS)]
            self._figures({name: [point for point in thinned if point[0] not in there]})

    def _judged(self) -> None:
        if (report := self.watched.report()) is None:
            return
        told = {"smallest_detectable_mode": report["smallest_detectable_mode"]}
        for finding in report["findings"]:
            told |= {f"check/{finding['check']}/{what}": finding[what] for what in ("value", "limit", "reference")}
            self._tag(f"check.{finding['check']}", finding["verdict"])
        there = self.client.get_run(self.id).data.metrics
        new = {name: float(value) for name, value in told.items() if value is not None and there.get(_key(name)) != value}
        self._figures({name: [(0, value)] for name, value in new.items()})
        self._tag("verdict", report["verdict"])
        self._tag("reason", report["reason"])
        folder = self.watched.run.folder / OUTSIDE if self.watched.release else self.watched.run.folder
        for made in ("report.html", "report.json"):
            self.client.log_artifact(self.id, str(folder / made))

    def _figures(self, curves: Mapping[str, list[tuple[int, float]]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        held = [Metric(_key(name), float(value), now, step) for name, points in curves.items() for step, value in points]
        for first in range(0, len(held), BATCH):
            self.client.log_batch(self.id, metrics=held[first : first + BATCH])

    def _tag(self, name: str, value: str) -> None:
        self.client.set_tag(self.id, f"counterpoise.{name}", hidden(value)[:CHARACTERS])


def _flat(value: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and what they hold; lists as they stand."""
    if not isinstance(value, Mapping):
        yield before, value
        return
    for name, held in value.items():
        yield from _flat(held, f"{before}.{name}" if before else str(name))


def _key(name: str) -> str:
    """A name with none but the signs that MLflow takes."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]
