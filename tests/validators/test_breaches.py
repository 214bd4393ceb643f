"""Is every breach of a rule counted, whatever the type, however the rows arrive, and as Great Expectations counts it?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset import Dataset
from data.schema import Column, Schema
from validators import breaches
from validators.breaches import Count, Rule, count, repeated
from validators.expectations import native, session, to_frame, validate

COLUMNS = (
    Column(name="weight", kind="numeric", dtype="double", low=-1.0, high=1.0),
    Column(name="age", kind="integer", dtype="int64", low=18, high=60),
    Column(name="city", kind="categorical", dtype="string", categories=("east", "west")),
    Column(name="code", kind="categorical", dtype="int64", categories=(0, 1)),
    Column(name="born", kind="datetime", dtype="timestamp[us]", low="2000-01-01T00:00:00", high="2010-12-31T00:00:00"),
    Column(name="day", kind="datetime", dtype="date32[day]", low="2000-01-01", high="2010-12-31"),
    Column(name="key", kind="id", dtype="string"),
)
RULES = [
    Rule("", "columns", names=tuple(c.name for c in COLUMNS)),
    *(Rule(c.name, "type") for c in COLUMNS),
    *(Rule(c.name, "filled") for c in COLUMNS),
    *(Rule(c.name, "range", low=c.low, high=c.high) for c in COLUMNS if c.low is not None),
    *(Rule(c.name, "levels", levels=c.categories) for c in COLUMNS if c.categories),
    Rule("key", "unique"),
]


def table(n: int = 900, seed: int = 0) -> pa.Table:
    """Rows that break every rule now and then, with nulls in every column."""
    rng = np.random.default_rng(seed)
    start = dt.datetime(1998, 1, 1)  # noqa: DTZ001 - the column has no zone
    days = [start + dt.timedelta(days=int(d)) for d in rng.integers(0, 6000, n)]
    full = {
        "weight": np.where(rng.random(n) < 0.05, np.nan, rng.normal(size=n)),
        "age": rng.integers(10, 70, n),
        "city": rng.choice(["east", "west", "mu", "atlantis"], n, p=[0.5, 0.3, 0.15, 0.05]),
        "code": rng.integers(0, 3, n),
        "born": days,
        "day": [d.date() for d in days],
        "key": [f"k{i}" for i in rng.integers(0, 3 * n, n)],
    }
    missing = {name: rng.random(n) < 0.1 for name in full}
    types = {"born": pa.timestamp("us"), "day": pa.date32()}
    return pa.table({k: pa.array(v, type=types.get(k), mask=missing[k]) for k, v in full.items()})


def told(counts: Sequence[Count]) -> list[Any]:
    return [(c.rows, c.broken, c.named) for c in counts]


def test_the_counts_are_those_of_great_expectations() -> None:
    rows = Dataset(table(), Schema(COLUMNS))
    ours = count(rows, RULES)
    with session() as context:
        suite = gx.ExpectationSuite(name="rules", expectations=native(RULES, rows))
        result = validate(context, to_frame(rows, rows.schema.names), suite, rows="rows")
    kinds = {"filled": "not_be_null", "range": "be_between", "levels": "be_in_set", "unique": "be_unique"}
    theirs = {(r.expectation_config.type, r.expectation_config.kwargs.get("column")): r for r in result.results}
    for rule, counted in zip(RULES, ours, strict=True):
        if rule.kind in kinds:
            answer = theirs[f"expect_column_values_to_{kinds[rule.kind]}", rule.column].result
            seen = answer["element_count"] - (0 if rule.kind == "filled" else answer["missing_count"])
            assert (counted.rows, counted.broken) == (seen, answer["unexpected_count"]), rule
            assert counted.broken > 0, rule
        else:
            assert counted.broken == 0
    assert all(r.success for (kind, _), r in theirs.items() if kind in ("expect_column_values_to_be_in_type_list",))


def test_it_does_not_matter_how_the_rows_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table()
    expected = told(count(Dataset(whole, Schema(COLUMNS)), RULES))
    chunked = pa.Table.from_batches(whole.to_batches(max_chunksize=41))
    assert told(count(Dataset(chunked, Schema(COLUMNS)), RULES)) == expected
    pq.write_table(whole, tmp_path / "rows.parquet", row_group_size=53)
    monkeypatch.setattr(breaches, "HELD", 100)
    assert told(count(Dataset.from_parquet(tmp_path / "rows.parquet", Schema(COLUMNS)), RULES)) == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", "b", "a", None, None, "c", "c", "c"]),
        pa.array([1, 2, 1, None, None, 3, 3, 3]),
        pa.array([1.5, 2.5, 1.5, None, float("nan"), 3.5, 3.5, 3.5]),
        pa.array([Decimal("1.10"), Decimal("2.20"), Decimal("1.10"), None, None, *[Decimal("3.30")] * 3]),
        pa.array(["a", "b", "a", None, None, "c", "c", "c"]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_every_copy_of_a_repeated_id_is_counted_and_nulls_are_not(values: pa.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset(pa.table({"key": values}), Schema((Column(name="key", kind="id", dtype="string"),)))
    assert repeated(rows, "key") == (6, 5)
    monkeypatch.setattr(breaches, "HELD", 2)
    assert repeated(rows, "key") == (6, 5)


def counted(values: pa.Array, kind: str, **asked: Any) -> Count:
    column = Column(name="x", kind="numeric", dtype=str(values.type))
    return count(Dataset(pa.table({"x": values}), Schema((column,))), [Rule("x", kind, **asked)])[0]  # type: ignore[arg-type]


def test_a_bound_is_exact_where_floats_are_not() -> None:
    cents = [Decimal(n).scaleb(-2) for n in range(1, 20_000)]
    beyond = sum(float(a) != b for a, b in zip(cents, pa.array(cents).cast(pa.float64()).to_pylist(), strict=True))
    assert beyond > 0  # the nearest floats do differ
    for limit in cents[::97]:
        seen = counted(pa.array([limit]), "range", low=float(limit), high=float(limit))
        assert (seen.rows, seen.broken) == (1, 0)
    assert counted(pa.array([2**53, 2**53 + 1, 2**62]), "range", low=None, high=2**53).broken == 2
    assert counted(pa.array([2**63 + 1], pa.uint64()), "range", low=-5, high=2**63).broken == 1
    assert counted(pa.array([1, 2, 3]), "range", low=1.5, high=2.5).broken == 2
    assert counted(pa.array([0.0, float("inf"), float("nan")]), "range", low=0.0, high=9.0).broken == 1


def test_times_are_compared_as_instants() -> None:
    berlin = pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], type=pa.timestamp("ms", tz="Europe/Berlin"))
    assert counted(berlin, "range", low="2020-01-01T00:00:00+00:00", high="2020-01-01T01:00:00+01:00").broken == 0
    assert counted(berlin, "range", low="2020-01-01T00:00:01+00:00", high=None).broken == 1


def test_levels_of_decimals_and_of_dictionaries_are_known() -> None:
    assert counted(pa.array([Decimal("1.10"), Decimal("2.30")]), "levels", levels=(1.1,)).named == {"2.30": 1}
    assert counted(pa.array(["a", "b", None]).dictionary_encode(), "levels", levels=("a",)).named == {"b": 1}
    assert counted(pa.array([True, False]), "levels", levels=(True, False)).broken == 0


def test_names_are_few_and_their_counts_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaches, "NAMED", 3)
    words = [*"aab", *"bcd", *"dde", *"eee"]
    batches = [pa.RecordBatch.from_pydict({"x": words[i : i + 3]}) for i in range(0, 12, 3)]
    rows = Dataset(pa.Table.from_batches(batches), Schema((Column(name="x", kind="categorical", dtype="string"),)))
    found = count(rows, [Rule("x", "levels", levels=())])[0]
    assert found.broken == 12 and len(found.named) == 3
    assert all(words.count(name) == times for name, times in found.named.items())


def test_a_hard_rule_allows_nothing_and_a_soft_one_what_its_rate_explains() -> None:
    assert Rule("x", "filled").allowed(10**6) == 0
    soft = Rule("x", "filled", hard=False, share=0.01, alpha=1e-5)
    assert 100 < soft.allowed(10_000) < 160 and soft.allowed(0) == 0
