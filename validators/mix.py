"""How is a set with an intended class mix compared with one that has the real mix?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Schema
from validators.base import Evidence, Intent
from validators.stats import Array


@dataclass(frozen=True)
class Classes:
    """The classes under judgement and where their rows are.

    names: stripped text of each class; shares: intended share of each, None when the real mix is intended;
    holdout, synthetic, reference: (n,) position of each row's class in `names`, -1 where it has none."""

    names: tuple[str, ...]
    shares: Array | None
    reference: Array
    holdout: Array
    synthetic: Array


def intended(intent: Intent, schema: Schema) -> dict[Any, float] | None:
    """Intent.mix with the classes in the data's own spelling, without those of no share, summing to one.

    Raises DataError for a mix without a target, an unknown class, or shares that are not shares."""
    if intent.mix is None:
        return None
    if not schema.classes():
        raise DataError("an intended mix is given, but no categorical target is named; name the target or drop the mix")
    column = schema[str(schema.target)]
    mix = {column.level(name): float(share) for name, share in intent.mix.items()}
    total = sum(mix.values())
    if any(not np.isfinite(s) or s < 0 for s in mix.values()) or not 0.99 <= total <= 1.01:
        raise DataError(f"the intended mix must hold shares from 0 to 1 that sum to 1, but it sums to {total:g}")
    return {level: share / total for level, share in mix.items() if share > 0}


def restrict(evidence: Evidence) -> Evidence:
    """The evidence without the real rows of classes that the intended mix leaves out.

    Synthetic rows keep their places, so that a report can name them; `classes` gives those of other classes -1."""
    mix = intended(evidence.intent, evidence.reference.schema)
    if mix is None:
        return evidence
    wanted = np.array([level in mix for level in evidence.reference.schema.classes()] + [False])

    def keep(rows: Dataset) -> Dataset:
        inside = wanted[rows.labels()]
        return rows if inside.all() else rows.take(np.flatnonzero(inside))

    train = keep(evidence.train)
    reference = train if evidence.reference is evidence.train else keep(evidence.reference)
    return replace(evidence, train=train, reference=reference, holdout=keep(evidence.holdout))


def classes(evidence: Evidence) -> Classes | None:
    """The classes of restricted evidence; None when there is no categorical target."""
    schema = evidence.reference.schema
    if not schema.classes():
        return None
    mix = intended(evidence.intent, schema)
    levels = [level for level in schema.classes() if mix is None or level in mix]
    place = np.full(len(schema.classes()) + 1, -1, dtype=np.int16)
    for i, level in enumerate(levels):
        place[schema.classes().index(level)] = i
    return Classes(
        names=tuple(str(level).strip() for level in levels),
        shares=None if mix is None else np.array([mix[level] for level in levels]),
        reference=place[evidence.reference.labels()],
        holdout=place[evidence.holdout.labels()],
        synthetic=place[evidence.synthetic.labels()],
    )


def thin(holdout: Array, synthetic: Array, seed: int) -> Array:
    """Which rows of the synthetic set to keep so that its class mix is the holdout's: (m,) bool.

    holdout, synthetic: class of each row. A class the synthetic set has none of cannot be matched and is left out:
    its own cell tells of it. The draw looks at the class alone, so tests of other cells stay exact."""
    size = int(max(holdout.max(initial=-1), synthetic.max(initial=-1))) + 1
    real = np.bincount(holdout[holdout >= 0], minlength=size)
    fake = np.bincount(synthetic[synthetic >= 0], minlength=size)
    shared = (real > 0) & (fake > 0)
    keep = np.zeros(len(synthetic), dtype=bool)
    if not shared.any():
        return keep
    factor = float(np.min(fake[shared] / real[shared]))
    rng = np.random.default_rng([seed, 7])
    for y in np.flatnonzero(shared):
        keep[_draw(rng, np.flatnonzero(synthetic == y), int(factor * real[y]))] = True
    return keep


def compared(evidence: Evidence, found: Classes | None) -> tuple[Array, Array | None]:
    """The rows that may be compared as whole sets: positions in the holdout, and a mask of the synthetic rows, None for all.

    When a mix is intended the synthetic rows are thinned to the holdout's class mix. evidence: restricted; found: its
    classes."""
    h = np.arange(evidence.holdout.num_rows)
    if found is None or found.shares is None:
        return h, None
    made = np.unique(found.synthetic[found.synthetic >= 0])
    return h[np.isin(found.holdout, made)], thin(found.holdout, found.synthetic, evidence.intent.seed)


def judged(classes: Sequence[str], intent: Intent) -> Array:
    """Positions of the classes under judgement: all, or those with a share in the intended mix."""
    if intent.mix is None:
        return np.arange(len(classes))
    shares = {str(level).strip(): float(share) for level, share in intent.mix.items()}
    return np.flatnonzero([shares.get(name.strip(), 0.0) > 0 for name in classes])


def refuse_unseen(evidence: Evidence, under: Array, unit: str) -> None:
    """Raises DataError for a class under judgement, by its position, of which there is no real picture or window (`unit`)."""
    if evidence.intent.mix is None:
        return
    for role in ("reference", "holdout"):
        labels = getattr(evidence, role).labels()
        for k in under:
            if not (labels == k).any():
                name = evidence.reference.schema.classes()[int(k)]
                raise DataError(
                    f"class {name!r} has a share in the intended mix but no {role} {unit}s; add some, or give it no share"
                )


def _draw(rng: np.random.Generator, rows: Array, count: int) -> Array:
    return rows if count >= len(rows) else rng.choice(rows, size=count, replace=False)
