"""Which tables is a version written to besides? Each kind with its keys and their meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.sources import Address, Spec


class Sink(Spec):
    """What every table has."""

    mode: Literal["overwrite", "append"] = "overwrite"
    """overwrite: the table holds the latest version, and its history the others; append: the rows of all versions."""


class DeltaSink(Sink):
    """A Delta table (extra `delta`); each version is one commit."""

    use: Literal["delta"]
    path: Address
    """A folder, or s3://, gs://, az://, abfs://; credentials are those of the environment."""


class IcebergSink(Sink):
    """An Iceberg table in a SQL catalog (extra `iceberg`); each version is one commit."""

    use: Literal["iceberg"]
    catalog: Address
    """SQLAlchemy URL of the catalog: sqlite:///catalog.db, postgresql+psycopg2://user:${DB_PASSWORD}@host/db."""
    warehouse: Address
    """Where the data of its tables lie: a folder, or s3://, gs://, abfs://."""
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$")]
    """namespace.name"""


AnySink = Annotated[DeltaSink | IcebergSink, Field(discriminator="use")]
