"""More rows from a fitted model: to a file, or as csv to stdout."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data.errors import DataError
from data.schema import Column, Schema
from data.signals_out import long_batches, long_schema
from flows.many import many_rows
from flows.pipes import say
from flows.run import Run
from flows.stages.personal import Remade
from flows.stages.sample import load_model
from flows.stages.shared import load_schema
from flows.watched import Watched


def more_rows(
    name: str,
    runs: Path,
    *,
    rows: int,
    where: list[str],
    seed: int,
    out: Path | None,
    shards: int | None = None,
    workers: int | None = None,
    only: int | None = None,
    on: str = "local",
) -> None:
    """Draw from the model of a run and write the rows as they come; memory does not grow with `rows`.

    A table goes into a folder `out` as `shards` Parquet files, drawn by `workers` processes, or as the shard `only` alone,
    here or on the Ray cluster `on`.

    Raises DataError for a condition that is not column=value, a file that is neither csv nor parquet, or shards of a file.
    """
    run = Run.find(name, runs, having="model")
    if run.plan.several:
        raise DataError("tables that refer to one another are drawn by a run; state sample.scale in its plan for more rows")
    _warn_of_verdict(run)
    schema, pictures = load_schema(run), run.plan.modality == "image"
    wanted = _conditions(where, schema)
    if not pictures and out is not None and not out.suffix:
        many_rows(run, rows=rows, where=wanted, seed=seed, out=out, shards=shards, workers=workers, only=only, on=on)
        return
    if (shards, workers, only, on) != (None, None, None, "local"):
        raise DataError("--shards, --workers, --shard and --on are for a folder of rows of a table; name one with --out rows")
    model = load_model(run)
    if pictures and (out is None or out.suffix not in ("", ".parquet")):
        raise DataError("pictures are written as .parquet or into a folder; name one with --out")
    if pictures and out is not None and not out.suffix:
        _into_folder(model.sample(rows, where=wanted or None, seed=seed), out, run)
        return
    if not pictures and out is not None and out.suffix not in (".csv", ".parquet"):
        raise DataError(f"{out}: rows are written as .csv or .parquet, or as many .parquet into a folder; name such")
    remade = Remade(run, seed=seed)
    batches: Iterator[pa.RecordBatch] = (remade.add(batch) for batch in model.sample(rows, where=wanted or None, seed=seed))
    written = remade.schema.arrow()
    if run.plan.modality == "series" and (out is None or out.suffix == ".csv"):  # text has no windows: a row a reading
        batches, written = long_batches(batches, schema), long_schema(schema)
    # The first rows are drawn before anything is opened: a condition that cannot be met leaves no half a file.
    drawn = chain([next(batches)], batches)
    beside = out.with_name(out.name + ".part") if out else None
    try:
        with _writer(beside, out, written) as writer:
            for batch in drawn:
                writer.write_batch(batch)
    except BaseException:
        if beside:
            beside.unlink(missing_ok=True)
        raise
    if out and beside:
        beside.replace(out)
        print(out)


def _warn_of_verdict(run: Run) -> None:
    """That the gate blocked what the same model drew, in a sentence: more of it is no better."""
    report = Watched.of(run).report()
    if report is not None and report["verdict"] not in ("PASS", "WARN"):
        say(f"rows of run {run.id} were judged {report['verdict']}, and more of its model are no better: {report['reason']}")


def _into_folder(batches: Iterator[pa.RecordBatch], out: Path, run: Run) -> None:
    from data.export import export
    from flows.exporting import normal_of
    from flows.stages.publish import flagged, published_schema

    marked = (flagged(batch, True) for batch in batches)
    export(marked, "folder", out, schema=published_schema(run), normal=normal_of(run))
    print(out)


def _conditions(where: list[str], schema: Schema) -> dict[str, str | None]:
    """Column -> the value asked of it. Raises DataError for what is not column=value, and for a column named twice."""
    wanted: dict[str, str | None] = {}
    for text in where:
        column, value = _condition(text, schema)
        if column in wanted:
            raise DataError(f"--where names the column {column!r} twice, and a row holds one value; name it once")
        wanted[column] = value
    return wanted


def _condition(text: str, schema: Schema) -> tuple[str, str | None]:
    """A column and the value asked of it; no text at all asks for a missing value, unless a level is written so."""
    column, equals, value = text.partition("=")
    compared = re.match(r"(.+?)\s*(?:[<>!~]=?|==)", text)
    if (
        compared
        and compared[1] in schema
        and (column not in schema or (value[:1] == "=" and not _level(schema[column], value)))
    ):
        raise DataError(f"--where {text}: there are no comparisons, only column=value, e.g. --where {compared[1]}=VALUE")
    if not equals:
        raise DataError(f"--where {text}: a condition is column=value, e.g. --where income='>50K'")
    asked = schema[column]
    blank = asked.discrete and any(not str(level).strip() for level in asked.categories)
    return column, value if value or blank or not asked.learned else None


def _level(column: Column, text: str) -> bool:
    return any(str(level).strip() == text.strip() for level in column.categories)


def _writer(beside: Path | None, out: Path | None, schema: pa.Schema) -> pq.ParquetWriter | pacsv.CSVWriter:
    try:
        if beside and out and out.suffix == ".parquet":
            return pq.ParquetWriter(beside, schema, compression="zstd")
        return pacsv.CSVWriter(beside or sys.stdout.buffer, schema)
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror or error}); name a file in a folder that exists") from None
