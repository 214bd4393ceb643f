"""The stages as Prefect tasks: thin wrappers that pass a folder, never frames or models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.logging import get_run_logger
from prefect.tasks import Task

from data.errors import UserError
from data.words import untagged
from flows.followers import following
from flows.ground import HOW, Attempt, tried_by
from flows.live import Pulse
from flows.run import Run
from flows.shortage import ShortageError
from flows.tell import Both, Log, Teller, console, sentence
from flows.walk import told
from generators.base import Progress

#: A progress artifact is updated at most this often, in seconds.
EVERY = 2.0


class _Server:
    """Tells the Prefect server: a log line a stage, a progress artifact for long ones."""

    def begin(self, stage: str) -> Progress:
        return _ServerProgress(stage)

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        get_run_logger().info("%s: %s (%.1f s)", stage, sentence(stage, how, facts), seconds)


class _ServerProgress:
    def __init__(self, stage: str) -> None:
        self.stage, self.last, self.artifact = stage, time.monotonic(), None

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        if time.monotonic() - self.last < EVERY and done < total:
            return
        self.last = time.monotonic()
        share, said = 100.0 * done / max(total, 1), f"{self.stage}: {what} {done:,} of {total:,}"
        if self.artifact is None:
            self.artifact = create_progress_artifact(progress=share, description=said)  # type: ignore[assignment]
        else:
            update_progress_artifact(artifact_id=self.artifact, progress=share, description=said)


def _worth_retrying(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    # What the user must mend does not mend itself.
    try:
        state.result()
    except ShortageError:
        return True
    except UserError:
        return False
    except Exception:  # any other fault may be a passing one: a database, a store
        return True
    return False


def _do(folder: str, stage: str, quiet: bool) -> dict[str, Any]:
    run = Run(Path(folder))
    with console(quiet=quiet, run=run) as screen:
        tellers: Teller = Both(Log(run.folder / "run.log"), Pulse(run.folder), screen, _Server(), *following())
        return told(run, stage, tellers)


#: Seconds for which a device stays taken by a process that was killed.
LEASE = 60


def _on_device(device: str) -> str:
    """One fit at a time on a device: make sure that the limit is there, since a strict lock needs it."""
    name = f"counterpoise-{device.replace(':', '-')}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    return name


@task(name="read", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=_worth_retrying)
def read(folder: str, quiet: bool = False) -> dict[str, Any]:
    return _do(folder, "read", quiet)


@task(name="profile")
def profile(folder: str, quiet: bool = False) -> dict[str, Any]:
    return _do(folder, "profile", quiet)


@task(name="choose")
def choose(folder: str, quiet: bool = False) -> dict[str, Any]:
    # Where the family is found by trials, each of them is a task.
    plain = HOW.get()
    with tried_by(lambda job, seconds: trial.with_options(task_run_name=Path(job).name)(job, seconds, plain)):
        return _do(folder, "choose", quiet)


@task(name="trial")
def trial(job: str, seconds: float, plain: Attempt) -> Mapping[str, Any]:
    return plain(job, seconds)


@task(name="split")
def split(folder: str, quiet: bool = False) -> dict[str, Any]:
    return _do(folder, "split", quiet)


@task(name="fit", retries=1, retry_delay_seconds=5, retry_condition_fn=_worth_retrying)
def fit(folder: str, quiet: bool = False) -> dict[str, Any]:
    # A second try goes on from the last checkpoint.
    with concurrency(_on_device(Run(Path(folder)).plan.device), strict=True, lease_duration=LEASE):
        return _do(folder, "fit", quiet)


@task(name="sample")
def sample(folder: str, quiet: bool = False) -> dict[str, Any]:
    with concurrency(_on_device(Run(Path(folder)).plan.device), strict=True, lease_duration=LEASE):
        return _do(folder, "sample", quiet)


@task(name="judge")
def judge(folder: str, quiet: bool = False) -> dict[str, Any]:
    facts = _do(folder, "judge", quiet)
    _show_verdict(Run(Path(folder)), facts)
    return facts


@task(name="publish", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=_worth_retrying)
def publish(folder: str, quiet: bool = False) -> dict[str, Any]:
    return _do(folder, "publish", quiet)


def _show_verdict(run: Run, facts: Mapping[str, Any]) -> None:
    import json

    report = json.loads((run.folder / "report.json").read_text())
    rows = [
        {
            "check": f["check"],
            "verdict": f["verdict"],
            "value": f["value"],
            "limit": f["limit"],
            "real": f["reference"],
            "says": f["summary"],
        }
        for f in report["findings"]
    ]
    create_table_artifact(rows, key="verdict", description=untagged(f"**{facts['verdict']}**: {facts['reason']}"))
    create_link_artifact((run.folder / "report.html").resolve().as_uri(), link_text="report", key="report")
