"""Whose turn is it to work on what lies in a store? One process at a time, over machines.

Turns have numbers, and who has the highest one works. It writes its turn again while it lives; another one takes the next
number when the turn was ended, or was not written again for as long as it says, by the clock of the store. Who was away for
longer than that sees the higher number when it looks, and nothing that it writes under its own number is read any more.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import socket
import time
from dataclasses import dataclass

from data.blobs import Blobs
from data.errors import UserError

#: Turns that may be lost to others before a process gives up.
RACES = 50


class TakenError(UserError):
    """Another process has the turn."""


class LostError(UserError):
    """Another process has a later turn."""


@dataclass
class Turn:
    """A turn of this process. folder: where all turns of one thing lie; name: of its own file; lease: seconds after which it
    counts as ended, unless it is written again."""

    blobs: Blobs
    folder: str
    number: int
    name: str
    lease: float
    token: str
    what: str

    def renew(self) -> None:
        """Write it again, and look. Raises LostError, or what the store raises."""
        self.blobs.write(self.name, _content(self.token, self.lease))
        self.check()

    def check(self) -> None:
        """Raises LostError where there is a later turn."""
        if any(number > self.number for number, _ in turns(self.blobs, self.folder)):
            raise LostError(
                f"{self.what} was taken over by another process, as this one was not heard of for {self.lease:g} s; nothing of "
                "it was put there since, and the other one goes on"
            )

    def end(self) -> None:
        """Let others work at once."""
        self.blobs.write(self.name, _content(self.token, self.lease, ended=True))


def take(blobs: Blobs, folder: str, *, what: str, lease: float, after: int = 0, own: str = "") -> Turn:
    """The next turn. after: a number that was had already; own: the token of a process that is known to be dead.

    Raises TakenError, which says who works."""
    for _ in range(RACES):
        there = turns(blobs, folder)
        if there and (holder := _holder(blobs, folder, there[-1][1], own)) is not None:
            raise TakenError(f"{what} is being worked on by {holder}; wait for it or stop it")
        token = secrets.token_hex(8)
        number = max([after, *(number for number, _ in there)]) + 1
        name = blobs.claim(folder, number, _content(token, lease))
        if name is not None:
            if all(other <= number for other, _ in turns(blobs, folder)):
                blobs.delete([f"{folder}/{old}" for _, old in there])
                return Turn(blobs, folder, number, name, lease, token, what)
            blobs.delete([name])
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311  two that met shall not meet again
    raise TakenError(f"{what} is wanted by many processes at once; try again later")


def turns(blobs: Blobs, folder: str) -> list[tuple[int, str]]:
    """Every turn that is there, by number: (number, the name of its file in the folder)."""
    names = [name.rpartition("/")[2] for name in blobs.names(folder)]
    found = [(int(match[1]), name) for name in names if (match := re.fullmatch(r"(\d{6,})(?:-\w+)?", name))]
    return sorted(found)


def _holder(blobs: Blobs, folder: str, name: str, own: str) -> str | None:
    """Who has a turn, None where nobody has it any more."""
    read = blobs.read(f"{folder}/{name}")
    told = json.loads(read) if read else {"ended": True}
    if told["ended"] or told["token"] == own:
        return None
    # How old it is says the clock of the store alone: those of two machines may be apart.
    probe = f"{folder}/now-{secrets.token_hex(8)}"
    blobs.write(probe, b"")
    placed = blobs.names(folder)
    blobs.delete([probe])
    if f"{folder}/{name}" not in placed:
        return None
    left = told["lease"] - (placed[probe].placed - placed[f"{folder}/{name}"].placed)
    return f"process {told['process']} on {told['host']} (for {left:.0f} s more, unless it is heard of)" if left > 0 else None


def _content(token: str, lease: float, *, ended: bool = False) -> bytes:
    who = {"token": token, "host": socket.gethostname(), "process": os.getpid(), "lease": lease, "ended": ended}
    return json.dumps(who).encode()
