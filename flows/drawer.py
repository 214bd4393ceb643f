"""How does a worker of a cluster draw shards, with nothing of the run at hand but what it was sent?"""

from __future__ import annotations

import io
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.trust import FAMILIES
from flows.run import Run, code_version
from flows.shard import Draw, written
from flows.stages.personal import Remade
from flows.stages.sample import IdColumns, load_model
from flows.stages.shared import load_schema

#: A piece of a file is sent after so many seconds, or bytes.
EVERY, PIECE = 0.5, 8 * 2**20
#: What a drawn row's bytes depend on, besides our own code.
PACKAGES = ("torch", "numpy", "pyarrow")


@dataclass(frozen=True)
class Kit:
    """What shards are drawn with. Of the run's folder only the model and the plan: no row of the source, but for those that the
    model itself holds.

    files: bytes by their path in the run's folder; trusted: packages whose families may be used."""

    draw: Draw
    ids: IdColumns
    remade: Remade
    files: dict[str, bytes] = field(repr=False)
    trusted: str | None

    @classmethod
    def of(cls, draw: Draw) -> Kit:
        """The kit for a run that lies here."""
        run = Run(draw.run)
        paths = [run.folder / "plan.yaml", run.folder / "choice.json", *(run.folder / "model").rglob("*")]
        files = {str(path.relative_to(run.folder)): path.read_bytes() for path in paths if path.is_file()}
        ids, remade = IdColumns(run, load_schema(run), seed=draw.seed), Remade(run, seed=draw.seed)
        return cls(draw, ids, remade, files, os.environ.get(FAMILIES))


@dataclass(frozen=True)
class Place:
    """Where a worker is: its machine, our code there, and the versions that bytes depend on."""

    machine: str
    code: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Place:
        code = code_version("configs", "data", "generators", "flows")
        return cls(socket.gethostname(), code, {name: version(name) for name in PACKAGES})


@dataclass(frozen=True)
class Piece:
    """Bytes of a shard's file, which follow those of the piece before. rows: drawn for it; last: whether no more follow."""

    data: bytes
    rows: int
    last: bool


class Drawer:
    """A worker: loads the model once, then draws one shard after the other, whose file it gives away piece by piece."""

    def __init__(self, kit: Kit) -> None:
        # Nothing that can fail: what goes wrong here is told as if the worker had been lost.
        self.kit = kit
        self.shard: int | None = None

    def open(self) -> Place:
        """Load the model. Raises UserError where it cannot be read here."""
        if self.kit.trusted is not None:
            os.environ[FAMILIES] = self.kit.trusted
        with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
            for name, data in self.kit.files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            self.model = load_model(Run(Path(folder)))
        return Place.here()

    def piece(self, shard: int) -> Piece:
        """The next piece of a shard, the first one where another was at work. Raises UserError for what cannot be drawn."""
        if shard != self.shard:
            self.shard, self.sink = shard, _Sink()
            self.batches = self._batches(shard, self.sink)
        rows, until, last = 0, time.monotonic() + EVERY, True
        for drawn in self.batches:
            rows += drawn
            if time.monotonic() >= until or self.sink.held >= PIECE:
                last = False
                break
        if last:
            self.shard = None
        return Piece(self.sink.take(), rows, last)

    def _batches(self, shard: int, sink: _Sink) -> Iterator[int]:
        return written(self.kit.draw, shard, self.model, self.kit.ids, self.kit.remade, pa.PythonFile(sink, mode="w"))


class _Sink(io.RawIOBase):
    """Holds what is written to it until it is taken away."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.held = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        self.held += len(self.parts[-1])
        return len(self.parts[-1])

    def take(self) -> bytes:
        whole, self.parts, self.held = b"".join(self.parts), [], 0
        return whole
