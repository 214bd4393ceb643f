"""In which encoding and with which delimiter was this text file written?"""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.limits import unpacked

DELIMITERS = (";", "\t", "|", ",")
SAMPLE_BYTES = 256 * 1024
SAMPLE_ROWS = 200

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Signs outside ASCII that Western text in one byte a letter holds; others speak for damage or for another encoding.
_WESTERN = frozenset("€‚„…‘’“”•–—™©®°±²³¹µ·¼½¾«»£¥§¿¡ªº×÷\u00a0") | {chr(c) for c in range(0xC0, 0xFF)} | set("ŒœŠšŽžŸ")


@dataclass(frozen=True)
class Dialect:
    """How a text file is written: its encoding (a Python codec's name) and its delimiter."""

    encoding: str
    delimiter: str


def load(path: Path) -> bytes:
    """The bytes of a file, unpacked when its name ends in .gz.

    Raises DataError when there is no such file, when it is a folder, empty, cannot be read, or unpacks to far too much."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it")
    try:
        raw = unpacked(path) if path.suffix == ".gz" else path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; check the path (relative paths start at the working folder)") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}; check its permissions and that it is whole") from None
    if not raw.strip():
        raise DataError(f"{path} is empty; give a file with a header and rows")
    return raw


def to_utf8(raw: bytes, path: Path, encoding: str | None = None) -> tuple[bytes, str]:
    """The text as UTF-8 bytes without a byte order mark, and the encoding it came in.

    Raises DataError, with byte and line, when the bytes are text in no encoding that can be told."""
    if encoding is not None:
        return _decode(raw, path, encoding).encode().removeprefix(codecs.BOM_UTF8), encoding
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _decode(raw[len(mark) :], path, name).encode(), name
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        other = _other_encoding(raw, path, error.start)
        return _decode(raw, path, other).encode(), other
    if b"\0" in raw:
        wide = _wide(raw)
        if wide is None:
            at = raw.index(b"\0")
            raise DataError(f"{path}: byte {at + 1} (line {_line(raw, at)}) is NUL, so this is no text file; save it as CSV")
        return _decode(raw, path, wide).encode(), wide
    return raw, "utf-8"


def sniff_delimiter(text: bytes) -> str:
    """The delimiter that cuts the sampled rows into as many fields as the header has.

    Among delimiters that do equally well, the one that makes more columns wins, then the rarer sign in plain text.
    A header without any delimiter is one column."""
    sample = text[:SAMPLE_BYTES].decode("utf-8", errors="ignore")
    if len(text) > SAMPLE_BYTES:
        sample = sample[: sample.rfind("\n") + 1] or sample
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        widths = _widths(sample, delimiter)
        if not widths or widths[0] < 2:
            continue
        rows = widths[1:]
        share = sum(width == widths[0] for width in rows) / len(rows) if rows else 1.0
        if (score := (round(share, 2), widths[0])) > best_score:
            best, best_score = delimiter, score
    return best


def _widths(sample: str, delimiter: str) -> list[int]:
    widths: list[int] = []
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            if row:
                widths.append(len(row))
            if len(widths) > SAMPLE_ROWS:
                break
    except csv.Error:  # a field without end: whatever was read until there still counts
        return widths
    return widths


def _decode(raw: bytes, path: Path, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except LookupError:
        raise DataError(f"{path}: there is no encoding {encoding!r}; write for example utf-8, cp1252 or utf-16") from None
    except UnicodeDecodeError as error:
        at = error.start
        raise DataError(
            f"{path}: byte {at + 1} (line {_line(raw, at)}) is not {encoding} text; save it as UTF-8, or name its encoding"
        ) from None


def _other_encoding(raw: bytes, path: Path, at: int) -> str:
    """An encoding other than UTF-8 that the bytes clearly are in; DataError when none is clear."""
    refusal = DataError(
        f"{path}: byte {at + 1} (line {_line(raw, at)}) is not UTF-8, and no other encoding is clear; "
        "save the file as UTF-8, or name its encoding"
    )
    if b"\0" in raw:
        wide = _wide(raw)
        if wide is None:
            raise refusal
        return wide
    # Real UTF-8 stood before the fault: the file is damaged, not of another kind.
    if any(byte >= 0xC2 for byte in raw[:at]):
        raise refusal
    sample = _around(raw, at)
    if _western(sample) and (_western(raw) or len(raw) > len(sample)):
        return "cp1252"
    from charset_normalizer import from_bytes

    guess = from_bytes(sample).best()
    if guess is None or guess.chaos > 0.1 or guess.coherence < 0.1:
        raise refusal
    return guess.encoding


def _western(raw: bytes) -> bool:
    """Whether cp1252 gives plain Western text: no control signs, letters where letters belong."""
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    odd = [sign for sign in text if ord(sign) > 126 or (ord(sign) < 32 and sign not in "\t\r\n")]
    if any(sign not in _WESTERN for sign in odd):
        return False
    # Polish or Czech in cp1250 puts signs such as the superscript 3 in the middle of words.
    if re.search(r"[^\W\d_][¹²³ªº¿¡£¥§±·×÷][^\W\d_]", text):
        return False
    # Cyrillic or Greek in one byte a letter reads as words made of accented letters alone; Western words are mostly ASCII.
    letters = sum(sign.isalpha() for sign in text)
    return len(odd) <= 0.5 * max(letters, 1)


def _wide(raw: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of mostly-ASCII text is NUL."""
    head = raw[:4096]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.3 * len(head) / 2 and even <= 0.02 * len(head):
        return "utf-16-le"
    if even > 0.3 * len(head) / 2 and odd <= 0.02 * len(head):
        return "utf-16-be"
    return None


def _around(raw: bytes, at: int) -> bytes:
    # The header and the first rows that are not ASCII: a guess from the top alone could see no such row.
    start = raw.rfind(b"\n", 0, at) + 1
    return raw if len(raw) <= SAMPLE_BYTES else raw[start : start + SAMPLE_BYTES]


def _line(raw: bytes, at: int) -> int:
    return raw.count(b"\n", 0, at) + 1
