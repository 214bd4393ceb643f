"""Does the benchmark of modes count what it says?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.modes import MIXTURES, SCHEMA, main
from data.dataset import Dataset


@pytest.mark.parametrize(("name", "modes", "deviation"), [("ring", 8, 0.01), ("grid", 25, 0.05)])
def test_drawn_rows_of_the_mixture_itself_hold_all_modes(name: str, modes: int, deviation: float) -> None:
    mixture = MIXTURES[name]
    assert len(mixture.middles) == modes
    rows = mixture.draw(2_500, 0)
    count, good = mixture.count(rows)
    assert count == modes
    assert good == pytest.approx(1 - np.exp(-4.5), abs=0.01)  # two dimensions: Rayleigh
    gaps = np.stack([np.asarray(rows.column(c).to_numpy()) for c in ("x", "y")], axis=1)[:, None] - mixture.middles[None]
    nearest = np.take_along_axis(gaps, np.linalg.norm(gaps, axis=2).argmin(axis=1)[:, None, None], axis=1)
    assert nearest.std() == pytest.approx(deviation, rel=0.05)


def test_a_lost_mode_and_stray_rows_are_counted() -> None:
    mixture = MIXTURES["ring"]
    kept = mixture.middles[1:]
    stray = np.zeros((7, 2))  # the middle of the ring
    rows = np.concatenate([kept, kept, kept, stray])
    held = Dataset(pa.table({"x": rows[:, 0], "y": rows[:, 1]}), SCHEMA)
    assert mixture.count(held) == (7, 0.75)


def test_a_page_is_written_with_every_trial(tmp_path: Path) -> None:
    out = tmp_path / "modes.md"
    assert main(["--families", "bootstrap", "--trials", "2", "--rows", "500", "--out", str(out)]) == 0
    assert "| bootstrap | 2 | 8.0 | 2 of 2 |" in out.read_text()
    assert "| bootstrap | 2 | 25.0 | 2 of 2 |" in out.read_text()
    assert main(["--families", "nosuch", "--trials", "1", "--rows", "50", "--out", ""]) == 2
