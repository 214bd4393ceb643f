"""Is every column taken for what it is?"""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.infer import infer, named_like_id

N = 400
RNG = np.random.default_rng(0)


def one(values, name="c", **roles):
    values = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    return infer(pa.table({name: values}), **{role: name for role in roles})[name]


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("x", RNG.normal(size=N), "numeric"),
        ("age", RNG.integers(17, 90, N), "integer"),
        ("SeniorCitizen", [0, 1] * 200, "categorical"),
        ("flag", [0, 1, 1], "categorical"),
        ("flag", [0.0, 1.0, None] * 20, "categorical"),
        ("grade", [1, 2, 3, 4] * 100, "categorical"),
        ("children", [0] * 200 + [1] * 120 + [2] * 60 + [3] * 18 + [4, 5], "integer"),
        ("customer_id", range(N), "id"),
        ("CustomerId", [i % 40 for i in range(N)], "categorical"),
        ("customerID", [f"{i:04d}-ABC" for i in range(N)], "id"),
        ("Unnamed: 0", range(N), "id"),
        ("paid", range(N), "integer"),
        ("who", [f"u{i:05d}" for i in range(N)], "id"),
        ("colour", ["red", "green"] * 200, "categorical"),
        ("colour", ["red", "green", "blue"], "categorical"),
        ("word", [f"level {i % 150}" for i in range(N)], "categorical"),
        ("word", [f"level {i % 350}" for i in range(N)], "text"),
        ("note", [f"the customer called about bill number {i} again" for i in range(N)], "text"),
        ("full name", [f"Ann{chr(97 + i % 26)} Lee{chr(97 + i // 26)}" for i in range(N)], "text"),
        ("yes", [True, False] * 10, "boolean"),
        ("day", pd.date_range("1960-01-01", periods=N), "datetime"),
        ("day", pa.array([dt.date(1950, 1, 1)] * N), "datetime"),
        ("price", [Decimal("1.50"), Decimal("2.25")] * 50, "numeric"),
        ("nothing", pa.nulls(N, pa.string()), "categorical"),
        ("nothing", pa.nulls(N), "categorical"),
        ("constant", [7] * N, "categorical"),
        ("constant", ["a"] * N, "categorical"),
        ("constant", [7.5] * N, "numeric"),
        ("levels", [f"k{i % 10_000}" for i in range(30_000)], "categorical"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_kinds(name, values, kind):
    assert one(list(values) if isinstance(values, range) else values, name).kind == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2] * 20, "categorical"),
        (list(range(10)) * 10, "categorical"),
        (list(range(60)) * 10, "integer"),
        (RNG.normal(size=50), "numeric"),
        (["a", "b", "c"], "categorical"),
        ([True, False], "boolean"),
    ],
)
def test_targets(values, kind):
    assert one(values, target=True).kind == kind


def test_levels_most_frequent_first_ties_by_value_in_their_own_type():
    assert one([3, 1, 2, 2, 1, 3, 9] * 10, target=True).categories == (1, 2, 3, 9)
    assert one([" b", "a", " b", "a", "c"]).categories == (" b", "a", "c")
    assert one([False, True, True]).categories == (True, False)
    assert one(pa.array(["x", "y", "y"]).dictionary_encode()).categories == ("y", "x")


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([29.85, 56.95, 100.0], 2),
        ([1.0, 2.0, 5.0, 8.0, 33.0], 0),
        ([0.1 + 0.2, 1.5], 1),
        ([1e9 + 0.25, 0.5], 2),
        ([1 / 3, 2 / 3], None),
        (pa.array([0.1, 2.5, 7.25], pa.float32()), 2),
        ([Decimal("1.500")], 3),
        ([-0.068602514, 0.23001961], 9),
        ([1e300, 0.1], 1),
    ],
)
def test_decimals(values, decimals):
    assert one(values).decimals == decimals


def test_bounds_and_nulls():
    column = one([1.5, None, float("nan"), -2.0])
    assert (column.low, column.high, column.nullable, column.null_share) == (-2.0, 1.5, True, 0.5)
    assert one(pa.array([dt.datetime(1955, 5, 1, 8)])).low == "1955-05-01T08:00:00"
    assert one(pa.array([dt.date(1955, 5, 1)])).high == "1955-05-01"
    assert one(pa.array([2**62, 5, 9, 11, 12])).high == 2**62
    assert one(pa.array([0], pa.timestamp("us", tz="Europe/Berlin"))).low == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "values", "pii"),
    [
        ("contact", [f"a{i}@example.org" for i in range(50)], "email"),
        ("Phone", [f"+49 30 {i:07d}" for i in range(50)], "phone"),
        ("PhoneService", ["Yes", "No"] * 25, None),
        ("FirstName", [f"Ann{i}" for i in range(50)], "name"),
        ("filename", ["a", "b"] * 25, None),
        ("billing_address", [f"Main St {i}" for i in range(50)], "address"),
        ("host", [f"10.0.0.{i}" for i in range(50)], "ip address"),
        ("native-country", ["DE", "FR"] * 25, None),
        ("BirthDate", [dt.date(1950, 1, 1)] * 50, "birth date"),
    ],
)
def test_personal_data(name, values, pii):
    assert one(values, name).pii == pii


def test_emails_are_not_learned_as_levels_even_in_few_rows():
    assert one([f"a{i}@example.org" for i in range(8)], "mail").kind == "text"


@pytest.mark.parametrize("name", ["id", "customerID", "user_id", "CustomerId", "row-id", "uuid", "Unnamed: 0"])
def test_names_of_ids(name):
    assert named_like_id(name)


@pytest.mark.parametrize("name", ["paid", "valid", "grid", "idle", "width", "index of refraction", "humid"])
def test_names_of_no_ids(name):
    assert not named_like_id(name)


def test_roles_and_nested_columns():
    table = pa.table({"income": [1, 2]})
    with pytest.raises(DataError, match="target column 'incom' is not in the data; did you mean 'income'"):
        infer(table, target="incom")
    with pytest.raises(DataError, match="group column 'z' is not in the data"):
        infer(table, group="z")
    with pytest.raises(DataError, match="which no kind fits"):
        infer(pa.table({"m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}))
    assert one(pa.array([{"bytes": b"x", "path": "p"}])).kind == "image"
    assert one(pa.array([[1.0, 2.0]])).kind == "series"


CELLS = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=False)),
    st.lists(st.none() | st.text()),
    st.lists(st.none() | st.booleans()),
    st.lists(st.none() | st.datetimes()),
    st.lists(st.none() | st.dates()),
    st.lists(st.none() | st.decimals(-1000, 1000, places=2)),
)


@settings(max_examples=150, deadline=None)
@given(CELLS, st.sampled_from(["c", "id", "name", "phone"]), st.booleans())
def test_any_column_gets_a_kind_and_its_type_back(values, name, is_target):
    array = pa.array(values)
    schema = infer(pa.table({name: array}), target=name if is_target else None)
    assert schema.arrow().field(0).type == array.type
    assert type(schema).from_json(schema.to_json()) == schema
    if schema[name].discrete:
        assert set(schema[name].categories) == {v for v in values if v is not None and v == v}


def test_dataset_infers_when_no_schema_is_given():
    assert Dataset.from_pandas(pd.DataFrame({"y": ["a", "b", "a"]}), target="y").schema.classes() == ("a", "b")
