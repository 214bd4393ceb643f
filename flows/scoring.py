"""How unusual is each of these pictures, to a model that can tell?"""

from __future__ import annotations

import csv
import importlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from configs.plan import Plan
from data.dataset import Dataset
from data.errors import DataError
from flows.run import Run, write_text
from flows.stages.read import notices_of
from flows.stages.sample import load_model
from flows.stages.shared import load_schema

#: Keys of a plan's data that also hold for other pictures of the same kind.
KEPT = ("size", "fit", "mode")


def score_rows(name: str, runs: Path, data: Path, *, out: Path | None) -> None:
    """Write the anomaly score of each picture of `data` as csv (source, class, score), highest first.

    Raises DataError when the model of the run gives no scores, or the pictures cannot be read."""
    run = Run.find(name, runs, having="model")
    model: Any = load_model(run)
    if not hasattr(model, "score"):
        raise DataError(f"{run.plan.generator.use} gives no anomaly scores; fit image.vae for them")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise DataError(f"{out} cannot be written; name a file in a folder that exists")
    rows = _pictures_like(run, data)
    scores = np.asarray(model.score(rows))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "class", "score"])
    sources, classes = (rows.column(column).to_pylist() for column in ("source", "class"))
    for i in np.argsort(-scores, kind="stable"):
        writer.writerow([sources[i], classes[i], f"{scores[i]:.6g}"])
    if out is None:
        sys.stdout.write(text.getvalue())
        return
    write_text(out, text.getvalue())
    print(out)


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
        print(f"score    · {sentence}", file=sys.stderr)
    levels = sorted({str(level) for level in table.column("class").to_pylist()})
    return Dataset(table, schema(levels))


def _looks(plan: Plan) -> dict[str, Any]:
    stated = plan.data.model_dump(exclude_none=True)
    return {key: stated[key] for key in KEPT if key in stated}
