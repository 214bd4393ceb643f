"""Does a version appear whole or not at all, and is it what was handed in?"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import stores
from data.errors import PublishError
from data.publish import Publisher, Version, public_schema, verify
from data.schema import Column, Schema

ROOT = Path(__file__).resolve().parents[2]


def make_schema() -> Schema:
    return Schema(
        (
            Column(name="age", kind="integer", dtype="int64", low=17, high=90),
            Column(name="pay, €", kind="numeric", dtype="double", low=0.25, high=99.5, decimals=2, nullable=True),
            Column(name="no", kind="categorical", dtype="string", categories=(" <=50K", " >50K")),
            Column(name="seen", kind="datetime", dtype="timestamp[ms]"),
        ),
        target="no",
    )


def make_table(rows: int, synthetic: bool | None = None) -> pa.Table:
    return pa.table(
        {
            "age": pa.array([17 + i % 70 for i in range(rows)], pa.int64()),
            "pay, €": pa.array([None if i % 7 == 0 else i / 4 for i in range(rows)], pa.float64()),
            "no": pa.array([" >50K" if i % 3 == 0 else " <=50K" for i in range(rows)]),
            "seen": pa.array([i * 1000 - 10**12 for i in range(rows)], pa.timestamp("ms")),
            "is_synthetic": pa.array([i % 2 == 1 if synthetic is None else synthetic for i in range(rows)]),
        }
    )


def rest(folder: Path, **changes: Any) -> dict[str, Any]:
    """All that publish takes beside the rows."""
    html = folder / "report-of-the-run.html"
    html.write_text("<html>report</html>")
    value: dict[str, Any] = {
        "schema": make_schema(),
        "run_id": "run-1",
        "report_json": b'{"verdict": "PASS"}',
        "report_html": html,
        "facts": {"purpose": "augment", "verdict": "PASS", "reason": "nothing is missing", "family": "gan", "seed": 7},
        "lineage": {"data_sha256": "ab" * 32},
        "plan_yaml": "name: test\n",
    }
    return value | changes


def publish(publisher: Publisher, folder: Path, rows: int = 100, **changes: Any) -> Version:
    return publisher.publish(iter(make_table(rows).to_batches()), **rest(folder, **changes))


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


def assert_untouched(root: Path, latest: str | None = None) -> None:
    folder = root / "d"
    assert (folder / "LATEST").exists() == (latest is not None)
    if latest:
        assert (folder / "LATEST").read_text().strip() == latest
    staging = folder / ".staging"
    assert not staging.exists() or list(staging.iterdir()) == []
    assert [p.name for p in folder.glob("v*")] == ([latest] if latest else [])


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(PublishError, match="is a file where a folder is needed"):
        publish(Publisher(str(tmp_path / "out"), "d"), tmp_path)
    assert (tmp_path / "out").read_text() == "I am a file"


def test_no_rows_is_one_sentence(tmp_path: Path) -> None:
    publisher = Publisher(str(tmp_path / "out"), "d")
    for parts in ([], make_table(3).slice(0, 0).to_batches()):
        with pytest.raises(PublishError, match="no row to publish"):
            publisher.publish(iter(parts), **rest(tmp_path))
    assert_untouched(tmp_path / "out")


def test_missing_parts_and_reports_are_one_sentence(tmp_path: Path) -> None:
    publisher = Publisher(str(tmp_path / "out"), "d")
    with pytest.raises(PublishError, match="gone.parquet is missing"):
        publisher.publish([tmp_path / "gone.parquet"], **rest(tmp_path))
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(PublishError, match="not a whole Parquet file"):
        publisher.publish([tmp_path / "half.parquet"], **rest(tmp_path))
    with pytest.raises(PublishError, match="without its report"):
        publish(publisher, tmp_path, report_html=tmp_path / "no.html")
    assert_untouched(tmp_path / "out")


def test_columns_that_change_on_the_way_are_one_sentence(tmp_path: Path) -> None:
    table = make_table(10)
    other = table.set_column(0, "age", table.column("age").cast(pa.float64()))
    with pytest.raises(PublishError, match="'age' was int64 and then double"):
        Publisher(str(tmp_path / "out"), "d").publish(iter([*table.to_batches(), *other.to_batches()]), **rest(tmp_path))
    assert_untouched(tmp_path / "out")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".staging", "x" * 200])
def test_names_that_are_no_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PublishError, match="cannot name a folder"):
        publish(Publisher(str(tmp_path / "out"), name), tmp_path)
    with pytest.raises(PublishError, match="cannot name a folder"):
        publish(Publisher(str(tmp_path / "out"), "d"), tmp_path, run_id=name)


@pytest.mark.parametrize(
    ("code", "words"),
    [("ENOSPC", "disk .* is full"), ("EDQUOT", "is full"), ("EROFS", "read-only"), ("EACCES", "permission"), ("EIO", "output")],
)
@pytest.mark.parametrize("where", ["sync_tree", "sync_folder", "shutil.copyfile"])
def test_what_the_disk_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str, where: str
) -> None:
    publisher = Publisher(str(tmp_path / "out"), "d")
    publish(publisher, tmp_path)
    number = getattr(errno, code)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(where if "." in where else f"data.stores.{where}", refuse)
        with pytest.raises(PublishError, match=words) as caught:
            publish(publisher, tmp_path)
    assert "\n" not in str(caught.value)
    assert_untouched(tmp_path / "out", "v000001")
    assert publish(publisher, tmp_path).name == "v000002"


def test_a_full_file_system_leaves_nothing_behind(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        publisher = Publisher(str(small), "d")
        publish(publisher, tmp_path, rows=50)
        count = 200_000
        noise = pa.table({"is_synthetic": [True] * count, "x": range(count), "y": [os.urandom(6) for _ in range(count)]})
        schema = Schema((Column(name="x", kind="integer", dtype="int64"),))
        with pytest.raises(PublishError, match=r"disk .* is full .*MB free"):
            publisher.publish(iter(noise.to_batches()), **rest(tmp_path, schema=schema))
        assert_untouched(small, "v000001")
        assert publisher.verify("v000001") == []
        assert publish(publisher, tmp_path, rows=50).name == "v000002"
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True, capture_output=True)
        with pytest.raises(PublishError, match="read-only"):
            publish(publisher, tmp_path, rows=50)
        assert publisher.latest() == "v000002"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_failing_generator_leaves_nothing_and_is_not_disguised(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from make_table(10).to_batches()
        raise ZeroDivisionError("from the generator")

    with pytest.raises(ZeroDivisionError):
        Publisher(str(tmp_path / "out"), "d").publish(broken(), **rest(tmp_path))
    assert_untouched(tmp_path / "out")


# Several at once, and the sudden end of one.


def _publish_some(root: str, folder: str, count: int) -> list[str]:
    publisher = Publisher(root, "d")
    return [publish(publisher, Path(folder), rows=20).name for _ in range(count)]


def test_publishers_at_once_get_distinct_numbers(tmp_path: Path) -> None:
    folders = [tmp_path / f"worker{i}" for i in range(4)]
    for folder in folders:
        folder.mkdir()
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_publish_some, str(tmp_path / "out"), str(folder), 5) for folder in folders]
        names = [name for job in jobs for name in job.result()]
    publisher = Publisher(str(tmp_path / "out"), "d")
    assert sorted(names) == publisher.versions() == [f"v{i:06d}" for i in range(1, 21)]
    assert publisher.latest() == "v000020"
    assert all(publisher.verify(name) == [] for name in names)


def test_latest_never_moves_backwards(tmp_path: Path) -> None:
    store = stores.LocalStore(tmp_path, "d")
    (tmp_path / "d").mkdir()
    for number, expected in ((3, "v000003"), (2, "v000003"), (11, "v000011"), (11, "v000011")):
        store._point(number)
        assert store.latest() == expected


KILLED = """
import sys, time
sys.path[:0] = [{root!r}]
from pathlib import Path
from data.publish import Publisher
from tests.data import test_publish
def slowly():
    yield from test_publish.make_table(2000).to_batches(max_chunksize=50)
    print("ready", flush=True)
    time.sleep(600)
Publisher(sys.argv[1], "d").publish(slowly(), **test_publish.rest(Path(sys.argv[2])), rows_per_file=100)
"""


def test_a_killed_publisher_leaves_the_versions_as_they_were(tmp_path: Path) -> None:
    publisher = Publisher(str(tmp_path / "out"), "d")
    publish(publisher, tmp_path)
    code = KILLED.format(root=str(ROOT))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out"), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    staging = tmp_path / "out/d/.staging"
    assert len(list(staging.glob("*/data/*.parquet"))) > 5
    # A living publisher's folder is left alone by the next one.
    assert publish(publisher, tmp_path).name == "v000002"
    assert len(list(staging.glob("*/data/*.parquet"))) > 5
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert publisher.versions() == ["v000001", "v000002"]
    assert publisher.latest() == "v000002"
    assert publish(publisher, tmp_path).name == "v000003"
    assert list(staging.iterdir()) == []
    assert publisher.verify("v000003") == []


def test_a_reader_never_sees_half_a_version(tmp_path: Path) -> None:
    """While versions are being published, whatever LATEST names is complete."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        job = pool.submit(_publish_some, str(tmp_path / "out"), str(tmp_path), 15)
        publisher, seen = Publisher(str(tmp_path / "out"), "d"), set()
        end = time.monotonic() + 60
        while not job.done() and time.monotonic() < end:
            if name := publisher.latest():
                seen.add(name)
                assert publisher.verify(name) == []
    assert job.result()[-1] == publisher.latest()
    assert len(seen) > 2


# Others read it.


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hugging Face's library without network, its cache in the test's own folder."""
    pytest.importorskip("datasets")
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


def test_hugging_face_reads_a_version(tmp_path: Path, offline: Path) -> None:
    from datasets import load_dataset

    table = make_table(250)
    whole = table.set_column(2, "no", table.column("no").dictionary_encode())
    version = Publisher(str(tmp_path / "out"), "d").publish(iter(whole.to_batches()), **rest(tmp_path, rows_per_file=100))
    by_folder = load_dataset(version.uri, split="train", cache_dir=str(offline))
    by_files = load_dataset(
        "parquet", data_files=[f"{version.uri}/{f}" for f in version.files], split="train", cache_dir=str(offline)
    )
    for rows in (by_folder, by_files):
        assert rows.to_list() == table.to_pylist()
        assert {name: f.dtype for name, f in rows.features.items()} == {
            "age": "int64", "pay, €": "float64", "no": "string", "seen": "timestamp[ms]", "is_synthetic": "bool",
        }  # fmt: skip


def make_images(count: int) -> tuple[pa.Table, Schema]:
    image = pytest.importorskip("PIL.Image")
    cells = []
    for i in range(count):
        buffer = io.BytesIO()
        image.new("RGB", (8, 6), (i, 0, 255 - i)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": f"{i}.png"})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    boxes = [[[0.0, 1.0, 2.0, float(i)]] for i in range(count)]
    table = pa.table(
        {
            "image": pa.array(cells, kind),
            "label": ["scratch", "dent"] * (count // 2),
            "boxes": pa.array(boxes, pa.list_(pa.list_(pa.float32()))),
            "is_synthetic": [True] * count,
        }
    )
    columns = (
        Column(name="image", kind="image", dtype="struct"),
        Column(name="label", kind="categorical", dtype="string", categories=("scratch", "dent")),
    )
    return table, Schema(columns, target="label")


def test_hugging_face_decodes_images(tmp_path: Path, offline: Path) -> None:
    from datasets import load_dataset

    table, schema = make_images(6)
    version = Publisher(str(tmp_path / "out"), "d").publish(iter(table.to_batches()), **rest(tmp_path, schema=schema))
    for source in ({"path": version.uri}, {"path": "parquet", "data_files": [f"{version.uri}/{version.files[0]}"]}):
        rows = load_dataset(**source, split="train", cache_dir=str(offline))
        assert type(rows.features["image"]).__name__ == "Image"
        assert rows[4]["image"].size == (8, 6)
        assert rows[4]["image"].getpixel((0, 0)) == (4, 0, 251)
        assert rows["label"][:2] == ["scratch", "dent"]
        assert rows[5]["boxes"] == [[0.0, 1.0, 2.0, 5.0]]


def test_croissant_is_valid_and_its_records_read_back(tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    version = publish(Publisher(str(tmp_path / "out"), "d"), tmp_path, rows=50, rows_per_file=20)
    described = croissant.Dataset(jsonld=str(Path(version.uri) / "croissant.json"))
    assert described.metadata.ctx.issues.errors == set()
    assert str(described.metadata.ctx.conforms_to.value).endswith("/1.1")
    records = list(described.records("rows"))
    expected = make_table(50).to_pylist()
    assert [r["rows/age"] for r in records] == [e["age"] for e in expected]
    assert [r["rows/no"].decode() for r in records] == [e["no"] for e in expected]
    assert [r["rows/is_synthetic"] for r in records] == [e["is_synthetic"] for e in expected]


def test_croissant_reads_images(tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    table, schema = make_images(4)
    version = Publisher(str(tmp_path / "out"), "d").publish(iter(table.to_batches()), **rest(tmp_path, schema=schema))
    described = croissant.Dataset(jsonld=str(Path(version.uri) / "croissant.json"))
    assert described.metadata.ctx.issues.errors == set()
    assert [r["rows/image"].size for r in described.records("rows")] == [(8, 6)] * 4
