"""Do synthetic windows look like real ones: in their readings, how these go on, which channels move together, as a whole?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from data.windows import Windows
from validators._pictures_features import judged_rows
from validators._series_features import FARTHEST, Measured, Planes
from validators._series_measures import gapless, power_of
from validators._utility_folds import folds_of
from validators.base import Culprit, Evidence, Finding, figures_of
from validators.fidelity import CHECK, _auc, _hanley
from validators.sides import sides

Array = np.ndarray[Any, Any]

#: Figures a plan may limit, all from above.
FIGURES = ("c2st_auc", "predictive", "marginals", "autocorrelation", "cross_correlation", "spectrum")
#: Windows a side, at least and at most.
LEAST, MOST = 20, 600
#: Lags of autocorrelations at most, bands of spectra, folds, and how strongly the classifier is held back.
LAGS, BANDS, FOLDS, RIDGE = 24, 6, 4, 1.0
#: Readings by which the next one is foretold, and moments that the model learns from and is tested on.
LAST, MOMENTS = 6, 20_000


@dataclass(frozen=True)
class Figures:
    """One set beside the holdout. marginals: of each channel the greatest difference of distribution functions (KS), or half
    the sum of differences of shares (TV) of levels; autocorrelation, cross_correlation: mean difference of the windows' mean
    correlations; spectrum: mean difference of their mean power in bands, in powers of ten; c2st_auc with its 95 % interval;
    error: mean error of the next reading, in deviations, NaN where windows are too short."""

    channels: dict[str, float]
    autocorrelation: float
    cross_correlation: float
    spectrum: float
    c2st_auc: float
    c2st_ci: tuple[float, float]
    error: float

    @property
    def marginals(self) -> float:
        return float(np.mean(list(self.channels.values())))


@dataclass(frozen=True)
class SeriesFidelityCheck:
    """What channels read, autocorrelations, correlations of channels, spectra; a classifier told real from synthetic (C2ST),
    and a model of the next reading that learned from synthetic windows (the predictive score).

    The classifier is a ridge on MiniRocket's features and what can be read of a window, tested on entities it has not seen.
    It reports: a target "equal to real" would fail every good generator on large data. It blocks only where the plan sets
    limits["fidelity"], a most of any of `FIGURES`. Beside each stands the same of as many reference windows.

    Source: discriminative and predictive scores, Yoon, Jarrett and van der Schaar 2019 (TimeGAN), section 5; C2ST, Lopez-Paz
    and Oquab 2017."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; too few windows give SKIPPED."""
        limits = check_limits(evidence.intent.limits.get(CHECK, {}))
        held: Mapping[str, Windows] | None = evidence.memo.get("windows")
        at = sides(evidence)
        size = min(len(at.h), len(at.whole), at.reference.num_rows, MOST)
        if held is None or size < LEAST:
            return Finding(CHECK, "SKIPPED", summary=f"{LEAST} windows a side are needed to compare their looks")
        rng = np.random.default_rng([evidence.intent.seed, 97])
        places = {
            "holdout": judged_rows(evidence, evidence.holdout)[rng.permutation(at.h)[:size]],
            "synthetic": at.places[rng.permutation(at.whole)[:size]],
            "reference": judged_rows(evidence, evidence.reference)[rng.permutation(at.reference.num_rows)[:size]],
        }
        seen = {name: Seen.of(evidence, name, rows) for name, rows in places.items()}
        made, real = (figures(seen["holdout"], seen[name], evidence.intent.seed) for name in ("synthetic", "reference"))
        return _finding(made, real, limits, size)


def check_limits(stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limits; raises DataError for a figure that does not exist."""
    return figures_of(CHECK, stated, FIGURES, "for series there are")


@dataclass(frozen=True)
class Seen:
    """Windows as they are compared. laid: (n, channels, t) numbers in deviations of train, without gaps, and positions of
    levels; features: (n, d); groups: (n,), the same for windows of one entity."""

    held: Windows
    laid: Array
    features: Array
    groups: Array

    @classmethod
    def of(cls, evidence: Evidence, side: str, rows: Array) -> Seen:
        """The windows of a side at these positions."""
        train, held = evidence.memo["windows"]["train"], evidence.memo["windows"][side].take(rows)
        planes = Planes.of(train)
        measured: dict[str, Measured] = evidence.memo["features"]
        laid = gapless(held.values, held.lengths)
        numbers = [c for c, levels in enumerate(held.levels) if not levels]
        laid[:, numbers] = (laid[:, numbers] - planes.middle[numbers, None]) / planes.width[numbers, None]
        return cls(held, laid, _features(measured["train"], measured[side].take(rows)), measured[side].groups[rows])

    @property
    def numbers(self) -> list[int]:
        """Channels that are no levels."""
        return [c for c, levels in enumerate(self.held.levels) if not levels]


def _features(train: Measured, side: Measured) -> Array:
    """MiniRocket's features and what can be read of a window, in deviations of train, each kind by its number: (n, d)."""
    parts = []
    for fit, raw in ((train.looks, side.looks), *[tuple(np.stack(list(m.read.values()), 1) for m in (train, side))]):
        middle, width = np.nanmean(fit, axis=0), np.nanstd(fit, axis=0)
        scaled = np.clip((raw - middle) / np.where(width > 0, width, 1.0), -FARTHEST, FARTHEST)
        parts.append(np.nan_to_num(scaled) / np.sqrt(raw.shape[1]))
    return np.concatenate(parts, axis=1)


def figures(real: Seen, other: Seen, seed: int) -> Figures:
    """All figures of `other` windows beside unseen real ones."""
    auc, interval = c2st(real, other, seed)
    apart = [np.abs(what(real) - what(other)) for what in (autocorrelations, correlations, spectra)]
    together = [float(each.mean()) if each.size else 0.0 for each in apart]
    return Figures(
        channels={name: _marginal(real, other, c) for c, name in enumerate(real.held.channels)},
        autocorrelation=together[0],
        cross_correlation=together[1],
        spectrum=together[2],
        c2st_auc=auc,
        c2st_ci=interval,
        error=foretold(other, real, seed),
    )


def _marginal(real: Seen, other: Seen, c: int) -> float:
    read = [side.held.values[:, c][np.isfinite(side.held.values[:, c])] for side in (real, other)]
    if not all(map(len, read)):
        return 0.0 if not any(map(len, read)) else 1.0
    if count := len(real.held.levels[c]):
        shares = [np.bincount(np.clip(each, 0, count - 1).astype(int), minlength=count) / len(each) for each in read]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)
    from scipy.stats import ks_2samp

    return float(ks_2samp(*read, method="asymp").statistic)


def autocorrelations(side: Seen) -> Array:
    """The windows' mean correlation of a channel's readings with those so many before: (channels of numbers, lags)."""
    lags = range(1, max(2, min(LAGS, int(np.median(side.held.lengths)) // 4) + 1))
    read = _centred(side)
    whole = np.maximum((read**2).sum(axis=2), 1e-12)
    return np.array([((read[:, :, lag:] * read[:, :, :-lag]).sum(axis=2) / whole).mean(axis=0) for lag in lags]).T


def correlations(side: Seen) -> Array:
    """The windows' mean correlation of each two channels of numbers: (pairs,)."""
    read = _centred(side)
    size = np.sqrt((read**2).sum(axis=2))
    every = np.einsum("nct,ndt->ncd", read, read) / np.maximum(size[:, :, None] * size[:, None, :], 1e-12)
    return np.asarray(every.mean(axis=0)[np.triu_indices(read.shape[1], 1)])


def _centred(side: Seen) -> Array:
    """Numbers about the middle of each window, 0 behind its end: (n, channels of numbers, t)."""
    inside = side.held.inside[:, None, :]
    read = np.where(inside, side.laid[:, side.numbers], 0)
    return np.asarray(np.where(inside, read - read.sum(axis=2, keepdims=True) / side.held.lengths[:, None, None], 0))


def spectra(side: Seen) -> Array:
    """Log of the windows' mean power in bands of frequencies: (channels of numbers, bands), in powers of ten."""
    longest = int(side.held.lengths.max())
    edges = np.geomspace(2 / max(longest, 8), 0.5, BANDS)[:-1]
    total, count = np.zeros((len(side.numbers), BANDS)), np.zeros(BANDS)
    for length in np.unique(side.held.lengths[side.held.lengths >= 4]):
        rows = np.flatnonzero(side.held.lengths == length)
        band = np.searchsorted(edges, np.arange(1, length // 2 + 1) / length, side="right")
        count += len(rows) * np.bincount(band, minlength=BANDS)
        for i, c in enumerate(side.numbers):
            total[i] += np.bincount(band, weights=power_of(side.laid[rows, c, :length]).sum(axis=0) / length, minlength=BANDS)
    return np.asarray(np.log10(np.maximum(total / np.maximum(count, 1), 1e-9)))


def c2st(real: Seen, other: Seen, seed: int) -> tuple[float, tuple[float, float]]:
    """AUC of a cross-fitted ridge that tells real windows from others, entities whole in a fold, with a 95 % interval.

    0.5: it cannot tell them apart. Interval of Hanley and McNeil 1982, as if every window were a witness of its own."""
    x = np.concatenate([real.features, other.features])
    y = np.repeat([0, 1], [len(real.features), len(other.features)])
    groups = np.concatenate([real.groups, other.groups + int(real.groups.max()) + 1])
    fold = folds_of(y, groups, FOLDS, seed)
    aucs, weights = [], []
    for k in range(FOLDS):
        held = fold == k
        if min(np.bincount(y[held], minlength=2)) < 1 or min(np.bincount(y[~held], minlength=2)) < 2:
            continue
        score = _ridge(x[~held], y[~held], x[held])
        aucs.append(_auc(score[y[held] == 0], score[y[held] == 1]))
        weights.append(int(held.sum()))
    auc = float(np.average(aucs, weights=weights)) if aucs else 0.5
    half = 1.96 * _hanley(auc, len(real.features), len(other.features))
    return auc, (max(0.0, auc - half), min(1.0, auc + half))


def _ridge(x: Array, y: Array, asked: Array) -> Array:
    """What a ridge regression of y, both classes weighing the same, gives for the asked: (n, d), (n,), (m, d) -> (m,)."""
    root = np.sqrt(len(y) / 2 / np.bincount(y, minlength=2))[y]
    middle = np.average(x, axis=0, weights=root**2)
    left = (x - middle) * root[:, None]
    weight = left.T @ np.linalg.solve(left @ left.T + RIDGE * np.eye(len(y)), root * (2.0 * y - 1))
    return np.asarray((asked - middle) @ weight)


def foretold(learned: Seen, tested: Seen, seed: int) -> float:
    """Mean error of the next reading, in deviations of train, of a linear model that learned from one set, on the other."""
    fit, test = (_moments(side, np.random.default_rng([seed, 101, i])) for i, side in enumerate((learned, tested)))
    if fit is None or test is None:
        return float("nan")
    x, y = fit
    weight = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1]), x.T @ y)
    return float(np.abs(test[0] @ weight - test[1]).mean())


def _moments(side: Seen, rng: np.random.Generator) -> tuple[Array, Array] | None:
    """Moments of windows: the LAST readings before of every channel with a 1 behind them, and what the numbers then read."""
    n, channels, t = side.laid.shape
    if t <= LAST or not side.numbers:
        return None
    window, at = np.nonzero(np.arange(LAST, t)[None, :] < side.held.lengths[:, None])
    some = np.sort(rng.permutation(len(window))[:MOMENTS])
    if not len(some):
        return None
    window, at = window[some], at[some] + LAST
    before = side.laid[window[:, None], :, at[:, None] - np.arange(1, LAST + 1)].reshape(len(some), LAST * channels)
    return np.concatenate([before, np.ones((len(some), 1))], axis=1), side.laid[window, :, at][:, side.numbers]


def _plain(found: Figures, base: float) -> dict[str, Any]:
    """The figures that a plan may limit, and the interval. base: the error of a model that learned from real windows."""
    ratio = found.error / base if np.isfinite(found.error) and base > 1e-12 else None
    out: dict[str, Any] = {name: getattr(found, name) for name in FIGURES if name != "predictive"}
    return out | {"predictive": ratio, "c2st_ci": list(found.c2st_ci), "error": found.error if ratio is not None else None}


def _finding(made: Figures, real: Figures, limits: Mapping[str, float], size: int) -> Finding:
    told, beside = (_plain(each, real.error) for each in (made, real))
    crossed = [name for name, limit in limits.items() if told[name] is not None and told[name] > limit]
    unseen = [name for name in limits if told[name] is None]
    lead = next(iter([*crossed, *unseen, *limits]), FIGURES[0])
    said = (
        f"C2ST AUC {made.c2st_auc:.2f} (real windows: {real.c2st_auc:.2f}); marginals differ by {made.marginals:.2f} "
        f"({real.marginals:.2f}), autocorrelations by {made.autocorrelation:.2f} ({real.autocorrelation:.2f}), correlations of "
        f"channels by {made.cross_correlation:.2f} ({real.cross_correlation:.2f})"
    )
    if told["predictive"] is not None:
        said += f"; the next reading is foretold with {told['predictive']:.2f} of the error of real windows"
    if crossed:
        said = f"{lead} is {told[lead]:.3g}, above the plan's limit of {limits[lead]:.3g}; {said}"
    elif unseen:
        said = f"{lead} cannot be measured on these windows, but the plan limits it to {limits[lead]:.3g}; {said}"
    return Finding(
        CHECK,
        "BLOCK" if crossed else "INCONCLUSIVE" if unseen else "PASS",
        value=told[lead],
        limit=limits.get(lead),
        reference=beside[lead],
        summary=said,
        culprits=tuple(_culprits(made, real, list(made.channels))) if crossed else (),
        details={
            "figure": lead,
            "windows": size,
            "synthetic": told,
            "real": beside,
            "channels": {name: [value, real.channels[name]] for name, value in made.channels.items()},
        },
    )


def _culprits(made: Figures, real: Figures, names: Sequence[str]) -> Iterator[Culprit]:
    """The channels whose readings look least real."""
    for name in sorted(names, key=lambda one: -made.channels[one])[:10]:
        yield Culprit(cell=f"readings of {name}", expected=real.channels[name], observed=made.channels[name])
