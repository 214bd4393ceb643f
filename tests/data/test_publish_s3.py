"""Does a version on S3 appear whole or not at all, even when the service fails or another publisher is there too?"""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.errors import PublishError
from data.publish import Publisher, verify
from data.s3 import S3Store
from tests.data.test_publish import make_table, publish, rest

moto = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """host:port of an S3 of our own."""
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield f"127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A fresh bucket "lake", and the credentials in the environment."""
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    urllib.request.urlopen(urllib.request.Request(f"http://{server}/moto-api/reset", method="POST"))  # noqa: S310
    client = boto3.client("s3", endpoint_url=f"http://{server}", region_name="us-east-1")
    client.create_bucket(Bucket="lake")
    yield client


def publisher(endpoint: str, root: str = "s3://lake/sets", **changes: Any) -> Publisher:
    options = {"endpoint_override": endpoint, "region": "us-east-1", "scheme": "http", "attempts": 3, "pause": 0.01}
    return Publisher(root, "adult", **(options | changes))


def keys(client: Any) -> list[str]:
    return sorted(entry["Key"] for entry in client.list_objects_v2(Bucket="lake").get("Contents", []))


def test_a_version_on_s3_is_the_version_on_disk(bucket: Any, server: str, tmp_path: Path) -> None:
    to = publisher(server)
    assert (to.latest(), to.versions()) == (None, [])
    version = publish(to, tmp_path, rows=250, rows_per_file=100)
    local = publish(Publisher(str(tmp_path / "out"), "adult"), tmp_path, rows=250, rows_per_file=100)
    assert version.uri == "s3://lake/sets/adult/v000001"
    assert (version.sha256, version.files, version.rows) == (local.sha256, local.files, 250)
    names = sorted([*version.files, "README.md", "croissant.json", "manifest.json", "report.html", "report.json", ".claim"])
    assert keys(bucket) == ["sets/adult/LATEST", *(f"sets/adult/v000001/{name}" for name in names)]
    assert bucket.get_object(Bucket="lake", Key="sets/adult/LATEST")["Body"].read() == b"v000001\n"
    assert publish(to, tmp_path).name == to.latest() == "v000002"
    assert to.versions() == ["v000001", "v000002"]
    assert to.verify("v000001") == []
    assert verify(version.uri, endpoint_override=server, scheme="http", region="us-east-1") == []
    store = to.store()
    assert isinstance(store, S3Store)
    back = pq.read_table("lake/sets/adult/v000001/data", filesystem=store.filesystem)
    assert back.replace_schema_metadata(None).equals(make_table(250))


def test_the_bucket_itself_can_be_the_root(bucket: Any, server: str, tmp_path: Path) -> None:
    assert publish(publisher(server, "s3://lake"), tmp_path).uri == "s3://lake/adult/v000001"
    assert publisher(server, "s3://lake/").latest() == "v000001"


def test_quarantine_on_s3_is_never_a_version(bucket: Any, server: str, tmp_path: Path) -> None:
    to = publisher(server)
    facts = {"verdict": "BLOCK", "reason": "a mode is missing"}
    for rows in (40, 10):
        aside = to.quarantine(iter(make_table(rows).to_batches()), **rest(tmp_path, facts=facts, rows_per_file=20))
    assert aside.uri == "s3://lake/sets/adult/quarantine/run-1"
    assert sum(key.endswith(".parquet") for key in keys(bucket)) == 1
    assert verify(aside.uri, endpoint_override=server, scheme="http", region="us-east-1") == []
    assert (to.latest(), to.versions()) == (None, [])


def test_verify_sees_damage_on_s3(bucket: Any, server: str, tmp_path: Path) -> None:
    version = publish(publisher(server), tmp_path)
    bucket.put_object(Bucket="lake", Key=f"sets/adult/v000001/{version.files[0]}", Body=b"something else")
    bucket.delete_object(Bucket="lake", Key="sets/adult/v000001/report.html")
    problems = publisher(server).verify("v000001")
    assert len(problems) == 2
    assert "sha256" in problems[0]
    assert "report.html cannot be read" in problems[1]


def test_a_prefix_without_manifest_is_no_version(bucket: Any, server: str, tmp_path: Path) -> None:
    """What a publisher killed in the middle leaves: its number is passed over."""
    bucket.put_object(Bucket="lake", Key="sets/adult/v000001/.claim", Body=b"somebody's")
    bucket.put_object(Bucket="lake", Key="sets/adult/v000001/data/train-00000-of-00001.parquet", Body=b"half")
    to = publisher(server)
    assert (to.latest(), to.versions()) == (None, [])
    assert publish(to, tmp_path).name == "v000002"
    assert to.versions() == ["v000002"]
    assert "no complete version" in to.verify("v000001")[0]


def test_publishers_at_once_on_s3_get_distinct_numbers(bucket: Any, server: str, tmp_path: Path) -> None:
    folders = [tmp_path / f"worker{i}" for i in range(4)]
    for folder in folders:
        folder.mkdir()
    # Room for moto's own hiccups under many threads; a lost race is no failed attempt.
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda folder: publish(publisher(server), folder, rows=20).name, folders * 2))
    to = publisher(server)
    assert len(set(names)) == 8
    assert sorted(names) == to.versions()
    assert to.latest() == max(names)
    assert all(to.verify(name) == [] for name in names)


def test_latest_on_s3_never_moves_backwards(bucket: Any, server: str) -> None:
    store = publisher(server).store()
    assert isinstance(store, S3Store)
    for number, expected in ((3, "v000003"), (2, "v000003"), (11, "v000011"), (11, "v000011")):
        store._point(number)
        assert store.latest() == expected


def test_a_lost_race_for_latest_is_run_again(bucket: Any, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our look at LATEST and our put another publisher moves it on."""
    store = publisher(server).store()
    assert isinstance(store, S3Store)
    look, others = S3Store._pointer, iter([4, 9])

    def look_and_lose(self: S3Store) -> tuple[str | None, str | None]:
        seen = look(self)
        for number in others:
            bucket.put_object(Bucket="lake", Key="sets/adult/LATEST", Body=f"v{number:06d}\n".encode())
            break
        return seen

    monkeypatch.setattr(S3Store, "_pointer", look_and_lose)
    store._point(7)
    monkeypatch.undo()
    assert bucket.get_object(Bucket="lake", Key="sets/adult/LATEST")["Body"].read() == b"v000009\n"


def test_a_claim_that_is_lost_takes_the_next_number(bucket: Any, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = publisher(server).store()
    assert isinstance(store, S3Store)
    for number in (1, 2):
        bucket.put_object(Bucket="lake", Key=f"sets/adult/v{number:06d}/.claim", Body=b"another's")
    monkeypatch.setattr(S3Store, "_numbers", lambda self: [])
    assert store._claim() == 3


def test_a_missing_bucket_is_one_sentence(bucket: Any, server: str, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match=r"cannot publish to s3://puddle/adult: the bucket does not exist") as caught:
        publish(publisher(server, "s3://puddle"), tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(PublishError, match="names no bucket"):
        publish(publisher(server, "s3:///x"), tmp_path)
    with pytest.raises(PublishError, match="neither a folder nor"):
        publish(publisher(server, "ftp://lake"), tmp_path)


def test_missing_credentials_are_one_sentence(
    bucket: Any, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PublishError, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID"):
        publish(publisher(server), tmp_path)


def test_nobody_listening_is_one_sentence(bucket: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PublishError, match="cannot be reached") as caught:
            publish(publisher(f"127.0.0.1:{taken.getsockname()[1]}"), tmp_path)
    assert "\n" not in str(caught.value)


# A service that answers 503.


@dataclass
class Busy:
    """Stands before the real server. `refuse(method, path)` says which requests are answered 503 without being passed on,
    `lose` which are carried out though their answer is lost."""

    endpoint: str = ""
    refuse: Any = lambda method, path: False
    lose: Any = lambda method, path: False
    seen: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def busy(server: str) -> Iterator[Busy]:
    state = Busy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return None

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def handle_any(self) -> None:
            body = self.body()
            state.seen.append((self.command, self.path))
            sorry = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
            if state.refuse(self.command, self.path):
                return self.answer(503, {"Content-Type": "application/xml"}, sorry)
            inner = HTTPConnection(server, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("expect", "connection", "transfer-encoding")}
            inner.request(self.command, self.path, body=body, headers=headers)
            answer = inner.getresponse()
            content = answer.read()
            inner.close()
            if state.lose(self.command, self.path):
                return self.answer(503, {"Content-Type": "application/xml"}, sorry)
            return self.answer(answer.status, dict(answer.getheaders()), content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    front.daemon_threads = True
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    state.endpoint = f"127.0.0.1:{front.server_address[1]}"
    try:
        yield state
    finally:
        front.shutdown()
        front.server_close()
        thread.join()


class FirstTimes:
    """True for the first `times` requests that match."""

    def __init__(self, times: int, *marks: str) -> None:
        self.left, self.marks = times, marks

    def __call__(self, method: str, path: str) -> bool:
        hit = self.left > 0 and all(mark in f"{method} {path}" for mark in self.marks)
        self.left -= hit
        return hit


def test_a_service_that_is_always_busy_is_one_sentence(bucket: Any, server: str, tmp_path: Path) -> None:
    with busy(server) as front:
        front.refuse = lambda method, path: True
        with pytest.raises(PublishError, match=r"the service answered 503 \(SlowDown\) to every attempt") as caught:
            publish(publisher(front.endpoint), tmp_path)
        assert "\n" not in str(caught.value)
        assert len(front.seen) == 3
    assert keys(bucket) == []


@pytest.mark.parametrize("marks", ["GET list-type", "PUT .claim", ".parquet", "PUT manifest", "PUT LATEST"])
def test_a_service_that_is_busy_for_a_while_is_waited_for(bucket: Any, server: str, tmp_path: Path, marks: str) -> None:
    with busy(server) as front:
        front.refuse = FirstTimes(2, *marks.split())
        assert publish(publisher(front.endpoint), tmp_path).name == "v000001"
        assert front.refuse.left == 0
    assert publisher(server).verify("v000001") == []
    assert publisher(server).latest() == "v000001"


@pytest.mark.parametrize("name", [".claim", "LATEST"])
def test_a_put_whose_answer_is_lost_is_known_for_ours(bucket: Any, server: str, tmp_path: Path, name: str) -> None:
    with busy(server) as front:
        front.lose = FirstTimes(1, "PUT", name)
        assert publish(publisher(front.endpoint), tmp_path).name == "v000001"
        assert front.lose.left == 0
    assert publisher(server).latest() == "v000001"
    assert publisher(server).verify("v000001") == []


@pytest.mark.parametrize("name", [".parquet", "report.html", "manifest.json", "LATEST"])
def test_a_publish_that_fails_cleans_up_its_own_prefix(bucket: Any, server: str, tmp_path: Path, name: str) -> None:
    publish(publisher(server), tmp_path)
    before = keys(bucket)
    with busy(server) as front:
        # Uploads may be made in parts: every write to the object is refused, deletions and looks are not.
        front.refuse = lambda method, path: method in ("PUT", "POST") and name in path
        with pytest.raises(PublishError, match="503|SLOW_DOWN|[Rr]educe your request rate") as caught:
            publish(publisher(front.endpoint), tmp_path)
        assert "\n" not in str(caught.value)
    assert keys(bucket) == before
    assert publisher(server).latest() == "v000001"
    assert publish(publisher(server), tmp_path).name == "v000002"


def test_what_cannot_be_removed_is_named(bucket: Any, server: str, tmp_path: Path) -> None:
    with busy(server) as front:
        front.refuse = lambda method, path: method == "DELETE" or (method != "GET" and "manifest" in path)
        with pytest.raises(PublishError, match=r"s3://lake/sets/adult/v000001 could not be removed .*; delete it by hand"):
            publish(publisher(front.endpoint), tmp_path)
    assert (publisher(server).latest(), publisher(server).versions()) == (None, [])


def test_latest_that_was_set_though_every_answer_was_lost_is_published(bucket: Any, server: str, tmp_path: Path) -> None:
    with busy(server) as front:
        front.lose = lambda method, path: method == "PUT" and "LATEST" in path
        assert publish(publisher(front.endpoint), tmp_path).name == "v000001"
        assert publish(publisher(front.endpoint, attempts=1), tmp_path).name == "v000002"
    assert publisher(server).latest() == "v000002"
    assert publisher(server).verify("v000002") == []


def test_parts_of_uploads_that_failed_are_given_up(bucket: Any, server: str, tmp_path: Path) -> None:
    upload = bucket.create_multipart_upload(Bucket="lake", Key="sets/adult/quarantine/run-1/data/x.parquet")
    bucket.upload_part(Bucket="lake", Key=upload["Key"], UploadId=upload["UploadId"], PartNumber=1, Body=b"x")
    publisher(server).quarantine(iter(make_table(5).to_batches()), **rest(tmp_path, facts={"verdict": "BLOCK"}))
    assert bucket.list_multipart_uploads(Bucket="lake").get("Uploads", []) == []
