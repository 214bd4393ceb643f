"""How are runs that lie in a store worked on? In a copy here, which is brought up to what the store holds.

A run there is its files, each under the number of the turn that it was put there in, and one state that names them all and
holds the small ones: whoever reads the newest state sees the run as it was at one moment. The copy keeps which state it knows.
Where nobody else went on since, the copy is as far as the store, or further; else the store is right.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from data.blobs import Blobs, blobs
from data.errors import UserError
from data.remote import is_remote
from data.secrets import hidden, holds_secret

#: What a folder of copies says of where its runs lie, and each copy of the state that it knows.
STORE, KNOWN = ".store", ".known.json"
#: Where states, turns and counted attempts lie; all else is files of runs.
STATES, TURNS, ATTEMPTS = ".state", ".turns", ".attempts"
#: Files that lists of runs read, which are brought with them though they may be long.
SMALL = ("plan.yaml", "stages.json", "report.json", "choice.json", "published.json", "training.json", "training.jsonl")
#: A listing is good for so many seconds; longer where this process works on a run.
FRESH, FRESH_AT_WORK = 2.0, 60.0
#: How often what a state names is looked for, as a newer state may have taken it away meanwhile.
TRIES = 5

#: Folders of runs that this process has the turn of; when each store was listed last.
AT_WORK: set[Path] = set()
_LISTED: dict[Path, float] = {}


@dataclass(frozen=True)
class State:
    """A run as it lay in the store at one moment. turn, step: which moment; files: name -> sha256, size, mtime, mode, and
    either its text or the key that it lies under."""

    turn: int = 0
    step: int = 0
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"turn": self.turn, "step": self.step, "files": dict(self.files)}

    @property
    def keys(self) -> set[str]:
        """What lies in files of its own."""
        return {str(held["key"]) for held in self.files.values() if "key" in held}


@dataclass
class Known:
    """What a copy knows of the store. whole: it has every file; token: of the turn that was had here last; mark: of the state's
    file, None where it was put there from here."""

    state: State = field(default_factory=State)
    whole: bool = True
    token: str = ""
    mark: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Known | None:
        """None where the copy was never told."""
        try:
            read = json.loads((folder / KNOWN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(State(**read["state"]), read["whole"], read["token"], read["mark"])

    def write(self, folder: Path) -> None:
        """Beside, then into place."""
        beside = folder / f"{KNOWN}.part"
        told = {"state": self.state.to_json(), "whole": self.whole, "token": self.token, "mark": self.mark}
        beside.write_text(json.dumps(told), encoding="utf-8")
        beside.replace(folder / KNOWN)


def folder_of(named: str | Path) -> Path:
    """The folder of runs that a user names: as it is, or that of the copies of what lies at an address."""
    if not is_remote(str(named)):
        return Path(named)
    if holds_secret(str(named)):
        raise UserError(
            f"--runs {hidden(str(named))} spells out a secret; put it into the environment, where stores look for it"
        )
    address = str(named).rstrip("/")
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "counterpoise" / "runs"
    folder = home / hashlib.sha256(address.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # copies hold real rows
        (folder / STORE).write_text(address + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}, for copies of runs, cannot be written ({error.strerror}); set XDG_CACHE_HOME") from None
    return folder


def address_of(runs: Path) -> str | None:
    """The address whose runs are worked on in this folder, None for runs that lie here."""
    path = runs / STORE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def lies(folder: Path) -> str | None:
    """The address of a run that lies in a store."""
    address = address_of(folder.parent.parent)
    return None if address is None else f"{address}/{name_of(folder)}"


def name_of(folder: Path) -> str:
    """<plan's name>/<run id>"""
    return f"{folder.parent.name}/{folder.name}"


@cache
def _client(address: str, process: int) -> Blobs:
    # Another client after a fork: connections are not shared.
    return blobs(address)


def client(runs: Path) -> Blobs | None:
    """The store of a folder of copies, None for runs that lie here."""
    address = address_of(runs)
    return None if address is None else _client(address, os.getpid())


def glance(runs: Path) -> None:
    """Bring the small files of every run that changed in the store, and take away copies of those that are gone there."""
    store = client(runs)
    fresh = FRESH_AT_WORK if AT_WORK else FRESH
    if store is None or time.monotonic() - _LISTED.get(runs, -fresh) < fresh:
        return
    newest = {name.rpartition("/")[0].removeprefix(f"{STATES}/"): (name, entry) for name, entry in store.names(STATES).items()}
    for path in {runs / run for run in newest} | {known.parent for known in runs.glob(f"*/*/{KNOWN}")}:
        known, (_, entry) = Known.of(path), newest.get(name_of(path), ("", None))
        if path in AT_WORK or (known is not None and entry is not None and known.mark == entry.mark):
            continue
        _settle(store, path, lambda name, held: "text" in held or name in SMALL)
    _LISTED[runs] = time.monotonic()


def bring(folder: Path) -> None:
    """Bring a run that lies in a store whole; nothing of one that lies here, or that a process of this machine works on."""
    store = client(folder.parent.parent)
    if store is not None and folder not in AT_WORK:
        _settle(store, folder, lambda name, held: True)


def has(folder: Path, name: str) -> bool:
    """Whether a run has a file or folder, here or in its store."""
    known = Known.of(folder) if (folder / KNOWN).is_file() else None
    there = known is not None and not known.whole and any(f"{each}/".startswith(f"{name}/") for each in known.state.files)
    return there or (folder / name).exists()


def newest_state(store: Blobs, run: str) -> tuple[State, str | None]:
    """The state of a run with its mark; an empty one where the store has none."""
    for _ in range(TRIES):
        there = store.names(f"{STATES}/{run}")
        if not there:
            return State(), None
        name, entry = list(there.items())[-1]
        if (read := store.read(name)) is not None:
            return State(**json.loads(read)), entry.mark
    raise UserError(f"{store.address}/{run} changes faster than it can be read; try again")


def _settle(store: Blobs, folder: Path, wanted: Callable[[str, Mapping[str, Any]], bool]) -> None:
    """Bring what is wanted of a run, and take away what the store has not (any more)."""
    with _apart(folder) as free:
        if free:
            catch_up(store, folder, wanted)


def catch_up(store: Blobs, folder: Path, wanted: Callable[[str, Mapping[str, Any]], bool] = lambda name, held: True) -> None:
    """As `_settle`, of a copy that this process holds."""
    for _ in range(TRIES):
        state, mark = newest_state(store, name_of(folder))
        if _settled(store, folder, state, mark, wanted):
            return
    raise UserError(f"{store.address}/{name_of(folder)} changes faster than it can be read; try again")


def _settled(
    store: Blobs, folder: Path, state: State, mark: str | None, wanted: Callable[[str, Mapping[str, Any]], bool]
) -> bool:
    known = Known.of(folder)
    if known is not None and (known.state.turn, known.state.step) == (state.turn, state.step) and known.whole:
        Known(known.state, True, known.token, mark).write(folder)
        return True
    if mark is None:  # nowhere but here; or taken away there
        if known is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return True
    folder.mkdir(parents=True, exist_ok=True)
    for name in files_of(folder):
        if name not in state.files:
            (folder / name).unlink(missing_ok=True)
    whole = True
    for name, held in state.files.items():
        if not inside(name):
            raise UserError(f"{store.address}/{name_of(folder)} holds {name!r}, which lies outside of it; prune it there")
        if not alike(folder / name, held):
            if not wanted(name, held):
                (folder / name).unlink(missing_ok=True)
                whole = False
            elif not _brought(store, folder / name, held):
                return False
        stamp(folder / name, held)
    Known(state, whole, known.token if known else "", mark).write(folder)
    return True


def _brought(store: Blobs, path: Path, held: Mapping[str, Any]) -> bool:
    """One file into its place; False where it is no longer there. Raises UserError where it is damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    if "text" in held:
        beside.write_bytes(held["text"].encode())
    elif not store.get(held["key"], beside):
        return False
    if digest_of(beside) != held["sha256"]:
        beside.unlink()
        raise UserError(f"{store.address}/{held['key']} is damaged: its sha256 is not the run's; run the plan with --fresh")
    beside.replace(path)
    return True


def inside(name: str) -> bool:
    """Whether a name of a state stays in the run's folder."""
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts


def alike(path: Path, held: Mapping[str, Any]) -> bool:
    """Whether a file here is what a state names."""
    try:
        here = path.stat()
    except OSError:
        return False
    if here.st_size != held["size"]:
        return False
    return bool(here.st_mtime_ns == held["mtime"] or digest_of(path) == held["sha256"])


def stamp(path: Path, held: Mapping[str, Any]) -> None:
    """Give a file the time and the mode that it had where it was written: which run came last is read off them."""
    with suppress(FileNotFoundError):
        os.utime(path, ns=(held["mtime"], held["mtime"]))
        path.chmod(held["mode"])


def files_of(folder: Path) -> Iterator[str]:
    """Every file of a run that is kept: none that is half written, and no lock."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".part"))
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".part"):
                yield Path(place, name).relative_to(folder).as_posix()


def digest_of(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def attempt_of(runs: Path, rows: str, draw: str) -> int | None:
    """Which draw this is that is judged by these holdout rows, of those that all machines judged: 1, 2, ... None for runs that
    lie here."""
    store = client(runs)
    if store is None:
        return None
    folder = f"{ATTEMPTS}/{rows}"
    while True:
        seen = [store.read(name) for name in store.names(folder)]
        if draw.encode() in seen:
            return seen.index(draw.encode()) + 1
        if store.claim(folder, len(seen) + 1, draw.encode()) is None:
            time.sleep(0.1)


@contextmanager
def _apart(folder: Path) -> Iterator[bool]:
    """Whether no process of this machine works on a copy; meanwhile no other one brings it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".bring").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield not _worked_on(folder)


def _worked_on(folder: Path) -> bool:
    try:
        with (folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
