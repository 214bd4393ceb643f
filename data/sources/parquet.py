"""What does this Parquet file, or this folder of Parquet files, hold?"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads

from data.errors import DataError
from data.sources import check_rows, clean
from data.sources._within import check_link

#: Pages that have a checksum are held to it: a flipped bit would otherwise be another value.
_FORMAT = pads.ParquetFileFormat(default_fragment_scan_options=pads.ParquetFragmentScanOptions(page_checksum_verification=True))


def read(path: str | Path) -> pa.Table:
    """The rows of one Parquet file, or of every .parquet file in a folder (Hive partition columns included).

    Files are taken in the order of their names. Raises DataError, one sentence, when there is no such file, a folder
    holds no Parquet, a file is damaged, types differ between files, or there are no rows; and as `clean` does."""
    path = Path(path)
    try:
        table = _dataset(path).to_table()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        raise _unreadable(path, error) from None
    check_rows(table, str(path))
    return clean(table, str(path))


def open_lazily(path: str | Path) -> pads.Dataset:
    """The same file or folder without its rows: what is wrong with them comes out when they are read.

    Raises DataError when there is no such file, it is no Parquet, or it has no rows."""
    path = Path(path)
    try:
        found = _dataset(path)
        rows = found.count_rows()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        raise _unreadable(path, error) from None
    if not rows:
        raise DataError(f"{path} holds no rows; give data with at least a few rows of each class")
    return found


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{path} cannot be read as Parquet: {reason}; check that it is whole")


def _dataset(path: Path) -> pads.Dataset:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*.parquet") if p.is_file() and not _hidden(p.relative_to(path)))
        if not files:
            raise DataError(f"the folder {path} holds no .parquet file; name the folder that does")
        for file in files:
            check_link(file, [path])
        return pads.dataset([str(p) for p in files], format=_FORMAT, partitioning="hive", partition_base_dir=str(path))
    if not path.is_file():
        raise DataError(f"there is no file or folder {path}; check the path (relative paths start at the working folder)")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; give a Parquet file with rows")
    return pads.dataset(str(path), format=_FORMAT)


def _hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)
