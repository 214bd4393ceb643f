"""Are new ids of the real ones' shape, never real, and never twice?"""

import json
import re
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.ids import IdMaker


def telco_like(n):
    rng = np.random.default_rng(0)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    return ["".join(map(str, rng.integers(0, 10, 4))) + "-" + "".join(rng.choice(letters, 5)) for _ in range(n)]


@pytest.mark.parametrize(
    ("real", "shape"),
    [
        (telco_like(300), r"^[0-9]{4}-[A-Z]{5}$"),
        ([str(uuid.UUID(int=i * 0x1234567890ABCDEF1234567 % 2**128, version=4)) for i in range(1, 400)],
         r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$"),
        ([f"C{i}" for i in range(10, 99)], r"^C[0-9]+$"),
        ([f"{i:06d}" for i in range(500)], r"^[0-9]+$"),
    ],
    ids=["telco", "uuid", "counter", "zeros"],
)  # fmt: skip
def test_shape(real, shape):
    drawn = IdMaker.fit(pa.array(real)).draw(0, 500, 3).to_pylist()
    assert all(re.match(shape, text) for text in drawn)
    assert len(set(drawn)) == 500
    assert not set(drawn) & set(real)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.text("abXY019-ü", max_size=5), min_size=1, max_size=60, unique=True)
    | st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=60, unique=True)
    | st.lists(st.integers(0, 70), min_size=1, max_size=60, unique=True),
    st.integers(0, 2**63),
    st.integers(0, 500),
)
def test_unique_new_and_independent_of_the_batches(real, seed, cut):
    maker = IdMaker.fit(pa.array(real))
    whole = maker.draw(0, 500, seed).to_pylist()
    assert len(set(whole)) == 500
    assert not set(whole) & set(real)
    again = IdMaker.from_json(json.loads(json.dumps(maker.to_json())))
    assert again.draw(0, cut, seed).to_pylist() + again.draw(cut, 500 - cut, seed).to_pylist() == whole


def test_types_come_back():
    for dtype in (pa.int32(), pa.uint64(), pa.large_string()):
        assert IdMaker.fit(pa.array(["7", "12", "40"]).cast(dtype)).draw(5, 9, 1).type == dtype
    assert IdMaker.fit(pa.array(["a1", "b2"]).dictionary_encode()).draw(0, 2, 1).type == pa.string()


def test_numbers_keep_their_width_while_there_is_room():
    drawn = IdMaker.fit(pa.array(range(1, 7044))).draw(0, 5000, 0).to_pylist()
    assert min(drawn) >= 10_000
    assert max(drawn) < 100_000


def test_no_real_id_is_kept_in_clear():
    real = telco_like(50)
    assert not [text for text in real if text in json.dumps(IdMaker.fit(pa.array(real)).to_json())]


def test_other_seed_other_ids():
    maker = IdMaker.fit(pa.array(telco_like(50)))
    assert maker.draw(0, 20, 1).to_pylist() != maker.draw(0, 20, 2).to_pylist()


def test_empty_and_null_columns_still_give_ids():
    assert len(set(IdMaker.fit(pa.array([None, None], pa.string())).draw(0, 100, 0).to_pylist())) == 100
    assert len(set(IdMaker.fit(pa.array([None], pa.int64())).draw(0, 100, 0).to_pylist())) == 100


def test_refusals():
    with pytest.raises(DataError, match="ids of type double"):
        IdMaker.fit(pa.array([1.5]))
    with pytest.raises(DataError, match="run out"):
        IdMaker.fit(pa.array(range(100), pa.int8())).draw(0, 1000, 0)
    with pytest.raises(DataError, match="from 0 upwards"):
        IdMaker.fit(pa.array(["a"])).draw(-1, 3, 0)
