"""Do the figures behind the page's charts say what they claim?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from tests.validators.test_report import dataset, decision, evidence, schema
from validators.report import columns, members, near, pairs, render_html, text
from validators.report import rows as report_rows
from validators.report import training as losses


def test_bars_measure_total_variation() -> None:
    def drawn(values: list[str | None]) -> report_rows.Drawn:
        table = pa.table({"c": values})
        return report_rows.draw(Dataset(table, schema(table, {}, {"c": ("a", "b")})), seed=0)

    real, again, fake = drawn(["a"] * 6 + ["b"] * 4), drawn(["a"] * 5 + ["b"] * 5), drawn(["a"] * 2 + ["b"] * 4 + [None] * 4)
    bars = columns.compare(real.rows.schema["c"], real, again, fake)
    assert bars.names == ("a", "b", "missing")
    assert bars.difference == pytest.approx(0.4)
    assert bars.noise == pytest.approx(0.1)


def test_a_value_held_by_most_rows_stands_apart() -> None:
    drawn = report_rows.draw(evidence().reference, seed=0)
    bars = columns.compare(drawn.rows.schema["gain"], drawn, drawn, drawn)
    assert bars.names[0] == "= 0"
    assert bars.real[0] == pytest.approx(float(np.mean(drawn.rows.column("gain").to_numpy() == 0)))
    assert bars.real.sum() == pytest.approx(1)


def test_the_intended_mix_weighs_the_real_rows() -> None:
    drawn = report_rows.draw(evidence().reference, seed=0, mix={"yes": 0.5, "no": 0.5})
    bars = columns.compare(drawn.rows.schema["label"], drawn, drawn, drawn)
    assert sorted(bars.real) == pytest.approx([0.5, 0.5])


def test_a_dataset_on_disk_gives_the_rows_that_memory_gives(tmp_path: Path) -> None:
    held = evidence().reference
    held.write_parquet(tmp_path / "a.parquet")
    lazy = Dataset.from_parquet(tmp_path / "a.parquet", held.schema)
    one, other = (report_rows.draw(d, seed=3, limit=50).rows.table for d in (held, lazy))
    assert one.equals(other)
    assert len(one) == 50


def test_pair_strengths_match_known_values() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=2_000)
    group = np.where(x > 0, "up", "down")
    table = pa.table(
        {
            "x": x,
            "cube": x**3,
            "back": -x,
            "group": group,
            "twin": np.where(x > 0, "t", "u"),
            "coin": rng.choice(["h", "t"], 2_000),
        }
    )
    kinds = {"x": "numeric", "cube": "numeric", "back": "numeric"}
    levels = {"group": ("up", "down"), "twin": ("t", "u"), "coin": ("h", "t")}
    drawn = report_rows.draw(Dataset(table, schema(table, kinds, levels)), seed=0)
    real = pairs.trends(drawn.rows.schema.columns, drawn, drawn).real
    assert real[0, 1] == pytest.approx(1)
    assert real[0, 2] == pytest.approx(-1)
    # Two halves of uniform ranks explain three quarters of their spread.
    assert real[0, 3] == pytest.approx(np.sqrt(0.75), abs=0.01)
    assert real[3, 4] == pytest.approx(1)
    assert real[3, 5] < 0.06


@pytest.mark.parametrize(
    ("cell", "query"),
    [
        ("colour=red & label=yes", "colour == 'red' and label == 'yes'"),
        ("colour=red within class no", "colour == 'red' and label == 'no'"),
        ("class yes", "label == 'yes'"),
        ("height over 165 to 172.5 & colour=blue", "165 < height <= 172.5 and colour == 'blue'"),
        ("height up to 160", "height <= 160"),
        ("count over 4", "count > 4"),
        ("gain=0", "gain == 0"),
    ],
)
def test_members_are_the_rows_that_a_cell_names(cell: str, query: str) -> None:
    data = evidence().reference
    inside = members.members(cell, data)
    assert inside is not None
    assert 0 < inside.sum() < len(data)
    assert np.array_equal(np.flatnonzero(inside), data.to_pandas().query(query, engine="python").index)


@pytest.mark.parametrize(
    "cell", ["cluster 3 of 64 (height high)", "colour=mauve", "synthetic row 3 = training row 9", "height=any value"]
)
def test_cells_of_another_kind_are_not_marked(cell: str) -> None:
    assert members.members(cell, evidence().reference) is None


def test_copies_lie_at_distance_zero() -> None:
    train, other = (report_rows.draw(dataset(300, seed), seed=0) for seed in (1, 2))
    found = near.nearness(train.rows, other, train)
    assert found is not None
    assert np.all(found.synthetic == 0)
    assert np.mean(found.holdout == 0) < 0.05


def test_losses_skip_what_is_not_finite_and_take_flat_entries() -> None:
    entries = [{"epoch": 1, "losses": {"g": 1.0, "c": float("nan")}}, {"epoch": 2, "g": 0.5}, {"epoch": 3}]
    assert losses.series(entries) == {"g": [(1.0, 1.0), (2.0, 0.5)]}
    assert "<svg" in render_html(decision(findings=()), training=entries)


def test_a_family_that_does_not_train_by_steps_has_no_curve() -> None:
    assert losses.series([{"patches": 182.0}]) == {}
    assert 'id="training"' not in render_html(decision(findings=()), training=[{"patches": 182.0}])
    # What is told once at the end would bend the scale of the losses.
    told = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 2, "kept_step": 1200.0}]
    assert losses.series(told) == {"loss": [(1.0, 1.0), (2.0, 0.5)]}


@pytest.mark.parametrize(
    ("value", "words"),
    [(1234.5, "1,234"), (0.01234, "0.0123"), (1e-9, "1e-9"), (None, "–"), (float("nan"), "–"), (0.5, "0.5"), (3, "3"),
     (99.96, "100"), (0.999999, "1"), (-0.25, "-0.25")],
)  # fmt: skip
def test_figures_read_well(value: float | None, words: str) -> None:
    assert text.figure(value) == words
