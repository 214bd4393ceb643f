"""What do all families of series know of the windows they learned, and how do they hand out drawn ones?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema
from data.windows import CLASS, SERIES, Windows, attributes_of, batch, is_series, windows
from generators.base import Condition, GeneratorError

Array = np.ndarray
SAMPLE_ROWS = 256
FACTS, GIVEN = "facts.json", "given.parquet"
#: The column of `Facts.rows` with the readings of a window.
LENGTH = "length"


@dataclass(frozen=True)
class Given:
    """What is asked of drawn windows: labels (k,) int64; about (k, d) float32, class and attributes as numbers a network takes;
    lengths (k,) int64, readings of each."""

    labels: Array
    about: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.labels)


#: (given, rng) -> values (k, channels, longest) float, of which those within the lengths count.
Draw = Callable[[Given, np.random.Generator], Array]


@dataclass(frozen=True)
class Facts:
    """What a family keeps of its training windows to hand out new ones: their schema, and class, attributes and length of each,
    from which those of drawn windows are drawn, together. It holds no reading."""

    schema: Schema
    rows: pa.Table

    @classmethod
    def of(cls, train: Dataset) -> tuple[Facts, Windows]:
        """The facts, and the windows in memory. Raises GeneratorError for rows of a table, or no window."""
        if not is_series(train.schema):
            raise GeneratorError("this family learns series, and these are rows of a table; use a tabular family such as vae")
        if not train.num_rows:
            raise GeneratorError("there are no training windows; give at least a few of each class")
        held = windows(train)
        if attributes_of(train.schema) and any(column.null_count for column in held.attributes.columns):
            name = next(n for n in held.attributes.column_names if held.attributes.column(n).null_count)
            raise GeneratorError(f"the attribute {name!r} is missing in some windows; fill it in, or drop the column")
        rows = held.attributes.append_column(LENGTH, pa.array(held.lengths))
        if held.classes:
            rows = rows.append_column(CLASS, pa.array([held.classes[k] for k in held.labels], pa.string()))
        return cls(train.schema, rows), held

    @property
    def channels(self) -> tuple[str, ...]:
        return self.schema[SERIES].channels

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Of each channel its levels, () for numbers."""
        return self.schema[SERIES].levels

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(level) for level in self.schema.classes())

    @cached_property
    def labels(self) -> Array:
        """(n,) int64 of the training windows; 0 where there are no classes."""
        if CLASS not in self.rows.column_names:
            return np.zeros(len(self.rows), dtype=np.int64)
        place = {name: i for i, name in enumerate(self.classes)}
        return np.array([place[name] for name in self.rows.column(CLASS).to_pylist()], dtype=np.int64)

    @cached_property
    def lengths(self) -> Array:
        """(n,) int64 of the training windows."""
        return np.asarray(self.rows.column(LENGTH).to_numpy(), dtype=np.int64)

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @cached_property
    def about(self) -> Array:
        """Class and attributes of the training windows as numbers: (n, d) float32."""
        return self.vectors(self.labels, self.rows)

    def vectors(self, labels: Array, rows: pa.Table) -> Array:
        """Classes and levels of attributes as zeros and a one, numbers in deviations of train: (k, d) float32."""
        parts = [np.eye(max(len(self.classes), 1), dtype=np.float32)[labels]] if self.classes else []
        for column in attributes_of(self.schema):
            values = rows.column(column.name)
            if column.discrete:
                place = {level: i for i, level in enumerate(column.categories)}
                at = [place[value] for value in values.to_pylist()]
                parts.append(np.eye(len(column.categories), dtype=np.float32)[at])
            else:
                known = _numbers(self.rows.column(column.name))
                width = float(known.std()) or 1.0
                parts.append(((_numbers(values) - known.mean()) / width).astype(np.float32)[:, None])
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(labels), 0), dtype=np.float32)

    def asked(self, where: Condition | None) -> tuple[Array, dict[str, Any]]:
        """The training windows (their positions) that a condition leaves to be like, and the attributes that it sets.

        Raises GeneratorError for a condition on anything but the class and the attributes, or on what cannot be."""
        wanted, left, states = dict(where or {}), np.arange(len(self.rows)), {}
        known = [column.name for column in attributes_of(self.schema)]
        if (name := wanted.pop(CLASS, None)) is not None:
            if str(name) not in self.classes or not (self.labels == self.classes.index(str(name))).any():
                seen = [n for k, n in enumerate(self.classes) if (self.labels == k).any()]
                what = f"the classes are {', '.join(seen)}" if seen else "windows here have no class"
                raise GeneratorError(f"there are no training windows of class {str(name)!r}; {what}")
            left = np.flatnonzero(self.labels == self.classes.index(str(name)))
        for name, value in wanted.items():
            if name not in known:
                may = [*([CLASS] if self.classes else []), *known]
                raise GeneratorError(f"series can be asked for by {', '.join(may) or 'nothing'}, not by {name!r}")
            states[name] = _settled(self.schema[name], value)
            alike = np.array([value == states[name] for value in self.rows.column(name).take(pa.array(left)).to_pylist()])
            left = left[alike] if alike.any() else left
        return left, states

    def sample(
        self, n: int, *, where: Condition | None, seed: int, draw: Draw, rows: int = SAMPLE_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Exactly `n` windows in batches of at most `rows`: each has a seed of its own stream.

        Class, attributes and length come together as they do in train, but for what the condition sets."""
        left, states = self.asked(where)
        for part, first in enumerate(range(0, n, rows)):
            rng = np.random.default_rng([seed % 2**63, part])
            count = min(rows, n - first)
            like = left[rng.integers(len(left), size=count)]
            of = self.rows.take(pa.array(like))
            for name, value in states.items():
                of = of.set_column(of.column_names.index(name), name, pa.array([value] * count, of.schema.field(name).type))
            given = Given(self.labels[like], self.vectors(self.labels[like], of), self.lengths[like])
            values = np.asarray(draw(given, rng), dtype=np.float32)[:, :, : int(given.lengths.max(initial=1))]
            names = [self.classes[k] for k in given.labels] if self.classes else None
            held = {c.name: of.column(c.name).combine_chunks() for c in attributes_of(self.schema)}
            yield batch(self.schema, values, given.lengths, classes=names, seeds=[int(seed)] * count, attributes=held)

    def save(self, folder: Path) -> None:
        """Write what `load` reads, into a folder that is there."""
        text = json.dumps(self.schema.to_json(), indent=1, sort_keys=True, default=str)
        (folder / FACTS).write_text(text, encoding="utf-8")
        pq.write_table(self.rows, folder / GIVEN, compression="zstd")

    @classmethod
    def load(cls, folder: Path) -> Facts:
        """Read back what `save` wrote. Raises GeneratorError when it is damaged."""
        try:
            schema = Schema.from_json(json.loads((folder / FACTS).read_text(encoding="utf-8")))
            return cls(schema, pq.read_table(folder / GIVEN))
        except (OSError, ValueError, KeyError):
            raise GeneratorError(f"{folder / FACTS} cannot be read; fit the model again") from None


def _numbers(values: pa.ChunkedArray) -> Array:
    return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _settled(column: Column, value: Any) -> Any:
    """The value of an attribute that a condition names. Raises GeneratorError for none that it can have."""
    try:
        return column.level(value) if column.discrete else float(value)
    except (DataError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, DataError) else f"{column.name!r} is a number, which {value!r} is not"
        raise GeneratorError(said) from None
