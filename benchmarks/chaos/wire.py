"""A wire to a service that can be made bad: it refuses calls, loses answers, is slow, drops connections, or is dead."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import numpy as np

Kind = Literal["good", "refuses", "slow", "drops", "dies"]
#: The share of calls that fail, seconds that a slow one takes at most.
SHARE, SLOW = 0.2, 0.6
BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
#: Headers that belong to one connection.
OWN = ("content-length", "connection", "transfer-encoding", "server", "date", "expect")


@dataclass
class Wire:
    """How the calls that come now are treated. left: calls until it dies; failed: those that were made to fail."""

    rng: np.random.Generator
    kind: Kind = "good"
    left: int = 0
    failed: int = 0
    endpoint: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fate(self) -> tuple[bool, bool, float]:
        """Of the next call: whether it fails, whether it is carried out all the same, seconds that it takes."""
        with self.lock:
            self.left -= 1
            hit = (self.kind in ("refuses", "drops") and self.rng.random() < SHARE) or (self.kind == "dies" and self.left < 0)
            self.failed += hit
            carried = not hit or (self.kind != "dies" and self.rng.random() < 0.5)
            return hit, carried, float(self.rng.random() * SLOW) if self.kind == "slow" else 0.0


@contextlib.contextmanager
def wire(service: str, rng: np.random.Generator) -> Iterator[Wire]:
    """A wire to the HTTP service at host:port."""
    state = Wire(rng)
    handler = type("Handler", (_Handler,), {"state": state, "service": service})
    front = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    front.daemon_threads = True
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    state.endpoint = f"http://127.0.0.1:{front.server_address[1]}"
    try:
        yield state
    finally:
        front.shutdown()
        front.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Wire
    service: str

    def log_message(self, *_: object) -> None:
        return None

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def _any(self) -> None:
        body = self._body()
        hit, carried, seconds = self.state.fate()
        time.sleep(seconds)
        status, headers, content = self._passed(body) if carried else (503, {}, BUSY)
        if hit and self.state.kind != "refuses":
            self._drop(content)
        elif hit:
            self._answer(503, {"Content-Type": "application/xml"}, BUSY)
        else:
            self._answer(status, headers, content)

    def _drop(self, content: bytes) -> None:
        # Half an answer at most, then the connection is gone.
        if content and self.state.kind == "drops":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + 1))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def _passed(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        inner = HTTPConnection(self.service, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("expect", "connection", "transfer-encoding")}
            inner.request(self.command, self.path, body=body, headers=headers)
            answer = inner.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            inner.close()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in OWN:
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815
