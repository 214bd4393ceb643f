"""Is every plan of configs/runs a deployment that a worker can run, one night of a dataset at a time?"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from configs.load import load
from tests.conftest import ROOT

FILE = ROOT / "prefect.yaml"
PLANS = sorted(path.stem for path in (ROOT / "configs/runs").glob("*.yaml"))


def deployments() -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load(FILE.read_text())["deployments"])


def test_each_plan_has_one_deployment_at_a_time_of_its_own() -> None:
    found = deployments()
    assert [each["name"] for each in found] == PLANS
    for each in found:
        assert load(ROOT / each["parameters"]["plan"]).name
        assert each["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert each["work_pool"] == {"name": "counterpoise"} and each["parameters"]["keep"] >= 1
    when = [json.dumps(each["schedules"]) for each in found]
    assert len(set(when)) == len(when) and all("UTC" in each for each in when)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Prefect server of the test's own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"PREFECT_HOME": str(tmp_path / "prefect"), "DO_NOT_TRACK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        url = f"http://127.0.0.1:{port}/api"
        try:
            for _ in range(1800):
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=5)
                    break
                except (urllib.error.URLError, OSError):
                    assert running.poll() is None, (tmp_path / "server.log").read_text()
                    time.sleep(0.1)
            monkeypatch.setenv("PREFECT_API_URL", url)
            yield url
        finally:
            running.terminate()
            running.wait(60)


def prefect(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words], cwd=ROOT, env={**os.environ, "PWD": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def nights(api: str) -> dict[str, list[str]]:
    """Flow runs of the deployments that were asked for by hand: their states' types -> names."""
    ask = urllib.request.Request(
        f"{api}/flow_runs/filter", json.dumps({"limit": 200}).encode(), {"Content-Type": "application/json"}
    )
    found: dict[str, list[str]] = {}
    for run in json.load(urllib.request.urlopen(ask, timeout=30)):
        if not run["auto_scheduled"] and run["deployment_id"]:
            found.setdefault(run["state_type"], []).append(run["state_name"])
    return found


def test_a_worker_runs_a_deployment_and_leaves_an_overlapping_night_out(api: str, plan_file: Path) -> None:
    prefect("work-pool", "create", "counterpoise", "--type", "process")
    prefect("deploy", "--all")
    given = ["overrides=" + json.dumps(["generator.use=smote", "gate.alpha=1e-9"])]
    given += [f"plan={json.dumps(str(plan_file))}", f"runs={json.dumps(str(plan_file.parent / 'runs'))}"]
    for _ in range(2):
        prefect("deployment", "run", f"nightly/{PLANS[0]}", *(word for each in given for word in ("-p", each)))
    prefect("worker", "start", "--pool", "counterpoise", "--run-once")
    assert nights(api) == {"COMPLETED": ["Published"], "CANCELLED": ["Cancelled"]}
    assert (plan_file.parent / "published/mixed/LATEST").read_text() == "v000001\n"
