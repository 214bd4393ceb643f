"""Does no window of one part share a moment with one of another, and is every event judged that can be?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.samples import pump
from data.split import Split
from data.split_series import How, split_windows
from data.windows import batch, schema, windows


def course(
    lengths: list[int], stride: int, period: float, events: list[tuple[int, int, int]], *, classes: bool = True, seed: int = 0
) -> Dataset:
    """Windows of several entities, one every `stride` readings; events: (entity, first, behind the last) windows."""
    rng = np.random.default_rng(seed)
    rows = schema(["a"], ["normal", "event"] if classes else [], period=period)
    names, starts, labels = [], [], []
    for entity, n in enumerate(lengths):
        for i in range(n):
            names.append(f"m{entity}")
            starts.append(1e9 + i * stride * period)
            labels.append("event" if any(e == entity and a <= i < b for e, a, b in events) else "normal")
    values = rng.standard_normal((len(names), 1, 10)).astype(np.float32)
    made = batch(rows, values, np.full(len(names), 10), classes=labels if classes else None, starts=starts, entities=names)
    import pyarrow as pa

    return Dataset(pa.Table.from_batches([made]), rows)


def overlaps(split: Split) -> int:
    """Pairs of windows of one entity in different parts that share a moment."""
    parts = [windows(split.train), windows(split.holdout)]
    if split.reference_rows is not split.train_rows:
        parts.append(windows(split.reference))
    found = 0
    for i, a in enumerate(parts):
        for b in parts[i + 1 :]:
            for k in range(len(a)):
                same = np.array([name == a.entities[k] for name in b.entities])
                later = np.maximum(b.starts, a.starts[k]) < np.minimum(
                    b.starts + b.lengths * b.period, a.starts[k] + a.lengths[k] * a.period
                )
                found += int((same & later).sum())
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(12, 60), min_size=1, max_size=14),
    st.integers(1, 12),
    st.sampled_from(["auto", "entity", "time", "last"]),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 1000),
)
def test_no_moment_is_on_two_sides(lengths: list[int], stride: int, how: How, reference: float, seed: int) -> None:
    assume(how != "entity" or len(lengths) >= 3)
    data = course(lengths, stride, 5.0, [], classes=False, seed=seed)
    try:
        found = split_windows(data, reference=reference, holdout=0.3, seed=seed, how=how)
    except DataError as error:
        short = "leaves no rows for" in str(error) or "of time that do not overlap" in str(error)
        assert short and max(lengths) < 12 * -(-10 // stride)
        return
    assert overlaps(found) == 0
    reference_rows = [] if found.reference_rows is found.train_rows else found.reference_rows
    placed = np.concatenate([found.train_rows, reference_rows, found.holdout_rows]).astype(int)
    assert len(set(placed)) == len(placed) == sum(lengths) - found.left
    again = split_windows(data, reference=reference, holdout=0.3, seed=seed, how=how)
    assert np.array_equal(again.holdout_rows, found.holdout_rows)
    if how == "entity":
        held = set(windows(found.holdout).entities)
        assert held.isdisjoint(windows(found.train).entities) and found.left == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 6), st.integers(0, 1000))
def test_of_three_events_some_are_learned_and_some_are_judged(events: int, seed: int) -> None:
    spans = [(0, 30 + 50 * i, 34 + 50 * i) for i in range(events)]
    data = course([50 * events + 40], 5, 60.0, spans, seed=seed)
    found = split_windows(data, reference=0.0, holdout=0.3, seed=seed, how="time")
    counts = [int((windows(part).labels == 1).sum()) for part in (found.train, found.holdout)]
    assert min(counts) >= 2, counts
    assert overlaps(found) == 0 and found.left <= 0.25 * data.num_rows


def test_the_last_is_the_holdout_and_pumps_stay_whole() -> None:
    data = course([100], 10, 1.0, [], classes=False)
    found = split_windows(data, reference=0.2, holdout=0.3, seed=0, how="last")
    assert found.train_rows.tolist() == list(range(50)) and found.holdout_rows.tolist() == list(range(70, 100))
    rows = Dataset(pump.draw({"steady": 150, "leak": 40}, length=32), pump.pump_schema())
    whole = split_windows(rows, reference=0.0, holdout=0.3, seed=1)
    assert whole.left == 0 and set(windows(whole.train).entities).isdisjoint(windows(whole.holdout).entities)
    assert 0.2 < len(whole.holdout) / 190 < 0.4 and (windows(whole.holdout).labels == 2).sum() >= 4


def test_one_window_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="1 windows cannot be cut into 2 parts"):
        split_windows(course([1], 1, 1.0, [], classes=False), reference=0, holdout=0.3, seed=0)
