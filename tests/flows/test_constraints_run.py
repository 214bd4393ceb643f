"""Does a run from the command line hold a plan's rules, and say before any work what speaks against them?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv as pacsv
import pytest

from configs.load import dump, load
from data.constraints import make
from data.dataset import Dataset
from tests.flows.test_cli import cli, refused
from tests.generators.test_constrained import RULES, breaches, kept, orders

PLAN = """name: orders
seed: 3
data: {{use: csv, path: {folder}/orders.csv}}
target: label
constraints:
  - {{use: inequality, columns: [start, ship, end]}}
  - {{use: inequality, columns: [net, gross]}}
  - {{use: functional_dependency, columns: [city], settle: land}}
  - {{use: one_hot, columns: [p, q, r]}}
  - {{use: fixed_combinations, columns: [kind, label]}}
  - use: expression
    holds: gross - net < 12 or kind == 'x'
  - {{use: range, column: start, low: 2020-01-01, high: 2022-01-01}}
  - {{use: unique, columns: [net, city]}}
{more}
split: {{reference: 0.15, holdout: 0.3}}
generator: {{use: autoregressive, epochs: 3}}
gate: {{detect: 1.0, draws: 20, alpha: 1.0e-9, utility: "off"}}
publish: {{root: {folder}/published}}
"""


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return kept(Dataset.from_arrow(orders(500), target="label"), RULES)


@pytest.fixture
def plan(tmp_path: Path, rows: Dataset) -> Path:
    pacsv.write_csv(rows.table, tmp_path / "orders.csv")
    path = tmp_path / "orders.yaml"
    path.write_text(PLAN.format(folder=tmp_path, more=""))
    return path


def test_a_run_holds_every_rule_and_says_what_they_cost(plan: Path, tmp_path: Path, rows: Dataset) -> None:
    runs = tmp_path / "runs"
    foretold = cli("plan", plan, "--no-measure", "--runs", runs, "--json", tmp_path / "plan.json")
    assert foretold.exit_code == 0, foretold.output
    said = json.loads((tmp_path / "plan.json").read_text())["rules"]
    assert said[0] == "start <= ship <= end: holds by construction" and len(said) == 8
    assert "gross - net < 12" in said[5] and "% would hold it if its columns were independent" in said[5]
    assert "net with city is unique: rows that repeat are drawn again" in foretold.stdout
    done = cli("run", plan, "--runs", runs, "--json", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    assert "drawn rows hold every rule and were kept" in done.stderr
    made = pd.read_parquet(tmp_path / "published/orders/v000001/data")
    assert made["is_synthetic"].sum() > 100 and not made.duplicated(["id"]).any()
    drawn = made[made["is_synthetic"]].drop(columns="is_synthetic")
    table = Dataset.from_pandas(drawn, rows.schema).table.cast(rows.schema.arrow())
    assert breaches(table, RULES, rows) == {}
    schema = next(f for f in json.loads((tmp_path / "r.json").read_text())["findings"] if f["check"] == "schema")
    assert schema["verdict"] == "PASS"
    again = cli("run", plan, "--runs", runs)
    assert "sample   unchanged, skipped" in again.stderr
    more = cli("sample", "orders", "--rows", 40, "--where", "land=CH", "--out", tmp_path / "more.csv", "--runs", runs)
    assert more.exit_code == 0, more.output
    assert set(pd.read_csv(tmp_path / "more.csv")["city"]) == {"Bern"}
    refused(cli("sample", "orders", "-n", 2, "--where", "kind=y", "--where", "label=rare", "--runs", runs), "kind with label")
    refused(cli("sample", "orders", "-n", 9, "--out", tmp_path / "many", "--shards", 3, "--runs", runs), "use --shards 1")


def test_the_gate_blocks_what_breaks_a_rule(rows: Dataset) -> None:
    from validators.base import Evidence, Intent
    from validators.schema import SchemaCheck

    half = np.arange(rows.num_rows) % 2 == 0
    train, holdout = rows.take(np.flatnonzero(half)), rows.take(np.flatnonzero(~half))
    asked = Intent(constraints=tuple(make(spec) for spec in RULES))
    frame = holdout.to_pandas()
    fine = SchemaCheck().evaluate(Evidence(train=train, reference=train, holdout=holdout, synthetic=holdout, intent=asked))
    assert fine.verdict == "PASS"
    frame.loc[:2, "gross"] = 0.0
    frame.loc[7, "land"] = "DE" if frame.loc[7, "city"] != "Ulm" else "IT"
    broken = Dataset.from_pandas(frame, rows.schema)
    found = SchemaCheck().evaluate(Evidence(train=train, reference=train, holdout=holdout, synthetic=broken, intent=asked))
    assert found.verdict == "BLOCK"
    cells = {culprit.cell: culprit.observed for culprit in found.culprits}
    assert cells["rule: net <= gross"] == 3 and cells["rule: city settles land"] == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("  - {use: range, column: net, low: 5}", "orders.yaml:15:5: constraints.8: "),
        ("  - {use: range, column: nett, low: 5}", "constraints.8: there is no column 'nett'; did you mean 'net'?"),
        ("  - {use: range, column: id, low: 5}", "constraints.8: column 'id' is id: ids are made anew"),
        ("  - {use: range, column: net, low: 9, high: 3}", "constraints.8: no value of 'net' lies above 9 and below 3"),
        ("  - {use: inequality, columns: [gross, net], strict: true}", "'gross' would have to lie below itself"),
        ("  - {use: functional_dependency, columns: [land], settle: kind}", "rows break the rule land settles kind, the first"),
        ("  - {use: unique, columns: [kind]}", "rows break the rule kind is unique, the first is row 2 of those read"),
        (
            "  - {use: expression, holds: 'open(\"x\") == net'}",
            "'open' is no function here; there are abs",
        ),
        ("  - {use: expression, holds: 'net <'}", "is no expression"),
        ("  - {use: inequality, columns: [net, net]}", "column 'net' stands twice"),
        ("  - {use: inequality, columns: [net]}", "constraints.8.columns: "),
        ("  - {use: range, column: net}", "a range needs low, high, or both"),
        ("  - {use: rnge, column: net}", "unknown use 'rnge'; did you mean 'range'?"),
        ("  - {column: net}", "it says which rule it is: range, inequality"),
        ("  - {use: unique, columns: [net], colum: x}", "constraints.8.colum: unknown key 'colum'; did you mean 'columns'?"),
        ("columns: {gross: {drop: true}}", "constraints.1: column 'gross' is dropped by the plan"),
        ("columns: {gross: {high: 0}, net: {low: 1}}", "'gross' would have to lie above 1 and below 0"),
    ],
)
def test_what_speaks_against_a_rule_is_said_before_any_work(plan: Path, tmp_path: Path, more: str, said: str) -> None:
    plan.write_text(PLAN.format(folder=tmp_path, more=more))
    for verb in ("plan", "run"):
        refused(cli(verb, plan, "--runs", tmp_path / "runs"), said, "orders.yaml:")
    assert not list((tmp_path / "runs").glob("*/*/model"))


def test_a_plan_with_rules_is_written_and_read_back(plan: Path, tmp_path: Path) -> None:
    first = load(plan)
    (tmp_path / "again.yaml").write_text(dump(first))
    assert load(tmp_path / "again.yaml") == first


def test_pictures_have_no_rules(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: p\ndata: {use: surfaces}\nconstraints: [{use: range, column: size, low: 1}]\n")
    refused(cli("plan", path), "constraints are rules over the columns of a table")
