"""Which rows are trials fitted on and judged by, and how is a trial made in a process of its own?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.errors import DataFault
from data.dataset import Dataset
from data.errors import DataError
from flows.measure import available_mib, importing
from flows.run import Run, write_text
from validators._utility_folds import folds_of
from validators._utility_rows import groups_of

#: What is held back of train where the plan keeps no reference, reference rows that trials are judged by, at most and least.
HELD, MOST, LEAST = 0.25, 5000, 30
#: Times that trials are judged, each by other rows, at most.
TURNS = 8
#: Rows of a scarce class that stay in every subsample.
KEPT = 300
#: What a trial is taken to need before one has been seen, in MB.
UNSEEN_MB = 1024.0
#: How many times as many rows each rung has, and rows of the smallest: fewer say little of a table.
ETA, FEWEST = 3, 200
#: Seconds that starting a process and reading the rows takes.
START = 5.0

#: What is said of a trial that was ended because its time was over.
OUT_OF_TIME = "its share of the time"

#: One trial: (folder of its job, seconds it may take) -> its record.
Attempt = Callable[[str, float], Mapping[str, Any]]


@dataclass(frozen=True)
class Ground:
    """Real rows for trials, in a folder of their own. None of them is a holdout row.

    scarce: positions of classes whose gain is asked; asked only where there are classes; lower: of those that have less than
    half of the largest; held: all rows of which `reference` are at most MOST."""

    run: Run
    folder: Path
    train: Dataset
    reference: Dataset
    scarce: tuple[int, ...]
    lower: tuple[int, ...]
    held: Dataset

    @classmethod
    def lay(cls, run: Run, folder: Path, drawn: Mapping[Any, int]) -> Ground:
        """Train without the reference, and the reference; drawn: rows that the plan draws of each class.

        Raises DataFault where too few rows are left to judge by."""
        train, reference = _apart(run)
        counts = np.bincount(train.labels(), minlength=len(train.schema.classes())) if train.schema.classes() else np.zeros(0)
        lower = [k for k, n in enumerate(counts) if 0 < n < counts.max() / 2]
        wanted = [k for k, level in enumerate(train.schema.classes()) if drawn.get(level) and 0 < counts[k] < counts.max()]
        scarce = [k for k in wanted if k in lower] or wanted
        ground = cls(run, folder, train, reference, tuple(scarce), tuple(lower), reference)
        return replace(ground, reference=ground._fewer(reference, MOST))

    @property
    def turns(self) -> int:
        """How often trials can be judged by other rows: by the reference, then by as large parts of train, all disjoint."""
        return 1 + min(self.parts, TURNS - 1) if self.parts > 1 else 1

    @property
    def parts(self) -> int:
        """Parts of train, each about as large as the reference, and with two rows of each class that is asked of."""
        labels = self.train.labels() if self.scarce else np.zeros(0)
        return min([self.train.num_rows // self.held.num_rows, *(int((labels == k).sum()) // 2 for k in self.scarce)])

    def turned(self, turn: int) -> Ground:
        """The rows of a turn: of 0 these; else those of one part of train to judge by, and the reference to learn from, too."""
        if turn == 0:
            return self
        labels = np.maximum(self.train.labels(), -1) + 1 if self.train.schema.classes() else np.zeros(self.train.num_rows, int)
        part = folds_of(labels, groups_of(self.train), self.parts, self.run.plan.seed) == turn - 1
        rest, held = self.train.take(np.flatnonzero(~part)), self.train.take(np.flatnonzero(part))
        train = Dataset(pa.concat_tables([rest.table, self.held.table]), self.train.schema)
        return replace(self, folder=self.folder / str(turn), train=train, reference=self._fewer(held, MOST), held=held)

    def write(self, rows: int) -> dict[str, str]:
        """The files of a trial on so many rows, written where they are not there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = {"train": self.folder / f"train-{rows}.parquet", "reference": self.folder / "reference.parquet"}
        made = {"train": lambda: self._fewer(self.train, rows), "reference": lambda: self.reference}
        for name, path in paths.items():
            if not path.is_file():
                beside = path.with_name(path.name + ".part")
                made[name]().write_parquet(beside)
                beside.replace(path)
        schema = self.folder / "schema.json"
        write_text(schema, json.dumps(self.train.schema.to_json(), default=str))
        return {name: str(path) for name, path in (paths | {"schema": schema}).items()}

    def _fewer(self, data: Dataset, rows: int) -> Dataset:
        """So many random rows; of each class that has less than half of the largest KEPT, or all, at least. More rows hold
        all those that fewer hold."""
        if rows >= data.num_rows:
            return data
        order = np.random.default_rng([self.run.plan.seed, 31]).permutation(data.num_rows)
        kept = np.zeros(data.num_rows, dtype=bool)
        if self.lower:
            labels = data.labels()
            for k in self.lower:
                own = order[labels[order] == k]
                kept[own[: max(KEPT, -(-rows * len(own) // data.num_rows))]] = True
            order = order[~np.isin(labels[order], self.lower)]
        # Where scarce classes have taken the room, the others still have half as much as was asked for.
        kept[order[: max(rows - int(kept.sum()), rows // 2)]] = True
        return data.take(np.flatnonzero(kept))


def _apart(run: Run) -> tuple[Dataset, Dataset]:
    """Rows to learn from and rows to judge by: the plan's reference, or a quarter of train where it is train itself."""
    from data.split import split
    from flows.stages.split import parts_of

    plan, parts = run.plan, parts_of(run)
    train, reference = parts.train, parts.reference
    if parts.reference_rows is parts.train_rows:
        try:
            again = split(train, reference=0.0, holdout=HELD, seed=plan.seed, group=plan.group)
        except DataError as error:
            raise DataFault(("choose",), f"trials keep a quarter of the training rows to judge by, and {error}") from None
        train, reference = again.train, again.holdout
    if reference.num_rows < LEAST:
        raise DataFault(
            ("choose",),
            f"{reference.num_rows} reference rows are too few to judge trials by, {LEAST} are needed; give more rows",
        )
    return train, reference


def workers(count: int, peaks: Sequence[float], device: str = "cpu") -> int:
    """Trials at a time: as many as cores but one and as fit into memory, one on a GPU. peaks: of those that ended, in MB."""
    if device == "cuda":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores - 1, count, int((available_mib() or UNSEEN_MB) // max([*peaks, 0.0] if peaks else [UNSEEN_MB]))))


#: Trials that run now. One that was taken out of it was ended by this program's own end, and has not lost.
_RUNNING: set[subprocess.Popen[bytes]] = set()


def attempt(folder: str, seconds: float) -> Mapping[str, Any]:
    """The job in `folder`, in a process of its own, ended after so many seconds: its record, which is also written.

    A record holds figures, or `failed`: why there are none."""
    place = Path(folder)
    job = json.loads((place / "job.json").read_text()) | {"began": time.time()}
    write_text(place / "job.json", json.dumps(job))
    # Threads of one trial must not wait for those of another.
    single = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {**os.environ, **single, **importing()}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "flows.trial", folder], env=environment, stdout=log, stderr=log)
        _RUNNING.add(process)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        except BaseException:
            _RUNNING.discard(process)
            process.kill()
            raise
        process.wait()
    out = Path(job["out"])
    stopped = process not in _RUNNING
    _RUNNING.discard(process)
    if not out.is_file():
        spent = time.time() - job["began"]
        if stopped:
            return {"failed": "it was stopped", "seconds": spent}
        why = f"stopped after {seconds:.0f} s, {OUT_OF_TIME}" if spent >= seconds else _ended(process.returncode, place)
        write_text(out, json.dumps({"failed": why, "seconds": round(spent, 3)}))
    record: dict[str, Any] = json.loads(out.read_text())
    return record


def _ended(code: int, place: Path) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as happens where memory runs out"
    return f"its process crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'}); see {place / 'log'}"


#: How one trial is made: in a process, or as the task of a server that makes the process.
HOW: ContextVar[Attempt] = ContextVar("HOW", default=attempt)


@contextmanager
def tried_by(how: Attempt) -> Iterator[None]:
    """Trials in this block are made by `how`."""
    token = HOW.set(how)
    try:
        yield
    finally:
        HOW.reset(token)


def tried(
    jobs: Mapping[str, Path], *, seconds: float, at_once: int, heard: Callable[[str, Mapping[str, Any]], None]
) -> dict[str, Mapping[str, Any]]:
    """All trials, `at_once` of them at a time: name -> record. jobs: name -> folder of its job, whose record is not there yet.

    Where this is interrupted, trials that run are ended, and count as never made."""
    found: dict[str, Mapping[str, Any]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        asked = {pool.submit(copy_context().run, HOW.get(), str(place), seconds): name for name, place in jobs.items()}
        try:
            for done in as_completed(asked):
                name = asked[done]
                found[name] = done.result()
                heard(name, found[name])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    return found


def end_all() -> None:
    """End the trials that run now."""
    while _RUNNING:
        _RUNNING.pop().kill()


def job_of(place: Path, ready: Mapping[str, str], **job: Any) -> Path:
    """The folder of a trial, with its job in it. ready: the files of `Ground.write`; job: the other fields of `trial.Job`."""
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "job.json", json.dumps({"began": 0.0, "out": str(record_of(place)), **job, **ready}))
    return place


def record_of(place: Path) -> Path:
    """The record of a trial whose job is in this folder."""
    return place.with_name(f"{place.name}.json")


def sizes(rows: int, count: int, least: int = 0) -> tuple[int, ...]:
    """Training rows of at most so many rungs, each ETA times those before, none of fewer than FEWEST or `least`."""
    return tuple(dict.fromkeys(min(rows, max(-(-rows // ETA**k), least, FEWEST)) for k in reversed(range(count))))


def file_name(family: str) -> str:
    """A family's name as a file's."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in family)
