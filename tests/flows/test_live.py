"""Is it seen from outside what a run does, and not believed of a process that is dead?"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.live import Pulse, at_work, doing
from flows.run import AT_WORK, Run
from flows.walk import walk
from tests.conftest import ROOT


def fresh(tmp_path: Path) -> Run:
    folder = tmp_path / "runs/mixed/0123456789"
    folder.mkdir(parents=True)
    (folder / "plan.yaml").write_text("name: mixed\n")
    return Run(folder)


def test_what_is_at_work_is_told_of_and_how_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fresh(tmp_path)
    assert at_work(run) is None
    monkeypatch.setattr("flows.live.EVERY", 0.0)
    progress = Pulse(run.folder).begin("fit")
    assert (told := at_work(run)) and re.fullmatch(r"fit for \d s", doing(told))
    progress.advance(10, 40, "epoch", critic=1.234567, generator=-0.5, moments=3.0)
    time.sleep(0.05)
    progress.advance(20, 40, "epoch", critic=1.234567, generator=-0.5, moments=3.0)
    told = at_work(run)
    assert told and re.fullmatch(r"fit for \d s, epoch 20 of 40, critic 1\.23, generator -0\.5, about \d s left", doing(told))


def test_the_file_is_written_now_and_then(tmp_path: Path) -> None:
    run = fresh(tmp_path)
    progress = Pulse(run.folder).begin("fit")
    for done in range(1000):
        progress.advance(done, 1000, "step")
    told = at_work(run)
    assert told and "done" not in told  # within the first second only that it began


@pytest.mark.parametrize("damaged", ["", "{", "[]", "{}", '{"process": "x", "host": 1}'])
def test_what_is_damaged_says_nothing(tmp_path: Path, damaged: str) -> None:
    run = fresh(tmp_path)
    (run.folder / AT_WORK).write_text(damaged)
    assert at_work(run) is None


def test_a_dead_process_and_a_silent_machine_do_no_work(tmp_path: Path) -> None:
    run = fresh(tmp_path)
    Pulse(run.folder).begin("fit")
    path = run.folder / AT_WORK
    told = json.loads(path.read_text())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path.write_text(json.dumps({**told, "process": child.pid}))
    assert at_work(run) is None
    path.write_text(json.dumps({**told, "process": child.pid, "host": "elsewhere"}))
    assert at_work(run) is not None
    os.utime(path, (time.time() - 700, time.time() - 700))
    assert at_work(run) is None


def test_a_place_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    progress = Pulse(tmp_path / "gone").begin("fit")
    progress.advance(1, 2, "step")


def test_a_run_that_ended_does_nothing(plan_file: Path, tmp_path: Path) -> None:
    from configs.load import load
    from flows.stages.read import fingerprint

    plan = load(plan_file, ["generator.use=smote"])
    run = Run.open(tmp_path / "runs", plan, fingerprint(plan))
    seen = []

    class Looks:
        def begin(self, stage: str) -> object:
            seen.append((at_work(run) or {}).get("stage"))
            from generators.base import SILENT

            return SILENT

        def end(self, *_: object) -> None: ...

    walk(run, Looks())  # type: ignore[arg-type]
    assert seen == ["read", "profile", "choose", "split", "fit", "sample", "judge", "publish"]
    assert not (run.folder / AT_WORK).exists()


def test_without_a_terminal_there_is_no_live_table(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["runs", "--watch", "--runs", str(tmp_path)])
    assert done.exit_code == 2 and "--watch shows a table on a terminal" in done.stderr


def test_the_table_follows_a_run_until_ctrl_c(tmp_path: Path) -> None:
    run = fresh(tmp_path)
    here, there = pty.openpty()
    command = [sys.executable, "-m", "flows", "runs", "--watch", "--every", "0.2", "--runs", str(tmp_path / "runs")]
    watcher = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, cwd=ROOT, start_new_session=True)
    os.close(there)
    try:
        assert b"begun" in _read_until(here, b"begun")
        Pulse(run.folder).begin("judge")
        assert b"judge for" in _read_until(here, b"judge for")
        watcher.send_signal(signal.SIGINT)
        _read_until(here, b"nothing says this", patience=60.0, until=lambda: watcher.poll() is not None)
        assert watcher.poll() == 0
    finally:
        watcher.kill()
        os.close(here)


def _read_until(handle: int, words: bytes, patience: float = 60.0, until: Callable[[], bool] = lambda: False) -> bytes:
    """What was read until these words came; until: another end. A terminal that nobody reads makes its writer wait."""
    found, end = b"", time.monotonic() + patience
    while words not in found and time.monotonic() < end and not until():
        if select.select([handle], [], [], 0.2)[0]:
            with contextlib.suppress(OSError):  # its other end is closed
                found += os.read(handle, 1 << 16)
    return found
