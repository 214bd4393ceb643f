"""Are Parquet files and folders read as they were written, and the rest refused in one sentence?"""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.sources import parquet

TABLE = pa.table(
    {
        "i": pa.array([1, None, 3], pa.int32()),
        "f": [1.5, float("nan"), None],
        "s": [" a", "🙂", None],
        "d": pa.array([dt.date(1955, 1, 1)] * 3),
        "t": pa.array([0, -1, 2], pa.timestamp("us", tz="UTC")),
        "n": pa.array([1, 2, 3]).cast(pa.decimal128(21, 2)),
        "b": [True, None, False],
        "c": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
)


def test_types_stay_and_nan_becomes_null(tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    table = parquet.read(tmp_path / "t.parquet")
    assert table.schema.types == TABLE.schema.types
    assert table["f"].to_pylist() == [1.5, None, None]
    assert table["s"].to_pylist() == [" a", "🙂", None]


def test_a_folder_in_the_order_of_names_with_partitions(tmp_path):
    for year in (2021, 2020):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"i": [year]}), tmp_path / f"year={year}" / "a.parquet")
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "z.parquet").write_bytes(b"half a file")
    assert parquet.read(tmp_path).to_pydict() == {"i": [2020, 2021], "year": [2020, 2021]}


def test_refusals(tmp_path):
    def refused(path, says):
        with pytest.raises(DataError, match=says) as refusal:
            parquet.read(path)
        assert "\n" not in str(refusal.value)

    refused(tmp_path / "none.parquet", "there is no file or folder")
    refused(tmp_path, "holds no .parquet file")
    (tmp_path / "e.parquet").write_bytes(b"")
    refused(tmp_path / "e.parquet", "is empty")
    (tmp_path / "x.parquet").write_bytes(b"a,b\n1,2\n")
    refused(tmp_path / "x.parquet", "cannot be read as Parquet")
    pq.write_table(TABLE[:0], tmp_path / "z.parquet")
    refused(tmp_path / "z.parquet", "holds no rows")
    pq.write_table(pa.table({"f": [1.0, float("-inf")]}), tmp_path / "inf.parquet")
    refused(tmp_path / "inf.parquet", "column 'f' holds an infinity in row 2")
