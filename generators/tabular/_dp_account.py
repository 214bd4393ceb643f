"""How much of a privacy budget does a fit spend, and how much noise does a budget ask for?

Mechanisms are Gaussian or exponential ones. Neighbours differ by one row, which is there or not (add or remove)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from generators.base import GeneratorError

#: How near a found noise or budget is to the one asked for, as a share of it; it is never above.
NEAR = 1e-3
#: Error of the numerical accountant in epsilon, as a share of a rough figure of it.
ERROR = 0.005
#: Steps beyond which the numerical accountant takes gigabytes: the bound by moments stands there, some percent above it.
MANY = 20_000
#: Noise above which a budget buys nothing.
MOST = 1e5


@dataclass(frozen=True)
class Part:
    """Gaussian noise on a sum over a Poisson sample of the rows.

    noise: standard deviation over the most that one row can change the sum (L2); rate: chance of each row to be in a sample;
    steps: how often."""

    noise: float
    rate: float = 1.0
    steps: int = 1


def spent(parts: Sequence[Part], delta: float) -> float:
    """Epsilon of all parts together at this delta, an upper bound.

    Parts without sampling are one Gaussian mechanism, whose epsilon is known in closed form; with sampling the privacy loss is
    composed numerically.

    Sources: Balle and Wang 2018 (arXiv 1805.06530), theorem 8; Gopi et al. 2021 (arXiv 2106.02848), as in Opacus."""
    whole = [p for p in parts if p.rate >= 1 and p.steps]
    sampled = [p for p in parts if p.rate < 1 and p.steps]
    rough = sum(p.steps / p.noise**2 for p in whole)
    if not sampled:
        return gaussian_epsilon(math.sqrt(rough), delta) if rough else 0.0
    history = [(p.noise, p.rate, p.steps) for p in sampled] + ([(1 / math.sqrt(rough), 1.0, 1)] if rough else [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a rate of 1, and of the orders that are tried
        return _composed(history, delta)


def _composed(history: Sequence[tuple[float, float, int]], delta: float) -> float:
    """history: noise, rate and steps, as Opacus has them."""
    from opacus.accountants import PRVAccountant, RDPAccountant

    moments, accountant = RDPAccountant(), PRVAccountant()
    moments.history = accountant.history = list(history)
    above = float(moments.get_epsilon(delta))
    if sum(steps for *_, steps in history) > MANY:
        return above
    # An error that is small beside the figure; the accountant answers with an upper bound.
    return min(above, float(accountant.get_epsilon(delta, eps_error=max(ERROR * above, 1e-4))))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon of a Gaussian mechanism whose sensitivity is `mu` standard deviations (Balle and Wang 2018, theorem 8)."""
    return _least(lambda epsilon: gaussian_delta(mu, epsilon) <= delta, 0.0, 1.0)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Delta of a Gaussian mechanism at this epsilon."""
    from scipy.stats import norm

    if mu <= 0:
        return 0.0
    # In logarithms: e to the epsilon may be too large for a number where the probability beside it is 0.
    other = math.exp(min(epsilon + float(norm.logcdf(-mu / 2 - epsilon / mu)), 0.0))
    return float(norm.cdf(mu / 2 - epsilon / mu)) - other


def noise_for(epsilon: float, delta: float, *, rate: float, steps: int, beside: Sequence[Part] = ()) -> float:
    """The least noise with which so many steps, and what is spent beside them, stay within the budget.

    Raises GeneratorError when what is spent beside them leaves nothing, or when no noise below MOST is enough."""
    if beside and spent(beside, delta) >= epsilon:
        raise GeneratorError(f"epsilon {epsilon:g} is spent before training; give more, or state the bounds of columns")
    if spent([*beside, Part(MOST, rate, steps)], delta) > epsilon:
        raise GeneratorError(f"epsilon {epsilon:g} is too small for {steps} steps at any noise; give more, or train shorter")
    return _least(lambda noise: spent([*beside, Part(noise, rate, steps)], delta) <= epsilon, 0.0, 1.0)


def rho_for(epsilon: float, delta: float) -> float:
    """The most zero-concentrated budget that keeps (epsilon, delta).

    Sources: Bun and Steinke 2016 (arXiv 1605.02065); the conversion is that of Canonne, Kamath and Steinke 2020
    (arXiv 2004.00010), corollary 13."""
    return 1 / _least(lambda inverse: rho_epsilon(1 / inverse, delta) <= epsilon, 0.0, 1.0)


def rho_epsilon(rho: float, delta: float) -> float:
    """Epsilon at this delta of a mechanism that is `rho` zero-concentrated."""
    if rho <= 0:
        return 0.0

    def at(alpha: float) -> float:
        return rho * alpha + math.log1p(-1 / alpha) - (math.log(delta) + math.log(alpha)) / (alpha - 1)

    from scipy.optimize import minimize_scalar

    # Over the logarithm of alpha - 1, in which it is convex enough for a search.
    found = minimize_scalar(lambda u: at(1 + math.exp(u)), bounds=(-12.0, 24.0), method="bounded", options={"xatol": 1e-6})
    return max(float(found.fun), 0.0)


def _least(enough: Callable[[float], bool], low: float, high: float) -> float:
    """The least number that is enough, found from above to within NEAR of it."""
    while not enough(high):
        low, high = high, 2 * high
        if high > 1e9:
            raise GeneratorError("no such budget can be kept; give a larger epsilon or delta")
    while high - low > NEAR * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
