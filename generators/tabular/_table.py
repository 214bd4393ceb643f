"""What do all families of our own do with a table before they learn it and after they drew it?"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.schema import Schema
from generators.base import GeneratorError, unseal

if TYPE_CHECKING:
    from data.ids import IdMaker


def refuse(train: Dataset) -> None:
    """Raises GeneratorError where a tabular family has nothing to learn or meets a kind that it cannot learn."""
    if not train.num_rows:
        raise GeneratorError("there are no training rows; give at least one")
    for column in train.schema:
        if not column.learned and column.kind != "id":
            raise GeneratorError(
                f"column {column.name!r} is {column.kind}, which a tabular family cannot learn; leave it out of the table"
            )
    if not train.schema.learned:
        raise GeneratorError("no column can be learned: there are only ids; name the kinds of the columns in the plan")


def at_least(family: object, least: float, *names: str) -> None:
    """Raises GeneratorError for a setting of `family` below `least`."""
    for name in names:
        if (value := getattr(family, name)) is not None and value < least:
            raise GeneratorError(f"generator.{name}: {value} is too small; it must be at least {least}")


def at_most(family: object, **tops: float) -> None:
    """Raises GeneratorError for a setting of `family` that is not between 0 and the number given for it."""
    for name, top in tops.items():
        if not 0 <= (value := getattr(family, name)) <= top:
            raise GeneratorError(f"generator.{name}: {value} is not between 0 and {top:g}")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for each process or worker of ours: the matrices are small, threads that wait for each other cost more than
    they give as soon as anything else runs, and sums come out the same whatever the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


P = TypeVar("P")
R = TypeVar("R")


def rounds(work: Callable[[P], R], parts: Sequence[P]) -> Iterator[list[R]]:
    """The results of `work` on each part, in order, as many at a time as there are cores: so memory does not grow with parts.

    Threads are made anew for each round: the number that torch uses is the process's own, and is put back between."""
    workers = min(os.cpu_count() or 1, len(parts))
    for first in range(0, len(parts), max(workers, 1)):
        with one_thread(), ThreadPoolExecutor(workers) as pool:
            done = list(pool.map(work, parts[first : first + workers]))
        yield done


def mark_of(family: Any, train: Dataset, seed: int) -> str:
    """Names data, settings and seed, so that no other fit's checkpoint is taken for this one's."""
    settings = {k: v for k, v in asdict(family).items() if k not in ("checkpoint_seconds", "device")}
    text = json.dumps([settings, seed, train.schema.to_json(), train.digest()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def rng_of(seed: int, *path: int) -> np.random.Generator:
    """An independent stream for every (seed, path); negative seeds are allowed."""
    return np.random.default_rng([seed % 2**63, *path])


def class_counts(train: Dataset) -> dict[Any, int]:
    """Rows of each class in train, most frequent first in the schema; {} without a discrete target."""
    classes = train.schema.classes()
    if not classes:
        return {}
    counts = np.bincount(train.labels() + 1, minlength=len(classes) + 1)[1:]
    return {level: int(count) for level, count in zip(classes, counts, strict=True)}


@dataclass(frozen=True)
class Finish:
    """Learned columns to whole rows: new ids are made, columns put in order, types made exact."""

    schema: Schema
    ids: Mapping[str, IdMaker]

    @classmethod
    def fit(cls, train: Dataset) -> Self:
        return cls(train.schema, {column.name: _maker(train, column.name) for column in train.schema.of_kind("id")})

    def __call__(self, learned: pa.Table | pa.RecordBatch, *, start: int, seed: int) -> pa.RecordBatch:
        """`learned` holds the learned columns of rows start, start + 1, ... of the draw that `seed` names."""
        fields = []
        for field in self.schema.arrow():
            if field.name in self.ids:
                values = self.ids[field.name].draw(start, learned.num_rows, seed)
            else:
                values = learned.column(field.name)
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            fields.append(values if values.type == field.type else values.cast(field.type))
        return pa.RecordBatch.from_arrays(fields, schema=self.schema.arrow())

    def to_state(self) -> dict[str, Any]:
        """JSON values only."""
        return {"schema": self.schema.to_json(), "ids": {name: maker.to_json() for name, maker in self.ids.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        makers = {}
        if state["ids"]:
            from data.ids import IdMaker

            makers = {name: IdMaker.from_json(value) for name, value in state["ids"].items()}
        return cls(Schema.from_json(state["schema"]), makers)


def _maker(train: Dataset, name: str) -> IdMaker:
    from data.ids import IdMaker

    return IdMaker.fit(train.column(name))


def open_model(folder: Path, cls: type) -> dict[str, Any]:
    """The settings of a saved model of this family.

    Raises GeneratorError when a file was changed after it was saved, or another family was saved there."""
    envelope = unseal(folder)
    if envelope["family"] != (own := f"{cls.__module__}:{cls.__qualname__}"):
        raise GeneratorError(f"{folder} holds a model of {envelope['family']}, not of {own}; load it with its own family")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in envelope["settings"].items()}


def write_json(path: Path, value: object, *, indent: int | None = None) -> None:
    """Text that reads back without loss; written beside and moved into place. indent: for people, keys in order."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(value) if indent is None else json.dumps(value, indent=indent, sort_keys=True) + "\n")
    beside.replace(path)
