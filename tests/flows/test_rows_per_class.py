"""Does a plan get the rows of each class that it asks for, of classes with five rows too?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from generators.base import table
from tests.conftest import mixed_table
from tests.flows.test_cli import cli, refused
from tests.generators.test_contract import FAMILIES, make


def asking(plan_file: Path, rows: str, *more: str) -> list[object]:
    options = [f"sample={{rows: {rows}}}", "generator.use=smote", "gate.utility=off", "gate.alpha=1e-9", *more]
    return ["run", plan_file, "--runs", plan_file.parent / "runs", *(part for each in options for part in ("-o", each))]


@pytest.mark.parametrize(
    ("rows", "drawn"),
    [
        ("{rare: 30}", {"rare": 30}),
        ("{rare: 30, common: 0}", {"rare": 30}),
        ("{common: 7, rare: 40}", {"rare": 40, "common": 7}),
    ],
)
def test_rows_are_drawn_as_stated(plan_file: Path, rows: str, drawn: dict[str, int]) -> None:
    done = cli(*asking(plan_file, rows))
    assert done.exit_code in (0, 3, 4), done.output
    files = sorted((plan_file.parent / "runs").glob("mixed/*/samples/*.parquet"))
    assert Counter(pd.concat(pd.read_parquet(path) for path in files)["label"]) == drawn


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ("{rar: 30}", (), "-o sample={rows: {rar: 30}}: sample.rows.rar: column 'label' has no level 'rar'; did you mean"),
        ("{rare: 30}", ("sample.mix=natural",), "so sample.mix has nothing to say"),
        ("{rare: 0}", (), "asks for no row of any class"),
        ("{rare: 30}", ("target=amount",), "the target 'amount' has none"),
    ],
)
def test_what_cannot_be_drawn_is_refused(plan_file: Path, rows: str, more: tuple[str, ...], said: str) -> None:
    refused(cli(*asking(plan_file, rows, *more)), said)


@pytest.mark.parametrize(
    ("rows", "said"), [("{rare: -1}", "sample.rows.rare: input should be greater"), ("many", "sample.rows: ")]
)
def test_what_is_no_number_is_refused(plan_file: Path, rows: str, said: str) -> None:
    done = cli(*asking(plan_file, rows))
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize("part", ["rows", "mix"])
def test_a_class_that_there_is_not_is_named_with_its_line(plan_file: Path, part: str) -> None:
    plan_file.write_text(plan_file.read_text().replace("{mix: balanced}", f"\n  {part}:\n    broken: 10"))
    for word in ("plan", "run"):
        refused(cli(word, plan_file, "--runs", plan_file.parent / "runs"), f"mixed.yaml:9:5: sample.{part}.broken: column")


def test_classes_need_a_target(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: p\ndata: {use: sklearn, set: iris}\nsample: {rows: {setosa: 5}}\n")
    refused(cli("plan", path), "sample.rows names classes but the plan names no target")


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_class_of_five_rows_is_drawn_by_condition(name: str) -> None:
    whole = Dataset.from_arrow(mixed_table(400), target="label")
    labels = np.array(whole.column("label").to_pylist())
    few = np.flatnonzero(labels == "rare")[:5]
    train = whole.take(np.concatenate([few, np.flatnonzero(labels == "common")]))
    drawn = table(make(name).fit(train, seed=0).sample(200, where={"label": "rare"}, seed=0), train.schema.arrow())
    assert drawn.num_rows == 200 and set(drawn.column("label").to_pylist()) == {"rare"}
