"""How much more does an attack learn of training rows than of unseen ones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from validators.base import Culprit, Evidence, Finding, Verdict, figures_of
from validators.stats import hypergeometric_excess, percent

#: Risk from which a check blocks and warns, where it is surely as high.
RISK, WARNS = 0.10, 0.05
#: Deviations of a two-sided interval of 95 %.
Z = 1.959964
#: An attack that beats random guesses with no smaller p than this tells nothing.
BETTER = 0.05
#: A rate that is stretched stays below this, since a control that always succeeds leaves nothing to risk.
MOST = 0.999
ORDER = ("BLOCK", "WARN", "PASS", "INCONCLUSIVE")


def wilson(hits: float, trials: float) -> tuple[float, float]:
    """Middle and half width of Wilson's 95 % interval of a share (Wilson 1927; Giomi et al. 2023, section 4)."""
    wide = trials + Z**2
    return (hits + Z**2 / 2) / wide, Z / wide * (hits * (trials - hits) / max(trials, 1) + Z**2 / 4) ** 0.5


@dataclass(frozen=True)
class Attack:
    """Successes among so many guesses each: on training rows, on unseen rows (control), and by random guesses (naive).

    name: which attack; tested: how surprising an advantage on train is, where another test than Fisher's knows it: one
    that may be used of guesses that are not independent. stretch: what the control's rate is to be multiplied by, where it was
    measured on fewer rows than the attack.
    Source: Giomi et al. 2023, A Unified Framework for Quantifying Privacy Risk in Synthetic Data, section 4."""

    name: str
    trials: int
    hits: int
    control: int
    naive: int
    tested: float | None = None
    stretch: float = 1.0

    @cached_property
    def p(self) -> float:
        """How surprising an advantage on train is where nothing leaks: Fisher's exact test, or the one stated."""
        if self.tested is not None:
            return self.tested
        return hypergeometric_excess(self.hits, self.trials, self.control, self.trials)

    @property
    def told(self) -> bool:
        """Whether the attack is better than random guesses, so that its failure means something."""
        return hypergeometric_excess(self.hits, self.trials, self.naive, self.trials) <= BETTER

    @property
    def unseen(self) -> float:
        """The rate on unseen rows, were there as many of them."""
        return min(self.stretch * self.control / self.trials, 1.0)

    @property
    def _control(self) -> tuple[float, float]:
        """Middle and half width of the control's interval; what stretches the rate stretches its error."""
        middle, half = wilson(self.control, self.trials)
        return min(self.stretch * middle, MOST), self.stretch * half

    @property
    def risk(self) -> float:
        """(attack - control) / (1 - control), from middles of Wilson's intervals."""
        mine, other = wilson(self.hits, self.trials)[0], self._control[0]
        return (mine - other) / (1 - other)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the risk, within 0 and 1: the errors of both shares, propagated."""
        (mine, error), (other, base) = wilson(self.hits, self.trials), self._control
        half = ((error / (1 - other)) ** 2 + ((1 - mine) * base / (1 - other) ** 2) ** 2) ** 0.5
        return min(max(self.risk - half, 0.0), 1.0), min(max(self.risk + half, 0.0), 1.0)

    def verdict(self, alpha: float, limit: float = RISK) -> Verdict:
        """BLOCK where the risk is surely above the limit (the lower end of its 95 % interval, and a p of at most alpha), WARN
        where it is surely above half of it, INCONCLUSIVE where the attack is no better than random guesses."""
        if self.p <= alpha and self.interval[0] > limit * WARNS / RISK:
            return "BLOCK" if self.interval[0] > limit else "WARN"
        return "PASS" if self.told else "INCONCLUSIVE"

    def plain(self, alpha: float, limit: float) -> dict[str, Any]:
        """JSON values."""
        return {
            "attack": self.name,
            "guesses": self.trials,
            "rate": self.hits / self.trials,
            "control": self.unseen,
            "naive": self.naive / self.trials,
            "risk": self.risk,
            "risk_ci": list(self.interval),
            "p": self.p,
            "verdict": self.verdict(alpha, limit),
        }


def check_limits(check: str, stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limit of the risk; raises DataError for a figure that does not exist."""
    return figures_of(check, stated, ("risk",), "there is")


def judged(check: str, attacks: Sequence[Attack], evidence: Evidence, **details: Any) -> Finding:
    """One finding of several attacks: the worst of them, each tested at its part of the check's alpha (Bonferroni).

    An attack no better than random guesses is INCONCLUSIVE by itself; where all are, the check is SKIPPED: it says so, and
    the gate goes by the others, since no number of rows makes guesses good that the columns do not allow."""
    limit = check_limits(check, evidence.intent.limits.get(check, {})).get("risk", RISK)
    alpha = evidence.intent.level(check) / len(attacks)
    ranked = sorted(attacks, key=lambda a: (ORDER.index(a.verdict(alpha, limit)), -a.interval[0], -a.risk))
    lead, verdicts = ranked[0], [a.verdict(alpha, limit) for a in ranked]
    worst = verdicts[0]
    idle = verdicts.count("INCONCLUSIVE")
    told = [a.plain(alpha, limit) for a in ranked]
    return Finding(
        check,
        "SKIPPED" if worst == "INCONCLUSIVE" else worst,
        value=None if worst == "INCONCLUSIVE" else max(lead.risk, 0.0),
        limit=limit,
        p_value=min(1.0, min(a.p for a in attacks) * len(attacks)),
        summary=_summary(lead, worst, idle, len(attacks)),
        culprits=tuple(_culprit(a, len(attacks)) for a, v in zip(ranked, verdicts, strict=True) if v in ("BLOCK", "WARN")),
        details={"attacks": told, "inconclusive": idle, "warn_limit": limit * WARNS / RISK, **details},
    )


def _summary(lead: Attack, worst: str, idle: int, count: int) -> str:
    mine, other, naive = (percent(rate) for rate in (lead.hits / lead.trials, lead.unseen, lead.naive / lead.trials))
    if worst == "INCONCLUSIVE":
        what = "the attack is" if count == 1 else f"all {count} attacks are"
        return f"{what} no better than random guesses ({lead.name}: {mine} against {naive}), so that nothing can be told by it"
    low, high = (percent(end) for end in lead.interval)
    said = (
        f"{lead.name} succeeds on {mine} of training rows and {other} of unseen ones, a risk of {percent(max(lead.risk, 0.0))} "
        f"({low} to {high})"
    )
    return said + (f"; {idle} of {count} attacks are no better than random guesses and tell nothing" if idle else "")


def _culprit(attack: Attack, count: int) -> Culprit:
    """expected: successes on unseen rows, observed: on training rows. Columns are named, never values."""
    expected = attack.unseen * attack.trials
    ratio = attack.hits / expected if expected else None
    return Culprit(
        cell=attack.name, expected=expected, observed=attack.hits, ratio=ratio, p_adjusted=min(1.0, attack.p * count)
    )
