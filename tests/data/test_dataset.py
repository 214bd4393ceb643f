"""Does a dataset give the same rows from memory and from disk, and the same digest for the same rows?"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError

TABLE = pa.table({"x": [1.5, None, 2.5, 3.5], "y": ["b", "a", None, "b"]})


def test_from_memory_and_from_disk(tmp_path):
    memory = Dataset.from_arrow(TABLE, target="y")
    disk = Dataset.from_parquet(memory.write_parquet(tmp_path / "new" / "t.parquet"), target="y")
    assert disk.schema == memory.schema
    assert disk.table.equals(memory.table)
    assert (len(disk), disk.digest()) == (4, memory.digest())
    assert disk.column("x").to_pylist() == [1.5, None, 2.5, 3.5]
    assert [b.num_rows for b in memory.batches(3)] == [3, 1]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["t.parquet"]


def test_several_files(tmp_path):
    for i in range(2):
        pq.write_table(TABLE, tmp_path / f"{i}.parquet")
    assert len(Dataset.from_parquet([tmp_path / "0.parquet", tmp_path / "1.parquet"])) == 8


def test_labels_take_and_pandas():
    data = Dataset.from_arrow(TABLE, target="y")
    assert data.labels().tolist() == [0, 1, -1, 0]
    assert data.take([3, 0]).column("x").to_pylist() == [3.5, 1.5]
    assert Dataset.from_pandas(pd.DataFrame({"y": ["a"]})).to_pandas().equals(pd.DataFrame({"y": ["a"]}))
    with pytest.raises(DataError, match="no categorical target"):
        Dataset.from_arrow(TABLE).labels()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.none() | st.integers(0, 5), st.none() | st.text(max_size=3)), max_size=30), st.data())
def test_digest_depends_on_the_rows_alone(rows, draw):
    table = pa.table({"i": pa.array([r[0] for r in rows], pa.int64()), "s": pa.array([r[1] for r in rows], pa.string())})
    whole = Dataset.from_arrow(table)
    cut = draw.draw(st.integers(0, len(rows)))
    pieces = pa.concat_tables([table[:cut], table[cut:]])
    assert Dataset(pa.concat_tables([table, table])[len(rows) :], whole.schema).digest() == whole.digest()
    assert Dataset(pieces.combine_chunks(), whole.schema).digest() == whole.digest()
    if rows:
        turned = whole.take(np.arange(len(rows))[::-1])
        assert (turned.digest() == whole.digest()) == (turned.table.to_pylist() == whole.table.to_pylist())


def test_digest_is_blind_to_chunks():
    whole = Dataset.from_arrow(TABLE)
    assert Dataset(pa.concat_tables([TABLE[:1], TABLE[1:]]), whole.schema).digest() == whole.digest()
