"""Does no moment stand on two sides of a split of series, and does what is rare stand on each?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.samples import pump
from data.split import Split
from data.split_series import spans, split_windows
from data.windows import ELAPSED, batch, schema, windows


def line(
    labels: Sequence[str], length: int, stride: int, *, entity: str | None = "a", period: float = 1.0, first: float = 0.0
) -> pa.RecordBatch:
    """Windows one after another, a class each."""
    n = len(labels)
    classes = sorted({"normal", "leak", "burst"})
    values = np.random.default_rng(0).standard_normal((n, 1, length)).astype(np.float32)
    starts = (first + np.arange(n) * stride * period).tolist()
    rows = schema(["x"], classes, period=period)
    return batch(rows, values, np.full(n, length), classes=labels, starts=starts, entities=[entity] * n)


def dataset(parts: Sequence[pa.RecordBatch], period: float = 1.0) -> Dataset:
    rows = schema(["x"], sorted({"normal", "leak", "burst"}), period=period)
    return Dataset(pa.Table.from_batches(list(parts), schema=rows.arrow()), rows)


def overlaps(cut: Split) -> int:
    """Pairs of windows of one entity that share time and stand in different parts."""
    count = 0
    for one, other in combinations((cut.train, cut.reference, cut.holdout), 2):
        if one is other:
            continue
        a, b = windows(one), windows(other)
        ends_a, ends_b = a.starts + spans(a), b.starts + spans(b)
        same = np.array([[x == y for y in b.entities] for x in a.entities])
        slack = 1e-6 * float(spans(a)[0])
        shared = np.minimum(ends_a[:, None], ends_b[None]) - np.maximum(a.starts[:, None], b.starts[None])
        count += int((same & (shared > slack)).sum())
    return count


def classes(part: Dataset) -> set[str]:
    return set(part.table.column("class").to_pylist())


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["normal", "leak", "burst"])), min_size=3, max_size=30),
    st.integers(2, 30), st.integers(1, 30), st.integers(1, 4), st.sampled_from(["auto", "time", "last", "entity"]),
    st.sampled_from([0.001, 1.0, 300.0]), st.integers(0, 2**31),
)  # fmt: skip
def test_no_moment_stands_on_two_sides(
    runs: list[tuple[int, str]], length: int, stride: int, entities: int, how: str, period: float, seed: int
) -> None:
    labels = [name for count, name in runs for _ in range(count)]
    parts = [line(labels, length, stride, entity=f"e{i}", period=period, first=1.7e9 + i) for i in range(entities)]
    data = dataset(parts, period)
    try:
        cut = split_windows(data, reference=0.2, holdout=0.2, seed=seed, how=how)  # type: ignore[arg-type]
    except DataError as error:
        assert entities < 3 or how == "last", error
        return
    assert overlaps(cut) == 0
    rows = np.concatenate([cut.train_rows, cut.reference_rows, cut.holdout_rows])
    assert len(set(rows.tolist())) == len(rows) <= len(labels) * entities
    again = split_windows(data, reference=0.2, holdout=0.2, seed=seed, how=how)  # type: ignore[arg-type]
    assert np.array_equal(again.train_rows, cut.train_rows) and np.array_equal(again.holdout_rows, cut.holdout_rows)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 7), st.integers(1, 6), st.integers(6, 40), st.sampled_from([(16, 8), (16, 16), (20, 5)]),
    st.sampled_from(["one", "each"]), st.integers(0, 2**31),
)  # fmt: skip
def test_a_class_of_three_separate_events_is_learned_and_judged(
    events: int, long: int, calm: int, cut_as: tuple[int, int], where: str, seed: int
) -> None:
    length, stride = cut_as
    apart = max(calm, -(-2 * length // stride))
    if where == "one":
        labels = ["normal"] * apart + (["leak"] * long + ["normal"] * apart) * events
        data = dataset([line(labels, length, stride)])
    else:
        labels = ["normal"] * apart + ["leak"] * long + ["normal"] * apart
        data = dataset([line(labels, length, stride, entity=f"e{i}") for i in range(events)])
    cut = split_windows(data, reference=0.2, holdout=0.25, seed=seed, how="auto")
    assert "leak" in classes(cut.train) and "leak" in classes(cut.holdout) and overlaps(cut) == 0
    assert "leak" in classes(cut.reference) and not any("is not in" in said for said in cut.notices)
    assert len(cut.holdout) > 0 and (events < 6 or len(cut.train) > len(cut.holdout))


def test_a_class_of_few_events_is_learned_first_then_judged() -> None:
    calm = ["normal"] * 60
    one = split_windows(dataset([line([*calm, *["leak"] * 4, *calm], 16, 8)]), reference=0.2, holdout=0.2, seed=1)
    assert "leak" in classes(one.train) and any(
        "Class 'leak' is not in reference or in holdout" in said for said in one.notices
    )
    two = split_windows(
        dataset([line([*calm, *["leak"] * 4, *calm, *["leak"] * 4, *calm], 16, 8)]), reference=0.2, holdout=0.2, seed=1
    )
    assert "leak" in classes(two.train) and "leak" in classes(two.holdout)
    assert any("Class 'leak' is not in reference" in said for said in two.notices)


def test_windows_across_borders_are_left_out_and_counted() -> None:
    data = dataset([line(["normal"] * 400, 16, 4)])
    cut = split_windows(data, reference=0.2, holdout=0.2, seed=3, how="time")
    left = 400 - len(cut.train) - len(cut.reference) - len(cut.holdout)
    assert 0 < left < 60 and f"{left} rows are left out, as they lie across the border of two parts in time." in cut.notices
    assert 0.45 < len(cut.train) / 400 < 0.65 and 0.1 < len(cut.holdout) / 400 < 0.25
    assert split_windows(dataset([line(["normal"] * 400, 16, 16)]), reference=0, holdout=0.2, seed=3).left == 0


def test_the_last_share_of_time_is_held_out() -> None:
    data = dataset([line(["normal"] * 50, 10, 5, entity=who) for who in "ab"])
    cut = split_windows(data, reference=0.2, holdout=0.2, seed=0, how="last")
    a, b, c = (windows(part) for part in (cut.train, cut.reference, cut.holdout))
    assert c.starts.min() == 200 and b.starts.min() == 150 and b.starts.max() == 190 and a.starts.max() == 140
    assert set(c.entities) == {"a", "b"} and overlaps(cut) == 0 and len(c) == 20


def test_whole_entities_go_to_one_part_where_there_are_enough() -> None:
    table = pump.draw({"steady": 120, "start": 60, "leak": 40, "cavitation": 30})
    cut = split_windows(Dataset(table, pump.pump_schema()), reference=0.2, holdout=0.25, seed=5)
    whose = [set(part.table.column("entity").to_pylist()) for part in (cut.train, cut.reference, cut.holdout)]
    assert not (whose[0] & whose[1] or whose[0] & whose[2] or whose[1] & whose[2])
    assert all(len(classes(part)) == 4 for part in (cut.train, cut.reference, cut.holdout))
    assert 0.45 < len(cut.train) / 250 < 0.65 and len(cut.train) + len(cut.reference) + len(cut.holdout) == 250


def test_a_class_of_one_entity_alone_makes_time_the_border() -> None:
    calm = ["normal"] * 80
    data = dataset([
        *(line(calm, 16, 8, entity=who) for who in "abcefghi"),
        line([*calm, *(["leak"] * 3 + calm) * 4], 16, 8, entity="d"),
    ])  # fmt: skip
    cut = split_windows(data, reference=0, holdout=0.25, seed=2)
    assert "leak" in classes(cut.train) and "leak" in classes(cut.holdout) and overlaps(cut) == 0
    assert any("lives in one entity alone" in said for said in cut.notices) and cut.reference is cut.train
    whole = split_windows(data, reference=0, holdout=0.25, seed=2, how="entity")
    assert "leak" not in classes(whole.holdout) and any("'leak' is not in holdout" in said for said in whole.notices)


def test_uneven_readings_tell_how_long_a_window_lasts() -> None:
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.exponential(5.0, 2000))
    first = np.arange(0, 1990, 5)
    steps = np.stack([np.diff(times[i : i + 10], prepend=times[i - 1] if i else times[0]) for i in first])
    values = np.stack([np.sin(steps), steps], axis=1).astype(np.float32)
    rows = schema(["x", ELAPSED])
    part = batch(rows, values, np.full(len(first), 10), starts=times[first].tolist(), entities=["a"] * len(first))
    cut = split_windows(Dataset(pa.Table.from_batches([part]), rows), reference=0.2, holdout=0.2, seed=0)
    assert overlaps(cut) == 0 and min(len(cut.train), len(cut.reference), len(cut.holdout)) > 20
    moments = [
        {i for row in rows_ for i in range(5 * row, 5 * row + 10)}
        for rows_ in (cut.train_rows, cut.reference_rows, cut.holdout_rows)
    ]
    assert not (moments[0] & moments[1] or moments[0] & moments[2] or moments[1] & moments[2])


def test_what_cannot_be_cut_is_refused() -> None:
    data = dataset([line(["normal"] * 3, 16, 1)])
    with pytest.raises(DataError, match="block.* of time that do not overlap, and 3 parts need one each"):
        split_windows(data, reference=0.2, holdout=0.2, seed=0)
    with pytest.raises(DataError, match="1 entities cannot be cut into 2 parts.*split.by: time"):
        split_windows(data, reference=0, holdout=0.2, seed=0, how="entity")
    with pytest.raises(DataError, match="must stay below 1"):
        split_windows(data, reference=0.5, holdout=0.5, seed=0)
    with pytest.raises(DataError, match="'sideways' is no way"):
        split_windows(data, reference=0.2, holdout=0.2, seed=0, how="sideways")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no windows"):
        split_windows(data.take([]), reference=0.2, holdout=0.2, seed=0)
