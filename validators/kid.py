"""Do the synthetic pictures look like real ones as a whole, and class by class?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from validators._pictures_features import Measured, judged_rows
from validators.base import Culprit, Evidence, Finding, figures_of
from validators.sides import sides

Array = np.ndarray[Any, Any]

CHECK = "fidelity"
#: Figures a plan may limit.
FIGURES = ("kid",)
#: Pictures a side, at least and at most.
LEAST, MOST = 5, 1000
#: Fewer pictures than this to a direction leave the Frechet distance more bias than distance.
PICTURES_A_DIRECTION = 50
DIRECTIONS = 32
SURE = 1.96
#: Deviations from the middle beyond which a feature counts as no farther.
FARTHEST = 5.0


@dataclass(frozen=True)
class Distance:
    """One figure with its 95 % interval."""

    value: float
    low: float
    high: float


def kid(real: Array, made: Array) -> Distance:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3: (n, d), (m, d), n and m > 2.

    About 0 for two sets of one law, above or below. The interval is of the jackknife over the pictures of both sets.
    Source: Binkowski et al. 2018, Demystifying MMD GANs, section 4; jackknife: Arvesen 1969 for U-statistics."""
    n, m, d = len(real), len(made), real.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((real, real), (made, made), (real, made)))
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)]
    value = within[0] + within[1] - 2 * xy.mean()
    # What the statistic would be without each one picture.
    sums = [k.sum(axis=1) - np.diag(k) for k in (xx, yy)]
    without_x = (within[0] * n * (n - 1) - 2 * sums[0]) / ((n - 1) * (n - 2)) + within[1]
    without_x -= 2 * (xy.sum() - xy.sum(axis=1)) / ((n - 1) * m)
    without_y = (within[1] * m * (m - 1) - 2 * sums[1]) / ((m - 1) * (m - 2)) + within[0]
    without_y -= 2 * (xy.sum() - xy.sum(axis=0)) / (n * (m - 1))
    variance = sum((len(part) - 1) * float(part.var()) for part in (without_x, without_y))
    half = SURE * math.sqrt(variance)
    return Distance(float(value), float(value) - half, float(value) + half)


def fid(real: Array, made: Array) -> float:
    """Frechet distance of two Gaussians fitted to (n, d) and (m, d): |a - b|^2 + tr(A + B - 2 (A B)^(1/2)).

    Its bias shrinks with 1/n only: compare equal sizes alone. Source: Heusel et al. 2017, section 3."""
    middles = [side.mean(axis=0) for side in (real, made)]
    covers = [np.atleast_2d(np.cov(side, rowvar=False)) for side in (real, made)]
    # The eigenvalues of A B are those of a symmetric matrix, so that no root is complex.
    values, vectors = np.linalg.eigh(covers[0])
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covers[1] @ root).clip(min=0)).sum()
    return float(((middles[0] - middles[1]) ** 2).sum() + np.trace(covers[0]) + np.trace(covers[1]) - 2 * shared)


@dataclass(frozen=True)
class Likeness:
    """One scope: the distance of holdout and synthetic pictures, and of holdout and reference ones, all of `size`."""

    name: str
    size: int
    made: Distance
    real: Distance | None

    def plain(self) -> dict[str, Any]:
        real = None if self.real is None else self.real.value
        return {
            "name": self.name,
            "pictures": self.size,
            "kid": self.made.value,
            "kid_ci": [self.made.low, self.made.high],
            "kid_real": real,
            "kid_real_ci": None if self.real is None else [self.real.low, self.real.high],
        }


@dataclass(frozen=True)
class PictureFidelityCheck:
    """Kernel distance (KID) of synthetic to unseen real pictures with its interval, beside that of real to real pictures of
    the same size, whole and class by class; and the Frechet distance (FID), which few pictures bias.

    It reports: a target "equal to real" would fail every good generator on large data. It blocks only where the plan sets
    `limits["fidelity"]["kid"]`, the most that the distance of the whole set may be."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; too few pictures give SKIPPED."""
        limits = check_limits(evidence.intent.limits.get(CHECK, {}))
        found = list(_likenesses(evidence))
        if not found:
            return Finding(CHECK, "SKIPPED", summary=f"{LEAST} pictures a side are needed to compare their looks")
        return _finding(found, _frechet(evidence, found[0].size), limits, evidence)


def check_limits(stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limits; raises DataError for a figure that does not exist."""
    return figures_of(CHECK, stated, FIGURES, "for pictures there is")


def _likenesses(evidence: Evidence) -> Iterator[Likeness]:
    """The whole set first, then each class that has pictures enough."""
    clouds, at = _clouds(evidence), sides(evidence)
    for place, (name, r, h, s) in enumerate(at.scopes()):
        if place and len(at.names) < 2:
            continue
        rng = np.random.default_rng([evidence.intent.seed, 61, place])
        size = min(len(h), len(s), MOST)
        if size < LEAST:
            continue
        unseen = clouds["holdout"][rng.permutation(h)[:size]]
        made = kid(unseen, clouds["synthetic"][at.places[rng.permutation(s)[:size]]])
        few = min(size, len(r))
        real = kid(unseen, clouds["reference"][rng.permutation(r)[:few]]) if few >= LEAST else None
        yield Likeness(name, size, made, real)


def _clouds(evidence: Evidence) -> dict[str, Array]:
    """The features of each side, in deviations of the reference: (n, d) float64, row by row as in `sides`.

    What a few reference pictures hardly vary in would drown the rest in others: deviations have a floor, values a ceiling."""
    held: dict[str, Measured] = evidence.memo["features"]
    rows = {name: judged_rows(evidence, getattr(evidence, name)) for name in ("reference", "holdout")}
    reference = held["reference"].looks[rows["reference"]].astype(np.float64)
    middle, width = reference.mean(axis=0), reference.std(axis=0)
    width = np.maximum(width, 0.1 * float(np.median(width)) + 1e-9)
    raw = {name: held[name].looks[places] for name, places in rows.items()} | {"synthetic": held["synthetic"].looks}
    return {name: np.clip((side - middle) / width, -FARTHEST, FARTHEST) for name, side in raw.items()}


def _frechet(evidence: Evidence, size: int) -> dict[str, Any]:
    """FID of equal numbers of pictures, in as few directions as they can bear."""
    clouds, at = _clouds(evidence), sides(evidence)
    rng = np.random.default_rng([evidence.intent.seed, 67])
    few = min(size, at.reference.num_rows)
    kept = int(np.clip(few // PICTURES_A_DIRECTION, 2, DIRECTIONS))
    if few < LEAST:
        return {}
    axes = np.linalg.svd(clouds["reference"], full_matrices=False)[2][:kept].T
    flat = {name: cloud @ axes for name, cloud in clouds.items()}
    h, r, s = (rng.permutation(side)[:few] for side in (at.h, np.arange(at.reference.num_rows), at.places[at.whole]))
    real = flat["holdout"][h]
    return {
        "fid": fid(real, flat["synthetic"][s]),
        "fid_real": fid(real, flat["reference"][r]),
        "fid_pictures": few,
        "fid_directions": kept,
    }


def _finding(found: list[Likeness], frechet: Mapping[str, Any], limits: Mapping[str, float], evidence: Evidence) -> Finding:
    whole, limit = found[0], limits.get("kid")
    crossed = limit is not None and whole.made.value > limit
    beside = f", real pictures {whole.real.value:.2g}" if whole.real is not None else ""
    said = (
        f"KID {whole.made.value:.2g} ({whole.made.low:.2g} to {whole.made.high:.2g}) over {whole.size} pictures a side{beside}"
    )
    if crossed:
        said = f"KID is {whole.made.value:.2g}, above the plan's limit of {limit:.2g}; {said}"
    name, digest = evidence.memo.get("extractor", ("", ""))
    return Finding(
        CHECK,
        "BLOCK" if crossed else "PASS",
        value=whole.made.value,
        limit=limit,
        reference=None if whole.real is None else whole.real.value,
        summary=said,
        culprits=tuple(_culprits(found)) if crossed else (),
        details={
            "figure": "kid",
            "scopes": [each.plain() for each in found],
            **frechet,
            **({"fid_remark": REMARK} if frechet else {}),
            "extractor": name,
            "extractor_sha256": digest,
        },
    )


REMARK = "few pictures bias the FID upwards: it compares only with the FID of real pictures beside it"


def _culprits(found: list[Likeness]) -> Iterator[Culprit]:
    """The classes that look least real."""
    for each in sorted(found[1:] or found, key=lambda one: -one.made.value)[:10]:
        real = 0.0 if each.real is None else each.real.value
        yield Culprit(cell=each.name, expected=real, observed=each.made.value)
