"""What does a machine read of stderr? One JSON object a line, where COUNTERPOISE_LOGS=json asks for it."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import threading
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from data.secrets import hidden

LOGS = "COUNTERPOISE_LOGS"

#: The run and the stage that this process works on, if any: each line says so.
_AT_WORK: dict[str, str] = {}
#: Words that are not told, and what is told in their place.
_INSTEAD: dict[str, str] = {}


def asked() -> bool:
    """Whether stderr is to be read by a machine."""
    return os.environ.get(LOGS) == "json"


def ask(form: str) -> str:
    """Let this process, and those that it starts, write JSON where `form` is json; whatever is written to stderr."""
    if form == "json":
        os.environ[LOGS] = form
        if not isinstance(sys.stderr, Wrapped):
            sys.stderr = Wrapped(sys.stderr)
        warnings.showwarning = _warned  # type: ignore[assignment]  # two arguments that say nothing here
    return form


def about(**on: str | None) -> None:
    """From now on lines are about this run, or this stage; None: about none."""
    for name, value in on.items():
        _AT_WORK.pop(name, None)
        if value is not None:
            _AT_WORK[name] = value


def instead(word: str, of: str) -> None:
    """From now on lines say `word` where they would say `of`."""
    _INSTEAD[of] = word


def line(event: str, *, level: str = "info", **told: Any) -> str:
    """One event as a JSON object, without secrets. What is told of and empty is left out."""
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    held = {name: value for name, value in told.items() if value not in (None, "", {})}
    return json.dumps(_plain({"time": stamp, "level": level, "event": event, **_AT_WORK, **held}), default=str)


def _plain(value: Any) -> Any:
    """The value without secrets, and without numbers that JSON has no word for."""
    if isinstance(value, str):
        return _told(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_told(str(name)): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _told(text: str) -> str:
    text = hidden(text)
    for of, word in _INSTEAD.items():
        text = text.replace(of, word)
    return text


class Wrapped(io.TextIOBase):
    """A stderr on which all lines come out as JSON: one that is none, of some library, is what a note says."""

    def __init__(self, under: TextIO) -> None:
        self.under, self.rest, self.held = under, "", threading.Lock()

    def write(self, text: str) -> int:
        with self.held:
            *whole, self.rest = re.split(r"[\r\n]", self.rest + text)
            if said := "".join(f"{_as_line(each)}\n" for each in whole if each.strip()):
                self.under.write(said)
                self.under.flush()
        return len(text)

    def flush(self) -> None:
        self.under.flush()

    def fileno(self) -> int:
        return self.under.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.under.encoding


def _as_line(text: str) -> str:
    try:
        if isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    return line("note", says=text)


def _warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    said = f"{category.__name__}: {message} ({os.path.basename(filename)}:{lineno})"
    print(line("note", level="warning", says=said), file=sys.stderr, flush=True)
