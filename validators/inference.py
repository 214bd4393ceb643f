"""Can a secret of a person be guessed from what is known of them by means of the synthetic rows?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from data.dataset import Dataset
from data.schema import Column
from validators._privacy_risk import Attack, judged
from validators._privacy_rows import Attacked, attacked, too_few
from validators._privacy_space import column_keys, numbers
from validators._utility_learners import one_thread
from validators.base import Evidence, Finding
from validators.points import nearest
from validators.stats import Array, listed

CHECK = "inference"
#: A guess of a number is right within this part of its deviation.
NEAR = 0.05
#: Synthetic rows that are searched for each secret.
SEARCHED = 20_000


@dataclass(frozen=True)
class InferenceCheck:
    """An attacker knows the quasi-identifiers of a person and takes the secret of the nearest synthetic row for theirs.

    A level is guessed right when it is the same, a number within 5 % of the column's deviation (the paper takes 5 % of the
    value, which depends on where a scale begins). Each secret is an attack of its own; where none is named the target and
    each other column in turn, twelve at most. The same is done for holdout rows (control): what follows from the table as a
    whole is learned of them too and is no leak. Naive guesses are secrets of random synthetic rows. Blocks where a risk,
    (attack - control) / (1 - control), is surely above .10: the lower end of its 95 % interval is, and Fisher's exact test of
    attack against control is significant at this check's share of alpha (Bonferroni over the secrets), which is then its rate
    of false alarms where nothing leaks. Warns from .05. At most 2,000 rows a side are attacked, with 20,000 synthetic rows.

    Source: Giomi et al. 2023, A Unified Framework for Quantifying Privacy Risk in Synthetic Data (PoPETs 2023(2)), section 5.3.
    """

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for columns that are not there; too few rows or columns give SKIPPED."""
        seen = attacked(evidence)
        if (short := too_few(CHECK, seen)) is not None:
            return short
        roles = seen.roles
        secrets = [name for name in roles.secrets if roles.known(name)]
        if not secrets:
            return Finding(CHECK, "SKIPPED", summary="there is a single column, and nothing to guess it from")
        made = seen.made.take(np.arange(min(seen.made.num_rows, SEARCHED)))
        attacks = [_attack(seen, made, seen.at.reference.schema[name]) for name in secrets]
        found = judged(CHECK, attacks, evidence, known=list(roles.quasi), synthetic_rows=made.num_rows, not_guessed=roles.left)
        return found


def _attack(seen: Attacked, made: Dataset, secret: Column) -> Attack:
    known = seen.roles.known(secret.name)
    places = seen.space.places(known)
    base = seen.points[2][: made.num_rows, places]
    right = _Right.of(seen, made, secret)
    hits = []
    for side in (0, 1):
        with one_thread():
            place = nearest(seen.points[side][:, places], base)[1][:, 0]
        hits.append(int(right(side, place).sum()))
    naive = int(right(0, seen.rng(2).integers(made.num_rows, size=seen.rows)).sum())
    return Attack(f"guessing {secret.name} from {_named(known)}", seen.rows, hits[0], hits[1], naive)


def _named(columns: list[str]) -> str:
    return listed(columns) if len(columns) <= 4 else f"{len(columns)} others"


@dataclass(frozen=True)
class _Right:
    """Which guesses are right. truth: of train and of holdout targets (n,), made: of synthetic rows (m,); far: how far a
    number may be off, None for levels."""

    truth: tuple[Array, Array]
    made: Array
    far: float | None

    @classmethod
    def of(cls, seen: Attacked, made: Dataset, secret: Column) -> _Right:
        if secret.discrete:
            train, holdout, own = (column_keys(rows, secret) for rows in (seen.train, seen.holdout, made))
            return cls((train, holdout), own, None)
        train, holdout, own = (numbers(rows, secret) for rows in (seen.train, seen.holdout, made))
        known = numbers(seen.at.reference, secret)
        known = known[np.isfinite(known)]
        return cls((train, holdout), own, NEAR * float(known.std()) if len(known) else 0.0)

    def __call__(self, side: int, place: Array) -> Array:
        """Whether the secret of the synthetic row at `place` is that of each target: (n,) bool."""
        truth, guess = self.truth[side], self.made[place]
        if self.far is None:
            return np.asarray(truth == guess)
        return np.asarray((np.abs(truth - guess) <= self.far + 1e-12) | (np.isnan(truth) & np.isnan(guess)))
