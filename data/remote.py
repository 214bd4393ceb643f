"""Which store does an address mean, and how is it spoken to? Credentials come from the environment, never from the address."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from data.errors import DataError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

#: How addresses of each store begin.
S3, GOOGLE, AZURE = ("s3",), ("gs",), ("az", "abfs", "abfss")
#: Seconds for which a request to Google's store is repeated.
PATIENCE = 60


def is_remote(address: str) -> bool:
    """Whether an address is one of an object store, and no folder."""
    return address.partition("://")[0] in (*S3, *GOOGLE, *AZURE) and "://" in address


def opened(address: str, *, endpoint: str | None = None, region: str | None = None) -> tuple[FileSystem, str]:
    """Arrow's file system for an address, and the path in it: bucket (or container) and what follows.

    endpoint: another host than the service's own. Raises DataError for an address without a bucket, or without an account."""
    parts = urlsplit(address)
    bucket = parts.netloc.partition("@")[0]
    if not bucket:
        raise DataError(f"{address!r} names no bucket or container; write {parts.scheme}://bucket/prefix")
    path = "/".join(part for part in (bucket, parts.path.strip("/")) if part)
    if parts.scheme in S3:
        from data.s3 import S3Store

        return S3Store(address, "", endpoint, region).filesystem, path
    return (_google(endpoint) if parts.scheme in GOOGLE else _azure(parts.netloc, endpoint)), path


def _google(endpoint: str | None) -> FileSystem:
    from pyarrow.fs import GcsFileSystem

    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    where = endpoint or emulator
    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=PATIENCE)}
    if where:
        scheme, _, host = where.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    # An emulator knows nobody; the service itself is told who asks by the default credentials of the environment.
    return GcsFileSystem(**options, anonymous=emulator is not None)


def _azure(netloc: str, endpoint: str | None) -> FileSystem:
    from pyarrow.fs import AzureFileSystem

    stated = netloc.partition("@")[2].partition(".")[0]
    account = stated or _first("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise DataError(
            "the address names no account of Azure; set AZURE_STORAGE_ACCOUNT, or write "
            "abfs://container@account.dfs.core.windows.net/prefix"
        )
    options: dict[str, Any] = {}
    if key := _first("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"):
        options["account_key"] = key
    elif token := _first("AZURE_STORAGE_SAS_TOKEN"):
        options["sas_token"] = token
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        for kind in ("blob", "dfs"):
            options |= {f"{kind}_storage_authority": host, f"{kind}_storage_scheme": scheme or "https"}
    return AzureFileSystem(account, **options)


def _first(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)
