"""Can a recurrent network tell drawn series from real ones, and can one that learned on drawn ones foretell real ones?

    OMP_NUM_THREADS=1 python -m benchmarks.series_quality --windows 1000 --seeds 3

The protocol of Yoon et al. 2019 (TimeGAN, section 5.1). Discriminative score: |accuracy - .5| of a recurrent network that is
taught to tell real from drawn windows, on windows that it did not see; 0 is best. Predictive score: mean absolute error, of
readings between 0 and 1, of a recurrent network that learned on drawn windows to foretell the last channel's next reading by
the other channels, on real ones. Beside every family stand real windows that it did not learn (the best
that can be) and the block bootstrap.

Windows are 24 readings long. `sines` are those of the paper: five waves of random frequency and phase. `stocks` and `energy`
are STAND-INS that are simulated here, with the shape of the paper's data (6 and 28 channels), not the data themselves: prices
that go as random walks with a volume and shared shocks, and loads that follow days, weather and one another. Figures published
for the paper's own data stand beside them to give the order of magnitude; a comparison is fair for sines alone.

Windows of the test are of other series than those of train, so that no window overlaps both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from configs.components import families
from data.dataset import Dataset
from data.errors import UserError
from data.windows import batch, schema, windows
from generators.base import Generator, table
from generators.tabular._table import one_thread

Array = np.ndarray
LENGTH = 24
#: Discriminative and predictive scores that Yoon et al. 2019 publish for TimeGAN, on their own data.
PUBLISHED: Mapping[str, tuple[float, float]] = {"sines": (0.011, 0.093), "stocks": (0.102, 0.038), "energy": (0.236, 0.273)}
#: Steps and windows a step of the networks that judge; their learning rate.
STEPS, BATCH, PACE = 1000, 128, 2e-3


def sines(n: int, rng: np.random.Generator) -> Array:
    """(n, 5, LENGTH): sin(eta t + theta), both drawn from [0, .1] for each wave, then between 0 and 1: as the code of the paper
    draws them, from which its figures come; the paper's text has wider ranges."""
    eta, theta = rng.uniform(0, 0.1, (n, 5, 1)), rng.uniform(0, 0.1, (n, 5, 1))
    return np.asarray((np.sin(eta * np.arange(LENGTH) + theta) + 1) / 2)


def stocks(n: int, rng: np.random.Generator) -> Array:
    """(n, 6, LENGTH): open, high, low, close, adjusted close, volume of a walk whose swings come in clusters; simulated."""
    swing = np.exp(_walk(n, LENGTH, 0.95, rng) * 0.4) * 0.01
    moves = swing * rng.standard_normal((n, LENGTH))
    close = np.exp(rng.normal(0, 0.6, (n, 1)) + moves.cumsum(axis=1))
    start = np.concatenate([close[:, :1] * np.exp(-moves[:, :1]), close[:, :-1]], axis=1) * np.exp(
        0.2 * swing * rng.standard_normal((n, LENGTH))
    )
    top, bottom = np.maximum(start, close), np.minimum(start, close)
    high, low = (
        top * np.exp(swing * rng.exponential(0.5, (n, LENGTH))),
        bottom * np.exp(-swing * rng.exponential(0.5, (n, LENGTH))),
    )
    volume = np.exp(0.5 * np.log(swing / 0.01) + 0.4 * np.abs(moves) / swing + _walk(n, LENGTH, 0.7, rng) * 0.2)
    return np.stack([start, high, low, close, close * 0.97, volume], axis=1)


def energy(n: int, rng: np.random.Generator) -> Array:
    """(n, 28, LENGTH): two loads, nine rooms of temperature and humidity, weather; all follow the day and six shared courses;
    simulated, readings every ten minutes."""
    mixing = np.random.default_rng(28)  # the house stays the same whatever is drawn
    hour = rng.uniform(0, 24, (n, 1)) + np.arange(LENGTH) / 6
    courses = [np.sin(2 * np.pi * hour / 24), np.cos(2 * np.pi * hour / 24)]
    courses += [_walk(n, LENGTH, 0.98, rng) for _ in range(6)]
    loads = mixing.normal(0, 1, (28, len(courses)))
    smooth = np.einsum("cd,ndt->nct", loads, np.stack(courses, axis=1))
    own = np.stack([_walk(n, LENGTH, 0.9, rng) for _ in range(28)], axis=1) * mixing.uniform(0.05, 0.4, (28, 1))
    out = smooth + own
    busy = (rng.random((n, LENGTH)) < 0.15) * rng.exponential(2.0, (n, LENGTH))
    out[:, 0] = np.exp(0.3 * out[:, 0]) + busy  # appliances, in bursts
    out[:, 1] = np.round(np.maximum(out[:, 1], 0))  # lights, mostly off
    return np.asarray(out)


SETS: Mapping[str, Callable[[int, np.random.Generator], Array]] = {"sines": sines, "stocks": stocks, "energy": energy}


def _walk(n: int, length: int, stays: float, rng: np.random.Generator) -> Array:
    """(n, length) of an AR(1) that begins where it would be after long; of deviation 1."""
    out = np.empty((n, length))
    out[:, 0] = rng.standard_normal(n)
    for t in range(1, length):
        out[:, t] = stays * out[:, t - 1] + np.sqrt(1 - stays**2) * rng.standard_normal(n)
    return out


def as_dataset(values: Array) -> Dataset:
    """Windows (n, channels, t) without class."""
    rows = schema([f"c{i}" for i in range(values.shape[1])])
    made = batch(rows, values.astype(np.float32), np.full(len(values), values.shape[2]))
    return Dataset(pa.Table.from_batches([made]), rows)


class Judge(nn.Module):
    """Two layers of GRU and a line, as in the paper: of each moment, or of the last one."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, max(channels // 2, 8), num_layers=2, batch_first=True)
        self.out = nn.Linear(self.gru.hidden_size, out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, channels) -> (n, t, out)."""
        said: Tensor = self.out(self.gru(x)[0])
        return said


def taught(judge: Judge, loss: Callable[[Tensor], Tensor], rows: int, rng: np.random.Generator, steps: int) -> Judge:
    """The judge after its training; loss: of the rows at these places."""
    adam = torch.optim.Adam(judge.parameters(), lr=PACE)
    for _ in range(steps):
        value = loss(torch.from_numpy(rng.integers(rows, size=BATCH)))
        adam.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        adam.step()
    return judge.eval()


def discriminative(real: Array, drawn: Array, seed: int, steps: int = STEPS) -> float:
    """|accuracy - .5| on a fifth of the windows (n, channels, t) of both that no step has seen."""
    n = min(len(real), len(drawn))
    x = torch.from_numpy(np.concatenate([real[:n], drawn[:n]]).astype(np.float32)).movedim(1, 2)
    y = torch.cat([torch.ones(n), torch.zeros(n)])
    rng = np.random.default_rng([seed, 1])
    order = torch.from_numpy(rng.permutation(2 * n))
    learned, asked = order[: int(1.6 * n)], order[int(1.6 * n) :]
    judge = _judge(x.shape[2], 1, seed)

    def loss(at: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(judge(x[learned[at]])[:, -1, 0], y[learned[at]])

    taught(judge, loss, len(learned), rng, steps)
    with torch.no_grad():
        right = ((judge(x[asked])[:, -1, 0] > 0) == (y[asked] > 0.5)).float().mean()
    return abs(float(right) - 0.5)


def predictive(real: Array, drawn: Array, seed: int, steps: int = STEPS) -> float:
    """Mean absolute error of the last channel's next reading, foretold by the other channels alone, on `real`, of a network
    that learned it on `drawn`: as the paper's code has it. Where channels know nothing of one another, as those of `sines`,
    it is little more than the spread of a channel."""
    x, asked = (torch.from_numpy(part.astype(np.float32)).movedim(1, 2) for part in (drawn, real))
    judge = _judge(x.shape[2] - 1, 1, seed)

    def error(rows: Tensor) -> Tensor:
        return (torch.sigmoid(judge(rows[:, :-1, :-1])) - rows[:, 1:, -1:]).abs().mean()

    taught(judge, lambda at: error(x[at]), len(x), np.random.default_rng([seed, 2]), steps)
    with torch.no_grad():
        return float(error(asked))


def _judge(channels: int, out: int, seed: int) -> Judge:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Judge(channels, out)


def measured(model: Any, name: str, n: int, seeds: int, judging: int) -> str:
    """The line of a family on a set; `model` None stands for real windows."""
    scores, errors, spent = [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 0])
        train, test = SETS[name](n, rng), SETS[name](n, rng)
        low, wide = train.min(axis=(0, 2), keepdims=True), np.ptp(train, axis=(0, 2), keepdims=True)
        if name == "sines":  # the paper judges these as they are, between 0 and 1 of what a wave may reach
            low, wide = np.zeros_like(low), np.ones_like(wide)
        train, test = ((part - low) / wide for part in (train, test))
        began = time.process_time()
        if model is None:
            drawn = (SETS[name](n, rng) - low) / wide
        else:
            data = as_dataset(train)
            made = table(model.fit(data, seed=seed).sample(n, seed=seed), data.schema.arrow())
            drawn = windows(Dataset(made, data.schema)).values
        spent.append(time.process_time() - began)
        with one_thread():
            scores.append(discriminative(test, drawn, seed, judging))
            errors.append(predictive(test, drawn, seed, judging))
    wide_ = f" ± {statistics.stdev(scores):.3f}" if seeds > 1 else ""
    return f"{statistics.mean(scores):.3f}{wide_} | {statistics.mean(errors):.4f} | {statistics.mean(spent):.0f}"


def main() -> None:
    """Print a line for each set and family."""
    known = {name: cls for name, cls in families("generators", Generator).items() if getattr(cls, "modality", "") == "series"}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=1000, help="of train, and as many of the test and drawn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--families", nargs="+", choices=sorted(known), default=sorted(known))
    parser.add_argument("--judging", type=int, default=STEPS, help="steps of the networks that judge")
    parser.add_argument("--min-steps", type=int, help="of the families that have them; their own if left out")
    args = parser.parse_args()
    print("| set | drawn by | discriminative | predictive | CPU s to fit and draw |\n|---|---|---:|---:|---:|")
    for name in args.sets:
        stated = "" if name == "sines" else ", real data of the paper, not this stand-in"
        print(f"| {name} | *TimeGAN as published{stated}* | {PUBLISHED[name][0]:.3f} | {PUBLISHED[name][1]:.3f} | |")
        print(f"| {name} | real | {measured(None, name, args.windows, args.seeds, args.judging)} |", flush=True)
        for family in args.families:
            model: Any = known[family]()
            if args.min_steps and hasattr(model, "min_steps"):
                model.min_steps = args.min_steps
            try:
                line = measured(model, name, args.windows, args.seeds, args.judging)
            except UserError as error:
                line = f"{error} | | "
            print(f"| {name} | {family} | {line} |", flush=True)


if __name__ == "__main__":
    main()
