"""Does the profile count rightly, hold JSON only, and say what a user should know?"""

import json

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.infer import infer
from data.profile import notices, profile


def sample() -> Dataset:
    rng = np.random.default_rng(0)
    n = 200
    x = rng.normal(size=n)
    colour = [f"k{i % 4}" for i in range(n)]
    return Dataset.from_arrow(
        pa.table(
            {
                "customer_id": [f"{i:05d}-X" for i in range(n)],
                "x": x,
                "twice_x": 2 * x + 1,
                "colour": colour,
                "colour_name": [c.upper() for c in colour],
                "empty": pa.nulls(n, pa.string()),
                "same": ["s"] * n,
                "mostly": [1.5 if i < 50 else None for i in range(n)],
                "note": [f"a long remark about case number {i} here" for i in range(n)],
                "day": pa.array(range(-n, 0), pa.timestamp("s")),
                "y": ["a"] * 180 + ["b"] * 18 + [None] * 2,
            }
        ),
        target="y",
    )


def test_counts_and_classes():
    found = profile(sample())
    assert found["rows"] == 200
    target = found["target"]
    assert target["classes"] == [
        {"level": "a", "rows": 180, "share": 180 / 198},
        {"level": "b", "rows": 18, "share": 18 / 198},
    ]
    assert (target["imbalance"], target["missing"]) == (10.0, 2)
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["mostly"]["null_share"] == 0.75
    assert columns["colour"]["top"][0] == {"level": "k0", "rows": 50}
    assert sum(columns["x"]["histogram"]["counts"]) == 200
    assert len(columns["x"]["histogram"]["edges"]) == 21
    assert columns["day"]["histogram"]["edges"][0].startswith("1969-12-31T23:56:40")


def test_json_only_and_no_free_text():
    text = json.dumps(profile(sample()), allow_nan=False)
    assert "remark about case" not in text
    assert "00017-X" not in text


def test_notices_name_the_columns():
    said = "\n".join(notices(sample()))
    for sentence in (
        "Column 'empty' holds no value at all",
        "Column 'same' holds the same value",
        "Column 'customer_id' is an id",
        "Column 'note' is free text and is left out",
        "Column 'mostly' is empty in 75% of the rows",
        "Columns 'x' and 'twice_x' carry the same numbers",
        "Columns 'colour' and 'colour_name' say the same",
        "The target 'y' is missing in 2 rows",
        "out of balance by 10.0 to 1; 'b' is the smallest with 18 rows",
    ):
        assert sentence in said


def test_duplicates_are_rows_that_stand_there_already():
    data = Dataset.from_arrow(pa.table({"x": [1.5, 1.5, None, None, 2.5], "c": ["a", "a", "b", "b", "a"]}))
    assert profile(data)["duplicates"] == {"rows": 2, "share": 0.4}


def test_clean_balanced_data_say_nothing():
    rng = np.random.default_rng(1)
    data = Dataset.from_arrow(pa.table({"x": rng.normal(size=100), "y": ["a", "b"] * 50}), target="y")
    assert notices(data) == []


def test_one_row_and_no_rows():
    for rows in (1, 0):
        table = pa.table({"x": pa.array([1.5] * rows, pa.float64()), "c": pa.array(["a"] * rows, pa.string())})
        assert profile(Dataset.from_arrow(table))["rows"] == rows


def test_the_smallest_class_is_the_one_of_fewest_rows():
    table = pa.table({"x": list(range(100)), "kind": ["z"] * 80 + ["a"] * 20})
    schema = infer(table, target="kind", stated={"kind": {"categories": ["a", "z", "never"]}})
    assert "'a' is the smallest with 20 rows." in " ".join(notices(Dataset(table, schema)))
