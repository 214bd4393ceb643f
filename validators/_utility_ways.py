"""Which cheaper ways are there to help a rare class? Class weights, random oversampling, SMOTE and its kin."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from validators._utility_cells import Cells, Encoder, joined
from validators._utility_learners import Rows
from validators.stats import Array

NOTHING, WEIGHTS, OVERSAMPLING = "nothing", "class weights", "random oversampling"
NEIGHBOURS = 5
#: Balanced rows at most, in multiples of the real rows: as many as the greatest ratio of synthetic rows gives.
GROWTH = 11


def smote_name(encoder: Encoder) -> str:
    """SMOTE where every column is a number without nulls, SMOTE-N where none is, SMOTE-NC for both."""
    if not encoder.numbers:
        return "SMOTE-N"
    return "SMOTE-NC" if encoder.levels or len(encoder.gaps) else "SMOTE"


def ways(encoder: Encoder) -> tuple[str, ...]:
    """Names of all cheaper ways, the cheapest first."""
    return NOTHING, WEIGHTS, OVERSAMPLING, smote_name(encoder)


def treated(way: str, rows: Rows, encoder: Encoder, seed: int) -> Rows:
    """The rows as that way would train on them.

    Raises ValueError for a name that is none of `ways`."""
    if way == NOTHING:
        return rows
    if way == WEIGHTS:
        return rows.balanced()
    if way == OVERSAMPLING:
        return oversampled(rows, _level(rows), np.random.default_rng([seed, 53]))
    if way == smote_name(encoder):
        return smote(rows, encoder, _level(rows), seed)
    raise ValueError(f"there is no way {way!r}; there are {', '.join(ways(encoder))}")


def oversampled(rows: Rows, level: int, rng: np.random.Generator) -> Rows:
    """Rows of each class repeated at random until it has `level` of them."""
    places = [np.arange(len(rows.y))]
    for y in np.unique(rows.y):
        own = np.flatnonzero(rows.y == y)
        places.append(rng.choice(own, max(level - len(own), 0)))
    order = np.concatenate(places)
    return Rows(rows.cells.take(order), rows.y[order], np.ones(len(order)))


def smote(rows: Rows, encoder: Encoder, level: int, seed: int) -> Rows:
    """New rows between neighbours of one class until it has `level` of them, as imbalanced-learn draws them.

    A null number is a level of its own beside the median; a class of one row is doubled first, as neighbours need two.
    Source: Chawla et al. 2002 (SMOTE, SMOTE-NC, SMOTE-N); imbalanced-learn (Lemaitre et al. 2017)."""
    rows = oversampled(rows, 2, np.random.default_rng([seed, 59]))
    present, counts = np.unique(rows.y, return_counts=True)
    wanted = {int(y): level for y, n in zip(present, counts, strict=True) if n < level}
    if not wanted:
        return rows
    fewest = min(int(n) for y, n in zip(present, counts, strict=True) if int(y) in wanted)
    sampler = _sampler(encoder, wanted, min(NEIGHBOURS, fewest - 1), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y = sampler.fit_resample(_flat(rows.cells, encoder), rows.y)
    new = _cells(np.asarray(x[len(rows.y) :]), encoder)
    return Rows(joined([rows.cells, new]), np.asarray(y), np.ones(len(y)))


def _level(rows: Rows) -> int:
    """Rows that each class is brought to: those of the largest, as far as GROWTH allows."""
    counts = np.unique(rows.y, return_counts=True)[1]
    return min(int(counts.max()), GROWTH * len(rows.y) // len(counts))


def _sampler(encoder: Encoder, wanted: dict[int, int], neighbours: int, seed: int) -> Any:
    from imblearn import over_sampling

    settings: dict[str, Any] = {"sampling_strategy": wanted, "random_state": seed, "k_neighbors": neighbours}
    name, p = smote_name(encoder), len(encoder.numbers)
    if name == "SMOTE":
        return over_sampling.SMOTE(**settings)
    if name == "SMOTE-N":
        return over_sampling.SMOTEN(**settings)
    codes = list(range(p, p + len(encoder.levels) + len(encoder.gaps)))
    return over_sampling.SMOTENC(categorical_features=codes, **settings)


def _flat(cells: Cells, encoder: Encoder) -> Array:
    """(n, p + q + g): numbers with their medians, codes, and a flag for each number that can be null."""
    missing = np.isnan(cells.numbers)
    return np.hstack([np.where(missing, encoder.middle, cells.numbers), cells.codes, missing[:, encoder.gaps]])


def _cells(flat: Array, encoder: Encoder) -> Cells:
    p, q = len(encoder.numbers), len(encoder.levels)
    numbers = flat[:, :p].astype(float)
    for j, gap in enumerate(encoder.gaps):
        numbers[flat[:, p + q + j] > 0.5, gap] = np.nan
    return Cells(numbers, np.rint(flat[:, p : p + q]).astype(np.int64))
