"""Is nothing lost in some trials of each fault? All of them, and many more, are tried by `make chaos`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.chaos import __main__ as chaos
from benchmarks.chaos import bucket, checkpoint, clock, crowd, disk, kills, memory, source
from benchmarks.chaos.ground import Ended, Ground, Trial, differs
from tests.data.publishing import ROOT


@pytest.mark.parametrize(
    ("trials", "count"),
    [
        (kills.trials, 3),
        (disk.trials, 2),
        (bucket.trials, 2),
        (crowd.trials, 3),
        (clock.trials, 1),
        (checkpoint.trials, 1),
        (source.trials, 3),
        (memory.trials, 1),
    ],
    ids=lambda value: value.__module__.rsplit(".", 1)[-1] if callable(value) else "",
)
def test_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: Callable[[Path, int, int], Iterator[Trial]], count: int
) -> None:
    if trials is disk.trials and not disk.allowed(tmp_path):
        pytest.skip("mounting a small tmpfs is not permitted here")
    if trials is bucket.trials:
        pytest.importorskip("moto.server")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = list(trials(tmp_path, count, 1))
    assert len(found) == count
    assert [trial for trial in found if trial.lost is not None] == []


def test_what_is_lost_is_seen(tmp_path: Path) -> None:
    """The judgement itself: half a version, a pointer to nothing, other bytes, another end than a sentence."""
    ground = Ground(tmp_path)
    assert ground.broken() is None and ground.published() == {}
    (ground.dataset / "v000001").mkdir(parents=True)
    (ground.dataset / "LATEST").write_text("v000001\n")
    assert ground.broken() == "LATEST names v000001, which is no version"
    (ground.dataset / "LATEST").unlink()
    assert ground.broken() == "half a version: v000001"
    assert differs({"a": "1"}, {"a": "2"}) == "a is another"
    assert differs({}, {"a": "2"}) == "a is missing" and differs({"a": "2"}, {}) == "a is one too many"
    said = "counterpoise: the disk is full\n"
    assert Ended(2, said).wrong(2) is None
    for wrong in (Ended(1, said), Ended(2, said + said), Ended(2, ""), Ended(2, "Traceback (most recent call last)\n" + said)):
        assert wrong.wrong(2) is not None


def test_publishers_that_lose_are_seen(tmp_path: Path) -> None:
    for run_id in ("a", "b"):
        crowd.publish(crowd.Publisher(str(tmp_path), "rows"), tmp_path / "w", run_id)
    assert crowd.wrong(tmp_path, "rows", ["v000001", "v000002"], 2) is None
    assert crowd.wrong(tmp_path, "rows", ["v000001", "v000001"], 2) == "1 numbers for 2 versions"
    assert crowd.wrong(tmp_path, "rows", ["v000001", "v000002", "v000003"], 3) == "2 versions are there of 3"
    (tmp_path / "rows/LATEST").write_text("v000001\n")
    assert crowd.wrong(tmp_path, "rows", ["v000001", "v000002"], 2) == "LATEST is v000001, the newest v000002"


@pytest.mark.parametrize("how", checkpoint.DAMAGES)
def test_damages_damage(how: str) -> None:
    held = bytes(range(1, 256)) * 10
    assert checkpoint.DAMAGES[how](held, np.random.default_rng(0)) != held


def test_the_page_counts(tmp_path: Path) -> None:
    held = {"kills": {"trials": 3, "seed": 7, "seconds": 9, "lost": ["in fit: half a version"], "where": {"in fit": 3}}}
    text = "\n".join(chaos.page(held))
    assert "| SIGKILL to the process group at any moment | 3 | 1 | 7 |" in text
    assert "| **all** | **3** | **1** |" in text and "lost: in fit: half a version" in text
