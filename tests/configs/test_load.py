"""Does a plan say where and what is wrong with it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import KeyFault, PlanError
from configs.load import dump, fill, load
from configs.plan import Plan
from configs.sources import CsvSource
from tests.conftest import ROOT

RUNS = sorted((ROOT / "configs/runs").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


GOOD = "name: x\ndata: {use: sklearn, set: iris}\n"


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_shipped_plans_load_and_name_their_schema(path: Path) -> None:
    plan = load(path)
    assert plan.name == path.stem
    head = path.read_text().splitlines()
    assert head[0] == "# yaml-language-server: $schema=../plan.schema.json"
    assert head[1] == f"# counterpoise run configs/runs/{path.name}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "sed: 3\n", "plan.yaml:3:1: sed: unknown key 'sed'; did you mean 'seed'?"),
        (GOOD + "seed: soon\n", "plan.yaml:3:1: seed: input should be a valid integer"),
        (GOOD + "gate:\n  detect: 0.1\n  drows: 3\n", "plan.yaml:5:3: gate.drows: unknown key 'drows'; did you mean 'draws'?"),
        (GOOD + "gate: {suite: ''}\n", "plan.yaml:3:8: gate.suite: string should have at least 1 character"),
        (GOOD + "columns:\n  age: {kind: numerc}\n", "plan.yaml:4:9: columns.age.kind: input should be 'numeric'"),
        ("name: x\ndata:\n  use: cvs\n", "plan.yaml:2:1: data: unknown use 'cvs'; did you mean 'csv'?"),
        ("name: x\ndata:\n  use: csv\n  pth: a\n", "plan.yaml:4:3: data.pth: unknown key 'pth'; did you mean 'path'?"),
        ("name: x\ndata:\n  use: csv\n", "plan.yaml:2:1: data.path: the key 'path' is missing"),
        ("name: x\ndata: {path: a}\n", "plan.yaml:2:1: data: the key 'use' is missing"),
        (GOOD + "split: {reference: 0.3, holdout: 0.6}\n", "plan.yaml:3:1: split: reference and holdout together"),
        (GOOD + "name: y\n", "plan.yaml:3:1: the key 'name' stands twice"),
        (GOOD + "sample: {mix: {a: 1}}\n", "sample.mix names classes but the plan names no target"),
        ("name: [\n", "not valid YAML"),
        ("- a\n", "plan.yaml:1:1: a plan is a mapping"),
        ("", "plan.yaml:1:1: a plan is a mapping"),
        (GOOD + "target: ${NOT_SET_ANYWHERE}\n", "plan.yaml:3:1: target: the environment has no variable NOT_SET_ANYWHERE"),
    ],
)
def test_faults_name_line_key_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        load(write(tmp_path, text))
    assert said in str(caught.value)


def test_every_fault_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load(write(tmp_path, GOOD + "sed: 1\ntarget: t\nsample: {mix: balancd}\n"))
    lines = str(caught.value).splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == ["sample.mix", "sed"]


def test_an_override_beside_a_shorthand_leaves_it_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "choose: bakeoff\n")
    plan = load(path, ["choose.minutes=4", "choose.avoid=privacy"])
    assert (plan.choose.how, plan.choose.minutes, plan.choose.avoid) == ("bakeoff", 4, ["privacy"])


def test_overrides_win_and_are_named_in_faults(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    plan = load(path, ["generator.epochs=5", "seed=9", "publish.root=s3://b/p", "sample.include_real=false"])
    assert plan.generator.settings == {"epochs": 5}
    assert (plan.seed, plan.publish.root, plan.sample.include_real) == (9, "s3://b/p", False)
    with pytest.raises(PlanError, match=r"^-o seed=abc: seed: input should be a valid integer"):
        load(path, ["seed=abc"])
    with pytest.raises(PlanError, match="an override is key.key=value"):
        load(path, ["seed"])


def test_another_use_leaves_out_what_it_does_not_take_and_keeps_the_rest(tmp_path: Path) -> None:
    text = GOOD + "generator: {use: a, normal: good, size: 64, steps: 9}\n"

    def takes(plan: Plan) -> None:
        known = {"a": {"normal", "size", "steps"}, "b": {"size", "seed", "steps"}}[plan.generator.use]
        for name, value in plan.generator.settings.items():
            if name not in known:
                raise KeyFault(("generator", name), "unknown key")
            if value == "many":
                raise KeyFault(("generator", name), "not a number")

    path = write(tmp_path, text)
    assert load(path, checks=[takes]).generator.settings == {"normal": "good", "size": 64, "steps": 9}
    assert load(path, ["generator.use=b"], checks=[takes]).generator.settings == {"size": 64, "steps": 9}
    same = load(path, ["data={use: sklearn, set: wine}", "generator.use=a"], checks=[takes])
    assert same.generator.settings["normal"] == "good"
    for overrides in (["generator.use=b", "generator.normal=x"], ["generator.normal=x", "generator.use=b"]):
        with pytest.raises(PlanError, match=r"-o generator.normal=x: generator.normal: unknown key"):
            load(path, overrides, checks=[takes])
    with pytest.raises(PlanError, match=r"plan.yaml:3:21: generator.nrmal: unknown key"):
        load(write(tmp_path, text.replace("normal", "nrmal")), ["generator.use=a"], checks=[takes])
    with pytest.raises(PlanError, match="-o data=5: data: "):
        load(path, ["data.use=csv", "data=5"])
    plan = load(write(tmp_path, text), ["data.use=csv", "data.path=a.csv"], checks=[takes])
    assert plan.data == CsvSource(use="csv", path="a.csv")


def test_missing_plan_names_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"plan file, nor any other plan in .*; `counterpoise init DATA` writes one"):
        load(tmp_path / "plam.yaml")
    write(tmp_path, GOOD)
    with pytest.raises(PlanError, match=r"plam.yaml: there is no such plan file; did you mean '.*/plan.yaml'\?"):
        load(tmp_path / "plam.yaml")
    with pytest.raises(PlanError, match=r"nosuch.yaml: there is no such plan file; beside it are .*/plan.yaml$"):
        load(tmp_path / "nosuch.yaml")


def test_environment_fills_values_with_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "name: x\ndata: {use: csv, path: '${WHERE:-there}/a.csv'}\n")
    monkeypatch.delenv("WHERE", raising=False)
    first = load(path).data
    monkeypatch.setenv("WHERE", "here")
    second = load(path).data
    assert isinstance(first, CsvSource) and first.path == "there/a.csv"
    assert isinstance(second, CsvSource) and second.path == "here/a.csv"


def test_password_of_a_database_stays_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "hunter2")
    path = write(tmp_path, "name: x\ndata: {use: sql, url: 'postgresql://u:${PW}@h/d', query: SELECT 1}\n")
    plan = load(path)
    assert "hunter2" not in dump(plan)
    assert fill(plan.data.url) == "postgresql://u:hunter2@h/d"  # type: ignore[union-attr]


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_dump_reads_back_equal(tmp_path: Path, path: Path) -> None:
    plan = load(path)
    assert load(write(tmp_path, dump(plan))) == plan


def test_a_suite_of_the_users_own_is_kept_as_it_is_named(tmp_path: Path) -> None:
    plan = load(write(tmp_path, GOOD + "gate: {suite: rules/team.json}\n"))
    assert plan.gate.suite == "rules/team.json" and load(write(tmp_path, dump(plan))) == plan
    assert load(write(tmp_path, GOOD)).gate.suite is None


def test_plans_are_frozen() -> None:
    plan = Plan.model_validate({"name": "x", "data": {"use": "sklearn", "set": "iris"}})
    with pytest.raises(ValueError, match="frozen"):
        plan.seed = 3  # type: ignore[misc]


def test_a_date_needs_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "name: p\ndata: {use: csv, path: rows.csv}\ncolumns:\n  born: {low: 1920-01-01, high: '2010-12-31'}\n"
    )
    born = load(tmp_path / "p.yaml").columns["born"]
    assert (born.low, born.high) == ("1920-01-01", "2010-12-31")
