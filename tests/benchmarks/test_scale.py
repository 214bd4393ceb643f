"""Does the benchmark of scale find the seconds that draws were made of, and foretell no more than follows from them?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.scale import FEW, MANY, MODES, TIMES, Turn, drawn, line, lines, taken
from benchmarks.scale_page import GOAL, Line, Mode, driven, foretold, keeps_up, page
from flows.begin import loaded
from flows.run import Run
from flows.stages import STEPS, perform
from flows.stages.read import fingerprint
from tests.conftest import mixed_table

TRUE = {"clock": Line(6.0, 0.25, 2e-5), "workers": Line(4.0, 0.2, 2e-5), "driver": Line(1.0, 0.01, 5e-7)}
ABOUT: dict[str, Any] = {
    "family": "gan", "rows": 1_000, "turns": 3, "seed": 0, "times": TIMES, "files": (FEW, MANY), "cores": 2, "machine": "x",
    "python": "3", "versions": "ray 2", "bytes": 25.0,
}  # fmt: skip


def made(mode: Mode, rows: int, shards: int) -> Turn:
    """What a draw would be that follows TRUE, two workers at twice the pace."""
    clock, workers, driver = (TRUE[name].of(rows, shards) for name in ("clock", "workers", "driver"))
    return Turn(rows, shards, 6.0 + (clock - 6.0) / mode.workers, workers, driver, 25 * rows)


def test_seconds_are_taken_apart_and_one_slow_turn_does_not_matter() -> None:
    found = taken(made, 100_000, 3)
    slow = found[MODES[0]][5]
    found[MODES[0]][5] = Turn(slow.rows, slow.shards, 9 * slow.clock, 9 * slow.workers, slow.driver, slow.size)
    alone = lines(found)[Mode("ray", 1)]
    for name, true in TRUE.items():
        assert (alone[name].start, alone[name].shard, alone[name].row) == pytest.approx((true.start, true.shard, true.row))
    two = line(found[Mode("local", 2)], lambda turn: turn.clock)
    assert two.pace / alone["clock"].pace == pytest.approx(2.0)


def test_every_size_is_drawn_as_often_in_every_mode_and_never_twice_in_the_same_order() -> None:
    asked: list[tuple[Mode, int, int]] = []

    def draw(mode: Mode, rows: int, shards: int) -> Turn:
        asked.append((mode, rows, shards))
        return made(mode, rows, shards)

    found = taken(draw, 1_000, 3)
    turns = [asked[len(MODES) + 16 * i :][:16] for i in range(3)]
    assert len(asked) == len(MODES) + 48 and all(len(set(turn)) == 16 for turn in turns)
    assert len({tuple(turn) for turn in turns}) == 3 and all(len(each) == 12 for each in found.values())


def test_a_hundred_million_rows_take_the_longer_of_workers_and_driver() -> None:
    found = lines(taken(made, 100_000, 1))
    workers, driver = foretold(found, 2)
    assert workers == pytest.approx((2 + (100 * 0.2 + GOAL * 2e-5) / 2) / 60)
    assert driver == pytest.approx((1 + 100 * 0.01 + GOAL * 5e-7) / 60)
    assert keeps_up(found, 100.0) == pytest.approx(GOAL * (2e-5 + 2e-7) / 100)
    assert driven(found, ABOUT) == pytest.approx(60 * driver)
    assert driven(found, ABOUT | {"checked": (GOAL // 10, {Mode("ray", 2): (1.0, 9.0)})}) == pytest.approx(90)
    text = "\n".join(page(found, ABOUT))
    minutes = [float(told) for told in re.findall(r"^\| \d+ of a cluster.*?\| ([\d.]+) \|", text, re.MULTILINE)]
    assert minutes == sorted(minutes, reverse=True) and minutes[-1] == pytest.approx(max(foretold(found, 32)), abs=0.1)
    assert "| `--on ray --workers 2` | 6.0 s |" in text and "2.00" in text and "2.3 GiB" in text
    assert "Not measured: GPUs" in text and "Tried once" not in text
    tried = "\n".join(page(found, ABOUT | {"checked": (2_000_000, {Mode("local", 2): (31.0, 1.2)})}))
    assert "- `--workers 2`: 31 s, where the line says 26 s; the driver spent 1.2 s of its processor." in tried


def test_a_draw_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    pq.write_table(mixed_table(), tmp_path / "mixed.parquet")
    (tmp_path / "mixed.yaml").write_text(
        f"name: mixed\ndata: {{use: parquet, path: '{tmp_path}/mixed.parquet'}}\ntarget: label\ngenerator: {{use: bootstrap}}\n"
    )
    plan = loaded(tmp_path / "mixed.yaml", [])
    run = Run.open(tmp_path / "runs", plan, fingerprint(plan))
    for stage in list(STEPS)[: list(STEPS).index("fit") + 1]:
        perform(run, stage)
    turn = drawn(run, Mode("local", 1), 2_000, 2, tmp_path / "rows", seed=0)
    assert (turn.rows, turn.shards) == (2_000, 2) and turn.size > 2_000
    assert turn.clock > 0 and turn.workers > 0 and turn.driver > 0
    assert not (tmp_path / "rows").exists()
