"""What do all stages need of a run: its rows, its schema, and keys that tell whether anything changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.components import find as find_family
from configs.components import settings_model
from configs.plan import Plan
from data.dataset import Dataset
from data.schema import Column, Schema
from flows.run import Run, Stage, code_version, digest
from generators.base import Generator, Progress

SYNTHETIC = "is_synthetic"
#: The column of a source's own division into train, reference and holdout.
SPLIT = "split"


@dataclass(frozen=True)
class Step:
    """A stage with its key (all that its outcome depends on) and its work."""

    stage: Stage
    key: Callable[[Run], str]
    work: Callable[[Run, Progress], Mapping[str, Any]]


def load_schema(run: Run) -> Schema:
    """The schema that the profile stage settled on."""
    return Schema.from_json(json.loads((run.folder / "schema.json").read_text()))


def dataset(run: Run, part: str = "data") -> Dataset:
    """A part of the run's rows: data (all), train, reference or holdout; read lazily."""
    return Dataset.from_parquet(run.folder / f"work/{part}.parquet", load_schema(run))


def table_dataset(table: pa.Table) -> Dataset:
    """A table whose columns have no meaning yet, only their types."""
    return Dataset(table, Schema(tuple(Column(name=f.name, kind="text", dtype=str(f.type)) for f in table.schema)))


def table_digest(table: pa.Table) -> str:
    """sha256 over the values of a table."""
    return table_dataset(table).digest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def key_of(
    stage: str, before: str | None, *rooms: str, part: Callable[[Plan], object], settled: bool = False
) -> Callable[[Run], str]:
    """A stage's key: the key of the stage before, its part of the plan, and the code it runs.

    settled: the plan with what was chosen in it, for stages after `choose`."""

    def key(run: Run) -> str:
        upstream = run.stages[before]["key"] if before else run.stages["fingerprint"]
        return digest(stage, upstream, part(run.settled if settled else run.plan), code_version(*rooms))

    return key


def class_counts(data: Dataset) -> dict[Any, int]:
    """Real rows of each class, most frequent first; empty without a discrete target."""
    classes = data.schema.classes()
    if not classes:
        return {}
    labels = data.labels()
    return dict(zip(classes, np.bincount(labels[labels >= 0], minlength=len(classes)).tolist(), strict=True))


def owned(run: Run) -> Dataset:
    """The real rows that the published set may hold: all of them, but not those that the source keeps for judging."""
    rows = dataset(run)
    if not run.plan.split.from_source:
        return rows
    parts = pq.read_table(run.folder / "work/data.parquet", columns=[SPLIT]).column(SPLIT).to_pylist()
    return rows.take(np.flatnonzero(np.array([part != "holdout" for part in parts])))


def generator_spec(plan: Plan) -> dict[str, Any]:
    """The generator's settings as `build` takes them, with the plan's device where the family has one."""
    spec = {"use": plan.generator.use, **plan.generator.settings}
    family = find_family(plan.generator.use, Generator, package="generators")
    if plan.device != "auto" and "device" in settings_model(family).model_fields:
        spec.setdefault("device", plan.device)
    if plan.purpose == "release":
        from flows.stages.promise import promised_settings

        spec = promised_settings(plan, settings_model(family).model_fields) | spec
    return spec
