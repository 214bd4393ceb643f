"""How does a version become one version of a Delta table?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from data.sinks import Mode, Told, plain, reader, refused


def write(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    told: Told,
    *,
    path: str,
    mode: Mode = "overwrite",
    endpoint: str | None = None,
    region: str | None = None,
) -> str:
    """One commit with the version in its metadata, none where the table has it already; where the table lies.

    path: a folder, or s3://, gs://, az://, abfs://; credentials are those of the environment. Rows are written as they come.

    Raises PublishError, in a sentence, for whatever the table or the store refuses."""
    from deltalake import CommitProperties, DeltaTable, write_deltalake
    from deltalake.exceptions import DeltaError

    options = _options(endpoint, region) if path.startswith("s3") else {}
    try:
        there = DeltaTable.is_deltatable(path, options)
        if there and told.is_in(DeltaTable(path, storage_options=options).history(), mode):
            return path
        target = plain(schema)
        write_deltalake(
            path, reader(batches, target), mode=mode, storage_options=options,
            schema_mode="overwrite" if mode == "overwrite" else "merge",
            commit_properties=CommitProperties(custom_metadata=told.properties()),
        )  # fmt: skip
    except (DeltaError, OSError, ValueError) as error:
        raise refused(f"Delta table {path}", told, error) from None
    return path


def _options(endpoint: str | None, region: str | None) -> dict[str, str]:
    # By itself the library would ask a store that does not answer for half an hour.
    options: dict[str, Any] = {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": region, "max_retries": "5", "retry_timeout": "60s"}
    if endpoint and endpoint.startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return {name: value for name, value in options.items() if value}
