"""Which way of adding pictures of a defect makes a detector better, and by how much of what could be had?

    python -m benchmarks.images --settings bsdata-5 deeppcb-5 --arms nothing balanced classical procedural paste gan diffusion
        finetune vae all --seeds 3 --store build/images.json --out docs/benchmarks/images.md

A setting gives a few real pictures of a defect (which, the seed picks) and all good ones. Every family learns from these in
a limited time and draws ten pictures to each real one; a small detector is trained with them at several ratios, balanced
sampling and classical augmentation on, and tested on real pictures of other parts. Beside all families stand training on
the few alone, in three cheap ways, and on all real pictures. Every finished cell is kept in the store, so that a run that
was stopped goes on where it was; drawn pictures are kept beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# Before numpy is loaded: processes share the cores, and threads of theirs would wait for each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from benchmarks.images_data import DEFAULTS, Setting, absent, folder  # noqa: E402 - after the threads are set
from benchmarks.images_record import HEADROOM, headroom, record  # noqa: E402
from benchmarks.images_work import ALL, CHEAP, CLASSICAL, RATIOS, Job, Limits, ends_with, kept_in, work  # noqa: E402
from data.errors import DataError, UserError  # noqa: E402

ROOT = Path(__file__).parent.parent
FAMILIES = ("procedural", "paste", "paste-gan", "paste-diffusion", "gan", "diffusion", "finetune", "vae")
Does = Callable[[Job, Limits, Path], dict[str, Any]]
Follow = Callable[[Job], list[Job]]


#: What a detector's figures come from, besides pictures.
DETECTOR = ("_picture_arms.py", "_picture_changes.py", "_picture_nets.py", "_picture_sweep.py")


def detector() -> str:
    """sha256 of the code that trains, tests and chooses."""
    return hashlib.sha256(b"".join((ROOT / "validators" / name).read_bytes() for name in DETECTOR)).hexdigest()


class Store:
    """Finished cells in a JSON file, written after each.

    Cells of other limits are refused. Figures of another detector are taken again; what families have drawn is kept."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits, self.detector = path, json.loads(json.dumps(asdict(limits))), detector()
        held = json.loads(path.read_text()) if path.is_file() else self._held({})
        if held["limits"] != self.limits:
            raise DataError(f"{path} holds cells of other limits, {held['limits']}; name another --store, or ask for these")
        self.cells: dict[str, dict[str, Any]] = held["cells"]
        if held.get("detector") != self.detector:
            print(f"{path}: the detector has changed, so its figures are taken again", file=sys.stderr)
            self.cells = {key: cell for key, cell in self.cells.items() if key.endswith("|fit")}

    def _held(self, cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
        return {"limits": self.limits, "detector": self.detector, "cells": cells}

    @property
    def cache(self) -> Path:
        """The folder of drawn pictures."""
        return self.path.parent / self.path.stem

    def keep(self, job: Job, found: dict[str, Any]) -> None:
        self.cells[job.key] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self._held(self.cells), indent=1, sort_keys=True))
        beside.replace(self.path)

    def done(self, job: Job) -> bool:
        """Whether nothing is left to do; what failed is tried again."""
        found = self.cells.get(job.key)
        return found is not None and "error" not in found and (job.kind != "fit" or kept_in(self.cache, job).is_file())


def plan(settings: Sequence[str], arms: Sequence[str], seeds: Sequence[int], trials: int = 1) -> Iterator[Job]:
    """The jobs of all cheap arms: seed after seed, so that a run that is stopped has seen every setting."""
    for trial in range(trials):
        for seed in seeds:
            for name in settings:
                yield from (Job("score", name, seed, arm, trial=trial) for arm in arms if arm in CHEAP)


def fits(settings: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """The jobs that train a family; each is followed by `after` it."""
    for seed in seeds:
        for name in settings:
            yield from (Job("fit", name, seed, arm) for arm in arms if arm not in CHEAP)


def after(job: Job, limits: Limits, trials: int = 1) -> list[Job]:
    """What can be done once a family has drawn its pictures: detectors at each ratio, and the choice of one."""
    each = [Job("score", job.setting, job.seed, job.arm, ratio, t) for t in range(trials) for ratio in limits.ratios]
    return [*each, Job("choose", job.setting, job.seed, job.arm)] if limits.folds else each


def run(jobs: Sequence[Job], store: Store, limits: Limits, workers: int, does: Does = work, *, trials: int = 1) -> None:
    """Every job that is not done, and those that follow a fit; here if `workers` is 1, else in so many processes.

    Raises UserError when a process was ended from outside, as a machine short of memory does."""
    left, follow = deque(jobs), partial(after, limits=limits, trials=trials)
    if workers == 1:
        while (job := _next(left, store, follow)) is not None:
            _finish(job, does(job, limits, store.cache), left, store, follow)
        return
    running: dict[Future[dict[str, Any]], Job] = {}
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=ends_with, initargs=(os.getpid(),)) as pool:
        while True:
            while len(running) < workers and (job := _next(left, store, follow)) is not None:
                running[pool.submit(does, job, limits, store.cache)] = job
            if not running:
                return
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                _finish(running.pop(one), _result(one), left, store, follow)


def _next(left: deque[Job], store: Store, follow: Follow) -> Job | None:
    """The next job that is not done; what follows a fit that is done comes before the others."""
    while left:
        job = left.popleft()
        if not store.done(job):
            return job
        if job.kind == "fit":
            left.extendleft(reversed(follow(job)))
    return None


def _finish(job: Job, found: dict[str, Any], left: deque[Job], store: Store, follow: Follow) -> None:
    store.keep(job, found)
    said = found.get("error") or next((f"{k} {found[k]:.4g}" for k in ("value", "ratio", "fit_seconds") if k in found), "")
    print(f"{time.strftime('%H:%M:%S')} {job.key}: {said} ({len(left)} left)", file=sys.stderr, flush=True)
    if job.kind == "fit" and "error" not in found:
        left.extendleft(reversed(follow(job)))


def _result(one: Future[dict[str, Any]]) -> dict[str, Any]:
    try:
        return one.result()
    except BrokenProcessPool:
        raise UserError("a worker process was ended, for want of memory perhaps; run again with --jobs 1 to go on") from None


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the record, write it; the exit code."""
    options = _options(arguments)
    try:
        settings = [Setting.of(name).name for name in options.settings]
        if gone := absent(settings):
            print(f"skipped, as {folder()} (COUNTERPOISE_DATA) holds no such data: {', '.join(gone)}", file=sys.stderr)
        settings = [name for name in settings if name not in gone]
        if not settings:
            return 0
        limits = Limits(
            minutes=options.minutes, steps=options.steps, folds=options.folds, ratios=tuple(options.ratios),
            given=_given(options.given),
        )  # fmt: skip
        store = Store(Path(options.store), limits)
        if not options.record_only:
            _measure(settings, options, store, limits)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    text = record(store.cells, settings, options.arms, _seeds(options), limits, _command(options))
    print(text)
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(text)
    return 0


def _measure(settings: Sequence[str], options: argparse.Namespace, store: Store, limits: Limits) -> None:
    """Cheap ways first: families are tried where they show headroom."""
    seeds = _seeds(options)
    run(list(plan(settings, options.arms, seeds, options.trials)), store, limits, options.jobs)
    worth = [name for name in settings if options.everywhere or (headroom(store.cells, name, seeds) or 0.0) > HEADROOM]
    run(list(fits(worth, options.arms, seeds)), store, limits, options.jobs, trials=options.trials)


def _seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _given(pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """["finetune.steps=600"] -> {"finetune": {"steps": 600}}. Raises DataError for another form."""
    import yaml

    out: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        family, dot, setting = name.partition(".")
        if not (equals and dot and setting):
            raise DataError(f"--set {pair}: write family.setting=value, as finetune.steps=600")
        out.setdefault(family, {})[setting] = yaml.safe_load(value)
    return out


def _command(options: argparse.Namespace) -> str:
    shown = [f"--settings {' '.join(options.settings)}", f"--arms {' '.join(options.arms)}", f"--seeds {options.seeds}"]
    shown += [f"--first-seed {options.first_seed}"] if options.first_seed else []
    shown += [f"--trials {options.trials}"] if options.trials > 1 else []
    shown += [f"--minutes {options.minutes:g}", f"--steps {options.steps}", f"--folds {options.folds}"]
    shown += [f"--ratios {' '.join(f'{r:g}' for r in options.ratios)}"]
    shown += [f"--set {' '.join(options.given)}"] if options.given else []
    return "python -m benchmarks.images " + " ".join([*shown, *(["--everywhere"] if options.everywhere else [])])


def _options(arguments: list[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--settings", nargs="+", default=list(DEFAULTS), help=f"of {' '.join(DEFAULTS)}; any number will do")
    cli.add_argument("--arms", nargs="+", default=[*CHEAP[:-1], *FAMILIES, ALL], help="cheap ways, and image.* by their file")
    cli.add_argument("--seeds", type=int, default=3, help="draws of the few pictures")
    cli.add_argument("--first-seed", type=int, default=0, help="a later one asks again by draws that no choice has seen")
    cli.add_argument("--trials", type=int, default=1, help="detectors trained for each figure, of which the mean is taken")
    cli.add_argument("--minutes", type=float, default=3.0, help="for the training of each family, on one core")
    cli.add_argument("--steps", type=int, default=600, help="updates of each detector")
    cli.add_argument("--folds", type=int, default=2, help="of train, to choose a ratio on; 0 for no choice")
    cli.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS), help="synthetic pictures to a real one")
    cli.add_argument("--set", nargs="+", default=[], dest="given", metavar="FAMILY.SETTING=VALUE", help="of a family")
    cli.add_argument("--everywhere", action="store_true", help="families also where there is no headroom")
    cli.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    cli.add_argument("--store", default="build/images.json", help="finished cells; drawn pictures beside it")
    cli.add_argument("--record-only", action="store_true", help="write the page of what the store holds, and measure nothing")
    cli.add_argument("--out", default="docs/benchmarks/images.md", help="the Markdown page; empty for none")
    options = cli.parse_args(arguments)
    options.arms = list(dict.fromkeys([*options.arms, CLASSICAL]))
    return options


if __name__ == "__main__":
    sys.exit(main())
