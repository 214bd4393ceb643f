"""What can be wrong with a plan, and how it is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from data.errors import UserError


class PlanError(UserError):
    """The plan cannot be used; the sentence names file, line, column and the dotted key."""


class KeyFault(ValueError):
    """A fault at one key of a plan, before anybody knows which line of which file that is."""

    def __init__(self, key: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message


class DataFault(UserError):
    """A fault at one key of a plan that shows only beside the data; a PlanError where the plan's file is known."""

    def __init__(self, key: tuple[str | int, ...], message: str) -> None:
        super().__init__(key, message)
        self.key, self.message = key, message

    def __str__(self) -> str:
        return f"{'.'.join(str(part) for part in self.key)}: {self.message}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest known word as a question, or all known words when nothing is near."""
    names = sorted(str(k) for k in known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(names)}" if names else ""
