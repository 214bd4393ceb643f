"""How many synthetic rows does each class get?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, TypeVar

from data.errors import DataError

L = TypeVar("L", bound=Hashable)


def quotas(
    counts: Mapping[L, int],
    mix: Literal["balanced", "natural"] | Mapping[L, float],
    *,
    rows: int | None,
    include_real: bool,
    spared: L | None = None,
) -> dict[L, int]:
    """Rows to draw of each class: {level: n >= 0} with the levels of `counts` (real rows per class, in order).

    balanced: with the real rows included, every class is filled up to the largest, or as evenly as `rows` allows;
    without them every class gets the same. natural: shares as in the data. A mapping gives weights.
    `rows` is the total; None takes what balancing needs, else as many rows as there are real ones. spared: a class that no
    row is drawn of, such as the good parts that defects are painted on.

    Raises DataError when nothing is left to draw or all weights are zero."""
    if spared in counts:
        return _sparing(counts, mix, rows, include_real, spared)
    total = rows or sum(counts.values())
    if mix == "balanced" and include_real:
        drawn = _fill(counts, rows)
    elif mix == "balanced":
        drawn = apportion(dict.fromkeys(counts, 1.0), total)
    elif mix == "natural":
        drawn = apportion({level: float(n) for level, n in counts.items()}, total)
    else:
        drawn = apportion({level: float(mix.get(level, 0.0)) for level in counts}, total)
    if not sum(drawn.values()):
        raise DataError("the classes are balanced already, so no rows are drawn; set sample.mix: natural, or sample.rows")
    return drawn


def _sparing(counts: Mapping[L, int], mix: Any, rows: int | None, include_real: bool, spared: L | None) -> dict[L, int]:
    others = {level: n for level, n in counts.items() if level != spared}
    if mix == "balanced" and include_real and rows is None:
        rows = sum(_fill(counts, None)[level] for level in others) or sum(others.values())
    drawn = quotas(others, mix, rows=rows, include_real=include_real)
    return {level: drawn.get(level, 0) for level in counts}


def apportion(weights: Mapping[L, float], total: int) -> dict[L, int]:
    """Whole numbers in proportion to the weights that sum to `total` (largest remainders, ties in order)."""
    whole = sum(weights.values())
    if whole <= 0:
        raise DataError("sample.mix gives every class a weight of 0; give at least one class a weight above 0")
    exact = {level: total * weight / whole for level, weight in weights.items()}
    out = {level: int(share) for level, share in exact.items()}
    by_remainder = sorted(exact, key=lambda level: exact[level] - out[level], reverse=True)
    for level in by_remainder[: total - sum(out.values())]:
        out[level] += 1
    return out


def _fill(counts: Mapping[L, int], rows: int | None) -> dict[L, int]:
    top = max(counts.values())
    if rows is None:
        return {level: top - n for level, n in counts.items()}
    # Pour the rows into the emptiest classes: find the water level, then share out what is left below one row each.
    level_of_water = _water(sorted(counts.values()), rows)
    drawn = {level: max(0, level_of_water - n) for level, n in counts.items()}
    spare = rows - sum(drawn.values())
    for level in [level for level, n in counts.items() if n <= level_of_water][:spare]:
        drawn[level] += 1
    return drawn


def _water(counts: list[int], rows: int) -> int:
    used = 0
    for i, n in enumerate(counts):
        need = i * n - used
        if need > rows:
            return (rows + used) // i
        used += n
    return (rows + used) // len(counts)
