"""How often would conditions single out a person among more unseen rows than there are?

Whether a condition holds for one row alone depends on how many rows there are: among few it often holds for none, among many
for several. Where the holdout is smaller than train, its rate is no measure of chance on train until it is brought to train's
size.

Source: Giomi et al. 2023 (PoPETs 2023(2)), section 5.1, as its package anonymeter does it (`singling_out_evaluator.py`,
`fit_correction_term`): a model of two parameters is fitted to the successes on parts of the control, and multiplies its count
by model(train's size) / model(control's size). Here parts need not be drawn: the mean over all parts of a size is known.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from validators.stats import Array

#: Sizes of parts of the control that the model is fitted to, and weights that are tried.
SIZES, WEIGHTS = 10, 400
#: The smallest part, as a share of the control, and the smallest weight, over one row of the larger set.
SMALLEST, LIGHTEST = 0.5, 1e-3


def stretch(met: Array, size: int, wanted: int) -> float:
    """What a count of conditions that single out among `size` rows is multiplied by for `wanted` rows.

    met: (k,) rows of `size` that each condition holds for. Between size / wanted and wanted / size, or the other way round; 1
    where the sizes are equal, or where no condition singles out among any part."""
    if size == wanted:
        return 1.0
    sizes = np.unique(np.linspace(max(SMALLEST * size, 1), size, SIZES).round())
    successes = np.array([alone(met, size, int(n)).sum() for n in sizes])
    if not successes.any():
        return 1.0
    # Given the weight the other parameter is a least-squares scale, which falls out of the ratio; so one is searched for.
    models = [(weight, integral(sizes, weight)) for weight in np.geomspace(LIGHTEST / max(size, wanted), 1.0, WEIGHTS)]
    misses = [float(((successes - model * (model @ successes) / (model @ model)) ** 2).sum()) for _, model in models]
    best = models[int(np.argmin(misses))][0]
    found = float(integral(np.array([wanted]), best)[0] / integral(np.array([size]), best)[0])
    low, high = sorted((size / wanted, wanted / size))
    return min(max(found, low), high)


def alone(met: Array, size: int, part: int) -> Array:
    """Chance that a condition holds for exactly one row of a part of a set: (k,) -> (k,).

    met: (k,) rows of the whole set of `size` that it holds for; the part has `part` rows, drawn without replacement."""
    met = np.asarray(met, dtype=float)
    able = (met >= 1) & (size - met >= part - 1)
    k = np.where(able, met, 1.0)
    room = np.where(able, size - k, part - 1.0)
    log = np.log(k) + _choose(room, part - 1) - _choose(np.array(float(size)), part)
    return np.where(able, np.exp(log), 0.0)


def _choose(n: Array, k: int) -> Array:
    """Logarithm of how many sets of k there are of n."""
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def integral(n: Array, weight: float) -> Array:
    """Chance to single out among n rows, n w (1 - w)^(n - 1), summed over weights w from 0 to `weight`: (m,) -> (m,).

    The weight of a condition is the chance that it holds for a row. Source: Cohen and Nissim 2020 (arXiv 1904.06009)."""
    n = np.asarray(n, dtype=float)
    rest = np.exp(n * np.log1p(-min(weight, 1 - 1e-12)))
    return np.asarray((1 - (1 + n * weight) * rest) / (n + 1))
