"""How are tables that refer to each other drawn? Parents first; then how many children, and which, given their parents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from data.encode_coarse import Coarse
from data.relations import Relations, Tables
from generators.base import SILENT, Generator, GeneratorError, Progress, seal
from generators.tabular._conditions import part_seed
from generators.tabular._relational_draw import Drawing, Drawn
from generators.tabular._relational_kinds import learn_kinds
from generators.tabular._relational_layout import lay_out
from generators.tabular._relational_learn import Learned, TableModel, learn_table
from generators.tabular._table import open_model, write_json
from generators.tabular.autoregressive import Autoregressive

__all__ = ["Relational", "lay_out"]

STATE = "relational.json"
#: Rows in a batch that is handed out.
BATCH_ROWS = 65_536


@dataclass
class Relational:
    """Draws all tables of a set, so that keys hold and children are like their parents. `rows` is the family of each table.

    Tables come in the order of their foreign keys. Every row is drawn together with how many children it has under each
    foreign key that refers to its table, none among them, and with its kind: a group of rows that are alike in their columns,
    their children and these's children. Children are drawn given a bounded number of columns of their owner and of those above
    it, in a few words (data/encode_coarse.py), how many siblings there are, their place among them, and the sibling before.
    One foreign key of a table is its owner's; for the others the row says which kind of parent it wants, and one of the
    finished parents of that kind is taken that still lacks children; then the row's own columns follow, given this parent too.
    Rows of a table that refers to itself are drawn with their depth, and refer to rows one above. Links that are unique in
    train stay so. Columns that repeat a parent's are copied.

    A family with `complete` (autoregressive) is told all of this; any other family one column, the group that it falls into.

    Sources: Patki et al. 2016 (SDV, section III): parents before children, counts learned with the parent. Solatorio and
    Dupriez 2023 (REaLTabFormer, arXiv 2302.02041): children given the parent's row. Pang et al. 2024 (ClavaDDPM, arXiv
    2405.17724): latent groups that parents and children share. What is different: counts and groups are columns of the parent,
    and foreign keys beside the owner's are matched so that each parent has as many children as it was drawn with.

    What is not kept: sums over children (a total and its lines), and text, which no family writes.

    Learned: `models_` (table -> its model, parents first), `relations_`."""

    rows: Any = field(default_factory=Autoregressive)

    def fit(self, train: Tables, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn all tables; with a `checkpoint` folder, finished tables of a killed fit are taken from there, and the one at
        work goes on if its family can.

        Raises GeneratorError, which names the table, for what its family cannot learn."""
        order = train.relations.order()
        layouts = {name: lay_out(train, name) for name in order}
        coarse = {
            name: {c.name: Coarse.fit(train[name].column(c.name), c) for c in train[name].schema.learned} for name in order
        }
        known = Learned(train, layouts, coarse, *learn_kinds(train, layouts, coarse, seed), views={})
        self.relations_ = train.relations
        self.models_: dict[str, TableModel] = {}
        for place, name in enumerate(order):
            folder = None if checkpoint is None else checkpoint / f"{place:03d}"
            try:
                self.models_[name] = learn_table(
                    known, name, prototype=self.rows, seed=part_seed(seed, place), progress=_Within(progress, name),
                    checkpoint=folder,
                )  # fmt: skip
            except GeneratorError as error:
                raise GeneratorError(f"table {name!r}: {error}") from None
            progress.advance(place + 1, len(order), "table")
        return self

    def sample(self, scale: float = 1.0, *, seed: int, progress: Progress = SILENT) -> Iterator[tuple[str, pa.RecordBatch]]:
        """(table, rows) batch by batch, parents first; tables without an owner have `scale` times as many rows as train.

        Parents are kept in memory until their children are drawn. Raises GeneratorError for a scale that is not above 0."""
        if not scale > 0:
            raise GeneratorError(f"the scale must be above 0, not {scale}; 1 draws as many rows as there are")
        done: dict[str, Drawn] = {}
        for place, (name, model) in enumerate(self.models_.items()):
            done[name] = Drawing(model, done, scale, part_seed(seed, place))()
            schema = model.schema.arrow()
            batches = done[name].table.to_batches(max_chunksize=BATCH_ROWS)
            yield from ((name, batch) for batch in batches or [pa.RecordBatch.from_pylist([], schema=schema)])
            self._forget(done, name)
            progress.advance(place + 1, len(self.models_), "table")

    def draw(self, scale: float = 1.0, *, seed: int) -> dict[str, pa.Table]:
        """All tables at once."""
        parts: dict[str, list[pa.RecordBatch]] = {name: [] for name in self.models_}
        for name, batch in self.sample(scale, seed=seed):
            parts[name].append(batch)
        return {name: pa.Table.from_batches(batches) for name, batches in parts.items()}

    def _forget(self, done: dict[str, Drawn], last: str) -> None:
        """Tables all of whose children are drawn are needed no more."""
        names = list(self.models_)
        ahead = set(names[names.index(last) + 1 :])
        for name in [n for n in done if not {key.table for key in self.relations_.to(n)} & ahead]:
            del done[name]

    def save(self, folder: Path) -> None:
        """Write every table's model. They hold levels and values of the real data."""
        folder.mkdir(parents=True, exist_ok=True)
        for place, model in enumerate(self.models_.values()):
            inner = folder / f"{place:03d}"
            shutil.rmtree(inner, ignore_errors=True)
            if model.rows.family is not None:
                model.rows.family.save(inner)
        cls = type(self.rows)
        state = {
            "rows": f"{cls.__module__}:{cls.__qualname__}",
            "relations": self.relations_.to_json(),
            "tables": {name: model.to_json() for name, model in self.models_.items()},
        }
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path, rows: type[Generator] = Autoregressive) -> Self:
        """Read back what `save` wrote; rows: the family of the rows, which must be that of the model."""
        settings = open_model(folder, cls)["rows"]
        state = json.loads((folder / STATE).read_text())
        if state["rows"] != (own := f"{rows.__module__}:{rows.__qualname__}"):
            raise GeneratorError(f"{folder} holds rows of {state['rows']}, not of {own}; load it with that family")
        family = cls(rows=rows(**{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}))
        family.relations_ = Relations.from_json(state["relations"])
        family.models_ = {}
        for place, (name, value) in enumerate(state["tables"].items()):
            inner = None if value["rows"]["empty"] else rows.load(folder / f"{place:03d}")
            family.models_[name] = TableModel.from_json(value, inner)
        return family


@dataclass(frozen=True)
class _Within:
    """Tells of the fit of one table."""

    progress: Progress
    table: str

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.progress.advance(done, total, f"{what} of {self.table}", **figures)
