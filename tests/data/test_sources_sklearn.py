"""Are the bundled sets tables with names, and is a class cut to as many rows as asked, always the same?"""

import pyarrow as pa
import pytest

from data.errors import DataError
from data.sources import sklearn, thin


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("breast_cancer", (569, 31), 2), ("iris", (150, 5), 3), ("wine", (178, 14), 3), ("digits", (1797, 65), 10)],
)
def test_sets(name, shape, classes):
    table = sklearn.read(name)
    assert table.shape == shape
    assert len(set(table["target"].to_pylist())) == classes
    assert table["target"].type == pa.string()
    assert not [c for c in table.column_names if " " in c]


def test_diabetes_has_numbers():
    assert sklearn.read("diabetes")["target"].type == pa.int64()


def test_keep_cuts_one_class_by_seed():
    one, again, other = (sklearn.read("breast_cancer", keep={"malignant": 40}, seed=s) for s in (0, 0, 1))
    counts = one["target"].value_counts().to_pylist()
    assert {c["values"]: c["counts"] for c in counts} == {"malignant": 40, "benign": 357}
    assert one.equals(again)
    assert not one.equals(other)


def test_thin_keeps_order_and_takes_levels_of_any_type():
    table = pa.table({"i": range(10), "y": [0, 1] * 5})
    assert thin(table, "y", {1: 0})["i"].to_pylist() == [0, 2, 4, 6, 8]
    assert thin(table, "y", {"1": 2}, seed=3)["i"].to_pylist() == sorted(thin(table, "y", {1: 2}, seed=3)["i"].to_pylist())
    assert thin(table, "y", {0: 99}).equals(table)


def test_refusals():
    with pytest.raises(DataError, match="bundles no set 'titanic'"):
        sklearn.read("titanic")
    with pytest.raises(DataError, match="has no level 'evil'; it has 'malignant', 'benign'"):
        sklearn.read("breast_cancer", keep={"evil": 3})
    with pytest.raises(DataError, match="there is no column 'z'"):
        thin(pa.table({"y": [1]}), "z", {1: 1})
    with pytest.raises(DataError, match="0 rows or more"):
        thin(pa.table({"y": [1]}), "y", {1: -1})
