"""How much of a source's privacy was spent, over all runs, and may another run spend as much again?"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError

#: Seconds that a ledger may be held by another run before this one gives up.
PATIENCE = 20.0
#: What adding up numbers in a file may be off by.
SLACK = 1e-9
RESERVED, SPENT = "reserved", "spent"
_MADE = """
CREATE TABLE IF NOT EXISTS spends (
  id INTEGER PRIMARY KEY,
  at TEXT NOT NULL,
  source TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  run TEXT NOT NULL,
  fit TEXT NOT NULL,
  epsilon REAL NOT NULL CHECK (epsilon > 0),
  delta REAL NOT NULL CHECK (delta >= 0 AND delta < 1),
  state TEXT NOT NULL CHECK (state IN ('reserved', 'spent'))
)
"""


class LedgerError(UserError):
    """The budget is used up, or the ledger cannot be kept."""

    exit_code = 2


@dataclass(frozen=True)
class Entry:
    """One fit. source: the declared name; sha256: of the source's bytes; fit: what names the fit in its run; state: reserved
    before, spent once its model is there."""

    at: str
    source: str
    sha256: str
    run: str
    fit: str
    epsilon: float
    delta: float
    state: str


@dataclass(frozen=True)
class Account:
    """All that was spent of one source, under its name or with its bytes: budgets add up (basic composition).

    Source: Dwork et al. 2006 (EUROCRYPT), theorem 1."""

    entries: tuple[Entry, ...]

    @property
    def epsilon(self) -> float:
        """Of all fits together, those that are only reserved among them."""
        return sum(e.epsilon for e in self.entries)

    @property
    def delta(self) -> float:
        """Of all fits together."""
        return sum(e.delta for e in self.entries)


def account(path: Path, source: str, sha256: str) -> Account:
    """What was spent of a source so far. Raises LedgerError for a ledger that cannot be read."""
    if not path.is_file():
        return Account(())
    with _open(path) as db:
        return Account(tuple(_of(db, source, sha256)))


def reserve(
    path: Path, *, source: str, sha256: str, run: str, fit: str, epsilon: float, delta: float, cap: float | None
) -> Account:
    """Write down what a fit will spend, before it begins; the account with it.

    A fit that was reserved and killed is not charged again: its noise was never seen. Two runs cannot both take what is left:
    the file is locked from the look to the entry.

    Raises LedgerError where the cap would be passed, and nothing is written; and for a ledger that is locked or corrupt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path) as db:
        held = _of(db, source, sha256)
        if any((e.run, e.fit, e.state) == (run, fit, RESERVED) for e in held):
            return Account(tuple(held))
        before = sum(e.epsilon for e in held)
        if cap is not None and before + epsilon > cap + SLACK:
            left = max(cap - before, 0.0)
            raise LedgerError(
                f"{path}: of {source!r} epsilon {_taken(held)} and {left:.4g} of {cap:g} is left, so a run that spends "
                f"{epsilon:.4g} does not start; lower privacy.epsilon, or raise privacy.cap if you may"
            )
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        db.execute(
            "INSERT INTO spends (at, source, sha256, run, fit, epsilon, delta, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (now, source, sha256, run, fit, epsilon, delta, RESERVED),
        )
        return Account(tuple(_of(db, source, sha256)))


def _taken(held: Sequence[Entry]) -> str:
    """What is spent, and what runs that were stopped have reserved."""
    waiting = [e for e in held if e.state == RESERVED]
    done = sum(e.epsilon for e in held if e.state != RESERVED)
    if not waiting:
        return f"{done:.4g} is spent"
    names = ", ".join(dict.fromkeys(e.run for e in waiting))
    return f"{done:.4g} is spent, {sum(e.epsilon for e in waiting):.4g} is reserved by runs that did not end ({names})"


def settle(path: Path, *, run: str, fit: str) -> None:
    """The fit's model is there: what was reserved is spent. Raises LedgerError as `reserve` does."""
    with _open(path) as db:
        db.execute("UPDATE spends SET state = ? WHERE run = ? AND fit = ? AND state = ?", (SPENT, run, fit, RESERVED))


def forget(path: Path, *, run: str, fit: str) -> None:
    """The fit was refused before anything of it was seen: what was reserved is free again. Raises LedgerError as `reserve`."""
    with _open(path) as db:
        db.execute("DELETE FROM spends WHERE run = ? AND fit = ? AND state = ?", (run, fit, RESERVED))


def _of(db: sqlite3.Connection, source: str, sha256: str) -> list[Entry]:
    rows: Sequence[tuple[str, str, str, str, str, float, float, str]] = db.execute(
        "SELECT at, source, sha256, run, fit, epsilon, delta, state FROM spends WHERE source = ? OR sha256 = ? ORDER BY id",
        (source, sha256),
    ).fetchall()
    return [Entry(*row) for row in rows]


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """The ledger, locked for this run alone; what is written in the block is kept as a whole, or not at all."""
    try:
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    except sqlite3.Error as error:
        raise LedgerError(
            f"{path}: the privacy ledger cannot be opened ({error}); name another file as privacy.ledger"
        ) from None
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute(_MADE)
        yield db
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise LedgerError(
                f"{path}: the privacy ledger has been in use for {PATIENCE:.0f} s; try again when the other run is done"
            ) from None
        raise LedgerError(f"{path}: the privacy ledger cannot be kept ({error}); mend it, or restore a copy") from None
    except sqlite3.DatabaseError as error:
        raise LedgerError(
            f"{path}: this is no privacy ledger, or it is damaged ({error}); restore a copy, as without it nobody "
            "knows what is spent"
        ) from None
    finally:
        db.close()
