"""Is a release that is stopped in the middle of its fit charged once, and is nothing half done left behind?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from flows.ledger import account
from generators.tabular import dp_autoregressive
from generators.tabular._dp_sgd import Schedule
from tests.flows.test_release import desk, said

pytest.importorskip("opacus")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
ROOT = Path(__file__).resolve().parents[2]
__all__ = ["desk"]


@contextmanager
def started(desk: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A run in a process of its own, with the lines that it says on stderr as they come; ended whatever happens."""
    command = [sys.executable, "-m", "flows", "run", "plan.yaml", "-o", "generator.steps=20000"]
    # What a shell starts in the background ignores SIGINT and hands that down; what a terminal starts does not.
    process = subprocess.Popen(
        command, cwd=desk, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield process, lines
        process.wait(timeout=120)
        reader.join(timeout=10)
    finally:
        process.kill()


def charged(desk: Path) -> list[str]:
    """The states of the ledger's entries."""
    return [entry.state for entry in account(desk / "privacy.sqlite", "people", "").entries]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("moment", ["as soon as it is entered", "between two steps"])
def test_ctrl_c_in_a_fit_leaves_nothing_half_done_and_is_charged_once(
    desk: Path, monkeypatch: pytest.MonkeyPatch, moment: str  # noqa: F811
) -> None:  # fmt: skip
    with started(desk) as (process, lines):
        for _ in range(6000):
            learning = any(line.startswith("fit ") and " step " in line for line in lines)
            if process.poll() is not None or (learning if "steps" in moment else charged(desk)):
                break
            time.sleep(0.05)
        assert process.poll() is None and charged(desk) == ["reserved"], lines
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 130, lines
    told = [line for line in lines if line.startswith("counterpoise:")]
    assert len(told) == 1 and "stopped; the same command keeps what is finished" in told[0] and "charged once" in told[0]
    assert lines[-1] == told[0] and not any("Traceback" in line for line in lines)
    run = next((desk / "runs/people").iterdir())
    assert not (desk / "published").exists() and not {p.name for p in run.iterdir()} & {"model", "model.part", "training.json"}
    assert charged(desk) == ["reserved"]
    # The same command again, to the end: of the many steps five are enough to see what is charged.
    monkeypatch.setattr(dp_autoregressive, "Schedule", lambda *told: replace(Schedule(*told), steps=5))
    code, shown = said("run", "plan.yaml", "--quiet", "-o", "generator.steps=20000")
    assert code in (0, 3, 4), shown
    assert charged(desk) == ["spent"] and account(desk / "privacy.sqlite", "people", "").epsilon == 8
    assert [p.name for p in (desk / "runs/people").iterdir()] == [run.name] and list(
        (desk / "published").rglob("manifest.json")
    )
