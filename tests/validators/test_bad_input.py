"""Does the gate answer bad rows with a verdict or one sentence, and never with a traceback?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.errors import DataError
from tests.validators.rows import evidence, frame
from validators import judge
from validators.copies import CopiesCheck

TRAIN, HOLDOUT, MADE = frame(300, 1), frame(200, 2), frame(400, 3)
Sides = tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame]


def every(**values: object) -> Sides:
    return TRAIN.assign(**values), HOLDOUT.assign(**values), MADE.assign(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        ((TRAIN, HOLDOUT, MADE.head(0)), "the synthetic rows are empty"),
        ((TRAIN, HOLDOUT.head(0), MADE), "the holdout rows are empty"),
        ((TRAIN.head(0), HOLDOUT, MADE), "the train rows are empty"),
        ((TRAIN.head(4), None, MADE), "4 train rows are too few to keep a holdout aside"),
        ((TRAIN, HOLDOUT, MADE.assign(x=np.inf)), "holds an infinity"),
        ((TRAIN, HOLDOUT, MADE.rename(columns={"x": "z"})), "they lack 'x' and have 'z'"),
        (every(x=np.nan, y=np.nan, count=np.nan, city=None), "every one holds nulls alone"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_sentence(sides: Sides, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        judge(*sides, target="label")
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize(
    "sides",
    [
        (TRAIN, HOLDOUT, MADE.head(1)),
        (TRAIN, HOLDOUT.head(1), MADE),
        (TRAIN.head(1), HOLDOUT, MADE),
        (TRAIN.head(1), HOLDOUT.head(1), MADE.head(1)),
        every(x=np.nan),
        every(x=1.0),
        every(label="yes"),
        (TRAIN, HOLDOUT.assign(x=np.nan), MADE),
        (TRAIN, HOLDOUT, MADE.head(50)),
        (TRAIN, None, MADE),
        tuple(side[["city", "label"]] for side in (TRAIN, HOLDOUT, MADE)),
    ],
    ids=[
        "one row",
        "one holdout row",
        "one train row",
        "one row each",
        "a column of nulls",
        "a constant column",
        "one class",
        "nulls in the holdout alone",
        "fewer synthetic rows than holdout rows",
        "no holdout",
        "categories alone",
    ],
)
def test_odd_rows_get_a_verdict_and_no_error(sides: Sides, recwarn: pytest.WarningsRecorder) -> None:
    decision = judge(*sides, target="label")
    assert decision.verdict in ("PASS", "WARN", "INCONCLUSIVE"), decision.reason
    assert [f.summary for f in decision.findings if f.verdict == "ERROR"] == []
    assert [str(w.message) for w in recwarn if "sklearn" in w.filename] == []


def test_nulls_alone_in_a_synthetic_column_block() -> None:
    decision = judge(TRAIN, HOLDOUT, MADE.assign(x=np.nan), target="label")
    assert decision.verdict == "BLOCK" and "column 'x' holds 400 nulls" in decision.reason


def test_a_mistyped_column_is_named_though_other_checks_cannot_read_it() -> None:
    decision = judge(TRAIN, HOLDOUT, MADE.assign(x="blue"), target="label")
    assert decision.verdict == "BLOCK" and decision.reason.startswith("column 'x' holds values of another type")


def test_a_holdout_taken_from_train_makes_copies_inconclusive() -> None:
    decision = judge(TRAIN, TRAIN.head(200), MADE, target="label", detect=0.5)
    assert decision.verdict == "INCONCLUSIVE"
    assert "200 of 200 holdout rows are training rows" in decision.reason and "holdout apart" in decision.next_action


def test_a_table_of_few_distinct_rows_is_not_taken_for_an_overlap() -> None:
    sides = [side.assign(x=0.0, y=0.0, count=0) for side in (TRAIN, HOLDOUT, MADE)]
    assert CopiesCheck().evaluate(evidence(*sides)).verdict == "PASS"
