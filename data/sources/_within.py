"""Does a name in somebody's index, annotations or folder lead out of the set that the plan names?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from data.errors import DataError

#: The environment variable that lets links lead anywhere: LINKS=follow.
LINKS = "COUNTERPOISE_LINKS"


def inside(path: Path, homes: Iterable[Path]) -> bool:
    """Whether a path, its links followed, lies in one of these folders."""
    real = path.resolve()
    return any(real.is_relative_to(home.resolve()) for home in homes)


def within(path: Path, homes: Iterable[Path], who: str, named: str, remedy: str) -> Path:
    """The path. who: what names it as `named`; remedy: what to do where it is meant.

    Raises DataError where it lies in none of the folders; where only a link leads out, and links are followed, it may."""
    homes = list(homes)
    lexical = Path(os.path.abspath(path))
    if inside(path, homes):
        return path
    if any(lexical.is_relative_to(os.path.abspath(home)) for home in homes):
        check_link(path, homes)
        return path
    raise DataError(f"{who} names {named!r}, which lies outside of {homes[0]}; {remedy}")


def check_link(path: Path, homes: Iterable[Path]) -> None:
    """Raises DataError for a path from which links lead out of all of these folders, unless links are followed."""
    if os.environ.get(LINKS) == "follow":
        return
    homes = list(homes)
    if not inside(path, homes):
        raise DataError(
            f"{path} is a link to {path.resolve()}, outside of {homes[0]}; name that folder in the plan, or set {LINKS}=follow "
            "where all links are yours"
        )
