"""What does a reader of pictures hand over, before a single one is opened?"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from data.errors import DataError
from data.images import Fit
from data.sources._marks import Marks
from data.sources._within import check_link

T = TypeVar("T")
U = TypeVar("U")

#: What sources call the parts of their division, and what they are here.
PARTS = {
    "train": ("train", "training", "trainval"),
    "reference": ("val", "valid", "validation", "dev", "reference"),
    "holdout": ("test", "testing", "holdout", "eval", "evaluation"),
}
NORMAL, DEFECT, UNKNOWN = "normal", "defect", "unknown"
ENDINGS = frozenset(".png .jpg .jpeg .jpe .bmp .tif .tiff .webp .gif .pgm .ppm .pbm .pnm .jp2 .avif .tga".split())
#: Names of files that a notice spells out.
SHOWN = 5


@dataclass(frozen=True)
class Rules:
    """How a plan wants its pictures. origin: the path, for sentences; few: one picture or one class will do, to be scored."""

    origin: str
    size: int | None = None
    fit: Fit = "letterbox"
    mode: Literal["auto", "gray", "rgb"] = "auto"
    strict: bool = False
    near_duplicates: bool = True
    normal: str | None = None
    few: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and not 8 <= self.size <= 512:
            raise DataError(f"size: {self.size} pixels cannot be learned; state 8 to 512")
        if self.fit not in get_args(Fit) or self.mode not in ("auto", "gray", "rgb"):
            raise DataError(
                f"fit: {self.fit!r} and mode: {self.mode!r} are not both known; see the plan's schema for those that are"
            )


@dataclass(frozen=True)
class Found:
    """One picture as its source names it, not yet opened.

    image: its file, or its bytes; name: where it came from, no two alike; level: its class, None when its marks decide;
    marks: called with (h, w), says what is marked, None when nobody looked; split: train, reference, holdout or None."""

    image: Path | bytes
    name: str
    level: str | None
    marks: Callable[[tuple[int, int]], Marks] | None = None
    group: str | None = None
    split: str | None = None


def part_of(name: str) -> str | None:
    """train, reference or holdout for what a source calls a part of its division; None for any other word."""
    return next((part for part, names in PARTS.items() if name.strip().lower() in names), None)


def of_one_photo(stem: str) -> str | None:
    """A name for the photo that a picture was made over from, where its file's name tells (name.rf.0f3a...); else None."""
    made = re.match(r"^(.+)\.rf\.[0-9A-Za-z]{8,}$", stem)
    return made[1] if made else None


def is_picture(path: Path) -> bool:
    """Whether a file is named as pictures are, and is no hidden one."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(("._", "."))


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and its folders, linked ones too, but for links that lead back to where they stand.

    Raises DataError for a link that leads out of the folder, unless such links are followed."""
    return _below(folder, (folder.resolve(),))


def _below(folder: Path, around: tuple[Path, ...]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # a folder that may not be looked into
        return
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink() and path.exists():
            check_link(path, around[:1])
        if entry.is_file():
            yield path
        elif entry.is_dir():
            real = path.resolve() if entry.is_symlink() else around[-1] / entry.name
            if not any(place.is_relative_to(real) for place in around):
                yield from _below(path, (*around, real))


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in a folder and its folders but the hidden ones, in the order of their names."""
    found = (p for p in files_below(folder) if is_picture(p))
    return sorted(p for p in found if not any(part.startswith(("__MACOSX", ".")) for part in p.relative_to(folder).parts))


def rarest(levels: Sequence[set[str]], normal: str) -> list[str]:
    """One class for each picture's set of categories: the one that the fewest pictures have; `normal` without any."""
    counts = Counter(level for some in levels for level in some)
    return [min(some, key=lambda level: (counts[level], level)) if some else normal for some in levels]


def listed(names: Sequence[str]) -> str:
    """The first few of many, and how many there are besides."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def told(what: str, names: Sequence[str]) -> str:
    """A sentence that says how many of something there are, and which."""
    return f"{what}: {len(names)} ({listed(names)})."


def in_order(work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """`work` on every item, on all cores, the answers in the order of the items; few wait at a time."""
    threads = os.cpu_count() or 1
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 8 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
