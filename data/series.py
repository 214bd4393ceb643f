"""Are these rows readings of one series? Told by their moments, which follow one another in equal steps."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from data.dataset import Dataset
from data.encode_values import floats

#: Rows below which steps say nothing; the share of steps that are the usual one.
LEAST_ROWS, EVEN = 50, 0.8
#: Names of spans, in seconds.
SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def series_of(data: Dataset) -> str | None:
    """How often a reading comes, in words, where the rows are one series; None where they are not.

    One series has one column of moments, none missing, hardly any twice, most of them a same step apart once in order, and
    numbers beside it, but no classes: rows of many things at the same moments are none."""
    moments = data.schema.of_kind("datetime")
    numbers = data.schema.of_kind("numeric", "integer")
    if len(moments) != 1 or not numbers or data.schema.classes() or data.num_rows < LEAST_ROWS:
        return None
    values = data.column(moments[0].name)
    if values.null_count or pc.count_distinct(values).as_py() < 0.95 * data.num_rows:
        return None
    steps = np.diff(np.sort(floats(values, moments[0].name)))
    steps = steps[steps > 0]
    usual = float(np.median(steps))
    if np.mean(np.abs(steps - usual) <= 0.01 * usual) < EVEN:
        return None
    return f"one reading every {_span(_seconds(usual, data, moments[0].name))}"


def _seconds(step: float, data: Dataset, name: str) -> float:
    """The step in seconds, whatever the unit that moments are counted in."""
    ordered = pc.sort_indices(data.column(name))
    first, last = (data.column(name)[ordered[i].as_py()].as_py() for i in (0, -1))
    seen = floats(data.column(name), name)
    whole = float(seen.max() - seen.min())
    seconds = (last - first).total_seconds()
    return step * seconds / whole if whole else 0.0


def _span(seconds: float) -> str:
    for size, word in SPANS:
        if seconds >= size:
            count = seconds / size
            return word if round(count, 3) == 1 else f"{count:.3g} {word}s"
    return f"{seconds:.3g} seconds"
