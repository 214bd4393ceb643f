"""What if windows were pieced together from real ones? The reference that every other family of series has to beat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from generators import _stored as stored
from generators.base import SILENT, Condition, Progress, Traits, seal
from generators.series._facts import Facts, Given
from generators.series._scale import Scale
from generators.tabular._table import at_least, open_model, write_json

__all__ = ["Bootstrap"]

Array = np.ndarray
VALUES, STATE = "values.pt", "state.json"
#: A block is this part of a window if not stated, and has at least so many readings.
PART, LEAST = 4, 4


@dataclass
class Bootstrap:
    """Blocks of training windows of the same class, one after the other, each from about the place where it goes.

    Within a block all is real, between blocks all that is longer than a block is lost. The next block is the one of `choices`
    drawn ones that begins nearest to where the last one ended, so that seams do not jump. Level, dependence between channels
    and what lies within a block come out as in the data: the `copies` check tells it from a model. A saved model holds the
    training windows.

    Source: Kuensch 1989 (moving blocks); Paparoditis and Politis 2002 (local blocks, for series that do not stay as they are).

    Fields:
        block: readings of a block; a quarter of the longest window if not stated.
        choices: blocks among which the next one is chosen.
        shift: how far from its place a block may come, as a share of its length."""

    modality: ClassVar[str] = "series"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="block bootstrap", rows=1, rows_of_class=1, reference=True, fails=("privacy", "diversity")
    )

    block: int | None = None
    choices: int = 8
    shift: float = 0.5

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Remember the windows. Raises GeneratorError for rows of a table, no window, or a channel without a reading."""
        at_least(self, 1, "block", "choices")
        at_least(self, 0, "shift")
        self.facts_, held = Facts.of(train)
        self.scale_ = Scale.of(held)
        self.values_ = _filled(held.values, held.lengths, self.scale_)
        progress.advance(1, 1, "fit")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` windows in batches of at most 256; without missing readings.

        Raises GeneratorError for a condition on anything but the class and the attributes, or on what cannot be."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def save(self, folder: Path) -> None:
        """Write the windows and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        self.facts_.save(folder)
        write_json(folder / STATE, self.scale_.to_json())
        torch.save({"values": torch.from_numpy(self.values_)}, folder / VALUES)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        family.facts_ = Facts.load(folder)
        family.values_ = stored.weights(folder / VALUES)["values"].numpy()
        family.scale_ = Scale.from_json(json.loads((folder / STATE).read_text(encoding="utf-8")))
        return family

    def _draw(self, given: Given, rng: np.random.Generator) -> Array:
        out = np.zeros((len(given), self.values_.shape[1], int(given.lengths.max(initial=1))), dtype=np.float32)
        size = self.block or max(LEAST, self.facts_.longest // PART)
        alike = {int(k): np.flatnonzero(self.facts_.labels == k) for k in np.unique(given.labels)}
        for i in range(len(given)):
            # Windows of the same class and attributes first: what a machine is shows in its level.
            own = alike[int(given.labels[i])]
            near = own[np.abs(self.facts_.about[own] - given.about[i]).max(axis=1, initial=0) < 1e-6]
            out[i] = self._pieced(near if len(near) else own, int(given.lengths[i]), size, rng, out.shape[2])
        return out

    def _pieced(self, windows: Array, length: int, size: int, rng: np.random.Generator, longest: int) -> Array:
        """One window of `length` readings: (channels, longest), what lies behind its end as it comes."""
        out = np.zeros((self.values_.shape[1], longest), dtype=np.float32)
        done = 0
        while done < length:
            count = min(size, length - done)
            which = windows[rng.integers(len(windows), size=self.choices if done else 1)]
            away = (
                np.round(rng.uniform(-1, 1, len(which)) * self.shift * size).astype(np.int64) if done else np.zeros(1, np.int64)
            )
            last = np.maximum(self.facts_.lengths[which] - count, 0)
            begin = np.clip(done + away, 0, last)
            best = 0 if not done else self._nearest(out[:, done - 1], which, begin)
            block = self.values_[which[best], :, begin[best] : begin[best] + count]
            out[:, done : done + block.shape[1]] = block
            done += block.shape[1]
        return out

    def _nearest(self, end: Array, which: Array, begin: Array) -> int:
        """The block that begins nearest to this reading, (channels,), in deviations; another level counts as one."""
        first = self.values_[which, :, begin]
        numbers = np.array([not count for count in self.scale_.counts])
        apart = np.where(numbers, np.abs(first - end) / np.array(self.scale_.width), first != end)
        return int((apart**2).sum(axis=1).argmin())


def _filled(values: Array, lengths: Array, scale: Scale) -> Array:
    """Without missing readings: numbers on a line between their neighbours, levels as the one before, or the usual value."""
    out = values.copy()
    for i, length in enumerate(lengths):
        for c in range(out.shape[1]):
            read = out[i, c, :length]
            there = np.flatnonzero(np.isfinite(read))
            if len(there) == length:
                continue
            if not len(there):
                read[:] = 0 if scale.counts[c] else scale.middle[c]
            elif scale.counts[c]:
                read[:] = read[there[np.maximum(np.searchsorted(there, np.arange(length), side="right") - 1, 0)]]
            else:
                read[:] = np.interp(np.arange(length), there, read[there])
    return np.asarray(np.nan_to_num(out, nan=0.0))
