"""How does each column look, real beside synthetic, on the same bins?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from data.encode_values import floats
from data.errors import DataError
from data.schema import Column, arrow_type
from validators.report import svg
from validators.report.rows import Array, Drawn
from validators.report.text import clean, crop, share, tick

BINS = 24
LEVELS = 9
#: One value held by more than this share of the real rows gets a bar of its own, else it would flatten the rest.
SPIKE = 0.4


@dataclass(frozen=True)
class Bars:
    """One column on shared bins. Shares sum to 1 over the bars, each set by itself.

    names: what each bar holds; special: whether it stands apart (null, spike, other); edges: of the numeric bins;
    real, again, synthetic: (bars,) shares of reference, holdout and synthetic rows; wide: (bars,) how many bins were put
    together for each, all 1 where it is None.
    """

    column: Column
    names: tuple[str, ...]
    special: Array
    real: Array
    again: Array
    synthetic: Array
    ends: tuple[str, str] | None = None
    wide: Array | None = None

    @property
    def difference(self) -> float:
        """Total variation distance of synthetic from real on these bars, 0..1."""
        return float(np.abs(self.real - self.synthetic).sum() / 2)

    @property
    def noise(self) -> float:
        """The same for real against real: how far two real samples lie apart."""
        return float(np.abs(self.real - self.again).sum() / 2)


def compare(column: Column, real: Drawn, again: Drawn, synthetic: Drawn, *, fewest: int = 1) -> Bars:
    """Count one column of the three sets on bins that they share, each of `fewest` real rows or more where that is above 1."""
    sets = (real, again, synthetic)
    return (_levels if column.discrete else _histogram)(column, sets, fewest)


def _levels(column: Column, sets: Sequence[Drawn], fewest: int) -> Bars:
    columns = [each.rows.column(column.name).to_pylist() for each in sets]
    places: dict[Any, int] = {None: 0}
    codes = [np.array([places.setdefault(v, len(places)) for v in values], dtype=np.int64) for values in columns]
    counts = [_shares(code, each.weights, len(places)) for code, each in zip(codes, sets, strict=True)]
    rank = np.argsort(-np.maximum(counts[0], counts[2])[1:], kind="stable") + 1
    seen = np.bincount(codes[0], minlength=len(places))
    if fewest > 1:
        rank = rank[seen[rank] >= fewest]
    shown = rank[:LEVELS] if len(rank) > LEVELS + 1 or len(rank) < len(places) - 1 else rank
    rest = np.setdiff1d(np.arange(1, len(places)), shown)
    if 0 < seen[rest].sum() < fewest:
        # So few others would be told of by what is left; one more level hides them.
        shown, rest = shown[:-1], np.append(rest, shown[-1:])
    labels = list(places)
    names = [clean(labels[i]) for i in shown]
    apart = [False] * len(names)
    columns_of = [c[shown] for c in counts]
    if len(rest):
        names, apart = [*names, "any other" if fewest > 1 else f"{len(rest):,} other"], [*apart, True]
        columns_of = [np.append(kept, c[rest].sum()) for kept, c in zip(columns_of, counts, strict=True)]
    real, again, made = columns_of
    bars = Bars(column, tuple(names), np.array(apart, dtype=bool), real, again, made)
    return _with_nulls(bars, [c[0] for c in counts], seen, fewest)


def _histogram(column: Column, sets: Sequence[Drawn], fewest: int) -> Bars:
    columns = [_numbers(each, column) for each in sets]
    spike = _spike(columns[0], fewest)
    edges = _edges(column, [v[~np.isnan(v) & (v != spike)] for v in columns], fewest)
    bins = len(edges) - 1
    codes: list[Array] = []
    for values in columns:
        code = np.searchsorted(edges, np.where(np.isnan(values), edges[0], values), side="right").clip(1, max(bins, 1)) + 1
        code[values == spike] = 1
        code[np.isnan(values)] = 0
        codes.append(code)
    counts = [_shares(code, each.weights, bins + 2) for code, each in zip(codes, sets, strict=True)]
    seen = np.bincount(codes[0], minlength=bins + 2)
    starts = _starts(seen[2:], fewest)
    shares = [np.add.reduceat(c[2:], starts) if len(starts) else c[:0] for c in counts]
    names, ends = _bin_names(column, edges[[*starts, bins]] if len(starts) else edges[:1])
    apart, wide = [False] * len(names), np.diff([*starts, bins]).astype(float)
    if spike is not None:
        names = ["top" if fewest > 1 else f"= {_written(column, spike)}", *names]
        apart, wide = [True, *apart], np.append(1.0, wide)
        shares = [np.append(c[1:2], kept) for kept, c in zip(shares, counts, strict=True)]
    real, again, made = shares
    bars = Bars(column, tuple(names), np.array(apart, dtype=bool), real, again, made, ends, wide)
    return _with_nulls(bars, [c[0] for c in counts], seen, fewest)


def _starts(counts: Array, fewest: int) -> Array:
    """First bins of groups of neighbours that hold `fewest` real rows or more each: all bins where that is 1, none where all
    together hold fewer."""
    if fewest == 1 or counts.sum() < fewest:
        return np.arange(len(counts)) if fewest == 1 else np.zeros(0, dtype=int)
    starts, held = [0], 0
    for i, count in enumerate(counts):
        if held >= fewest and counts[i:].sum() >= fewest:
            starts.append(i)
            held = 0
        held += int(count)
    return np.array(starts)


def _bin_names(column: Column, edges: Array) -> tuple[list[str], tuple[str, str] | None]:
    """What each bin holds, and the two ends of the axis."""
    if len(edges) < 2:
        return [], None
    show = partial(_written, column)
    last = edges[1:] - 1 if column.kind == "integer" else edges[1:]
    if "high" in column.declared and isinstance(column.high, int | float):
        last = np.minimum(last, column.high)  # bins are even, so that the last one may reach beyond
    names = [show(a) if a == b else f"{show(a)} to {show(b)}" for a, b in zip(edges[:-1], last, strict=True)]
    return names, (show(edges[0]), show(last[-1]))


def _with_nulls(bars: Bars, nulls: Sequence[float], seen: Array, fewest: int) -> Bars:
    """With a bar of missing values where there are any; of fewer than `fewest` real ones nothing shows, nor what they leave.

    seen: (n,) how many real rows there are of each kind, those without a value first."""
    sets = (bars.real, bars.again, bars.synthetic)
    if 0 < seen[1:].sum() < fewest:
        none = np.zeros(0)
        return Bars(bars.column, (), np.zeros(0, dtype=bool), none, none, none)
    if not any(nulls):
        return bars
    if 0 < seen[0] < fewest:
        real, again, made = (s / (1 - n) if n < 1 else s for s, n in zip(sets, nulls, strict=True))
        return replace(bars, real=real, again=again, synthetic=made)
    real, again, made = (np.append(s, n) for s, n in zip(sets, nulls, strict=True))
    wide = None if bars.wide is None else np.append(bars.wide, 1.0)
    names, special = (*bars.names, "missing"), np.append(bars.special, True)
    return replace(bars, names=names, special=special, real=real, again=again, synthetic=made, wide=wide)


def _shares(codes: Array, weights: Array, length: int) -> Array:
    counts = np.bincount(codes, weights=weights, minlength=length)
    return counts / counts.sum() if counts.sum() else counts


def _numbers(drawn: Drawn, column: Column) -> Array:
    """(n,) float64, NaN where missing or unreadable: a page must still open when a check has refused the column."""
    try:
        return floats(drawn.rows.column(column.name), column.name)
    except DataError:
        return np.full(len(drawn), np.nan)


def _spike(values: Array, fewest: int) -> float | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    distinct, counts = np.unique(values, return_counts=True)
    top = int(counts.argmax())
    alone = counts[top] > SPIKE * len(values) and len(distinct) > BINS and counts[top] >= fewest
    return float(distinct[top]) if alone else None


def _edges(column: Column, columns: Sequence[Array], fewest: int) -> Array:
    """Edges of the bins: one a value for few whole numbers, else even between the outer quantiles."""
    real = columns[0][np.isfinite(columns[0])]
    pooled = real if fewest > 1 else np.concatenate([c[np.isfinite(c)] for c in columns])
    if len(pooled) < fewest:
        return np.array([0.0])
    pooled = pooled.clip(-1e300, 1e300)
    low, high = np.quantile(pooled, (0.01, 0.99) if fewest > 1 else (0.002, 0.998))
    if fewest > 1:
        low, high = _stated(column, float(low), float(high), np.sort(pooled), fewest)
    if column.kind == "integer":
        low, high = np.floor(low), np.ceil(high)
        step = max(1.0, np.ceil((high - low + 1) / BINS))
        return np.arange(low, high + step + 0.5, step)
    if high <= low:
        room = max(0.5, abs(low) * 1e-6)
        low, high = low - room, high + room
    return np.linspace(low, high, BINS + 1)


def _stated(column: Column, low: float, high: float, real: Array, fewest: int) -> tuple[float, float]:
    """Declared bounds where the plan has them, else the quantiles rounded: no real extreme on an axis.

    real: (n,) in order. An end has `fewest` real values on its far side, but for what rounding adds, and is none of them."""
    few = fewest - 1
    low, high = max(low, float(real[few])), min(high, float(real[-1 - few]))
    low, high = min(low, high), max(low, high)
    unit = 10.0 ** np.floor(np.log10(max(high - low, 1e-12)) - 1)
    low, high = np.floor(low / unit) * unit, np.ceil(high / unit) * unit
    low -= unit * (low == real[0] != real[few])
    high += unit * (high == real[-1] != real[-1 - few])
    if "low" in column.declared and column.low is not None:
        low = _placed(column, column.low)
    if "high" in column.declared and column.high is not None:
        high = _placed(column, column.high)
    return low, high


def _placed(column: Column, end: Any) -> float:
    """A declared end as the number that the column's values are read as."""
    value = pa.array([end if isinstance(end, str) else float(end)]).cast(arrow_type(column.dtype), safe=False)
    return float(floats(pa.chunked_array([value]), column.name)[0])


#: Seconds in the unit that a time is counted in.
_UNITS = {"date32[day]": 86_400.0, "date64[ms]": 1e-3, "timestamp[s": 1.0, "timestamp[ms": 1e-3, "timestamp[us": 1e-6}


def _written(column: Column, value: float) -> str:
    """A number for an axis; a time as its day."""
    if column.kind != "datetime":
        return tick(float(value))
    unit = next((u for start, u in _UNITS.items() if column.dtype.startswith(start)), 1e-9)
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(value) * unit)).strftime("%Y-%m-%d")
    except OverflowError:
        return tick(float(value))


# --- the picture

WIDTH, HEIGHT, FLOOR_ROOM = 260, 96, 16
ROW = 17


def picture(bars: Bars) -> Markup:
    """Upright bars for numbers, lying bars for levels; real solid, synthetic beside it."""
    return _lying(bars) if bars.column.discrete else _upright(bars)


def label(bars: Bars) -> str:
    """The chart in one sentence."""
    name = clean(bars.column.name)
    if not len(bars.names):
        return f"{name}: no value in any of the sets"
    gap = np.abs(bars.real - bars.synthetic)
    worst = int(gap.argmax())
    return (
        f"{name}: real and synthetic differ by {share(bars.difference)}, two real samples by {share(bars.noise)}; most at "
        f"{bars.names[worst]}: real {share(bars.real[worst])}, synthetic {share(bars.synthetic[worst])}"
    )


def _tip(bars: Bars, i: int) -> str:
    return f"{bars.names[i]}: real {share(bars.real[i])}, synthetic {share(bars.synthetic[i])}"


def _upright(bars: Bars) -> Markup:
    plain, apart = np.flatnonzero(~bars.special), np.flatnonzero(bars.special)
    wide = np.ones(len(bars.names)) if bars.wide is None else bars.wide
    top = max(float((v / wide)[plain].max(initial=0)) for v in (bars.real, bars.synthetic)) or 1.0
    room = (WIDTH - 38 * len(apart)) / max(float(wide[plain].sum()), 1.0)
    left = 38.0 if len(apart) and apart[0] == 0 and len(plain) else 0.0
    before = np.cumsum(wide[plain]) - wide[plain]
    spots = {int(i): (left + room * float(b), room * float(wide[i])) for i, b in zip(plain, before, strict=True)}
    spots |= {int(i): (0.0 if i == 0 else WIDTH - 28.0, 28.0) for i in apart}
    parts: list[Markup | str] = []
    outline: list[tuple[float, float]] = []
    for i, (x, w) in spots.items():
        # A bar that stands apart is drawn against all rows: beside it the others would be flat.
        scale = HEIGHT / (1.0 if bars.special[i] else top * float(wide[i]))
        real, fake = scale * float(bars.real[i]), scale * float(bars.synthetic[i])
        if bars.special[i]:
            parts.append(svg.rect(x, 0, w - 1, HEIGHT, "track"))
            parts.append(svg.rect(x, HEIGHT - real, w / 2 - 1, real, "real solid"))
            parts.append(svg.rect(x + w / 2, HEIGHT - fake, w / 2 - 1, fake, "fake solid"))
            parts.append(svg.words(x + w / 2, HEIGHT + 12, crop(bars.names[i], 8), anchor="middle", full=bars.names[i]))
        else:
            parts.append(svg.rect(x, HEIGHT - real, w - 0.6, real, "real soft"))
            outline += [(x, HEIGHT - fake), (x + w, HEIGHT - fake)]
        parts.append(svg.rect(x, 0, w, HEIGHT, "hit", tip=_tip(bars, i)))
    if outline:
        parts.append(svg.path([(outline[0][0], HEIGHT), *outline, (outline[-1][0], HEIGHT)], "fake line"))
        right = outline[-1][0]
        parts.append(svg.line(left, HEIGHT, right, HEIGHT, "axis"))
        if bars.ends:
            parts.append(svg.words(left, HEIGHT + 12, bars.ends[0]))
            parts.append(svg.words(right, HEIGHT + 12, bars.ends[1], anchor="end"))
    return svg.chart(WIDTH, HEIGHT + FLOOR_ROOM, label(bars), parts)


def _lying(bars: Bars) -> Markup:
    top = max(float(bars.real.max(initial=0)), float(bars.synthetic.max(initial=0)), 1e-9)
    start, room = 92.0, WIDTH - 92.0
    parts: list[Markup | str] = []
    for i, name in enumerate(bars.names):
        y = i * ROW
        css = "tick apart" if bars.special[i] else "tick"
        parts.append(svg.words(start - 6, y + 10.5, crop(name, 16), css, anchor="end", full=name))
        parts.append(svg.rect(start, y + 1, room * float(bars.real[i]) / top, 6, "real solid"))
        parts.append(svg.rect(start, y + 8, room * float(bars.synthetic[i]) / top, 6, "fake solid"))
        parts.append(svg.rect(start, y, room, ROW - 1, "hit", tip=_tip(bars, i)))
    parts.append(svg.line(start, 0, start, max(len(bars.names), 1) * ROW, "axis"))
    return svg.chart(WIDTH, max(len(bars.names), 1) * ROW + 2, label(bars), parts)
