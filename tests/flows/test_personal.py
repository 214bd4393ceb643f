"""Does a run tell of personal data, and does a release drop it or make it anew without its family ever seeing it?"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from configs.load import load
from data import personal_values
from data.errors import DataError
from flows.many import many_rows
from flows.more import more_rows
from flows.run import Run
from flows.stages import PLAN_CHECKS, perform
from flows.stages.personal import drawn_schema, made_anew
from flows.stages.promise import Fitting, check_promise
from flows.stages.publish import published_schema, rows_to_publish
from flows.stages.read import fingerprint
from flows.stages.shared import dataset
from tests.data.people import people
from tests.flows.test_cli import cli, refused

PERSONAL = {"full_name", "FirstName", "last name", "e-mail", "Phone", "home_address", "zip code", "iban", "credit_card", "ssn"}
WALK = ("read", "profile", "choose", "split", "fit", "sample")


@pytest.fixture(autouse=True)
def nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of personal columns does not depend on the family, so a quick one that promises nothing does here."""
    monkeypatch.setattr("flows.stages.fit.paid", lambda run, family: nullcontext(Fitting(family, dataset(run, "train"), {})))


@pytest.fixture
def plan_of(tmp_path: Path) -> Path:
    """A plan over 240 people with a key, a note, and a label."""
    table, _ = people("en_US", 240)
    rng = np.random.default_rng(0)
    table = table.append_column("customer_id", pa.array([f"C-{i:05d}" for i in rng.permutation(240)]))
    table = table.append_column("billed_id", table.column("customer_id"))
    table = table.append_column(
        "note", pa.array([f"called on day {i} and asked for {'no ' * (i % 3)}rebate" for i in range(240)])
    )
    table = table.append_column("label", pa.array(np.where(rng.random(240) < 0.3, "yes", "no")))
    pacsv.write_csv(table, tmp_path / "people.csv")
    path = tmp_path / "people.yaml"
    path.write_text(
        f"name: people\nseed: 5\npurpose: release\ntarget: label\ndata: {{use: csv, path: {tmp_path}/people.csv}}\n"
        "generator: {use: bootstrap}\ngate: {detect: 1.0, draws: 2}\nsplit: {holdout: 0.3}\n"
    )
    return path


def walked(path: Path, *override: str, until: str = "sample") -> Run:
    plan = load(path, list(override))
    run = Run.open(path.parent / "runs", plan, fingerprint(plan))
    for stage in WALK[: WALK.index(until) + 1]:
        perform(run, stage)
    return run


def samples(run: Run) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted((run.folder / "samples").glob("*.parquet")))


def told(run: Run) -> dict[str, dict[str, object]]:
    return {one["column"]: one for one in json.loads((run.folder / "profile.json").read_text())["pii"]}


def test_a_release_makes_anew_what_its_family_never_sees(plan_of: Path) -> None:
    run = walked(plan_of)
    real = pq.read_table(run.folder / "work/data.parquet")
    for part in ("train", "reference", "holdout"):
        assert not PERSONAL & set(pq.read_schema(run.folder / f"work/{part}.parquet").names)
    stored = b"".join(path.read_bytes() for path in (run.folder / "model").rglob("*") if path.is_file())
    drawn = samples(run)
    assert drawn.column_names == [name for name in real.column_names if name != "note"]
    for name in (*PERSONAL, "customer_id"):
        values = set(map(str, real.column(name).to_pylist()))
        assert not values & set(map(str, drawn.column(name).to_pylist())), name
        assert not any(value.encode() in stored for value in values if len(value) > 8), name
    assert drawn.column("customer_id") == drawn.column("billed_id")
    assert len(drawn.column("customer_id").unique()) == drawn.num_rows
    done = told(run)
    assert {name for name, one in done.items() if one["done"] == "made anew"} == {*PERSONAL, "customer_id", "billed_id"}
    assert done["note"]["done"] == "dropped"
    published = pa.Table.from_batches(list(rows_to_publish(run)))
    assert all(published.column("is_synthetic").to_pylist()) and published.column_names == published_schema(run).names


def test_profile_and_schema_show_no_personal_value(plan_of: Path) -> None:
    run = walked(plan_of, until="profile")
    written = "".join((run.folder / name).read_text() for name in ("profile.json", "schema.json"))
    real = pq.read_table(run.folder / "work/data.parquet")
    for name in (*PERSONAL, "customer_id", "note"):
        assert not any(str(value) in written for value in real.column(name).to_pylist() if len(str(value)) > 6), name


def test_the_same_seed_gives_the_same_values_in_one_file_or_many(plan_of: Path, tmp_path: Path) -> None:
    run = walked(plan_of)
    again = walked(plan_of, "name=again")
    # In the same run: who could make them again from the plan and all real rows but one could try that one.
    drawn, other, made = samples(run), samples(again), list(made_anew(run))
    assert {*PERSONAL, "customer_id"} <= set(made)
    assert drawn.drop_columns(made).equals(other.drop_columns(made))
    assert not any(drawn.column(name) == other.column(name) for name in made)
    assert samples(run).column("e-mail") != samples(walked(plan_of, "seed=6")).column("e-mail")
    many_rows(run, rows=50, where={}, seed=9, out=tmp_path / "three", shards=3, workers=1, only=None)
    many_rows(run, rows=50, where={}, seed=9, out=tmp_path / "five", shards=5, workers=1, only=None)
    three, five = (pq.read_table(tmp_path / name) for name in ("three", "five"))
    assert all(three.column(name) == five.column(name) for name in (*PERSONAL, "customer_id"))
    more_rows(run.id, plan_of.parent / "runs", rows=50, where=[], seed=9, out=tmp_path / "one.parquet")
    one = pq.read_table(tmp_path / "one.parquet")
    assert one.schema.names == three.schema.names and one.column("iban") == three.column("iban")


def test_the_plan_overrules_by_name(plan_of: Path) -> None:
    run = walked(
        plan_of,
        "columns.full_name.pii=none",
        "columns.note.pii=address",
        "columns.colour.pii=city",
        "columns.iban.drop=true",
        until="profile",
    )
    done = told(run)
    assert {name: done[name]["done"] for name in ("full_name", "note", "colour", "iban")} == {
        "full_name": "learned", "note": "made anew", "colour": "made anew", "iban": "dropped",
    }  # fmt: skip
    schema = json.loads((run.folder / "schema.json").read_text())["columns"]
    kinds = {column["name"]: column["kind"] for column in schema}
    assert kinds["full_name"] == "categorical" and not {"note", "colour", "iban"} & set(kinds)
    assert drawn_schema(run)["note"].pii == "address"


def test_an_augment_run_only_tells(plan_of: Path) -> None:
    run = walked(plan_of, "purpose=augment", until="profile")
    notices = " ".join(json.loads((run.folder / "profile.json").read_text())["notices"])
    assert "'e-mail'" in notices and "looks like personal data: email" in notices and "looks like personal data" in notices
    done = told(run)
    assert {one["done"] for one in done.values()} <= {"learned", "left out", "new ids are made"} and len(done) >= 12
    assert drawn_schema(run).names == [c["name"] for c in json.loads((run.folder / "schema.json").read_text())["columns"]]


def test_without_the_extra_an_augment_run_says_so_once_and_a_release_refuses(
    plan_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_values, "NEEDED", ("presidio_analyzer", "no_such_package"))
    run = walked(plan_of, "purpose=augment", until="profile")
    notices = json.loads((run.folder / "profile.json").read_text())["notices"]
    assert sum("[privacy]" in notice for notice in notices) == 1
    with pytest.raises(DataError, match=r"not installed; run `pip install -c constraints.txt -e '.\[privacy\]'`"):
        walked(plan_of, until="profile")
    checks = tuple(check for check in PLAN_CHECKS if check is not check_promise)
    monkeypatch.setattr("flows.begin.PLAN_CHECKS", checks)
    refused(cli("plan", plan_of), "people.yaml:3", "purpose: release looks for personal data", "[privacy]")


def test_a_plan_of_a_release_shows_each_decision(plan_of: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.begin.PLAN_CHECKS", tuple(check for check in PLAN_CHECKS if check is not check_promise))
    shown = cli("plan", plan_of, "--no-measure", "-o", "columns.iban.pii=none")
    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert "email" in lines["e-mail"] and "100 %" in lines["e-mail"] and "made anew" in lines["e-mail"]
    assert "dropped" in lines["note"] and "stated" in lines["iban"] and "learned" in lines["iban"]
    refused(cli("plan", plan_of, "-o", "privacy.locale=xx_YY"), "privacy.locale", "Faker has no locale 'xx_YY'")
    refused(cli("plan", plan_of, "-o", "target=Phone"), "target", "looks like personal data (phone)", "columns.Phone.pii: none")
    ruled = "constraints=[{use: unique, columns: [Phone]}]"
    refused(cli("plan", plan_of, "-o", ruled), "constraints are learned from the rows")


def test_rows_of_one_person_stay_together_and_get_a_new_key(plan_of: Path) -> None:
    path = plan_of.parent / "people.csv"
    table = pacsv.read_csv(path).append_column("person_id", pa.array([f"P{i // 3:04d}" for i in range(240)]))
    pacsv.write_csv(table, path)
    run = walked(plan_of, "group=person_id", "sample.mix=natural")
    groups = [
        set(pq.read_table(run.folder / f"work/{p}.parquet").column("person_id").to_pylist()) for p in ("train", "holdout")
    ]
    assert not groups[0] & groups[1]
    drawn = set(samples(run).column("person_id").to_pylist())
    assert not drawn & set(table.column("person_id").to_pylist()) and len(drawn) == samples(run).num_rows
