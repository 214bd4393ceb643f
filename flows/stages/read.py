"""Where do the rows come from? Reads the source once and keeps what it held."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from configs.load import fill
from configs.plan import Plan
from configs.sources import SqlSource, TablesSource
from data.errors import DataError
from data.remote import fetched, is_remote
from data.windows import description
from flows.run import Run, Stage, digest
from flows.stages.shared import SPLIT, SYNTHETIC, Step, file_sha256, key_of, table_dataset, table_digest
from generators.base import Progress

#: Where a reader leaves its sentences.
NOTICES = b"counterpoise.notices"
#: Sources whose path may be a file that names pictures beside it.
BESIDE = ("image_index", "coco", "yolo")


def fingerprint(plan: Plan) -> str:
    """sha256 of the bytes that the source holds now; a database is asked, since it has no bytes to look at."""
    source = plan.data
    if isinstance(source, SqlSource):
        return table_digest(_load(plan))
    if isinstance(source, TablesSource):
        from flows.stages.tables import tables_fingerprint

        return tables_fingerprint(source)
    if not hasattr(source, "path"):  # sets that a package brings along, or that this project draws
        return digest(source, version("scikit-learn"))
    path = local(getattr(source, "path", ""), source.use)
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct data.path (it is relative to {Path.cwd()})")
    # The pictures that an index or annotations name lie beside them, or in folders of their own.
    beside = path.parent if path.is_file() and source.use in BESIDE else path
    named = [local(name) for part in ("masks", "root", "images") if (name := getattr(source, part, None))]
    folders = [beside, *(place for name in named for place in (name, beside / name) if place.is_dir())]
    held = [[str(p.relative_to(folder)), _sha256(p)] for folder in folders for p in _files(folder)]
    # The events of series lie in a file of their own.
    events = [local(name)] if (name := getattr(source, "events", None)) else []
    return digest([*held, *([place.name, _sha256(place)] for place in events)])


def local(path: str, use: str = "") -> Path:
    """Where the files of a source lie here: as named, or a copy of what an object store holds now; with an index or
    annotations (by `use`), what lies beside them."""
    if not is_remote(path):
        return Path(path)
    folder, _, name = path.rstrip("/").rpartition("/")
    return fetched(folder) / name if use in BESIDE and PurePosixPath(name).suffix else fetched(path)


def _files(path: Path) -> list[Path]:
    from data.sources._found import files_below

    return sorted(files_below(path)) if path.is_dir() else [path]


def _sha256(path: Path) -> str:
    """As `file_sha256`; of a file that may not be read its reader tells, or it leaves it out."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


def _read(run: Run, progress: Progress) -> Mapping[str, Any]:
    from data.sources._nearly import nearly_of

    table = _load(run.plan)
    if SYNTHETIC in table.column_names:
        raise DataError(f"the data already has a column {SYNTHETIC!r}, which the published dataset needs; rename or drop it")
    notices, nearly = notices_of(table), nearly_of(table)
    described = description(table).to_json() if run.plan.modality == "series" else None
    table = table.replace_schema_metadata(None)
    table_dataset(table).write_parquet(run.folder / "work/data.parquet")
    facts = {"rows": table.num_rows, "columns": table.num_columns, "data_sha256": table_digest(table)}
    facts |= {"pictures": table.num_rows} if run.plan.modality == "image" else {}
    facts |= {"windows": table.num_rows, "series": described} if described else {}
    facts |= {"nearly": nearly} if run.plan.data.use == "csv" else {}
    return facts | ({"notices": notices} if notices else {})


def notices_of(table: pa.Table) -> list[str]:
    """What a reader has to tell of the rows, a sentence each."""
    said = (table.schema.metadata or {}).get(NOTICES)
    return [str(sentence) for sentence in json.loads(said)] if said else []


def _load(plan: Plan) -> pa.Table:
    from data.sources import thin

    source = plan.data
    options = source.model_dump(exclude={"use", "keep"}, exclude_none=True)
    if plan.modality == "image":
        _needs_pictures()
    if isinstance(source, SqlSource):
        options["url"] = fill(source.url)
    here = {key: value for key, value in options.items() if isinstance(value, str) and key != "url" and is_remote(value)}
    options |= {key: str(local(value, source.use if key == "path" else "")) for key, value in here.items()}
    table = importlib.import_module(f"data.sources.{source.use}").read(**options)
    dropped = [name for name, column in plan.columns.items() if column.drop and name in table.column_names]
    table = table.drop_columns(dropped)
    if not (plan.target and source.keep):
        return table
    return thin(table, plan.target, source.keep, seed=plan.seed, spare=_judging(table) if plan.split.from_source else None)


def _judging(table: pa.Table) -> np.ndarray | None:
    """Rows that the source keeps for judging: thinning is about what there is to learn from. (n,) bool."""
    if SPLIT not in table.column_names:
        return None
    return np.array([part != "train" for part in table.column(SPLIT).to_pylist()])


def _needs_pictures() -> None:
    from importlib.util import find_spec

    if missing := [name for name in ("PIL",) if find_spec(name) is None]:
        raise DataError(f"pictures need {', '.join(missing)}, which is not installed; run `make setup`")


STEP = Step(
    Stage("read", ("work/data.parquet",)),
    key_of(
        "read",
        None,
        "data/sources",
        "data/samples",
        "data/images.py",
        "data/near.py",
        part=lambda p: [p.data, p.target, p.split.from_source, p.seed if p.data.keep else 0, p.columns],
    ),
    _read,
)
