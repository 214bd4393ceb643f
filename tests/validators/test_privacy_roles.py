"""Are the columns that attackers know and want taken from the intent, and is their alpha shared fairly?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data.dataset import Dataset
from data.errors import DataError
from tests.validators.rows import evidence, frame, schema
from validators import judge
from validators._privacy_roles import MOST_SECRETS, Roles
from validators._privacy_rows import attacked
from validators._privacy_space import Space
from validators.base import OTHERS, PRIVACY_SHARES, SHARES, Intent, Privacy, share_of
from validators.gate import ADVICE
from validators.judge import check_limits, checks
from validators.report.scales import SCALES

NAMES = ["x", "y", "count", "city", "label"]


def test_what_is_known_and_what_is_guessed() -> None:
    plain = Roles.of(schema(), Privacy())
    assert plain.secrets == ("label", "x", "y", "count", "city") and plain.known("x") == ["y", "count", "city", "label"]
    assert plain.identifying == NAMES and plain.halves == (["x", "count", "label"], ["y", "city"])
    stated = Roles.of(schema(), Privacy(quasi=("x", "city"), secret=("y",)))
    assert stated.known("y") == stated.identifying == ["x", "city"] and stated.halves == (
        ["x", "city"],
        ["y", "count", "label"],
    )
    assert Roles.of(schema(), Privacy(secret=("y", "label"))).known("y") == ["x", "count", "city"]
    assert Roles.of(schema(), Privacy(quasi=("x", "city"))).secrets == ("label", "y", "count")
    wide = Dataset.from_pandas(pd.DataFrame(np.random.default_rng(0).normal(size=(50, 20))).rename(columns=str)).schema
    assert (len(Roles.of(wide, Privacy()).secrets), Roles.of(wide, Privacy()).left) == (MOST_SECRETS, 20 - MOST_SECRETS)


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        (Privacy(quasi=("citty",)), "privacy.quasi: there is no column 'citty'; did you mean 'city'"),
        (Privacy(secret=("lable",)), "privacy.secret: there is no column 'lable'; did you mean 'label'"),
        (Privacy(quasi=("x",), secret=("x",)), "named as quasi and as secret"),
        (Privacy(k=1), "2 or more"),
    ],
)
def test_a_wrong_name_is_refused_before_any_work(privacy: Privacy, said: str) -> None:
    with pytest.raises(DataError, match=said):
        judge(frame(200, 0), frame(100, 1), frame(100, 2), target="label", privacy=privacy)


def test_a_column_that_no_family_learns_is_no_quasi_identifier() -> None:
    rows = frame(100, 0).assign(key=[f"row {i}" for i in range(100)])
    known = Dataset.from_pandas(rows, target="label").schema.overrule({"key": {"kind": "id"}})
    with pytest.raises(DataError, match="'key' is of kind id"):
        Roles.of(known, Privacy(quasi=("key",)))


def test_all_shares_together_are_no_more_than_the_whole() -> None:
    every = [*SHARES, *PRIVACY_SHARES]
    assert sum(SHARES.values()) == pytest.approx(1) and sum(PRIVACY_SHARES.values()) == pytest.approx(1 - OTHERS)
    assert sum(share_of(name, privacy=True) or 0 for name in every) <= 1 + 1e-9
    assert Intent().level("modes") == Intent().spent * SHARES["modes"]
    assert Intent(privacy=Privacy()).level("modes") == pytest.approx(Intent().level("modes") * OTHERS)
    with pytest.raises(KeyError):
        Intent().level("fidelity")


def test_attacks_run_only_where_they_are_asked_for() -> None:
    assert not {check.name for check in checks()} & set(PRIVACY_SHARES)
    names = {check.name for check in checks(privacy=True)}
    assert names >= set(PRIVACY_SHARES) and set(PRIVACY_SHARES) <= set(ADVICE) and set(PRIVACY_SHARES) <= set(SCALES)


def test_the_plan_may_set_limits_of_attacks() -> None:
    check_limits({"inference": {"risk": 0.2}, "membership": {"auc": 0.7, "tpr": 0.05}})
    with pytest.raises(DataError, match=r"limits.linkability: unknown figure 'rsk'; did you mean 'risk'"):
        check_limits({"linkability": {"rsk": 0.2}})


def test_as_many_unseen_targets_as_training_ones_and_one_of_each_group() -> None:
    train, holdout = frame(300, 0).assign(person=np.arange(300) // 3), frame(200, 1).assign(person=1000 + np.arange(200) // 2)
    known = Dataset.from_pandas(train, target="label").schema
    known = replace(known, group="person")
    sides = [Dataset.from_pandas(rows, known) for rows in (train, holdout, frame(250, 2).assign(person=0))]
    given = replace(evidence(frame(60, 0), frame(60, 1), frame(60, 2)), train=sides[0], reference=sides[0],
                    holdout=sides[1], synthetic=sides[2])  # fmt: skip
    seen = attacked(given)
    assert seen.rows == 100 == seen.holdout.num_rows
    assert len(set(seen.train.column("person").to_pylist())) == 100
    assert seen.others is None  # the reference is train, and is not held for a set of unseen people


def test_a_reference_of_its_own_is_what_the_attacker_knows() -> None:
    given = evidence(frame(300, 0), frame(200, 1), frame(250, 2))
    apart = replace(given, reference=Dataset.from_pandas(frame(240, 3), schema()))
    seen = attacked(apart)
    assert seen.others is not None and seen.others.num_rows == 240
    assert attacked(replace(given, reference=Dataset.from_pandas(frame(300, 0), schema()))).others is None


def test_two_levels_lie_about_one_apart_however_rare_they_are() -> None:
    names = [f"place {i}" for i in range(400)]
    rows = Dataset.from_pandas(pd.DataFrame({"place": names, "kind": ["a", "b"] * 200, "x": range(400)}))
    rows = replace(rows, schema=rows.schema.overrule({"place": {"kind": "categorical", "categories": tuple(names)}}))
    space = Space.fit(rows)
    seen = space.points(rows)
    place, kind = (seen[:, space.places([name])] for name in ("place", "kind"))
    apart = np.linalg.norm(place[1:] - place[:-1], axis=1)
    assert 0.6 < apart.min() and apart.max() < 1.4 and abs(apart.mean() - 1) < 0.05
    assert np.linalg.norm(kind[0] - kind[1]) == pytest.approx(1)
