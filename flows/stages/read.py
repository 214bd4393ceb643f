"""Where do the rows come from? Reads the source once and keeps what it held."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from configs.load import fill
from configs.plan import Plan, SqlSource
from data.errors import DataError
from flows.run import Run, Stage, digest
from flows.stages.shared import SYNTHETIC, Step, file_sha256, key_of, table_dataset, table_digest
from generators.base import Progress


def fingerprint(plan: Plan) -> str:
    """sha256 of the bytes that the source holds now; a database is asked, since it has no bytes to look at."""
    source = plan.data
    if isinstance(source, SqlSource):
        return table_digest(_load(plan))
    path = Path(getattr(source, "path", ""))
    if source.use == "sklearn":
        return digest(source.set, version("scikit-learn"))
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct data.path (it is relative to {Path.cwd()})")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return digest([[str(p.relative_to(path)), file_sha256(p)] for p in files])


def _read(run: Run, progress: Progress) -> Mapping[str, Any]:
    table = _load(run.plan)
    if SYNTHETIC in table.column_names:
        raise DataError(f"the data already has a column {SYNTHETIC!r}, which the published dataset needs; rename or drop it")
    table_dataset(table).write_parquet(run.folder / "work/data.parquet")
    return {"rows": table.num_rows, "columns": table.num_columns, "data_sha256": table_digest(table)}


def _load(plan: Plan) -> pa.Table:
    from data.sources import thin

    source = plan.data
    options = source.model_dump(exclude={"use", "keep"}, exclude_none=True)
    if isinstance(source, SqlSource):
        options["url"] = fill(source.url)
    table = importlib.import_module(f"data.sources.{source.use}").read(**options)
    dropped = [name for name, column in plan.columns.items() if column.drop and name in table.column_names]
    table = table.drop_columns(dropped)
    return thin(table, plan.target, source.keep, seed=plan.seed) if plan.target and source.keep else table


STEP = Step(
    Stage("read", ("work/data.parquet",)),
    key_of("read", None, "data/sources", part=lambda p: [p.data, p.target, p.seed if p.data.keep else 0, p.columns]),
    _read,
)
