"""A PostgreSQL server of a test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.errors import DataError
from data.sources import sql


def binary(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4].split(".")[0]))
    return shutil.which(name) or (str(found[-1]) if found else None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """A private server in a folder of its own, on a free port, with password authentication; yields the url.

    Skips where PostgreSQL is not installed."""
    initdb, server = binary("initdb"), binary("postgres")
    if not (initdb and server):
        pytest.skip("PostgreSQL's initdb and postgres are not installed; apt-get install postgresql brings them")
    # PostgreSQL refuses to run as root.
    as_other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    if as_other and not shutil.which("setpriv"):
        pytest.skip("PostgreSQL refuses root, and setpriv (util-linux) is not there to step down")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder, socket.socket() as free:
        root = Path(folder)
        (root / "pw").write_text("geheim99\n")
        if as_other:
            shutil.chown(root, "nobody", "nogroup")
            shutil.chown(root / "pw", "nobody", "nogroup")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        setup = [initdb, "-D", f"{root}/db", "-U", "bob", "--auth=scram-sha-256", f"--pwfile={root}/pw", "-N", "-E", "UTF8"]
        subprocess.run([*as_other, *setup, "--locale=C"], check=True, capture_output=True, cwd=root)
        options = ["-D", f"{root}/db", "-p", str(port), "-h", "127.0.0.1", "-k", str(root), "-F"]
        with (root / "log").open("wb") as log, subprocess.Popen(
            [*as_other, server, *options], stdout=log, stderr=log, cwd=root
        ) as running:  # fmt: skip
            try:
                yield wait_for(f"postgresql://bob:geheim99@127.0.0.1:{port}/postgres", running, root / "log")
            finally:
                running.terminate()
                running.wait(30)


def wait_for(url: str, running: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(300):
        try:
            sql.read(url, "select 1 as up")
        except DataError:
            assert running.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return url
    raise AssertionError(log.read_text())
