"""How is a version put on Google's or Azure's store by Arrow, which knows no conditional write? By claims that see each other.

Both stores show every finished write to every later listing. A publisher writes a claim of its own under a number and then
lists the claims there: who sees none but its own has the number. Of two, the one whose claim was written later lists later and
sees the other's, so that never both have it; where both see both, the number stays empty and they try others.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from data.buckets import Bucket
from data.errors import PublishError
from data.remote import opened
from data.secrets import hidden
from data.stores import MANIFEST, POINTER, QUARANTINE, TAGS, in_order, version_name, version_number

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

CLAIMS = ".claims"
CHUNK = 8 << 20
#: Numbers that may be lost to others before a publisher gives up.
RACES = 1000
#: How often, and seconds between, a file without a byte is read again.
LOOKS, PAUSE = 20, 0.05


@dataclass(frozen=True)
class ObjectStore(Bucket):
    """Versions under `gs://bucket/prefix/<dataset>/`, or `az://`, `abfs://container@account.dfs.core.windows.net/`.

    Data go under a claimed prefix, which no one else writes to; the manifest is the last object, and a prefix without one is no
    version. LATEST is written after it and then compared with the versions that are there, so that the last writer leaves the
    newest name. Claims stay: they keep a late publisher from taking a number twice.

    What Arrow writes to Azure lies there without a byte until it is closed. So a manifest without one is no version yet, and
    what else is found empty is read again."""

    root: str
    dataset: str
    endpoint: str | None = None

    @cached_property
    def _opened(self) -> tuple[FileSystem, str]:
        return opened(self.root, endpoint=self.endpoint)

    @property
    def filesystem(self) -> FileSystem:
        """Arrow's file system of the store."""
        return self._opened[0]

    def path(self, name: str = "") -> str:
        """The path of `name` in the file system."""
        return "/".join(part for part in (self._opened[1], self.dataset, name) if part)

    def uri(self, name: str = "") -> str:
        return "/".join(part for part in (self.root.rstrip("/"), self.dataset, name) if part)

    def refusing(self, doing: str = "publish to") -> AbstractContextManager[None]:
        return explained_arrow(self.uri(), doing)

    def _look(self) -> None:
        self._numbers()

    @property
    def _faults(self) -> tuple[type[Exception], ...]:
        return (pa.ArrowInvalid,)

    def latest(self) -> str | None:
        with self.refusing("read from"):
            return self._named()

    def versions(self, after: int = 0) -> list[str]:
        with self.refusing("read from"):
            names = [version_name(n) for n in self._numbers() if n > after]
            found = zip(names, self._looked_at([f"{name}/{MANIFEST}" for name in names]), strict=True)
            return [name for name, entry in found if entry.is_file and entry.size]

    def text(self, name: str) -> str | None:
        with self.refusing("read from"):
            return self._read(name)

    def put(self, name: str, text: str) -> None:
        with self.refusing():
            self._write(name, text, "text/html; charset=utf-8")

    def point(self, number: int) -> None:
        with self.refusing():
            self._point(number)

    def placed(self) -> dict[str, float]:
        with self.refusing("read from"):
            kept = [f"{QUARANTINE}/{entry.path.rsplit('/', 2)[-2]}" for entry in self._below(QUARANTINE, deep=True)
                    if entry.base_name == MANIFEST]  # fmt: skip
            names = [*(version_name(number) for number in self._numbers()), *kept]
            found = zip(names, self._looked_at([f"{name}/{MANIFEST}" for name in names]), strict=True)
            return in_order({name: (entry.mtime_ns or 0) / 1e9 for name, entry in found if entry.is_file})

    def tags(self) -> dict[str, str]:
        with self.refusing("read from"):
            names = sorted(entry.base_name for entry in self._below(TAGS) if entry.is_file)
            return {name: (self._read(f"{TAGS}/{name}") or "").strip() for name in names}

    def tag(self, label: str, name: str | None) -> None:
        with self.refusing():
            if name is not None:
                self._write(f"{TAGS}/{label}", name + "\n")
            elif self._is_file(f"{TAGS}/{label}"):
                self.filesystem.delete_file(self.path(f"{TAGS}/{label}"))

    def remove(self, name: str) -> None:
        if self.latest() == name or name in self.tags().values():
            raise PublishError(f"{self.uri(name)} is what LATEST or a tag names; it stays")
        with self.refusing("remove from"):
            self._remove(name)

    def _below(self, name: str, *, deep: bool = False) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        return list(self.filesystem.get_file_info(FileSelector(self.path(name), recursive=deep, allow_not_found=True)))

    def _looked_at(self, names: list[str]) -> list[FileInfo]:
        return list(self.filesystem.get_file_info([self.path(name) for name in names])) if names else []

    def _is_file(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(self.path(name)).is_file)

    def _read(self, name: str) -> str | None:
        """None where there is no such file; empty where it stays so, as whoever wrote it was killed."""
        for _ in range(LOOKS):
            if not self._is_file(name):
                return None
            with self.filesystem.open_input_stream(self.path(name)) as file:
                if held := str(file.read().decode()):
                    return held
            time.sleep(PAUSE)
        return ""

    def _write(self, name: str, text: str, kind: str = "text/plain") -> None:
        with self.filesystem.open_output_stream(self.path(name), metadata={"Content-Type": kind}) as file:
            file.write(text.encode())

    def _numbers(self) -> list[int]:
        """The numbers that are claimed. Arrow lists no folders of Google's store, so that all claims lie in one, as files."""
        return sorted({number for number, _ in self._claims()})

    def _claims(self) -> list[tuple[int, str]]:
        parts = (entry.base_name.partition("-") for entry in self._below(CLAIMS))
        return [(number, token) for name, _, token in parts if (number := version_number(name)) is not None]

    def _claim(self) -> int:
        number = max([0, *self._numbers(), version_number(self._named() or "") or 0])
        for _ in range(RACES):
            number += 1
            if self._claimed(number):
                return number
            time.sleep(random.uniform(0.01, 0.1))  # noqa: S311  two that met shall not meet again
        raise PublishError(f"cannot publish to {self.uri()}: {RACES} numbers in a row were taken by others; try again later")

    def _claimed(self, number: int) -> bool:
        token = secrets.token_hex(16)
        self._write(f"{CLAIMS}/{version_name(number)}-{token}", token)
        return [held for taken, held in self._claims() if taken == number] == [token]

    def _send(self, path: Path, name: str) -> None:
        with path.open("rb") as source, self.filesystem.open_output_stream(self.path(name)) as target:
            while chunk := source.read(CHUNK):
                target.write(chunk)

    def _named(self) -> str | None:
        held = self._read(POINTER)
        if held is None:
            return None
        if not held:  # its writer was killed: what it meant to write is the newest name
            return max(self.versions(), default=None)
        if version_number(held) is None:
            raise PublishError(f"{self.uri(POINTER)} holds {held[:40]!r}, no version; write the newest one's name")
        return held.strip()

    def _point(self, number: int) -> None:
        for _ in range(RACES):
            if (version_number(self._named() or "") or 0) < number:
                self._write(POINTER, version_name(number) + "\n")
            # Another publisher may have written a later name between our look and our write: what is there now decides.
            newest = max([number, *(version_number(name) or 0 for name in self.versions(number))])
            if (version_number(self._named() or "") or 0) >= newest:
                return
            number = newest
        raise PublishError(f"cannot publish to {self.uri()}: LATEST was changed by others {RACES} times; try again later")

    def _remove(self, name: str) -> None:
        """Delete what lies under `name`: the manifest first, so that half a removal is no version."""
        files = [entry.path for entry in self._below(name, deep=True) if entry.is_file]
        for path in sorted(files, key=lambda path: path != self.path(f"{name}/{MANIFEST}")):
            self.filesystem.delete_file(path)


@contextlib.contextmanager
def explained_arrow(where: str, doing: str = "publish to") -> Iterator[None]:
    """Turn what the service refuses into one PublishError sentence."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", []))
        said = hidden(" ".join(str(error).split()))[:240]
        remedy = "check the bucket, the credentials of the environment and the network, then run again"
        raise PublishError(f"cannot {doing} {where}: {said}; {remedy}{notes}") from error
