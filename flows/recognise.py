"""What lies at a path, before anything reads it: a plan, texts, programs, or data that can be read?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from data.errors import DataError

Other = Literal["text", "code"]
PLANS = (".yaml", ".yml")
TEXTS = (".txt", ".md", ".rst", ".text", ".log", ".tex", ".html", ".htm", ".docx", ".pdf", ".epub", ".srt", ".eml")
PROGRAMS = (
    *(".py", ".js", ".ts", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs", ".rb", ".php", ".swift", ".kt"),
    *(".scala", ".r", ".jl", ".sh", ".pl", ".lua", ".ipynb"),
)
#: Files of a folder that are looked at.
SEEN = 2000
#: Words in a field beyond which lines without a common delimiter are sentences.
WORDS = 3
LINES = 50


def is_plan(path: str) -> bool:
    """Whether a path names a plan, by its ending, and not data."""
    return Path(path).suffix.lower() in PLANS


def other_of(path: str) -> Other | None:
    """Whether texts or programs lie at a path; None for what may be a table or pictures, or for what is not there."""
    place = Path(path)
    if "://" in path or not place.exists():
        return None
    if place.is_file():
        return _of_file(place)
    found = Counter(_by_ending(file) for _, file in zip(range(SEEN), place.rglob("*"), strict=False) if file.is_file())
    kinds: tuple[Other, ...] = ("text", "code")
    told = max(kinds, key=lambda kind: found[kind])
    # A README beside data is no text to be drawn, nor are some among many other files.
    return told if found[told] > 1 and found[told] >= found[None] and not found["data"] else None


def single_table(folder: Path) -> Path | None:
    """The one csv file of a folder, None where there is none. Raises DataError where there are several."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".csv", ".tsv"))
    if len(found) > 1:
        names = ", ".join(p.name for p in found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        raise DataError(f"{folder} holds {len(found)} csv files ({names}); name one of them")
    return found[0] if found else None


def _by_ending(file: Path) -> str | None:
    ending = file.suffix.lower()
    if ending in TEXTS:
        return "text"
    if ending in PROGRAMS:
        return "code"
    tables = (".csv", ".tsv", ".parquet", ".pq", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy")
    return "data" if ending in tables else None


def _of_file(file: Path) -> Other | None:
    ending = _by_ending(file)
    if ending == "code":
        return "code"
    if ending == "data":
        return None
    return "text" if ending == "text" and not _delimited(file) else None


def _delimited(file: Path) -> bool:
    """Whether the lines of a text file have columns: the same number of one delimiter in nearly all, and short fields."""
    try:
        with file.open(encoding="utf-8", errors="strict") as lines:
            some = [line.rstrip("\n") for _, line in zip(range(LINES), lines, strict=False) if line.strip()]
    except (UnicodeDecodeError, OSError):
        return False
    for mark in (",", ";", "\t", "|"):
        counts = Counter(line.count(mark) for line in some)
        count, often = counts.most_common(1)[0] if counts else (0, 0)
        fields = [field for line in some for field in line.split(mark)]
        if count and often >= 0.9 * len(some) and sum(len(f.split()) for f in fields) <= WORDS * len(fields):
            return True
    return False
