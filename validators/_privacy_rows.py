"""Whom is an attack tried on, and with which rows in hand?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.dataset import Dataset
from validators._privacy_roles import Roles
from validators._privacy_space import Space
from validators.base import Evidence, Finding, Privacy
from validators.points import drawn, keys
from validators.sides import Sides, sides
from validators.stats import Array
from validators.yardstick import overlap

#: Targets on either side: training rows, and unseen rows that stand beside them.
TARGETS, LEAST = 2000, 50
#: Synthetic rows in an attacker's hand: so many, and so many cells of points.
MADE, CELLS = 60_000, 12_000_000
#: Rows of unseen people that an attacker may hold (`Attacked.others`), where they are no training rows.
OTHERS, LEAST_OTHERS = 20_000, 200


@dataclass(frozen=True)
class Attacked:
    """What all attacks share. train, holdout: (n) rows each, the targets, of one group at most one row;
    made: synthetic rows, no two equal ones; others: real rows that are neither training rows nor
    holdout, None where there are none."""

    at: Sides
    roles: Roles
    space: Space
    train: Dataset
    holdout: Dataset
    made: Dataset
    others: Dataset | None
    seed: int

    @property
    def rows(self) -> int:
        """Targets on either side."""
        return self.train.num_rows

    @cached_property
    def points(self) -> tuple[Array, Array, Array]:
        """Train targets, holdout targets and synthetic rows as points: (n, d), (n, d), (m, d)."""
        train, holdout, made = (self.space.points(rows) for rows in (self.train, self.holdout, self.made))
        return train, holdout, made

    def rng(self, salt: int) -> np.random.Generator:
        """Randomness of one attack's own."""
        return np.random.default_rng([self.seed, 101, salt])


def attacked(evidence: Evidence) -> Attacked:
    """The rows under attack; made at the first call and kept in the evidence's memo.

    Raises DataError for quasi-identifiers or secrets that are not there."""
    if "attacked" not in evidence.memo:
        evidence.memo["attacked"] = _make(evidence)
    made: Attacked = evidence.memo["attacked"]
    return made


def too_few(check: str, seen: Attacked) -> Finding | None:
    """SKIPPED where the targets are too few to attack."""
    if min(seen.rows, seen.made.num_rows) >= LEAST:
        return None
    return Finding(
        check,
        "SKIPPED",
        summary=f"{seen.rows} training and unseen rows, and {seen.made.num_rows} different synthetic ones, are too few to "
        f"attack; {LEAST} of each are needed",
    )


def _make(evidence: Evidence) -> Attacked:
    roles = Roles.of(evidence.reference.schema, evidence.intent.privacy or Privacy())
    at, rng = sides(evidence), np.random.default_rng([evidence.intent.seed, 103])
    train, holdout = (_one_of_each(rows, rng) for rows in (at.train, at.holdout))
    size = min(len(train), len(holdout), TARGETS)
    space = Space.fit(at.reference)
    # A row that is drawn twice is known once.
    _, first = np.unique(keys(at.sample), return_index=True)
    made = rng.permutation(first)[: min(MADE, max(CELLS // space.width, TARGETS))]
    return Attacked(
        at=at,
        roles=roles,
        space=space,
        train=at.train.take(rng.permutation(train)[:size]),
        holdout=at.holdout.take(rng.permutation(holdout)[:size]),
        made=at.sample.take(made),
        others=_others(evidence, at, rng),
        seed=evidence.intent.seed,
    )


def _one_of_each(rows: Dataset, rng: np.random.Generator) -> Array:
    """Positions of one row of each group, of all rows where there are no groups: rows of a person are not independent, and
    the holdout's other rows of the same person would tell on them."""
    order = rng.permutation(rows.num_rows)
    if (group := rows.schema.group) is None or group not in rows.schema:
        return order
    codes = rows.column(group).combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    known = ~np.isnan(codes.astype(float))
    _, first = np.unique(codes[order][known[order]], return_index=True)
    return np.concatenate([order[known[order]][first], order[~known[order]]])


def _others(evidence: Evidence, at: Sides, rng: np.random.Generator) -> Dataset | None:
    """The reference, where it is a set of its own."""
    own = evidence.reference is not evidence.train and at.reference.num_rows >= LEAST_OTHERS
    if not own or not overlap(at.train, at.reference).chance:
        return None
    return at.reference.take(drawn(at.reference.num_rows, OTHERS, rng))
