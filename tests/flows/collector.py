"""A collector of OpenTelemetry metrics for tests: it answers, refuses, or says nothing."""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: A figure: its metric, and its attributes without the dataset and the family.
Key = tuple[str, tuple[tuple[str, str], ...]]


class Collected:
    """What came in. units: metric -> unit; values: the last ones, of a histogram (count, sum)."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.resource: dict[str, str] = {}
        self.units: dict[str, str] = {}
        self.values: dict[Key, Any] = {}
        self.labels: set[tuple[str, str]] = set()

    def take(self, path: str, body: bytes) -> None:
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        self.paths.append(path)
        self.bodies.append(body)
        for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            self.resource = {a.key: a.value.string_value for a in each.resource.attributes}
            for metric in (m for scope in each.scope_metrics for m in scope.metrics):
                self.units[metric.name] = metric.unit
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    labels = {a.key: a.value.string_value for a in point.attributes}
                    self.labels |= {(k, v) for k, v in labels.items() if k in ("counterpoise.dataset", "counterpoise.family")}
                    rest = tuple(sorted((k[13:], v) for k, v in labels.items() if (k, v) not in self.labels))
                    self.values[metric.name[13:], rest] = (point.count, point.sum) if kind == "histogram" else value(point)

    def of(self, metric: str, **labels: str) -> Any:
        return self.values[metric, tuple(sorted(labels.items()))]


def value(point: Any) -> float:
    return getattr(point, point.WhichOneof("value"))


@contextmanager
def collecting() -> Iterator[tuple[str, Collected]]:
    """A collector that answers: its address, and what it took."""
    took = Collected()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            took.take(self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", took
    running.shutdown()


@contextmanager
def silent() -> Iterator[str]:
    """One that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def refusing() -> str:
    """An address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
