"""What does the name of a folder say: a part of a split, a holder of pictures, masks, a part of a machine, or a class?"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.sources._found import part_of

#: Words of folders that hold masks, and of folders that hold pictures of all classes without being one.
MASK_WORDS = frozenset(
    "mask masks groundtruth gt gts label labels lab annotation annotations segmentation segmentations seg "
    "segmentationclass segmentationobject".split()
)
HOLDER_WORDS = frozenset("image images img imgs picture pictures photo photos data dataset jpegimages rgb".split())
#: Names of masks that are two words.
MASK_NAMES = frozenset(("ground", "truth"))
#: So many folders of one naming, with at most so many pictures each by their median, are parts and no classes.
LEAST_FOLDERS, MOST_PICTURES = 8, 30


@dataclass(frozen=True)
class Role:
    """part: train, reference, holdout or None; masks: it holds masks; holder: it is no class."""

    part: str | None
    masks: bool
    holder: bool


@functools.cache
def role(name: str) -> Role:
    """What a folder is by its name alone: train_images is a holder of the part train, Mask_images holds masks."""
    words = words_of(name)
    if set(words) >= MASK_NAMES:
        words = [word for word in words if word not in MASK_NAMES] + ["gt"]
    parts = [word for word in words if part_of(word)]
    rest = [word for word in words if not part_of(word)]
    known = len(parts) <= 1 and all(word in MASK_WORDS | HOLDER_WORDS for word in rest)
    if not words or not known:
        return Role(part_of(name), False, part_of(name) is not None)
    return Role(part_of(parts[0]) if parts else None, any(word in MASK_WORDS for word in rest), True)


def words_of(name: str) -> list[str]:
    """The words of a name, in small letters: NODefect_images -> nodefect, images; TrainMasks -> train, masks."""
    if part_of(name) or name.lower() in MASK_WORDS | HOLDER_WORDS:
        return [name.strip().lower()]
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.split(r"[\s_.-]+", apart) if word]


def are_parts(folders: Iterable[str]) -> bool:
    """Whether the folders that pictures lie in, one for each picture, are the parts that were photographed: many of one
    name and a number of their own (kos01, kos02), with few pictures each."""
    counts = Counter(folders)
    if len(counts) < LEAST_FOLDERS or sorted(counts.values())[len(counts) // 2] > MOST_PICTURES:
        return False
    return len({re.sub(r"\d+", "#", name) for name in counts}) == 1 and all(re.search(r"\d", name) for name in counts)


def shared(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The outer folders that all pictures share, up to the first that is a part of a split."""
    first = _prefix(folders)
    return first[: next((i for i, name in enumerate(first) if role(name).part), len(first))]


def meaning(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The folders that say more than that they hold pictures or masks: parts of a split and classes."""
    return tuple(name for name in folders if (said := role(name)).part or not said.holder)


def _prefix(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    least, most = min(folders), max(folders)
    return least[: next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))]
