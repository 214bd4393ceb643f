"""What would a first plan for these series be?"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from configs.plan import ChooseSpec
from data.dataset import Dataset
from data.errors import DataError
from data.windows import SERIES, description
from flows.init import NOTE, Sizes, asked_to_see, nothing_asked, scalar, schema_reference, sizes_for
from flows.init_choice import family_lines, first_choice
from flows.init_sources import as_named, plan_name
from flows.stages.read import notices_of
from flows.stages.shared import class_counts

#: Windows that the gate should judge, and those that it should draw at most.
JUDGED, DRAWN = 10, 3000
#: What keys of the source mean, beside those that say where it lies.
MEANS = {
    "length": "readings of a window, or a duration as 8h",
    "stride": "from the begin of one window to the next",
    "time": "the column of the moments",
    "entity": "whose readings they are",
}


def series_plan(
    source: dict[str, Any],
    path: Path,
    *,
    target: str | None,
    stated: ChooseSpec,
    named: bool,
    lies: tuple[str, str] = ("", ""),
) -> tuple[Callable[[Path], str], str]:
    """The text of a plan for series (given where it will stand), and the plan's name.

    source: how to read them, as `recognise_series` found; target: the column of the classes of readings; lies: the place that
    is looked at, and what the plan is to call it. Raises DataError when they cannot be read."""
    if target is not None:
        if source["use"] != "series":
            raise DataError(f"{path}: of sound the folders are the classes; leave --target out")
        source = source | {"class_column": target}
    options = {key: value for key, value in source.items() if key != "use"}
    table = importlib.import_module(f"data.sources.{source['use']}").read(**options)
    rows = Dataset(table.replace_schema_metadata(None), description(table))
    name = plan_name(path.resolve().name)
    source = as_named(source, *lies)
    return lambda where: _text(where, name, source, table, rows, stated, named=named), name


def _text(
    path: Path, name: str, source: dict[str, Any], table: pa.Table, rows: Dataset, stated: ChooseSpec, *, named: bool
) -> str:
    counts = class_counts(rows)
    balanced = len(set(counts.values())) > 1
    sizes = _sizes(rows, counts, balanced)
    kept = 1 - sizes.reference - sizes.holdout
    found = first_choice(rows, counts, stated, modality="series", balanced=balanced, kept=kept) if named else None
    column = rows.schema[SERIES]
    shown = ", ".join(f"{c} {n:,}" for c, n in list(counts.items())[:8])
    what = f"{rows.num_rows:,} windows of {', '.join(column.channels[:8])}{': ' + shown if shown else ''}."
    lines = [
        f"# yaml-language-server: $schema={schema_reference(path)}",
        f"# counterpoise run {path}",
        f"# {what} Keys not named here have defaults.",
        *(f"{NOTE}{said}" for said in notices_of(table)),
        *([f"{NOTE}{found.advice}"] if found is not None and not found.answers else []),
        *nothing_asked(sizes.detect, "windows"),
        f"name: {name}",
        "seed: 0                 # all randomness comes from here",
        "data:                   # for readings as rows without an order: {use: csv, path: ...}",
        *(_key(key, value) for key, value in source.items()),
        *([] if counts or source["use"] != "series" else ["  # events: labels.csv    # start, end and class of what happened"]),
        "",
        "split:",
        f"  reference: {sizes.reference:g}"
        + ("          # 0: so few windows that the training ones fix the gate's geometry" if not sizes.reference else ""),
        f"  holdout: {sizes.holdout:g}          # counted once, by the gate; no window overlaps one of another part",
        "",
        *family_lines(found, stated, pictures=True),
        "",
        "sample:",
        "  mix: balanced         # every class is filled up to the largest"
        if balanced
        else "  mix: natural          # as many as real ones",
        "  include_real: true",
        "",
        "gate:",
        f"  draws: {sizes.draws:<14} # windows that the gate draws for each holdout window it judges",
        *asked_to_see(sizes, "windows"),
        "",
        "publish:",
        "  root: published       # a folder, or s3://bucket/prefix",
        "",
    ]
    return "\n".join(lines)


def _sizes(rows: Dataset, counts: dict[Any, int], balanced: bool) -> Sizes:
    """What fits so many windows: how many are judged is counted, as some fall out where parts meet."""
    from data.split_series import split_windows

    sizes = sizes_for(counts, rows.num_rows, balanced, wanted=JUDGED, most=DRAWN)
    held = split_windows(rows, reference=sizes.reference, holdout=sizes.holdout, seed=0).holdout
    top = max(counts.values(), default=0)
    judged = [n for level, n in class_counts(held).items() if not balanced or counts[level] < top]
    return sizes_for(
        counts, rows.num_rows, balanced, judged=sum(judged) if counts else held.num_rows, wanted=JUDGED, most=DRAWN
    )


def _key(key: str, value: Any) -> str:
    shown = f"[{', '.join(scalar(each) for each in value)}]" if isinstance(value, list | tuple) else scalar(value)
    line = f"  {key}: {shown}"
    return f"{line:<23} # {MEANS[key]}" if key in MEANS else line
