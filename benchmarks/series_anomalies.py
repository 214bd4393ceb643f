"""How well does the autoencoder of series tell windows with an anomaly from others, never told of one?

    python -m benchmarks.series_anomalies --seeds 3 --out docs/benchmarks/series_anomalies.md

Detectors learn from the windows of a course's first part, whatever is in them and without being told of any anomaly, and
score those of the rest; a window counts as anomalous where one of its readings does. Of simulated courses the first half is
learned. Of the machine temperature of NAB it is once the first 15 %, the benchmark's own probationary period, and once all of
it, as a detector would that looks back. Beside the autoencoder: an isolation forest on statistics of the windows (mean,
deviation, least, greatest, trend, roughness, memory of each channel), and a moving z-score (how far the reading of a window
that is furthest off lies from the readings before it, in their deviations), with the best of three widths, chosen by the very
labels that it is judged by. AUROC is the chance that an anomalous window scores above another; AP is average precision. No
setting of the autoencoder was chosen on the machine's data: the score was settled on simulated courses of seed 0, which the
table of simulated ones leaves out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before numpy is loaded: one core unless asked otherwise, so that a run means the same on a busy machine.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the threads are set
from sklearn.ensemble import IsolationForest  # noqa: E402
from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: E402

from benchmarks.series_anomalies_data import MACHINE, SIMULATED, Course, machine, simulated  # noqa: E402
from data.errors import UserError  # noqa: E402
from data.windows import windows  # noqa: E402
from generators.series.vae import VAE  # noqa: E402

Array = np.ndarray
OURS, FOREST, MOVING = "autoencoder", "isolation forest", "moving z-score"
WAYS = (OURS, FOREST, MOVING)
#: Readings of a window of simulated courses, and of the machine's: 2.7, 5.3, 10.7 and 24 hours.
LENGTH, LENGTHS = 64, (32, 64, 128, 288)
#: Windows' lengths that the moving z-score looks back.
BACK = (1, 4, 16)
TREES = 200


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, write the page and its figures; the exit code."""
    options = _options(arguments)
    try:
        found = measure(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = [*_head(options), *_tables(found)]
    print("\n".join(lines))
    if options.out:
        Path(options.out).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each course, length of windows, part learned, seed and way; those beside the page are not taken again."""
    store = Path(options.out).with_suffix(".json") if options.out else None
    found: list[dict[str, Any]] = json.loads(store.read_text(encoding="utf-8")) if store and store.is_file() else []
    done = {tuple(r[name] for name in ("course", "length", "learned", "seed")) for r in found}
    wanted = [(name, LENGTH, "first half", seed) for seed in range(1, options.seeds + 1) for name in options.simulated]
    course = machine() if options.lengths else None
    parts = [(length, part) for length in options.lengths for part in ("first 15 %", "all")] if course else []
    wanted += [(MACHINE, length, part, seed) for seed in range(1, options.seeds + 1) for length, part in parts]
    for key in wanted:
        if key not in done:
            own = course if key[0] == MACHINE and course else simulated(key[0], key[3])
            found += compared(own, *key, options.epochs)
            if store:
                store.parent.mkdir(parents=True, exist_ok=True)
                store.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def compared(course: Course, name: str, length: int, part: str, seed: int, epochs: int | None) -> list[dict[str, Any]]:
    """What each way reaches: windows to learn overlap by three quarters, those that are scored by half."""
    whole = course.values.shape[1]
    learned = whole if part == "all" else course.learned
    train, _ = course.windows(length, max(length // 4, 1), 0, learned)
    test, flawed = course.windows(length, max(length // 2, 1), 0 if part == "all" else learned)
    known, fresh = _filled(windows(train).values), _filled(windows(test).values)
    start = time.process_time()
    model = VAE(device="cpu", epochs=epochs).fit(train, seed=seed)
    scores = {OURS: model.score(test)}
    seconds = time.process_time() - start
    forest = IsolationForest(n_estimators=TREES, random_state=seed).fit(statistics(known))
    scores[FOREST] = -forest.score_samples(statistics(fresh))
    first = 0 if part == "all" else learned
    tried = [moving(course.values, first, length, max(length // 2, 1), back * length) for back in BACK]
    scores[MOVING] = max(tried, key=lambda score: float(roc_auc_score(flawed, score)))
    print(f"{name}, {length} readings, {part}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return [
        {"course": name, "length": length, "learned": part, "seed": seed, "way": way, "windows": len(flawed),
         "anomalous": int(flawed.sum()), "seconds": round(seconds, 1) if way == OURS else None,
         "auroc": float(roc_auc_score(flawed, scores[way])), "ap": float(average_precision_score(flawed, scores[way]))}
        for way in WAYS
    ]  # fmt: skip


def statistics(values: Array) -> Array:
    """What is usually told of windows (n, channels, t): (n, 9 channels)."""
    mean = values.mean(axis=2, keepdims=True)
    steps = np.abs(np.diff(values, axis=2))
    off = values - mean
    memory = (off[:, :, 1:] * off[:, :, :-1]).mean(axis=2) / (off.var(axis=2) + 1e-9)
    eighth = max(values.shape[2] // 8, 1)
    trend = values[:, :, -eighth:].mean(axis=2) - values[:, :, :eighth].mean(axis=2)
    told = [mean[:, :, 0], off.std(axis=2), values.min(axis=2), values.max(axis=2), np.median(values, axis=2), trend]
    return np.concatenate([*told, steps.mean(axis=2), steps.max(axis=2), memory], axis=1)


def moving(values: Array, first: int, length: int, stride: int, back: int) -> Array:
    """The reading furthest off in each window, in deviations of the `back` readings before each: (n,)."""
    ready = _filled(values[None])[0]
    total = np.cumsum(np.pad(ready, ((0, 0), (1, 0))), axis=1)
    square = np.cumsum(np.pad(ready**2, ((0, 0), (1, 0))), axis=1)
    t = np.arange(ready.shape[1])
    low = np.maximum(t - back, 0)
    many = np.maximum(t - low, 1)
    mean = (total[:, t] - total[:, low]) / many
    spread = np.sqrt(np.maximum((square[:, t] - square[:, low]) / many - mean**2, 0)) + 1e-3 * ready.std(axis=1, keepdims=True)
    z = np.where(t >= 8, np.abs(ready - mean) / spread, 0.0).max(axis=0)
    return np.array([z[a : a + length].max() for a in range(first, ready.shape[1] - length + 1, stride)])


def _filled(values: Array) -> Array:
    """Missing readings as the last one before them, for ways that cannot do without: (n, channels, t)."""
    there = np.isfinite(values)
    at = np.where(there, np.arange(values.shape[2]), 0)
    held = np.take_along_axis(values, np.maximum.accumulate(at, axis=2), axis=2)
    return np.nan_to_num(held.astype(np.float64))


def _tables(found: Sequence[dict[str, Any]]) -> list[str]:
    """Means over the seeds, and how far these lie apart."""
    heads = [
        "course",
        "readings",
        "learned",
        "windows",
        "anomalous",
        *(f"{way}: AUROC" for way in WAYS),
        *(f"{way}: AP" for way in WAYS),
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for key in dict.fromkeys((r["course"], r["length"], r["learned"]) for r in found):
        own = [r for r in found if (r["course"], r["length"], r["learned"]) == key]
        each = [[r[figure] for r in own if r["way"] == way] for figure in ("auroc", "ap") for way in WAYS]
        cells = [f"{np.mean(values):.3f}{_apart(values)}" for values in each]
        told = [str(round(float(np.mean([r[n] for r in own])))) for n in ("windows", "anomalous")]
        lines.append(f"| {' | '.join([key[0], str(key[1]), key[2], *told, *cells])} |")
    return [*lines, "", *_where(found), ""]


def _where(found: Sequence[dict[str, Any]]) -> list[str]:
    """In how many comparisons the autoencoder was the best, in words."""
    keys = list(dict.fromkeys((r["course"], r["length"], r["learned"], r["seed"]) for r in found))
    said = []
    for figure, name in (("auroc", "AUROC"), ("ap", "average precision")):
        best = 0
        for key in keys:
            own = {r["way"]: r[figure] for r in found if (r["course"], r["length"], r["learned"], r["seed"]) == key}
            best += own[OURS] == max(own.values())
        said.append(f"by {name} in {best}")
    return [f"Of {len(keys)} comparisons (a course, a length, a seed) the autoencoder was the best {' and '.join(said)}."]


def _apart(values: Sequence[float]) -> str:
    spread = float(np.std(values))
    return f" (sd {spread:.3f})" if len(values) > 1 and spread > 0 else ""


def _head(options: argparse.Namespace) -> list[str]:
    names = ("torch", "numpy", "scikit-learn")
    return [
        "# Anomalies in series", "", __doc__.split("\n\n")[2].replace("\n", " ").strip(), "",
        f"`python -m benchmarks.series_anomalies --seeds {options.seeds}`; means over the seeds. "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + f", Python {platform.python_version()}, {platform.machine()}.", "",
    ]  # fmt: skip


def _options(arguments: list[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulated", nargs="*", choices=list(SIMULATED), default=list(SIMULATED))
    parser.add_argument("--lengths", nargs="*", type=int, default=list(LENGTHS), help="readings of the machine's windows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=None, help="passes of the autoencoder; its own default if left out")
    parser.add_argument("--out", default=None)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
