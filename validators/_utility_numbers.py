"""Does a model of a number do as well when trained on synthetic rows?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data.dataset import Dataset
from data.encode_values import floats
from validators._utility_cells import Encoder, Seen
from validators._utility_learners import Learners, Rows
from validators._utility_rows import ENCODER_ROWS, LEAST_TESTED, TEST_ROWS, CannotJudgeError, encoder_of, features
from validators._utility_scores import draws_for, resampled
from validators._utility_tstr import DRAWS, Ratio, most_rows, ratio_of
from validators.base import Evidence
from validators.points import drawn
from validators.sides import sides
from validators.stats import Array


def transfer_of_numbers(evidence: Evidence) -> dict[str, Ratio]:
    """R^2 and the closeness 1 / (mean absolute error) on the holdout, trained on synthetic beside trained on real rows.

    Equal numbers of rows; a ratio of 1 is as good as real, less is worse; the `mae` entries hold the errors themselves.
    Raises CannotJudgeError when rows are too few or the target does not vary."""
    seen, seed = sides(evidence), evidence.intent.seed
    real, made, held = (_known(rows) for rows in (seen.train, seen.sample, seen.holdout))
    if min(len(real), len(made), len(held)) < LEAST_TESTED:
        raise CannotJudgeError(f"{LEAST_TESTED} train, holdout and synthetic rows with a target are needed to compare models")
    rng = np.random.default_rng([seed, 41])
    encoder = encoder_of(seen.train.take(np.sort(real[drawn(len(real), ENCODER_ROWS, rng)])), features(seen.train.schema))
    size = min(len(real), len(made), most_rows(encoder))
    test = _rows(encoder, seen.holdout, held, min(len(held), TEST_ROWS), rng)
    if test.y.min() == test.y.max():
        raise CannotJudgeError("the target has one value in the holdout, so there is nothing to predict")
    weights = resampled(np.zeros(len(test.y)), test.w, draws_for(len(test.y), 1), rng)
    learners, shown = Learners.sized(encoder, 1, size), Seen(encoder, test.cells)

    def errors(rows: Dataset, places: Array) -> tuple[Array, Array]:
        drawn_rows = [_rows(encoder, rows, places, size, np.random.default_rng([seed, 47, k])) for k in range(DRAWS)]
        found = [_errors(learners.values(each, [shown], seed)[0], test.y, weights) for each in drawn_rows]
        return np.stack([r2 for r2, _ in found]), np.stack([error for _, error in found])

    (r2, error), (real_r2, real_error) = errors(seen.sample, made), errors(seen.train, real)
    closeness = ratio_of(1 / error, 1 / real_error, rng)
    scale = _scale(test.y)
    mae = replace(closeness, synthetic=scale / closeness.synthetic, real=scale / closeness.real)
    return {"mae": mae, "r2": ratio_of(r2, real_r2, rng)}


def _known(rows: Dataset) -> Array:
    """Positions of the rows whose target is a finite number."""
    return np.flatnonzero(np.isfinite(_target(rows)))


def _target(rows: Dataset) -> Array:
    name = str(rows.schema.target)
    return floats(rows.column(name), name)


def _rows(encoder: Encoder, rows: Dataset, places: Array, most: int, rng: np.random.Generator) -> Rows:
    some = rows.take(np.sort(places[drawn(len(places), most, rng)]))
    return Rows(encoder.read(some), _target(some), np.ones(some.num_rows))


def _scale(y: Array) -> float:
    """Mean absolute distance from the median."""
    return float(np.abs(y - np.median(y)).mean())


def _errors(predicted: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """R^2 and mean absolute error, in `_scale` of the target, for each column of weights: (b,), (b,)."""
    off, real = (predicted - y) / _scale(y), (y - np.median(y)) / _scale(y)
    total = weights.sum(axis=0)
    spread = (real**2) @ weights / total - (real @ weights / total) ** 2
    return 1 - (off**2 @ weights / total) / np.maximum(spread, 1e-9), np.maximum(np.abs(off) @ weights / total, 1e-9)
