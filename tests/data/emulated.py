"""Stores that tests speak to: S3 by moto, Google's by an emulator, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

#: What of the machine's own settings would lead elsewhere.
OTHERS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Emulated:
    """A store in a process of its own, which may be away for a while."""

    kind: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        where = {"s3": ["moto.server", "-H", "127.0.0.1", "-p", f"{self.port}"],
                 "gs": ["gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={self.port}", "--in-memory"]}  # fmt: skip
        command = [sys.executable, "-m", *where[self.kind]]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError(f"the emulated {self.kind} did not start")

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=20)

    def environment(self, home: Path) -> dict[str, str]:
        """What leads clients there, and nowhere else."""
        if self.kind == "gs":
            return {"STORAGE_EMULATOR_HOST": self.url}
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
        files = {name: str(home / name.lower()) for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
        return {**keys, **files, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}

    def bucket(self) -> str:
        """The address of a fresh bucket."""
        name = f"lake{secrets.token_hex(4)}"
        if self.kind == "gs":
            wanted = json.dumps({"name": name}).encode()
            urlopen(Request(f"{self.url}/storage/v1/b?project=p", wanted, {"Content-Type": "application/json"})).close()
        else:
            urlopen(Request(f"{self.url}/{name}", method="PUT")).close()
        return f"{self.kind}://{name}"


def put(folder: Path, address: str) -> None:
    """Everything below a folder, or a file, to an address, by Arrow's own client."""
    from pyarrow import fs

    from data.remote import opened

    system, root = opened(address)
    for path in [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else [folder]:
        to = f"{root}/{path.relative_to(folder).as_posix()}" if folder.is_dir() else root
        fs.copy_files(str(path), to, source_filesystem=fs.LocalFileSystem(), destination_filesystem=system)


@contextlib.contextmanager
def running(kind: str) -> Iterator[Emulated]:
    """A store of its own for some tests."""
    store = Emulated(kind)
    store.start()
    try:
        yield store
    finally:
        store.stop()


def environ_without(names: tuple[str, ...] = OTHERS) -> dict[str, str]:
    """The environment of this process less what would lead elsewhere."""
    return {name: value for name, value in os.environ.items() if name not in names}
