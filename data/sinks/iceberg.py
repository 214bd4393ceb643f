"""How does a version become one commit to an Iceberg table in a SQL catalog?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data.sinks import Mode, Told, plain, reader, refused

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.table import Table


def write(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    told: Told,
    *,
    catalog: str,
    warehouse: str,
    table: str,
    mode: Mode = "overwrite",
    endpoint: str | None = None,
    region: str | None = None,
) -> str:
    """One commit with the version in the properties of its snapshots, none where the table has it already; what it is called.

    catalog: SQLAlchemy URL of the catalog's database. warehouse: folder or store of the data. table: namespace.name.

    Raises PublishError, in a sentence, for whatever the catalog, the table or the store refuses."""
    from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, RESTError, ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    target = plain(schema)
    try:
        into = _table(_catalog(catalog, warehouse, endpoint, region), table, target)
        kept = [each.summary.additional_properties for each in into.snapshots() if each.summary is not None]
        if not told.is_in(kept, mode):
            _commit(into, reader(batches, target), told, mode)
    except (CommitFailedException, NoSuchTableError, RESTError, ValidationError, SQLAlchemyError, OSError, ValueError) as error:
        raise refused(f"Iceberg table {table}", told, error) from None
    return table


def _catalog(url: str, warehouse: str, endpoint: str | None, region: str | None) -> SqlCatalog:
    from pathlib import Path

    from pyiceberg.catalog.sql import SqlCatalog

    if "://" not in warehouse:
        folder = Path(warehouse).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        warehouse = folder.as_uri()
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)
    stores: dict[str, Any] = {"s3.endpoint": endpoint, "s3.region": region}
    return SqlCatalog("counterpoise", uri=url, warehouse=warehouse, **{k: v for k, v in stores.items() if v})


def _table(catalog: SqlCatalog, name: str, schema: pa.Schema) -> Table:
    """The table, made where it is not there, with the columns of the rows."""
    catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
    into = catalog.create_table_if_not_exists(name, schema=schema)
    if set(schema.names) - set(into.schema().column_names):
        with into.update_schema() as update:
            update.union_by_name(schema)
    return into


def _commit(into: Table, rows: pa.RecordBatchReader, told: Told, mode: Mode) -> None:
    from pyiceberg.expressions import AlwaysTrue

    with into.transaction() as change:
        if mode == "overwrite" and into.current_snapshot() is not None:
            change.delete(AlwaysTrue(), snapshot_properties=told.properties())
        change.append(rows, snapshot_properties=told.properties())
