"""Which series are there when a user has none yet? Windows of a simulated pump, with known events."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from data.samples.pump import COUNTS, draw, pump_schema
from data.windows import described


def read(*, counts: Mapping[str, int] | None = None, length: int = 96, seed: int = 0) -> pa.Table:
    """Simulated windows as a table with the columns of `data.samples.pump.pump_schema`.

    counts: windows of each class (steady, start, cavitation, leak), 300, 90, 24 and 30 if not stated; length: readings a
    window. Raises DataError for an unknown class, a length out of bounds, or no window."""
    wanted = COUNTS if counts is None else counts
    return described(draw(wanted, length=length, seed=seed), pump_schema(wanted))
