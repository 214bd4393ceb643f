"""How are the rows of one table learned and drawn, given their parents and the sibling before them?"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import Dataset
from data.encode_coarse import information
from data.encode_values import Array
from data.schema import Column, Schema
from generators.base import Generator, GeneratorError, Progress, table
from generators.tabular._conditions import part_seed
from generators.tabular._relational_kinds import centres, nearest
from generators.tabular._table import mark_of, rng_of

#: Columns of the parents, of the sibling before, and of each other parent that rows are drawn by, at most; and what a column
#: must tell of the rows to be among them (nats).
ABOVE, BEFORE, BESIDE, TELLING = 12, 8, 4, 0.003
#: Rows that this is found out on.
LOOKED = 20_000
#: Siblings up to this place look at the one right before them; those further on, drawn many at a time, at one further back.
TURNS = 48
#: Groups of contexts for families that can be given one column only, and rows of each on average.
CELLS, CELL_ROWS = 32, 25
KIND, CELL = ":kind", ":cell"


@runtime_checkable
class Completes(Protocol):
    """A family that draws the rest of each row given any of its columns."""

    first: tuple[str, ...]

    def complete(self, known: pa.Table, *, seed: int, only: Sequence[str] | None = None) -> dict[str, pa.Array]:
        """Column -> values of what `known` does not hold."""


@dataclass
class RowModel:
    """The family that draws one table's rows, with the names of the columns that it is told.

    context: what is known before a row is drawn (codes as text). links: the kinds of the other parents. beside: foreign key's
    column -> what its row is told of the parent that was found. cells: for families that can be told one column only, the
    values of each context column and the centres of the groups that rows of contexts fall into."""

    schema: Schema
    context: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    family: Any = None
    cells: tuple[list[list[int]], list[list[float]]] | None = None

    @classmethod
    def fit(
        cls,
        known: Mapping[str, Array],
        links: Mapping[str, Array],
        beside: Mapping[str, Mapping[str, Array]],
        own: Mapping[str, pa.Array],
        schema: Schema,
        *,
        rows: int,
        prototype: Any,
        seed: int,
        progress: Progress,
        checkpoint: Path | None,
    ) -> RowModel:
        """known, links: name -> (n,) codes; beside: foreign key's column -> name -> (n,) codes; own: what is drawn for itself.

        A table of which nothing can be learned has no family."""
        told = {name: names for name, names in ((key, tuple(each)) for key, each in beside.items()) if names}
        model = cls(schema, tuple(known), tuple(links), told)
        exact = isinstance(prototype, Completes)
        columns: dict[str, Array] = dict(links)
        if exact:
            columns = {**known, **links, **{name: codes for each in beside.values() for name, codes in each.items()}}
        elif known:
            model.cells, columns[CELL] = _cells(known, seed)
        if not exact:
            model.beside = {}
        coded = {name: _texts(codes) for name, codes in columns.items()}
        whole = Schema((*(_coded(name, values) for name, values in coded.items()), *schema.columns))
        if not rows or not (links or schema.columns):
            return model
        train = Dataset(pa.table({**coded, **own}), whole)
        settings = {f.name: getattr(prototype, f.name) for f in fields(prototype) if f.init}
        family: Generator = replace(prototype, **settings | ({"first": tuple(coded)} if exact else {}))
        model.family = _fitted(family, train, seed, progress, checkpoint)
        return model

    def draw_links(self, known: Mapping[str, Array], seed: int) -> dict[str, Array]:
        """The kinds of the other parents and of the row itself, before its columns: name -> (rows,) codes."""
        made = self.family.complete(_coded_table(known), seed=seed, only=self.links)
        return {name: _codes(made[name]) for name in self.links if name in made}

    def draw(self, known: Mapping[str, Array], rows: int, seed: int) -> tuple[dict[str, Array], dict[str, pa.Array]]:
        """(codes of the links that `known` does not hold, own columns), each of `rows` rows."""
        if self.family is None or not rows:
            blank = {name: pa.nulls(rows, t) for name, t in zip(self.schema.names, self.schema.arrow().types, strict=True)}
            return {name: np.zeros(rows, dtype=np.int64) for name in self.links if name not in known}, blank
        if isinstance(self.family, Completes) and known:
            made: dict[str, Any] = self.family.complete(_coded_table(known), seed=seed)
        else:
            made = self._by_cells(known, rows, seed)
        links = {name: _codes(made[name]) for name in self.links if name in made and name not in known}
        return links, {name: _single(made[name]) for name in self.schema.names}

    def _by_cells(self, known: Mapping[str, Array], rows: int, seed: int) -> dict[str, Any]:
        """Rows drawn group by group, each group given its one column."""
        where = {KIND: known[KIND]} if KIND in known else {}
        if self.cells is not None:
            values, middle = self.cells
            where[CELL] = nearest(_one_hot([known[name] for name in self.context], values), np.array(middle))
        if not where:
            whole = _whole(self.family, rows, None, seed)
            return {name: whole.column(name) for name in whole.column_names}
        groups, of = np.unique(np.stack(list(where.values()), axis=1), axis=0, return_inverse=True)
        drawn = []
        for k, group in enumerate(groups.tolist()):
            wanted = {name: str(code) for name, code in zip(where, group, strict=True)}
            drawn.append(_whole(self.family, int((of.ravel() == k).sum()), wanted, part_seed(seed, k)))
        back = pa.array(np.argsort(np.argsort(of.ravel(), kind="stable"), kind="stable"))
        whole = pa.concat_tables(drawn).take(back)
        return {name: whole.column(name) for name in whole.column_names}


def _fitted(family: Generator, train: Dataset, seed: int, progress: Progress, checkpoint: Path | None) -> Generator:
    """The family fitted; a table that was finished before the whole fit was killed is not learned again."""
    if checkpoint is None:
        return family.fit(train, seed=seed, progress=progress)
    mark, finished = mark_of(family, train, seed), checkpoint / "finished"
    if (finished / "mark").is_file() and (finished / "mark").read_text() == mark:
        with contextlib.suppress(GeneratorError):  # damaged since: it is learned again
            return type(family).load(finished / "model")
    fitted = family.fit(train, seed=seed, progress=progress, checkpoint=checkpoint)
    shutil.rmtree(finished, ignore_errors=True)
    fitted.save(finished / "model")
    (finished / "mark").write_text(mark)
    return fitted


def _whole(family: Generator, rows: int, where: Mapping[str, Any] | None, seed: int) -> pa.Table:
    batches = list(family.sample(rows, where=where, seed=seed))
    return table(iter(batches), batches[0].schema)


def _single(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _texts(codes: Array) -> pa.Array:
    return pa.array(codes).cast(pa.string())


def _codes(texts: pa.Array | pa.ChunkedArray) -> Array:
    return np.asarray(texts.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _coded_table(known: Mapping[str, Array]) -> pa.Table:
    return pa.table({name: _texts(codes) for name, codes in known.items()})


def _coded(name: str, values: pa.Array) -> Column:
    counted = pc.value_counts(values).to_pylist()
    levels = tuple(item["values"] for item in sorted(counted, key=lambda item: (-item["counts"], item["values"])))
    return Column(name=name, kind="categorical", dtype="string", categories=levels)


def _cells(known: Mapping[str, Array], seed: int) -> tuple[tuple[list[list[int]], list[list[float]]], Array]:
    values = [np.unique(codes).tolist() for codes in known.values()]
    points = _one_hot(list(known.values()), values)
    rng = rng_of(seed, 52)
    middle = centres(points, int(np.clip(len(points) / CELL_ROWS, 1, CELLS)), rng)
    return (values, middle.tolist()), nearest(points, middle)


def _one_hot(columns: Sequence[Array], values: Sequence[Sequence[int]]) -> Array:
    return np.concatenate([c[:, None] == np.array(v) for c, v in zip(columns, values, strict=True)], axis=1).astype(np.float64)


def telling(candidates: Mapping[str, Array], targets: Sequence[Array], most: int, rows: int | None = None) -> list[str]:
    """The candidates that tell the most of any of the targets, at most so many; rows: how many are independent."""
    if not candidates or not targets or not len(targets[0]):
        return []
    step = max(len(targets[0]) // LOOKED, 1)
    said = {name: max(information(c[::step], t[::step], rows) for t in targets) for name, c in candidates.items()}
    ranked = sorted((name for name, nats in said.items() if nats > TELLING), key=lambda name: -said[name])
    return ranked[:most]
