"""How do single files come into a store and out of it, and who is the first to write one?"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data.objects import ObjectStore, explained_arrow
from data.remote import S3
from data.s3 import LostRaceError, S3Store, delete_object, explained_aws

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

#: Bytes of a file that go over in one request, and of a piece of a longer one.
WHOLE, CHUNK = 32 << 20, 8 << 20
#: How often a request to S3 is made, and seconds before the second attempt, doubled each time.
ATTEMPTS, PAUSE = 6, 0.5


@dataclass(frozen=True)
class Entry:
    """What a listing says of a file. placed: when it was written last, in seconds by the clock of the store; mark: another
    one once the file was written again."""

    placed: float
    mark: str


class Blobs(Protocol):
    """Files below one address. Every method raises PublishError, one sentence, where the store refuses or stays away."""

    address: str

    def names(self, below: str) -> dict[str, Entry]:
        """Every file below a folder, named from the address on, in the order of their names."""

    def read(self, name: str) -> bytes | None:
        """A small file, None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """A small file, over an older one."""

    def put(self, path: Path, name: str) -> None:
        """A file from here."""

    def get(self, name: str, path: Path) -> bool:
        """A file to here; False where there is none."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove files, in this order; one that is not there is no fault."""

    def claim(self, folder: str, number: int, content: bytes) -> str | None:
        """Take a number in a folder, for which never two get a name; None where another one was there."""


def blobs(address: str) -> Blobs:
    """The files below an address of a store."""
    kind = S3Blobs if address.partition("://")[0] in S3 else ArrowBlobs
    return kind(address.rstrip("/"))


@dataclass
class S3Blobs:
    """By boto3: its conditional put decides about a number."""

    address: str

    @cached_property
    def _store(self) -> S3Store:
        return S3Store(self.address, "", attempts=ATTEMPTS, pause=PAUSE)

    def _asked(self, call: Any, doing: str = "keep runs in") -> Any:
        with explained_aws(self.address, doing):
            return self._store._retried(call)

    def names(self, below: str) -> dict[str, Entry]:
        with explained_aws(self.address, "read runs from"):
            found = self._store._listed(below.rstrip("/") + "/")
        start = len(self._store.key()) + 1 if self._store.key() else 0
        return {one["Key"][start:]: Entry(one["LastModified"].timestamp(), one["ETag"]) for one in found}

    def read(self, name: str) -> bytes | None:
        found: bytes | None = self._found(name, lambda body: body.read())
        return found

    def write(self, name: str, content: bytes) -> None:
        self._asked(lambda client: client.put_object(Bucket=self._store.bucket, Key=self._store.key(name), Body=content))

    def put(self, path: Path, name: str) -> None:
        if path.stat().st_size <= WHOLE:
            self.write(name, path.read_bytes())
            return
        key = f"{self._store.bucket}/{self._store.key(name)}"
        self._asked(partial(self._store._copy, path, key))

    def get(self, name: str, path: Path) -> bool:
        def save(body: Any) -> bool:
            with path.open("wb") as file:
                for chunk in body.iter_chunks(CHUNK):
                    file.write(chunk)
            return True

        return bool(self._found(name, save))

    def _found(self, name: str, take: Any) -> Any:
        from botocore.exceptions import ClientError

        def get(client: Any) -> Any:
            try:
                answer = client.get_object(Bucket=self._store.bucket, Key=self._store.key(name))
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
            return take(answer["Body"])

        return self._asked(get, "read runs from")

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._asked(partial(delete_object, self._store.bucket, self._store.key(name)), "remove from")

    def claim(self, folder: str, number: int, content: bytes) -> str | None:
        name = f"{folder}/{number:06d}"
        try:
            with explained_aws(self.address, "keep runs in"):
                self._store._put(name, content.decode(), IfNoneMatch="*")
        except LostRaceError:
            return None
        return name


@dataclass
class ArrowBlobs:
    """By Arrow, which knows no conditional write: claims of a number see each other (as in `data.objects`)."""

    address: str

    @cached_property
    def _store(self) -> ObjectStore:
        return ObjectStore(self.address, "")

    @property
    def _system(self) -> FileSystem:
        return self._store.filesystem

    def names(self, below: str) -> dict[str, Entry]:
        start = len(self._store.path()) + 1
        with explained_arrow(self.address, "read runs from"):
            found = [entry for entry in self._store._below(below.rstrip("/"), deep=True) if entry.is_file]
        named = {entry.path.strip("/")[start:]: entry for entry in found}
        marks = {name: Entry((e.mtime_ns or 0) / 1e9, f"{e.mtime_ns}-{e.size}") for name, e in named.items()}
        return dict(sorted(marks.items()))

    def read(self, name: str) -> bytes | None:
        with explained_arrow(self.address, "read runs from"):
            try:
                with self._system.open_input_stream(self._store.path(name)) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with explained_arrow(self.address, "keep runs in"), self._system.open_output_stream(self._store.path(name)) as file:
            file.write(content)

    def put(self, path: Path, name: str) -> None:
        with explained_arrow(self.address, "keep runs in"), path.open("rb") as source:
            with self._system.open_output_stream(self._store.path(name)) as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)

    def get(self, name: str, path: Path) -> bool:
        with explained_arrow(self.address, "read runs from"):
            try:
                with self._system.open_input_stream(self._store.path(name)) as source, path.open("wb") as target:
                    while chunk := source.read(CHUNK):
                        target.write(chunk)
            except FileNotFoundError:
                return False
        return True

    def delete(self, names: Iterable[str]) -> None:
        with explained_arrow(self.address, "remove from"):
            for name in names:
                try:
                    self._system.delete_file(self._store.path(name))
                except FileNotFoundError:
                    continue

    def claim(self, folder: str, number: int, content: bytes) -> str | None:
        name = f"{folder}/{number:06d}-{secrets.token_hex(8)}"
        self.write(name, content)
        if [other for other in self.names(folder) if other.startswith(f"{folder}/{number:06d}-")] == [name]:
            return name
        self.delete([name])
        return None
