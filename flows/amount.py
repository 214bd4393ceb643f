"""How many rows of each class are worth adding, and by which family? The answer may be none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from configs.components import find as find_family
from configs.errors import DataFault
from configs.plan import GeneratorSpec, Plan
from data.dataset import Dataset
from data.errors import UserError
from flows.choose import SCARCE
from flows.stages.rules import family_of
from generators.base import Generator, GeneratorError, Progress, Traits, table
from validators.worth import WEIGHTS, Arm, CannotJudgeError, Maker, Worth, doubt, wanted, worth

#: Families that are tried, of those that the rubric leaves; folds of train, each of which every family learns without. Folds
#: of few rows part amounts, not families: that is what `choose: bakeoff` is for, whose choice is then the one that is tried.
TRIED, FOLDS = 1, 4
#: How much what a family brings differs from data to data, as a standard deviation of average precision: on the tables of
#: docs/benchmarks/utility.md gains of one family lie some four points apart.
SPREAD = 0.04
#: Rows are added where the gain is so many standard deviations of the folds' luck above 0: of several ways the best one is
#: always somewhat lucky. One in five falls beyond.
SURE = 0.84
#: Of what a family brings where classes are filled up, the part that it brings at less (docs/benchmarks/utility.md).
PART = 0.5


class NothingToAddError(UserError):
    """Rows of these classes help no model, so none are drawn."""

    exit_code = 3


@dataclass(frozen=True)
class Amount:
    """What to add. family: None for nothing; draw: rows of each class; levels: shares of the largest class that scarce ones
    are filled to. Rows of the largest class itself are drawn where models learned more with them."""

    family: str | None
    draw: Mapping[Any, int]
    levels: Mapping[Any, float]
    says: str
    worth: Worth

    def to_json(self) -> dict[str, Any]:
        """JSON values, for choice.json."""
        return {
            "family": self.family,
            "draw": {str(k): n for k, n in self.draw.items()},
            "levels": {str(k): level for k, level in self.levels.items()},
            "says": self.says,
            "trials": self.worth.plain(),
            "failed": dict(self.worth.failed),
        }


def amount(
    plan: Plan, train: Dataset, families: Sequence[str], counts: Mapping[Any, int], scarce: Sequence[Any], progress: Progress
) -> Amount:
    """Family and rows of each class by cross-validation inside train: what helps a gradient boosting most, beside nothing and
    class weights.

    What the folds show is weighed against what each family brought on other data (`Traits.gain`): thirty rows in four folds say
    little by themselves. counts: real rows of each class, which the drawn ones stand beside; scarce: the classes in question.

    Raises DataFault at sample.rows where nothing can be asked of these rows."""
    makers = {name: _maker(plan, name) for name in families}
    try:
        found = worth(train, makers, scarce=scarce, folds=FOLDS, seed=plan.seed, told=progress.advance)
    except CannotJudgeError as error:
        raise DataFault(("sample", "rows"), f"sweep: {error}; state rows, or leave it out") from None
    if len(found.failed) == len(makers):
        name, why = next(iter(found.failed.items()))
        raise DataFault(("sample", "rows"), f"sweep: no family gave rows; {name}: {why}")
    return decide(found, counts, {name: _gain(name, found) for name in families})


def decide(found: Worth, counts: Mapping[Any, int], prior: Mapping[str, float]) -> Amount:
    """What is expected to bring most, over all scarce classes first, then each class its own amount of that family.

    prior: what each family brought elsewhere."""
    expected = found.expected(prior, SPREAD, part=PART)
    best = max(expected, key=lambda arm: expected[arm])
    if not best.level or expected[best] < SURE * doubt(found.gain(best)[1], SPREAD):
        return Amount(None, {}, {}, _nothing(found, expected, best), found)
    levels: dict[Any, float] = {}
    for level in found.classes:
        own = found.expected(prior, SPREAD, [level], part=PART)
        mine = {arm: gain for arm, gain in own.items() if arm.method == best.method and arm.both == best.both}
        lead = max(mine, key=lambda arm: mine[arm])
        if mine[lead] > max(0.0, own[Arm(WEIGHTS)]):
            levels[level] = lead.level
    if not levels:
        return Amount(None, {}, {}, _nothing(found, expected, best), found)
    draw = {k: n for k, level in levels.items() if (n := wanted(counts, level).get(k, 0))}
    if best.both:
        largest = max(counts, key=lambda k: counts[k])
        draw[largest] = round(max(levels.values()) * counts[largest])
    gain, error = found.gain(best)
    rows = ", ".join(f"{n:,} rows of {str(k).strip()}" for k, n in draw.items())
    says = f"{rows}; in {FOLDS} folds of train average precision changes by {gain:+.3f} +- {error:.3f}"
    if known := prior.get(best.method):
        says += (
            f", and by {expected[best]:+.3f} once it is weighed in that {best.method} brought {known:+.3f} on other tables, to "
            "classes of as few rows filled up"
        )
    if gain < error:
        says += "; the folds alone would not tell it from nothing"
    return Amount(best.method, draw, levels, says, found)


def _nothing(found: Worth, expected: Mapping[Arm, float], best: Arm) -> str:
    drawn = max((arm for arm in expected if arm.level), key=lambda arm: expected[arm], default=None)
    gain, error = (0.0, 0.0) if drawn is None else found.gain(drawn)
    does = "class weights do as well" if best.method == WEIGHTS else "the real rows alone do as well"
    if best.level:
        does = "it is not sure enough that drawn rows help"
    tried = "no drawn row" if drawn is None else f"the best, {drawn}, changes average precision by {gain:+.3f} +- {error:.3f}"
    return f"add nothing: {does}; {tried} in {FOLDS} folds of train"


def _gain(name: str, found: Worth) -> float:
    """What a family brought to classes of so few rows elsewhere; nothing is known of classes of many."""
    traits: Traits | None = getattr(find_family(name, Generator, package="generators"), "traits", None)
    least = min((found.rows[level] for level in found.classes), default=0)
    return (traits.gain_at(least) or 0.0) if least <= SCARCE and traits is not None else 0.0


def _maker(plan: Plan, name: str) -> Maker:
    """Fits the family anew on the rows of a trial, behind the plan's rules."""
    settings = plan.generator.settings if plan.generator.use == name else {}
    own = plan.model_copy(update={"generator": GeneratorSpec(use=name, **settings)})

    def make(rows: Dataset, most: Mapping[Any, int], seed: int) -> Mapping[Any, Dataset]:
        fitted = family_of(own).fit(rows, seed=seed)
        target, arrow = str(rows.schema.target), rows.schema.arrow()
        out: dict[Any, Dataset] = {}
        for level, n in most.items():
            try:
                drawn: pa.Table = table(fitted.sample(n, where={target: level}, seed=seed), arrow)
            except GeneratorError:
                continue  # a class that the fold's rows lack
            out[level] = Dataset(drawn, rows.schema)
        return out

    return make
