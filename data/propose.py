"""Which rules hold in all of these rows, though they need not? Guesses for a person to confirm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa

from data.combinations import Combinations
from data.constraints import finest, measure
from data.schema import Column, Schema

#: Rows that must speak for a rule, share of rows that would break it if its columns were independent, proposals at most, and
#: columns at most.
LEAST_ROWS, SURPRISE, MOST, WIDE = 50, 0.05, 8, 60
#: Levels of a column that may settle another, and rows that each of them has on average.
LEVELS, ROWS_A_LEVEL = 5, 3


def propose(rows: pa.Table, schema: Schema) -> list[dict[str, Any]]:
    """Entries of a plan's `constraints` that no row breaks and that chance would hardly have kept: at most MOST.

    Columns in an order (times, or numbers with the same digits and magnitude), and levels that settle other levels."""
    return [*_orders(rows, schema), *_settled(rows, schema)][:MOST]


def _orders(rows: pa.Table, schema: Schema) -> Iterator[dict[str, Any]]:
    times = [c for c in schema if c.kind == "datetime"][:WIDE]
    numbers = [c for c in schema if c.kind in ("numeric", "integer")][:WIDE]
    below = {(a.name, b.name) for group in (times, numbers) for a, b in permutations(group, 2) if _rise(rows, schema, a, b)}
    done: set[str] = set()
    for first in [c.name for c in schema]:
        chain = _chain(first, below, [c.name for c in schema])
        # An order that is part of a longer one is said there.
        if len(chain) > 1 and not any(b == first for _, b in below) and not set(chain) <= done:
            done.update(chain)
            yield {"use": "inequality", "columns": chain}


def _chain(first: str, below: set[tuple[str, str]], names: Sequence[str]) -> list[str]:
    """From `first` upwards, always to the column that has most others above it."""
    chain = [first]
    while True:
        above = [name for name in names if all((each, name) in below for each in chain)]
        if not above:
            return chain
        chain.append(max(above, key=lambda name: (sum((name, other) in below for other in above), -names.index(name))))


def _rise(rows: pa.Table, schema: Schema, a: Column, b: Column) -> bool:
    """Whether a <= b in every row, though many rows would break it if the two were independent."""
    if a.kind != "datetime" and not _alike(a, b):
        return False
    if {"tz=" in a.dtype, "tz=" in b.dtype} == {True, False}:
        return False
    unit = finest(rows, (a.name, b.name))
    (low, gone), (high, lost) = (measure(rows.column(c.name), unit) for c in (a, b))
    there = ~(gone | lost)
    low, high = low[there], high[there]
    if len(low) < LEAST_ROWS or (low > high).any() or (low == high).all():
        return False
    # Every row of one beside every row of the other.
    above = len(high) - np.searchsorted(np.sort(low), high, side="right")
    return bool(above.mean() / len(high) > SURPRISE)


def _alike(a: Column, b: Column) -> bool:
    """Numbers of one unit, as far as digits and magnitude tell; flags and codes are none."""
    if a.decimals != b.decimals or a.kind != b.kind or None in (a.low, b.low, a.high, b.high):
        return False
    sizes = [float(str(c.high)) - float(str(c.low)) for c in (a, b)]
    return min(sizes) > 2 and max(sizes) < 10 * min(sizes)


def _settled(rows: pa.Table, schema: Schema) -> Iterator[dict[str, Any]]:
    """Levels that settle fewer other levels, or as many whole numbers."""
    levels = [c for c in schema if c.discrete and c.name != schema.target][:WIDE]
    whole = [c for c in schema if c.kind == "integer" and c.name != schema.target][:WIDE]
    many = [c for c in levels if len(c.categories) >= LEVELS and len(rows) >= ROWS_A_LEVEL * len(c.categories)]
    for source in many:
        others = [c.name for c in levels if 2 <= len(c.categories) < len(source.categories)] + [c.name for c in whole]
        kept = len(Combinations.of(rows, [source.name]))
        settled = [name for name in others if len(Combinations.of(rows, [source.name, name])) == kept]
        if settled := [name for name in settled if len(Combinations.of(rows, [name])) > 1]:
            yield {"use": "functional_dependency", "columns": [source.name], "settle": settled}
