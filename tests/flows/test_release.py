"""Does a release promise what it says, spend what it writes down, and hold nothing real?"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from data.dataset import Dataset
from data.infer import infer
from data.sources.csv import read as read_csv
from flows.cli import app
from flows.ledger import account
from flows.stages.promise import _of_people, for_people, people_from_row
from generators.base import GeneratorError
from generators.tabular._dp_account import gaussian_delta
from generators.tabular.dp_autoregressive import DPAutoregressive
from tests.flows.leaks import Secrets, leaks
from tests.generators.test_dp import people

pytest.importorskip("opacus")
pytest.importorskip("presidio_analyzer")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
runner = CliRunner()
PLAN = """name: people
purpose: release
seed: 3
data: {use: csv, path: people.csv}
target: label
columns:
  age: {low: 0, high: 100, nullable: false}
  pay: {low: 0, high: 10000, nullable: false}
  city: {categories: [york, leeds, hull, ripon], nullable: false}
  label: {categories: ["no", "yes"], nullable: false}
generator: {use: dp_autoregressive, steps: 40, batch_size: 200}
privacy: {epsilon: 8, cap: 20}
gate: {detect: 1.0, draws: 2, utility: "off"}
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table = people(1200).table
    names = [f"{'abcdefgh'[i % 8]}{i}@example.org" for i in range(1200)]
    pacsv.write_csv(table.append_column("mail", [names]), tmp_path / "people.csv")
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def said(*words: str) -> tuple[int, str]:
    answer = runner.invoke(app, [*words])
    return answer.exit_code, " ".join(answer.output.split())


def test_a_release_holds_nothing_real_and_says_what_it_promises(desk: Path) -> None:
    code, shown = said("run", "plan.yaml", "--quiet")
    assert code in (0, 3, 4), shown
    version = next(p.parent for p in (desk / "published").rglob("manifest.json"))
    rows = pq.read_table(next(version.rglob("*.parquet")))
    assert rows.num_rows == 1200 and set(rows.column("is_synthetic").to_pylist()) == {True}
    real = pacsv.read_csv(desk / "people.csv")
    assert not set(rows.column("mail").to_pylist()) & set(real.column("mail").to_pylist())
    # Real extremes, made-up addresses of real people and the sum of the real rows are nowhere in what goes out.
    top = sorted(real.column("pay").to_pylist())[-5:]
    drawn = rows.column("pay").to_numpy()
    assert drawn.max() != top[-1] and not [v for v in top if piled(drawn, v, step=0.01)]
    secret = [str(v) for v in top] + real.column("mail").to_pylist()[:200]
    inside = next((desk / "runs/people").iterdir())
    stages = json.loads((inside / "stages.json").read_text())
    # The run's id follows from the bytes of the source, so it is one of them.
    secret += [stages["read"]["facts"]["data_sha256"], stages["fingerprint"], inside.name, "people.csv"]
    for path in version.rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            text = path.read_text(errors="ignore")
            assert not [v for v in secret if v in text], path
    card = (version / "README.md").read_text()
    assert "What is promised" in card and "Epsilon 8, delta 0.00014" in card and "Not protected: the gate looked" in card
    # The full report stays with the run, whose folder is told of; the other one lies beside the rows.
    full, told = (json.loads((folder / "report.json").read_text()) for folder in (inside, version))
    assert [f["verdict"] for f in told["findings"]] == [f["verdict"] for f in full["findings"]]
    assert told.keys() == full.keys()
    assert told["lineage"]["run"] == stages["alias"] and full["lineage"]["run"] == inside.name
    assert f"report {inside.relative_to(desk) / 'report.html'} for the inside" in shown and "report for the outside" in card
    assert (version / "report.html").read_bytes() == (inside / "outside/report.html").read_bytes()
    held = account(desk / "privacy.sqlite", "people", "")
    assert [(e.epsilon, e.state) for e in held.entries] == [(8.0, "spent")]
    # The same command again trains nothing, and spends nothing.
    said("run", "plan.yaml", "--quiet")
    assert account(desk / "privacy.sqlite", "people", "").epsilon == 8


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("generator.use=gan", "generator.use: gan promises no differential privacy, which a release needs; use one of dp_"),
        ("privacy.epsilon=0", "privacy.epsilon: input should be greater than 0"),
        ("privacy.delta=0.01", "would let one of 720 rows be published whole"),
        ("privacy.cap=5", "a run that spends 8 does not start"),
        ("privacy.quasi=[agee]", "privacy.quasi: there is no column 'agee'; did you mean 'age'?"),
        ("columns.pay.low=", "the low and high of column 'pay' are not declared"),
        ("sample.include_real=true", "a release holds synthetic rows only"),
        ("choose=bakeoff", "looks at the rows without paying"),
        ("purpose=augment", "privacy: states what a release promises; set purpose: release"),
        ("privacy.unit=group", "name their column as `group`"),
        ("privacy.noise=1", "leave one of the two out"),
        ("columns.city.categories=[york, leeds, hull]", "values that columns.city.categories does not declare"),
        ("privacy.quasi=[mail]", "privacy.quasi: there is no column 'mail'"),
    ],
)
def test_what_cannot_be_promised_is_one_sentence_and_spends_nothing(desk: Path, override: str, words: str) -> None:
    more: tuple[Any, ...] = ("-o", "generator.steps=2") if "generator.use" not in override else ()
    code, shown = said("run", "plan.yaml", "--quiet", "-o", override, *more)
    assert code == 2 and words in shown, shown
    assert account(desk / "privacy.sqlite", "people", "").epsilon == 0 and not (desk / "published").exists()
    if override in ("privacy.cap=5", "privacy.delta=0.01"):  # refused by a run, not before there was one
        assert words in said("runs")[1]
        assert said("run", "plan.yaml", "--quiet", "-o", "generator.steps=2")[0] in (0, 3, 4)
        assert shown.partition("counterpoise: ")[2] in said("runs")[1]  # of the other run that is still so


def test_counts_that_show_too_little_are_spent_each_time(desk: Path) -> None:
    """Who could try again for nothing would do so until the noise shows what it should hide."""
    little = ("-o", "privacy.bounds=budget", "-o", "privacy.epsilon=0.02", "-o", "columns.city.categories=")
    for times in (1, 2):
        code, shown = said("run", "plan.yaml", "--quiet", *little, "-o", "generator.steps=2")
        assert code == 2 and "no level of column 'city' is held by enough rows to be found within the budget" in shown, shown
        entries = account(desk / "privacy.sqlite", "people", "").entries
        assert [(e.epsilon, e.state) for e in entries] == [(0.02, "spent")] * times


def test_a_fit_that_is_refused_costs_nothing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise GeneratorError("not with these")

    with monkeypatch.context() as patch:
        patch.setattr(DPAutoregressive, "fit", refuses)
        code, shown = said("run", "plan.yaml", "--quiet")
    assert code == 2 and "not with these" in shown
    assert account(desk / "privacy.sqlite", "people", "").entries == ()


def test_plan_says_what_run_would_refuse_and_what_is_left(desk: Path) -> None:
    for override, words in (
        ("privacy.quasi=[mail]", "privacy.quasi: there is no column 'mail'"),
        ("columns.city.categories=[york, leeds, hull]", "values that columns.city.categories does not declare"),
    ):
        code, shown = said("plan", "plan.yaml", "--no-measure", "-o", override)
        assert code == 2 and words in shown, shown
    code, shown = said("plan", "plan.yaml", "-o", "privacy.cap=5")
    assert "epsilon 8, delta 0.00014 for one row; of 'people' 0 spent so far of 5" in shown
    assert "no-go" in shown and "privacy.cap: 5 is left of 'people', and it spends 8" in shown
    assert (
        "above 10 a promise hardly protects anybody" in said("plan", "plan.yaml", "--no-measure", "-o", "privacy.epsilon=50")[1]
    )


def test_a_person_of_several_rows_is_no_row(desk: Path) -> None:
    rows = pacsv.read_csv(desk / "people.csv")
    group = [f"p{i // 3}" for i in range(rows.num_rows)]
    pacsv.write_csv(rows.drop(["mail"]).append_column("who", [group]), desk / "people.csv")
    of_people = ("-o", "group=who", "-o", "privacy.unit=group")
    code, shown = said("run", "plan.yaml", "--quiet", *of_people, "-o", "columns.who.kind=categorical")
    assert code == 2 and "'who' tells people apart, and would be learned; state columns.who.kind: id" in shown
    code, shown = said("run", "plan.yaml", "--quiet", *of_people)
    assert code == 2 and "one value of 'who' has 3 training rows, and the promise is for one row; state privacy.rows" in shown
    code, shown = said("run", "plan.yaml", "--quiet", "-o", "privacy.rows=2")
    assert code == 2 and "privacy.rows is of one person's rows; set privacy.unit: group" in shown
    assert account(desk / "privacy.sqlite", "people", "").epsilon == 0
    code, shown = said("run", "plan.yaml", "--quiet", *of_people, "-o", "privacy.rows=2")
    assert code in (0, 3, 4), shown
    assert [e.epsilon for e in account(desk / "privacy.sqlite", "people", "").entries] == [8.0]
    version = next(p.parent for p in (desk / "published").rglob("manifest.json"))
    card = " ".join((version / "README.md").read_text().split())
    assert "one person (one value of 'who', of which at most 2 rows are learned from)" in card
    state = json.loads(next((desk / "runs/people").rglob("model/state.json")).read_text())["spent"]
    assert state["epsilon"] == pytest.approx(4.0) and state["rows"] == 480  # two rows of each of 240 people


def test_whose_rows_are_kept_hangs_on_nobody_else() -> None:
    table = people(300).table.append_column("who", [[f"p{i % 70}" for i in range(300)]])
    data = Dataset(table, infer(table, target="label", group="who", stated={"who": {"kind": "id"}}))
    first = _of_people(data, 2, 5)
    assert max(Counter(first.column("who").to_pylist()).values()) == 2 and first.num_rows == 140
    without = [i for i, who in enumerate(table.column("who").to_pylist()) if who != "p13"]
    second = _of_people(data.take(without), 2, 5)
    others = [row for row in first.table.to_pylist() if row["who"] != "p13"]
    assert second.table.to_pylist() == others
    assert _of_people(data, 2, 6).table != first.table


def test_a_promise_for_a_person_is_that_of_the_rows_together() -> None:
    """By the definition: a Gaussian mechanism of one row, asked about three rows at once."""
    family = for_people(DPAutoregressive(epsilon=3.0, delta=1e-5), 3, 1000)
    assert family.epsilon == 1.0 and people_from_row(1.0, family.delta, 3) == (3.0, pytest.approx(1e-5))
    noise = 1 / _mu(1.0, family.delta)
    assert gaussian_delta(3 / noise, 3.0) <= 1e-5 < gaussian_delta(5 / noise, 3.0)


def _mu(epsilon: float, delta: float) -> float:
    low, high = 1e-3, 10.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, epsilon) <= delta else (low, middle)
    return low


def test_plan_shows_families_that_promise(desk: Path) -> None:
    code, shown = said("plan", "plan.yaml", "--no-measure")
    assert code == 0 and "1,200 synthetic" in shown and "it promises no differential privacy" in shown
    (desk / "inside.yaml").write_text("name: p\ndata: {use: csv, path: people.csv}\ntarget: label\n")
    code, shown = said("plan", "inside.yaml", "--no-measure")
    assert "its noise is for releases" in shown


REAL = {
    "telco_churn": ("telco_churn/telco_churn.csv", "Churn", ("customerID",), {"MonthlyCharges": 0.01}),
    "adult": ("adult/adult.csv", "income", (), {"fnlwgt": 1}),
}


def piled(drawn: np.ndarray, value: float, *, step: float) -> bool:
    """Whether (n,) numbers meet a value more often than its neighbours let expect, as a real end kept as an end would.

    A number drawn evenly from a bin meets any given one now and then; of the 21 or 41 within twenty steps no one holds a tenth
    of the draws but once in a million tests. step: of how the column is written."""
    near = int((np.abs(drawn - value) <= 20.5 * step).sum())
    hits = int((np.abs(drawn - value) < step / 2).sum())
    return bool(binom.sf(hits - 1, near, 0.1) < 1e-6)


def test_a_real_end_kept_as_an_end_is_seen() -> None:
    even = np.random.default_rng(0).uniform(100, 120, 3000).round(2)
    assert not piled(even, 118.75, step=0.01)
    assert piled(np.minimum(even, 118.75), 118.75, step=0.01)


@pytest.mark.parametrize("name", REAL)
def test_nothing_real_leaves_with_a_release_of_real_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No id, no rare level, no extreme of a real table, in any file of a version or of what stands in quarantine."""
    file, target, ids, numbers = REAL[name]
    source = Path(os.environ.get("COUNTERPOISE_DATA", "../shared/data")).resolve() / file
    if not source.is_file():
        pytest.skip(f"{source} is not there; set COUNTERPOISE_DATA")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(f"""name: {name}
purpose: release
data: {{use: csv, path: {source}}}
target: {target}
sample: {{rows: 3000}}
generator: {{use: dp_autoregressive, steps: 15, batch_size: 200}}
privacy: {{epsilon: 3, bounds: budget}}
gate: {{draws: 1, utility: "off"}}
""")
    code, shown = said("run", "plan.yaml", "--quiet")
    assert code in (0, 3, 4), shown
    version = next(p.parent for p in (tmp_path / "published").rglob("manifest.json"))
    frame = read_csv(str(source)).to_pandas()
    secrets = Secrets.of(frame, personal=ids)
    assert len(secrets.ends) > 3
    assert leaks(version, secrets) == []
    # The same look at the report that stays inside finds them: it is the files that hold nothing, not the eyes that are shut.
    assert leaks(next((tmp_path / "runs" / name).iterdir()), secrets)
    drawn = pq.read_table(version / "data").to_pandas()
    for column, step in numbers.items():
        ends = frame[column].sort_values().iloc[[0, 1, -2, -1]]
        assert not [v for v in ends if piled(drawn[column].to_numpy(), v, step=step)], column


def test_nothing_of_chinook_s_customers_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, e-mails, phones, addresses of 59 people, who are too few to judge: what stands in quarantine is looked through."""
    source = Path(os.environ.get("COUNTERPOISE_DATA", "../shared/data")).resolve() / "chinook/chinook.sqlite"
    if not source.is_file():
        pytest.skip(f"{source} is not there; set COUNTERPOISE_DATA")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text(f"""name: customers
purpose: release
data: {{use: sql, url: "sqlite:///{source}", query: SELECT * FROM Customer}}
target: SupportRepId
generator: {{use: dp_autoregressive, steps: 20, batch_size: 20}}
privacy: {{epsilon: 2000, bounds: budget}}
gate: {{draws: 2, utility: "off"}}
""")
    # Ten firms and 25 states of a few rows each: no noise that hides one of them shows any.
    code, shown = said("run", "plan.yaml", "--quiet")
    assert (
        code == 2 and "no level of column 'Company' is held by enough rows" in shown and "columns.Company.drop: true" in shown
    )
    assert [e.state for e in account(tmp_path / "privacy.sqlite", "customers", "").entries] == ["spent"]
    code, shown = said("run", "plan.yaml", "--quiet", "-o", "columns.Company.drop=true", "-o", "columns.State.drop=true")
    assert code in (3, 4), shown
    version = next(p.parent for p in (tmp_path / "published").rglob("manifest.json"))
    with sqlite3.connect(source) as db:
        frame = pd.read_sql("SELECT * FROM Customer", db)
    people = ("FirstName", "LastName", "Company", "Address", "City", "PostalCode", "Phone", "Fax", "Email")
    secrets = Secrets.of(frame.drop(columns=["CustomerId", "SupportRepId"]), personal=people)
    assert {"luisg@embraer.com.br", "Gon\u00e7alves", "+55 (12) 3923-5555", "Chile"} <= set(secrets.words)
    assert leaks(version, secrets) == []
    rows = pq.read_table(version / "data").to_pandas()
    assert len(rows) == 59 and rows[["FirstName", "Email", "Phone", "Address"]].notna().all(axis=None)
    assert not set(rows["CustomerId"]) & set(frame["CustomerId"])


def test_columns_that_a_plan_drops_do_not_make_other_people_of_them(desk: Path) -> None:
    """What is left of a cap is of the source's bytes, whatever a plan reads of them and whatever it is called."""
    assert said("ledger", "plan.yaml", "-o", "privacy.cap=15") == (
        0, "people: epsilon 0, delta 0 spent of 15; 15 is left (privacy.sqlite)",
    )  # fmt: skip
    assert said("run", "plan.yaml", "--quiet", "-o", "generator.steps=2")[0] in (0, 3, 4)
    other = ("-o", "name=other", "-o", "columns.mail.drop=true", "-o", "privacy.cap=15", "-o", "generator.steps=2")
    code, shown = said("run", "plan.yaml", "--quiet", *other)
    assert code == 2 and "privacy.cap" in shown and "8" in shown, shown
    # The ledger says so before any run.
    code, shown = said("ledger", "plan.yaml", *other, "--json", "l.json")
    told = json.loads((desk / "l.json").read_text())
    assert code == 0 and "other: epsilon 8, delta" in shown and "spent of 15; 7 is left (privacy.sqlite)" in shown
    assert (told["epsilon"], told["left"], [fit["state"] for fit in told["fits"]]) == (8.0, 7.0, ["spent"])
    assert "and the plan has no privacy.cap" in said("ledger", "plan.yaml", "-o", "privacy.cap=null")[1]
    (desk / "privacy.sqlite").write_text("this is no ledger, nor was it ever one, as its first page tells")
    assert said("ledger", "plan.yaml")[0] == 2
