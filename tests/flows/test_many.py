"""Are many rows in many files the same bytes every time, whoever draws which, and is nothing left half-written?"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from tests.conftest import ROOT
from tests.flows.test_cli import cli, refused, run

ROWS = 1_003


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `bootstrap` on rows with ids, fitted; where its runs lie."""
    from tests.conftest import mixed_table

    home = tmp_path_factory.mktemp("many")
    pq.write_table(mixed_table(), home / "mixed.parquet")
    plan = home / "mixed.yaml"
    plan.write_text(
        f"name: mixed\ndata: {{use: parquet, path: '{home}/mixed.parquet'}}\ntarget: label\ngenerator: {{use: bootstrap}}\n"
        f"publish: {{root: '{home}/published'}}\n"
    )
    assert run(plan).exit_code in (0, 3)
    return home / "runs"


def draw(runs: Path, out: Path, *more: object) -> Result:
    return cli("sample", "mixed", "--rows", ROWS, "--out", out, "--runs", runs, "--shards", 3, *more)


def prints(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_same_bytes_from_one_process_from_three_and_shard_by_shard(runs: Path, tmp_path: Path) -> None:
    answer = draw(runs, tmp_path / "a", "--workers", 1)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.strip() == str(tmp_path / "a")
    assert draw(runs, tmp_path / "b", "--workers", 3).exit_code == 0
    for shard in (2, 0, 1):
        assert draw(runs, tmp_path / "c", "--shard", shard).exit_code == 0
    assert prints(tmp_path / "a") == prints(tmp_path / "b") == prints(tmp_path / "c")
    assert len(set(prints(tmp_path / "a").values())) == 3
    assert draw(runs, tmp_path / "d", "--seed", 1).exit_code == 0
    assert not set(prints(tmp_path / "a").values()) & set(prints(tmp_path / "d").values())
    assert not list(tmp_path.glob("*.part*"))


def test_all_rows_are_there_with_ids_that_none_shares(runs: Path, tmp_path: Path) -> None:
    assert draw(runs, tmp_path / "a", "--where", "label=rare").exit_code == 0
    files = sorted((tmp_path / "a").iterdir())
    assert [path.name for path in files] == [f"part-{k:05d}-of-00003.parquet" for k in range(3)]
    assert [pq.read_metadata(path).num_rows for path in files] == [335, 334, 334]
    rows = pq.read_table(tmp_path / "a").to_pandas()
    assert set(rows["label"]) == {"rare"}
    assert rows["key"].is_unique


def test_what_cannot_be_drawn_is_said_and_leaves_nothing(runs: Path, tmp_path: Path) -> None:
    refused(draw(runs, tmp_path / "a", "--where", "label=rar"), "rar")
    refused(draw(runs, tmp_path / "a", "--where", "labl=rare"), "labl")
    refused(draw(runs, tmp_path / "a", "--shard", 3), "0 to 2")
    refused(draw(runs, tmp_path / "a.parquet"), "--shards", "folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note.txt").write_text("mine")
    refused(draw(runs, tmp_path / "full"), "not empty")
    assert draw(runs, tmp_path / "full", "--shard", 1).exit_code == 0  # beside what other machines wrote
    refused(draw(runs, tmp_path / "full", "--shard", 1), "there already")
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["note.txt", "part-00001-of-00003.parquet"]


def test_an_interrupt_stops_all_processes_and_leaves_nothing(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    asked = ["sample", "mixed", "--rows", "90000000", "--shards", "2", "--out", str(out), "--runs", str(runs)]
    command = [sys.executable, "-m", "flows", *asked]
    # What a shell starts in the background ignores SIGINT and hands that down; what a terminal starts does not.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    work = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard)
    beside = out.with_name("rows.part")
    began = time.monotonic()
    while not (beside.is_dir() and len(list(beside.iterdir())) == 2):
        assert work.poll() is None and time.monotonic() - began < 120
        time.sleep(0.2)
    # As a terminal does it: all processes of the group hear of it.
    os.killpg(work.pid, signal.SIGINT)
    said = work.communicate(timeout=120)[1]
    assert work.returncode == 130
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
