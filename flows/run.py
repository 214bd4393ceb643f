"""Where does a run live, what of it is done, and may a stage be skipped?"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from configs.load import dump, load
from configs.plan import GeneratorSpec, Plan
from data.errors import UserError
from data.secrets import hidden
from data.turns import TakenError
from flows import away, kept
from flows.pipes import say

#: The note in which a stage keeps, as a text, what its second try must know if the first one is killed.
UNFINISHED = "unfinished"
#: The file that says why a run did not go on; beside a dataset's runs, why its last attempt could not begin one.
REFUSED = "refused.txt"
#: What the process that works on a run does now.
AT_WORK = "at_work.json"
#: The figures that a fit has told of so far.
TOLD = "training.jsonl"
#: Where the report of a release lies that goes out with its rows.
OUTSIDE = "outside"
ROOM = Path(__file__).resolve().parent.parent


class BusyError(UserError):
    """Another process works on the run."""


@dataclass(frozen=True)
class Stage:
    """One step of the walk: what it is called and what it writes; perhaps: what it writes for some plans alone."""

    name: str
    outputs: tuple[str, ...]
    perhaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """The folder of one run: `<runs>/<name>/<run id>/`. All state is in files, so a Run can be made anew anywhere."""

    folder: Path

    @classmethod
    def open(cls, runs: Path, plan: Plan, fingerprint: str) -> Run:
        """The run of this plan on these data: the same plan and the same bytes lead to the same folder."""
        text = dump(plan)
        folder = runs / plan.name / digest(text, fingerprint)[:10]
        away.bring(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A run that is being worked on is left as it is: another process writes its stages down.
            run = cls(folder)
            if not (path := folder / "plan.yaml").is_file() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)
            run._come_last()
            if run.stages.get("fingerprint") != fingerprint:
                run.note("fingerprint", fingerprint)
            if plan.purpose == "release":
                run._name()
        except OSError as error:
            raise UserError(f"{folder} cannot be written ({error.strerror}); name another place with --runs") from None
        return run

    @classmethod
    def find(cls, name: str, runs: Path, *, having: str = "plan.yaml") -> Run:
        """The run a user means: a folder, a run id, or a plan's name (its latest run that has the file `having`); a line on
        stderr says which one, where there are several.

        Raises UserError when there is none.
        """
        found = [cls(Path(name))] if (Path(name) / "plan.yaml").is_file() else []
        found = found or [
            run for run in all_runs(runs) if name in (run.folder.name, f"{run.folder.parent.name}/{run.folder.name}")
        ]
        found = found or [run for run in all_runs(runs) if run.folder.parent.name == name]
        if not found:
            raise UserError(f"there is no run {name!r} under {runs}; `counterpoise runs` lists them")
        able = [run for run in found if away.has(run.folder, having)]
        if not able:
            raise UserError(f"run {found[-1].id} has no {having} yet; `counterpoise run` its plan to the end")
        latest = max(able, key=lambda run: run.touched)
        if len(found) > 1:
            lacking = f" that has its {having}" if len(able) < len(found) else ""
            say(f"{name} has {len(found)} runs; taken is the latest{lacking}, {latest.folder}")
        away.bring(latest.folder)
        return latest

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def alias(self) -> str:
        """What the run of a release is called outside: a name drawn at random, once.

        The id follows from the bytes of the source, so that who knows all rows but one could try that one against it."""
        self._name()
        return str(self.stages["alias"])

    def _name(self) -> None:
        if "alias" not in self.stages:
            self.note("alias", secrets.token_hex(5))

    @property
    def secret(self) -> bytes:
        """32 random bytes, drawn once, which stay in the run's folder: the key of what is made anew."""
        path, fresh = self.folder / "secret.key", self.folder / f".secret.{os.getpid()}"
        if not path.is_file():
            fresh.write_bytes(secrets.token_bytes(32))
            fresh.chmod(0o600)
            with suppress(FileExistsError):  # another process of the same run was quicker
                os.link(fresh, path)
            fresh.unlink()
        return path.read_bytes()

    @property
    def plan(self) -> Plan:
        return load(self.folder / "plan.yaml")

    @property
    def settled(self) -> Plan:
        """The plan with what its `choose` stage decided: the family, where the plan names none, and rows that a sweep found."""
        plan, path = self.plan, self.folder / "choice.json"
        if not path.is_file() or (plan.generator.named and plan.sample.rows != "sweep"):
            return plan
        choice = json.loads(path.read_text())
        found: dict[str, Any] = {"generator": GeneratorSpec(use=choice["family"], **choice["settings"])}
        if plan.sample.rows == "sweep":
            found["sample"] = plan.sample.model_copy(update={"rows": choice["draw"]})
        return plan.model_copy(update=found)

    @property
    def touched(self) -> float:
        """When the run last moved, in seconds since the epoch."""
        return max(p.stat().st_mtime for p in (self.folder / "plan.yaml", self._ledger) if p.exists())

    def _come_last(self) -> None:
        """From now on the run counts as touched after all others of its name, even if the clock was set back meanwhile."""
        others = [run for run in all_runs(self.folder.parent.parent) if run.folder.parent == self.folder.parent]
        now = max([time.time(), *(run.touched + 1e-3 for run in others if run.folder != self.folder)])
        path = self.folder / "plan.yaml"
        try:
            os.utime(path, (now, now))
        except PermissionError:  # another user's file in a folder of several: it is made anew
            write_text(path, path.read_text(encoding="utf-8"))
            os.utime(path, (now, now))

    @property
    def _ledger(self) -> Path:
        return self.folder / "stages.json"

    @property
    def stages(self) -> dict[str, Any]:
        """What is done: stage -> {key, seconds, facts}."""
        return json.loads(self._ledger.read_text()) if self._ledger.is_file() else {}

    @property
    def version(self) -> str | None:
        """The version that it published last, None where it published none."""
        path = self.folder / "published.json"
        found: str | None = json.loads(path.read_text()).get("version") if path.is_file() else None
        return found

    def refused(self, why: str | None) -> None:
        """Keep why the run did not go on, in a sentence; None: that it does."""
        path, before = self.folder / REFUSED, self.why
        with suppress(OSError):  # what is told here has been said already
            path.unlink(missing_ok=True) if why is None else write_text(path, hidden(why) + "\n")
        if self.why != before and away.lies(self.folder):
            with suppress(UserError), self.locked():  # it goes into the store as the turn ends
                pass

    @property
    def why(self) -> str | None:
        """Why the run was refused or failed when it was last tried, None where it was not."""
        return _text(self.folder / REFUSED)

    @property
    def why_none_after(self) -> str | None:
        """Why an attempt after the latest of these runs could not begin one, None where the last attempt did."""
        return _text(self.folder.parent / REFUSED)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact of the run beside its stages."""
        self._write({**self.stages, name: value})

    def renewed(self) -> Run:
        """The same run with nothing done yet, and told not to take over what other runs did."""
        with self.locked():
            for kept in ("checkpoint", "bakeoff"):
                shutil.rmtree(self.folder / kept, ignore_errors=True)
            (self.folder / TOLD).unlink(missing_ok=True)
            notes = {name: value for name, value in self.stages.items() if name in ("fingerprint", "alias")}
            self._write({**notes, "fresh": True})
        return self

    def done(self, stage: Stage, key: str) -> dict[str, Any] | None:
        """The facts of a finished stage with this key and all its outputs still there, else None."""
        entry = self.stages.get(stage.name)
        if not entry or entry["key"] != key or not all((self.folder / out).exists() for out in stage.outputs):
            return None
        facts: dict[str, Any] = entry["facts"]
        return facts

    def finish(self, stage: Stage, key: str, facts: Mapping[str, Any], seconds: float) -> None:
        """Write down that a stage is done; what it noted for a second try is no longer needed."""
        notes = {name: value for name, value in self.stages.items() if name != UNFINISHED}
        self._write({**notes, stage.name: {"key": key, "seconds": round(seconds, 3), "facts": dict(facts)}})

    def borrow(self, stage: Stage, key: str) -> dict[str, Any] | None:
        """Take over a stage that another run of the same name did from the same inputs."""
        if self.stages.get("fresh"):
            return None
        for other in (run for run in all_runs(self.folder.parent.parent) if run.folder.parent == self.folder.parent):
            if other.stages.get(stage.name, {}).get("key") == key:
                away.bring(other.folder)
            if other.folder != self.folder and (facts := other.done(stage, key)) is not None:
                entry = other.stages[stage.name]
                for out in (*stage.outputs, *(name for name in stage.perhaps if (other.folder / name).exists())):
                    _copy(other.folder / out, self.folder / out)
                self.finish(stage, key, facts, entry["seconds"])
                return facts
        return None

    def clear(self, stage: Stage) -> None:
        """Remove what an earlier or broken attempt at this stage left."""
        for out in (*stage.outputs, *stage.perhaps):
            path = self.folder / out
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run: a second process that wants it is told so at once."""
        with (self.folder / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise BusyError(f"{self.folder} is being worked on by process {holder}; wait for it or stop it") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            with _turn(self.folder):
                try:
                    yield
                finally:
                    (self.folder / AT_WORK).unlink(missing_ok=True)

    def _write(self, value: Mapping[str, Any]) -> None:
        write_text(self._ledger, json.dumps(value, indent=1, default=str))
        kept.kept(self.folder)


def unbegun(dataset: Path, why: str | None = None) -> None:
    """Keep beside a dataset's runs why its last attempt could not begin one, in a sentence; None: that it did.

    Where there is no run yet, nothing is kept: nobody watches for it."""
    path = dataset / REFUSED
    with suppress(OSError):  # what is told here has been said already
        if why is None:
            path.unlink(missing_ok=True)
        elif dataset.is_dir():
            write_text(path, hidden(why) + "\n")


def all_runs(runs: Path) -> list[Run]:
    """Every run under a folder, oldest first."""
    away.glance(runs)
    return sorted((Run(p.parent) for p in runs.glob("*/*/plan.yaml")), key=lambda run: run.touched)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """As `kept.turn`; who works on another machine is told as who works on this one."""
    try:
        with kept.turn(folder):
            yield
    except TakenError as error:
        raise BusyError(str(error)) from None


def through(run: Run, stage: Stage, key: str, work: Callable[[], Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """Do a stage unless its inputs are unchanged: (facts, "done" | "skipped" | "borrowed")."""
    if (facts := run.done(stage, key)) is not None:
        return facts, "skipped"
    if (facts := run.borrow(stage, key)) is not None:
        return facts, "borrowed"
    run.clear(stage)
    started = time.monotonic()
    made = dict(work())
    run.finish(stage, key, made, time.monotonic() - started)
    return made, "done"


def digest(*parts: object) -> str:
    """sha256 over the text of the parts, each ended so that ("a", "bc") differs from ("ab", "c")."""
    seal = hashlib.sha256()
    for part in parts:
        seal.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return seal.hexdigest()


@lru_cache(maxsize=64)
def code_version(*rooms: str) -> str:
    """sha256 over the source of these packages or modules, so that a changed program runs its stages again."""
    seal = hashlib.sha256()
    for room in rooms:
        path = ROOM / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            seal.update(str(file.relative_to(ROOM)).encode() + b"\0" + file.read_bytes())
    return seal.hexdigest()


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process at a time; it waits for its turn, and a killed one holds up nobody."""
    # Read alone, since another user may have made it.
    handle = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write beside and move into place: a reader or a kill never meets half a file."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _copy(source: Path, to: Path) -> None:
    if to.is_dir():
        shutil.rmtree(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, to) if source.is_dir() else shutil.copy2(source, to)
