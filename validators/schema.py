"""Is every synthetic value possible?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from data.dataset import Dataset
from data.schema import Column
from validators.base import Culprit, Evidence, Finding
from validators.expectations import Answer, Rule, frame_type, run_suite, to_frame
from validators.stats import clopper_pearson, percent

CHECK = "schema"
#: pandas types that the suite accepts for each coarse type of column.
TYPES = {
    "number": ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"],
    "whole": ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "float64"],
    "text": ["str", "object", "category"],
    "truth": ["bool", "object"],
    "time": ["datetime64[us]", "datetime64[ns]", "object"],
}
TOLD = {
    "type": "values of another type",
    "range": "values out of its range",
    "levels": "values that are none of its levels",
    "filled": "nulls where none may be",
    "unique": "values that are not unique",
}


@dataclass(frozen=True)
class SchemaCheck:
    """A Great Expectations suite made from the schema: columns, types, ranges, levels, nulls and unique ids.

    What the plan declared is a hard rule. What was inferred from some real rows, other real rows break now and then: such
    a rule allows as many breaches as the upper bound of the holdout's own rate explains (Clopper-Pearson at the spent
    alpha, shared by all rules). docs: folder for the Data Docs, None for none."""

    docs: Path | None = None
    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing of its own: an empty synthetic set gives SKIPPED."""
        if evidence.synthetic.num_rows == 0:
            return Finding(CHECK, "SKIPPED", summary="the synthetic set has no rows")
        frame = _frame(evidence.synthetic)
        rules = _rules(evidence)
        return _finding(run_suite(frame, rules, docs=self.docs))


def _judged(rows: Dataset) -> list[Column]:
    return [c for c in rows.schema if c.learned or c.kind == "id"]


def _frame(rows: Dataset) -> pd.DataFrame:
    """The columns of the schema that are there, one after the other, so that nothing else is loaded."""
    names = rows.source.schema.names
    return pd.DataFrame({c.name: to_frame(_values(rows, c)) for c in _judged(rows) if c.name in names})


def _values(rows: Dataset, column: Column) -> pa.ChunkedArray:
    return rows.column(column.name)


def _rules(evidence: Evidence) -> list[Rule]:
    made, out = evidence.synthetic, []
    columns = _judged(made)
    out.append(Rule("", "columns", params={"column_set": [c.name for c in columns]}))
    present = [c for c in columns if c.name in made.source.schema.names]
    whole = evidence.intent.spent / max(sum(len(_column_rules(c)) for c in present), 1)
    for column in present:
        # A column of nulls alone has no type to keep to.
        if (wanted := _type(column)) in TYPES:
            out.append(Rule(column.name, "type", params={"type_list": TYPES[wanted]}))
        if _matches(column, made):
            out += [_softened(rule, column, evidence, whole) for rule in _column_rules(column)]
    return [rule for rule in out if rule.kind != "unique" or _unique(evidence.train, rule.column)]


def _type(column: Column) -> str:
    from data.schema import arrow_type

    return frame_type(column, arrow_type(column.dtype))


def _matches(column: Column, rows: Dataset) -> bool:
    """Whether the values are of the column's type, so that its other rules can be asked."""
    found, wanted = frame_type(column, rows.source.schema.field(column.name).type), _type(column)
    return found == wanted or {found, wanted} <= {"number", "whole"}


def _column_rules(column: Column) -> list[Rule]:
    out = []
    if column.discrete and column.categories:
        hard = "categories" in column.declared
        out.append(Rule(column.name, "levels", hard, params={"value_set": list(column.categories)}))
    if column.kind in ("numeric", "integer", "datetime") and (column.low is not None or column.high is not None):
        bounds = {"min_value": _bound(column, column.low), "max_value": _bound(column, column.high)}
        out.append(Rule(column.name, "range", bool({"low", "high"} & column.declared), params=bounds))
    if not column.nullable:
        out.append(Rule(column.name, "filled", "nullable" in column.declared))
    if column.kind == "id":
        out.append(Rule(column.name, "unique"))
    return out


def _bound(column: Column, value: Any) -> Any:
    if value is None or column.kind != "datetime":
        return value
    instant = pd.Timestamp(str(value))
    return (instant.tz_convert("UTC").tz_localize(None) if instant.tzinfo else instant).to_pydatetime()


def _softened(rule: Rule, column: Column, evidence: Evidence, alpha: float) -> Rule:
    """An inferred rule with the share of rows that must keep it, from what the holdout itself breaks."""
    if rule.hard:
        return rule
    rows = evidence.holdout.num_rows
    if column.name not in evidence.holdout.source.schema.names or not rows:
        return rule
    broken = _broken(rule, to_frame(_values(evidence.holdout, column)))
    upper = clopper_pearson(broken, rows, 2 * alpha)[1]
    made = evidence.synthetic.num_rows
    allowed = float(stats.binom.ppf(1 - alpha, made, upper)) / made
    return Rule(rule.column, rule.kind, False, max(0.0, 1 - allowed), rule.params)


def _broken(rule: Rule, values: pd.Series) -> int:
    """How many values break a rule, counted as the suite counts."""
    params = rule.params or {}
    if rule.kind == "filled":
        return int(values.isna().sum())
    known = values.dropna()
    if rule.kind == "levels":
        return int((~known.isin(params["value_set"])).sum())
    low, high = params["min_value"], params["max_value"]
    outside = pd.Series(False, index=known.index)
    if low is not None:
        outside |= known < low
    if high is not None:
        outside |= known > high
    return int(outside.sum())


def _unique(train: Dataset, name: str) -> bool:
    """Whether an id is unique among the training rows; otherwise it cannot be asked of synthetic ones."""
    values = train.column(name)
    return bool(pc.count_distinct(values).as_py() == len(values) - values.null_count)


def _finding(answers: Sequence[Answer]) -> Finding:
    failed = sorted((a for a in answers if not a.success), key=lambda a: -(a.broken / max(a.rows, 1)))
    broken = sum(a.broken for a in answers)
    lead = f"{_told(failed[0])}" if failed else f"every one of {len(answers)} expectations holds"
    more = f", and {len(failed) - 1} more expectations fail" if len(failed) > 1 else ""
    soft = f" ({broken} values break inferred rules, no more than real rows do)" if broken and not failed else ""
    return Finding(
        CHECK,
        "BLOCK" if failed else "PASS",
        value=float(len(failed)),
        limit=0.0,
        reference=0.0,
        summary=lead + more + soft,
        culprits=tuple(_culprit(a) for a in failed[:10]),
        details={
            "expectations": len(answers),
            "failed": [{"column": a.rule.column, "rule": a.rule.kind, "broken": a.broken, "rows": a.rows} for a in failed],
        },
    )


def _told(answer: Answer) -> str:
    if answer.rule.kind == "columns":
        return "columns are missing: the synthetic set lacks some of the schema's columns"
    if answer.rule.kind == "type":
        return f"column {answer.rule.column!r} holds {TOLD['type']}"
    if answer.error:
        return f"column {answer.rule.column!r} could not be judged ({answer.error.splitlines()[0][:80]})"
    share = percent(answer.broken / max(answer.rows, 1))
    return f"column {answer.rule.column!r} holds {answer.broken} {TOLD[answer.rule.kind]} ({share} of its rows)"


def _culprit(answer: Answer) -> Culprit:
    what = f"{answer.rule.column}: {TOLD.get(answer.rule.kind, 'missing columns')}" if answer.rule.column else "missing columns"
    return Culprit(cell=what, expected=round((1 - answer.rule.mostly) * answer.rows, 1), observed=answer.broken)
