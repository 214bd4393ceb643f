"""Does a verb end with its own exit code when nobody reads its output any more?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def piped(arguments: list[object], *, stream: str) -> int:
    """The exit code of a verb whose `stream` goes into a pipe that was closed at its other end before it began."""
    command = [sys.executable, "-m", "flows", *map(str, arguments)]
    out, err = (subprocess.PIPE if stream == name else subprocess.DEVNULL for name in ("stdout", "stderr"))
    with subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err) as job:
        getattr(job, stream).close()
        return int(job.wait())


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_dry_run_that_nobody_reads_ends_well(plan_file: Path, tmp_path: Path, stream: str) -> None:
    assert piped(["plan", plan_file, "--no-measure", "--runs", tmp_path / "runs"], stream=stream) == 0


def test_bad_input_stays_bad_input(tmp_path: Path) -> None:
    assert piped(["plan", tmp_path / "none.yaml"], stream="stderr") == 2


def test_a_run_that_nobody_follows_runs_to_its_verdict(plan_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    code = piped(["run", plan_file, "--runs", runs, "-o", "generator.use=bootstrap"], stream="stderr")
    assert code == 3  # copies: blocked
    assert list(runs.rglob("report.json"))
