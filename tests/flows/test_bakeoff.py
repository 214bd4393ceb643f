"""Do trials find the family that draws these rows best, whatever the others do?"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pytest
from typer.testing import CliRunner

from configs.errors import DataFault, PlanError
from configs.load import load
from flows import bakeoff, ground, measure, trial
from flows.choose import NoFamilyError
from flows.cli import app
from flows.run import Run, write_text
from flows.stages import PLAN_CHECKS, perform
from flows.stages.read import fingerprint
from flows.standings import Trial, front, margin, ordered, standings
from tests.conftest import mixed_table
from tests.flows import stubs

STUB = "tests.flows.stubs:"
runner = CliRunner()


class Ear:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, str]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.heard.append((done, total, what))


def here(folder: str, seconds: float) -> Mapping[str, Any]:
    """A trial in this process, where no second is lost to starting another."""
    job = json.loads((Path(folder) / "job.json").read_text())
    lost = {"Sleeping": f"stopped after {seconds:.0f} s, its share of the time", "Crashing": "its process crashed (SIGABRT)"}
    if (name := job["use"].removeprefix(STUB)) not in lost:
        return trial.answer(trial.Job(**job | {"began": time.time()}))
    found = {"failed": lost[name], "seconds": 0.1}
    write_text(Path(job["out"]), json.dumps(found))
    return found


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with ground.tried_by(here):
        yield


def plan_of(tmp_path: Path, *families: str, minutes: float = 5.0, more: str = "", rows: int = 1200) -> Path:
    pacsv.write_csv(mixed_table(rows), tmp_path / "mixed.csv")
    path = tmp_path / "mixed.yaml"
    listed = ", ".join(f'"{STUB}{name}"' for name in families)
    path.write_text(f"""name: mixed
seed: 3
data: {{use: csv, path: {tmp_path / "mixed.csv"}}}
target: label
split: {{reference: 0.2, holdout: 0.3}}
choose: {{how: bakeoff, minutes: {minutes}, families: [{listed}]{more}}}
gate: {{detect: 1.0, draws: 2, utility: "off"}}
publish: {{root: {tmp_path / "published"}}}
""")
    return path


def choose(path: Path, ear: Ear | None = None) -> tuple[Run, dict[str, Any]]:
    plan = load(path, checks=PLAN_CHECKS)
    run = Run.open(path.parent / "runs", plan, fingerprint(plan))
    for name in ("read", "profile"):
        perform(run, name)
    return run, perform(run, "choose", ear or Ear())[0]


def test_the_good_one_wins_and_the_others_lose_with_their_reasons(tmp_path: Path) -> None:
    ear = Ear()
    run, choice = choose(plan_of(tmp_path, "Collapsed", "Crashing", "Refusing", "Greedy", "Sleeping", "Good", "Instant"), ear)
    told = choice["bakeoff"]
    assert choice["family"] == f"{STUB}Good" and run.settled.generator.use == f"{STUB}Good"
    failed = {t["family"].partition(":")[2]: t["failed"] for t in told["trials"] if "failed" in t}
    assert set(failed) == {"Crashing", "Refusing", "Greedy", "Sleeping"}
    assert "SIGABRT" in failed["Crashing"] and "taste" in failed["Refusing"] and "its share" in failed["Sleeping"]
    assert [r["rows"] for r in told["rungs"]] == sorted({r["rows"] for r in told["rungs"]})
    assert told["margin"]["of"] == f"{STUB}Good" and told["margin"]["low"] <= told["margin"]["value"] <= told["margin"]["high"]
    assert f"{STUB}Good" in told["front"] and told["budget_minutes"] == 5 and not any("draws" in t for t in told["trials"])
    assert ear.heard[-1][0] >= 7 and ear.heard[0][2] == "trial"
    assert json.loads((run.folder / "choice.json").read_text())["bakeoff"] == told


def test_finished_trials_are_not_made_again_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, ledger = plan_of(tmp_path, "Good", "Collapsed", "Instant"), tmp_path / "ledger"
    monkeypatch.setenv(stubs.LEDGER, str(ledger))

    def killed(folder: str, seconds: float) -> Mapping[str, Any]:
        if "Instant" in folder:
            raise KeyboardInterrupt
        return here(folder, seconds)

    with ground.tried_by(killed), pytest.raises(KeyboardInterrupt):
        choose(path)
    before = ledger.read_text().splitlines()
    run, choice = choose(path)
    fits = ledger.read_text().splitlines()
    assert len(before) == 2 and len(choice["bakeoff"]["trials"]) == len(fits) > 6
    assert choice["family"] == f"{STUB}Good"
    assert not (run.folder / "bakeoff/rows").exists() and len(list((run.folder / "bakeoff").glob("*.json"))) == len(fits)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    path = plan_of(tmp_path, "Good", "Collapsed")
    run, first = choose(path)
    second = choose_again(run)
    measured = [[(t["family"], t["coverage"], t["auc"], t["utility"]) for t in c["bakeoff"]["trials"]] for c in (first, second)]
    assert measured[0] == measured[1]


def choose_again(run: Run) -> dict[str, Any]:
    again = run.renewed()
    for name in ("read", "profile"):
        perform(again, name)
    return perform(again, "choose")[0]


def test_a_family_alone_is_taken_without_a_trial(tmp_path: Path) -> None:
    run, choice = choose(plan_of(tmp_path, "Good"))
    assert choice["family"] == f"{STUB}Good" and "nothing was tried" in choice["reason"] and "bakeoff" not in choice


@pytest.mark.parametrize(
    ("families", "minutes", "said"),
    [
        (("Good", "Collapsed"), 0.05, "give at least"),
        (("Crashing", "Refusing"), 5, "no trial gave any figures"),
        (("Godo", "Good"), 5, "Godo"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, families: tuple[str, ...], minutes: float, said: str) -> None:
    with pytest.raises((DataFault, NoFamilyError)) as error:
        choose(plan_of(tmp_path, *families, minutes=minutes))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_too_few_rows_to_judge_by_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="reference rows are too few"):
        choose(plan_of(tmp_path, "Good", "Collapsed", rows=90))


def test_without_a_reference_a_quarter_of_train_is_held_back(tmp_path: Path) -> None:
    path = plan_of(tmp_path, "Good", "Collapsed", more=", use: replace")
    path.write_text(path.read_text().replace("reference: 0.2", "reference: 0"))
    _, choice = choose(path)
    told = choice["bakeoff"]
    assert told["reference_rows"] == 210 and told["trials"][-1]["rows"] == 630 and told["lead"] == "fidelity"
    assert choice["family"] == f"{STUB}Good" and "AUC" in choice["reason"]


def test_plan_says_what_would_be_tried_and_tries_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stubs.LEDGER, str(tmp_path / "ledger"))
    answer = runner.invoke(app, ["plan", str(plan_of(tmp_path, "Good", "Collapsed", "Instant"))])
    shown = " ".join(answer.output.split())
    assert answer.exit_code == 0, answer.output
    assert re.search(r"decide: 3 on \d+ rows and then at least 2 on 600 rows, in 2 rungs, the last up to 3 times,", shown)
    assert "and at most 5 minutes" in shown
    assert not (tmp_path / "ledger").exists() and "chosen" not in shown


def test_pictures_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: p\ndata: {use: image_folder, path: somewhere}\nchoose: bakeoff\n")
    with pytest.raises(PlanError, match=r"p.yaml:3:1: choose: trials are for tables"):
        load(path, checks=PLAN_CHECKS)


def test_the_report_says_how_the_family_was_chosen(tmp_path: Path) -> None:
    path = plan_of(tmp_path, "Good", "Collapsed")
    answer = runner.invoke(
        app, ["run", str(path), "--quiet", "--runs", str(tmp_path / "runs"), "--html", str(tmp_path / "r.html")]
    )
    assert answer.exit_code in (0, 3, 4), answer.output
    page = (tmp_path / "r.html").read_text()
    assert "How the family was chosen" in page and "stubs:Collapsed" in page and "95 % interval" in page


def made(family: str, utility: float, coverage: float, auc: float, cost: float) -> Trial:
    draws = {"utility": [utility] * 4, "coverage": [coverage] * 4, "auc": [auc] * 4}
    return Trial(family, 0, utility=utility, coverage=coverage, auc=auc, cost=cost, draws=draws)


def test_the_front_holds_those_that_no_other_beats_in_everything() -> None:
    a, b = made("a", 0.1, 0.9, 0.6, 9.0), made("b", 0.0, 0.9, 0.55, 2.0)
    worse, dearer = made("worse", 0.0, 0.8, 0.4, 3.0), made("dearer", 0.1, 0.9, 0.6, 10.0)
    assert [t.family for t in front([worse, a, dearer, b])] == ["a", "b"]
    assert [t.family for t in ordered([worse, a, dearer, b], "utility")] == ["a", "b", "dearer", "worse"]
    assert [t.family for t in ordered([worse, a, Trial("x", 0, failed="no"), b], "fidelity")] == ["b", "a", "worse"]


def test_an_interval_that_holds_0_lets_the_cheaper_win_or_the_one_that_the_questions_put_first() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.05, 100).tolist() for _ in range(2)]
    flat, less = ({"coverage": [0.9] * 100, "utility": noise[1]}, {"coverage": [0.5] * 100, "utility": noise[1]})
    best = Trial(
        "best", 0, coverage=0.90, auc=0.5, utility=0.1, cost=10.0, draws={"utility": noise[0], "coverage": [0.9] * 100}
    )
    near = Trial("near", 0, coverage=0.90, auc=0.5, utility=0.09, cost=9.0, draws=flat)
    taken, gap, why = bakeoff._decided([best, near], "utility", ["near", "best"])
    assert taken is near and gap is not None and gap["of"] == "best" and gap["low"] < 0 < gap["high"] and "holds 0" in why
    cheap = Trial("near", 0, coverage=0.90, auc=0.5, utility=0.09, cost=1.0, draws=flat)
    taken, _, why = bakeoff._decided([best, cheap], "utility", ["best", "near"])
    assert taken is cheap and "costs less" in why
    narrow = Trial("near", 0, coverage=0.50, auc=0.5, utility=0.09, cost=1.0, draws=less)
    taken, _, why = bakeoff._decided([best, narrow], "utility", ["near", "best"])
    assert taken is best and "reaches more" in why


def test_the_race_ends_those_that_are_surely_behind(tmp_path: Path) -> None:
    _, choice = choose(plan_of(tmp_path, "Good", "Collapsed", "Instant", rows=1500, more=", use: replace"))
    told = choice["bakeoff"]
    turns = {t["family"].partition(":")[2]: t["turns"] for t in told["standings"]}
    assert told["turns"] == 3 and max(turns.values()) <= 3 and choice["family"] == f"{STUB}Good"
    # A single row that comes over and over is told apart at once.
    assert turns.get("Collapsed", 1) == 1
    one = [t for t in told["trials"] if t["family"] == f"{STUB}Good" and t["rung"] == len(told["rungs"]) - 1]
    assert [t["turn"] for t in one] == list(range(turns["Good"]))
    own = next(t for t in told["standings"] if t["family"] == f"{STUB}Good")
    assert own["coverage"] == pytest.approx(np.mean([t["coverage"] for t in one]))


def test_with_time_left_those_that_a_smaller_rung_left_behind_race_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = bakeoff.Bakeoff._kept
    monkeypatch.setattr(bakeoff.Bakeoff, "_kept", lambda self, rung, *rest: kept(self, rung, *rest)[: 2 if rung == 0 else None])
    _, choice = choose(plan_of(tmp_path, "Good", "Collapsed", "Instant", "Fixed"))
    trials, last = choice["bakeoff"]["trials"], len(choice["bakeoff"]["rungs"]) - 1
    tried = {t["family"] for t in trials if t["rung"] == last}
    assert last == 1 and len(tried) == 4
    assert {t["family"] for t in choice["bakeoff"]["standings"]} == tried


def test_parts_of_train_are_disjoint_and_nothing_learned_is_judged(tmp_path: Path) -> None:
    plan = load(plan_of(tmp_path, "Good"))
    run = Run.open(tmp_path / "runs", plan, fingerprint(plan))
    for name in ("read", "profile"):
        perform(run, name)
    laid = ground.Ground.lay(run, tmp_path / "rows", {"rare": 10})
    turns = [laid.turned(i) for i in range(laid.turns)]
    judged = [each.reference.column("key").to_pylist() for each in turns]
    assert len(turns) == 3 and len({key for part in judged for key in part}) == sum(map(len, judged))
    for each in turns:
        learned = set(each.train.column("key").to_pylist())
        assert not learned & set(each.reference.column("key").to_pylist())
        assert len(learned) + each.held.num_rows == laid.train.num_rows + laid.held.num_rows
        assert (each.reference.labels() == 1).sum() >= 2


def test_a_mean_over_turns_has_a_narrower_interval() -> None:
    rng = np.random.default_rng(2)
    turns = [
        Trial("a", 1, turn=i, coverage=0.8 + d, draws={"coverage": (0.8 + d + rng.normal(0, 0.05, 200)).tolist()})
        for i, d in enumerate((0.01, -0.01, 0.02, -0.02))
    ]
    whole, none = Trial.mean(turns), Trial("b", 1, coverage=0.8, draws={"coverage": [0.8] * 200})
    wide, narrow = margin(turns[0], none, "coverage"), margin(whole, Trial.mean([none] * 4), "coverage")
    assert whole.turns == 4 and whole.coverage == pytest.approx(0.8) and Trial.mean(turns[:1]) is turns[0]
    assert narrow["high"] - narrow["low"] < 0.75 * (wide["high"] - wide["low"]) and narrow["low"] < 0 < narrow["high"]
    # Of two that have other numbers of turns those that both have count.
    assert margin(whole, none, "coverage") == margin(turns[0], none, "coverage")
    failed = Trial("b", 1, turn=1, failed="no")
    assert [t.family for t in standings([*turns, none, failed])] == ["a"]


def test_the_margin_pairs_the_resamples() -> None:
    shared = np.linspace(-0.2, 0.2, 50)
    a = Trial("a", 0, coverage=0.9, draws={"coverage": (0.9 + shared).tolist()})
    b = Trial("b", 0, coverage=0.8, draws={"coverage": (0.8 + shared).tolist()})
    gap = margin(a, b, "coverage")
    assert gap["low"] == pytest.approx(0.1) == pytest.approx(gap["high"])


def test_a_trial_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    record = ground.attempt(job(tmp_path, "Sleeping"), 1.0)
    assert record["failed"] == "stopped after 1 s, its share of the time" and 1 <= record["seconds"] < 20


def test_a_crash_is_the_trial_s_own(tmp_path: Path) -> None:
    record = ground.attempt(job(tmp_path, "Crashing"), 200.0)
    assert "SIGABRT" in record["failed"]
    assert json.loads((tmp_path / "0-x.json").read_text()) == record


def job(tmp_path: Path, family: str) -> str:
    path = plan_of(tmp_path, family)
    plan = load(path)
    run = Run.open(tmp_path / "runs", plan, fingerprint(plan))
    for name in ("read", "profile"):
        perform(run, name)
    place = tmp_path / "0-x"
    place.mkdir()
    ready = ground.Ground.lay(run, tmp_path / "rows", {"rare": 10}).write(100)
    written = {"use": f"{STUB}{family}", "settings": {}, "plan": str(path), "scarce": [1], "seed": 0, "began": 0.0}
    (place / "job.json").write_text(json.dumps(written | {"out": str(tmp_path / "0-x.json")} | ready))
    return str(place)


def test_more_rows_hold_all_that_fewer_hold_and_every_row_of_a_scarce_class(tmp_path: Path) -> None:
    path = plan_of(tmp_path, "Good")
    plan = load(path)
    run = Run.open(tmp_path / "runs", plan, fingerprint(plan))
    for name in ("read", "profile"):
        perform(run, name)
    laid = ground.Ground.lay(run, tmp_path / "rows", {"rare": 10})
    few, more = (set(laid._fewer(laid.train, n).column("key").to_pylist()) for n in (150, 300))
    rare = laid.train.labels() == 1
    assert few < more and len(more) == 300 and len(few) == 175
    assert set(np.array(laid.train.column("key").to_pylist())[rare]) <= few


def test_memory_and_cores_bound_how_many_trials_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "available_mib", lambda: 5000.0)
    monkeypatch.setattr(ground.os, "sched_getaffinity", lambda _: set(range(9)), raising=False)
    assert ground.workers(20, [1200.0, 300.0]) == 4 and ground.workers(3, [10.0]) == 3
    assert ground.workers(20, [9000.0]) == 1 and ground.workers(20, [], "cuda") == 1
    assert math.isclose(measure.peak_mib(), measure.peak_mib(), rel_tol=0.1) and measure.peak_mib() > 10


@pytest.mark.timeout(280)
def test_with_prefect_each_trial_is_a_task(tmp_path: Path) -> None:
    from flows import steps, synthesize  # noqa: F401, I001  # sets Prefect's environment before Prefect is imported
    from prefect.testing.utilities import prefect_test_harness

    path = plan_of(tmp_path, "Good", "Collapsed")
    plan = load(path)
    run = Run.open(tmp_path / "runs", plan, fingerprint(plan))
    with prefect_test_harness(server_startup_timeout=120):
        from prefect import flow
        from prefect.client.orchestration import get_client

        @flow(validate_parameters=False)
        def story(folder: str) -> None:
            for stage in (steps.read, steps.profile, steps.choose):
                stage(folder, True)

        story(str(run.folder))
        with get_client(sync_client=True) as client:
            names = [r.name for r in client.read_task_runs(limit=50)]
    assert {f"0-0-tests.flows.stubs-{name}" for name in ("Good", "Collapsed")} <= set(names)
    assert run.settled.generator.use == f"{STUB}Good"
