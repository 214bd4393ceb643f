"""What is in the rows, the pictures, the series? Settles the schema, and leaves out what no tabular family can write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.plan import Plan
from data.dataset import Dataset
from data.errors import DataError
from data.personal_values import ready
from data.schema import Column, Schema
from flows.run import Run, Stage, write_text
from flows.stages.rules import check_rows
from flows.stages.shared import Step, key_of
from generators.base import Progress

if TYPE_CHECKING:
    from flows.stages.personal import Decided

#: Kinds that no tabular family writes.
NOT_WRITTEN = ("text", "image", "series")


def _profile(run: Run, progress: Progress) -> Mapping[str, Any]:
    from data.profile import nearly_numbers, profile
    from data.series import series_of
    from flows.choose import AS_ROWS
    from flows.stages.personal import check_ruled

    plan = run.plan
    table = pq.read_table(run.folder / "work/data.parquet")
    if plan.modality == "image":
        return _profile_pictures(run, table)
    if plan.modality == "series":
        return _profile_series(run, table)
    decided = _decided(plan, table)
    schema = decided.kept
    left_out = [c for c in schema if c.kind in NOT_WRITTEN and c.name not in (plan.target, plan.group)]
    kept = schema.select([c.name for c in schema if c not in left_out])
    _check_columns(kept)
    _check_classes(kept)
    check_ruled(plan, decided.found)
    check_rows(plan, schema, table)
    # Of a file that is typed here, its reader knows what a column would be; a kind that the plan states settles it.
    nearly = run.stages["read"]["facts"].get("nearly")
    settled = {c.name for c in schema if "kind" in c.declared}
    told = None if nearly is None else {n: said for n, said in nearly.items() if n in schema and n not in settled}
    facts = profile(Dataset(table, kept), told)
    unsettled = nearly_numbers(schema, told or {})
    if (series := series_of(Dataset(table, kept))) is not None:
        facts["series"] = series
        facts["notices"] = [*facts["notices"], f"These look like one series, {series}: {AS_ROWS}."]
    away = [_left_out(c) for c in left_out if c.name not in (told or {})]
    facts["notices"] = [*facts["notices"], *unsettled, *away, *decided.notices]
    facts["pii"] = [one.to_json() for one in decided.found]
    write_text(run.folder / "schema.json", json.dumps(kept.to_json(), indent=1, default=str))
    write_text(run.folder / "profile.json", json.dumps(facts, indent=1, default=str))
    return {"notices": facts["notices"], "columns": len(kept)}


def _decided(plan: Plan, table: pa.Table) -> Decided:
    """What the columns mean, as the plan states or as it is inferred, and what is personal in them."""
    from data.infer import infer
    from flows.stages.personal import decide, taught

    stated = {name: column.stated() for name, column in plan.columns.items() if not column.drop}
    schema = infer(table, target=plan.target, group=plan.group, stated=stated)
    if kinds := taught(plan, schema):
        stated |= {name: {**stated[name], "kind": kind} for name, kind in kinds.items()}
        schema = infer(table, target=plan.target, group=plan.group, stated=stated)
    return decide(plan, schema, table)


def _check_columns(schema: Schema) -> None:
    """Raises DataError for a target or group of a kind that no family writes, and where nothing is left to learn."""
    for column in (schema[name] for name in (schema.target, schema.group) if name):
        if column.kind in NOT_WRITTEN:
            raise DataError(
                f"Column {column.name!r} is of kind {column.kind} and cannot be the target or group; choose another"
            )
    if not schema.learned:
        raise DataError("no column is left to learn: all are ids or free text; state a kind under `columns:` for one of them")


def _profile_pictures(run: Run, table: pa.Table) -> Mapping[str, Any]:
    from data.images import CLASS, schema
    from data.picture_profile import profile_pictures

    counts = pc.value_counts(table.column(CLASS)).to_pylist()
    levels = [item["values"] for item in sorted(counts, key=lambda item: (-item["counts"], item["values"]))]
    kept = schema(levels)
    _check_classes(kept)
    facts = profile_pictures(Dataset(table, kept))
    write_text(run.folder / "schema.json", json.dumps(kept.to_json(), indent=1))
    write_text(run.folder / "profile.json", json.dumps(facts, indent=1))
    return {"notices": facts["notices"], "columns": len(kept), "pictures": len(table), "size": facts["size"]}


def _profile_series(run: Run, table: pa.Table) -> Mapping[str, Any]:
    from data.series_profile import profile_series

    kept = Schema.from_json(run.stages["read"]["facts"]["series"])
    if kept.target is not None:
        _check_classes(kept)
    facts = profile_series(Dataset(table, kept))
    write_text(run.folder / "schema.json", json.dumps(kept.to_json(), indent=1))
    write_text(run.folder / "profile.json", json.dumps(facts, indent=1))
    return {"notices": facts["notices"], "columns": len(kept), "windows": len(table)}


def _check_classes(schema: Schema) -> None:
    """A target that cannot tell rows apart is a mistake in the plan or in the data."""
    if schema.target is None or not schema[schema.target].discrete:
        return
    levels = schema[schema.target].categories
    if len(levels) < 2:
        held = f"only {levels[0]!r}" if levels else "no value at all"
        raise DataError(f"the target {schema.target!r} holds {held}; name a target with at least two classes, or none")


def _left_out(column: Column) -> str:
    return (
        f"column {column.name!r} is {column.kind}, which no tabular family writes, and is left out; "
        f"if its values repeat, state columns.{column.name}.kind: categorical"
        + (f" (it looks like personal data: {column.pii})" if column.pii else "")
    )


STEP = Step(
    Stage("profile", ("profile.json", "schema.json")),
    key_of(
        "profile",
        "read",
        "data/infer.py",
        "data/personal.py",
        "data/personal_values.py",
        "data/personal_words.py",
        "flows/stages/personal.py",
        "data/profile.py",
        "data/picture_profile.py",
        "data/schema.py",
        "data/series.py",
        "data/series_profile.py",
        "data/windows.py",
        "data/constraints.py",
        part=lambda p: [p.columns, p.target, p.group, p.constraints, p.purpose, p.privacy.locale, ready()],
    ),
    _profile,
)
