"""What becomes of output that nobody reads any more, as after `| head`?"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from flows import logs


def unread(stream: TextIO) -> None:
    """What is still written to `stream` goes nowhere, so that work and its exit code do not depend on who reads along."""
    with contextlib.suppress(OSError, ValueError):
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


@contextlib.contextmanager
def reading(stream: TextIO) -> Iterator[None]:
    """Writes to `stream`, whose reader may have gone."""
    try:
        yield
    except BrokenPipeError:
        unread(stream)


def put(line: str) -> None:
    """A line on stderr, whether or not anybody reads it."""
    with reading(sys.stderr):
        print(line, file=sys.stderr, flush=True)


def say(sentence: str, event: str = "note", **told: Any) -> None:
    """A sentence on stderr; where a machine reads it with what it tells of: `event`, and what else is named."""
    put(logs.line(event, says=sentence, **told) if logs.asked() else f"counterpoise: {sentence}")


def note(text: str) -> None:
    """As `say`, but a text stands for itself."""
    put(logs.line("note", says=text) if logs.asked() else text)
