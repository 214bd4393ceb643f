"""How does a run's dataset of pictures get into the tools that train detectors?"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from data.errors import DataError
from flows.run import Run
from flows.stages.publish import published_schema, rows_to_publish
from flows.stages.shared import dataset

To = Literal["coco", "yolo", "folder"]


def export_run(name: str, runs: Path, *, to: To, out: Path | None, blocked: bool, force: bool, polygons: bool = False) -> Path:
    """Write the pictures of a run, as its plan publishes them, as COCO, YOLO or class folders; the folder written.

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
    export(
        rows_to_publish(run), to, folder, schema=published_schema(run), normal=normal_of(run), force=force,
        shape="polygon" if polygons else "box", license=run.plan.publish.license,
    )  # fmt: skip
    return folder


def normal_of(run: Run) -> str | None:
    """The class of good parts in a run: the one its family was told or found."""
    from data.images import normal_class, pictures

    stated = run.plan.generator.settings.get("normal")
    return normal_class(pictures(dataset(run, "train")), stated)
