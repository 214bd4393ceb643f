"""Does a run of tables that refer to one another go from a database to tables whose keys hold, and say what is not judged?"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from configs.errors import PlanError
from configs.load import load
from data.relations import faults
from flows.cli import app
from flows.run import all_runs
from flows.stages.tables import drawn_tables
from tests.generators.related import RELATIONS, shop_tables


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shop as a SQLite database that states its keys."""
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("shop.db") as connection:
        for name in RELATIONS.order():
            table = shop_tables(60)[name]
            kinds = ", ".join(f'"{c}"' for c in table.column_names)
            keys = [f'FOREIGN KEY ("{k.column}") REFERENCES "{k.parent}" ("{k.key}")' for k in RELATIONS.of(name)]
            own = [f"PRIMARY KEY ({', '.join(RELATIONS.primary[name])})"] if RELATIONS.primary[name] else []
            connection.execute(f'CREATE TABLE "{name}" ({", ".join([kinds, *own, *keys])})')
            rows = [tuple(str(v) if hasattr(v, "year") else v for v in row.values()) for row in table.to_pylist()]
            connection.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * table.num_columns)})', rows)
    return tmp_path


def test_init_writes_a_plan_that_runs_as_it_stands(place: Path) -> None:
    code, said = command("init", "sqlite:///shop.db")
    assert code == 0, said
    text = Path("shop.yaml").read_text()
    assert "use: tables" in text and "- order  # " in text and "customer_id -> customer" in text
    code, said = command("plan", "shop.yaml")
    assert code == 0 and "counted by customer_id -> customer" in said and "not judged" in said
    code, said = command("run", "shop.yaml", "-o", "generator.use=bootstrap", "--quiet", "--json", "told.json")
    assert code == 0 and "KEYS HOLD" in said and "not judged" in said
    told = json.loads(Path("told.json").read_text())
    assert told["keys_hold"] and told["faults"] == [] and len(told["references"]) == len(RELATIONS.foreign)
    run = all_runs(Path("runs"))[-1]
    assert sorted(p.stem for p in (run.folder / "tables").iterdir()) == sorted(RELATIONS.tables)
    assert list(faults(drawn_tables(run))) == []
    assert not Path("published").exists()


def test_the_same_plan_draws_the_same_bytes_and_skips_what_is_done(place: Path) -> None:
    command("init", "sqlite:///shop.db")
    how = ("run", "shop.yaml", "-o", "generator.use=bootstrap")
    assert command(*how, "--quiet")[0] == 0
    run = all_runs(Path("runs"))[-1]
    bytes_of = {p.name: p.read_bytes() for p in (run.folder / "tables").iterdir()}
    code, said = command(*how)
    assert code == 0 and said.count("unchanged, skipped") == 5
    assert command(*how, "--quiet", "--fresh")[0] == 0
    assert {p.name: p.read_bytes() for p in (run.folder / "tables").iterdir()} == bytes_of
    code, said = command(*how, "-o", "sample.scale=2", "--quiet")
    assert code == 0
    newest = all_runs(Path("runs"))[-1]
    assert pq.read_metadata(newest.folder / "tables/region.parquet").num_rows == 80


def test_what_such_runs_do_not_have_is_refused_in_one_sentence(place: Path) -> None:
    command("init", "sqlite:///shop.db")
    assert command("run", "shop.yaml", "-o", "generator.use=bootstrap", "--quiet")[0] == 0
    for words in (
        ("run", "shop.yaml", "--engine", "prefect"),
        ("run", "shop.yaml", "--html", "x.html"),
        ("sample", "shop", "--rows", "3"),
        ("init", "sqlite:///shop.db", "--target", "x", "--force"),
    ):
        code, said = command(*words)
        assert code == 2 and "tables that refer to one another" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {use: tables}", "needs either url"),
        ("data: {use: tables, url: 'sqlite:///x.db'}\ntarget: a", "have no target"),
        ("data: {use: tables, url: 'sqlite:///x.db'}\nsample: {rows: 5}", "state sample.scale"),
        ("data: {use: tables, url: 'sqlite:///x.db'}\ncolumns: {a: {drop: true}}", "called table.column"),
        ("data: {use: csv, path: x.csv}\nsample: {scale: 2}", "state sample.rows"),
        ("data: {use: tables, urls: x}", "did you mean 'url'"),
    ],
)
def test_plans_that_do_not_fit_together_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(f"name: x\n{text}\n")
    with pytest.raises(PlanError, match=said):
        load(path)


def test_orphans_end_a_run_before_anything_is_learned(place: Path) -> None:
    command("init", "sqlite:///shop.db")
    with sqlite3.connect("shop.db") as connection:
        connection.execute("UPDATE 'order' SET customer_id = 3 WHERE id < 50005")
    code, said = command("run", "shop.yaml", "--quiet")
    assert code == 2 and "order.customer_id refer to no row of customer.id, the first to 3" in said
