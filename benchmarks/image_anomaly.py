"""How well does the autoencoder's score tell defects from good parts, having seen good parts alone?

    python -m benchmarks.image_anomaly --data bsdata surfaces --seeds 3 --out docs/benchmarks/image_anomaly.md

Trains on the good parts of the training side and scores all pictures of the test side, which show other parts. Beside it, on
the same pictures: the reconstruction error of a principal component analysis, the distance to the nearest good part in the
features of a fixed random convolutional network, and the autoencoder's plain reconstruction error. The area under the ROC
curve is the chance that a defect scores above a good part. Intervals are of 95 %, from resampling the test pictures group by
group together with the seeds. No setting was chosen on the test sides: the score was designed on halves of bsdata's training
side and on surfaces of other seeds.
"""

from __future__ import annotations

import argparse
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
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from benchmarks.images_data import Setting, absent  # noqa: E402
from data.dataset import Dataset  # noqa: E402
from data.errors import UserError  # noqa: E402
from data.images import CLASS, Pictures, batch, normal_class, pictures, schema  # noqa: E402
from generators.image._pictures import to_unit  # noqa: E402
from generators.image.vae import VAE  # noqa: E402

Array = np.ndarray
#: Settings of the benchmark of pictures whose whole training side is taken.
SETTINGS = {"bsdata": "bsdata-5", "surfaces": "surfaces-5", "deeppcb": "deeppcb-5"}
OURS, PLAIN, PCA, NEAREST = "score of the VAE", "VAE, plain error", "PCA, error", "nearest in random features"
COMPONENTS = 64
DRAWS = 1000


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the tables, write the page; the exit code."""
    options = _options(arguments)
    if lacking := absent([SETTINGS[name] for name in options.data]):
        print(f"error: the data of {', '.join(lacking)} is not there; set COUNTERPOISE_DATA", file=sys.stderr)
        return 2
    try:
        lines = [line for name in options.data for line in measure(name, options)]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(lines))
    if options.out:
        path = Path(options.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*_head(options), *lines]) + "\n", encoding="utf-8")
    return 0


def measure(name: str, options: argparse.Namespace) -> list[str]:
    """The table of one set of pictures, as lines of Markdown."""
    setting = Setting.of(SETTINGS[name])
    whole, test = setting.train(), setting.test()
    normal = normal_class(pictures(whole))
    if normal is None:
        raise UserError(f"{name} has no class of good parts")
    good = whole.take(np.flatnonzero(np.array(whole.column(CLASS).to_pylist()) == normal))
    known = pictures(good).pixels
    scores: dict[str, list[Array]] = {
        OURS: [],
        PLAIN: [],
        PCA: [pca(known, test.pixels)],
        NEAREST: [nearest(known, test.pixels)],
    }
    seconds = []
    for seed in range(options.seeds):
        start = time.process_time()
        model = VAE(steps=options.steps, device="cpu").fit(good, seed=seed, progress=_Lines(f"{name} seed {seed}"))
        seconds.append(time.process_time() - start)
        scores[OURS].append(model.score(_rows(test)))
        off = model.reconstruct(test.pixels).astype(float) - test.pixels
        scores[PLAIN].append((off**2).mean(axis=(1, 2, 3)))
    flawed = test.labels != test.classes.index(normal)
    return _table(name, scores, test, flawed, len(known), seconds)


def _rows(test: Pictures) -> Dataset:
    names = [test.classes[k] for k in test.labels]
    rows = batch(test.pixels, names, names=[str(i) for i in range(len(test))])
    return Dataset(pa.Table.from_batches([rows]), schema(test.classes))


def pca(known: Array, fresh: Array) -> Array:
    """Squared error of fresh pictures (m, h, w, c) under the leading components of known ones (n, h, w, c): (m,)."""
    rows = known.reshape(len(known), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:COMPONENTS]
    off = fresh.reshape(len(fresh), -1) - mean
    return np.asarray(((off - off @ axes.T @ axes) ** 2).mean(axis=1))


def nearest(known: Array, fresh: Array) -> Array:
    """Distance to the nearest known picture in standardised features of a fixed random convolutional network: (m,)."""
    have, new = features(known), features(fresh)
    centre, spread = have.mean(dim=0), have.std(dim=0) + 1e-6
    return np.asarray(torch.cdist((new - centre) / spread, (have - centre) / spread).amin(dim=1).numpy())


@torch.no_grad()
def features(pixels: Array) -> torch.Tensor:
    """Mean and spread of what three random layers answer: (n, h, w, c) uint8 -> (n, f)."""
    stream = torch.Generator().manual_seed(0)
    x, out = to_unit(torch.from_numpy(pixels)), []
    for wide, side, stride in ((32, 5, 1), (64, 3, 2), (96, 3, 2)):
        filters = torch.randn(wide, x.shape[1], side, side, generator=stream)
        filters /= filters.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        x = torch.relu(torch.nn.functional.conv2d(x, filters, stride=stride, padding=side // 2))
        out += [x.mean(dim=(2, 3)), x.std(dim=(2, 3))]
    return torch.cat(out, dim=1)


def interval(scores: Sequence[Array], flawed: Array, groups: Sequence[str | None]) -> tuple[float, float, float]:
    """Mean area under the ROC curve over the seeds, and its 95 % interval from resampling groups and seeds."""
    names = np.array([str(g) if g is not None else f"alone {i}" for i, g in enumerate(groups)])
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    rng = np.random.default_rng(0)
    found = []
    while len(found) < DRAWS:
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < flawed[rows].sum() < len(rows):
            some = rng.integers(len(scores), size=len(scores))
            found.append(np.mean([roc_auc_score(flawed[rows], scores[i][rows]) for i in some]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(np.mean([roc_auc_score(flawed, one) for one in scores])), float(low), float(high)


def _table(
    name: str, scores: dict[str, list[Array]], test: Pictures, flawed: Array, known: int, seconds: list[float]
) -> list[str]:
    kinds = [k for k in range(len(test.classes)) if flawed[test.labels == k].any()]
    heads = ["way", "AUROC", "95 % interval", *([f"{test.classes[k]} alone" for k in kinds] if len(kinds) > 1 else [])]
    lines = [
        f"## {name}", "",
        f"{known} good parts learned, {int((~flawed).sum())} good parts and {int(flawed.sum())} defects scored; "
        f"{np.mean(seconds):.0f} s of one core to train and score.", "",
        f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}",
    ]  # fmt: skip
    for way, each in scores.items():
        mean, low, high = interval(each, flawed, test.groups or [None] * len(test))
        alone = []
        for k in kinds if len(kinds) > 1 else []:
            rows = ~flawed | (test.labels == k)
            alone.append(f"{np.mean([roc_auc_score(flawed[rows], one[rows]) for one in each]):.3f}")
        lines.append(f"| {' | '.join([way, f'{mean:.3f}', f'{low:.3f} to {high:.3f}', *alone])} |")
    return [*lines, ""]


class _Lines:
    """Tells in one line a minute where a training stands."""

    def __init__(self, name: str) -> None:
        self.name, self.last = name, time.monotonic()

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        if time.monotonic() - self.last > 60:
            self.last = time.monotonic()
            print(f"{self.name}: {what} {done} of {total}", file=sys.stderr, flush=True)


def _head(options: argparse.Namespace) -> list[str]:
    names = ("torch", "numpy", "scikit-learn")
    return [
        "# Telling defects from good parts", "", __doc__.split("\n\n")[2].replace("\n", " "), "",
        f"{options.seeds} seeds. " + ", ".join(f"{name} {version(name)}" for name in names)
        + f", Python {platform.python_version()}, {platform.machine()}.", "",
    ]  # fmt: skip


def _options(arguments: list[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS), default=["bsdata", "surfaces"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="updates of the autoencoder; its own default if left out")
    parser.add_argument("--out", default=None)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
