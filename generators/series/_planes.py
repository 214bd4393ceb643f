"""What do networks see of windows? Planes of numbers of one length, which readings are known, and what is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column
from data.windows import Windows, attributes_of, is_series, windows
from generators.base import GeneratorError
from generators.series._facts import Facts, Given
from generators.series._scale import Scale

Array = np.ndarray
#: Readings that are left, at most, where windows are halved until few are.
FEW = 8
#: Windows that go through a network at once, where nothing is learned.
AT_ONCE = 128


@dataclass(frozen=True)
class Layout:
    """counts: levels of each channel, 0 for numbers; longest: readings of the longest window; about: numbers that say class and
    attributes; halvings: how often a network halves the readings."""

    counts: tuple[int, ...]
    longest: int
    about: int
    halvings: int

    @classmethod
    def of(cls, facts: Facts, scale: Scale, most: int | None = None) -> Layout:
        """most: halvings at most; None for as many as leave FEW readings."""
        whole = max(0, math.ceil(math.log2(facts.longest / FEW)))
        about = int(facts.vectors(facts.labels[:1], facts.rows.slice(0, 1)).shape[1])
        return cls(scale.counts, facts.longest, about, whole if most is None else min(whole, most))

    @property
    def planes(self) -> int:
        return sum(count or 1 for count in self.counts)

    @property
    def side(self) -> int:
        """The length to which windows are padded, so that every halving divides it."""
        step = 1 << self.halvings
        return -(-self.longest // step) * step

    @property
    def numbers(self) -> list[int]:
        """Planes of numbers."""
        return [a for count, a, _ in self._places() if not count]

    @property
    def levels(self) -> list[tuple[int, int]]:
        """First and behind the last plane of each channel of levels."""
        return [(a, b) for count, a, b in self._places() if count]

    @property
    def first(self) -> list[int]:
        """The first plane of each channel."""
        return [a for _, a, _ in self._places()]

    def _places(self) -> Iterator[tuple[int, int, int]]:
        at = 0
        for count in self.counts:
            yield count, at, at + (count or 1)
            at += count or 1


def planes(layout: Layout, scale: Scale, values: Array) -> tuple[Tensor, Tensor]:
    """Readings (n, channels, t <= longest), NaN where unknown -> planes (n, planes, side) float32 and which are known, bool."""
    x, known = scale.forward(values)
    more = ((0, 0), (0, 0), (0, layout.side - x.shape[2]))
    return torch.from_numpy(np.pad(x, more)), torch.from_numpy(np.pad(known, more))


def within(lengths: Tensor, side: int) -> Tensor:
    """Which places lie within windows of these lengths: (n,) -> (n, 1, side) bool."""
    return torch.arange(side, device=lengths.device)[None, None] < lengths[:, None, None]


def like(facts: Facts, dataset: Dataset) -> Windows:
    """The windows of a dataset that a model of these facts can look at, levels by the positions that it knows.

    Raises GeneratorError for rows of a table, other channels or levels, or windows longer than any that was learned."""
    if not is_series(dataset.schema):
        raise GeneratorError("these are rows of a table, and the model learned series")
    held = windows(dataset)
    if held.channels != facts.channels:
        raise GeneratorError(
            f"the windows have the channels {', '.join(held.channels)}, and {', '.join(facts.channels)} were learned"
        )
    if len(held) and held.longest > facts.longest:
        raise GeneratorError(
            f"a window has {held.longest} readings, and the longest learned has {facts.longest}; cut the windows to that"
        )
    for c, (own, known) in enumerate(zip(held.levels, facts.levels, strict=True)):
        if own != known:
            held.values[:, c] = _translated(held.values[:, c], own, known, held.channels[c])
    return held


def _translated(values: Array, own: tuple[str, ...], known: tuple[str, ...], name: str) -> Array:
    if bool(own) != bool(known):
        raise GeneratorError(f"the channel {name!r} was learned as {'levels' if known else 'numbers'}, which it is not here")
    place = {level: float(i) for i, level in enumerate(known)}
    # A level that was never seen is no reading that the model can make anything of.
    table = np.array([place.get(level, np.nan) for level in own], dtype=np.float32)
    there = np.isfinite(values)
    return np.where(there, table[np.where(there, values, 0).astype(np.int64)], np.nan).astype(np.float32)


def asked_as(facts: Facts, held: Windows, label: int) -> Given:
    """Windows taken as of one class, with their own attributes; one that is missing or unknown is as it mostly is."""
    labels = np.full(len(held), label, dtype=np.int64)
    like_class = facts.rows.take(pa.array(np.flatnonzero(facts.labels == label)))
    columns = {}
    for column in attributes_of(facts.schema):
        usual = _usual(column, like_class.column(column.name).to_pylist())
        there = column.name in held.attributes.column_names
        given = held.attributes.column(column.name).to_pylist() if there else [None] * len(held)
        columns[column.name] = pa.array([_known(column, v, usual) for v in given], facts.rows.schema.field(column.name).type)
    rows = pa.table(columns) if columns else pa.table({"row": np.arange(len(held))})
    return Given(labels, facts.vectors(labels, rows), held.lengths)


def _usual(column: Column, values: list[object]) -> object:
    if column.discrete:
        return max(sorted(set(values), key=str), key=values.count)
    return float(np.median(np.array(values, dtype=np.float64)))


def _known(column: Column, value: object, usual: object) -> object:
    if value is None:
        return usual
    try:
        return column.level(value) if column.discrete else value
    except DataError:
        return usual


class Told(nn.Module):
    """Class and attributes as what a network adds to its features: (n, d) -> (n, width); without any, one vector for all."""

    def __init__(self, about: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(max(about, 1), width)

    def forward(self, about: Tensor) -> Tensor:
        given = about if about.shape[1] else about.new_zeros(len(about), 1)
        out: Tensor = self.enter(given)
        return out
