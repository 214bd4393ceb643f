"""Is every synthetic value possible?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from data.constraints import make
from data.dataset import Dataset
from data.propose import propose
from data.schema import Column, arrow_type
from validators.base import Culprit, Evidence, Finding
from validators.breaches import Count, Rule, coarse, count, matches, repeated
from validators.stats import clopper_pearson, percent

CHECK = "schema"
#: What a column's type must be for values of another type to be told from it.
TYPES = frozenset({"number", "whole", "text", "truth", "time"})
TOLD = {
    "type": "values of another type",
    "range": "values out of its range",
    "levels": "values that are none of its levels",
    "filled": "nulls where none may be",
    "unique": "values that are not unique",
    "constraint": "rows that break a rule of the plan",
}
#: Unseen levels that are named. Numbers out of range are not: they may be real extremes.
SHOWN, WIDTH = 3, 40
#: Reference rows that orders are looked for in; share of rows that break one that nobody stated, from which it blocks.
LOOKED_AT, OFTEN = 2000, 0.05


@dataclass(frozen=True)
class SchemaCheck:
    """Every synthetic row against the rules that the schema makes: columns, types, ranges, levels, nulls and unique ids.

    Orders of columns that every reference row keeps, though chance would not (data/propose.py), are rules that nobody stated:
    where surely more synthetic rows break one than unseen real rows do it warns, above OFTEN of the rows it blocks.

    What the plan declared is a hard rule. What was inferred from some real rows, other real rows break now and then: such
    a rule allows as many breaches as the upper bound of the holdout's own rate explains (Clopper-Pearson; half of the
    check's alpha, shared by these rules, for the bound, half for the draw). Ids must be unique where those of train are."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing of its own: an empty synthetic set gives SKIPPED."""
        if evidence.synthetic.num_rows == 0:
            return Finding(CHECK, "SKIPPED", summary="the synthetic set has no rows")
        asked = rules(evidence)
        return _finding([Answer(rule, found) for rule, found in zip(asked, count(evidence.synthetic, asked), strict=True)])


@dataclass(frozen=True)
class Answer:
    """What became of a rule."""

    rule: Rule
    count: Count

    @property
    def allowed(self) -> int:
        return self.rule.allowed(self.count.rows)

    @property
    def success(self) -> bool:
        return self.count.broken <= self.allowed

    @property
    def blocks(self) -> bool:
        """Whether a rule that is broken blocks: an order that nobody stated only where it is broken often."""
        if self.rule.kind != "order":
            return not self.success
        often = replace(self.rule, share=max(self.rule.share, OFTEN))
        return self.count.broken > often.allowed(self.count.rows)

    @property
    def share(self) -> float:
        """Share of the values that break the rule."""
        return self.count.broken / max(self.count.rows, 1)


def rules(evidence: Evidence) -> list[Rule]:
    """The rules that the schema makes for the synthetic rows, softened by the holdout where nobody declared them."""
    made, people = evidence.synthetic, evidence.intent.privacy
    # With a promise of privacy nobody may know the ends of a column that declares none.
    unknown = people is not None and people.promised
    columns = [c for c in made.schema if c.learned or c.kind == "id"]
    out = [Rule("", "columns", names=tuple(c.name for c in columns))]
    for column in (c for c in columns if c.name in made.source.schema.names):
        # A column of nulls alone has no type to keep to.
        if coarse(arrow_type(column.dtype)) in TYPES:
            out.append(Rule(column.name, "type"))
        if not matches(column, made):
            continue
        own = [rule for rule in _column_rules(column) if rule.hard or rule.kind != "range" or not unknown]
        out += [rule for rule in own if rule.kind != "unique" or not repeated(evidence.train, column.name)[1]]
    out += _orders(evidence)
    soft = [place for place, rule in enumerate(out) if not rule.hard]
    for place, rule in zip(soft, _softened([out[i] for i in soft], evidence), strict=True):
        out[place] = rule
    return out + _constraints(evidence)


def _constraints(evidence: Evidence) -> list[Rule]:
    """The plan's own rules over several columns, where all of these are there."""
    made, train = evidence.synthetic, evidence.train.table
    asked = [each for each in evidence.intent.constraints if all(_there(name, made) for name in each.columns)]
    return [Rule(", ".join(each.columns), "constraint", constraint=each.learn(train)) for each in asked]


def _orders(evidence: Evidence) -> list[Rule]:
    """Orders of columns that all reference rows keep and nobody stated."""
    made, reference = evidence.synthetic, evidence.reference
    some = np.linspace(0, reference.num_rows - 1, min(reference.num_rows, LOOKED_AT)).astype(np.int64)
    stated = [set(each.columns) for each in evidence.intent.constraints]
    found = []
    for entry in propose(reference.take(some).table, reference.schema) if len(some) else ():
        names = entry["columns"]
        new = entry["use"] == "inequality" and not any(set(names) <= each for each in stated)
        if new and all(_there(name, made) for name in names):
            found.append(Rule(", ".join(names), "order", False, constraint=make(entry).learn(reference.table)))
    return [rule for rule, kept in zip(found, count(reference, found), strict=True) if not kept.broken]


def _column_rules(column: Column) -> list[Rule]:
    out = []
    if column.discrete and column.categories:
        out.append(Rule(column.name, "levels", "categories" in column.declared, levels=column.categories))
    if column.kind in ("numeric", "integer", "datetime") and (column.low is not None or column.high is not None):
        hard = bool({"low", "high"} & column.declared)
        out.append(Rule(column.name, "range", hard, low=column.low, high=column.high))
    if not column.nullable:
        out.append(Rule(column.name, "filled", "nullable" in column.declared))
    if column.kind == "id":
        out.append(Rule(column.name, "unique"))
    return out


def _softened(inferred: Sequence[Rule], evidence: Evidence) -> list[Rule]:
    """Inferred rules with the share of values that may break them, from what the holdout itself breaks."""
    holdout = evidence.holdout
    asked = [rule for rule in inferred if all(_there(name, holdout) for name in rule.over)]
    counted = dict(zip(asked, count(holdout, asked), strict=True))
    alpha = evidence.intent.level(CHECK) / (2 * max(len(inferred), 1))
    out = []
    for rule in inferred:
        found = counted.get(rule)
        if found is None or not found.rows:
            out.append(rule)
            continue
        # The upper end of a two-sided interval at 1 - 2 alpha is a bound at 1 - alpha.
        share = clopper_pearson(found.broken, found.rows, 2 * alpha)[1]
        out.append(replace(rule, share=share, alpha=alpha))
    return out


def _there(name: str, rows: Dataset) -> bool:
    return name in rows.source.schema.names and matches(rows.schema[name], rows)


def _finding(answers: Sequence[Answer]) -> Finding:
    failed = sorted((a for a in answers if not a.success), key=lambda a: (not a.blocks, a.rule.kind != "columns", -a.share))
    broken = sum(a.count.broken for a in answers)
    lead = _told(failed[0]) if failed else f"every one of {len(answers)} expectations holds"
    more = f", and {len(failed) - 1} more expectations fail" if len(failed) > 1 else ""
    soft = f" ({broken} values break inferred rules, no more than real rows do)" if broken and not failed else ""
    return Finding(
        CHECK,
        "BLOCK" if any(a.blocks for a in failed) else "WARN" if failed else "PASS",
        value=float(len(failed)),
        limit=0.0,
        reference=0.0,
        summary=lead + more + soft,
        culprits=tuple(_culprit(a) for a in failed[:10]),
        details={
            "expectations": len(answers),
            "failed": [_fact(a) for a in failed],
            **({"advice": _advice(failed[0].rule)} if failed and failed[0].rule.kind == "order" else {}),
        },
    )


def _advice(rule: Rule) -> str:
    entry = f"constraints: [{{use: inequality, columns: [{rule.column}]}}]"
    return f"state the rule in the plan, {entry}, so that every drawn row keeps it, or drop the rows that break it"


def _told(answer: Answer) -> str:
    rule, found = answer.rule, answer.count
    if rule.kind == "columns":
        return f"columns are missing: the synthetic set lacks {_some(found, counts=False)}"
    if rule.kind == "type":
        named = f": {_some(found)}" if found.named else ""
        return f"column {rule.column!r} holds {TOLD['type']}{named}"
    if rule.kind == "order":
        return f"{found.broken} synthetic rows ({percent(answer.share)}) break {rule.constraint}, which all reference rows keep"
    if rule.kind == "constraint":
        return f"{found.broken} rows ({percent(answer.share)}) break the rule {rule.constraint}"
    named = f": {_some(found)}" if found.named else ""
    return f"column {rule.column!r} holds {found.broken} {TOLD[rule.kind]} ({percent(answer.share)} of its rows){named}"


def _some(found: Count, *, counts: bool = True) -> str:
    """The values that stand out, with how often each is there."""
    shown = list(found.named.items())[:SHOWN]
    more = f" and {len(found.named) - SHOWN} more" if len(found.named) > SHOWN else ""
    return ", ".join(f"{_short(name)!r}" + (f" ({times})" if counts else "") for name, times in shown) + more


def _short(name: str) -> str:
    return name if len(name) <= WIDTH else f"{name[: WIDTH - 1]}…"


def _culprit(answer: Answer) -> Culprit:
    rule, found = answer.rule, answer.count
    if rule.kind == "columns":
        return Culprit(cell="missing columns", expected=0, observed=found.broken)
    if rule.kind in ("constraint", "order"):
        return Culprit(cell=f"rule: {rule.constraint}", expected=0, observed=found.broken)
    named = f" ({_some(found)})" if found.named else ""
    return Culprit(cell=f"{rule.column}: {TOLD[rule.kind]}{named}", expected=answer.allowed, observed=found.broken)


def _fact(answer: Answer) -> dict[str, Any]:
    rule, found = answer.rule, answer.count
    return {"column": rule.column, "rule": rule.kind, "broken": found.broken, "rows": found.rows, "allowed": answer.allowed}
