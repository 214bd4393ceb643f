"""Does a version on Google's or Azure's store appear whole or not at all, and do two publishers at once get two numbers?

Google's is an emulator that Arrow's own client speaks to. Of Azure's there is none to install: there a file system in memory
stands behind the same code, and of Arrow's client only what it is told is looked at."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from data import objects, remote
from data.errors import DataError, PublishError
from data.objects import ObjectStore
from data.publish import Publisher, verify
from data.stores import POINTER
from tests.data.publishing import make_table, publish

pytest.importorskip("gcp_storage_emulator")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    """The address of a store that speaks as Google's does, in its own process: Arrow holds the GIL as it reads."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


def made(host: str, test: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket of Google's, where versions may lie."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
    name = f"lake{abs(hash(test)) % 10**8}"
    wanted = json.dumps({"name": name}).encode()
    urlopen(Request(f"{host}/storage/v1/b?project=p", wanted, {"Content-Type": "application/json"})).close()
    return f"gs://{name}/sets"


@pytest.fixture(params=["google", "azure"])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket or container."""
    if request.param == "google":
        return made(request.getfixturevalue("google"), request.node.name, monkeypatch)
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    held = DirFileSystem(f"/{abs(hash(request.node.name))}", MemoryFileSystem())
    monkeypatch.setattr(remote, "_azure", lambda netloc, endpoint: fs.PyFileSystem(fs.FSSpecHandler(held)))
    return "abfs://lake@account.dfs.core.windows.net/sets"


def names(publisher: Publisher) -> list[str]:
    store = publisher.store()
    assert isinstance(store, ObjectStore)
    found = store.filesystem.get_file_info(fs.FileSelector(store.path(), recursive=True))
    return sorted(entry.path.strip("/").removeprefix(store.path()).strip("/") for entry in found if entry.is_file)


def test_a_version_there_is_the_version_on_disk(root: str, tmp_path: Path) -> None:
    to = Publisher(root, "adult")
    assert (to.latest(), to.versions()) == (None, [])
    version = publish(to, tmp_path, rows=250, rows_per_file=100)
    local = publish(Publisher(str(tmp_path / "out"), "adult"), tmp_path, rows=250, rows_per_file=100)
    assert version.uri == f"{root}/adult/v000001"
    assert (version.sha256, version.files, version.rows) == (local.sha256, local.files, 250)
    whole = [*version.files, "README.md", "croissant.json", "manifest.json", "report.html", "report.json"]
    assert [n for n in names(to) if not n.startswith(".claims/")] == sorted(["LATEST", *(f"v000001/{name}" for name in whole)])
    assert publish(to, tmp_path).name == to.latest() == "v000002"
    assert to.versions() == ["v000001", "v000002"] and to.store().versions(1) == ["v000002"]
    assert to.verify("v000001") == verify(version.uri) == []
    assert to.resume("run-1", after=1) is not None and to.resume("run-2", after=0) is None
    store = to.store()
    assert isinstance(store, ObjectStore)
    back = pq.read_table(store.path("v000001/data"), filesystem=store.filesystem)
    assert back.replace_schema_metadata(None).equals(make_table(250))


def test_a_file_that_is_being_written_is_waited_for(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = Publisher(root, "adult")
    publish(to, tmp_path)
    publish(to, tmp_path)
    store = to.store()
    assert isinstance(store, ObjectStore)
    store._write(POINTER, "")
    monkeypatch.setattr(objects.time, "sleep", lambda seconds: store._write(POINTER, "v000001\n"))
    assert to.latest() == "v000001"
    monkeypatch.setattr(objects.time, "sleep", lambda seconds: None)
    store._write(POINTER, "")
    assert to.latest() == "v000002", "the writer was killed"
    store._write("v000002/manifest.json", "")
    assert (to.versions(), to.latest()) == (["v000001"], "v000001")
    assert publish(to, tmp_path).name == to.latest() == "v000003"


def test_a_file_that_was_changed_there_is_found(root: str, tmp_path: Path) -> None:
    to = Publisher(root, "adult")
    publish(to, tmp_path)
    store = to.store()
    assert isinstance(store, ObjectStore)
    store._write("v000001/README.md", "changed")
    store._write("v000001/more.txt", "added")
    said = to.verify("v000001")
    assert said == ["README.md does not have the sha256 of the manifest", "more.txt is not in the manifest"]


def test_what_a_tag_or_latest_names_is_not_removed(root: str, tmp_path: Path) -> None:
    to = Publisher(root, "adult")
    for _ in range(3):
        publish(to, tmp_path)
    store = to.store()
    store.tag("good", "v000001")
    assert store.tags() == {"good": "v000001"}
    for name in ("v000001", "v000003"):
        with pytest.raises(PublishError, match="is what LATEST or a tag names; it stays"):
            store.remove(name)
    store.remove("v000002")
    assert to.versions() == ["v000001", "v000003"]
    store.tag("good", None)
    store.remove("v000001")
    assert (store.tags(), to.versions()) == ({}, ["v000003"])
    assert publish(to, tmp_path).name == "v000004"


def test_quarantine_there_is_no_version(root: str, tmp_path: Path) -> None:
    from tests.data.publishing import rest

    to = Publisher(root, "adult")
    blocked = rest(tmp_path)
    blocked["facts"] = blocked["facts"] | {"verdict": "BLOCK"}
    for _ in range(2):
        aside = to.quarantine(iter(make_table(20).to_batches()), **blocked)
    assert aside.uri == f"{root}/adult/quarantine/run-1"
    assert list(to.store().placed()) == ["quarantine/run-1"]
    to.store().remove("quarantine/run-1")
    assert list(to.store().placed()) == []
    assert (to.latest(), to.versions()) == (None, [])
    with pytest.raises(PublishError, match="verdict BLOCK"):
        to.publish(iter(make_table(20).to_batches()), **blocked)


@pytest.mark.parametrize("publishers", [2, 8])
def test_publishers_at_once_lose_nothing(root: str, tmp_path: Path, publishers: int) -> None:
    def one(i: int) -> Any:
        (tmp_path / str(i)).mkdir()
        return publish(Publisher(root, "adult"), tmp_path / str(i), rows=10 + i, run_id=f"run-{i}")

    with ThreadPoolExecutor(publishers) as pool:
        made = list(pool.map(one, range(publishers)))
    to = Publisher(root, "adult")
    assert len({version.name for version in made}) == publishers
    assert to.versions() == sorted(version.name for version in made)
    assert to.latest() == max(to.versions())
    for version in made:
        manifest = json.loads(to.store().text(f"{version.name}/manifest.json") or "{}")
        assert (manifest["rows"], to.verify(version.name)) == (version.rows, [])


def test_two_claims_that_see_each_other_both_give_way(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of writes and listings in which both see both, forced."""
    one, two = ObjectStore(root, "d"), ObjectStore(root, "d")
    real, met = ObjectStore._write, []

    def write(store: ObjectStore, name: str, text: str) -> None:
        real(store, name, text)
        if not met:
            met.append(name)
            assert two._claimed(1) is False

    monkeypatch.setattr(ObjectStore, "_write", write)
    assert one._claimed(1) is False
    assert one._claimed(2) is True and two._claimed(2) is False
    assert one._numbers() == [1, 2] and one.versions() == []


@pytest.mark.parametrize("at", ["data/train-00000-of-00001.parquet", "manifest.json", "LATEST"])
def test_a_failure_leaves_no_half_a_version(root: str, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    to = Publisher(root, "adult")
    publish(to, tmp_path)
    whole, point = ObjectStore.path, ObjectStore._point
    gone: list[str] = []
    if at == "LATEST":
        monkeypatch.setattr(ObjectStore, "_point", lambda *_: (_ for _ in ()).throw(OSError("the network is gone")))
    else:

        def path(store: ObjectStore, name: str = "") -> str:
            if name.endswith(at) and "v000002" in name and not gone:
                gone.append(name)
                raise OSError("the network is gone")
            return whole(store, name)

        monkeypatch.setattr(ObjectStore, "path", path)
    with pytest.raises(PublishError, match="cannot publish to .*the network is gone; check the bucket"):
        publish(to, tmp_path)
    monkeypatch.setattr(ObjectStore, "path", whole)
    monkeypatch.setattr(ObjectStore, "_point", point)
    assert to.versions() == ["v000001"] and to.latest() == "v000001"
    assert not [name for name in names(to) if name.startswith("v000002")]
    assert publish(to, tmp_path).name == to.latest() == "v000003"


def test_addresses_lead_to_clients_with_the_environments_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(fs, "AzureFileSystem", lambda account, **options: told.append({"account": account, **options}))
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError, match="names no account of Azure; set AZURE_STORAGE_ACCOUNT"):
        remote.opened("az://lake/x")
    assert remote.opened("abfs://lake@one.dfs.core.windows.net/a/b/")[1] == "lake/a/b"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "two")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1")
    assert remote.opened("az://lake/x")[1] == "lake/x"
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    remote.opened("az://lake", endpoint="http://127.0.0.1:10000")
    local = {f"{kind}_storage_{part}": value for kind in ("blob", "dfs") for part, value in
             (("authority", "127.0.0.1:10000"), ("scheme", "http"))}  # fmt: skip
    assert told == [
        {"account": "one"}, {"account": "two", "sas_token": "sv=1"}, {"account": "two", "account_key": "a2V5", **local},
    ]  # fmt: skip
    with pytest.raises(DataError, match="names no bucket or container; write gs://bucket/prefix"):
        remote.opened("gs:///x")
    with pytest.raises(PublishError, match="neither a folder nor s3://, gs:// or az://"):
        Publisher("ftp://x/y", "d").store()


def test_a_store_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(remote, "PATIENCE", 1)
    with pytest.raises(PublishError, match="cannot publish to gs://none/d: .*check the bucket, the credentials") as caught:
        publish(Publisher("gs://none", "d"), tmp_path)
    assert "\n" not in str(caught.value)
