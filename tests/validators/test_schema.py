"""Does the check of the schema block what was declared, and forgive what real rows do too?"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.constraints import make
from data.dataset import Dataset
from data.schema import Column, Schema
from tests.conftest import ROOT
from tests.validators.rows import evidence, frame
from validators.base import Evidence, Finding, Intent, Privacy
from validators.schema import SchemaCheck, rules

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


def test_with_a_promise_of_privacy_only_declared_ends_bind() -> None:
    """The ends of other columns are known to nobody who drew the rows: noisy counts found some beyond them."""
    made = frame(600, 3)
    made.loc[: len(made) // 10, "x"] = TRAIN["x"].max() + 5

    def under(privacy: Privacy | None, **stated: object) -> Finding:
        given = evidence(TRAIN, HOLDOUT, made)
        ruled = given.reference.schema.overrule({"x": stated} if stated else {})
        sides = {role: replace(getattr(given, role), schema=ruled) for role in ("train", "reference", "holdout", "synthetic")}
        return SchemaCheck().evaluate(replace(given, **sides, intent=Intent(privacy=privacy)))

    assert under(None).verdict == under(Privacy()).verdict == "BLOCK"
    assert under(Privacy(promised=True)).verdict == "PASS"
    assert under(Privacy(promised=True), low=-50.0, high=float(TRAIN["x"].max()) + 1).verdict == "BLOCK"


def test_a_missing_column_blocks_and_an_extra_one_is_let_be() -> None:
    given = evidence(TRAIN, HOLDOUT, frame(300, 3))
    whole = given.synthetic.table
    lacking = SchemaCheck().evaluate(table_of(whole.drop_columns(["y"]), given.reference.schema))
    assert lacking.summary == "columns are missing: the synthetic set lacks 'y'" and lacking.verdict == "BLOCK"
    extra = whole.append_column("spare", pa.array(range(whole.num_rows)))
    assert SchemaCheck().evaluate(table_of(extra, given.reference.schema)).verdict == "PASS"


def test_a_mistyped_column_blocks_by_its_type_alone() -> None:
    given = evidence(TRAIN, HOLDOUT, frame(300, 3))
    whole = given.synthetic.table
    place = whole.column_names.index("x")
    worded = whole.set_column(place, "x", pa.array(["blue"] * whole.num_rows))
    found = SchemaCheck().evaluate(table_of(worded, given.reference.schema))
    assert found.verdict == "BLOCK" and found.summary == "column 'x' holds values of another type: 'blue' (300)"


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


def test_unseen_levels_are_named_most_frequent_first_and_numbers_are_not() -> None:
    made = frame(600, 3)
    made.loc[:99, "city"] = "atlantis"
    made.loc[100:159, "city"] = "mu"
    made.loc[160:189, "city"] = "x" * 90
    made.loc[190:199, "city"] = "avalon"
    found = judged(made)
    names = f"'atlantis' (100), 'mu' (60), '{'x' * 39}…' (30) and 1 more"
    assert found.summary == f"column 'city' holds 200 values that are none of its levels (33 % of its rows): {names}"
    assert found.culprits[0].cell == f"city: values that are none of its levels ({names})"
    made = frame(600, 3)
    made.loc[:99, "x"] = 123456.75
    far = judged(made)
    assert far.verdict == "BLOCK" and "123456" not in far.summary + far.culprits[0].cell


def test_a_null_rate_that_the_holdout_shares_is_forgiven_and_a_higher_one_is_not() -> None:
    def empty(rows: pd.DataFrame, share: float) -> pd.DataFrame:
        rows.loc[: int(len(rows) * share) - 1, "x"] = np.nan
        return rows

    def verdict(share: float) -> str:
        given = evidence(TRAIN, empty(frame(400, 2), 0.05), empty(frame(4000, 3), share))
        strict = replace(given.reference.schema["x"], nullable=False)
        schema = Schema(tuple(strict if c.name == "x" else c for c in given.reference.schema), target="label")
        roles = ("train", "reference", "holdout", "synthetic")
        return SchemaCheck().evaluate(replace(given, **{r: replace(getattr(given, r), schema=schema) for r in roles})).verdict

    assert verdict(0.05) == "PASS" and verdict(0.3) == "BLOCK"


def test_half_of_the_alpha_of_the_check_goes_to_the_bound_and_half_to_the_draw() -> None:
    given = evidence(TRAIN, HOLDOUT, frame(600, 3))
    soft = [rule for rule in rules(given) if not rule.hard]
    assert len(soft) > 3 and all(rule.share > 0 for rule in soft)
    assert sum(2 * rule.alpha for rule in soft) == pytest.approx(given.intent.level("schema"))


def test_rows_on_disk_are_judged_as_those_in_memory(tmp_path: Path) -> None:
    made = frame(3000, 3)
    made.loc[5::9, "city"] = "mu"
    made.loc[7::11, "x"] = 1e9
    given = evidence(TRAIN, HOLDOUT, made)
    pq.write_table(given.synthetic.table, tmp_path / "rows.parquet", row_group_size=97)
    lazy = replace(given, synthetic=Dataset.from_parquet(tmp_path / "rows.parquet", given.synthetic.schema))
    assert SchemaCheck().evaluate(lazy) == SchemaCheck().evaluate(given)


def test_great_expectations_is_not_imported() -> None:
    code = (
        "import sys; from tests.validators.rows import evidence, frame; from validators.schema import SchemaCheck;"
        "print(SchemaCheck().evaluate(evidence(frame(90, 1), frame(90, 2), frame(90, 3))).verdict);"
        "assert 'great_expectations' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "PASS"), done.stderr


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "PASS"), (0.03, "WARN"), (0.2, "BLOCK")])
def test_an_order_that_all_real_rows_keep(share: float, verdict: str) -> None:
    """Nobody stated it, but chance would not have kept it in one row of real ones."""

    def orders(n: int, seed: int, broken: float = 0.0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        ordered = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, n), unit="D")
        lag = rng.integers(1, 9, n) * np.where(rng.random(n) < broken, -1, 1)
        shipped = ordered + pd.to_timedelta(lag, unit="D")
        return pd.DataFrame({"ordered": ordered, "shipped": shipped, "x": rng.normal(size=n)})

    train = Dataset.from_pandas(orders(2000, 0))
    holdout, made = (Dataset.from_pandas(rows, train.schema) for rows in (orders(800, 1), orders(8000, 2, share)))
    given = Evidence(train=train, reference=train, holdout=holdout, synthetic=made, intent=Intent())
    found = SchemaCheck().evaluate(given)
    assert found.verdict == verdict
    if share:
        assert "break ordered <= shipped, which all reference rows keep" in found.summary
        assert "columns: [ordered, shipped]" in found.details["advice"]
    rule = make({"use": "inequality", "columns": ["ordered", "shipped"]})
    stated = replace(given, intent=Intent(constraints=(rule,)))
    assert SchemaCheck().evaluate(stated).verdict == ("BLOCK" if share else "PASS")
