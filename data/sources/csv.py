"""What does this CSV file hold? Encoding, delimiter, missing markers and types are sniffed; each can be stated instead."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from data.errors import DataError
from data.sources import check_names
from data.sources._dialect import Dialect, load, sniff_delimiter, to_utf8
from data.sources._nearly import with_nearly
from data.sources._typed import Infinite, typed_table

BLOCK_BYTES = 8 << 20


def read(
    path: str | Path,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    missing: Sequence[str] | None = None,
    decimal: str | None = None,
    header: bool = True,
) -> pa.Table:
    """The rows of a CSV file (also .csv.gz) as a typed table.

    encoding: a Python codec; sniffed when None: marks, UTF-8, UTF-16, cp1252, then what charset-normalizer is sure of.
    delimiter: one sign; sniffed among , ; tab | when None.
    missing: the markers that mean "missing" in every column, compared without surrounding blanks; an empty field always
        does. When None, `data.sources._typed` decides column by column.
    decimal: "." or ","; when None a comma is understood in files with semicolons, column by column.
    header: whether the first line holds names; without one columns are called 0, 1, 2, ...

    Text keeps its spelling byte for byte, surrounding blanks included. Numbers written with leading zeros ("00123") stay
    text. true/false become booleans, yes/no stay text. Dates become date32, dates with a time timestamp[us].

    Of a column that a marker or two keep from being numbers or dates, `nearly_of` tells.

    Raises DataError, one sentence with the file and the line: no such file, a folder, an empty file, a header alone,
    ragged rows, columns without a name or named twice, bytes that are no text, an infinity."""
    path = Path(path)
    if delimiter is not None and len(delimiter) != 1:
        raise DataError(f"{path}: the delimiter must be one sign, not {delimiter!r}")
    if decimal not in (None, ".", ","):
        raise DataError(f"{path}: the decimal sign must be '.' or ',', not {decimal!r}")
    text, _ = to_utf8(load(path), path, encoding)
    delimiter = delimiter or sniff_delimiter(text)
    if not header:
        width = next((len(row) for _, row in _records(text, delimiter)), 0)
        text = delimiter.join(str(place) for place in range(width)).encode() + b"\n" + text
    if b"\n" not in text and b"\r" not in text:
        text += b"\n"  # Arrow does not take a header without a line end for a line
    names = _header(text, delimiter, path)
    raw = _parse(text, names, delimiter, path)
    if raw.num_rows == 0:
        raise DataError(f"{path} holds a header and no rows; give a file with rows below the header")
    commas = (decimal == ",") or (decimal is None and delimiter == ";")
    try:
        table = typed_table(raw, missing=missing, commas=commas, points=decimal != ",")
    except Infinite as fault:
        line = _line_of(text, delimiter, fault.row)
        what = f"column {fault.column!r} holds an infinity ({fault.text})"
        raise DataError(f"{path}, line {line}: {what}; put a number there, or leave it empty") from None
    return with_nearly(table, raw, missing=missing, commas=commas, points=decimal != ",")


def sniff(path: str | Path) -> Dialect:
    """The encoding and the delimiter that `read` would take for this file."""
    path = Path(path)
    text, encoding = to_utf8(load(path), path)
    return Dialect(encoding, sniff_delimiter(text))


def _header(text: bytes, delimiter: str, path: Path) -> list[str]:
    for _, row in _records(text, delimiter):
        check_names(row, str(path))
        return row
    raise DataError(f"{path} is empty; give a file with a header and rows")


def _parse(text: bytes, names: list[str], delimiter: str, path: Path) -> pa.Table:
    """Every column as text, nothing missing yet: the types are decided afterwards, on all rows."""
    if text.count(b'"') % 2:
        _refuse_open_quote(text, delimiter, path)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in text)
    convert = pacsv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
    block = BLOCK_BYTES
    while True:
        try:
            return pacsv.read_csv(pa.BufferReader(text), pacsv.ReadOptions(block_size=block), parse, convert)
        except pa.ArrowInvalid as error:
            # One row longer than a block is no fault of the file; any other complaint is looked up line by line.
            if "straddling" in str(error) and block < len(text):
                block = min(block * 8, len(text) + 1)
                continue
            _refuse_ragged(text, len(names), delimiter, path)
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{path} cannot be read as CSV: {reason}; check its delimiter and its quotes") from None


def _refuse_ragged(text: bytes, width: int, delimiter: str, path: Path) -> None:
    for line, row in _records(text, delimiter):
        if len(row) != width:
            raise DataError(
                f"{path}, line {line}: {len(row)} fields where the header has {width}; "
                f"quote fields that hold {_spelled(delimiter)}, or mend the row"
            )


def _refuse_open_quote(text: bytes, delimiter: str, path: Path) -> None:
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for _ in reader:
            begins = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end of data" in str(error) or "field larger" in str(error):
            raise DataError(f"{path}, line {begins}: a quote is opened and never closed; close it, or double it") from None


def _lines(text: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text), "utf-8", newline="")


def _records(text: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line it begins on, counted from 1; empty lines are passed over, as Arrow does."""
    reader = csv.reader(_lines(text), delimiter=delimiter)
    begins = 1
    for row in reader:
        if row:
            yield begins, row
        begins = reader.line_num + 1


def _line_of(text: bytes, delimiter: str, row: int) -> int:
    for place, (line, _) in enumerate(_records(text, delimiter)):
        if place == row + 1:  # the header is record 0
            return line
    return row + 2


def _spelled(delimiter: str) -> str:
    return {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(delimiter, repr(delimiter))
