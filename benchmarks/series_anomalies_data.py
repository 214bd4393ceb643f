"""Which courses of time have known anomalies? Four simulated ones, each with an anomaly of its own kind, and a machine's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from data.dataset import Dataset
from data.windows import batch, schema

Array = np.ndarray
#: Readings of a simulated course, and the share of the stretches of 64 that hold an anomaly.
READINGS, SHARE = 40_000, 0.06
STRETCH = 64
MACHINE = "nab_machine_temp"
FILE, LABELS = "machine_temperature_system_failure.csv", "combined_windows.json"


@dataclass(frozen=True)
class Course:
    """values: (channels, t) of one sensor at even times; flawed: (t,) bool, where it is known to be anomalous; learned:
    readings from the first on from which detectors may learn, anomalies and all, untold of any; period: seconds."""

    values: Array
    flawed: Array
    learned: int
    period: float

    def windows(self, length: int, stride: int, first: int = 0, end: int | None = None) -> tuple[Dataset, Array]:
        """Windows of readings first to end, and which hold an anomalous reading: (n,) bool."""
        end = self.values.shape[1] if end is None else end
        places = np.arange(first, end - length + 1, stride)
        cut = np.stack([self.values[:, a : a + length] for a in places]).astype(np.float32)
        rows = schema([f"channel {c}" for c in range(len(self.values))], period=self.period)
        names = ["sensor"] * len(places)
        held = batch(rows, cut, np.full(len(places), length), starts=list(places * self.period), entities=names, sources=names)
        flawed = np.array([self.flawed[a : a + length].any() for a in places])
        return Dataset(pa.Table.from_batches([held]), rows), flawed


def simulated(name: str, seed: int) -> Course:
    """A course of `READINGS`, half of them to be learned."""
    rng = np.random.default_rng([seed, sorted(SIMULATED).index(name)])
    values, flawed = SIMULATED[name](rng)
    return Course(values, flawed, READINGS // 2, 1.0)


def _ar(rng: np.random.Generator, n: int, a: tuple[float, float] = (1.2, -0.4)) -> Array:
    out, fresh = np.zeros(n + 50), rng.standard_normal(n + 50)
    for t in range(2, n + 50):
        out[t] = a[0] * out[t - 1] + a[1] * out[t - 2] + fresh[t]
    return out[50:]


def _stretches(rng: np.random.Generator) -> list[tuple[int, int]]:
    """From where to where anomalies last."""
    many = READINGS // STRETCH
    picked = np.sort(rng.choice(many, int(SHARE * many), replace=False))
    begin = picked * STRETCH + rng.integers(0, STRETCH // 2, len(picked))
    return [(int(a), int(a + rng.integers(STRETCH // 3, STRETCH))) for a in begin]


def _marked(places: list[tuple[int, int]]) -> Array:
    out = np.zeros(READINGS, dtype=bool)
    for a, b in places:
        out[a:b] = True
    return out


def shifts(rng: np.random.Generator) -> tuple[Array, Array]:
    """An autoregression around a slowly drifting level; for a while the level is another."""
    values = _ar(rng, READINGS) + 2 * np.sin(2 * np.pi * np.arange(READINGS) / 3000)
    places = _stretches(rng)
    for a, b in places:
        values[a:b] += rng.choice([-1, 1]) * rng.uniform(3.0, 6.0)
    return values[None], _marked(places)


def spikes(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two seasons whose amplitude wanders; now and then a reading lies off by less than the season's swing."""
    t = np.arange(READINGS)
    swing = 1 + 0.3 * np.sin(2 * np.pi * t / 2500 + rng.uniform(0, 6))
    values = swing * (3 * np.sin(2 * np.pi * t / 32) + np.sin(2 * np.pi * t / 11 + 1)) + 0.3 * rng.standard_normal(READINGS)
    places = [(a, a + 1) for a, _ in _stretches(rng)]
    for a, _ in places:
        values[a] += rng.choice([-1, 1]) * rng.uniform(1.5, 3.0)
    return values[None], _marked(places)


def bursts(rng: np.random.Generator) -> tuple[Array, Array]:
    """Two channels, one of which follows the other; for a while the noise is larger, or none (a stuck sensor)."""
    base = _ar(rng, READINGS)
    noise = 0.5 * rng.standard_normal((2, READINGS))
    values = np.stack([base, 0.8 * np.roll(base, 3)])
    places = _stretches(rng)
    for i, (a, b) in enumerate(places):
        if i % 3:
            noise[:, a:b] *= rng.uniform(2.5, 4.0)
        else:
            values[:, a:b], noise[:, a:b] = values[:, a : a + 1], 0.0
    return values + noise, _marked(places)


def rhythms(rng: np.random.Generator) -> tuple[Array, Array]:
    """A machine that works in cycles of a few shapes, three channels; for a while one channel lags, or a cycle is cut off."""
    values = np.zeros((3, READINGS + 200))
    t = 0
    while t < READINGS:
        long, kind = int(rng.integers(28, 40)), int(rng.integers(2))
        s = np.linspace(0, 1, long, endpoint=False)
        shape = np.sin(np.pi * s) ** 2 if kind else np.minimum(1, 4 * s) * (s < 0.8)
        values[:, t : t + long] += np.stack([shape, 0.7 * np.roll(shape, 2), 1 - shape]) * rng.uniform(0.85, 1.15)
        t += long
    values = values[:, :READINGS] + 0.05 * rng.standard_normal((3, READINGS))
    places = _stretches(rng)
    for i, (a, b) in enumerate(places):
        if i % 2:
            values[1, a:b] = np.roll(values[1], 7)[a:b]
        else:
            values[:, a:b] = values[:, a : a + 1] + 0.05 * rng.standard_normal((3, b - a))
    return values, _marked(places)


SIMULATED: Mapping[str, Callable[[np.random.Generator], tuple[Array, Array]]] = {
    "shifts": shifts,
    "spikes": spikes,
    "bursts": bursts,
    "rhythms": rhythms,
}


def machine() -> Course | None:
    """The machine's temperature of NAB with its labelled windows, resampled to every five minutes; None where the data is not.

    Source: Ahmad et al. 2017 (Numenta Anomaly Benchmark); its probationary period is the first 15 %."""
    folder = Path(os.environ.get("COUNTERPOISE_DATA", "shared/data")) / MACHINE
    if not (folder / FILE).is_file():
        return None
    rows = pd.read_csv(folder / FILE, parse_dates=["timestamp"]).drop_duplicates("timestamp").set_index("timestamp")["value"]
    even = rows.sort_index().resample("5min").mean()
    spans = json.loads((folder / LABELS).read_text(encoding="utf-8"))[f"realKnownCause/{FILE}"]
    flawed = np.zeros(len(even), dtype=bool)
    for first, last in spans:
        flawed |= np.asarray((even.index >= pd.Timestamp(first)) & (even.index <= pd.Timestamp(last)))
    return Course(even.to_numpy(dtype=np.float64)[None], flawed, int(0.15 * len(even)), 300.0)
