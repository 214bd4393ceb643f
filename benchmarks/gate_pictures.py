"""Does the gate on pictures reach what it promises: few false alarms on real ones, and faults caught?

    python -m benchmarks.gate_pictures --reshuffles 100 --trials 10 --seed 0 --out docs/benchmarks/gate_pictures.md

Features are taken once; every trial divides the pictures anew. One core, some minutes. Data sets of others are looked for
in the folder that COUNTERPOISE_DATA names (../shared/data if it is not set); what is not there is left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the threads are set

from benchmarks import gate_pictures_trials as trials  # noqa: E402 - as numpy
from benchmarks.gate import Alarms, Power, alarm_rows, power_rows  # noqa: E402 - as numpy
from benchmarks.gate_pictures_trials import SHARES, Fault, Pool  # noqa: E402 - as numpy
from benchmarks.images_data import dataset, folder  # noqa: E402 - as numpy

#: Fault, the sets it is planted in, what it is called, how often it must be caught (0: shown beside).
FAULTS: dict[str, list[tuple[str, Fault, float]]] = {
    "surfaces": [
        ("a mode of a class dropped: short scratches, 40 %", trials.without_source("scratch/short"), 0.9),
        ("a mode of a class dropped: drips, 40 %", trials.without_source("stain/drip"), 0.9),
        ("a mode of a class dropped: clusters of pits, 35 %", trials.without_source("pit/cluster"), 0.0),
        ("labels of two classes swapped on 30 %", trials.swapped_labels, 0.9),
        ("drawn to the mean of its class by 30 %", trials.drawn_to_the_mean, 0.9),
        ("5 % near copies, mirrored, lit otherwise, noisy", trials.near_copies("fbn", 0.05), 0.9),
        ("5 % near copies, also shifted", trials.near_copies("fsbn", 0.05), 0.0),
        ("learned by heart, every picture changed", trials.learned_by_heart, 1.0),
        ("collapsed onto one picture a class", trials.collapsed, 1.0),
    ],
    "bsdata": [
        ("a mode of a class dropped: small pits, 35 %", trials.without_small_marks("pitting", 0.35), 0.9),
        ("labels of two classes swapped on 30 %", trials.swapped_labels, 0.9),
        ("drawn to the mean of its class by 30 %", trials.drawn_to_the_mean, 0.9),
        ("learned by heart, every picture changed", trials.learned_by_heart, 1.0),
        ("collapsed onto one picture a class", trials.collapsed, 1.0),
    ],
    "deeppcb": [
        ("labels of two classes swapped on 30 %", trials.swapped_labels, 0.9),
        ("learned by heart, every picture changed", trials.learned_by_heart, 1.0),
        ("collapsed onto one picture a class", trials.collapsed, 1.0),
    ],
    "digits": [
        ("labels of two classes swapped on 30 %", trials.swapped_labels, 0.9),
        ("drawn to the mean of its class by 30 %", trials.drawn_to_the_mean, 0.9),
        ("5 % near copies, mirrored, lit otherwise, noisy", trials.near_copies("fbn", 0.05), 0.0),
        ("learned by heart, every picture changed", trials.learned_by_heart, 1.0),
        ("collapsed onto one picture a class", trials.collapsed, 1.0),
    ],
}
#: Where there are too few real pictures to stand for a generator's many draws, mirrored ones fill up.
FILLED = ("bsdata", "deeppcb")
#: Shares of train, holdout and the synthetic side when faults are planted: of many classes each needs pictures to be judged by.
DIVIDED = {"surfaces": (0.12, 0.07, 0.81), "digits": (0.3, 0.3, 0.4), "deeppcb": (0.3, 0.3, 0.4), "bsdata": SHARES}
THIRDS = (1 / 3, 1 / 3, 1 / 3)
SCARCE = (0.07, 0.06, 0.87)


def alarms(pool: Pool, shares: tuple[float, float, float], count: int, seed: int, *, by_group: bool = False) -> Alarms:
    """Verdicts on real pictures in place of synthetic ones."""
    start, verdicts, blocked = time.monotonic(), Counter[str](), Counter[str]()
    sizes: list[int] = []
    for each in range(seed, seed + count):
        parts = pool.divided(np.random.default_rng([each, 1]), shares, by_group=by_group)
        sizes = [len(part) for part in parts]
        said = trials.judge(*(pool.measured.take(part) for part in parts), seed=each)
        verdicts[said.verdict] += 1
        for finding in said.findings:
            if finding.verdict == "BLOCK":
                blocked[finding.check] += 1
                _say(f"  {pool.name}, seed {each}: {finding.check}: {finding.summary}")
    what = f"train {sizes[0]}, n = {sizes[1]}, m = {sizes[2]}" + (", by groups" if by_group else "")
    _say(f"real against real, {pool.name}, {what}: {dict(verdicts)} ({time.monotonic() - start:.0f} s)")
    return Alarms(pool.name, what, dict(verdicts), dict(blocked), time.monotonic() - start)


def powers(pool: Pool, shares: tuple[float, float, float], count: int, seed: int) -> Iterator[Power]:
    """How often each fault of a set is caught, and by which checks."""
    for name, fault, least in FAULTS[pool.name]:
        start, caught, by, sizes = time.monotonic(), 0, Counter[str](), (0, 0, 0)
        for each in range(seed, seed + count):
            rng = np.random.default_rng([each, 2])
            train, holdout, made = pool.divided(rng, shares)
            synthetic = fault(pool, train, made, rng)
            sizes = len(train), len(holdout), len(synthetic)
            said = trials.judge(pool.measured.take(train), pool.measured.take(holdout), synthetic, seed=each)
            caught += said.verdict == "BLOCK"
            by.update(finding.check for finding in said.findings if finding.verdict == "BLOCK")
        checks = ", ".join(f"{check} {n}" for check, n in by.most_common()) or "none"
        what = f"train {sizes[0]}, n = {sizes[1]}, m = {sizes[2]}"
        _say(f"{name}, {pool.name}: {caught} of {count} ({checks}; {time.monotonic() - start:.0f} s)")
        yield Power(name, pool.name, what, checks, least, caught, count, time.monotonic() - start)


def few(count: int, seed: int) -> Iterator[Power]:
    """Fourteen pits to learn from and six to judge by: what is seen of them, and what a good generator has to fear."""
    from data.samples.surfaces import draw
    from validators.base import Intent
    from validators.judge import run
    from validators.pictures import evidence_of

    names = ("learned by heart", "collapsed onto a new picture", "left out of focus", "drawn like the real ones")
    rows: dict[str, list[str]] = {name: [] for name in names}
    start = time.monotonic()
    for each in range(seed, seed + count):
        rng = np.random.default_rng([each, 3])
        held = trials.pictures(dataset(draw({"normal": 30, "pit": 180}, seed=1000 + each)))
        seen = trials.agreed([held], held)
        pits = rng.permutation(np.flatnonzero(held.labels == held.classes.index("pit")))
        whole = trials.measured_of(held, seen)
        drawn = {
            "learned by heart": trials.measured_of(trials.changed(held.take(rng.choice(pits[:14], 150)), "fsbn", rng), seen),
            "collapsed onto a new picture": trials.measured_of(trials.changed(held.take([pits[20]] * 150), "sbn", rng), seen),
            "left out of focus": trials.measured_of(trials.blurred(held.take(pits[30:])), seen),
            "drawn like the real ones": whole.take(pits[30:]),
        }
        train = whole.take(np.concatenate([np.flatnonzero(held.labels != held.labels[pits[0]]), pits[:14]]))
        for name, made in drawn.items():
            sides = {"train": train, "reference": train, "holdout": whole.take(pits[14:20]), "synthetic": made}
            given = evidence_of(sides, Intent(mix={"pit": 1.0}, seed=each, detect=1.0))
            found = [run(check, given) for check in trials.checks()]
            rows[name].append(", ".join(f.check for f in found if f.verdict == "BLOCK"))
    for name, hits in rows.items():
        caught = sum(bool(hit) for hit in hits)
        by = ", ".join(f"{check} {n}" for check, n in Counter(c for h in hits if h for c in h.split(", ")).items()) or "none"
        good = name.startswith("drawn")
        _say(f"few pictures, {name}: {caught} of {count} ({by})")
        title = f"{name} (nothing to catch)" if good else name
        yield Power(title, "surfaces, pits alone", "train 14, n = 6, m = 150", by, 0.0 if good else 0.9, caught, count,
                    time.monotonic() - start)  # fmt: skip


def features(pool: Pool, seed: int) -> str:
    """A row on what the features tell."""
    flat = pool.held.pixels.reshape(len(pool.held), -1).astype(float)
    found = [flat, trials.looked_at_whole(pool)] + ([pool.measured.looks] if pool.seen.by_marks else [])
    shares = [f"{trials.neighbours(pool, each, np.random.default_rng([seed, 4])):.2f}" for each in found]
    shares += ["–"] * (3 - len(shares))
    what = f"{len(pool.held)} of {pool.held.size} px, {len(pool.held.classes)} classes"
    return f"| {pool.name} | {what} | {' | '.join(shares)} | {trials.speed(pool):.0f} |"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write the record where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reshuffles", type=int, default=100, help="real-against-real verdicts of each set")
    parser.add_argument("--trials", type=int, default=10, help="trials of each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one set: digits, bsdata, deeppcb or surfaces")
    parser.add_argument("--out", type=Path, help="the record, in Markdown")
    args = parser.parse_args()
    start, told, said, caught = time.monotonic(), [], [], []
    found = trials.pools(folder()) | {"surfaces": trials.drawn_pool()}
    for name, pool in found.items():
        if args.only not in (None, name):
            continue
        told.append(features(pool, args.seed))
        if name != "surfaces" and args.reshuffles:
            said.append(alarms(pool, SHARES, args.reshuffles, args.seed))
            said.append(alarms(pool, SCARCE, args.reshuffles // 2, args.seed))
            if name == "bsdata":
                said.append(alarms(pool, THIRDS, args.reshuffles // 2, args.seed, by_group=True))
        if args.trials:
            filled = trials.mirrored(pool) if name in FILLED else pool
            caught += powers(filled, DIVIDED[name], args.trials, args.seed)
    if args.trials and args.only in (None, "surfaces"):
        caught += few(args.trials, args.seed)
    page = record(sys.argv[1:], told, alarm_rows(said), power_rows(caught), time.monotonic() - start)
    print(page)
    if args.out:
        args.out.write_text(page, encoding="utf-8")


def record(arguments: list[str], told: list[str], said: list[str], caught: list[str], seconds: float) -> str:
    """The record in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    head = ["| data | pictures | pixels | whole | by marks | pictures/s |", "| --- " * 6 + "|"]
    parts = [
        "# What the gate reaches on pictures",
        f"    python -m benchmarks.gate_pictures {' '.join(arguments)}",
        f"One core of {os.cpu_count()} ({platform.machine()}), Python {platform.python_version()}, {versions}; "
        f"{seconds:.0f} s.\nIntervals are Wilson's at 95 %. `n` holdout pictures, `m` synthetic ones; the reference is train.\n"
        "All checks that judge by features run, at the gate's default alpha of 0.01, of which a first attempt spends 0.005.",
        "## What the features tell",
        "Balanced accuracy of five neighbours, half of the real pictures against the other half: by pixels, by the features\n"
        "of whole pictures, and by those of the square around the marks, as the gate takes them. Pictures a second: both\n"
        "nets, in time of the processor.",
        "\n".join([*head, *told]),
        "## Real pictures against real pictures",
        "Train, holdout and synthetic side are disjoint reshuffles of one real set. By groups: no two sides have a picture of\n"
        "one part. Asked: at most 2 % BLOCK.",
        "\n".join(said),
        "## Planted faults",
        "A trial counts when the gate blocks; beside it stand the checks that did, and how often. bsdata and deeppcb have too\n"
        "few pictures to stand for the many that a gate draws, so their synthetic side also holds each picture mirrored.",
        "\n".join(caught),
        WHY,
    ]
    return "\n\n".join(parts) + "\n"


WHY = """## What is missed, and why

- *Drips.* Two fifths of the stains of a class with some fifty holdout pictures: about twenty pictures. Drips and round stains
  differ in outline and not in texture, so that a cell of the features seldom holds one kind alone, and of the marks' figures
  only elongation tells them apart.
- *Near copies that are also shifted.* A shift moves what lies at the edge of a picture out of it. Traces of the marks'
  square bear that; those of a whole picture less.
- *bsdata by groups.* Pictures of one part are no independent witnesses. `spread` and the distances of few pictures take the
  groups for that; `modes` and the shares of `coverage` do not, and warn now and then, or block."""

if __name__ == "__main__":
    main()
