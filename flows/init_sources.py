"""What do the data hold that a first plan is for, and how does the plan name them?"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.errors import DataError
from data.relations import Tables
from data.remote import fetched
from flows.recognise import single_table
from flows.stages.read import BESIDE, local


def copied(address: str) -> Path:
    """A copy of what lies in a store; of an index or annotations, with the pictures beside them."""
    from data.sources._pictures import recognise
    from data.sources.image_index import means_pictures

    place = fetched(address)
    if not place.is_file():
        return place
    index = place.suffix.lower() == ".csv" and means_pictures(place)
    use = "image_index" if index else str((recognise(place) or {}).get("use"))
    return local(address, use) if use in BESIDE else place


def pictures_of(data: str) -> dict[str, Any] | None:
    """How to read these as pictures, None when they are no pictures."""
    path = Path(data)
    if "://" in data or not path.exists():
        return None
    from data.sources._pictures import recognise

    found: dict[str, Any] | None = recognise(path)
    return found


def series_of_path(data: str) -> dict[str, Any] | None:
    """How to read these as series, None when they are none."""
    path = Path(data)
    if "://" in data or not path.exists():
        return None
    from data.sources._series_found import recognise_series

    found: dict[str, Any] | None = recognise_series(path)
    return found


def source_of(data: str, query: str | None) -> tuple[dict[str, Any], str]:
    """How to read these as a table, and what a plan of them is called. Raises DataError where there is none."""
    if "://" in data:
        return {"use": "sql", "url": data, "query": query or _only_table(data)}, plan_name(data.rsplit("/", 1)[-1])
    path = Path(data)
    if not path.exists():
        beside = [str(p) for p in path.parent.glob("*") if p.suffix.lower() in (".csv", ".parquet", ".pq") or p.is_dir()]
        near = difflib.get_close_matches(data, beside, n=1)
        meant = f"did you mean {near[0]!r}?" if near else "name a csv or Parquet file, a folder, or a database url"
        raise DataError(f"{data}: there is no such file or folder; {meant}")
    if path.is_dir() and not any(path.rglob("*.parquet")):
        if (alone := single_table(path)) is not None:
            return source_of(str(alone), query)
        raise DataError(f"{data} holds no pictures and no .csv or .parquet files; name a file, or a folder that holds some")
    use = "parquet" if path.is_dir() or path.suffix in (".parquet", ".pq") else "csv"
    return {"use": use, "path": data}, plan_name(path.stem)


def as_named(source: dict[str, Any], place: str, data: str) -> dict[str, Any]:
    """A source as a plan names it: what lies at or below `place`, a copy of what a store holds, by its address there."""
    if place == data:
        return source
    moved = {key: value for key, value in source.items() if isinstance(value, str) and value.startswith(place)}
    return source | {key: data.rstrip("/") + value.removeprefix(place) for key, value in moved.items()}


def plan_name(text: str) -> str:
    """A text as the name of a plan: letters, digits, dots and dashes, at most 64."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", text.partition(".")[0]).strip("_.-").lower()
    return name[:64] or "dataset"


def related_of(url: str) -> Tables | None:
    """The tables of a database in which some refer to others, None where none do."""
    from configs.load import fill
    from data.sources.tables import keys_of, read

    if not keys_of(fill(url))[1][1]:
        return None
    return Tables.from_arrow(*read(url=fill(url)))


def _only_table(url: str) -> str:
    from configs.load import fill
    from data.sources.sql import tables

    names = tables(fill(url))
    if len(names) != 1:
        raise DataError(f"the database holds {len(names)} tables ({', '.join(names[:20])}); choose one's rows with --query")
    quoted = names[0].replace('"', '""')
    return f'SELECT * FROM "{quoted}"'  # noqa: S608  # a name of the database itself, quoted


def table_of(source: dict[str, Any]) -> pa.Table:
    """The rows of a source."""
    import importlib

    from configs.load import fill

    options = {k: fill(v) if k == "url" else v for k, v in source.items() if k != "use"}
    table: pa.Table = importlib.import_module(f"data.sources.{source['use']}").read(**options)
    return table
