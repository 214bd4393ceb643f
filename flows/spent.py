"""What was spent of the privacy of a plan's source, and what is left?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from configs.plan import Plan
from configs.sources import SqlSource
from data.errors import UserError
from flows.ledger import RESERVED, Account, account
from flows.show import stdout
from flows.stages.read import fingerprint


@dataclass(frozen=True)
class Spent:
    """The account of a source, under its name or with its bytes; cap: what the plan allows, None where it says nothing."""

    ledger: str
    source: str
    account: Account
    cap: float | None

    @property
    def left(self) -> float | None:
        """What the cap leaves; None without one."""
        return None if self.cap is None else max(self.cap - self.account.epsilon, 0.0)

    def to_json(self) -> dict[str, Any]:
        """As `ledger --json` writes it."""
        told = {"ledger": self.ledger, "source": self.source, "cap": self.cap, "left": self.left}
        fits = [asdict(entry) for entry in self.account.entries]
        return {**told, "epsilon": self.account.epsilon, "delta": self.account.delta, "fits": fits}


def spent(plan: Plan) -> Spent:
    """The account of the plan's source. Raises UserError for tables of several, which have no ledger, and where the source or
    the ledger cannot be read."""
    if plan.several:
        raise UserError(f"{plan.name} reads tables that refer to one another, of which nothing is promised; name another plan")
    spec = plan.privacy
    # Columns that a plan drops are of the same people.
    bare = plan.model_copy(update={"columns": {}}) if isinstance(plan.data, SqlSource) else plan
    source = spec.source or plan.name
    return Spent(spec.ledger, source, account(Path(spec.ledger), source, fingerprint(bare)), spec.cap)


def show_spent(found: Spent) -> None:
    """Every fit, the oldest first, and the sum."""
    entries = found.account.entries
    table = Table("when (UTC)", "source", "run", "epsilon", "delta", "", box=None, pad_edge=False, header_style="dim")
    table.columns[3].justify = table.columns[4].justify = "right"
    for entry in entries:
        state = "reserved, its run did not end" if entry.state == RESERVED else ""
        when = entry.at[:16].replace("T", " ")
        table.add_row(when, escape(entry.source), entry.run, f"{entry.epsilon:.3g}", f"{entry.delta:.2g}", state)
    if entries:
        stdout().print(table)
    said = f"{found.source}: epsilon {found.account.epsilon:.3g}, delta {found.account.delta:.2g} spent"
    said += ", and the plan has no privacy.cap" if found.left is None else f" of {found.cap:g}; {found.left:.3g} is left"
    print(f"{said} ({found.ledger})")
