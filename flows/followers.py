"""Who else hears of a run, beside who started it: a collector of metrics, a server of experiments?

A follower is told in a thread of its own, so that one that is slow, away or broken costs the run nothing: it is waited for some
seconds at the end, and no longer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from data.errors import UserError
from data.secrets import hidden
from flows.pipes import say
from flows.run import Run
from flows.tell import Quiet, Teller
from generators.base import Progress

#: Seconds between two of a stage's figures that a follower hears of.
EVERY = 1.0
_NOW: ContextVar[tuple[Teller, ...]] = ContextVar("followers", default=())


class Follower(Protocol):
    """Hears of a run in order, from one thread. What it raises is told once, and then it hears no more."""

    #: What it is called in a sentence, and the seconds that the end of a run waits for it.
    called: str
    patience: float

    def advance(self, stage: str, done: int, total: int, what: str, figures: Mapping[str, float]) -> None:
        """A stage at work goes on."""

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        """A stage ended, as a Teller hears of it."""

    def over(self, outcome: str) -> None:
        """The run ended: published, blocked, compared, unchanged, refused, stopped or failed."""


def following() -> Sequence[Teller]:
    """Who is to be told of the stages of the run at work, beside who started it."""
    return _NOW.get()


@contextmanager
def followed(run: Run) -> Iterator[None]:
    """Let everybody whom the environment names hear of this run, which is held, until it ends."""
    asides, hows = [Aside(made) for made in _made(run)], _Hows()
    token = _NOW.set((hows, *asides))
    outcome = "failed"
    try:
        yield
        outcome = _outcome(run, hows.heard)
    except UserError:
        outcome = "refused"
        raise
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        _NOW.reset(token)
        for aside in asides:
            aside.over(outcome)


def _made(run: Run) -> Iterator[Follower]:
    from flows import telemetry, tracking

    for asked in (telemetry.follower, tracking.follower):
        if (made := asked(run)) is not None:
            yield made


def _outcome(run: Run, hows: Sequence[str]) -> str:
    if set(hows) == {"skipped"}:
        return "unchanged"
    if run.plan.several:
        return "compared"
    return "blocked" if run.version is None else "published"


class _Hows(Quiet):
    """Remembers how stages ended."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        self.heard.append(how)


class Aside:
    """A Teller that hands on to a follower in a thread, and is never held up by it."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.pending: Callable[[], None] | None = None
        self.broken = threading.Event()
        self.thread = threading.Thread(target=self._work, name=follower.called, daemon=True)
        self.thread.start()

    def begin(self, stage: str) -> Progress:
        return _AsideProgress(self, stage)

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        self._catch_up()
        held = dict(facts)
        self.waiting.put(lambda: self.follower.end(stage, how, held, seconds))

    def over(self, outcome: str) -> None:
        """Tell the outcome, and wait for the follower as long as it may take."""
        self._catch_up()
        self.waiting.put(lambda: self.follower.over(outcome))
        self.waiting.put(None)
        self.thread.join(self.follower.patience)
        if self.thread.is_alive():
            self.broken.set()
            say(
                f"{self.follower.called} did not answer within {self.follower.patience:.0f} s; it was not told all of this run",
                level="warning",
            )

    def _catch_up(self) -> None:
        if self.pending is not None:
            self.waiting.put(self.pending)
            self.pending = None

    def _work(self) -> None:
        while (told := self.waiting.get()) is not None:
            if not self.broken.is_set():
                try:
                    told()
                except Exception as error:  # whatever a third party's client raises
                    self._broke(error)

    def _broke(self, error: Exception) -> None:
        """Said once; not where the run did not wait for it any more, which was said then."""
        if not self.broken.is_set():
            self.broken.set()
            why = (hidden(str(error)).splitlines() or [""])[0][:200]
            said = f"{self.follower.called} is not told of this run any more ({type(error).__name__}: {why}); the run goes on"
            say(said, level="warning")


class _AsideProgress:
    def __init__(self, aside: Aside, stage: str) -> None:
        self.aside, self.stage, self.last = aside, stage, 0.0

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        told = lambda: self.aside.follower.advance(self.stage, done, total, what, figures)  # noqa: E731
        if time.monotonic() - self.last < EVERY:
            self.aside.pending = told
        else:
            self.last, self.aside.pending = time.monotonic(), None
            self.aside.waiting.put(told)
