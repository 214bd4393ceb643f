"""Do the pictures look at the right rows, and show what is missing in them?"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from tests.validators.rows import evidence as of_frames
from tests.validators.rows import frame
from tests.validators.test_report import Page, dataset, decision, evidence, schema
from validators.base import Culprit, Evidence, Intent
from validators.report import atlas, cloud, columns, lowest, members, near, render_html
from validators.report import rows as report_rows
from validators.report.sets import pictures
from validators.sides import WHOLE_ROWS


def drawn(data: Dataset, seed: int = 0) -> report_rows.Drawn:
    return report_rows.draw(data, seed=seed)


# --- which rows


def test_a_large_set_on_disk_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = dataset(WHOLE_ROWS + 30_000, 4)
    made.write_parquet(tmp_path / "made.parquet")
    lazy = Dataset.from_parquet(tmp_path / "made.parquet", made.schema)
    taken: list[int] = []
    whole = Dataset.take
    monkeypatch.setattr(Dataset, "take", lambda self, rows: (taken.append(len(rows)), whole(self, rows))[1])
    monkeypatch.setattr(Dataset, "table", property(lambda self: pytest.fail("all rows were loaded")))
    sides = replace(evidence(), synthetic=lazy)
    page = Page(render_html(decision(), evidence=sides))
    assert "90,000 rows (a draw of 20,000)" in page.said
    assert max(taken) <= WHOLE_ROWS + 30_000 and WHOLE_ROWS in taken


def test_topped_up_classes_weigh_what_they_hold() -> None:
    made = dataset(WHOLE_ROWS + 20_000, 4)
    sides = Evidence(
        train=dataset(400, 1), reference=dataset(400, 2), holdout=dataset(400, 3), synthetic=made,
        intent=Intent(mix={"yes": 0.5, "no": 0.5}),
    )  # fmt: skip
    rows = report_rows.gather(sides)
    assert rows is not None
    bars = columns.compare(made.schema["label"], rows.reference, rows.holdout, rows.synthetic)
    # The set as it is (a fifth "yes") beside real rows as the mix wants them.
    shares = dict(zip(bars.names, bars.synthetic, strict=True))
    assert shares["yes"] == pytest.approx(0.2, abs=0.01)
    assert sorted(bars.real) == pytest.approx([0.5, 0.5])


def test_a_side_without_rows_draws_nothing() -> None:
    assert report_rows.gather(replace(evidence(), synthetic=evidence().synthetic.take([]))) is None
    assert pictures(None, []).views["columns"] is None


# --- the lowest cells


def all_bars(real: report_rows.Drawn, again: report_rows.Drawn, made: report_rows.Drawn) -> list[columns.Bars]:
    return [columns.compare(c, real, again, made) for c in real.rows.schema.learned]


def test_the_lowest_cell_is_the_one_that_was_dropped() -> None:
    whole = frame(6000, 3)
    dropped = whole[(whole.city != "north") | (np.arange(6000) % 10 == 0)]
    sides = of_frames(frame(2000, 1), frame(2000, 2), dropped)
    real, again, made = drawn(sides.reference), drawn(sides.holdout), drawn(sides.synthetic)
    found = lowest.lowest(all_bars(real, again, made), again, made, count=10, known={"city=east"})
    assert found[0].cell == "city=north"
    assert found[0].observed == pytest.approx((dropped.city == "north").sum())
    assert found[0].expected == pytest.approx(0.3 * len(dropped), rel=0.05)
    assert found[0].ratio_ci is not None and found[0].ratio_ci[1] < 0.5
    assert "city=east" not in {c.cell for c in found}
    assert len(found) == 10


def test_intervals_of_like_sets_hold_one() -> None:
    for seed in range(5):
        real, again, made = (drawn(dataset(900, 10 * seed + i)) for i in range(3))
        found = lowest.lowest(all_bars(real, again, made), again, made, count=10, known=())
        assert all(c.ratio_ci is not None and c.ratio_ci[0] <= 1 <= c.ratio_ci[1] for c in found)


def test_counts_are_those_of_the_whole_set_and_names_those_of_the_gate() -> None:
    real, again = drawn(dataset(900, 1)), drawn(dataset(900, 2))
    some = drawn(dataset(900, 3))
    part = replace(some, total=9000)
    few, many = (lowest.lowest(all_bars(real, again, made), again, made, count=400, known=()) for made in (some, part))
    assert {c.cell: round(10 * c.observed) for c in few} == {c.cell: round(c.observed) for c in many}
    names = {c.cell for c in few}
    assert {"class yes", "colour=red", "gain=0", "count=missing"} <= names
    assert not [name for name in names if "label=" in name]


def test_the_page_fills_its_ten_cells() -> None:
    page = Page(render_html(decision("BLOCK"), evidence=evidence()))
    body = page.said.split("Worst cells")[1].split("Checks")[0]
    assert "colour=red & size=big" in body and "No other cell is flagged. The lowest of the others:" in body
    html = render_html(decision("PASS"), evidence=evidence())
    assert len(re.findall(r"<tr class=other>", html)) == 10


# --- cells on the map


@pytest.mark.parametrize("cell", ["gain above its 99 % quantile", "height below its 1 % quantile", "count=missing"])
def test_tails_and_missing_values_are_found(cell: str) -> None:
    data = evidence().reference
    inside = members.members(cell, data)
    assert inside is not None
    shown = data.to_pandas()[inside]
    assert 0 < len(shown) < len(data) / 5
    if "above" in cell:
        assert shown.gain.min() > data.to_pandas().gain.quantile(0.98)


def test_cells_that_a_check_has_left_are_marked() -> None:
    def tall(rows: Dataset) -> Any:
        return rows.column("height").to_numpy() > 185

    real, made = drawn(dataset(500, 1)), drawn(dataset(500, 2))
    name = "cluster 3 of 64 (height high)"
    culprit = Culprit(cell=name, expected=30, observed=0, ratio=0.0)
    found = cloud.scatter(real, made, [culprit], Intent(), known={name: tall})
    assert found is not None and found.marks == (name,)
    assert found.marked.sum() == tall(real.rows).sum() > 0
    assert 'class="dots thin"' in str(atlas.pictures(found)[0])
    without = cloud.scatter(real, made, [culprit], Intent())
    assert without is not None and without.marks == ()


def test_a_mode_that_is_lost_is_missing_on_the_map() -> None:
    sides = of_frames(frame(2000, 1), frame(1000, 2), frame(2000, 3, drop="west"))
    found = cloud.scatter(drawn(sides.reference), drawn(sides.synthetic), [], sides.intent)
    assert found is not None
    gone = [cell for cell in found.cells if cell.state == "missing"]
    assert gone and all("west" in cell.name for cell in gone)
    real, made = (str(chart) for chart in atlas.pictures(found))
    assert ">missing<" in made and ">missing<" not in real
    assert "is missing, ratio 0" in made
    assert sum(cell.real for cell in found.cells) == pytest.approx(1)
    like = cloud.scatter(drawn(sides.reference), drawn(sides.holdout), [], sides.intent)
    assert like is not None and {cell.state for cell in like.cells} == {""}


def modes(n: int, seed: int, lost: int | None = None) -> Dataset:
    """Rows of 20 modes in eight columns, one of them lost."""
    rng = np.random.default_rng(seed)
    mode = rng.integers(0, 20, n)
    places = 4 * np.random.default_rng(0).normal(size=(20, 8))[mode] + rng.normal(size=(n, 8))
    kept = np.ones(n, dtype=bool) if lost is None else mode != lost
    return Dataset.from_arrow(pa.table({f"x{i}": places[kept, i] for i in range(8)}))


def test_a_small_mode_is_ringed_though_no_name_tells_where_it_lies() -> None:
    real, made = drawn(modes(4000, 1)), drawn(modes(8000, 3, lost=7))
    found = cloud.scatter(real, made, [], Intent())
    assert found is not None and found.marks == ()
    assert 1 <= len(found.holes) <= 4
    assert found.marked.mean() == pytest.approx(0.05, abs=0.015)
    shown, gone = (str(chart) for chart in atlas.pictures(found))
    assert gone.count('class="hollow"') == len(found.holes) and "hollow" not in shown
    assert 1 <= gone.count(">missing<") <= len(found.holes)
    assert "without enough synthetic rows" in gone and "rows of missing cells are ringed" in shown
    for seed in range(4, 9):
        like = cloud.scatter(real, drawn(modes(8000, seed)), [], Intent())
        assert like is not None and not len(like.holes) and not like.marked.any()


def test_a_release_shows_squares_of_five_and_no_cell_of_fewer() -> None:
    odd = pa.table(
        {"x": np.r_[np.zeros(60), 9.0], "y": np.r_[np.tile([0.0, 1.0], 30), 9.0], "c": ["a"] * 60 + ["the only one"]}
    )
    data = Dataset(odd, schema(odd, {"x": "numeric", "y": "numeric"}, {"c": ("a", "the only one")}))
    found = cloud.scatter(drawn(data), drawn(data), [], Intent(), limit=cloud.COUNTED)
    assert found is not None
    shown, hidden = (str(atlas.pictures(found, fewest=flag)[0]) for flag in (1, 5))
    alone = next(i for i, cell in enumerate(found.cells) if cell.real < 0.05)
    assert f">{alone + 1}<" in shown and f">{alone + 1}<" not in hidden
    assert len(re.findall('class="square', hidden)) == 2
    page = render_html(decision(), evidence=Evidence(train=data, reference=data, holdout=data, synthetic=data), fewest=5)
    assert "the only one" not in page
    few = data.take(np.arange(4))
    page = render_html(decision(), evidence=Evidence(train=few, reference=few, holdout=few, synthetic=data), fewest=5)
    assert "Map of the rows" not in page


# --- distances to train


def test_copies_rise_before_the_holdout_in_the_enlarged_picture() -> None:
    train, holdout, made = (dataset(600, seed) for seed in (1, 2, 3))
    copied = replace(made, source=pa.concat_tables([train.table[:30], made.table[30:]]))
    found = near.nearness(train, drawn(holdout), drawn(copied))
    assert found is not None
    assert (found.synthetic == 0).sum() == 30 and (found.holdout == 0).sum() <= 2
    whole, close = near.pictures(found)
    assert "The nearest rows enlarged" in str(close)
    words = re.search(r"holdout ([\d.]+) %, synthetic ([\d.]+) %", str(close))
    assert words is not None and float(words[2]) > float(words[1])
    assert whole != close


def test_few_near_rows_stay_unseen_in_a_release() -> None:
    found = near.Nearness(np.linspace(0.5, 2, 400), np.r_[np.full(4, 0.01), np.linspace(0.5, 2, 396)], 100)
    starts = []
    for flag in (1, 5):
        curve = re.findall(r'd="M([^"]+)" class="fake line"', str(near.pictures(found, fewest=flag)[1]))[0]
        heights = [float(step.split()[1]) for step in curve.split("L")]
        starts.append(min(heights[:60]))
    assert starts[0] < near.HEIGHT == starts[1]
