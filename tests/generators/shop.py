"""A table whose columns hang together in known ways, for tests of what a family has learned."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.schema import Column, Kind, Schema

KINDS: dict[str, Kind] = {
    "x": "numeric", "near": "numeric", "level": "categorical", "a": "integer", "b": "numeric", "label": "categorical",
}  # fmt: skip


def shop(n: int, seed: int = 0) -> Dataset:
    """A class that decides a number's place, a number that repeats another, a level that follows two, gaps that go together."""
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(n) < 0.1, "rare", "common")
    x = np.where(label == "rare", 3.0, 0.0) + rng.normal(size=n)
    near = x + 0.1 * rng.normal(size=n)
    high = np.where(rng.random(n) < 0.95, np.where(x > 1, "high", "low"), "odd")
    gap = rng.random(n) < 0.3
    columns = {
        "x": pa.array(x), "near": pa.array(near), "level": pa.array(high),
        "a": pa.array(rng.integers(0, 9, n), mask=gap), "b": pa.array(rng.normal(size=n), mask=gap), "label": pa.array(label),
    }  # fmt: skip
    return Dataset(pa.table(columns), Schema(tuple(_column(name, values) for name, values in columns.items()), target="label"))


def _column(name: str, values: pa.Array) -> Column:
    levels = tuple(sorted(set(values.to_pylist()))) if KINDS[name] == "categorical" else ()
    return Column(name=name, kind=KINDS[name], dtype=str(values.type), nullable=values.null_count > 0, categories=levels)
