"""How does a run's dataset of pictures or series get into the tools that learn from it?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.words import UNITS
from flows.run import Run
from flows.stages.publish import flagged, published_schema
from flows.stages.shared import SPLIT, dataset, load_schema

if TYPE_CHECKING:
    from data.export import Exported
    from data.export_series import ExportedSeries

To = Literal["coco", "yolo", "folder", "wav", "audio", "long", "csv"]
#: What each modality is written as.
WAYS = {"image": ("coco", "yolo", "folder"), "series": ("wav", "audio", "long", "csv")}


def export_run(
    name: str, runs: Path, *, to: To, out: Path | None, blocked: bool, force: bool, polygons: bool = False
) -> Exported | ExportedSeries:
    """Write the pictures of a run as COCO, YOLO or class folders, its series as sounds or long tables, train apart from what
    must not train; what was written.

    Real ones, where the plan includes them, stand in the part they had in the run, synthetic ones in train.
    polygons: YOLO labels are outlines of the masks, for segmentation, in place of boxes.

    Raises DataError for a run of a table, one without a verdict, and one that did not pass unless `blocked`."""
    from data.export import export

    run = Run.find(name, runs, having="decision.json")
    modality, folder = run.plan.modality, out or Path(f"{run.plan.name}-{to}")
    if modality not in WAYS:
        raise DataError(
            f"run {run.id} holds rows of a table; its dataset is Parquet already, and export is for pictures and series"
        )
    if to not in WAYS[modality]:
        raise DataError(f"--to {to}: {UNITS[modality]}s of run {run.id} are written as {', '.join(WAYS[modality])}")
    verdict = run.stages["judge"]["facts"]["verdict"]
    if verdict not in ("PASS", "WARN") and not blocked:
        raise DataError(
            f"run {run.id} is {verdict}, so its {UNITS[modality]}s must not go out; add --blocked to look at them all the same"
        )
    if modality == "series":
        from data.export_series import export_series

        return export_series(lambda: rows_to_export(run), cast(Any, to), folder, schema=load_schema(run), force=force)
    done = export(
        rows_to_export(run), cast(Any, to), folder, schema=published_schema(run), normal=normal_of(run), force=force,
        shape="polygon" if polygons else "box", license=run.plan.publish.license,
    )  # fmt: skip
    return replace(done, folder=folder)


def rows_to_export(run: Run) -> Iterator[pa.RecordBatch]:
    """The pictures, each marked by `is_synthetic` and by `split`: the real ones as the run divided them, then the drawn ones.

    Real pictures in no part, whose group is kept for judging, are not among them: in train they would give the holdout away."""
    if run.plan.sample.include_real:
        same = run.stages["split"]["facts"]["reference_is_train"]
        for part in ("train", "holdout") if same else ("train", "reference", "holdout"):
            for batch in dataset(run, part).batches():
                yield _placed(flagged(batch, False), part)
    files = sorted((run.folder / "samples").glob("*.parquet"))
    for batch in Dataset.from_parquet(files, load_schema(run)).batches():
        yield _placed(flagged(batch, True), "train")


def _placed(batch: pa.RecordBatch, part: str) -> pa.RecordBatch:
    return batch.append_column(SPLIT, pa.array([part] * batch.num_rows))


def normal_of(run: Run) -> str | None:
    """The class of good parts in a run: the one its family was told or found."""
    from data.images import normal_class, pictures

    stated = run.settled.generator.settings.get("normal")
    return normal_class(pictures(dataset(run, "train")), stated)
