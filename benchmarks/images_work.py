"""One cell of the benchmark of pictures: fit a family and draw, train one detector, or choose a ratio."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.images_data import Setting
from data.dataset import Dataset
from data.images import Pictures, pictures
from generators.base import Generator

Array = np.ndarray
NOTHING, BALANCED, CLASSICAL, ALL = "nothing", "balanced", "classical", "all"
CHEAP = (NOTHING, BALANCED, CLASSICAL, ALL)
RATIOS = (0.5, 1.0, 2.0, 5.0, 10.0)
#: Apart from each other are the seeds of two trials by this.
TRIAL = 7919
#: Ways that are a family with some of its settings.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "paste-gan": ("paste", {"patches": "gan"}),
    "paste-diffusion": ("paste", {"patches": "diffusion"}),
}
#: The family that learns surfaces first, and in how many updates.
SHARES, PRETRAIN_STEPS = "finetune", 1500
#: Settings of a family that count updates, in the order in which it makes them.
LENGTHS = ("pretrain_steps", "steps")
#: Updates, and seconds, after which the pace of a training is known; a stage before the one in question is cut to PROBE.
PACED, PACED_SECONDS, PROBE = 20, 20.0, 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much work a cell may be. minutes: for the training of a family; steps: updates of a detector; folds, ratios:
    of the choice inside train; given: settings of families, {"finetune": {"width": 48}}."""

    minutes: float = 3.0
    steps: int = 600
    folds: int = 2
    ratios: tuple[float, ...] = RATIOS
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a worker does. kind: "fit", "score" or "choose"; arm: a cheap way or a family; ratio: 0 for a cheap way; trial: of a
    detector, which differs by its first weights and batches from another trial on the same pictures."""

    kind: str
    setting: str
    seed: int
    arm: str
    ratio: float = 0.0
    trial: int = 0

    @property
    def key(self) -> str:
        """Its name in the store: "bsdata-5|0|paste|2", "bsdata-5|0|paste|2#1"."""
        last = {"fit": "fit", "choose": "choice"}.get(self.kind) or (f"{self.ratio:g}" if self.ratio else "")
        name = "|".join([self.setting, str(self.seed), self.arm, *([last] if last else [])])
        return f"{name}#{self.trial}" if self.trial else name


def ends_with(parent: int, every: float = 1.0) -> None:
    """End this process when `parent`, the one that started it, is gone: a killed run leaves no workers behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(job: Job, limits: Limits, cache: Path) -> dict[str, Any]:
    """The figures of a job, or {"error": why}."""
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        found = {"fit": _fit, "score": _score, "choose": _choose}[job.kind](job, limits, cache)
    except Exception as error:  # a family that fails must not end a run of hours; its cell says why
        found = {"error": f"{type(error).__name__}: {error}"[:300]}
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def kept_in(cache: Path, job: Job) -> Path:
    """The file of a family's drawn pictures."""
    return cache / f"{job.setting}-{job.seed}-{job.arm}.npz"


# --- fit and draw


class _EnoughError(Exception):
    """The pace is known."""


class _Watch:
    """Measures the pace of one stage of a training, then ends it."""

    def __init__(self, stage: int) -> None:
        self.stage, self._at, self._last = stage, -1, 0
        self.total, self.pace, self._first = 0, 0.0, (0.0, 0)

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        if what != "step":
            return
        now = time.monotonic()
        if self._at < 0 or done < self._last:
            self._at, self._first = self._at + 1, (now, done)
        self._last = done
        if self._at != self.stage:
            return
        self.total = total
        spent, steps = now - self._first[0], done - self._first[1]
        if steps >= PACED or (steps and spent > PACED_SECONDS):
            self.pace = spent / steps
            raise _EnoughError


def lengths(arm: str, train: Dataset, seed: int, limits: Limits, extra: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Updates of each stage of a family's training that fit into `limits.minutes`; a stage that fits as it is, is left out.

    A training is begun to learn its pace and how long it would be by itself; several stages share the minutes. extra: settings
    besides those of `limits`."""
    given = dict(limits.given.get(arm, {})) | dict(extra or {})
    known = {item.name for item in fields(_class(arm))}
    stages = [name for name in LENGTHS if name in known]
    free = [name for name in stages if name not in given]
    out: dict[str, int] = {}
    for name in free:
        earlier = {each: PROBE for each in stages[: stages.index(name)]}
        watch = _Watch(len(earlier))
        try:
            _family(arm, given | earlier).fit(train, seed=seed, progress=watch)
        except _EnoughError:
            affordable = int(limits.minutes * 60 / len(free) / watch.pace)
            if affordable < watch.total:
                out[name] = max(affordable, 1)
    return out


def _fit(job: Job, limits: Limits, cache: Path) -> dict[str, Any]:
    setting = Setting.of(job.setting)
    train = setting.few_of(job.seed)
    extra = _surfaces(setting, limits, cache) if job.arm == SHARES else {}
    cut = lengths(job.arm, train, job.seed, limits, extra)
    family = _family(job.arm, dict(limits.given.get(job.arm, {})) | extra | cut)
    start = time.perf_counter()
    family.fit(train, seed=job.seed)
    fitted = time.perf_counter()
    wanted = int(np.ceil(max(limits.ratios) * setting.few))
    batches = [b for name in setting.cut for b in family.sample(wanted, where={"class": name}, seed=1000 + job.seed)]
    ended = time.perf_counter()
    made = pictures(Dataset(pa.Table.from_batches(batches, schema=train.schema.arrow()), train.schema))
    _write(kept_in(cache, job), made)
    rate = len(made) / (ended - fitted)
    return {"fit_seconds": round(fitted - start, 1), "pictures_per_second": round(rate, 1), "cut": cut, "drawn": len(made)}


def _surfaces(setting: Setting, limits: Limits, cache: Path) -> dict[str, Any]:
    """The denoiser that has learned the surfaces of a data set, once for all seeds and settings of it.

    In place of the defects that are cut, it is shown procedural ones, so that no seed knows another one's real pictures."""
    from data.images import CLASS

    folder = cache / f"{setting.data}-{SHARES}-surfaces"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            few = setting.few_of(0)
            labels = np.array(few.column(CLASS).to_pylist())
            fake = _family("procedural", {}).fit(few, seed=0)
            own = few.take(np.flatnonzero(~np.isin(labels, setting.cut)))
            batches = [b for name in setting.cut for b in fake.sample(setting.few, where={"class": name}, seed=7)]
            made = pa.Table.from_batches(batches, schema=few.schema.arrow())
            shown = Dataset(pa.concat_tables([own.table, made]), few.schema)
            given = {"pretrain_steps": PRETRAIN_STEPS} | dict(limits.given.get(SHARES, {})) | {"steps": 0}
            with TemporaryDirectory(dir=folder.parent) as scratch:
                _family(SHARES, given).fit(shown, seed=0).save(Path(scratch) / "model")
                (Path(scratch) / "model").rename(folder)
    return {"backbone": str(folder)}


def _class(arm: str) -> type:
    from configs.components import find

    return find(f"image.{VARIANTS[arm][0] if arm in VARIANTS else arm}", Generator, package="generators")


def _family(arm: str, settings: Mapping[str, Any]) -> Generator:
    from configs.components import build

    name, extra = VARIANTS.get(arm, (arm, {}))
    family: Generator = build({"use": f"image.{name}", **extra, **settings}, Generator, package="generators")
    return family


def _write(path: Path, made: Pictures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part.npz")
    np.savez_compressed(
        beside, pixels=made.pixels, masks=made.masks, masked=made.masked, labels=made.labels, classes=np.array(made.classes)
    )
    beside.replace(path)


def drawn(cache: Path, job: Job) -> Pictures:
    """The pictures that a "fit" job of this setting, seed and family kept."""
    with np.load(kept_in(cache, job)) as found:
        classes = tuple(str(name) for name in found["classes"])
        return Pictures(found["pixels"], found["masks"], found["masked"], found["labels"], classes)


# --- score and choose


def _score(job: Job, limits: Limits, cache: Path) -> dict[str, Any]:
    from validators.picture_utility import Course, Test, overlap, scores

    setting, course = Setting.of(job.setting), Course(steps=limits.steps)
    arm, filled = _arm(job, cache), setting.cut
    test, seed = setting.test(), job.seed + TRIAL * job.trial
    if setting.segments:
        found = overlap(arm, Test.of(test), filled=filled, seed=seed, course=course)
        return {"value": float(found[0])}
    one = scores(arm, test, seed=seed, filled=filled, course=course)
    figures = {"value": one.macro_ap, "recall": float(np.mean([one.recall[name] for name in filled]))}
    return figures | {"balanced_accuracy": one.balanced_accuracy, "ap": dict(one.ap)}


def _arm(job: Job, cache: Path) -> Any:
    from validators.picture_utility import Arm

    setting = Setting.of(job.setting)
    train = pictures(setting.train() if job.arm == ALL else setting.few_of(job.seed))
    made = None if job.arm in CHEAP else drawn(cache, job)
    changes = _changes(setting, job.seed)
    return Arm(
        job.key, train, made, job.ratio, balanced=job.arm != NOTHING, classical=job.arm not in (NOTHING, BALANCED),
        changes=changes,
    )  # fmt: skip


def _changes(setting: Setting, seed: int) -> Any:
    """Of the few real pictures, for all ways alike."""
    from validators.picture_utility import changes_of

    few = pictures(setting.few_of(seed))
    return changes_of(few.pixels, few.labels)


def _choose(job: Job, limits: Limits, cache: Path) -> dict[str, Any]:
    from validators.picture_utility import Course, choose

    setting = Setting.of(job.setting)
    ratios = (0.0, *limits.ratios)
    base = _arm(Job("score", job.setting, job.seed, CLASSICAL), cache)
    made = drawn(cache, job)
    arms = [type(base)(f"{r:g}", base.train, made if r else None, r, changes=base.changes) for r in ratios]
    found = choose(
        arms, filled=setting.cut, seeds=(job.seed,), course=Course(steps=max(limits.steps // 2, 1)), folds=limits.folds,
        segmenter=setting.segments,
    )  # fmt: skip
    return {"ratio": float(found.name), "on": found.on, "figures": {name: v.tolist() for name, v in found.figures.items()}}


def plain(job: Job) -> dict[str, Any]:
    """JSON values."""
    return asdict(job)
