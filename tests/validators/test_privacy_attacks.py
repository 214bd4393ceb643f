"""Do the attacks on people find planted leaks, keep silent on unseen rows, and err no more often than they say?"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from tests.validators.rows import evidence, frame, schema
from validators._privacy_risk import RISK, Attack, judged, wilson
from validators._privacy_scores import Scores
from validators.base import PRIVACY_SHARES, Evidence, Finding, Intent, Privacy
from validators.gate import Detectable, decide
from validators.inference import InferenceCheck
from validators.judge import checks, run
from validators.linkability import LinkabilityCheck
from validators.membership import MembershipCheck
from validators.rare import RareCheck
from validators.report import verdict
from validators.singling_out import SinglingOutCheck, _marked
from validators.singling_out_size import alone, integral, stretch

ATTACKS = [check for check in checks(privacy=True) if check.name in PRIVACY_SHARES]
RISKS = ("singling_out", "linkability", "inference")


def given(train: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame, **intent: Any) -> Evidence:
    return evidence(train, holdout, made, **{"privacy": Privacy(), **intent})


def all_of(seen: Evidence) -> dict[str, Finding]:
    return {check.name: run(check, seen) for check in ATTACKS}


@cache
def memorised() -> dict[str, Finding]:
    """A generator that draws training rows with replacement."""
    train = frame(700, 1)
    return all_of(given(train, frame(500, 2), train.sample(700, replace=True, random_state=0)))


# --- planted leaks and silence


@pytest.mark.parametrize("seed", range(4))
def test_unseen_rows_are_no_leak(seed: int) -> None:
    found = all_of(given(*(frame(400, 10 * seed + i) for i in (1, 2, 3)), seed=seed))
    assert {name: finding.verdict for name, finding in found.items()} == dict.fromkeys(PRIVACY_SHARES, "PASS")


@pytest.mark.parametrize("name", PRIVACY_SHARES)
def test_training_rows_drawn_again_are_found_by_every_attack(name: str) -> None:
    finding = memorised()[name]
    assert finding.verdict == "BLOCK", finding.summary
    assert finding.p_value is not None and finding.p_value < 1e-6 and finding.culprits
    json.dumps(dict(finding.details), allow_nan=False)


def test_a_finding_names_columns_and_no_values() -> None:
    train = frame(700, 1).assign(city=lambda f: "Xq" + f.city, count=lambda f: f["count"] + 770_000)
    holdout = frame(500, 2).assign(city=lambda f: "Xq" + f.city, count=lambda f: f["count"] + 770_000)
    known = Dataset.from_pandas(train, target="label").schema
    sides = [Dataset.from_pandas(rows, known) for rows in (train, holdout, train)]
    seen = Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent(privacy=Privacy()))
    told = "".join(f.summary + str(f.details) + "".join(c.cell for c in f.culprits) for f in all_of(seen).values())
    assert "Xq" not in told and "7700" not in told and "city" in told


def test_some_copies_show_in_the_tail_of_membership() -> None:
    train, holdout, made = frame(1000, 1), frame(1000, 2), frame(1000, 3)
    copied = pd.concat([train.sample(120, random_state=0), made.iloc[120:]], ignore_index=True)
    finding = MembershipCheck().evaluate(given(train, holdout, copied))
    assert finding.verdict == "BLOCK" and finding.value is not None and finding.value < 0.6
    assert finding.details["attacks"][0]["tpr_lower_bound"] > 0.03


def test_a_secret_that_follows_from_the_table_is_no_leak_and_one_that_is_copied_is() -> None:
    def people(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        rows = frame(n, seed)
        return rows.assign(group=np.where(rows.x > 2, "high", "low"), code=rng.integers(0, 30, n).astype(str))

    train, holdout, made = (people(600, seed) for seed in (1, 2, 3))
    known = Dataset.from_pandas(train, target="label").schema

    def told(made: pd.DataFrame) -> dict[str, dict[str, Any]]:
        sides = [Dataset.from_pandas(rows, known) for rows in (train, holdout, made)]
        privacy = Privacy(quasi=("x", "y", "count"), secret=("group", "code"))
        seen = Evidence(
            train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent(privacy=privacy)
        )
        return {a["attack"]: a for a in InferenceCheck().evaluate(seen).details["attacks"]}

    fair, copied = told(made), told(train)
    assert fair["guessing group from x, y and count"]["verdict"] == "PASS"
    assert fair["guessing group from x, y and count"]["rate"] > 0.9
    assert fair["guessing code from x, y and count"]["verdict"] == "INCONCLUSIVE"
    assert copied["guessing code from x, y and count"]["verdict"] == "BLOCK"
    assert copied["guessing code from x, y and count"]["risk"] > 0.9


def test_the_page_lists_the_attacks_and_the_alpha_that_is_left_to_others() -> None:
    found = [Finding("modes", "PASS", value=0.9, p_value=0.5), *memorised().values()]
    views = {view["name"]: dict(view["more"]) for view in verdict.checks(found, 0.005)}
    assert views["modes"]["alpha of this check"] == "0.0012"  # .3 of .005, less a fifth
    assert views["rare"]["alpha of this check"] == "4e-4"
    assert views["membership"]["density ratio"].startswith("AUC 0.") and "TPR at 1 % FPR" in views["membership"]["ensemble"]
    assert "risk" in views["linkability"]["linking 3 columns to 2 others"]


# --- what cannot be told


def test_an_attack_no_better_than_guesses_says_so_and_leaves_the_verdict_to_the_others() -> None:
    attack = Attack("linking 2 columns to 3 others", 500, 20, 18, 22)
    seen = given(frame(60, 1), frame(60, 2), frame(60, 3))
    finding = judged("linkability", [attack], seen)
    assert finding.verdict == "SKIPPED" and "no better than random guesses" in finding.summary
    decision = decide([Finding("modes", "PASS"), finding], intent=Intent(), detectable=Detectable(whole=0.01))
    assert decision.verdict == "PASS" and "linkability could not judge" in decision.reason
    mixed = judged("inference", [attack, Attack("b", 500, 300, 295, 20)], seen)
    assert mixed.verdict == "PASS" and mixed.details["inconclusive"] == 1 and "1 of 2 attacks" in mixed.summary


@pytest.mark.parametrize("check", ATTACKS, ids=lambda check: check.name)
def test_too_few_rows_are_skipped(check: Any) -> None:
    assert check.evaluate(given(frame(200, 1), frame(20, 2), frame(200, 3))).verdict == "SKIPPED"


def test_a_single_column_has_nothing_to_link_or_guess() -> None:
    parts = [frame(200, seed)[["x"]] for seed in (1, 2, 3)]
    known = Dataset.from_pandas(parts[0]).schema
    sides = [Dataset.from_pandas(rows, known) for rows in parts]
    seen = Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=Intent(privacy=Privacy()))
    assert {n: f.verdict for n, f in all_of(seen).items() if n in ("linkability", "inference")} == {
        "linkability": "SKIPPED",
        "inference": "SKIPPED",
    }


def test_nulls_times_flags_constants_and_many_levels_are_attacked() -> None:
    def people(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        return frame(n, seed).assign(
            x=lambda f: f.x.where(rng.random(n) > 0.2),
            when=pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            flag=rng.random(n) < 0.3,
            place=[f"place {i}" for i in rng.integers(0, 800, n)],
            same="one",
            empty=np.nan,
        )

    levels = {"kind": "categorical", "categories": tuple(f"place {i}" for i in range(800))}
    train, holdout, made = (people(500, seed) for seed in (1, 2, 3))
    known = Dataset.from_pandas(train, target="label").schema.overrule({"place": levels, "same": {"kind": "categorical"}})
    for synthetic, verdicts in ((made, {"PASS", "SKIPPED"}), (train, {"BLOCK"})):
        sides = [Dataset.from_pandas(rows, known) for rows in (train, holdout, synthetic)]
        intent = Intent(privacy=Privacy(quasi=("place", "x", "when")))
        seen = Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=intent)
        found = all_of(seen)
        assert {finding.verdict for finding in found.values()} <= verdicts, {n: f.summary for n, f in found.items()}


# --- figures


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.2775), (5, 0.2366, 0.7634), (10, 0.7225, 1.0)])
def test_wilsons_interval(hits: int, low: float, high: float) -> None:
    middle, half = wilson(hits, 10)
    assert (middle - half, middle + half) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_risk_is_what_is_learned_beyond_unseen_rows() -> None:
    attack = Attack("a", 100_000, 60_000, 20_000, 10_000)
    assert attack.risk == pytest.approx(0.5, abs=1e-4) and attack.interval[0] < 0.5 < attack.interval[1]
    assert attack.verdict(0.001) == "BLOCK" and attack.verdict(0.001, 0.6) == "WARN"
    assert Attack("a", 1000, 500, 500, 100).verdict(0.001) == "PASS"
    # A high rate alone is no risk, and a risk that chance explains is none.
    assert Attack("a", 60, 33, 25, 1).verdict(0.001) == "PASS" and Attack("a", 60, 33, 25, 1).risk > RISK


def test_the_share_found_at_one_percent_of_false_alarms_is_surely_so() -> None:
    rng = np.random.default_rng(0)
    assert Scores("a", rng.normal(size=298), rng.normal(size=298)).tpr_low is None
    scores = Scores("a", np.r_[rng.normal(size=900), np.full(100, 9.0)], rng.normal(size=1000))
    assert scores.tpr > 0.1 and 0.08 < (scores.tpr_low or 0) < 0.1 and scores.tail_p < 1e-10
    assert 0.5 < scores.auc < 0.6 and scores.auc_ci[0] < scores.auc < scores.auc_ci[1]
    assert Scores("a", np.zeros(400), np.zeros(400)).tpr == 0 and Scores("a", np.zeros(400), np.zeros(400)).p == 1


def test_tests_err_as_often_as_they_say_where_nothing_leaks() -> None:
    rng = np.random.default_rng(1)
    tails, areas, marks = [], [], []
    for _ in range(300):
        scores = Scores("a", rng.normal(size=400).round(1), rng.normal(size=400).round(1))
        tails.append(scores.tail_p)
        areas.append(scores.p)
        # Twenty popular rows of 60 that many predicates hold for, on whichever side they fall.
        side, place = rng.permutation(120) < 60, rng.integers(0, 20, size=(200, 2))
        held: list[list[np.ndarray]] = [[], []]
        for rows in place:
            for k in (0, 1):
                held[k].append(np.unique([r // 2 for r in rows if side[r] == bool(k)]).astype(int))
        marks.append(_marked(held, [60, 60]))
    for found in (tails, areas, marks):
        assert np.mean(np.array(found) <= 0.05) <= 0.09


def test_marks_of_sides_of_other_sizes_err_no_more_often() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        row = rng.permutation(160)  # of the places 0 .. 119 on one side, 120 .. 159 on the other
        held: list[list[np.ndarray]] = [[], []]
        for pair in rng.integers(0, 25, size=(200, 2)):
            at = np.unique(row[pair])
            held[0].append(at[at < 120])
            held[1].append(at[at >= 120] - 120)
        found.append(_marked(held, [120, 40]))
    assert np.mean(np.array(found) <= 0.05) <= 0.09


# --- singling out among more rows than the holdout has


def test_the_integral_is_that_of_the_chance_to_single_out() -> None:
    from scipy.integrate import quad

    for n, weight in ((10, 0.3), (500, 1e-3), (2000, 0.5), (3, 1.0)):
        chance = quad(lambda w, n=n: n * w * (1 - w) ** (n - 1), 0, weight, limit=500)[0]
        assert integral(np.array([n]), weight)[0] == pytest.approx(chance, rel=1e-5)


def test_the_chance_to_be_alone_in_a_part_is_that_of_parts_that_are_drawn() -> None:
    rng, met = np.random.default_rng(0), np.array([0, 1, 2, 5, 40])
    drawn = np.array([[rng.permutation(40)[:10] < k for k in met] for _ in range(8000)]).sum(axis=2)
    assert alone(met, 40, 10) == pytest.approx((drawn == 1).mean(axis=0), abs=0.02)
    assert alone(met, 40, 40).tolist() == pytest.approx([0, 1, 0, 0, 0])


@pytest.mark.parametrize("weight", [0.2, 1.0, 4.0], ids=["rare", "fit for this size", "common"])
@pytest.mark.parametrize("times", [2, 3])
def test_a_small_control_is_brought_to_the_size_of_train(weight: float, times: int) -> None:
    """Conditions of weights from 0 to `weight` over the size: counted among 500 rows, told for more, counted among so many."""
    rng, size = np.random.default_rng(times), 500
    chances = rng.uniform(0, weight / size, 20_000)
    few, many = (rng.binomial(n, chances) for n in (size, times * size))
    told = (few == 1).mean() * stretch(few, size, times * size)
    assert told == pytest.approx((many == 1).mean(), rel=0.06)
    # Where most conditions fit neither size better than the other nothing needs to be done.
    assert weight == 1.0 or told != pytest.approx((few == 1).mean(), rel=0.06)


def test_sizes_that_are_equal_and_controls_that_never_single_out_are_left_as_they_are() -> None:
    assert stretch(np.array([1, 2, 0]), 100, 100) == 1 == stretch(np.zeros(50), 100, 300)
    assert 1 / 3 <= stretch(np.full(50, 60), 100, 300) <= 3 >= stretch(np.ones(50), 100, 300) > 2.9


def test_a_train_set_of_three_times_the_holdout_is_attacked_whole() -> None:
    train, holdout = frame(1200, 1), frame(400, 2)
    copied = pd.concat([train.sample(360, random_state=0), frame(840, 3)], ignore_index=True)
    risks = {}
    for name, made in (("copied", copied), ("unseen", frame(1200, 4))):
        finding = SinglingOutCheck().evaluate(given(train, holdout, made))
        assert finding.verdict == ("BLOCK" if name == "copied" else "PASS"), finding.summary
        assert (finding.details["rows"], finding.details["holdout_rows"]) == (1200, 400)
        risks[name] = max(attack["risk"] for attack in finding.details["attacks"])
    # Of a third of train, as far as an equal holdout reaches, a third of these copies would be counted: .1.
    assert risks["copied"] > 0.2 and risks["unseen"] < 0.06


def test_an_attack_whose_control_is_stretched_is_less_sure() -> None:
    plain, wide = (Attack("a", 1000, 300, control, 10, 1e-9, times) for control, times in ((150, 1.0), (50, 3.0)))
    assert wide.unseen == plain.unseen == 0.15 and wide.risk == pytest.approx(plain.risk, abs=0.01)
    assert wide.interval[0] < plain.interval[0] < plain.interval[1] < wide.interval[1]
    certain = Attack("a", 100, 90, 60, 1, 0.5, 3.0)
    assert certain.unseen == 1 and certain.interval[0] == 0


# --- rare combinations


def rare(made: pd.DataFrame, train: pd.DataFrame, holdout: pd.DataFrame, quasi: tuple[str, ...]) -> Finding:
    known = Dataset.from_pandas(train).schema
    sides = [Dataset.from_pandas(rows, known) for rows in (train, holdout, made)]
    intent = Intent(privacy=Privacy(quasi=quasi, k=5))
    return RareCheck().evaluate(
        Evidence(train=sides[0], reference=sides[0], holdout=sides[1], synthetic=sides[2], intent=intent)
    )


def zipf(n: int, seed: int, spread: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    towns = np.minimum(rng.zipf(1.3, size=n), 5000)
    if spread:
        towns = np.where(rng.random(n) < spread, rng.integers(1, 1200, n), towns)
    return pd.DataFrame({"town": [f"t{i % 40}" for i in towns], "age": 20 + towns // 40, "size": rng.normal(size=n)})


def test_rare_combinations_are_counted_against_the_holdout() -> None:
    train, holdout, made = (zipf(2000, seed) for seed in (1, 2, 3))
    fair, again = rare(made, train, holdout, ("town", "age")), rare(train, train, holdout, ("town", "age"))
    assert fair.verdict == "PASS" and again.verdict == "BLOCK" and again.value is not None and again.value > 1.25
    counts = train.groupby(["town", "age"]).size()
    held = [counts.get((row.town, row.age), 0) for row in holdout.itertuples()]
    tests = {test["held_by_at_most"]: test for test in fair.details["tests"]}
    assert tests[1]["holdout_hits"] == sum(n == 1 for n in held)
    assert tests[4]["holdout_hits"] == sum(1 <= n <= 4 for n in held)
    assert fair.details["rare_cells"] == int((counts < 5).sum())


def test_rows_spread_over_what_is_rare_are_no_excess_of_training_rows() -> None:
    """A generator that draws what is rare too often falls into rare combinations of everybody."""
    train, holdout, spread = zipf(4000, 1), zipf(4000, 2), zipf(4000, 3, spread=0.3)
    found = rare(spread, train, holdout, ("town", "age"))
    assert found.verdict == "PASS" and found.value is not None and found.value > 1.25
    assert found.p_value is not None and found.p_value < 1e-6
    assert all(test["rather"] > 0.01 for test in found.details["tests"])
    mixed = pd.concat([spread.head(3600), train.tail(400)], ignore_index=True)
    assert rare(mixed, train, holdout, ("town", "age")).verdict == "BLOCK"


def test_numbers_of_many_values_are_compared_in_bins() -> None:
    train, holdout, made = (zipf(2000, seed) for seed in (1, 2, 3))
    assert rare(made, train, holdout, ("size",)).details["rare_cells"] == 0


# --- the stage


def test_a_release_asks_for_the_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from configs.plan import Plan
    from flows.stages import judge

    plan = Plan.model_validate(
        {
            "name": "a",
            "data": {"use": "csv", "path": "rows.csv"},
            "purpose": "release",
            "target": "label",
            "privacy": {"quasi": ["x"], "secret": ["city"], "k": 7},
        }
    )
    monkeypatch.setattr(judge, "attempt", lambda run: 1)
    facts = {"sample": {"facts": {"judged": {"yes": 3, "no": 7}}}}
    run = SimpleNamespace(plan=plan, stages=facts)
    assert judge._intent(run, schema()).privacy == Privacy(quasi=("x",), secret=("city",), k=7, promised=True)  # type: ignore[arg-type]
    inside = SimpleNamespace(plan=plan.model_copy(update={"purpose": "augment"}), stages=facts)
    assert judge._intent(inside, schema()).privacy is None  # type: ignore[arg-type]
    assert judge._gate_part(plan) != judge._gate_part(inside.plan)


def test_each_attack_is_asked_once_with_the_shared_rows() -> None:
    seen = given(frame(300, 1), frame(200, 2), frame(300, 3))
    for check in (LinkabilityCheck(), SinglingOutCheck()):
        assert check.evaluate(seen) == check.evaluate(replace(seen)), "the same rows and seed give the same finding"
    assert "attacked" in seen.memo
