"""What would a first plan be for rows that may leave the house in place of the real ones?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from configs.plan import ChooseSpec
from data.dataset import Dataset
from data.schema import Column
from flows.choose import Facts, In, NoFamilyError, device_of, refused, rubric
from flows.init import NOTE, judged_and_published, nothing_asked, read_from, scalar, schema_reference, sizes_for
from flows.stages.shared import class_counts

#: Levels of a column that a plan lists at most, and rows that hold one at least: a rarer one may be somebody's.
LEVELS, HELD = 40, 5
#: What `data.infer` calls columns that are not to be declared.
PERSONAL = ("name", "email", "phone", "address", "national id", "bank account")
#: The budget that a first plan names.
EPSILON = 3


def release_plan(
    path: Path,
    name: str,
    source: dict[str, Any],
    data: Dataset,
    target: str | None,
    *,
    given: bool,
    stated: ChooseSpec,
) -> str:
    """The text of a plan whose columns pay from the budget for what nobody declares, and of what could be declared.

    Of numbers it says no ends, and of levels none that fewer than HELD rows hold: what is copied from rows is theirs."""
    counts = class_counts(data)
    sizes = sizes_for(counts, data.num_rows, False)
    why = "" if given or target is None else "  # guessed from its name or place; change it if another column holds the classes"
    first, note = _first(data, stated, kept=1 - sizes.reference - sizes.holdout)
    lines = [
        f"# yaml-language-server: $schema={schema_reference(path)}",
        f"# counterpoise run {path}",
        f"# A release: synthetic rows in place of {data.num_rows:,} real ones of {len(data.schema)} columns.",
        *([f"{NOTE}{note}"] if note else []),
        *nothing_asked(sizes.detect, "rows"),
        f"name: {name}",
        "purpose: release        # synthetic rows only, with a promise",
        "seed: 0",
        *read_from(source, target, why),
        "# group: <column>       # of one person's rows, where somebody has several: then see privacy.unit below",
        "",
        "# Uncomment what your codebook states: it is free of charge, and finer than what the budget can find. Do not copy it",
        "# from the rows: the smallest and the largest value are somebody's. The levels below are such a copy, to save you",
        f"# typing (those that {HELD} rows or more hold): keep what the codebook lists, and add what it lists and no row has.",
        "# columns:",
        *(f"#   {scalar(c.name)}: {_declared(c, data)}" for c in data.schema),
        "",
        "generator:",
        f"  use: {first.family:<17} # {first.reason.partition('; mind')[0]}",
        "",
        "privacy:",
        f"  epsilon: {EPSILON}            # what one row may change: odds by a factor of e^epsilon at most",
        "  bounds: budget        # what no column states is found by noisy counts and paid for: of few rows hardly anything",
        f"  source: {scalar(name):<13} # what the ledger calls these people: plans of other tables of them name the same",
        "  cap: 10               # the most that may ever be spent of them, over all runs (privacy.sqlite remembers)",
        "  # unit: group         # promise for all rows of one value of `group`; rows: how many of them are learned from",
        f"  # quasi: {_quasi(data)}   # what an attacker may know of a person; all columns if not stated",
        "",
        "split:",
        f"  reference: {sizes.reference:g}",
        f"  holdout: {sizes.holdout:g}          # counted once, by the gate",
        "",
        *judged_and_published(sizes),
    ]
    return "\n".join(lines)


def _first(data: Dataset, stated: ChooseSpec, *, kept: float) -> tuple[In, str]:
    """The private family that is left, and what the user should know; where so few rows end all of them, the one of fewest."""
    facts = Facts(
        modality="tabular",
        rows=int(kept * data.num_rows),
        device=device_of(),
        release=True,
        refuse=lambda family: refused(family, data),
    )
    try:
        return rubric(facts, stated, balanced=False).left[0], ""
    except NoFamilyError as error:
        if stated.model_fields_set - {"avoid"}:
            raise
        return In("dp_marginals", "the best at few rows"), str(error)


def _declared(column: Column, data: Dataset) -> str:
    """What a codebook would state of a column, left empty where only the rows could say it."""
    if column.kind in ("id", "text") or column.pii in PERSONAL:
        what = column.pii or ("an id" if column.kind == "id" else "free text")
        return f"{{drop: true}}  # {what}: `counterpoise plan` says what becomes of it if it stays"
    remark = f"  # looks like personal data: {column.pii}" if column.pii else ""
    nulls = "true" if column.null_share else "false"
    if column.kind == "boolean":
        return f"{{nullable: {nulls}}}{remark}"
    if not column.discrete:
        hint = ", e.g. low: 1920-01-01" if column.kind == "datetime" else ""
        return f"{{low: , high: , nullable: {nulls}}}{remark or f'  # {column.kind}{hint}'}"
    held = Counter(data.column(column.name).to_pylist())
    levels = sorted((v for v, n in held.items() if v is not None and n >= HELD), key=str)
    if len(levels) > LEVELS:
        return f"{{categories: [], nullable: {nulls}}}{remark or f'  # {len(column.categories)} levels'}"
    more = "" if len(levels) == len(column.categories) else ", ..."
    return f"{{categories: [{', '.join(scalar(v) for v in levels)}{more}], nullable: {nulls}}}{remark}"


def _quasi(data: Dataset) -> str:
    names = [c.name for c in data.schema.learned if c.name != data.schema.target and c.pii not in PERSONAL][:4]
    return f"[{', '.join(scalar(n) for n in names)}]"
