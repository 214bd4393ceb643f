"""How does a run's dataset of pictures get into the tools that train detectors?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from flows.run import Run
from flows.stages.publish import flagged, published_schema
from flows.stages.shared import SPLIT, dataset, load_schema

if TYPE_CHECKING:
    from data.export import Exported

To = Literal["coco", "yolo", "folder"]


def export_run(
    name: str, runs: Path, *, to: To, out: Path | None, blocked: bool, force: bool, polygons: bool = False
) -> Exported:
    """Write the pictures of a run as COCO, YOLO or class folders, train apart from what must not train; what was written.

    Real pictures, where the plan includes them, stand in the part they had in the run, synthetic ones in train.
    polygons: YOLO labels are outlines of the masks, for segmentation, in place of boxes.

    Raises DataError for a run of a table, one without a verdict, and one that did not pass unless `blocked`."""
    from data.export import export

    run = Run.find(name, runs, having="decision.json")
    if run.plan.modality != "image":
        raise DataError(f"run {run.id} holds rows of a table; its dataset is Parquet already, and export is for pictures")
    verdict = run.stages["judge"]["facts"]["verdict"]
    if verdict not in ("PASS", "WARN") and not blocked:
        raise DataError(
            f"run {run.id} is {verdict}, so its pictures must not go out; add --blocked to look at them all the same"
        )
    folder = out or Path(f"{run.plan.name}-{to}")
    done = export(
        rows_to_export(run), to, folder, schema=published_schema(run), normal=normal_of(run), force=force,
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
