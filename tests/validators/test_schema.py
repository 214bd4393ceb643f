"""Does Great Expectations block what was declared, forgive what real rows do too, and keep quiet and tidy?"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.schema import Column, Schema
from tests.validators.rows import evidence, frame
from validators.base import Evidence, Finding
from validators.expectations import Rule, run_suite
from validators.schema import SchemaCheck

TRAIN, HOLDOUT = frame(400, 1), frame(400, 2)


def judged(synthetic: pd.DataFrame, stated: dict[str, dict[str, object]] | None = None) -> Finding:
    given = evidence(TRAIN, HOLDOUT, synthetic)
    ruled = given.reference.schema.overrule(stated or {})
    sides = {role: replace(getattr(given, role), schema=ruled) for role in ("train", "reference", "holdout", "synthetic")}
    return SchemaCheck().evaluate(replace(given, **sides))


def test_a_declared_bound_broken_by_one_row_blocks() -> None:
    made = frame(600, 3)
    made.loc[17, "count"] = 200
    found = judged(made, {"count": {"low": 0, "high": 100}})
    assert found.verdict == "BLOCK" and found.culprits[0].observed == 1
    assert "'count' holds 1 values out of its range" in found.summary


@pytest.mark.parametrize(
    ("column", "value", "stated", "said"),
    [
        ("city", "atlantis", {"categories": ("east", "north", "west", "far")}, "none of its levels"),
        ("x", np.nan, {"nullable": False}, "nulls where none may be"),
    ],
)
def test_a_declared_level_or_fullness_broken_by_one_row_blocks(
    column: str, value: object, stated: dict[str, object], said: str
) -> None:
    made = frame(600, 3)
    assert judged(made, {column: stated}).verdict == "PASS"
    made.loc[17, column] = value
    found = judged(made, {column: stated})
    assert found.verdict == "BLOCK" and said in found.summary and repr(column) in found.summary


@pytest.mark.parametrize("seed", range(4))
def test_inferred_bounds_do_not_block_real_rows_beyond_them(seed: int) -> None:
    given = evidence(frame(60, seed), frame(300, 50 + seed), frame(900, 90 + seed))
    narrow = Dataset.from_pandas(frame(60, seed), target="label").schema
    sides = {role: replace(getattr(given, role), schema=narrow) for role in ("train", "reference", "holdout", "synthetic")}
    beyond = (given.synthetic.to_pandas()["x"] > narrow["x"].high).sum() + (
        given.synthetic.to_pandas()["x"] < narrow["x"].low
    ).sum()
    assert beyond > 0
    assert SchemaCheck().evaluate(replace(given, **sides)).verdict == "PASS"


def test_inferred_bounds_block_what_real_rows_never_do() -> None:
    made = frame(600, 3)
    made.loc[:99, "x"] = 1e6
    found = judged(made)
    assert found.verdict == "BLOCK" and "'x' holds 10" in found.summary


def table_of(source: pa.Table, schema: Schema) -> Evidence:
    given = evidence(TRAIN, HOLDOUT, frame(300, 3))
    return replace(given, synthetic=Dataset(source, schema))


def test_a_missing_column_blocks_and_an_extra_one_is_let_be() -> None:
    given = evidence(TRAIN, HOLDOUT, frame(300, 3))
    whole = given.synthetic.table
    lacking = SchemaCheck().evaluate(table_of(whole.drop_columns(["y"]), given.reference.schema))
    assert lacking.verdict == "BLOCK" and lacking.summary.startswith("columns are missing")
    extra = whole.append_column("spare", pa.array(range(whole.num_rows)))
    assert SchemaCheck().evaluate(table_of(extra, given.reference.schema)).verdict == "PASS"


def test_a_mistyped_column_blocks_by_its_type_alone() -> None:
    given = evidence(TRAIN, HOLDOUT, frame(300, 3))
    whole = given.synthetic.table
    place = whole.column_names.index("x")
    worded = whole.set_column(place, "x", pa.array(["blue"] * whole.num_rows))
    found = SchemaCheck().evaluate(table_of(worded, given.reference.schema))
    assert found.verdict == "BLOCK" and found.summary == "column 'x' holds values of another type"


def keyed(keys: list[str]) -> Dataset:
    columns = (
        Column(name="key", kind="id", dtype="string"),
        Column(name="x", kind="numeric", dtype="double", low=0.0, high=1.0),
    )
    rows = pa.table({"key": keys, "x": np.linspace(0, 1, len(keys))})
    return Dataset(rows, Schema(columns))


def test_ids_must_be_unique_where_those_of_train_are() -> None:
    real, repeated = keyed([f"a{i}" for i in range(50)]), keyed(["b"] * 2 + [f"b{i}" for i in range(48)])
    found = SchemaCheck().evaluate(Evidence(train=real, reference=real, holdout=real, synthetic=repeated))
    assert found.verdict == "BLOCK" and "'key' holds 2 values that are not unique" in found.summary
    loose = SchemaCheck().evaluate(Evidence(train=repeated, reference=repeated, holdout=real, synthetic=repeated))
    assert loose.verdict == "PASS"


def test_docs_are_written_and_nothing_else_is_left_or_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home, scratch, here = (tmp_path / name for name in ("home", "scratch", "here"))
    for folder in (home, scratch, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = dict(os.environ)
    SchemaCheck(docs=tmp_path / "docs").evaluate(evidence(TRAIN, HOLDOUT, frame(300, 3)))
    assert (tmp_path / "docs/index.html").is_file() and list((tmp_path / "docs/validations").rglob("*.html"))
    assert not any(list(folder.iterdir()) for folder in (home, scratch, here))
    assert dict(os.environ) == before and tuple(capfd.readouterr()) == ("", "")


def test_an_expectation_that_cannot_run_fails_with_its_reason() -> None:
    rules = [Rule("gone", "filled"), Rule("x", "filled")]
    gone, there = run_suite(pd.DataFrame({"x": [1.0, None]}), rules)
    assert not gone.success and gone.error
    assert not there.success and (there.rows, there.broken) == (2, 1) and not there.error
