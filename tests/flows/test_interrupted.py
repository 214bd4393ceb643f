"""Is a run that was stopped between two steps of its bookkeeping the same run afterwards?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flows.run import UNFINISHED, Run, alone
from flows.stages import publish
from flows.walk import walk
from tests.flows.test_walk import TINY_GAN, start


@pytest.fixture
def stopped(plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Run]:
    """A run that is stopped after its version is published and before that is written down."""

    def run() -> Run:
        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        this = start(plan_file, *TINY_GAN)
        with monkeypatch.context() as patch:
            patch.setattr(publish, "write_text", stop)
            with pytest.raises(KeyboardInterrupt):
                walk(this)
        return this

    return run


def test_what_was_published_as_the_run_was_stopped_is_not_published_twice(stopped: Callable[[], Run]) -> None:
    run = stopped()
    to = publish.make_publisher(run.plan)
    assert to.versions() == ["v000001"] and UNFINISHED in run.stages
    (pointer := Path(to.uri("LATEST"))).unlink()  # as if stopped before it was set
    facts = walk(run)["publish"]
    assert (facts["version"], facts["uri"]) == ("v000001", to.uri("v000001"))
    assert to.versions() == ["v000001"] and pointer.read_text() == "v000001\n"
    assert UNFINISHED not in run.stages
    assert walk(run.renewed())["publish"]["version"] == "v000002"


def test_a_version_of_another_run_is_not_taken_for_ones_own(stopped: Callable[[], Run], plan_file: Path) -> None:
    run = stopped()
    to = publish.make_publisher(run.plan)
    Path(to.uri("v000001")).rename(plan_file.parent / "away")
    walk(start(plan_file, *TINY_GAN, "seed=8"))
    assert walk(run)["publish"]["version"] == "v000003"
    assert to.versions() == ["v000002", "v000003"]


def test_a_version_that_was_removed_is_published_again_once(plan_file: Path) -> None:
    run = start(plan_file, *TINY_GAN)
    to = publish.make_publisher(run.plan)
    walk(run)
    Path(to.uri("v000001")).rename(plan_file.parent / "away")
    assert [walk(run)["publish"]["version"] for _ in range(3)] == ["v000002"] * 3
    assert to.versions() == ["v000002"]


def test_a_second_command_leaves_the_bookkeeping_of_the_first_alone(plan_file: Path) -> None:
    run = start(plan_file)
    with run.locked():
        before = {path: path.read_bytes() for path in run.folder.iterdir()}
        inode = (run.folder / "stages.json").stat().st_ino
        start(plan_file)
        assert {path: path.read_bytes() for path in run.folder.iterdir()} == before
        assert (run.folder / "stages.json").stat().st_ino == inode


def test_what_all_runs_count_together_is_counted_one_at_a_time(tmp_path: Path) -> None:
    (count := tmp_path / "count").write_text("0")

    def add(_: int) -> None:
        with alone(tmp_path / "lock"):
            before = int(count.read_text())
            time.sleep(0.002)
            count.write_text(str(before + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert count.read_text() == "40"


def test_the_run_that_was_begun_last_is_the_latest_though_the_clock_was_set_back(plan_file: Path) -> None:
    first = start(plan_file)
    ahead = first.touched + 86_400
    for path in first.folder.iterdir():  # as if it had been made before the clock was set back by a day
        os.utime(path, (ahead, ahead))
    second = start(plan_file, "seed=8")
    runs = plan_file.parent / "runs"
    assert Run.find("mixed", runs).folder == second.folder
    assert start(plan_file).folder == first.folder
    assert Run.find("mixed", runs).folder == first.folder
