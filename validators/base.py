"""What every check is given, and what it gives back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from data.constraints import Constraint
from data.dataset import Dataset
from data.errors import DataError

#: How the alpha of an attempt is shared, so that all checks together give no more false alarms than it allows
#: (Bonferroni). A few near copies leave the least evidence, so that check gets the most; what is tested on thousands of
#: rows loses next to nothing by a small share.
SHARES: Mapping[str, float] = {
    "modes": 0.3,
    "copies": 0.4,
    "spread": 0.05,
    "duplicates": 0.05,
    "labels": 0.05,
    "coverage": 0.05,
    "schema": 0.05,
    "pairs": 0.05,
}
#: The same of the checks of privacy, out of what is left over by the others, which spend but OTHERS of their shares where
#: these run: the whole stays 1. Most goes to the exact test; the attacks block by a lower bound far from chance anyhow.
PRIVACY_SHARES: Mapping[str, float] = {
    "rare": 0.08,
    "membership": 0.03,
    "singling_out": 0.03,
    "linkability": 0.03,
    "inference": 0.03,
}
OTHERS = 0.8

Verdict = Literal["PASS", "WARN", "BLOCK", "INCONCLUSIVE", "ERROR", "SKIPPED"]


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """A place where synthetic and real differ: a cell, a column, a pair of rows.

    expected and observed are counts (or shares, as the check says); ratio = observed/expected with its interval."""

    cell: str
    expected: float
    observed: float
    ratio: float | None = None
    ratio_ci: tuple[float, float] | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class Finding:
    """One check's answer.

    value: the check's figure; limit: where it would block; reference: the same figure for real against real data
    of the same size; p_value: smallest adjusted p of the check; summary: one sentence; details: further figures
    and series for the report (JSON values only)."""

    check: str
    verdict: Verdict
    _: KW_ONLY
    value: float | None = None
    limit: float | None = None
    reference: float | None = None
    p_value: float | None = None
    summary: str = ""
    culprits: tuple[Culprit, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def share_of(check: str, *, privacy: bool) -> float | None:
    """The part of an attempt's alpha that a check may spend; None for one that spends none.

    privacy: whether the checks of privacy run and have their part."""
    if check in PRIVACY_SHARES:
        return PRIVACY_SHARES[check]
    return SHARES[check] * (OTHERS if privacy else 1.0) if check in SHARES else None


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What an attacker knows and wants, by column names.

    quasi: columns that are known of a person; all learned columns but the secret where it is empty.
    secret: columns that are to be guessed; the target and each other column in turn where it is empty (those of `quasi`, which
    are known, left out). k: a combination of the quasi-identifiers that fewer training rows than this hold is rare.
    promised: the rows were drawn with differential privacy."""

    quasi: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    k: int = 5
    promised: bool = False


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What the synthetic set is meant to be.

    mix: share of each class among the synthetic rows, summing to 1; None when it should equal the real mix.
    detect: the smallest mass of a mode, as a share of the set, whose loss the gate must be able to see.
    alpha: false-alarm rate of the whole gate over all attempts; attempt k spends alpha / 2**k.
    rho: a mode with less than rho times its share counts as missing (BLOCK); warn_rho: as thin (WARN).
    limits: check -> {figure: limit} that the plan sets, e.g. {"fidelity": {"c2st_auc": 0.8}}.
    constraints: rules over the columns of a row that no synthetic row may break.
    privacy: what the attacks of the checks of privacy go for; None where these do not run."""

    mix: Mapping[Any, float] | None = None
    detect: float = 0.05
    alpha: float = 0.01
    attempt: int = 1
    rho: float = 0.5
    warn_rho: float = 0.8
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seed: int = 0
    constraints: tuple[Constraint, ...] = ()
    privacy: Privacy | None = None

    @property
    def spent(self) -> float:
        """The alpha that this attempt may spend: alpha / 2**attempt, so that all attempts together spend alpha."""
        return float(self.alpha / 2**self.attempt)

    def level(self, check: str) -> float:
        """The part of `spent` that one check may spend. Raises KeyError for a check that tests nothing."""
        part = share_of(check, privacy=self.privacy is not None)
        if part is None:
            raise KeyError(check)
        return self.spent * part


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a check may look at. Geometry, cells and encoders are fitted on `reference` (and train) alone;
    `holdout` is counted once. All share one schema, whose `target` names the class if there is one. `memo` keeps what
    several checks need and what is costly to make (see `validators.sides`); it belongs to this evidence alone."""

    train: Dataset
    reference: Dataset
    holdout: Dataset
    synthetic: Dataset
    intent: Intent = Intent()
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


def figures_of(check: str, stated: Mapping[str, float], figures: Iterable[str], there: str = "there are") -> dict[str, float]:
    """The plan's limits of a check; raises DataError for one on a figure that it does not have."""
    for name in stated:
        if name not in (known := list(figures)):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"{there} {', '.join(known)}"
            raise DataError(f"limits.{check}: unknown figure {name!r}; {hint}")
    return dict(stated)


@runtime_checkable
class Check(Protocol):
    """One question, one file. A check that cannot judge gives SKIPPED and says why; it never raises for that."""

    name: ClassVar[str]

    def evaluate(self, evidence: Evidence) -> Finding: ...
