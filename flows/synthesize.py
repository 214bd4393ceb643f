"""The story of a run, told with Prefect: read, profile, choose, split, fit, sample, judge, publish or quarantine."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

# Set before Prefect is imported, and never over what the user has set.
_SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The run speaks for itself on the console; Prefect's own lines and tracebacks go to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FLOW_RUNS_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_TASK_RUNS_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # A server that is away for longer is done without: 6 s (2 + 4) for each of the calls that a task makes, where Prefect's own
    # five attempts more would be a minute for each.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    # Who holds a limit is kept in files, and for a minute: in memory it would be forgotten with a server that is killed, and
    # what it held would stay taken for good.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "60",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

from prefect import flow  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

from data.errors import UserError  # noqa: E402
from flows import steps  # noqa: E402
from flows.followers import followed  # noqa: E402
from flows.pipes import note, say  # noqa: E402
from flows.run import Run  # noqa: E402
from flows.tell import console  # noqa: E402
from flows.walk import perform_all  # noqa: E402
from flows.watched import Watched  # noqa: E402


@flow(name="synthesize", validate_parameters=False)
def synthesize(folder: str, quiet: bool = False) -> State[Mapping[str, Any]]:
    """The walk over a run's folder. The state is Failed when the gate blocks, so that automations hear of it."""
    for stage in (steps.read, steps.profile, steps.choose, steps.split, steps.fit, steps.sample):
        stage(folder, quiet)
    verdict = steps.judge(folder, quiet)
    published = steps.publish(folder, quiet)
    message = f"{verdict['verdict']}: {verdict['reason']}"
    if published["version"] is None:
        return Failed(name=verdict["verdict"].capitalize(), message=message)
    return Completed(name="Published", message=message)


@contextmanager
def server() -> Iterator[str]:
    """The Prefect server to tell: the one that the settings name, else one of our own for as long as it is needed.

    Prefect would start one itself, but in our process group: Ctrl-C would kill it, and a flow that cannot tell a dead
    server that it was stopped waits for minutes. Raises UserError when it does not answer in time."""
    if PREFECT_API_URL.value():
        yield str(PREFECT_API_URL.value())
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    # Prefect's own threads deliver the last logs and events when Python ends; they were registered later and so run
    # before this, while the server still answers.
    atexit.register(_end, process)
    url = f"http://127.0.0.1:{port}/api"
    _await(url, process)
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    limit = float(os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])
    started = time.monotonic()
    while time.monotonic() - started < limit and process.poll() is None:
        if _answers(url):
            return
        time.sleep(0.2)
    raise UserError(f"the embedded Prefect server did not answer within {limit:.0f} s; use --engine local, or name a server")


def _answers(url: str) -> bool:
    with suppress(OSError, HTTPException), urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310  # a server of ours
        return bool(answer.status == 200)
    return False


def tell(run: Run, *, quiet: bool) -> dict[str, Any]:
    """Run the flow on the server in use (an embedded one when none is named): {stage: its facts}.

    Raises what a stage raised."""
    # Of a release its alias: a server keeps what it is told.
    name = Watched.of(run).called
    if not quiet:
        where = PREFECT_API_URL.value() or "an embedded server; `prefect server start` shows it afterwards"
        note(f"prefect  flow synthesize, run {name}, told to {where}")
    # What cannot be told to a server is no concern of who reads along.
    logging.raiseExceptions = False
    with run.locked(), followed(run), server() as url:
        try:
            state = synthesize.with_options(flow_run_name=name)(str(Path(run.folder)), quiet, return_state=True)
            if state.is_crashed() or (state.is_failed() and state.name == "Failed"):
                state.result()
        except UserError:
            raise
        except Exception:
            if _answers(url):
                raise
            say(f"the Prefect server at {url} does not answer any more; the run goes on without telling it")
            with console(quiet=quiet, run=run) as screen:
                perform_all(run, screen)
    return {stage: entry["facts"] for stage, entry in run.stages.items() if isinstance(entry, dict)}
