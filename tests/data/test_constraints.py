"""Do rules hold where they should, break where they should, and say so before anything is learned?"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.combinations import Combinations, marks
from data.constraints import ConstraintError, check, make
from data.contradictions import contradiction
from data.errors import DataError
from data.infer import infer

DAYS = [dt.date(2024, 1, 1), dt.date(2024, 1, 3), dt.date(2024, 1, 2), None]
TABLE = pa.table(
    {
        "a": [1, 2, 3, 4],
        "b": [1.0, 2.5, None, 3.0],
        "c": [2.0, 2.0, 2.0, 9.0],
        "start": pa.array(DAYS, pa.date32()),
        "end": pa.array([dt.datetime(2024, 1, 2, 3)] * 4, pa.timestamp("ns")),
        "city": ["Ulm", "Ulm", "Bern", None],
        "land": ["DE", "DE", "CH", None],
        "p": [True, False, False, None],
        "q": [False, False, True, True],
    }
)
STATED: dict[str, Any] = {name: {"kind": "categorical"} for name in ("city", "land")} | {"a": {"kind": "integer"}}
SCHEMA = infer(TABLE, stated=STATED | {name: {"kind": "numeric"} for name in ("b", "c")})


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ({"use": "range", "column": "b", "low": 1, "high": 2.5}, [True, True, True, False]),
        ({"use": "range", "column": "b", "low": 1, "high": 3, "strict": True}, [False, True, True, False]),
        ({"use": "range", "column": "b", "low": 1, "high": 3, "strict": "high"}, [True, True, True, False]),
        ({"use": "range", "column": "start", "high": "2024-01-02"}, [True, False, True, True]),
        ({"use": "range", "column": "end", "high": "2024-01-02T03:00:00", "strict": "high"}, [False] * 4),
        ({"use": "inequality", "columns": ["a", "b"]}, [True, True, True, False]),
        ({"use": "inequality", "columns": ["a", "b"], "strict": True}, [False, True, True, False]),
        ({"use": "inequality", "columns": ["a", "b", "c"]}, [True, False, False, False]),
        ({"use": "inequality", "columns": ["start", "end"]}, [True, False, True, True]),
        ({"use": "expression", "holds": "a + c > 4"}, [False, False, True, True]),
        ({"use": "one_hot", "columns": ["p", "q"]}, [True, False, True, True]),
    ],
    ids=str,
)
def test_rules_on_one_row(spec: dict[str, Any], holds: list[bool]) -> None:
    rule = make(spec)
    rule.check(SCHEMA)
    assert rule.holds(TABLE).tolist() == holds
    assert rule.breaches(TABLE).tolist() == [not each for each in holds]


def test_rules_that_know_real_rows() -> None:
    fixed = make({"use": "fixed_combinations", "columns": ["city", "p"]}).learn(TABLE)
    settled = make({"use": "functional_dependency", "columns": ["city"], "settle": "land"}).learn(TABLE)
    made = pa.table({"city": ["Bern", "Bern", None, "Rom"], "land": ["CH", "DE", None, None], "p": [False, True, None, None]})
    assert fixed.holds(made).tolist() == [True, False, True, False]
    assert settled.holds(made).tolist() == [True, False, True, False]
    assert settled.breaches(made).tolist() == [False, True, False, False]
    unique = make({"use": "unique", "columns": ["city", "land"]})
    assert unique.breaches(TABLE).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"use": "range", "column": "bb", "low": 0}, "there is no column 'bb'; did you mean 'b'?"),
        ({"use": "range", "column": "city", "low": 0}, "only numbers and times lie in an order"),
        ({"use": "range", "column": "b", "low": "2024-01-01"}, "is no value of column 'b'"),
        ({"use": "range", "column": "start", "low": "soon"}, "'soon' is no date or time"),
        ({"use": "inequality", "columns": ["a", "start"]}, "compares times with numbers"),
        ({"use": "one_hot", "columns": ["p", "a"]}, "holds more than true and false"),
        (
            {"use": "inequality", "columns": ["a", "b"]},
            "one of 4 rows breaks the rule a <= b, the first is row 4 of those read (a=4, b=3.0); mend the rows, or loosen",
        ),
        (
            {"use": "unique", "columns": ["c"]},
            "2 of 4 rows break the rule c is unique, the first is row 2 of those read (c=2.0)",
        ),
        ({"use": "expression", "holds": "a + q > 'x'"}, "what does not belong together"),
    ],
    ids=str,
)
def test_what_the_data_say_against_a_rule(spec: dict[str, Any], said: str) -> None:
    fine = make({"use": "range", "column": "a", "low": 0})
    with pytest.raises(ConstraintError) as caught:
        check([fine, make(spec)], SCHEMA, TABLE)
    assert said in str(caught.value)
    assert str(caught.value).startswith("constraints.1: ") and "\n" not in str(caught.value)


def test_zones_are_not_mixed() -> None:
    table = pa.table({"x": pa.array([0], pa.timestamp("s")), "y": pa.array([0], pa.timestamp("s", "UTC"))})
    with pytest.raises(DataError, match="have a zone"):
        make({"use": "inequality", "columns": ["x", "y"]}).check(infer(table))


def rising(*columns: str, strict: bool = False) -> dict[str, Any]:
    return {"use": "inequality", "columns": list(columns), "strict": strict}


@pytest.mark.parametrize(
    ("specs", "place"),
    [
        ([{"use": "range", "column": "a", "low": 3, "high": 2}], 0),
        ([{"use": "range", "column": "a", "low": 3, "high": 3, "strict": "low"}], 0),
        ([{"use": "range", "column": "a", "low": 3}, {"use": "range", "column": "a", "high": 2}], 1),
        ([rising("a", "b"), rising("b", "a", strict=True)], 1),
        ([rising("a", "b"), rising("b", "c", strict=True), rising("c", "a")], 2),
        ([{"use": "range", "column": "a", "low": 9}, {"use": "range", "column": "c", "high": 2}, rising("a", "b", "c")], 2),
        ([rising("s", "e"), {"use": "range", "column": "s", "low": "2024-01-02"}, stop := {"use": "range", "column": "e",
          "high": "2024-01-01"}], 0),
        ([{"use": "range", "column": "a", "low": 2, "strict": True}, {"use": "range", "column": "a", "high": 2}], 1),
    ],
)  # fmt: skip
def test_contradictions(specs: list[dict[str, Any]], place: int) -> None:
    found = contradiction([make(spec) for spec in specs])
    assert found is not None and found[0] == place
    assert "\n" not in found[1]


def test_what_is_stated_of_a_column_counts_too() -> None:
    assert contradiction([make({"use": "range", "column": "a", "low": 9})], {"a": (None, 5)}) is not None


@pytest.mark.parametrize(
    "specs",
    [
        [{"use": "range", "column": "a", "low": 3, "high": 3}],
        [rising("a", "b"), rising("b", "a")],
        [rising("a", "b", "c"), rising("a", "c", strict=True), {"use": "range", "column": "a", "low": 9}],
        [{"use": "range", "column": "a", "low": 2}, {"use": "range", "column": "c", "high": 2}, rising("a", "b", "c")],
    ],
)
def test_what_can_be_held_is_no_contradiction(specs: list[dict[str, Any]]) -> None:
    assert contradiction([make(spec) for spec in specs]) is None


values = st.one_of(st.none(), st.integers(0, 3))


@given(st.lists(st.tuples(values, st.one_of(st.none(), st.sampled_from(["x", "y", "xy"]))), min_size=1, max_size=60))
def test_combinations_are_those_of_python(rows: list[tuple[Any, Any]]) -> None:
    table = pa.table({"n": pa.array([r[0] for r in rows], pa.int64()), "t": pa.array([r[1] for r in rows], pa.string())})
    found = Combinations.of(table, ["n", "t"])
    assert len(found) == len(set(rows))
    held = list(zip(*found.values.to_pydict().values(), strict=True))
    assert {row: int(n) for row, n in zip(held, found.counts, strict=True)} == {row: rows.count(row) for row in set(rows)}
    assert [held[i] for i in found.places(table, ["n", "t"])] == rows
    assert list(found.counts) == sorted(found.counts, reverse=True)


def test_marks_do_not_depend_on_how_values_are_stored() -> None:
    plain = pa.table({"t": ["x", "y", None], "f": [0.0, float("nan"), 1.0]})
    other = pa.table({"t": pa.array(["x", "y", None]).dictionary_encode(), "f": pa.array([-0.0, None, 1.0])})
    np.testing.assert_array_equal(marks(plain, ["t", "f"]), marks(other, ["t", "f"]))
