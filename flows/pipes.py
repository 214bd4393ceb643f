"""What becomes of output that nobody reads any more, as after `| head`?"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


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


def say(sentence: str) -> None:
    """A sentence on stderr, whether or not anybody reads it."""
    with reading(sys.stderr):
        print(f"counterpoise: {sentence}", file=sys.stderr, flush=True)
