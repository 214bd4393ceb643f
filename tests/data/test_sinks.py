"""Is a version one version of a Delta or Iceberg table, with its name in it, once, however often it is written?"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data.errors import PublishError
from data.sinks import Told, delta, iceberg, plain
from tests.data.publishing import make_table
from tests.data.test_publish_objects import free_port
from tests.data.test_publish_s3 import bucket

__all__ = ["bucket"]
deltalake = pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")
SECRET = "hunter2-Tr0ub4dor"


def told(version: int) -> Told:
    return Told("d", f"v{version:06d}", "run-1", "ab" * 32, "PASS")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """host:port of an S3, in its own process: deltalake holds the GIL as it waits."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


class Delta:
    """A Delta table in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "delta/d")

    def write(self, version: int, table: pa.Table, **how: Any) -> str:
        return delta.write(iter(table.to_batches(max_chunksize=40)), table.schema, told(version), path=self.path, **how)

    def rows(self) -> pa.Table:
        return pa.table(deltalake.DeltaTable(self.path).to_pyarrow_table())

    def kept(self) -> list[str]:
        return [str(each.get("counterpoise.version")) for each in reversed(deltalake.DeltaTable(self.path).history())]


class Iceberg:
    """An Iceberg table in a catalog on SQLite."""

    def __init__(self, folder: Path) -> None:
        self.how = {"catalog": f"sqlite:///{folder}/catalog.db", "warehouse": str(folder / "warehouse"), "table": "sets.d"}
        self.store: dict[str, str] = {}

    def write(self, version: int, table: pa.Table, **how: Any) -> str:
        return iceberg.write(iter(table.to_batches(max_chunksize=40)), table.schema, told(version), **(self.how | how))

    def _table(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        return SqlCatalog("counterpoise", uri=self.how["catalog"], **self.store).load_table("sets.d")

    def rows(self) -> pa.Table:
        return pa.table(self._table().scan().to_arrow())

    def kept(self) -> list[str]:
        held = self._table()
        snapshots = {each.snapshot_id: each.summary.additional_properties for each in held.snapshots()}
        names = [snapshots[each.snapshot_id]["counterpoise.version"] for each in held.history()]
        return list(dict.fromkeys(names))


@pytest.fixture(params=[Delta, Iceberg])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return request.param(tmp_path)


def same(found: pa.Table, expected: pa.Table) -> bool:
    target = plain(expected.schema)
    one, two = (each.select(target.names).cast(target).sort_by([("age", "ascending"), ("seen", "ascending")]) for each in
                (found, expected))  # fmt: skip
    return bool(one.equals(two))


def test_each_version_takes_the_place_of_the_one_before(sink: Any) -> None:
    sink.write(1, make_table(100))
    assert same(sink.rows(), make_table(100))
    sink.write(2, make_table(150))
    assert same(sink.rows(), make_table(150))
    assert sink.kept() == ["v000001", "v000002"]


def test_a_version_that_is_there_is_not_written_again_and_an_older_one_does_not_replace_it(sink: Any) -> None:
    sink.write(2, make_table(100))
    for version in (2, 1):
        sink.write(version, make_table(30))
    assert same(sink.rows(), make_table(100)) and sink.kept() == ["v000002"]


def test_appended_versions_stand_beside_each_other_once(sink: Any) -> None:
    for version in (2, 1, 2, 1):
        sink.write(version, make_table(10 * version), mode="append")
    assert sink.rows().num_rows == 30 and sorted(sink.kept()) == ["v000001", "v000002"]


def test_levels_moments_and_pictures_come_back(sink: Any) -> None:
    table = pa.table(
        {
            "age": pa.array([1, 2, 3], pa.uint8()),
            "seen": pa.array([1, 2, None], pa.timestamp("s")),
            "city": pa.array(["a", "b", "a"]).dictionary_encode(),
            "none": pa.nulls(3),
            "image": pa.array(
                [{"bytes": b"x", "path": "a.png"}] * 3, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            ),
            "bbox": pa.array([[[1.0, 2.0]]] * 3, pa.list_(pa.list_(pa.float32()))),
        }
    )
    sink.write(1, table)
    back = sink.rows().sort_by("age").to_pydict()
    assert back["age"] == [1, 2, 3] and back["city"] == ["a", "b", "a"] and back["none"] == [None] * 3
    assert back["image"][0]["path"] == "a.png" and back["bbox"][1] == [[1.0, 2.0]]
    assert back["seen"][2] is None and back["seen"][0].second == 1


def test_a_new_column_of_a_later_version_is_taken_up(sink: Any) -> None:
    sink.write(1, make_table(10))
    more = make_table(20).append_column("extra", pa.array(["x"] * 20))
    sink.write(2, more)
    assert sink.rows().column("extra").to_pylist() == ["x"] * 20


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    """Not gathered first: of two hundred batches no more than a few are held before the first file is begun."""
    table, drawn = make_table(2000), []

    def batches() -> Iterator[pa.RecordBatch]:
        for i in range(200):
            drawn.append(i)
            yield table.to_batches()[0]

    held = Delta(tmp_path)
    delta.write(batches(), table.schema, told(1), path=held.path)
    assert len(drawn) == 200 and held.rows().num_rows == 400_000


def test_what_refuses_is_a_sentence_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    table = make_table(3)
    with pytest.raises(PublishError, match="v000001 is published, but the Delta table .* could not be written") as caught:
        delta.write(iter(table.to_batches()), table.schema, told(1), path=str(tmp_path / "file/d"))
    assert "\n" not in str(caught.value)
    url = f"postgresql+pg8000://bob:{SECRET}@127.0.0.1:1/x"
    with pytest.raises(PublishError, match="v000001 is published, but the Iceberg table a.b could not be written") as caught:
        iceberg.write(iter(table.to_batches()), table.schema, told(1), catalog=url, warehouse=str(tmp_path / "w"), table="a.b")
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


def test_a_delta_table_on_s3(bucket: Any, server: str) -> None:
    table = make_table(50)
    how = {"path": "s3://lake/delta/d", "endpoint": f"http://{server}", "region": "us-east-1"}
    for version in (1, 2, 2):
        delta.write(iter(table.to_batches()), table.schema, told(version), **how)
    options = delta._options(how["endpoint"], how["region"])
    assert deltalake.DeltaTable(how["path"], storage_options=options).version() == 1


def test_an_iceberg_warehouse_on_s3(bucket: Any, server: str, tmp_path: Path) -> None:
    held = Iceberg(tmp_path)
    held.how |= {"warehouse": "s3://lake/ice"}
    held.store = {"s3.endpoint": f"http://{server}", "s3.region": "us-east-1"}
    for version in (1, 2, 2):
        held.write(version, make_table(50), endpoint=f"http://{server}", region="us-east-1")
    assert held.kept() == ["v000001", "v000002"]
    keys = [entry["Key"] for entry in bucket.list_objects_v2(Bucket="lake").get("Contents", [])]
    assert any(key.startswith("ice/") and key.endswith(".parquet") for key in keys)
