"""Does a version appear whole, and is it what was handed in?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import PublishError
from data.publish import Publisher, public_schema, verify
from data.schema import Schema
from tests.data.publishing import make_schema, make_table, publish, rest


def test_a_version_holds_everything_that_the_house_promises(tmp_path: Path) -> None:
    publisher = Publisher(str(tmp_path / "out"), "adult")
    assert publisher.latest() is None
    assert publisher.versions() == []
    version = publish(publisher, tmp_path, rows=250, rows_per_file=100)
    folder = Path(version.uri)
    assert (version.number, version.name, version.rows) == (1, "v000001", 250)
    assert version.files == tuple(f"data/train-0000{i}-of-00003.parquet" for i in range(3))
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == sorted(
        [*version.files, "README.md", "croissant.json", "manifest.json", "report.html", "report.json"]
    )
    assert (tmp_path / "out/adult/LATEST").read_text() == "v000001\n"
    assert publisher.latest() == "v000001"
    assert publish(publisher, tmp_path).name == "v000002"
    assert publisher.versions() == ["v000001", "v000002"]
    assert verify(version.uri) == publisher.verify("v000001") == []
    assert list((tmp_path / "out/adult/.staging").iterdir()) == []


def test_the_manifest_names_every_file(tmp_path: Path) -> None:
    version = publish(Publisher(str(tmp_path / "out"), "d"), tmp_path, rows=30, rows_per_file=20)
    manifest = json.loads((Path(version.uri) / "manifest.json").read_text())
    by_path = {entry["path"]: entry for entry in manifest["files"]}
    for path, entry in by_path.items():
        content = (Path(version.uri) / path).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert [by_path[path]["rows"] for path in version.files] == [20, 10]
    assert manifest["plan"] == "name: test\n"
    assert manifest["lineage"] == {"data_sha256": "ab" * 32}
    assert manifest["data_sha256"] == version.sha256
    assert Schema.from_json(manifest["schema"]) == make_schema()


def test_the_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    table = make_table(777)
    publisher = Publisher(str(tmp_path / "out"), "d")
    version = publisher.publish(iter(table.to_batches()), **rest(tmp_path, rows_per_file=300))
    back = pq.read_table(Path(version.uri) / "data")
    assert back.replace_schema_metadata(None).equals(table)


def test_data_files_are_zstd_with_a_page_index_and_bounded_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.shards.GROUP_ROWS", 64)
    version = publish(Publisher(str(tmp_path / "out"), "d"), tmp_path, rows=200)
    with pq.ParquetFile(Path(version.uri) / version.files[0]) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [64, 64, 64, 8]
    column = groups[0].column(0)
    assert column.compression == "ZSTD"
    assert column.has_column_index
    assert column.has_offset_index


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 120), max_size=4), size=st.integers(1, 150))
def test_the_bytes_depend_on_the_rows_and_not_on_how_they_arrive(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], size: int
) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    table = make_table(120)
    codes, levels = table.column("no").combine_chunks(), pa.array([" >50K", " <=50K"])
    edges = [0, *sorted(set(cuts)), 120]
    # Each batch has a dictionary of its own, in the order in which its levels come.
    batches = [
        batch.set_column(2, "no", batch.column(2).dictionary_encode())
        for start, end in zip(edges, edges[1:], strict=False)
        for batch in table.slice(start, end - start).to_batches()
    ]
    whole = table.set_column(2, "no", pa.DictionaryArray.from_arrays(pc.index_in(codes, levels), levels))
    publisher = Publisher(str(folder), "d")
    one = publisher.publish(iter(batches), **rest(folder, rows_per_file=size))
    other = publisher.publish(iter(whole.to_batches()), **rest(folder, rows_per_file=size))
    assert one.sha256 == other.sha256
    assert [(Path(one.uri) / f).read_bytes() for f in one.files] == [(Path(other.uri) / f).read_bytes() for f in other.files]


def test_parquet_files_publish_the_same_bytes_as_batches(tmp_path: Path) -> None:
    table = make_table(500)
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(table.slice(0, 123), paths[0])
    pq.write_table(table.slice(123), paths[1])
    publisher = Publisher(str(tmp_path / "out"), "d")
    assert publisher.publish(paths, **rest(tmp_path)).sha256 == publish(publisher, tmp_path, rows=500).sha256


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.shards.GROUP_ROWS", 4096)
    batch = make_table(4096).to_batches()[0]
    peaks = []

    def watched(count: int) -> Iterator[pa.RecordBatch]:
        for _ in range(count):
            peaks.append(pa.total_allocated_bytes())
            yield batch

    publisher = Publisher(str(tmp_path / "out"), "d")
    publisher.publish(watched(8), **rest(tmp_path))
    few, start = max(peaks), len(peaks)
    publisher.publish(watched(80), **rest(tmp_path))
    assert max(peaks[start:]) < few + 4 * batch.nbytes


def test_quarantine_is_never_a_version(tmp_path: Path) -> None:
    publisher = Publisher(str(tmp_path / "out"), "d")
    facts = {"purpose": "augment", "verdict": "BLOCK", "reason": "a mode is missing"}
    for rows in (10, 20):
        aside = publisher.quarantine(iter(make_table(rows).to_batches()), **rest(tmp_path, facts=facts))
        assert aside.uri == str(tmp_path / "out/d/quarantine/run-1")
        assert pq.read_table(Path(aside.uri) / "data").num_rows == rows
        assert verify(aside.uri) == []
    assert "Quarantined" in (Path(aside.uri) / "README.md").read_text()
    assert json.loads((Path(aside.uri) / "manifest.json").read_text())["version"] is None
    assert publisher.versions() == []
    assert publisher.latest() is None
    assert list((tmp_path / "out/d/.staging").iterdir()) == []


@pytest.mark.parametrize("verdict", ["BLOCK", "INCONCLUSIVE", "ERROR"])
def test_only_what_passed_is_published(tmp_path: Path, verdict: str) -> None:
    with pytest.raises(PublishError, match=verdict):
        publish(Publisher(str(tmp_path / "out"), "d"), tmp_path, facts={"verdict": verdict})
    assert not (tmp_path / "out").exists()


def test_a_release_holds_no_real_row_and_no_real_extreme(tmp_path: Path) -> None:
    publisher = Publisher(str(tmp_path / "out"), "d")
    facts = {"purpose": "release", "verdict": "PASS"}
    with pytest.raises(PublishError, match="synthetic rows only"):
        publish(publisher, tmp_path, facts=facts)
    schema = make_schema().overrule({"age": {"low": 0, "high": 120}})
    drawn = make_table(40, synthetic=True)
    version = publisher.publish(iter(drawn.to_batches()), **rest(tmp_path, facts=facts, schema=schema))
    manifest = json.loads((Path(version.uri) / "manifest.json").read_text())
    columns = {column["name"]: column for column in manifest["schema"]["columns"]}
    assert (columns["age"]["low"], columns["age"]["high"]) == (0, 120)
    assert (columns["pay, €"]["low"], columns["pay, €"]["high"]) == (None, None)
    assert columns["no"]["categories"] == []
    assert "99.5" not in json.dumps(manifest["schema"])
    assert Schema.from_json(manifest["schema"]).names == schema.names
    assert public_schema(schema, "augment") == schema.to_json()


def test_augment_needs_the_mark(tmp_path: Path) -> None:
    table = make_table(10).drop_columns(["is_synthetic"])
    with pytest.raises(PublishError, match="is_synthetic"):
        Publisher(str(tmp_path / "out"), "d").publish(iter(table.to_batches()), **rest(tmp_path))


@pytest.mark.parametrize("damage", ["change", "remove", "add", "manifest"])
def test_verify_sees_damage(tmp_path: Path, damage: str) -> None:
    version = publish(Publisher(str(tmp_path / "out"), "d"), tmp_path)
    folder = Path(version.uri)
    data = folder / version.files[0]
    if damage == "change":
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "remove":
        data.unlink()
    elif damage == "add":
        (folder / "data" / "extra.parquet").write_bytes(b"x")
    else:
        (folder / "manifest.json").unlink()
    problems = verify(version.uri)
    assert len(problems) == 1
    assert {"change": "sha256", "remove": "cannot be read", "add": "not in the manifest", "manifest": "no complete version"}[
        damage
    ] in problems[0]


# What a user can cause: one sentence, and nothing left behind.
