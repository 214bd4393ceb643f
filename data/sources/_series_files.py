"""Which files of readings does a path name, and what do they hold together?"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from data.errors import DataError
from data.sources import check_rows
from data.sources import csv as csv_source
from data.sources import parquet as parquet_source
from data.sources._found import files_below, listed

#: The column of the file that a row came from, where a folder is read.
FILE = "__file__"
TEXTS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".tab")


def tables_below(folder: Path) -> list[Path]:
    """The csv and Parquet files of a folder and its folders, but for the hidden ones, in the order of their names."""
    found = (p for p in files_below(folder) if is_table(p))
    return sorted(p for p in found if not any(part.startswith((".", "__MACOSX")) for part in p.relative_to(folder).parts))


def is_table(path: Path) -> bool:
    """Whether a file is named as tables are."""
    return path.name.lower().endswith((*TEXTS, ".parquet", ".pq"))


def one(path: Path) -> pa.Table:
    """The rows of one file. Raises DataError as the readers of csv and Parquet do."""
    return parquet_source.read(path) if path.suffix.lower() in (".parquet", ".pq") else csv_source.read(path)


def loaded(path: Path, said: list[str]) -> tuple[pa.Table, dict[str, str]]:
    """The rows of a file, or of all in a folder with a column FILE of their names; and name -> file of the latter.

    Raises DataError for no such path, a folder without tables, and for files whose columns differ in their types."""
    if not path.exists():
        raise DataError(f"there is no file or folder {path}; check data.path (relative paths start at the working folder)")
    if path.is_file():
        return one(path).replace_schema_metadata(None), {}
    files = tables_below(path)
    if not files:
        raise DataError(f"{path} holds no csv and no Parquet file; name the folder that does")
    if any("=" in part for part in files[0].relative_to(path).parts[:-1]):
        return parquet_source.read(path).replace_schema_metadata(None), {}  # one table, cut by the values of columns
    names = [_name(file, path) for file in files]
    tables = []
    for file, name in zip(files, names, strict=True):
        table = one(file).replace_schema_metadata(None)
        check_rows(table, str(file))
        tables.append(table.append_column(FILE, pa.array([name] * table.num_rows, pa.string())))
    some = {name for table in tables for name in table.column_names}
    odd = sorted(name for name in some if any(name not in table.column_names for table in tables))
    if odd:
        said.append(f"Some files lack the columns {listed(odd)}: nothing was read there.")
    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"{path}: files differ in their columns ({' '.join(str(error).split())[:120]}); make them alike"
        ) from None
    return whole, {name: file.relative_to(path).as_posix() for file, name in zip(files, names, strict=True)}


def _name(file: Path, root: Path) -> str:
    """The file's name below the folder, without what says how it is written."""
    text = file.relative_to(root).as_posix()
    ending = next((e for e in sorted((*TEXTS, ".parquet", ".pq"), key=len, reverse=True) if text.lower().endswith(e)), "")
    return text[: len(text) - len(ending)]
