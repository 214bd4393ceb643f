"""Are the rooms that are imported really this checkout's? `validators` and `data` also exist as published packages.

This file imports none of our other rooms: it must be able to speak when they are hidden.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

ROOMS = ("configs", "data", "generators", "validators", "flows")


class ClashError(Exception):
    """Another installed package stands in front of one of our own."""


def check_rooms(root: Path | None = None) -> None:
    """Compare where each room would be imported from with this checkout, without importing it.

    Raises ClashError, with the command that mends it, when another one wins.
    """
    home = (root or Path(__file__).parent.parent).resolve()
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / room:
            raise ClashError(
                f"the package {room!r} is taken from {found or 'nowhere'} instead of {home / room}; "
                f"run `pip uninstall {room}` in this environment, or start counterpoise from its own .venv"
            )


def main() -> None:
    """Entry point of the `counterpoise` command."""
    try:
        check_rooms()
    except ClashError as error:
        sys.exit(_refuse(error))
    # Read when torch is loaded: threads that have nothing to do shall sleep, as spinning ones stop all other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from flows.cli import app

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:  # as launchers of several processes tell them
        from flows.ranks import run_together

        sys.exit(run_together(app))
    app()


def _refuse(error: ClashError) -> int:
    told = {"level": "error", "event": "refused", "exit": 2, "says": str(error)}
    asked = os.environ.get("COUNTERPOISE_LOGS") == "json"
    print(json.dumps(told) if asked else f"counterpoise: {error}", file=sys.stderr)
    return 2
