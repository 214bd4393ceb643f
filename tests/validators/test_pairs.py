"""Is a dependence between two columns seen to be lost, or made up, and are real rows left alone?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from data.errors import DataError
from validators.base import Evidence, Finding, Intent
from validators.dependence import ANY, LINE, compare
from validators.judge import check_limits
from validators.pairs import PairsCheck
from validators.report.verdict import cell, check


def rows(n: int, seed: int, r: float = 0.785, *, last: float = 0.785) -> pd.DataFrame:
    """Numbers a and b that correlate by r ("on") or `last` ("off"), a word that says much of a, a circle, columns of chance."""
    rng = np.random.default_rng(seed)
    state = rng.choice(["on", "off"], n, p=[0.7, 0.3])
    own = np.where(state == "on", r, last)
    a, angle = rng.normal(size=n), rng.uniform(0, 2 * np.pi, n)
    return pd.DataFrame(
        {
            "a": a,
            "b": own * a + np.sqrt(1 - own**2) * rng.normal(size=n),
            "size": np.where(a + 0.3 * rng.normal(size=n) > 0, "large", "small"),
            "east": np.cos(angle) + 0.05 * rng.normal(size=n),
            "north": np.sin(angle) + 0.05 * rng.normal(size=n),
            "c": rng.exponential(size=n),
            "d": rng.integers(0, 200, n),
            "state": state,
        }
    )


def found(made: pd.DataFrame, n: int = 525, **intent: Any) -> Finding:
    schema = Dataset.from_pandas(rows(500, 0), target="state").schema
    train, holdout, synthetic = (Dataset.from_pandas(side, schema) for side in (rows(3 * n, 1), rows(n, 2), made))
    given = Evidence(train=train, reference=train, holdout=holdout, synthetic=synthetic, intent=Intent(**intent))
    return PairsCheck().evaluate(given)


def dealt(made: pd.DataFrame, column: str) -> pd.DataFrame:
    """The column's values given to other rows."""
    return made.assign(**{column: np.random.default_rng(9).permutation(made[column].to_numpy())})


def test_a_correlation_that_fell_blocks_and_is_named() -> None:
    got = found(rows(5000, 3, 0.49, last=0.49))
    assert got.verdict == "BLOCK" and got.culprits[0].cell in ("a with b", "b with a")
    assert got.culprits[0].expected == pytest.approx(0.785, abs=0.05)
    assert got.culprits[0].observed == pytest.approx(0.49, abs=0.05)
    assert "the correlation of ranks of a with b is 0.4" in got.summary and "'a' and 'b'" in got.details["advice"]
    assert got.value is not None and 0.25 < got.value < 0.55 and got.reference == 0


@pytest.mark.parametrize("seed", range(3, 9))
def test_alike_is_alike(seed: int) -> None:
    got = found(rows(5000, seed))
    assert (got.verdict, got.value, got.culprits) == ("PASS", 0, ())
    assert got.details["compared"] == 15 + 2 + 3 + 3 and "would have been noticed" in got.summary


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda made: dealt(made, "size"), {"a", "b", "size"}),
        (lambda made: dealt(made, "north"), {"east", "north"}),
        (lambda made: made.assign(d=np.clip((made.c * 60).round(), 0, 199).astype(int)), {"c", "d"}),
    ],
    ids=["word", "circle", "made up"],
)
def test_any_kind_of_dependence(spoil: Callable[[pd.DataFrame], pd.DataFrame], named: set[str]) -> None:
    got = found(spoil(rows(5000, 3)))
    assert got.verdict == "BLOCK"
    assert {name for each in got.details["flagged"] for name in each["pair"]} == named


def test_the_report_shows_correlations() -> None:
    got = found(rows(5000, 3, 0.49, last=0.49))
    shown = cell(got, got.culprits[0])
    assert (
        float(str(shown["expected"])) == pytest.approx(0.79, abs=0.03)
        and shown["observed"].startswith("0.4")
        and shown["ratio"].startswith("0.6")
    )
    assert check(got, 0.005)["more"][-2:] == [("pairs compared", "23"), ("correlations tested", "25")]


def test_a_class_alone() -> None:
    got = found(rows(5000, 3, last=0.0), n=1500)
    assert got.verdict == "BLOCK" and got.culprits[0].cell == "a with b (class off)"


def test_a_small_loss_is_borne_and_a_middling_one_warned_of() -> None:
    assert found(rows(20_000, 3, 0.77, last=0.77), n=2000).verdict == "PASS"
    assert found(rows(20_000, 3, 0.68, last=0.68), n=2000).verdict == "WARN"


@pytest.mark.parametrize(
    ("real", "made", "verdict"),
    [(0.99, 0.95, "BLOCK"), (0.99, 0.975, "WARN"), (0.9999, 0.997, "WARN"), (0.99, 0.99, "PASS"), (0.9999, 0.9999, "PASS")],
)
def test_tight_lines(real: float, made: float, verdict: str) -> None:
    def line(n: int, r: float, seed: int) -> Dataset:
        rng = np.random.default_rng(seed)
        a = rng.normal(size=n)
        return Dataset.from_pandas(pd.DataFrame({"a": a, "b": r * a + np.sqrt(1 - r**2) * rng.normal(size=n)}))

    train, holdout, synthetic = line(2000, real, 0), line(1000, real, 1), line(6000, made, 2)
    got = PairsCheck().evaluate(Evidence(train=train, reference=train, holdout=holdout, synthetic=synthetic))
    assert got.verdict == verdict
    assert verdict == "PASS" or (got.culprits[0].cell == "a with b" and (got.culprits[0].p_adjusted or 1) < 0.001)


def test_lines_that_are_all_but_exact() -> None:
    def line(n: int, seed: int, off: float) -> Dataset:
        rng = np.random.default_rng(seed)
        a = rng.integers(0, 2, n)
        return Dataset.from_pandas(pd.DataFrame({"a": a.astype(str), "b": np.where(rng.random(n) < off, 1 - a, a).astype(str)}))

    alarms = 0
    for seed in range(200):
        sides = [line(n, 3 * seed + place, 0.01) for place, n in enumerate((120, 60, 600))]
        alarms += int((compare(sides[0].schema.learned, *sides)[0].changed(0.01) > 0).any())
    assert alarms <= 4
    broken = compare(sides[0].schema.learned, line(600, 1, 0.0), line(300, 2, 0.0), line(3000, 3, 0.1))[0]
    assert broken.kinds == [ANY] and broken.changed(1e-4)[0] > 0.25


def test_nulls_constants_rare_values_and_many_columns() -> None:
    rng = np.random.default_rng(0)

    def wide(n: int) -> Dataset:
        common = rng.normal(size=(n, 1))
        frame = pd.DataFrame(rng.normal(size=(n, 130)), columns=[f"n{k}" for k in range(130)])
        frame[["n7", "n8"]] += 3 * common
        frame.loc[rng.random(n) < 0.4, "n7"] = np.nan
        return Dataset.from_pandas(frame.assign(one=1.0, rare=np.where(rng.random(n) < 0.003, "yes", "no")))

    sides = [wide(n) for n in (600, 300, 600)]
    pairs = compare(sides[0].schema.learned, *sides)[0]
    seen = {name for pair in pairs.names for name in pair}
    assert len(seen) <= 100 and {"n7", "n8"} <= seen and not {"one", "rare"} & seen
    place = pairs.names.index(("n7", "n8"))
    assert pairs.kinds[place] == LINE and pairs.real[place] > 0.5 and not pairs.changed(1e-6).any()


def test_a_column_that_collapsed_depends_on_nothing() -> None:
    got = found(rows(5000, 3).assign(b=1.0))
    assert got.verdict == "BLOCK" and got.culprits[0].observed == 0


def test_what_cannot_be_judged_is_skipped() -> None:
    assert found(rows(5000, 3), n=40).verdict == "SKIPPED"
    one = Dataset.from_pandas(pd.DataFrame({"a": np.arange(200.0)}))
    got = PairsCheck().evaluate(Evidence(train=one, reference=one, holdout=one, synthetic=one))
    assert got.verdict == "SKIPPED" and "one column" in got.summary
    few = found(rows(5000, 3), n=60)
    assert few.verdict == "SKIPPED" and "would pass unseen" in few.summary


def test_the_plan_sets_the_limit() -> None:
    made = rows(5000, 3, 0.49, last=0.49)
    assert found(made, limits={"pairs": {"change": 1.0}}).verdict == "WARN"
    assert found(rows(20_000, 3, 0.68, last=0.68), n=2000, limits={"pairs": {"change": 0.02}}).verdict == "BLOCK"
    with pytest.raises(DataError, match="did you mean 'change'"):
        check_limits({"pairs": {"chnge": 0.1}})
