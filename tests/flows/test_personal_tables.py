"""Do keys that are made anew still hold between the tables of a release, and does no real key reach its family?"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faker import Faker

from configs.load import load
from data.relations import faults
from flows.run import Run
from flows.stages import PLAN_CHECKS, perform
from flows.stages.promise import check_promise
from flows.stages.read import fingerprint
from flows.stages.tables import _given, drawn_tables
from tests.flows.test_cli import cli

PLAN = """name: club
seed: 2
purpose: release
data:
  use: tables
  files: {{member: {folder}/member.parquet, visit: {folder}/visit.parquet, card: {folder}/card.parquet}}
  primary: {{member: email, visit: nr, card: email}}
  keys: [visit.member_email -> member.email, visit.guest_of -> member.email, card.email -> member.email]
generator: {{use: bootstrap}}
columns: {{visit.nick: {{pii: none}}}}
"""


@pytest.fixture(autouse=True)
def nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of personal columns does not depend on the family, so a quick one that promises nothing does here."""
    monkeypatch.setattr("flows.stages.fit.paid", lambda run, family: nullcontext({}))


@pytest.fixture
def club(tmp_path: Path) -> Path:
    """Members known by their mail address, their visits, sent to the member's address, and a card for some of them."""
    fake, rng = Faker("en_US"), np.random.default_rng(0)
    fake.seed_instance(0)
    mails = [f"{i}{fake.email()}" for i in range(80)]
    member = {"email": mails, "name": [fake.name() for _ in mails], "address": [fake.street_address() for _ in mails],
              "age": rng.integers(18, 80, 80)}  # fmt: skip
    who = rng.integers(0, 80, 300)
    visit = {
        "nr": np.arange(300) + 5000, "member_email": [mails[i] for i in who],
        "sent_to_address": [member["address"][i] for i in who],
        "guest_of": pa.array([mails[i] if i % 3 else None for i in rng.integers(0, 80, 300)]),
        "phone": [fake.phone_number() for _ in who], "note": [f"came {i} times to see what there is" for i in range(300)],
        "nick": rng.choice(["Bo", "Al", "Cy"], 300), "spent": rng.integers(1, 50, 300),
    }  # fmt: skip
    card = {"email": mails[:50], "grade": rng.choice(["gold", "blue"], 50)}
    for name, columns in {"member": member, "visit": visit, "card": card}.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    path = tmp_path / "club.yaml"
    path.write_text(PLAN.format(folder=tmp_path))
    return path


def walked(path: Path, *override: str, fresh: bool = False) -> Run:
    plan = load(path, list(override))
    run = Run.open(path.parent / "runs", plan, fingerprint(plan))
    run = run.renewed() if fresh else run
    for stage in ("read", "profile", "fit", "sample", "relate"):
        perform(run, stage)
    return run


def table(run: Run, name: str) -> pa.Table:
    return pq.read_table(run.folder / f"tables/{name}.parquet")


def test_keys_hold_and_nothing_real_goes_out_or_in(club: Path) -> None:
    run = walked(club)
    assert list(faults(drawn_tables(run))) == []
    stored = b"".join(path.read_bytes() for path in (run.folder / "model").rglob("*") if path.is_file())
    personal = {"member": ["email", "name", "address"], "visit": ["member_email", "sent_to_address", "guest_of", "phone", "nr"]}
    for name, columns in personal.items():
        real = pq.read_table(club.parent / f"{name}.parquet")
        for column in columns:
            values = {str(value) for value in real.column(column).drop_null().to_pylist()}
            drawn = {str(value) for value in table(run, name).column(column).drop_null().to_pylist()}
            assert not values & drawn, (name, column)
            assert not any(value.encode() in stored for value in values if len(value) > 5), (name, column)
    assert table(run, "member").column("email").type == pa.string()
    assert table(run, "visit").column_names == [
        "nr", "member_email", "sent_to_address", "guest_of", "phone", "nick", "spent",
    ]  # fmt: skip
    for rows in _given(run).parts.values():
        assert not {"string"} & {str(rows.schema[c].dtype) for c in rows.schema.names if rows.schema[c].kind == "id"}


def test_a_key_has_one_new_value_wherever_it_stands(club: Path) -> None:
    run = walked(club)
    members, visits = table(run, "member").to_pandas(), table(run, "visit").to_pandas()
    assert members["email"].is_unique and members["email"].str.contains("@example.").all()
    joined = visits.merge(members, left_on="member_email", right_on="email")
    assert len(joined) == len(visits) and (joined["sent_to_address"] == joined["address"]).all()
    assert visits["guest_of"].isna().any() and visits["guest_of"].dropna().isin(members["email"]).all()
    assert set(table(run, "card").column("email").to_pylist()) <= set(members["email"])
    told = {one["column"]: one for one in json.loads((run.folder / "profile.json").read_text())["pii"]}
    assert told["visit.note"]["done"] == "dropped" and told["visit.nick"]["done"] == "learned"
    assert told["visit.phone"]["done"] == told["visit.guest_of"]["done"] == "made anew"


def test_the_same_seed_gives_the_same_tables(club: Path) -> None:
    one, third = walked(club), walked(club, "seed=3")
    drawn = {name: table(one, name) for name in ("member", "visit", "card")}
    again = walked(club, fresh=True)
    assert again.folder == one.folder
    for name, before in drawn.items():
        assert table(again, name).equals(before)
    assert drawn["member"].column("email") != table(third, "member").column("email")
    # Another run has another key, and nobody but those who have its folder can make its values again.
    other = walked(club, "name=b")
    assert drawn["member"].column("age").equals(table(other, "member").column("age"))
    assert drawn["member"].column("email") != table(other, "member").column("email")


def test_an_augment_run_keeps_its_tables_and_tells(club: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = cli("plan", club, "-o", "purpose=augment")
    assert shown.exit_code == 0 and "These columns look like personal data: member.email (email)" in " ".join(
        shown.output.split()
    )
    monkeypatch.setattr("flows.begin.PLAN_CHECKS", tuple(check for check in PLAN_CHECKS if check is not check_promise))
    shown = cli("plan", club)
    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert "made anew" in lines["visit.phone"] and "dropped" in lines["visit.note"] and "stated" in lines["visit.nick"]
