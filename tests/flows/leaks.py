"""Which real values stand in the files of a version? What tests of releases look for, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Secrets:
    """personal: column -> its real values. rare: column -> levels that fewer than k rows hold. ends: least and greatest real
    numbers as they may be written, those that say something (four signs at least)."""

    personal: dict[str, frozenset[str]]
    rare: dict[str, frozenset[str]]
    ends: frozenset[str]

    @classmethod
    def of(cls, frame: pd.DataFrame, *, personal: Sequence[str] = (), k: int = 5) -> Secrets:
        """Everything that must not be told of a table."""
        words = [c for c in frame.columns if c not in personal and not pd.api.types.is_numeric_dtype(frame[c])]
        numbers = [c for c in frame.select_dtypes("number").columns if c not in personal]
        rare = {c: frozenset(_texts(level for level, n in frame[c].value_counts().items() if n < k)) for c in words}
        ends = (v for c in numbers for v in frame[c].dropna().sort_values().iloc[[0, 1, -2, -1]])
        known = {c: frozenset(_texts(frame[c].dropna())) for c in personal}
        return cls(known, rare, frozenset(text for v in ends for text in _written(v) if len(text) > 3))

    @property
    def words(self) -> list[str]:
        """All that no file but the rows may hold."""
        return sorted({*self.ends, *(v for part in (self.personal, self.rare) for values in part.values() for v in values)})


def _texts(values: Iterable[object]) -> list[str]:
    return [text for value in values if (text := str(value).strip())]


def _written(value: float) -> set[str]:
    """A number in full, as a whole one where it is one, and in short."""
    forms = {str(value), f"{value:g}"}
    return forms | ({str(int(value))} if float(value).is_integer() else set())


def leaks(version: Path, secrets: Secrets) -> list[str]:
    """Each real value that stands in a file of a version, as "file: value".

    In the drawn rows numbers are not looked for, which any model may draw by chance, and of what is made anew each column is
    compared with its own: Ann may be a made-up first name where a real one lives in Ann Street. In all other files the words
    that a reader sees are looked through for every value."""
    found = []
    for path in sorted(p for p in version.rglob("*") if p.is_file()):
        told = _in_rows(path, secrets) if path.suffix == ".parquet" else _in_text(_shown(path), secrets.words)
        found += [f"{path.relative_to(version)}: {value}" for value in told]
    return found


def _in_rows(path: Path, secrets: Secrets) -> list[str]:
    table = pq.read_table(path)
    out = []
    for name in table.column_names:
        hidden = secrets.personal.get(name, frozenset()) | secrets.rare.get(name, frozenset())
        out += sorted(hidden & set(_texts(v for v in table.column(name).to_pylist() if v is not None)))
    return out


def _in_text(text: str, words: Sequence[str]) -> list[str]:
    """Words with nothing beside them that belongs to a word or number."""
    return [w for w in words if w in text and re.search(rf"(?<![\w.]){re.escape(w)}(?!\w|\.\d)", text)]


class _Words(HTMLParser):
    """What a page says: its text, and the labels of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [value or "" for name, value in attrs if name in ("aria-label", "title", "alt", "content")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def _shown(path: Path) -> str:
    """The text of a file; of a page without the coordinates of its pictures. 1,234 is read as 1234, too."""
    text = path.read_text(errors="replace")
    if path.suffix == ".html":
        page = _Words()
        page.feed(text)
        text = "\n".join(page.said)
    return text + "\n" + re.sub(r"(?<=\d),(?=\d{3})", "", text)
