"""What becomes of columns that say who somebody is: told of in an augment run, dropped or made anew in a release?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from configs.errors import DataFault, KeyFault
from configs.plan import Plan
from data import personal_values
from data.errors import DataError
from data.personal import Personal, find, suspects
from data.remake import Remaker, check_locale, keys_alike
from data.schema import Column, Schema
from flows.run import Run
from flows.stages.shared import load_schema

#: What is done about a column.
DROPPED, ANEW, LEARNED = "dropped", "made anew", "learned"
INSTALL = "pip install -c constraints.txt -e '.[privacy]'"


def check_personal(plan: Plan) -> None:
    """Refuse a release where what it needs is not installed, and a locale that nobody knows.

    Raises KeyFault at purpose or privacy.locale."""
    if not personal_values.ready():
        if plan.purpose == "release":
            raise KeyFault(
                ("purpose",), f"release looks for personal data with packages that are not installed; run `{INSTALL}`"
            )
        return
    if plan.purpose == "release" or plan.privacy.locale != "en_US":
        try:
            check_locale(plan.privacy.locale)
        except DataError as error:
            raise KeyFault(("privacy", "locale"), str(error)) from None


@dataclass(frozen=True)
class Decided:
    """schema: of all columns, with what is personal in them. kept: of those that a family sees. found: a decision for each
    column that looks personal, or of which the plan says something. notices: a sentence each."""

    schema: Schema
    kept: Schema
    found: tuple[Personal, ...]
    notices: tuple[str, ...] = ()


def stated_pii(plan: Plan) -> dict[str, str]:
    """Column -> what the plan says that it holds."""
    return {name: column.pii for name, column in plan.columns.items() if column.pii is not None and not column.drop}


def taught(plan: Plan, schema: Schema) -> dict[str, str]:
    """The kinds of columns that are no personal data, as the plan says, and would not be learned for what they look like."""
    free = [name for name, what in stated_pii(plan).items() if what == "none" and plan.columns[name].kind is None]
    odd = [schema[name] for name in free if name in schema and schema[name].kind in ("id", "text")]
    return {column.name: "integer" if _number(column) else "categorical" for column in odd}


def _number(column: Column) -> bool:
    return column.dtype.removeprefix("u").startswith("int")


def decide(plan: Plan, schema: Schema, table: pa.Table) -> Decided:
    """What is personal in a table, and what is done about it.

    Raises DataFault for a release whose target is personal, and DataError for one without the packages that look."""
    release, stated = plan.purpose == "release", stated_pii(plan)
    if release:
        check_installed()
    able = personal_values.ready()
    found = find(table, schema, locale=plan.privacy.locale, stated=stated, able=able)
    done = tuple(replace(one, done=_done(one, schema[one.column], release, schema.group)) for one in found)
    marked = _marked(schema, done, able)
    dropped = tuple(
        Personal(name, "not looked at", None, "the plan says so", DROPPED, stated=True)
        for name, column in plan.columns.items()
        if column.drop
    )
    if not release:
        blind = not able and suspects(table, schema)
        said = f"Personal data was looked for by names and simple forms alone; {INSTALL} brings what knows more."
        return Decided(marked, marked, done, (said,) if blind else ())
    told = tuple(_told((one for one in done if one.column != schema.group), plan.privacy.locale))
    return Decided(marked, _kept(plan, marked, done), (*done, *dropped), told)


def check_installed() -> None:
    """Raises DataError where the packages that look for personal data are not installed."""
    if not personal_values.ready():
        raise DataError(f"a release looks for personal data with packages that are not installed; run `{INSTALL}`")


def _done(one: Personal, column: Column, release: bool, group: str | None) -> str:
    if one.what == "none":
        return LEARNED
    if release and column.name == group:
        return ANEW  # it tells rows apart, and stays as an id
    if release and one.what != "birth_date":
        return DROPPED if one.what == "text" else ANEW
    return LEARNED if column.learned else "new ids are made" if column.kind == "id" else "left out"


def _marked(schema: Schema, found: Iterable[Personal], able: bool) -> Schema:
    """The schema with what its columns were found to hold; an id is no more than an id."""
    said = {one.column: None if one.what in ("none", "id", "text") else one.what.replace("_", " ") for one in found}
    columns = (replace(c, pii=said.get(c.name, None if able else c.pii)) for c in schema)
    return replace(schema, columns=tuple(columns))


def _kept(plan: Plan, schema: Schema, found: Iterable[Personal]) -> Schema:
    """What a release learns. The group's column stays, as an id: rows of one value must not be torn apart. So does one of
    people to whom something is promised, whatever it looks like, unless the plan states its kind."""
    away = {one.column for one in found if one.done in (DROPPED, ANEW)}
    if schema.target in away:
        what = next(one.what for one in found if one.column == schema.target)
        raise DataFault(
            ("target",),
            f"{schema.target!r} looks like personal data ({what}), which a release cannot learn; choose another target, "
            f"or state columns.{schema.target}.pii: none if it is none",
        )
    stated = schema.group in plan.columns and plan.columns[str(schema.group)].kind is not None
    tells = schema.group in away or (plan.privacy.unit == "group" and not stated)
    columns = tuple(
        replace(c, kind="id", categories=(), low=None, high=None) if tells and c.name == schema.group else c
        for c in schema
        if c.name not in away or c.name == schema.group
    )
    return replace(schema, columns=columns)


def _told(found: Iterable[Personal], locale: str) -> Iterable[str]:
    for done, said in (
        (ANEW, f"Made anew with Faker ({locale}) and never given to the generator"),
        (DROPPED, "Dropped, as free text can name anybody"),
    ):
        if names := [one.column for one in found if one.done == done]:
            yield f"{said}: {', '.join(names)}."
    if names := [one.column for one in found if one.done == LEARNED and one.what != "none"]:
        yield f"Learned although others may know it of a person: {', '.join(names)}; name it under privacy.quasi, or drop it."


def check_ruled(plan: Plan, found: Iterable[Personal]) -> None:
    """Refuse a rule over a column that is dropped or made anew. Raises DataFault at constraints.<place>."""
    away = {one.column: one.done for one in found if one.done in (DROPPED, ANEW)}
    for place, rule in enumerate(plan.constraints):
        for name in _columns_of(rule.model_dump()):
            if name in away:
                raise DataFault(
                    ("constraints", place),
                    f"the column {name!r} is {away[name]} as personal data, so no rule can hold it; leave the rule out, "
                    f"or state columns.{name}.pii: none",
                )


def _columns_of(rule: Mapping[str, object]) -> list[str]:
    named = [rule.get("column"), rule.get("settle"), *(rule.get("columns") or ())]  # type: ignore[misc]
    return [str(name) for name in named if name is not None]


def made_anew(run: Run) -> dict[str, str]:
    """Column -> what is made anew for it, of the profile of a run."""
    profile = json.loads((run.folder / "profile.json").read_text())
    return {one["column"]: one["what"] for one in profile.get("pii", ()) if one["done"] == ANEW}


def drawn_schema(run: Run) -> Schema:
    """The schema of rows as they are written: what the model draws, and what is made anew beside it, in the source's order."""
    schema, made = load_schema(run), made_anew(run)
    if not made:
        return schema
    source = pq.read_schema(run.folder / "work/data.parquet")
    ours = {name: _written(name, what, source.field(name).type) for name, what in made.items()}
    held = {**{column.name: column for column in schema}, **ours}
    return replace(schema, columns=tuple(held[name] for name in source.names if name in held))


def _written(name: str, what: str, dtype: pa.DataType) -> Column:
    plain = dtype.value_type if pt.is_dictionary(dtype) else dtype
    return Column(name=name, kind="id" if what == "id" else "text", dtype=str(plain), pii=what.replace("_", " "))


class Remade:
    """Adds the columns that are made anew to the rows of one draw, in their order; nothing where there are none."""

    def __init__(self, run: Run, *, seed: int) -> None:
        self.schema, self.seed, self.made = drawn_schema(run), seed, 0
        self.makers = makers(run, made_anew(run))

    def after(self, made: int) -> Remade:
        """The same for rows before which `made` others were drawn, in other files of the same draw."""
        twin = copy(self)
        twin.made = made
        return twin

    def add(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with what is made anew beside it."""
        if not self.makers:
            return batch
        arrow = self.schema.arrow()
        fresh = {name: maker.draw(self.made, batch.num_rows, self.seed) for name, maker in self.makers.items()}
        columns = [_cast(fresh.get(field.name, None), batch, field) for field in arrow]
        self.made += batch.num_rows
        return pa.RecordBatch.from_arrays(columns, schema=arrow)


def _cast(fresh: pa.Array | None, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    values = batch.column(field.name) if fresh is None else fresh
    return values if values.type == field.type else values.cast(field.type)


def makers(run: Run, made: Mapping[str, str]) -> dict[str, Remaker]:
    """What makes each column anew; columns that hold the same key share one."""
    if not made:
        return {}
    table = pq.read_table(run.folder / "work/data.parquet", columns=list(made))
    roots = keys_alike(table, made)
    out = {}
    for name in made:
        alike = [other for other in made if roots[other] == roots[name]]
        columns = [table.column(each) for each in dict.fromkeys((name, *alike))]
        out[name] = Remaker.fit(made[name], *columns, key=roots[name], locale=run.plan.privacy.locale, secret=run.secret)
    return out
