"""Which store does an address mean, and how is it spoken to? Credentials come from the environment, never from the address."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pyarrow import ArrowInvalid
from pyarrow.fs import FileSelector, LocalFileSystem

from data.errors import DataError
from data.secrets import hidden

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

#: How addresses of each store begin.
S3, GOOGLE, AZURE = ("s3",), ("gs",), ("az", "abfs", "abfss")
#: Seconds for which a request to Google's store is repeated, and how often one to S3 is made.
PATIENCE, ATTEMPTS = 60, 6


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

        return S3Store(address, "", endpoint, region).connected(ATTEMPTS), path
    return (_google(endpoint) if parts.scheme in GOOGLE else _azure(parts.netloc, endpoint)), path


def fetched(address: str) -> Path:
    """A local copy of a file, or of all files below a folder of a store: made once for what lies there, and kept in the cache.

    Raises DataError where there is nothing, where the store refuses, and for a name that leads out of the copy."""
    from pyarrow.fs import copy_files

    try:
        system, root = opened(address)
        files = _files(system, root)
        if not files:
            raise DataError(f"{address}: there is no such file or folder; correct data.path")
        listing = [[entry.path, entry.size, str(entry.mtime_ns)] for entry in files]
        mark = hashlib.sha256(json.dumps([address, listing]).encode()).hexdigest()[:16]
        target = cache() / mark / root.rpartition("/")[2]
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=cache()) as beside:
            for entry in files:
                name = entry.path.strip("/").removeprefix(root).strip("/")
                to = Path(beside, "held", target.name, *PurePosixPath(name).parts)
                if ".." in PurePosixPath(name).parts:
                    raise DataError(f"{address} holds {name!r}, which lies outside of it; rename it there")
                to.parent.mkdir(parents=True, exist_ok=True)
                copy_files(entry.path, str(to), source_filesystem=system, destination_filesystem=LocalFileSystem())
            with contextlib.suppress(OSError):  # another process was quicker
                Path(beside, "held").rename(target.parent)
    except (OSError, ArrowInvalid) as error:
        said = hidden(" ".join(str(error).split()))[:200]
        raise DataError(
            f"{address} cannot be read ({said}); check the address, the credentials of the environment and the network"
        ) from None
    return target


def cache() -> Path:
    """The folder of local copies."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "counterpoise" / "sources"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _files(system: FileSystem, root: str) -> list[FileInfo]:
    here = system.get_file_info(root)
    if here.is_file:
        return [here]
    found = system.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
    return sorted((entry for entry in found if entry.is_file), key=lambda entry: str(entry.path))


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
