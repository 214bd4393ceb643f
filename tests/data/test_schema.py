"""Does a schema carry what columns mean without loss, and name the culprit when asked for what it has not?"""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.schema import Column, Schema, arrow_type


def schema(**roles) -> Schema:
    return Schema(
        (
            Column(name="age", kind="integer", dtype="int64", low=17, high=90),
            Column(name="job", kind="categorical", dtype="string", categories=(" Sales", " Clerk")),
            Column(name="id", kind="id", dtype="string"),
            Column(name="old", kind="boolean", dtype="bool", categories=(True, False)),
        ),
        **roles,
    )


def test_lookup():
    found = schema(target="job", group="id")
    assert found["age"].high == 90
    assert [c.name for c in found.learned] == ["age", "job", "old"]
    assert found.classes() == (" Sales", " Clerk")
    assert schema(target="age").classes() == ()
    assert "job" in found
    with pytest.raises(DataError, match="there is no column 'jib'; did you mean 'job'"):
        found["jib"]


def test_levels_are_found_by_text_and_without_blanks():
    job = schema()["job"]
    assert job.level(" Sales") == job.level("Sales") == job.level("sales") == " Sales"
    with pytest.raises(DataError, match="no level 'Sale'; did you mean 'Sales'"):
        job.level("Sale")
    assert schema()["old"].level("true") is True
    numbers = Column(name="n", kind="categorical", dtype="int64", categories=(1, 2))
    assert numbers.level("2") == 2
    with pytest.raises(DataError):
        numbers.level(True)


def test_levels_are_found_by_the_number_they_are():
    ratings = Column(name="r", kind="categorical", dtype="double", categories=(5.0, 1.5, 20.0))
    assert [ratings.level(text) for text in ("5", "5.00", "+1.50", " 2e1")] == [5.0, 5.0, 1.5, 20.0]
    assert Column(name="r", kind="categorical", dtype="int64", categories=(4, 5)).level("5.0") == 5
    words = Column(name="w", kind="categorical", dtype="string", categories=("05", "5.0", "n.k.", "4"))
    assert (words.level("5.0"), words.level("4.0")) == ("5.0", "4")
    for column, text in ((words, "5"), (ratings, "5.1"), (ratings, "nan"), (schema()["old"], "1")):
        with pytest.raises(DataError, match="has no level"):
            column.level(text)


def test_two_levels_that_differ_by_blanks_are_told_apart():
    column = Column(name="c", kind="categorical", dtype="string", categories=("a", " a"))
    assert column.level(" a") == " a"
    with pytest.raises(DataError):
        column.level("a ")


def test_overrule():
    stated = schema().overrule({"age": {"kind": "categorical", "categories": [17, 18], "low": None}})
    assert (stated["age"].kind, stated["age"].categories) == ("categorical", (17, 18))
    assert stated["age"].declared == {"kind", "categories", "low"}
    for columns, says in (
        ({"aje": {"kind": "text"}}, "did you mean 'age'"),
        ({"age": {"knd": "text"}}, "unknown field 'knd'"),
        ({"age": {"kind": "number"}}, "unknown kind 'number'"),
    ):
        with pytest.raises(DataError, match=says):
            schema().overrule(columns)


def test_select_drops_roles_that_are_gone():
    part = schema(target="job", group="id").select(["job", "age"])
    assert (part.names, part.target, part.group) == (["job", "age"], "job", None)


def test_json_round_trip():
    found = schema(target="job").overrule({"age": {"low": 0}})
    assert Schema.from_json(found.to_json()) == found


LEAVES = st.sampled_from(
    [pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.bool_()]
    + [pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", tz="Europe/Berlin"), pa.null()]
    + [pa.decimal128(10, 2), pa.decimal128(38, 0), pa.time64("us"), pa.duration("us")]
)


@given(LEAVES)
def test_every_type_comes_back_from_its_text(dtype):
    assert arrow_type(str(dtype)) == dtype


def test_dictionaries_come_back_and_nested_types_are_refused():
    for dtype in (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64(), ordered=True)):
        assert arrow_type(str(dtype)) == dtype
    with pytest.raises(DataError, match="are not supported"):
        arrow_type(str(pa.list_(pa.int8())))
