"""Who is told where a run stands: a terminal, a log file, or both."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data.secrets import hidden
from flows import logs
from flows.pace import Pace
from flows.pipes import put
from generators.base import SILENT, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from flows.run import Run
    from flows.tell_json import JsonLines

#: Seconds between two plain lines of progress at least, and at most: after so long a silence it is said that work goes on.
EVERY, SILENCE = 10.0, 30.0

_SENTENCES = {
    "read": "{rows:,} rows, {columns} columns",
    "profile": "{columns} columns kept",
    "choose": "{family}: {reason}",
    "fit": "{family}",
    "judge": "{verdict}",
    "publish": "{uri}",
}
_OF_TABLES = {
    "read": "{tables} tables, {rows:,} rows",
    "profile": "{keys} foreign keys, all of which hold",
    "sample": "{rows:,} rows",
    "relate": "{says}",
}
_OF_PICTURES = {"read": "{pictures:,} pictures", "profile": "{pictures:,} pictures of {size} x {size} px"}


class Teller(Protocol):
    """Hears of stages as they begin and end."""

    def begin(self, stage: str) -> Progress:
        """A stage starts; the progress to give to it."""

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        """A stage ended: done, skipped (unchanged) or borrowed (from a run with the same inputs)."""


class Quiet:
    """Says nothing."""

    def begin(self, stage: str) -> Progress:
        return SILENT

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        return None


class Log:
    """Appends one line an event to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, stage: str) -> Progress:
        self.line(f"{stage} begins")
        return SILENT

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        self.line(f"{stage} {how} in {seconds:.2f} s: {dict(facts)}")

    def line(self, text: str) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {hidden(text)}\n")


class Lines:
    """One line a stage on stderr, and a line of progress now and then: for pipes, logs and CI."""

    def __init__(self) -> None:
        self.at_work: PlainProgress | None = None

    def begin(self, stage: str) -> Progress:
        self.close()
        self.at_work = PlainProgress(stage)
        self.at_work.start()
        return self.at_work

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        self.close()
        first, *notices = sentence(stage, how, facts).split("\n")
        put("\n".join([f"{stage:<8} {first}  ({seconds:.1f} s)", *notices]))

    def close(self) -> None:
        """The stage at work, if there is one, is told of no more."""
        if self.at_work is not None:
            self.at_work.stop()
            self.at_work = None


class PlainProgress:
    """A line where EVERY seconds have passed since the last, and where nothing is heard of a stage for SILENCE a line that it
    is still at work. out: takes the line and the figures that were heard last; stderr, if it is not given."""

    def __init__(self, stage: str, out: Callable[[str, Mapping[str, float]], None] | None = None) -> None:
        self.stage, self.out = stage, out
        self.began = self.last = time.monotonic()
        self.known = ""
        self.figures: Mapping[str, float] = {}
        self.pace = Pace()
        self.over = threading.Event()

    def start(self) -> None:
        """Work that says nothing for minutes (a single slow step, a library's own loop) must not look as if it hung."""
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self.over.set()

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        now = time.monotonic()
        shown = "".join(f", {name} {value:.3g}" for name, value in figures.items())
        self.known = f"{what} {done:,} of {total:,}{shown}"
        self.figures = {what: done, "total": total, **figures}
        left = self.pace.left(done, total, what, now)
        if now - self.last >= EVERY:
            self._say(self.known if left is None else f"{self.known}, about {spoken(left)} left")

    def _watch(self) -> None:
        while not self.over.wait(max(self.last + SILENCE - time.monotonic(), 0.01)):
            if time.monotonic() - self.last >= SILENCE:
                at = f", last {self.known}" if self.known else ""
                self._say(f"still at work after {spoken(time.monotonic() - self.began)}{at}")

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        if self.out is None:
            put(f"{self.stage:<8} {text}")
        else:
            self.out(text, self.figures)


def spoken(seconds: float) -> str:
    """48 -> "48 s", 200 -> "3 min", 9000 -> "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bars:
    """A rich progress bar for the stage at work, and a line for each that is done: for terminals."""

    def __init__(self, bars: RichProgress) -> None:
        self.bars = bars
        self.task: Any = None

    def begin(self, stage: str) -> Progress:
        self.task = self.bars.add_task(stage, total=None, figures="")
        return _BarProgress(self.bars, self.task)

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        from rich.markup import escape

        self.bars.remove_task(self.task)
        mark = "[green]✓[/]" if how == "done" else "[dim]·[/]"
        first, *notices = (escape(line) for line in sentence(stage, how, facts).split("\n"))
        self.bars.console.print(f"{mark} [bold]{stage:<8}[/] {first} [dim]{seconds:.1f} s[/]", highlight=False)
        for notice in notices:
            self.bars.console.print(f"  [dim]{notice}[/]", highlight=False)


class _BarProgress:
    def __init__(self, bars: RichProgress, task: Any) -> None:
        self.bars, self.task = bars, task

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        shown = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
        self.bars.update(self.task, completed=done, total=total, figures=f"{what} {done:,}/{total:,}  {shown}")


class Both:
    """Tells several."""

    def __init__(self, *tellers: Teller) -> None:
        self.tellers = tellers

    def begin(self, stage: str) -> Progress:
        return _BothProgress([teller.begin(stage) for teller in self.tellers])

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        for teller in self.tellers:
            teller.end(stage, how, facts, seconds)


class _BothProgress:
    def __init__(self, inner: list[Progress]) -> None:
        self.inner = inner

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        for progress in self.inner:
            progress.advance(done, total, what, **figures)


@contextmanager
def console(*, quiet: bool, run: Run | None = None) -> Iterator[Teller]:
    """Bars on a terminal, lines elsewhere, JSON where it is asked for, nothing when quiet. All of it goes to stderr."""
    if quiet:
        yield Quiet()
    elif logs.asked() or not sys.stderr.isatty():
        lines = _lines(run)
        try:
            yield lines
        finally:
            # A stage that failed has no end.
            lines.close()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (SpinnerColumn(), TextColumn("{task.description:<8}"), BarColumn(20), TextColumn("{task.fields[figures]}"))
        with RichProgress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
            yield Bars(bars)


def _lines(run: Run | None) -> Lines | JsonLines:
    if not logs.asked():
        return Lines()
    from flows.tell_json import JsonLines

    return JsonLines(run)


def sentence(stage: str, how: str, facts: Mapping[str, Any]) -> str:
    """What a stage came to, in a few words."""
    if how == "skipped":
        return "unchanged, skipped"
    notices = "".join(f"\n         · {notice}" for notice in facts.get("notices", ()))
    sentences = _SENTENCES | (_OF_PICTURES if "pictures" in facts else _OF_TABLES if "tables" in facts else {})
    said = sentences[stage].format(**facts) if stage in sentences else _counts(stage, facts)
    said += f", by {facts['processes']} processes" if "processes" in facts else ""
    said += " (went on from a checkpoint)" if facts.get("resumed") else ""
    return said + (" (taken from an earlier run with the same inputs)" if how == "borrowed" else "") + notices


def _counts(stage: str, facts: Mapping[str, Any]) -> str:
    rows = {name: n for name, n in facts["rows"].items() if n}
    if facts.get("reference_is_train"):
        del rows["reference"]
    shown = ", ".join(f"{n:,} {'rows' if name == 'None' else name.strip()}" for name, n in list(rows.items())[:6])
    more = f" and {len(rows) - 6} more classes" if len(rows) > 6 else ""
    return f"{shown}{more}" + (f"; {sum(facts['judged'].values()):,} more for the gate" if stage == "sample" else "")
