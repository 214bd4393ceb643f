"""Are tables that say the same in other types read alike, and others refused in one sentence?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema
from tests.validators.rows import frame
from validators.base import Intent
from validators.conform import conform, load

SCHEMA = Schema(
    (
        Column(name="age", kind="integer", dtype="int64", nullable=True),
        Column(name="pay", kind="numeric", dtype="double"),
        Column(name="work", kind="categorical", dtype="string", categories=(" State-gov", " Private")),
    ),
    target="work",
)


def rows(**changed: object) -> pa.Table:
    plain = {"age": [30, 40], "pay": [1.5, 2.0], "work": [" State-gov", " Private"]}
    return pa.table({**plain, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"age": [30.0, 40.0]},
        {"age": ["30", "40"]},
        {"age": pa.array([30, 40], pa.int8())},
        {"work": pa.array([" State-gov", " Private"]).dictionary_encode()},
        {"work": ["State-gov", "Private "]},
        {"work": pa.array([" State-gov", " Private"], pa.large_string())},
    ],
)
def test_the_same_values_in_another_dress_are_the_same_rows(changed: dict[str, object]) -> None:
    assert conform(SCHEMA, rows(**changed), "synthetic").table.equals(rows())


def test_columns_come_in_the_order_of_the_schema() -> None:
    shuffled = rows().select(["work", "age", "pay"])
    assert conform(SCHEMA, shuffled, "holdout").table.equals(rows())


def test_a_category_read_from_pandas_is_its_text() -> None:
    frame = rows().to_pandas().astype({"work": "category", "age": "float64"})
    assert conform(SCHEMA, load(frame, "synthetic"), "synthetic").table.equals(rows())


def test_whole_numbers_are_floats_where_the_schema_says_so() -> None:
    assert conform(SCHEMA, rows(pay=[1, 2]), "synthetic").table.column("pay").to_pylist() == [1.0, 2.0]


def test_nulls_alone_take_the_type_of_the_column() -> None:
    read = conform(SCHEMA, rows(age=pa.nulls(2)), "synthetic").table
    assert read.column("age").type == pa.int64() and read.column("age").null_count == 2


def test_what_cannot_be_read_is_left_for_the_schema_check() -> None:
    assert conform(SCHEMA, rows(age=["old", "young"]), "synthetic").table.column("age").to_pylist() == ["old", "young"]


def test_a_blank_that_would_join_two_levels_is_kept() -> None:
    both = Schema((Column(name="work", kind="categorical", dtype="string", categories=(" a", "a ", "b")),))
    assert conform(both, pa.table({"work": ["a", "b"]}), "synthetic").table.column("work").to_pylist() == ["a", "b"]


def test_other_columns_are_named_both_ways_in_one_sentence() -> None:
    with pytest.raises(DataError) as said:
        conform(SCHEMA, rows().rename_columns(["age", "salary", "work"]), "synthetic")
    assert str(said.value) == (
        "the synthetic rows do not have the columns of train: they lack 'pay' and have 'salary', which train has not; "
        "rename or drop them"
    )


def test_mixed_types_and_other_things_are_refused() -> None:
    with pytest.raises(DataError, match="mix types within a column"):
        load(pd.DataFrame({"x": [1, "a", b"c"]}), "synthetic")
    with pytest.raises(DataError, match="the synthetic rows are a list"):
        load([1, 2], "synthetic")


def test_a_dataset_of_the_schema_is_taken_as_it_is() -> None:
    given = Dataset(rows(), SCHEMA)
    assert conform(SCHEMA, given, "train").source is given.source


@pytest.mark.parametrize("lazily", [False, True])
def test_a_published_version_is_judged_by_its_synthetic_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazily: bool
) -> None:
    """A version may hold real rows beside its own, and marks which are which."""
    from validators.judge import prepare

    monkeypatch.setattr("validators.conform.LAZY_ROWS", 10 if lazily else 10**9)
    real, made = frame(400, 1), frame(300, 2)
    whole = pd.concat([real.assign(is_synthetic=False), made.assign(is_synthetic=True)], ignore_index=True)
    whole.to_parquet(tmp_path / "version.parquet")
    ready = prepare(real, frame(200, 3), tmp_path / "version.parquet", target="label", intent=Intent())
    assert ready.synthetic.num_rows == 300 and "is_synthetic" not in ready.synthetic.schema.names
    assert ready.synthetic.column("x").to_pylist() == made.x.tolist()
