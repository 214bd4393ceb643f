"""Does the small language say of each row what it should, and refuse everything else in a sentence?"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.expressions import Expression
from data.infer import infer

TABLE = pa.table(
    {
        "a": pa.array([1, 5, None, 7], pa.int32()),
        "b": pa.array([2.5, 4.0, 1.0, float("nan")]),
        "cost": pa.array([Decimal("1.10"), Decimal("2.20"), Decimal("3.30"), None], pa.decimal128(9, 2)),
        "kind": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "good": pa.array([True, False, None, True]),
        "day": pa.array([dt.date(2024, 1, 31), dt.date(2024, 2, 29), None, dt.date(1960, 1, 1)]),
        "at": pa.array(
            [dt.datetime(2024, 2, 1, 12), dt.datetime(2024, 2, 29), dt.datetime(2024, 5, 1), None], pa.timestamp("s")
        ),
        "odd name, here": pa.array([1, 2, 3, 4]),
    }
)
SCHEMA = infer(TABLE, stated={"kind": {"kind": "categorical"}, "a": {"kind": "integer"}})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a < b", [True, False, True, True]),
        ("a < b < 3", [True, False, True, True]),
        ("not a < b", [False, True, True, True]),
        ("a * 2 - 1 == 1 or kind == 'y'", [True, True, True, True]),
        ("a // 2 == 2 or a % 2 == 1", [True, True, True, True]),
        ("-a ** 2 == -1 or a / 2 > 2.4", [True, True, True, True]),
        ("cost <= 2.2", [True, True, False, True]),
        ("kind == 'x'", [True, False, True, True]),
        ("kind in ['y', 'x'] and a not in (1, 7)", [False, True, True, False]),
        ("missing(a) or missing(b)", [False, False, True, True]),
        ("good", [True, False, True, True]),
        ("good == (a < b)", [True, True, True, True]),
        ("good + 1 > 1", [True, False, True, True]),
        ("at - day <= days(1)", [False, True, True, True]),
        ("at - day <= hours(36)", [True, True, True, True]),
        ("day >= '2024-01-31' and at < '2024-03-01T00:00:00'", [True, True, False, False]),
        ("year(day) == 2024 and month(day) < 3 and day(day) > 28", [True, True, True, False]),
        ("min(a, b) >= 1 and max(a, b, 3) < 5", [True, False, True, True]),
        ("abs(a - b) < 1.2 if kind == 'y' else sqrt(a) == 1", [True, True, True, True]),
        ("`odd name, here` >= 2", [False, True, True, True]),
        ("length(kind) == 1 and round(b) <= 2", [True, False, True, True]),
        ("a / 0 > 1", [True, True, True, True]),
        ("9223372036854775807 + a > 0", [True, True, True, True]),
        ("a < 1000000000000000000000", [True, True, True, True]),
    ],
)
def test_what_holds(text: str, holds: list[bool]) -> None:
    expression = Expression(text)
    expression.check(SCHEMA)
    assert expression.holds(TABLE).to_pylist() == holds
    assert expression.holds(TABLE.slice(1, 2)).to_pylist() == holds[1:3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a <", "is no expression"),
        ("class == 1", "write the column `class` between backticks"),
        ("1 < 2", "names no column"),
        ("open('x') and a", "'open' is no function here"),
        ("a.real == 1", "'a.real' is not part of the language"),
        ("().__class__ == a", "is not part of the language"),
        ("[x for x in a]", "is not part of the language"),
        ("(lambda: a)() == 1", "is no function here"),
        ("a[0] == 1", "is not part of the language"),
        ("a @ b == 1", "is not part of the language"),
        ("f'{a}' == 'x'", "is not part of the language"),
        ("a == None", "ask missing(column)"),
        ("a is b", "`is` is not part"),
        ("a == [1, 2]", "`in` and `not in` stand before a list"),
        ("a in b", "`in` and `not in` stand before a list"),
        ("a in []", "`in` and `not in` stand before a list"),
        ("[1] < a", "is not part of the language"),
        ("abs(a, b) > 1", "abs takes one value"),
        ("max(a) > 1", "max takes 2 to 9 values"),
        ("abs(x=a) > 1", "abs takes one value"),
        ("a + " * 600 + "a > 1", "too long"),
    ],
)
def test_what_is_no_expression(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        Expression(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aa > 1", "there is no column 'aa'"),
        ("a + 1", "gives values, not true or false"),
        ("kind > 3", "what does not belong together"),
        ("kind + 1 > 3", "what does not belong together"),
        ("a and b > 1", "what does not belong together"),
        ("at > 'soon'", "what does not belong together"),
        ("at - day > 3", "what does not belong together"),
        ("kind == 'z'", "no level 'z'"),
        ("kind in ['x', 'X']", "write it as it is: 'x'"),
    ],
)
def test_what_does_not_fit_the_columns(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        Expression(text).check(SCHEMA)
    assert said in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_one_sentence(text: str) -> None:
    try:
        Expression(text)
    except DataError as error:
        assert str(error)
