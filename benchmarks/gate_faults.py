"""Faults that are planted into rows that are otherwise real: each a function of the rows and a seeded generator."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats.contingency import association

Rng = np.random.Generator


def kinds(frame: pd.DataFrame, target: str | None) -> tuple[list[str], list[str]]:
    """Columns of numbers and columns of words, without the target."""
    numbers = [c for c in frame.select_dtypes("number").columns if c != target]
    return numbers, [c for c in frame.columns if c != target and c not in numbers]


#: Conditions that a region has at most: what a person would still call a group of rows.
CONDITIONS = 3


def region(frame: pd.DataFrame, share: float, rng: Rng, target: str | None) -> list[tuple[str, str, object]]:
    """A mode as two or three conditions around a random row that together hold about this share of all rows.

    Columns are taken in random order; a number gives a window of ranks around the row's own, a word its level. A condition
    that would leave less than nine tenths of the share is passed over; another row is tried when more than 1.2 times the
    share is left."""
    columns = [c for c in frame.columns if c != target]
    for _ in range(5000):
        row = frame.iloc[int(rng.integers(len(frame)))]
        rules: list[tuple[str, str, object]] = []
        inside = np.ones(len(frame), dtype=bool)
        for column in rng.permutation(columns):
            numeric = pd.api.types.is_numeric_dtype(frame[column])
            how, value = ("between", _window(frame[column], row[column], rng)) if numeric else ("is", row[column])
            narrowed = inside & holds(frame, [(str(column), how, value)])
            if narrowed.mean() < 0.9 * share or narrowed.mean() > 0.95 * inside.mean():
                continue
            rules.append((str(column), how, value))
            inside = narrowed
            if len(rules) == CONDITIONS:
                break
        if len(rules) > 1 and inside.mean() <= 1.2 * share:
            return rules
    raise ValueError(f"no region of {share:.0%} was found")


def _window(values: pd.Series, middle: object, rng: Rng) -> tuple[float, float]:
    """An interval of ranks, a sixth to a half of all rows wide, around a value."""
    if pd.isna(middle):
        return (np.nan, np.nan)
    ranks = values.rank(pct=True)
    place, width = float((values < middle).mean()), float(rng.uniform(0.17, 0.5))
    low, high = max(0.0, place - width / 2), min(1.0, place + width / 2)
    return tuple(values[(ranks >= low) & (ranks <= high)].agg(["min", "max"]))  # type: ignore[return-value]


def holds(frame: pd.DataFrame, rules: list[tuple[str, str, object]]) -> np.ndarray:
    """Which rows meet all conditions: (n,) bool."""
    inside = np.ones(len(frame), dtype=bool)
    for column, how, value in rules:
        values = frame[column]
        if how == "is":
            inside &= (values.isna() if pd.isna(value) else values == value).to_numpy(dtype=bool)
        else:
            low, high = value  # type: ignore[misc]
            inside &= (values.isna() if pd.isna(low) else values.between(low, high)).to_numpy(dtype=bool)
    return inside


def near_copies(made: pd.DataFrame, train: pd.DataFrame, share: float, rng: Rng, target: str | None = None) -> pd.DataFrame:
    """A share of the rows replaced by training rows plus noise of 1 % of each number's deviation, rounded as it was."""
    count = round(share * len(made))
    copied = train.iloc[rng.permutation(len(train))[:count]].reset_index(drop=True).copy()
    for column in kinds(train, target)[0]:
        noise = 0.01 * float(train[column].std()) * rng.normal(size=count)
        moved = copied[column].to_numpy(dtype=float) + noise
        whole = pd.api.types.is_integer_dtype(train[column])
        copied[column] = np.rint(moved).astype(train[column].dtype) if whole else moved
    return pd.concat([made.iloc[count:], copied], ignore_index=True)


def shrunk(made: pd.DataFrame, inside: np.ndarray, scale: float, columns: list[str]) -> pd.DataFrame:
    """The numbers of these rows drawn towards their mean, so that their deviation is `scale` times what it was."""
    out = made.copy()
    for column in columns:
        values = made.loc[inside, column].astype(float)
        moved = values.mean() + scale * (values - values.mean())
        whole = pd.api.types.is_integer_dtype(made[column])
        out.loc[inside, column] = np.rint(moved).astype(made[column].dtype) if whole else moved
    return out


def hole(made: pd.DataFrame, a: str, b: str, cell: tuple[object, object], rng: Rng) -> pd.DataFrame:
    """No row left in one cell of a pair of columns, both marginals as they were: its rows swap the second value with
    rows that hold neither value."""
    inside = np.flatnonzero((made[a] == cell[0]) & (made[b] == cell[1]))
    others = rng.permutation(np.flatnonzero((made[a] != cell[0]) & (made[b] != cell[1])))[: len(inside)]
    inside = inside[: len(others)]
    out = made.copy()
    place = out.columns.get_loc(b)
    out.iloc[inside, place], out.iloc[others, place] = made[b].to_numpy()[others], made[b].to_numpy()[inside]
    return out


def swapped(made: pd.DataFrame, target: str, classes: tuple[object, object], share: float, rng: Rng) -> pd.DataFrame:
    """Labels of two classes exchanged on this share of the rarer one's rows and as many of the other, so that the mix stays."""
    places = [rng.permutation(np.flatnonzero(made[target] == name)) for name in classes]
    count = round(share * min(len(rows) for rows in places))
    out = made.copy()
    for rows, other in ((places[0][:count], classes[1]), (places[1][:count], classes[0])):
        out.iloc[rows, out.columns.get_loc(target)] = other
    return out


#: Pairs that hang together at least so much (Spearman's rho of numbers, Cramer's V of words) are loosened.
STRONG = 0.6


def loosened(made: pd.DataFrame, real: pd.DataFrame, target: str, rng: Rng) -> pd.DataFrame | None:
    """One of the pairs of columns that depend on one another, at random, with half of the second's values dealt out anew among
    their rows: both marginals stay, the dependence halves. None where there is no such pair."""
    numbers, words = kinds(real, target)
    strengths = real[numbers].corr("spearman").abs()
    pairs = [(a, b) for a, b in combinations(numbers, 2) if strengths.loc[a, b] >= STRONG]
    pairs += [(a, b) for a, b in combinations(words, 2) if association(pd.crosstab(real[a], real[b])) >= STRONG]
    if not pairs:
        return None
    column = pairs[int(rng.integers(len(pairs)))][1]
    rows = rng.permutation(len(made))[: len(made) // 2]
    out = made.copy()
    place = out.columns.get_loc(column)
    out.iloc[rows, place] = made[column].to_numpy()[rng.permutation(rows)]
    return out
