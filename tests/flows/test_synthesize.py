"""Does Prefect tell the same story, with the same bytes?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from data.errors import DataError
from flows.run import Run
from flows.tell import Teller
from tests.conftest import ROOT
from tests.flows.test_walk import parquet_bytes, start


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    from flows import synthesize  # noqa: F401  # sets Prefect's environment before Prefect is imported

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.mark.usefixtures("server")
def test_both_engines_give_the_same_bytes_and_the_server_knows_the_verdict(plan_file: Path) -> None:
    from prefect.client.orchestration import get_client

    from flows.synthesize import tell
    from flows.walk import walk

    settings = ("generator.use=smote", "gate.alpha=1e-9")
    told = tell(start(plan_file, *settings), quiet=True)
    walked = walk(start(plan_file, *settings).renewed())
    assert told["publish"]["version"] == "v000001" and walked["publish"]["version"] == "v000002"
    assert parquet_bytes(Path(told["publish"]["uri"])) == parquet_bytes(Path(walked["publish"]["uri"]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
        artifacts = {artifact.key for artifact in client.read_artifacts()}
        limit = client.read_global_concurrency_limit_by_name("counterpoise-auto")
        tasks = {run.name.rpartition("-")[0] for run in client.read_task_runs()}
    assert {run.state.name for run in runs if run.state} == {"Published"}
    assert {"verdict", "report"} <= artifacts
    assert limit.limit == 1
    assert {"read", "profile", "choose", "split", "fit", "sample", "judge", "publish"} <= tasks


@pytest.mark.usefixtures("server")
def test_a_blocked_run_is_a_failed_flow(plan_file: Path) -> None:
    from flows.synthesize import synthesize, tell

    run = start(plan_file)  # bootstrap gives copies, which the gate blocks
    told = tell(run, quiet=True)
    assert told["judge"]["verdict"] in ("BLOCK", "INCONCLUSIVE")
    assert told["publish"]["version"] is None
    state = synthesize(str(run.folder), True, return_state=True)
    assert state.is_failed() and state.name == told["judge"]["verdict"].capitalize()


@pytest.mark.usefixtures("server")
def test_a_fault_of_the_user_is_raised_as_such(plan_file: Path) -> None:
    from flows.synthesize import tell

    run = start(plan_file)
    (plan_file.parent / "mixed.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="mixed.csv"):
        tell(run, quiet=True)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("fault", "tries"), [(ConnectionError("gone"), 2), (DataError("yours"), 1)], ids=["passing", "the user's"]
)
def test_a_passing_fault_is_tried_again_and_the_users_is_not(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, tries: int
) -> None:
    from flows import steps
    from flows.synthesize import tell

    seen: list[str] = []
    real = steps.told

    def told(run: Run, stage: str, teller: Teller) -> dict[str, object]:
        seen.append(stage)
        if seen == ["read"]:
            raise fault
        if stage == "profile":
            raise DataError("far enough")
        return real(run, stage, teller)

    monkeypatch.setattr(steps, "told", told)
    with pytest.raises(DataError):
        tell(start(plan_file), quiet=True)
    assert seen.count("read") == tries


@pytest.mark.usefixtures("server")
def test_followers_hear_of_stages_that_are_tasks(plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import followers
    from flows.synthesize import tell

    heard: list[str] = []

    class Ear:
        called, patience = "an ear", 5.0

        def end(self, stage: str, *_: object) -> None:
            heard.append(stage)

        def over(self, outcome: str) -> None:
            heard.append(outcome)

    monkeypatch.setattr(followers, "_made", lambda run: iter([Ear()]))
    table = plan_file.parent / "mixed.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(DataError):
        tell(start(plan_file), quiet=True)
    assert heard[0] == "read" and heard[-1] == "refused" and len(heard) == len(set(heard))


def test_ctrl_c_ends_at_once_and_the_same_command_goes_on(plan_file: Path) -> None:
    """A terminal sends SIGINT to the whole process group; the embedded server must outlive it."""
    folder = plan_file.parent
    command = [sys.executable, "-m", "flows", "run", str(plan_file), "--runs", str(folder / "runs"), "--engine", "prefect"]
    command += ["-o", "generator.use=gan", "-o", "generator.epochs=400", "-o", "generator.checkpoint_seconds=0"]
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    # What a shell starts in the background ignores SIGINT and hands that down; what a terminal starts does not.
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for _ in range(2400):
        if process.poll() is not None or list((folder / "runs").glob("mixed/*/checkpoint/*")):
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "counterpoise: stopped;" in said and "Traceback" not in said
