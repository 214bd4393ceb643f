"""Does a run end though nobody answers at the address of its Prefect server?"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def nobody() -> str:
    """An address that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/api"


def told(plan_file: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`counterpoise run --engine prefect` in a process of its own, with which ends what Prefect leaves behind."""
    folder = plan_file.parent
    command = [sys.executable, "-m", "flows", "run", str(plan_file), "--engine", "prefect", "--quiet", *words]
    environment = {
        **os.environ,
        "PREFECT_API_URL": url,
        "PREFECT_CLIENT_MAX_RETRIES": "0",
        "PREFECT_HOME": str(folder / "prefect"),
    }
    environment |= {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_dead_server_is_done_without(plan_file: Path, nobody: str) -> None:
    done = told(plan_file, nobody, "-o", "generator.use=smote", "-o", "gate.alpha=1e-9")
    assert done.returncode == 0, done.stderr
    assert (plan_file.parent / "published/mixed/LATEST").read_text() == "v000001\n"
    assert done.stderr == (
        f"counterpoise: the Prefect server at {nobody} does not answer any more; the run goes on without telling it\n"
    )


def test_a_users_fault_stays_one_though_the_server_is_dead(plan_file: Path, nobody: str) -> None:
    (plan_file.parent / "mixed.csv").write_text("")
    done = told(plan_file, nobody)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "mixed.csv is empty" in last and "Traceback" not in done.stderr, done.stderr
