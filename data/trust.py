"""Whose code may a plan or a saved model name? Ours, and that of the packages that the environment says are trusted."""

from __future__ import annotations

import os

#: The environment variable that names packages whose classes may be families, with commas between.
FAMILIES = "COUNTERPOISE_FAMILIES"
#: The one room of ours that holds families.
ROOM = "generators"


def trusted(module: str) -> bool:
    """Whether a module may be imported because a plan or a model names it: it is ours, or in a package of FAMILIES."""
    named = [name.strip() for name in os.environ.get(FAMILIES, "").split(",") if name.strip()]
    return any(module == name or module.startswith(f"{name}.") for name in (ROOM, *named))


def untrusted(module: str) -> str:
    """The end of a sentence about a module that may not be imported, with what to do where it is meant."""
    return f"is no family of ours, and importing it could run any code; if you trust it, set {FAMILIES}={module}"
