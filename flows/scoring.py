"""How unusual is each of these pictures, windows or rows, to a model that can tell?"""

from __future__ import annotations

import csv
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.plan import Plan
from data.dataset import Dataset
from data.errors import DataError
from data.schema import Schema
from data.sources._typed import AMONG_NUMBERS, typed
from flows.pipes import note
from flows.run import Run, write_text
from flows.stages.read import notices_of
from flows.stages.sample import load_model
from flows.stages.shared import load_schema

#: Keys of a plan's data that also hold for other pictures of the same kind.
KEPT = ("size", "fit", "mode")


def score_rows(name: str, runs: Path, data: Path, *, out: Path | None) -> None:
    """Write the anomaly score of each picture of `data` as csv (source, class, score), of each window of series (entity, start,
    end, source, class, score, and where the model knows it how rare that is among normal ones), or of each row (row, score; the
    first is 0), highest first.

    Raises DataError when the model of the run gives no scores, or the data cannot be read or lack a column."""
    if not data.exists():
        raise DataError(f"{data}: there is no such file or folder; name the rows or pictures that are to be scored")
    run = Run.find(name, runs, having="model")
    model: Any = load_model(run)
    if not hasattr(model, "score"):
        use = {"image": "image.vae", "series": "series.vae"}.get(run.plan.modality, "autoregressive")
        raise DataError(f"{run.settled.generator.use} gives no anomaly scores; fit {use} for them")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise DataError(f"{out} cannot be written; name a file in a folder that exists")
    if run.plan.several:
        raise DataError("rows of tables that refer to one another cannot be scored; score a run of one table")
    head, lines = _told(run, model, data)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    if out is None:
        sys.stdout.write(text.getvalue())
        return
    write_text(out, text.getvalue())
    print(out)


def _told(run: Run, model: Any, data: Path) -> tuple[list[str], Iterator[list[Any]]]:
    """The head and the lines, the highest score first."""
    if run.plan.modality == "series":
        from flows.scoring_series import scored, series_like

        windows = series_like(run, data)
        return scored(model, windows, np.asarray(model.score(windows)))
    pictures = run.plan.modality == "image"
    rows = _pictures_like(run, data) if pictures else _rows_like(run, data)
    scores = np.asarray(model.score(rows))
    shown = [rows.column(column).to_pylist() for column in ("source", "class")] if pictures else [range(rows.num_rows)]
    order = np.argsort(-scores, kind="stable")
    head = ["source", "class", "score"] if pictures else ["row", "score"]
    return head, ([*(values[i] for values in shown), f"{scores[i]:.6g}"] for i in order)


def _rows_like(run: Run, data: Path) -> Dataset:
    """The columns of a csv or Parquet file that the run's model has learned, read as the run's own rows were."""
    schema = load_schema(run)
    source: Any = "parquet" if data.is_dir() or data.suffix.lower() in (".parquet", ".pq") else "csv"
    own = run.plan.data
    options = own.model_dump(exclude={"use", "keep", "path"}, exclude_none=True) if own.use == source else {}
    table = importlib.import_module(f"data.sources.{source}").read(data, **options)
    names = [column.name for column in schema.learned]
    if gone := [name for name in names if name not in table.column_names]:
        raise DataError(f"{data} lacks the column {gone[0]!r}, which the model has learned; the columns are those of the run")
    _refuse_bad_cells(table, schema, data, AMONG_NUMBERS | {"NA"} if options.get("missing") is None else frozenset())
    return Dataset(table.select(names), schema.select(names))


def _refuse_bad_cells(table: pa.Table, schema: Schema, data: Path, markers: frozenset[str]) -> None:
    """Name the first value that is no number, or no date, where the model has learned such; markers are missing among them."""
    for column in schema.of_kind("numeric", "integer", "datetime"):
        values, moments = table.column(column.name), column.kind == "datetime"
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if _fits(values.type, moments):
            continue
        # Of text, cells that would be read as numbers by themselves are right; of other types none is.
        seen: dict[Any, bool] = {None: True, **dict.fromkeys(markers, True)}
        what = "dates" if moments else "numbers"
        for row, value in enumerate(values.to_pylist()):
            if value not in seen:
                seen[value] = isinstance(value, str) and _fits(
                    typed(pa.chunked_array([[value]]), "", commas=True).type, moments
                )
            if not seen[value]:
                raise DataError(
                    f"{data}: column {column.name!r} holds {str(value)!r} in row {row} (the first is 0), where the model has "
                    f"learned {what}; correct that value, or leave it empty"
                )
        if values.null_count < len(values):
            raise DataError(
                f"{data}: column {column.name!r} is text, where the model has learned {what}; write it as {what} throughout"
            )


def _fits(dtype: pa.DataType, moments: bool) -> bool:
    """Whether values of this type are of the kind that was learned: dates and times, or numbers; nulls are of both."""
    if pa.types.is_null(dtype):
        return True
    if moments:
        return bool(pa.types.is_timestamp(dtype) or pa.types.is_date(dtype))
    number = pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)
    return bool(number or pa.types.is_boolean(dtype))


def _pictures_like(run: Run, data: Path) -> Dataset:
    """The pictures of a folder, index or annotations, brought to the size and mode of the run's own."""
    from data.images import IMAGE, decode, schema
    from data.sources._pictures import recognise

    found = recognise(data) if data.exists() else None
    if found is None:
        raise DataError(f"{data} holds no pictures; name a folder of pictures, an index csv or annotations")
    options = {key: value for key, value in found.items() if key != "use"} | _looks(run.plan)
    known = decode(Dataset.from_parquet(run.folder / "work/train.parquet", load_schema(run)).column(IMAGE)[0].as_py()["bytes"])
    options |= {"size": known.shape[0], "mode": "gray" if known.shape[2] == 1 else "rgb"}
    # Pictures to be scored may be one, or of one class, or of none that is known.
    options |= {"few": True, "near_duplicates": False}
    table = importlib.import_module(f"data.sources.{found['use']}").read(**options)
    for sentence in notices_of(table):
        note(f"score    · {sentence}")
    levels = sorted({str(level) for level in table.column("class").to_pylist()})
    return Dataset(table, schema(levels))


def _looks(plan: Plan) -> dict[str, Any]:
    stated = plan.data.model_dump(exclude_none=True)
    return {key: stated[key] for key in KEPT if key in stated}
