"""What could the gate see at all with so many holdout rows? Asked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configs.plan import GateSpec
from data.errors import DataError
from validators.base import Intent
from validators.stats import least_holdout_count, smallest_mode


def detectable(gate: GateSpec, rows: int) -> float | None:
    """About the smallest share of `rows` holdout rows whose loss would be seen with 95 % power; None when none would.

    The gate alone knows how many cells it will test; about one a row is what tables give, and only the logarithm counts."""
    return smallest_mode(rows, _least(gate, max(rows, 1)))


def check_enough(gate: GateSpec, counts: Mapping[Any, int]) -> None:
    """Refuse holdout rows (class -> rows) in which even the loss of everything could not be told from chance.

    Raises DataError with the count that would do.
    """
    rows, least = sum(counts.values()), _least(gate, 1)
    if rows < least:
        shown = ", ".join(str(level).strip() for level in counts if level is not None)
        whose = f" of {shown}" if shown else ""
        raise DataError(
            f"the gate has {rows} holdout rows{whose} to judge by and can see nothing with fewer than {least}; "
            "give more rows, or raise split.holdout or gate.draws"
        )


def _least(gate: GateSpec, cells: int) -> int:
    intent = Intent(alpha=gate.alpha)
    chance = intent.rho * gate.draws / (intent.rho * gate.draws + 1)
    return least_holdout_count(intent.level("modes"), cells, chance)
