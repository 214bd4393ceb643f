"""Windows of simulated pumps that tests of the gate on series share: each seed has pumps of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.samples import pump
from data.windows import ENTITY, SERIES, SOURCE, readings, windows
from validators.base import Finding, Intent
from validators.judge import Prepared, run
from validators.series import prepare_series, series_checks

Array = np.ndarray
COUNTS: Mapping[str, int] = {"steady": 160, "start": 70, "cavitation": 50, "leak": 60}
LENGTH = 64


def pumps(seed: int, *, times: int = 1, length: int = LENGTH, counts: Mapping[str, int] = COUNTS) -> Dataset:
    """Windows of the pumps of a seed, which no other seed has."""
    drawn = pump.draw({name: times * count for name, count in counts.items()}, length=length, seed=seed)
    names = pa.array([f"{name} of {seed}" for name in drawn.column(ENTITY).to_pylist()])
    return Dataset(drawn.set_column(drawn.schema.get_field_index(ENTITY), ENTITY, names), pump.pump_schema(counts))


def kept(rows: Dataset, wanted: Callable[[str], bool]) -> Dataset:
    """The windows whose source is wanted."""
    return rows.take(np.flatnonzero([wanted(source) for source in rows.table.column(SOURCE).to_pylist()]))


def changed(rows: Dataset, change: Callable[[Array], Array]) -> Dataset:
    """The windows with other readings: change: (n, channels, t) -> the same shape."""
    held = windows(rows)
    column = readings(change(held.values.copy()), held.lengths)
    return Dataset(rows.table.set_column(rows.table.schema.get_field_index(SERIES), SERIES, column), rows.schema)


def joined(*parts: Dataset) -> Dataset:
    """All windows of several sets of one schema."""
    return Dataset(pa.concat_tables([part.table for part in parts]), parts[0].schema)


def prepared(train: Dataset, holdout: Dataset, synthetic: Dataset, **intent: Any) -> Prepared:
    """The evidence, by which no mode is asked for unless stated."""
    return prepare_series(train, holdout, synthetic, intent=Intent(**({"detect": 1.0} | intent)))


def findings(given: Prepared, *names: str) -> dict[str, Finding]:
    """What the checks of these names say, of all but utility where none is named; an ERROR fails the test."""
    asked = [check for check in series_checks(utility="off") if not names or check.name in names]
    found = {check.name: run(check, given) for check in asked}
    assert {name: f.summary for name, f in found.items() if f.verdict == "ERROR"} == {}
    return found


def blocked(given: Prepared, *names: str) -> dict[str, str]:
    """Check -> what it says, of those that block."""
    return {name: finding.summary for name, finding in findings(given, *names).items() if finding.verdict == "BLOCK"}
