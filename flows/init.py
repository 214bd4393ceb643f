"""What would a first plan for these data be? Looks at them and writes a commented one that runs as it stands."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from configs.plan import ChooseSpec, GateSpec
from data.dataset import Dataset
from data.errors import DataError
from data.remote import is_remote
from data.schema import Column, Schema
from data.secrets import hidden, holds_secret
from flows.init_sources import as_named, copied, pictures_of, plan_name, related_of, series_of_path, source_of, table_of
from flows.power import detectable
from flows.stages.shared import class_counts

TARGETS = re.compile(
    r"^(target|class|label|outcome|y|churn\w*|income|default\w*|is_?fraud|fraud\w*|diagnosis|survived|species|defect\w*)$", re.I
)
MOST_CLASSES = 20
#: How a line of a plan begins that says what its user should know of the data.
NOTE = "# Note: "
#: What must be told of a plan that avoids copies and promises nothing.
NO_PROMISE = (
    "avoid: privacy leaves out families that can copy rows, and promises nothing; real rows stand in the set: "
    "for rows that may leave the house, `counterpoise init --use release`."
)
MARGIN = 1.25
STEPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Sizes:
    """What fits data of this size: shares of the split, and what the gate can be asked to see by so many judged rows."""

    reference: float
    holdout: float
    draws: int
    detect: float
    judged: int


def write_plan(
    data: str,
    *,
    target: str | None,
    query: str | None,
    out: Path | None,
    force: bool,
    stated: ChooseSpec | None = None,
    named: bool = True,
    release: bool = False,
) -> Path:
    """Write a plan for a csv or parquet file, a folder of pictures or parquet, here or in a store, or a database url; the path
    it was written to.

    stated: the user's answers to the questions by which a family is chosen; named: whether the plan is to name one; release:
    whether the rows are to leave the house in place of the real ones.
    Raises DataError when the data cannot be read, cannot be balanced, are texts or programs, when no family is left for them,
    or when the plan would overwrite another.
    """
    from data.infer import infer
    from flows.choose import UNBUILT, NoFamilyError
    from flows.recognise import other_of

    if holds_secret(data):
        raise DataError(
            f"{hidden(data)}: the address spells out a password, which the plan would hold; put it into the environment and "
            "write its name in quotes, '...:${DB_PASSWORD}@...'"
        )
    stated = stated or ChooseSpec()
    # What lies in a store is looked at in a copy here; the plan names where it lies.
    place = str(copied(data)) if is_remote(data) else data
    if (other := other_of(place)) is not None:
        raise NoFamilyError(f"{data}: {UNBUILT[other]}")
    seen = pictures_of(place)
    if release and seen is not None:
        raise DataError(f"{data}: no family promises differential privacy of pictures, which a release needs")
    if seen is not None:
        from flows.init_pictures import pictures_plan

        text, name = pictures_plan(seen, Path(place), target=target, stated=stated, named=named, lies=(place, data))
        return _write(out or Path(f"{name}.yaml"), text, force=force)
    if seen is None and not release and (series := series_of_path(place)) is not None:
        from flows.init_series import series_plan

        text, name = series_plan(series, Path(place), target=target, stated=stated, named=named, lies=(place, data))
        return _write(out or Path(f"{name}.yaml"), text, force=force)
    if "://" in place and query is None and (several := related_of(data)) is not None:
        from flows.init_tables import tables_plan

        if target is not None or release:
            what = "have no target" if target is not None else "cannot be released together"
            raise DataError(f"tables that refer to one another {what}; choose one table's rows with --query")
        name = plan_name(data.rsplit("/", 1)[-1])
        return _write(out or Path(f"{name}.yaml"), lambda path: tables_plan(path, name, data, several), force=force)
    source, name = source_of(place, query)
    table = table_of(source)
    source = as_named(source, place, data)
    guessed = target or _guess_target(infer(table))
    schema = infer(table, target=guessed)
    rows = Dataset(table, schema)
    if release:
        from flows.init_release import release_plan

        return _write(
            out or Path(f"{name}.yaml"),
            lambda path: release_plan(path, name, source, rows, guessed, given=target is not None, stated=stated),
            force=force,
        )
    return _write(
        out or Path(f"{name}.yaml"),
        lambda path: _plan(path, name, source, rows, guessed, given=target is not None, stated=stated, named=named),
        force=force,
    )


def notes(plan: Path) -> list[str]:
    """What a plan that was just written says of the data, a sentence each."""
    lines = plan.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(NOTE) for line in lines if line.startswith(NOTE)]


def _write(path: Path, text: Callable[[Path], str], *, force: bool) -> Path:
    if path.exists() and not force:
        raise DataError(f"{path} is there already; add --force to write over it, or name another with --out")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written: there is no folder {path.parent}; make it or name another with --out")
    path.write_text(text(path), encoding="utf-8")
    return path


def _guess_target(schema: Schema) -> str | None:
    fit = [c for c in schema if c.discrete and 2 <= len(c.categories) <= MOST_CLASSES]
    named = [c.name for c in fit if TARGETS.match(c.name.strip())]
    if named:
        return named[0]
    last = schema.columns[-1]
    return last.name if last in fit else None


def _plan(
    path: Path,
    name: str,
    source: dict[str, Any],
    data: Dataset,
    target: str | None,
    *,
    given: bool,
    stated: ChooseSpec,
    named: bool,
) -> str:
    from data.profile import nearly_numbers
    from data.series import series_of
    from data.sources._nearly import nearly_of
    from flows.choose import AS_ROWS, UNBUILT
    from flows.init_choice import family_lines, first_choice

    nearly = nearly_numbers(data.schema, nearly_of(data.table))
    if not data.schema.learned and not nearly:
        raise DataError(f"no column can be learned: all are ids or free text, and {UNBUILT['text']}")
    counts = class_counts(data)
    balanced = len(set(counts.values())) > 1
    sizes = sizes_for(counts, data.num_rows, balanced)
    why = "" if given or target is None else "  # guessed from its name or place; change it if another column holds the classes"
    kept = 1 - sizes.reference - sizes.holdout
    found = first_choice(data, counts, stated, modality="tabular", balanced=balanced, kept=kept) if named else None
    series = series_of(data)
    lines = [
        f"# yaml-language-server: $schema={schema_reference(path)}",
        f"# counterpoise run {path}",
        f"# {data.num_rows:,} rows, {len(data.schema)} columns. Keys not named here have defaults.",
        *(f"{NOTE}{said}" for said in nearly),
        *([f"{NOTE}These look like one series, {series}: {AS_ROWS}."] if series else []),
        *([f"{NOTE}{found.advice}"] if found is not None and not found.answers else []),
        *([f"{NOTE}{NO_PROMISE}"] if "privacy" in stated.avoid else []),
        *nothing_asked(sizes.detect, "rows"),
        f"name: {name}",
        "seed: 0                 # all randomness comes from here",
        *read_from(source, target, why),
        "",
        *_columns(data.schema),
        *_rules(data),
        "split:",
        f"  reference: {sizes.reference:g}"
        + ("          # 0: so few rows that the training rows fix the gate's geometry" if not sizes.reference else ""),
        f"  holdout: {sizes.holdout:g}          # counted once, by the gate",
        "",
        *family_lines(found, stated),
        "",
        "sample:",
        *_sample(counts, balanced),
        "",
        *judged_and_published(sizes),
    ]
    return "\n".join(lines)


def read_from(source: dict[str, Any], target: str | None, why: str) -> list[str]:
    """The lines of a plan for a table that say where its rows lie and which column has the classes."""
    return [
        "data:",
        *(f"  {key}: {scalar(value)}" for key, value in source.items()),
        f"target: {scalar(target)}{why}" if target else "# target: <column>      # the column of the classes; none was found",
    ]


def judged_and_published(sizes: Sizes) -> list[str]:
    """The lines that a plan for a table ends with."""
    return [
        "gate:",
        f"  draws: {sizes.draws:<14} # rows that the gate draws for each holdout row it judges",
        *asked_to_see(sizes, "rows"),
        "",
        "publish:",
        "  root: published       # a folder, or s3://bucket/prefix",
        "",
    ]


def asked_to_see(sizes: Sizes, unit: str) -> list[str]:
    """The lines of a plan that say which modes must be visible, why not smaller ones, and what it means to ask for none."""
    line = f"  detect: {sizes.detect:<13g} # the smallest mode whose loss must be visible, as a share of the judged {unit}"
    usual = GateSpec().detect
    if sizes.detect <= usual:
        return [line]
    why = f"  # raised from {usual:g}, because only about {sizes.judged:,} holdout {unit} are judged"
    if sizes.detect < 1:
        return [line, why]
    return [
        line,
        why,
        f"  # 1 asks for nothing: the judged {unit} are too few to demand that a lost mode be noticed. What is lost may go",
        "  # unseen, and the set pass all the same; the report says what could be seen. Less than 1 makes that INCONCLUSIVE.",
    ]


def nothing_asked(detect: float, unit: str) -> list[str]:
    """What must be told of a plan whose gate demands no smallest mode: a line of it, which `init` prints too."""
    if detect < 1:
        return []
    return [
        f"{NOTE}Few {unit} can be judged, so the plan says `detect: 1`: the gate does not demand that a lost mode be noticed; "
        f"give more real {unit} of the classes that are judged, or read the report's smallest mode before you trust a PASS."
    ]


def schema_reference(path: Path) -> str:
    """Where the schema is, seen from the plan."""
    return os.path.relpath(Path(__file__).resolve().parent.parent / "configs/plan.schema.json", path.resolve().parent)


def _columns(schema: Schema) -> list[str]:
    """Notes on what was inferred, ready to be overruled."""
    shown = [f"#   {scalar(column.name)}: {{kind: {column.kind}}}{_remark(column)}" for column in schema]
    head = "# What was inferred; uncomment a line to overrule it (kind, categories, low, high, decimals, nullable, drop)."
    return [head, "# columns:", *shown, ""]


def _rules(data: Dataset) -> list[str]:
    """Rules that all rows hold: of times in force, as no chance keeps them in order; others ready to be."""
    from data.propose import propose

    found = propose(data.table, data.schema)
    if not found:
        return []
    timed = [r for r in found if r["use"] == "inequality" and all(data.schema[n].kind == "datetime" for n in r["columns"])]
    others = [_entry(rule) for rule in found if rule not in timed]
    if not timed:
        head = "# All rows hold these rules; uncomment those that must hold in drawn rows too."
        return [head, "# constraints:", *(f"#   {line}" for line in others), ""]
    head = "# All rows hold these rules, and those without # every drawn row will too; uncomment others that must hold."
    return [head, "constraints:", *(f"  {_entry(rule)}" for rule in timed), *(f"  # {line}" for line in others), ""]


def _entry(rule: dict[str, Any]) -> str:
    return f"- {{{', '.join(f'{key}: {_listed(value)}' for key, value in rule.items())}}}"


def _listed(value: Any) -> str:
    return f"[{', '.join(scalar(each) for each in value)}]" if isinstance(value, list) else scalar(value)


def _remark(column: Column) -> str:
    remarks = [f"{len(column.categories)} levels"] if column.kind == "categorical" else []
    remarks += [f"{column.low} to {column.high}"] if column.low is not None and column.kind != "id" else []
    remarks += [f"{100 * column.null_share:.2g} % missing"] if column.null_share else []
    remarks += [f"looks like personal data: {column.pii}"] if column.pii else []
    remarks += ["made anew"] if column.kind == "id" else []
    remarks += ["free text, left out"] if column.kind == "text" else []
    return f"  # {', '.join(remarks)}" if remarks else ""


def _sample(counts: dict[Any, int], balanced: bool) -> list[str]:
    if not balanced:
        return ["  mix: natural          # as many synthetic rows as real ones, in the same mix"]
    shown = ", ".join(f"{str(level).strip()} {n:,}" for level, n in list(counts.items())[:6])
    return [f"  mix: balanced         # every class is filled up to the largest: {shown}", "  include_real: true"]


def sizes_for(
    counts: dict[Any, int], rows: int, balanced: bool, *, judged: int | None = None, wanted: int = 0, most: int | None = None
) -> Sizes:
    """Shares and limits that fit data of this size. judged: holdout rows that are judged, where they are known; wanted: how
    many should be, if half of them is enough for that; most: rows that the gate should draw at most, where that takes time."""
    least = min(counts.values()) if counts else rows
    reference = 0.0 if least < 100 else 0.15
    holdout = 0.3 if least < 100 else 0.25
    those = (rows - max(counts.values())) if balanced else rows
    holdout = min(0.5, max(holdout, math.ceil(100 * wanted / max(1, those)) / 100))
    n = max(1, int(holdout * those)) if judged is None else max(1, judged)
    draws = 10 if n >= 500 else 50
    if most is not None:
        draws = max(10, min(draws, most // n))
    seen = detectable(GateSpec(draws=draws), n) or 1.0
    # The gate tests a few cells more or fewer than is foretold; a plan that asks for the last bit would be INCONCLUSIVE.
    return Sizes(reference, holdout, draws, next((step for step in STEPS if MARGIN * seen <= step), 1.0), n)


def scalar(value: Any) -> str:
    """One value as YAML writes it inside a line."""
    out = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width, yaml.allow_unicode = True, 10_000, True
    yaml.dump([value], out)
    return out.getvalue().strip()[1:-1]
