"""Where do versions lie, and how is one put there so that no reader ever sees half of it? A folder on disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.errors import PublishError

MANIFEST = "manifest.json"
POINTER = "LATEST"
STAGING = ".staging"
QUARANTINE = "quarantine"
TAGS = "tags"

#: Writes what names the version (card, Croissant, manifest) into the staged folder; called with the claimed number.
Seal = Callable[[int], None]


class Store(Protocol):
    """A place that holds the versions of one dataset."""

    def staging(self, run_id: str) -> AbstractContextManager[Path]:
        """An empty local folder to put a version together in; gone afterwards, whatever happens."""

    def place(self, staged: Path, seal: Seal) -> int:
        """Claim the next number, seal, make the version visible as a whole, move LATEST on; the number."""

    def set_aside(self, staged: Path, run_id: str) -> str:
        """Put a sealed folder into quarantine; its uri."""

    def uri(self, name: str = "") -> str:
        """Where `name` lies, as a user would write it."""

    def latest(self) -> str | None:
        """What LATEST names, None before the first version."""

    def versions(self, after: int = 0) -> list[str]:
        """The complete versions with a number above `after`, oldest first."""

    def text(self, name: str) -> str | None:
        """A small file of the dataset, as `v000007/manifest.json`; None where there is none."""

    def put(self, name: str, text: str) -> None:
        """Write a page (HTML) beside the versions, over an older one in one step."""

    def point(self, number: int) -> None:
        """Compare-and-set: LATEST moves to `number` unless it is there or further already."""

    def placed(self) -> dict[str, float]:
        """Each complete version, and what lies in quarantine as `quarantine/<run id>`, oldest first: when it was put there, in
        seconds since the epoch."""

    def tags(self) -> dict[str, str]:
        """Tag -> the version that it names."""

    def tag(self, label: str, name: str | None) -> None:
        """Let a tag name a version; None removes it."""

    def remove(self, name: str) -> None:
        """Remove a version, or what lies in quarantine, so that no reader meets half of it."""


def version_name(number: int) -> str:
    """7 -> "v000007"."""
    return f"v{number:06d}"


def in_order(placed: Mapping[str, float]) -> dict[str, float]:
    """Oldest first; what was put there at one time, by name."""
    return dict(sorted(placed.items(), key=lambda item: (item[1], item[0])))


def version_number(name: str) -> int | None:
    """Read "v000007" as 7; None for anything else."""
    found = re.fullmatch(r"v(\d{6,})", name.strip())
    return int(found[1]) if found else None


@dataclass(frozen=True)
class LocalStore:
    """Versions in `<root>/<dataset>`: staged beside them, fsynced, then renamed, so that each appears in one step."""

    root: Path
    dataset: str

    @property
    def folder(self) -> Path:
        return self.root / self.dataset

    def uri(self, name: str = "") -> str:
        return str(self.folder / name) if name else str(self.folder)

    def latest(self) -> str | None:
        with explained(self.uri(), "read from"):
            try:
                text = (self.folder / POINTER).read_text().strip()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if version_number(text) is None:
            raise PublishError(f"{self.uri(POINTER)} holds {text[:40]!r}, no version; write the newest one's name there")
        return text

    def versions(self, after: int = 0) -> list[str]:
        with explained(self.uri(), "read from"):
            names = [version_name(n) for n in self._numbers() if n > after]
            return [name for name in names if (self.folder / name / MANIFEST).is_file()]

    def text(self, name: str) -> str | None:
        path = self.folder / name
        with explained(self.uri(), "read from"):
            return path.read_text(encoding="utf-8") if path.is_file() else None

    def put(self, name: str, text: str) -> None:
        with explained(self.uri()), _locked(self.folder / ".lock"):
            beside = self.folder / f".{name}.part"
            beside.write_text(text, encoding="utf-8", errors="replace")
            beside.replace(self.folder / name)

    def point(self, number: int) -> None:
        with explained(self.uri()):
            self._point(number)

    @contextlib.contextmanager
    def staging(self, run_id: str) -> Iterator[Path]:
        """A folder in `.staging`, locked as long as this process lives; what dead processes left there is removed."""
        with explained(self.uri()):
            place = self.folder / STAGING
            place.mkdir(parents=True, exist_ok=True)
            staged = place / f"{run_id}-{secrets.token_hex(6)}"
            # Under the dataset's lock, so that nobody takes a folder for a dead one's between its making and its locking.
            with _locked(self.folder / ".lock"):
                _sweep(place)
                mark = _open_lock(_mark(staged))
            try:
                staged.mkdir()
                yield staged
            finally:
                shutil.rmtree(staged, ignore_errors=True)
                _mark(staged).unlink(missing_ok=True)
                os.close(mark)

    def place(self, staged: Path, seal: Seal) -> int:
        number = max([0, *self._numbers(), self._pointed()]) + 1
        while True:
            seal(number)
            sync_tree(staged)
            try:
                # The claim: renaming onto a version that another publisher has just placed fails.
                staged.rename(self.folder / version_name(number))
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                number += 1
        try:
            sync_folder(self.folder)
            self._point(number)
        except BaseException:
            # Back in one step: a version that LATEST never named must not stay behind a failed publish.
            if self.latest() != version_name(number):
                (self.folder / version_name(number)).rename(staged)
            raise
        return number

    def set_aside(self, staged: Path, run_id: str) -> str:
        sync_tree(staged)
        target = self.folder / QUARANTINE / run_id
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / ".lock"):
            if target.exists():
                # The same run judged again: its last word stands. The old one has no lock, so a later sweep may take it.
                target.rename(staged.with_name(staged.name + "-old"))
            staged.rename(target)
            shutil.rmtree(staged.with_name(staged.name + "-old"), ignore_errors=True)
        sync_folder(target.parent)
        return str(target)

    def placed(self) -> dict[str, float]:
        place = self.folder / QUARANTINE
        with explained(self.uri(), "read from"):
            names = [version_name(number) for number in self._numbers()]
            names += [f"{QUARANTINE}/{entry.name}" for entry in place.iterdir()] if place.is_dir() else []
            sealed = {name: self.folder / name / MANIFEST for name in names}
            return in_order({name: path.stat().st_mtime for name, path in sealed.items() if path.is_file()})

    def tags(self) -> dict[str, str]:
        place = self.folder / TAGS
        with explained(self.uri(), "read from"):
            found = sorted(p for p in place.iterdir() if not p.name.endswith(".part")) if place.is_dir() else []
            return {path.name: path.read_text().strip() for path in found}

    def tag(self, label: str, name: str | None) -> None:
        with explained(self.uri()), _locked(self.folder / ".lock"):
            path = self.folder / TAGS / label
            if name is None:
                path.unlink(missing_ok=True)
                return
            path.parent.mkdir(exist_ok=True)
            beside = path.with_name(label + ".part")
            beside.write_text(name + "\n")
            beside.replace(path)

    def remove(self, name: str) -> None:
        with explained(self.uri(), "remove from"):
            place = self.folder / STAGING
            place.mkdir(parents=True, exist_ok=True)
            # Gone in one step; it has no lock there, so that a later sweep takes what a kill leaves.
            gone = place / f"gone-{secrets.token_hex(6)}"
            with _locked(self.folder / ".lock"):
                if self.latest() == name or name in self.tags().values():
                    raise PublishError(f"{self.uri(name)} is what LATEST or a tag names; it stays")
                (self.folder / name).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        found = (version_number(entry.name) for entry in self.folder.iterdir())
        return sorted(n for n in found if n is not None)

    def _pointed(self) -> int:
        name = self.latest()
        return 0 if name is None else version_number(name) or 0

    def _point(self, number: int) -> None:
        """Compare-and-set: LATEST moves to `number` unless it is there or further already."""
        with _locked(self.folder / ".lock"):
            if self._pointed() >= number:
                return
            beside = self.folder / (POINTER + ".part")
            try:
                with beside.open("w") as file:
                    file.write(version_name(number) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self.folder / POINTER)
            finally:
                beside.unlink(missing_ok=True)
            # The version is published from here on; a failed sync of the folder can only lose the pointer in a power cut.
            with contextlib.suppress(OSError):
                sync_folder(self.folder)


def sync_tree(folder: Path) -> None:
    """Bring every file below `folder`, and the folders themselves, to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Bring the entries of `folder` to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def explained(where: str, doing: str = "publish to") -> Iterator[None]:
    """Turn what the disk refuses into one PublishError sentence."""
    try:
        yield
    except OSError as error:
        raise PublishError(f"cannot {doing} {where}: {_cause(error, where)}") from error


def _cause(error: OSError, where: str) -> str:
    code = error.errno
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk (or its quota) is full{_free(where)}; free some space or choose another folder"
    if code == errno.EROFS:
        return "it is read-only; choose another folder or mount it writable"
    if code in (errno.EACCES, errno.EPERM):
        return f"no permission for {error.filename or where}; choose another folder or change its owner or mode"
    if code in (errno.ENOTDIR, errno.EEXIST):
        return f"{error.filename or where} is a file where a folder is needed; move it away or choose another folder"
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def _free(where: str) -> str:
    with contextlib.suppress(OSError):
        return f" ({shutil.disk_usage(where).free / 1e6:.1f} MB free)"
    return ""


def _open_lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    # flock goes with its process: a killed publisher never leaves the dataset locked.
    handle = _open_lock(path)
    try:
        yield
    finally:
        os.close(handle)


def _sweep(place: Path) -> None:
    """Remove the staged folders whose publisher is dead: their lock can be taken."""
    for mark in place.glob("*.lock"):
        try:
            handle = os.open(mark, os.O_RDWR)
        except FileNotFoundError:  # its publisher has just finished
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(mark.with_name(mark.name.removesuffix(".lock")), ignore_errors=True)
            mark.unlink(missing_ok=True)
        finally:
            os.close(handle)
    for folder in place.iterdir():
        if folder.is_dir() and not _mark(folder).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _mark(staged: Path) -> Path:
    return staged.with_name(staged.name + ".lock")
