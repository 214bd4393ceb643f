"""Whose class do rows look like? Real and synthetic rows as a classifier trained on real rows names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from validators.base import Finding
from validators.report import svg
from validators.report.classes import parsed
from validators.report.rows import Array
from validators.report.text import crop, finite, share

#: Above this many classes a map would be specks, and the check does not keep every pair.
MOST, WRITTEN = 14, 6
SIDE, ROOM = 240.0, 84.0


@dataclass(frozen=True)
class Confusion:
    """names: of the classes; real, synthetic: (k, k) share of rows of the class in a row that look like that in a column."""

    names: tuple[str, ...]
    real: Array
    synthetic: Array


def confusion(findings: Sequence[Finding]) -> Confusion | None:
    """The matrix that the check of labels has measured pair by pair; None where it has not, or not all of it."""
    tests = next((f.details.get("tests") for f in findings if f.check == "labels"), None)
    pairs: dict[tuple[str, str], Mapping[str, Any]] = {}
    for test in tests if isinstance(tests, Sequence) else ():
        pair = parsed(test) if isinstance(test, Mapping) else None
        if pair and pair[1] is not None:
            pairs[pair[0], pair[1]] = test
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    if not 2 <= len(names) <= MOST:
        return None
    sides = [np.full((len(names), len(names)), np.nan) for _ in range(2)]
    for (own, other), test in pairs.items():
        for side, key in zip(sides, ("real", "synthetic"), strict=True):
            value = finite(test.get(key))
            side[names.index(own), names.index(other)] = np.nan if value is None else value
    for side in sides:
        known = ~np.isnan(side).all(axis=1)
        rest = 1 - np.nansum(side, axis=1)
        side[np.arange(len(names)), np.arange(len(names))] = np.where(known, rest.clip(0, 1), np.nan)
    return Confusion(tuple(names), sides[0], sides[1])


def pictures(found: Confusion) -> tuple[Markup, Markup, Markup]:
    """Heat maps of real and synthetic rows, and of the difference in points of share."""
    gap = found.synthetic - found.real
    reach = max(0.05, float(np.nan_to_num(np.abs(gap)).max()))
    return (
        _map(found, found.real, "Real rows: whose class they look like", named=True),
        _map(found, found.synthetic, "Synthetic rows: whose class they look like"),
        _map(found, gap, f"Difference, synthetic minus real{_worst(found, gap)}", top=reach, signed=True),
    )


def _worst(found: Confusion, gap: Array) -> str:
    apart = np.where(np.eye(len(gap), dtype=bool) | np.isnan(gap), -np.inf, gap)
    i, j = np.unravel_index(int(apart.argmax()), apart.shape)
    if not np.isfinite(apart[i, j]):
        return ""
    shares = f"synthetic {share(found.synthetic[i, j])}, real {share(found.real[i, j])}"
    return f"; most: {crop(found.names[i], 40)} that look like {crop(found.names[j], 40)}: {shares}"


def _map(found: Confusion, values: Array, label: str, *, named: bool = False, top: float = 1.0, signed: bool = False) -> Markup:
    count = len(found.names)
    step, left = SIDE / count, ROOM if named else 0.0
    parts: list[Markup | str] = []
    for i, name in enumerate(found.names):
        if named:
            parts.append(svg.words(left - 5, (i + 0.5) * step + 3, crop(name, 15), anchor="end", full=name))
        for j, other in enumerate(found.names):
            value = float(values[i, j])
            x, y = left + j * step, i * step
            if np.isnan(value):
                parts.append(svg.rect(x, y, step - 1, step - 1, "heat none"))
                continue
            shade = min(9, round(abs(value) / top * 9))
            written = f"{100 * value:+.1f}" if signed else share(value)
            tip = f"{crop(name, 40)} that look like {crop(other, 40)}: {written}"
            parts.append(svg.rect(x, y, step - 1, step - 1, f"heat {'n' if value < 0 else 'p'}{shade}", tip=tip))
            if count <= WRITTEN:
                css = "inside dark" if shade > 5 else "inside"
                parts.append(svg.words(x + step / 2, y + step / 2 + 4, written, css, anchor="middle"))
    return svg.chart(left + SIDE, SIDE, label, parts, css="chart map named" if named else "chart map")
