"""What do stores share in which nothing can be renamed? A number is claimed, files go up, the manifest last, then LATEST."""

from __future__ import annotations

import contextlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from data.errors import PublishError
from data.stores import MANIFEST, QUARANTINE, Seal, explained, version_name


class Bucket(ABC):
    """How a version and what is set aside get into such a store, and what of them goes when that fails."""

    @abstractmethod
    def uri(self, name: str = "") -> str:
        """Where `name` lies, as a user would write it."""

    @abstractmethod
    def refusing(self, doing: str = "publish to") -> AbstractContextManager[None]:
        """Turns what the service refuses into one PublishError sentence."""

    @abstractmethod
    def _look(self) -> None:
        """Ask the store for something, so that a wrong one is known."""

    @abstractmethod
    def _claim(self) -> int:
        """The next number, which no one else has now."""

    @abstractmethod
    def _send(self, path: Path, name: str) -> None:
        """Put a file there under `name`."""

    @abstractmethod
    def _point(self, number: int) -> None:
        """Let LATEST name this number, unless it is there or further already."""

    @abstractmethod
    def _named(self) -> str | None:
        """What LATEST names."""

    @abstractmethod
    def _remove(self, name: str) -> None:
        """Delete what lies under `name`, the manifest first, so that half a removal is no version."""

    @property
    @abstractmethod
    def _faults(self) -> tuple[type[Exception], ...]:
        """What a service raises that refuses or does not answer, an OSError apart."""

    @contextlib.contextmanager
    def staging(self, run_id: str) -> Iterator[Path]:
        """A temporary folder on this machine; the store is looked at first, so that a wrong one is known before the work."""
        with self.refusing():
            self._look()
        with explained(tempfile.gettempdir(), "put the version together in"):
            with tempfile.TemporaryDirectory(prefix=f"counterpoise-{run_id}-") as folder:
                yield Path(folder)

    def place(self, staged: Path, seal: Seal) -> int:
        """As `data.stores.Store.place`."""
        with self.refusing():
            number = self._claim()
            name = version_name(number)
            try:
                seal(number)
                self._upload(staged, name)
                self._point(number)
            except BaseException as error:
                if not (self._removed_after(error, name) and isinstance(error, Exception)):
                    raise
        return number

    def set_aside(self, staged: Path, run_id: str) -> str:
        """As `data.stores.Store.set_aside`."""
        name = f"{QUARANTINE}/{run_id}"
        with self.refusing():
            self._remove(name)
            try:
                self._upload(staged, name)
            except BaseException as error:
                self._removed_after(error, name)
                raise
        return self.uri(name)

    def _upload(self, staged: Path, name: str) -> None:
        """Every file below `staged`, the manifest last: from then on the prefix is a version."""
        files = [path for path in sorted(staged.rglob("*")) if path.is_file()]
        for path in sorted(files, key=lambda path: path.name == MANIFEST and path.parent == staged):
            self._send(path, f"{name}/{path.relative_to(staged).as_posix()}")

    def _removed_after(self, error: BaseException, name: str) -> bool:
        """Clean up after a failure, unless LATEST names `name`: then every answer to its last request was lost, readers are
        there already, and this says True."""
        try:
            if self._named() == name:
                return True
            self._remove(name)
        except self._faults + (OSError, PublishError) as second:
            error.add_note(f"and {self.uri(name)} could not be removed ({type(second).__name__}); delete it by hand")
        return False
