"""Can a plan, or a suite that it names, do more than describe a run; and does a secret stay where it belongs?"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from configs.errors import PlanError
from configs.load import load
from data.errors import DataError
from data.secrets import hidden, holds_secret, is_secret
from data.sources import tables
from flows.cli import app
from flows.stages import PLAN_CHECKS
from validators.suite_condition import check_condition
from validators.suite_file import read_suite

SECRET = "hunter2-Tr0ub4dor"


def plan(folder: Path, text: str, data: str = "{use: sklearn, set: iris}") -> Path:
    path = folder / "p.yaml"
    path.write_text(f"name: p\ndata: {data}\n{text}\n")
    return path


@pytest.mark.parametrize(
    "use",
    ["os:system", "os.path:join", "subprocess:Popen", "builtins:eval", "evil:Family", "evil.sub:Family", "data.dataset:Dataset",
     "flows.run:Run", "generators.base:seal", "sdv:importlib", "gan:Path", "image.gan:torch"],
)  # fmt: skip
def test_a_plan_reaches_no_class_but_families(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil").mkdir()
    for name in ("__init__", "sub"):
        (tmp_path / f"evil/{name}.py").write_text(f"open({str(tmp_path / 'went_off')!r}, 'w')\n")
    with pytest.raises(PlanError) as caught:
        load(plan(tmp_path, f"generator: {{use: '{use}'}}"), checks=PLAN_CHECKS)
    assert "generator.use" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "went_off").exists()


def test_a_family_of_others_is_imported_once_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plan(tmp_path, "generator: {use: 'tests.flows.stubs:Good'}\ntarget: species")
    monkeypatch.delenv("COUNTERPOISE_FAMILIES")
    with pytest.raises(PlanError, match="if you trust it, set COUNTERPOISE_FAMILIES=tests.flows.stubs"):
        load(path, checks=PLAN_CHECKS)
    for named in ("tests", "other, tests.flows.stubs"):
        monkeypatch.setenv("COUNTERPOISE_FAMILIES", named)
        assert load(path, checks=PLAN_CHECKS).generator.use == "tests.flows.stubs:Good"
    monkeypatch.setenv("COUNTERPOISE_FAMILIES", "test")
    with pytest.raises(PlanError):
        load(path, checks=PLAN_CHECKS)


HARMFUL = [
    "@pd.io.common.os.system('touch {mark}') == 0",
    "a.to_csv('{mark}') == 0",
    "a.__class__.__mro__ == 0",
    "open('{mark}', 'w') == 0",
    "[x for x in a] == 0",
    "(lambda: 1)() == 0",
    "`a`.to_pickle('{mark}') == 0",
]


@pytest.mark.parametrize("condition", HARMFUL)
def test_a_condition_of_a_suite_only_compares(condition: str, tmp_path: Path) -> None:
    """Without the check pandas would do what the first of them says, which this shows too."""
    text = condition.format(mark=tmp_path / "went_off")
    for given in (text, {"type": "pass_through", "pass_through_filter": text}, {"conditions": [{"pass_through_filter": text}]}):
        with pytest.raises(DataError, match="row_condition .* could run code; compare columns with values alone"):
            check_condition("s.json: expectation 1", given)
    asked = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "a", "min_value": 0, "row_condition": text, "condition_parser": "pandas"},
    }
    (tmp_path / "s.json").write_text(json.dumps({"name": "s", "expectations": [asked]}))
    with pytest.raises(DataError, match="expectation 1"):
        read_suite(tmp_path / "s.json", ["a"])
    assert not (tmp_path / "went_off").exists()
    if "to_csv" in text:
        pd.DataFrame({"a": [1]}).query(f"a == a or {text}", engine="python")
        assert (tmp_path / "went_off").exists()


@pytest.mark.parametrize(
    "condition",
    ["a > 3", "a == 'x' and b != 2", "~(a.isnull())", "`odd name`.notnull() & b.isin([1, 2])",
     "a in ['x@y.z', 'b']", "a + 1 < b",
     {"type": "comparison", "column": {"name": "a"}, "operator": "==", "parameter": "os.system('x')"}, None],
)  # fmt: skip
def test_conditions_that_compare_pass(condition: object) -> None:
    check_condition("s.json: expectation 1", condition)


def test_a_column_of_a_condition_is_a_name(tmp_path: Path) -> None:
    odd = {"type": "nullity", "column": {"name": "a`.to_csv('x') or `a"}, "is_null": True}
    with pytest.raises(DataError, match="could run code"):
        check_condition("s.json: expectation 1", odd)


def test_names_of_tables_and_columns_are_quoted(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "shop.db")
    evil, key = 'a"; DROP TABLE victim; --', 'id"; DROP TABLE victim; --'
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in (evil, key)}
    base.execute("CREATE TABLE victim (x INTEGER PRIMARY KEY)")
    base.execute(f"CREATE TABLE {quoted[evil]} ({quoted[key]} INTEGER PRIMARY KEY, v REFERENCES victim (x))")
    base.execute("INSERT INTO victim VALUES (1)")
    base.execute(f"INSERT INTO {quoted[evil]} VALUES (5, 1)")
    base.commit()
    base.close()
    held, relations = tables.read(url=f"sqlite:///{tmp_path / 'shop.db'}")
    assert held[evil].column(key).to_pylist() == [5] and held["victim"].num_rows == 1
    assert relations.primary[evil] == (key,)


# --- secrets ------------------------------------------------------------------------------------------------------------------

ADDRESSES = [
    f"postgresql://bob:{SECRET}@host/db", f"postgresql+pg8000://bob:a${{X}}{SECRET}@host/db", f"mysql://h/d?password={SECRET}",
    f"postgresql://bob:${{PW:-{SECRET}}}@host/db", f"s3://KEY:{SECRET}@bucket/x", f"abfs://c@a/x?sas_token={SECRET}",
    f"https://a.b/c?sv=1&sig={SECRET}",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_show_no_secret(address: str) -> None:
    assert holds_secret(address)
    assert SECRET not in hidden(f"cannot open {address}: no such host") and hidden(address) != address


def test_what_is_no_secret_stays() -> None:
    for text in (
        "postgresql://bob:${PW}@host/db",
        "sqlite:///a.db",
        "s3://bucket/x",
        "http://127.0.0.1:9000",
        "a@b",
        "12:30@x",
    ):
        assert not holds_secret(text) and (hidden(text) == text or "${PW}" in text)
    assert is_secret("AWS_SECRET_ACCESS_KEY") and is_secret("DB_PASSWORD") and is_secret("TOKEN")
    assert not is_secret("COUNTERPOISE_DATA") and not is_secret("MONKEY") and not is_secret("HOME")


@pytest.mark.parametrize(
    "text",
    [f"publish: {{root: 's3://KEY:{SECRET}@bucket/x'}}", f"publish: {{root: s3://b/x, endpoint: 'https://k:{SECRET}@host'}}",
     f"publish: {{root: 'abfs://c@a.dfs.core.windows.net/x?sas_token={SECRET}'}}",
     "publish: {license: '${AWS_SECRET_ACCESS_KEY}'}", "gate: {suite: '${MY_TOKEN}.json'}"],
)  # fmt: skip
def test_a_plan_takes_no_secret(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MY_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    with pytest.raises(PlanError, match="of the plan would hold") as caught:
        load(plan(tmp_path, text))
    assert SECRET not in str(caught.value)


def test_no_verb_repeats_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a fault of the plan, of an override or of the database; not in a file that is written."""
    monkeypatch.chdir(tmp_path)
    spelled, url = "the address spells out a password", f"postgresql://bob:{SECRET}@127.0.0.1:1/db"
    query = "{use: sql, url: 'postgresql://bob:${DB_PASSWORD}@127.0.0.1:1/db', query: SELECT 1}"
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    plan(tmp_path, "target: x", query)
    for command, said in (
        (["run", "p.yaml"], "cannot be opened"),
        (["plan", "p.yaml"], "cannot be opened"),
        (["run", "p.yaml", "-o", f"data.url={url}"], spelled),
        (["run", "p.yaml", "-o", f"data.urll={url}"], "unknown key"),
        (["init", url], spelled),
        (["init", "postgresql://bob:${DB_PASSWORD}@127.0.0.1:1/db"], "cannot be opened"),
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2 and said in done.output, (command, done.output)
        assert SECRET not in done.output
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert SECRET.encode() not in file.read_bytes(), file
