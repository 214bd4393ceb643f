"""Does a run that tells a Prefect server end when that server dies at any stage?"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from benchmarks.chaos.ground import Ground, Trial, differs, undisturbed, until
from benchmarks.chaos.kills import STAGES

LOST = "the run does not end with exit code 0 and the bytes that it publishes without a server, or does not say that it goes on"
#: How long a server may take to begin, in seconds.
BEGIN = 300.0


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """A server for each trial, killed as a stage begins: the longer ones first."""
    whole = undisturbed(folder / "undisturbed")
    order = ("fit", "judge", "publish", *(stage for stage in STAGES if stage not in ("fit", "judge", "publish")))
    for number in range(count):
        yield _dying(folder / f"server{number:03d}", order[(number + seed) % len(order)], whole)


def _dying(folder: Path, stage: str, whole: Mapping[str, str]) -> Trial:
    with server(folder.with_name(f"{folder.name}-prefect")) as (url, kill):
        ground = Ground(folder, environment={"PREFECT_API_URL": url, "PREFECT_HOME": str(folder / "prefect")})
        command = ground.start("--engine", "prefect")
        until(lambda: f"{stage} begins" in ground.log, command)
        kill()
        ended = command.end()
    told = None if "goes on without telling it" in ended.said else f"nothing is said of it: {ended.last}"
    return Trial(f"at {stage}", ended.wrong(0) or told or ground.broken() or differs(ground.published(), whole))


@contextlib.contextmanager
def server(home: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A Prefect server: its address, and what kills it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    quiet = {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    process = subprocess.Popen(
        command, env=os.environ | quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    try:
        _await(f"http://127.0.0.1:{port}/api", process)
        yield f"http://127.0.0.1:{port}/api", kill
    finally:
        kill()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + BEGIN
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310  # our own address
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"no Prefect server answers at {url}")
