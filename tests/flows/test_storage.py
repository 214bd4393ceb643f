"""Does a run take its rows from a store, write the tables of its plan once, and say nothing of what its credentials are?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from typer.testing import CliRunner

from configs.errors import PlanError
from configs.load import load
from data import remote
from data.errors import DataError, UserError
from data.remote import fetched
from flows import credentials
from flows.cli import app
from flows.stages import PLAN_CHECKS, sinks
from tests.conftest import mixed_table

deltalake = pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")
SECRET = "hunter2-Tr0ub4dor"
#: Real rows drawn again are blocked; with no check of copies in the way a run of seconds passes.
PASSING = ["-o", "generator.use=smote", "-o", "gate.alpha=1e-9"]


def run(plan: Path, *more: str) -> Any:
    return CliRunner().invoke(
        app, ["run", str(plan), "--runs", str(plan.parent / "runs"), "--engine", "local", "--quiet", *more]
    )


def with_sinks(plan: Path) -> Path:
    folder = plan.parent
    tables = (
        f"  sinks:\n    - {{use: delta, path: {folder / 'delta'}}}\n"
        f"    - {{use: iceberg, catalog: 'sqlite:///{folder}/catalog.db?password=${{CATALOG_PASSWORD}}', "
        f"warehouse: {folder / 'ice'}, table: sets.mixed}}\n"
    )
    plan.write_text(
        plan.read_text().replace("publish: {root: ", "publish:\n  root: ").replace("published}\n", f"published\n{tables}")
    )
    return plan


def versions(folder: Path) -> list[str]:
    return [str(each["counterpoise.version"]) for each in reversed(deltalake.DeltaTable(folder / "delta").history())]


def test_a_version_is_written_once_after_it_was_published_and_never_when_it_is_blocked(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "fill", lambda text: text.partition("?")[0])  # SQLite knows no passwords
    plan = with_sinks(plan_file)
    done = run(plan)
    assert done.exit_code == 3, done.output  # real rows drawn again
    assert not (tmp_path / "delta").exists() and not (tmp_path / "catalog.db").exists()
    done = run(plan, *PASSING)
    assert done.exit_code == 0, done.output
    published = pq.read_table(tmp_path / "published/mixed/v000001/data")
    table = deltalake.DeltaTable(tmp_path / "delta").to_pyarrow_table()
    assert table.num_rows == published.num_rows and table.column_names == published.column_names
    assert versions(tmp_path) == ["v000001"]
    facts = json.loads(next((tmp_path / "runs").glob("*/*/published.json")).read_text())
    for path in (tmp_path / "runs").glob("*/*/published.json"):
        facts = json.loads(path.read_text()) if json.loads(path.read_text())["version"] else facts
    assert facts["sinks"] == [f"delta {tmp_path / 'delta'}", "iceberg sets.mixed"]
    assert run(plan, *PASSING).exit_code == 0
    assert versions(tmp_path) == ["v000001"]
    assert run(plan, *PASSING, "-o", "seed=4").exit_code == 0
    assert versions(tmp_path) == ["v000001", "v000002"]


def test_a_table_that_failed_is_written_by_the_same_command_and_the_version_is_not_published_twice(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "fill", lambda text: text.partition("?")[0])
    plan = with_sinks(plan_file)
    (tmp_path / "delta").write_text("in the way")
    done = run(plan, *PASSING)
    assert done.exit_code == 2 and "v000001 is published, but the Delta table" in done.output
    (tmp_path / "delta").unlink()
    done = run(plan, *PASSING)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "published/mixed").glob("v*")) == ["v000001"]
    assert versions(tmp_path) == ["v000001"]


def test_credentials_stand_nowhere(plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the plan's copies, the log, the state of the run, the reports, the manifest, or what was told."""
    monkeypatch.setattr(sinks, "fill", lambda text: text.partition("?")[0])
    for name in ("CATALOG_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "TOLD"):
        monkeypatch.setenv(name, f"json://127.0.0.1:1/{SECRET}" if name == "TOLD" else SECRET)
    done = run(with_sinks(plan_file), *PASSING, "-o", "notify.addresses=TOLD")
    assert done.exit_code == 0, done.output
    assert SECRET not in done.output
    seen = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.log", "plan.yaml", "report.html", "manifest.json", "stages.json"} <= {path.name for path in seen}
    assert [path for path in seen if SECRET.encode() in path.read_bytes()] == []
    assert "${CATALOG_PASSWORD}" in next(p for p in seen if p.name == "plan.yaml").read_text()


def test_a_plan_with_a_table_whose_library_is_absent_is_refused_before_any_work(
    plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    with pytest.raises(PlanError, match=r"publish.sinks.0.use: delta needs deltalake; install it with .*\.\[delta\]"):
        load(with_sinks(plan_file), checks=PLAN_CHECKS)
    with pytest.raises(PlanError, match="unknown use 'hudi'"):
        load(plan_file, ["publish.sinks=[{use: hudi}]"])
    with pytest.raises(PlanError, match="of the plan would hold"):
        load(plan_file, [f"publish.sinks=[{{use: delta, path: 's3://a:{SECRET}@b/c'}}]"])


# --- rows from a store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What lies at az://lake, and a cache of its own."""
    (tmp_path / "store/lake").mkdir(parents=True)
    inside = fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem())
    monkeypatch.setattr(remote, "_azure", lambda netloc, endpoint: inside)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "store/lake"


def test_rows_of_a_store_are_read_as_those_of_a_folder(plan_file: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed.csv").rename(store / "mixed.csv")
    done = run(plan_file, *PASSING, "-o", "data.path=az://lake/mixed.csv")
    assert done.exit_code == 0, done.output
    first = next(tmp_path.glob("runs/*/*"))
    assert json.loads((first / "stages.json").read_text())["read"]["facts"]["rows"] == 240
    run(plan_file, *PASSING, "-o", "data.path=az://lake/mixed.csv")
    assert len(list(tmp_path.glob("runs/*/*"))) == 1  # the same bytes: the same run
    text = (store / "mixed.csv").read_text()
    (store / "mixed.csv").write_text(text + text.splitlines()[1].replace("0", "9", 1) + "\n")
    run(plan_file, *PASSING, "-o", "data.path=az://lake/mixed.csv")
    assert len(list(tmp_path.glob("runs/*/*"))) == 2


def test_a_folder_of_a_store_is_copied_once_and_anew_when_it_changed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        (store / f"set/part{i}").mkdir(parents=True)
        pq.write_table(mixed_table(20, i), store / f"set/part{i}/rows.parquet")
    here = fetched("az://lake/set/")
    assert sorted(p.relative_to(here).as_posix() for p in here.rglob("*.parquet")) == [
        f"part{i}/rows.parquet" for i in range(3)
    ]
    assert fetched("az://lake/set/") == here
    pq.write_table(mixed_table(30, 9), store / "set/part2/rows.parquet")
    again = fetched("az://lake/set/")
    assert again != here and pq.read_table(again / "part2/rows.parquet").num_rows == 30
    with pytest.raises(DataError, match="az://lake/none: there is no such file or folder"):
        fetched("az://lake/none")
    inside = remote.opened("az://lake")[0]
    odd = [type("Entry", (), {"path": "lake/set/../../x", "size": 1, "mtime_ns": 0})()]
    monkeypatch.setattr(remote, "_files", lambda system, root: odd)
    with pytest.raises(DataError, match="lies outside of it; rename it there"):
        fetched("az://lake/set")
    assert inside is not None


# --- blocks -------------------------------------------------------------------------------------------------------------------


def test_a_block_lends_its_environment_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks import system

    held: Any = {"LENT_KEY": SECRET}
    monkeypatch.setattr(system.Secret, "load", lambda name: type("Block", (), {"get": lambda self: held})())
    monkeypatch.setattr(credentials, "_LENT", set())
    monkeypatch.delenv("LENT_KEY", raising=False)
    credentials.lend(None)
    credentials.lend("lake")
    import os

    assert os.environ.pop("LENT_KEY") == SECRET
    held = SECRET
    with pytest.raises(UserError, match="the block secret/other holds no environment") as caught:
        credentials.lend("other")
    assert SECRET not in str(caught.value)

    def refuse(name: str) -> Any:
        raise ValueError(SECRET)

    monkeypatch.setattr(system.Secret, "load", refuse)
    with pytest.raises(UserError, match=r"secret/third cannot be loaded \(ValueError\)") as caught:
        credentials.lend("third")
    assert SECRET not in str(caught.value) and caught.value.__suppress_context__
