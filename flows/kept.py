"""How does a run come into its store while a process works on it, and who may work?"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.blobs import Blobs
from data.errors import UserError
from data.turns import LostError, Turn, take
from flows import away
from flows.away import AT_WORK, STATES, TURNS, Known, State, digest_of, files_of, name_of

#: Seconds after which a process that is not heard of counts as dead (COUNTERPOISE_LEASE).
LEASE = 60.0
#: What is put there in the middle of a stage, so that another machine goes on from it: of a fit its checkpoints first.
LIVE = ("checkpoint", "bakeoff", "training.jsonl", "at_work.json", "run.log")
#: Bytes of a text that stands in the state itself.
WITHIN = 32 << 10
#: The run that this process has the turn of, by its folder.
_KEEPERS: dict[Path, Keeper] = {}


@dataclass
class Keeper:
    """Puts a run into its store, under a turn of its own."""

    folder: Path
    store: Blobs
    turn: Turn
    known: Known
    digests: dict[tuple[int, int, int], str] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    busy: threading.Lock = field(default_factory=threading.Lock)
    lost: LostError | None = None

    def put(self) -> None:
        """The whole run as it is. Raises LostError, and what the store raises: then the state before stands."""
        with self.busy:
            if self.known.whole:
                self._put({name: self.folder / name for name in files_of(self.folder)}, {})

    def put_live(self) -> None:
        """What a stage at work keeps, as it is at one moment; all else as the stage before left it."""
        with self.busy, self._at_once() as live:
            if not self.known.whole:
                return
            others = {name: held for name, held in self.known.state.files.items() if name.split("/")[0] not in LIVE}
            self._put(live, others)

    def _put(self, here: Mapping[str, Path], others: Mapping[str, Mapping[str, Any]]) -> None:
        if self.lost is not None:
            raise self.lost
        before = self.known.state
        held = {each["sha256"]: each["key"] for each in before.files.values() if "key" in each}
        files = {**others, **{name: self._held(name, path, held) for name, path in here.items()}}
        if files == before.files:
            return
        state = State(self.turn.number, before.step + 1, files)
        name = f"{STATES}/{name_of(self.folder)}/{self.turn.number:06d}.json"
        self.store.write(name, json.dumps(state.to_json()).encode())
        # Written under a number that is not the highest it is not read, and what it names no more is another's to remove.
        self._check()
        self.known = Known(state, True, self.turn.token)
        self.known.write(self.folder)
        self.store.delete(sorted(before.keys - state.keys))
        if before.turn not in (0, self.turn.number):
            self.store.delete([f"{STATES}/{name_of(self.folder)}/{before.turn:06d}.json"])

    def _held(self, name: str, path: Path, held: dict[str, Any]) -> dict[str, Any]:
        """What a state says of a file, which is put there unless it is."""
        found = path.stat()
        mark = (found.st_ino, found.st_size, found.st_mtime_ns)
        sha256 = self.digests.get(mark) or digest_of(path)
        self.digests[mark] = sha256
        told = {"sha256": sha256, "size": found.st_size, "mtime": found.st_mtime_ns, "mode": found.st_mode & 0o777}
        if found.st_size <= WITHIN:
            with suppress(UnicodeDecodeError):
                return told | {"text": path.read_bytes().decode()}
        if sha256 not in held:
            key = f"{name_of(self.folder)}/{self.turn.number:06d}/{sha256[:16]}/{name}"
            self.store.put(path, key)
            held[sha256] = key
        return told | {"key": held[sha256]}

    @contextmanager
    def _at_once(self) -> Iterator[dict[str, Path]]:
        """Links to what a stage at work keeps: checkpoints are moved into place, so that each link is to a whole one."""
        aside = self.folder / ".live"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            live = {}
            for name in _live(self.folder):
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # it was moved on
                    (shutil.copy2 if name.split("/")[0] not in LIVE[:2] else os.link)(self.folder / name, aside / name)
                    live[name] = aside / name
            yield live
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _check(self) -> None:
        try:
            self.turn.check()
        except LostError as error:
            self.lost = error
            raise

    def live(self) -> None:
        """In a thread: puts what a stage at work keeps, time and again. A store that is away is met by the end of the stage."""
        while not self.stop.wait(self.turn.lease / 6) and self.lost is None:
            with suppress(UserError, OSError):
                self.put_live()

    def renew(self) -> None:
        """In a thread: says that this process lives."""
        while not self.stop.wait(self.turn.lease / 4) and self.lost is None:
            with suppress(UserError):
                try:
                    self.turn.renew()
                except LostError as error:
                    self.lost = error

    def remove(self) -> None:
        """Take the run out of the store: its state first, so that half of it is no run; its turns last."""
        run = name_of(self.folder)
        for below in (f"{STATES}/{run}", run, f"{TURNS}/{run}"):
            self.store.delete(list(self.store.names(below)))

    def sweep(self) -> None:
        """Take away what a process that was killed had put there and no state names."""
        there = self.store.names(name_of(self.folder))
        self.store.delete([name for name in there if name not in self.known.state.keys])


def _live(folder: Path) -> Iterable[str]:
    for name in LIVE:
        if (folder / name).is_dir():
            yield from (f"{name}/{each}" for each in files_of(folder / name))
        elif (folder / name).is_file():
            yield name


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Have the turn of a run that lies in a store, and keep it there; nothing of one that lies here.

    Raises TakenError where another process has it."""
    store = away.client(folder.parent.parent)
    if store is None:
        yield
        return
    keeper = _begun(folder, store)
    threads = [threading.Thread(target=work, daemon=True) for work in (keeper.live, keeper.renew)]
    for thread in threads:
        thread.start()
    try:
        with _terminated():
            yield
    except BaseException:
        with suppress(UserError, OSError):  # what the run raised is told
            _end(keeper, threads)
        raise
    else:
        _end(keeper, threads)
    finally:
        AT_WORK.discard(folder)
        _KEEPERS.pop(folder, None)


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM, by which machines are taken away, is heard as Ctrl-C: the turn is ended, so that another one goes on at once."""
    heard = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if heard:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if heard:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _begun(folder: Path, store: Blobs) -> Keeper:
    known = Known.of(folder) or Known()
    lease = _lease()
    run = name_of(folder)
    mine = take(store, f"{TURNS}/{run}", what=f"{store.address}/{run}", lease=lease, after=known.state.turn, own=known.token)
    state, _ = away.newest_state(store, run)
    if not known.whole:
        known.state = state  # what is swept below is named by the newest
    elif (state.turn, state.step) != (known.state.turn, known.state.step):
        away.catch_up(store, folder)
        if (again := Known.of(folder)) is None:
            mine.end()
            raise UserError(f"{store.address}/{run} was taken away meanwhile; give the same command again")
        known = again
    known.token = mine.token
    known.write(folder)
    keeper = Keeper(folder, store, mine, known)
    keeper.sweep()
    AT_WORK.add(folder)
    _KEEPERS[folder] = keeper
    return keeper


def _lease() -> float:
    said = os.environ.get("COUNTERPOISE_LEASE", str(LEASE))
    try:
        lease = float(said)
    except ValueError:
        lease = 0.0
    if not 1.0 <= lease <= 86400.0:
        raise UserError(f"COUNTERPOISE_LEASE={said!r} is no number of seconds from 1 to 86400; correct it, or unset it")
    return lease


def _end(keeper: Keeper, threads: list[threading.Thread]) -> None:
    """The last of it into the store, and the turn to others."""
    keeper.stop.set()
    for thread in threads:
        thread.join()
    if keeper.lost is not None:
        raise keeper.lost
    if not (keeper.folder / "plan.yaml").is_file():
        keeper.remove()
        return
    keeper.put()
    keeper.turn.end()


def kept(folder: Path) -> None:
    """Put a run into its store as it is now, where this process has its turn; nothing else.

    Raises LostError where another one took it over, and what the store raises."""
    if (keeper := _KEEPERS.get(folder)) is not None:
        keeper.put()
