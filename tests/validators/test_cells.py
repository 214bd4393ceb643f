"""Do the cells of the gate part rows as they say: calendars, tails, rare levels, missing values, clusters of all sizes?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data.dataset import Dataset
from validators.base import Evidence, Intent
from validators.bins import Values, fit_calendar, fit_groups, fit_patterns, fit_tails
from validators.cells import fit_grid
from validators.clusters import join
from validators.modes import ModesCheck
from validators.sides import sides

RNG = np.random.default_rng(0)


def told(rows: Dataset, encoder: object) -> list[str | None]:
    codes = encoder.read(Values(rows.table.to_batches()[0]))  # type: ignore[attr-defined]
    return [encoder.labels[code] if code >= 0 else None for code in codes]  # type: ignore[attr-defined]


def test_times_are_read_by_the_calendar() -> None:
    times = pa.array(["2024-02-29T23:15:00", "1965-12-31T00:00:00", None], pa.string()).cast(pa.timestamp("us"))
    rows = Dataset.from_arrow(pa.table({"at": times}))
    month, weekday, hour = fit_calendar(rows.schema["at"])
    assert told(rows, month) == ["at month February", "at month December", None]
    assert told(rows, weekday) == ["at weekday Thursday", "at weekday Friday", None]
    assert told(rows, hour) == ["at hour 23:00 to 23:59", "at hour 00:00 to 00:59", None]


def test_tails_hold_their_shares_and_a_heavy_end_is_no_tail() -> None:
    rows = Dataset.from_pandas(pd.DataFrame({"x": RNG.normal(size=20_000), "zero": np.maximum(RNG.normal(size=20_000), 0)}))
    tails = fit_tails(rows, rows.schema["x"], floor=0.0005)
    assert tails is not None
    shares = pd.Series(told(rows, tails)).value_counts() / 20_000
    assert shares["x below its 0.1 % quantile"] == pytest.approx(0.001, abs=2e-4)
    assert shares["x above its 99 % quantile"] == pytest.approx(0.009, abs=2e-4)
    heavy = fit_tails(rows, rows.schema["zero"], floor=0.0005)
    assert heavy is not None and not any("below" in str(name) for name in told(rows, heavy))
    assert fit_tails(rows, rows.schema["x"], floor=0.05) is None


def test_rare_levels_fall_into_groups_of_testable_size_and_so_do_new_ones() -> None:
    names = [f"town {i}" for i in range(3000)]
    rows = Dataset.from_pandas(pd.DataFrame({"town": ["big"] * 3000 + names + names}), None)
    column = rows.schema["town"]
    groups = fit_groups(rows, column if column.discrete else _as_levels(rows).schema["town"], floor=0.01)
    assert groups is not None and groups.size == 16
    counts = pd.Series(told(_as_levels(rows), groups)).value_counts()
    assert len(counts) == 16 and counts.min() > 0.01 * 9000 and sum(counts) == 6000
    new = Dataset.from_arrow(pa.table({"town": ["never seen", "big"]}), _as_levels(rows).schema)
    assert told(new, groups)[0] in groups.labels and told(new, groups)[1] is None


def _as_levels(rows: Dataset) -> Dataset:
    return Dataset(rows.source, rows.schema.overrule({"town": {"kind": "categorical", "categories": ["big"]}}))


def test_patterns_name_what_is_missing_together() -> None:
    frame = pd.DataFrame({"a": [1.0, None, None] * 40, "b": ["x", None, "y"] * 40, "c": range(120)})
    rows = Dataset.from_pandas(frame)
    patterns = fit_patterns(rows, list(rows.schema), floor=0.1)
    assert patterns is not None
    assert told(rows, patterns)[:3] == ["no value missing", "missing together: a, b", "missing together: a"]


def frame(n: int, seed: int) -> pd.DataFrame:
    """Two columns that are missing together or not at all, a time on weekdays and weekends."""
    rng = np.random.default_rng(seed)
    gone = rng.random(n) < 0.2
    return pd.DataFrame(
        {
            "x": np.where(gone, np.nan, rng.normal(size=n)),
            "y": np.where(gone, np.nan, rng.normal(size=n)),
            "at": pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D"),
            "z": rng.normal(size=n),
        }
    )


def blocked(made: pd.DataFrame) -> str:
    schema = Dataset.from_pandas(frame(1500, 1)).schema
    train, holdout, synthetic = (Dataset.from_pandas(side, schema) for side in (frame(1500, 1), frame(1000, 2), made))
    found = ModesCheck().evaluate(
        Evidence(train=train, reference=train, holdout=holdout, synthetic=synthetic, intent=Intent(detect=0.5))
    )
    return found.summary if found.verdict == "BLOCK" else ""


def test_values_that_are_no_longer_missing_together_are_seen() -> None:
    apart = frame(6000, 3)
    apart["y"] = np.random.default_rng(4).permutation(apart.y)
    assert blocked(frame(6000, 3)) == ""
    assert "missing" in blocked(apart)


def test_weekends_that_are_missing_are_named() -> None:
    made = frame(8000, 3)
    assert "weekday S" in blocked(made[made["at"].dt.dayofweek < 5].reset_index(drop=True))


def test_joining_clusters_passes_through_the_true_groups() -> None:
    centres = np.array([[0.0, 0], [0.1, 0], [5, 5], [5.1, 5], [5, 5.2], [9, 0]])
    cells = join(centres, np.array([5, 5, 9, 1, 3, 7]))
    groups = {tuple(np.flatnonzero(cell)) for cell in cells}
    assert {(0, 1), (2, 3, 4), (5,)} <= groups and tuple(range(6)) not in groups
    assert len(cells) == 6 + 4 and cells[:6].sum() == 6


def test_counting_on_disk_equals_counting_in_memory(tmp_path) -> None:
    rows = Dataset.from_pandas(pd.concat([frame(900, 5), frame(900, 6)]).assign(label=["u", "v", "v"] * 600), target="label")
    labels = rows.labels()
    grid = fit_grid(rows, labels, ("v", "u"), floors={None: 0.01, 0: 0.02, 1: 0.02}, seed=0)
    on_disk = Dataset.from_parquet(rows.write_parquet(tmp_path / "rows.parquet"), rows.schema)
    mask = np.arange(1800) % 3 > 0
    counted = grid.count_all(on_disk, labels, mask)
    placed = grid.cells(grid.place(rows, labels), labels, mask)
    assert all((a == b).all() for a, b in zip(counted, placed, strict=True)) and sum(c.sum() for c in counted) > 0


def test_a_sample_of_a_large_set_is_fair_and_holds_its_rare_class(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import validators.sides

    monkeypatch.setattr(validators.sides, "WHOLE_ROWS", 500)
    monkeypatch.setattr(validators.sides, "CLASS_ROWS", 50)
    table = pa.table({"i": np.arange(20_000.0), "label": np.where(np.arange(20_000) % 100 == 0, "rare", "common")})
    rows = Dataset.from_arrow(table, target="label")
    on_disk = Dataset.from_parquet(rows.write_parquet(tmp_path / "rows.parquet"), rows.schema)
    some = rows.take(np.arange(0, 20_000, 7))
    at = sides(Evidence(train=some, reference=some, holdout=some, synthetic=on_disk))
    assert len(at.whole) == 500 and (at.sample_labels == at.names.index("rare")).sum() == 50
    assert (at.sample.table.column("i").to_numpy() == at.places).all()
    assert at.places[at.whole].mean() == pytest.approx(10_000, rel=0.1)
    assert sides(Evidence(train=some, reference=some, holdout=some, synthetic=rows)).places.tolist() == at.places.tolist()
