"""Does a version that cannot be written, or is killed, leave nothing half-written behind?"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest

from data import stores
from data.errors import PublishError
from data.publish import Publisher
from data.schema import Column, Schema
from tests.data.publishing import ROOT, assert_untouched, make_table, publish, rest


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


def test_a_publisher_that_finishes_meanwhile_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(publisher := Publisher(str(tmp_path / "out"), "d"), tmp_path)
    listed = Path.glob

    def gone_once_seen(place: Path, pattern: str) -> Iterator[Path]:
        if pattern == "*.lock":
            yield place / "run-1-finished.lock"
        yield from listed(place, pattern)

    monkeypatch.setattr(Path, "glob", gone_once_seen)
    assert publish(publisher, tmp_path).name == "v000002"


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
from tests.data import publishing
def slowly():
    yield from publishing.make_table(2000).to_batches(max_chunksize=50)
    print("ready", flush=True)
    time.sleep(600)
Publisher(sys.argv[1], "d").publish(slowly(), **publishing.rest(Path(sys.argv[2])), rows_per_file=100)
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
