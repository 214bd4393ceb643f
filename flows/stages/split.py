"""Which rows may the generator see, and which does the gate keep for itself?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data.dataset import Dataset
from data.errors import DataError
from data.words import said_of
from flows.run import Run, Stage
from flows.stages.shared import SPLIT, Step, dataset, key_of
from generators.base import Progress

if TYPE_CHECKING:
    from data.split import Split


def parts_of(run: Run) -> Split:
    """The division of a run's rows, as its plan says: always the same."""
    from data.split import split, split_as

    plan = run.plan
    if plan.split.from_source:
        return split_as(dataset(run), _stated(run))
    if plan.modality == "series":
        from data.split_series import split_windows

        shares = {"reference": plan.split.reference, "holdout": plan.split.holdout}
        return split_windows(dataset(run), **shares, seed=plan.seed, how=plan.split.by)
    return split(dataset(run), reference=plan.split.reference, holdout=plan.split.holdout, seed=plan.seed, group=plan.group)


def _split(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan, parts, rows = run.plan, parts_of(run), {}
    for name in ("train", "reference", "holdout"):
        part: Dataset = getattr(parts, name)
        part.write_parquet(run.folder / f"work/{name}.parquet")
        rows[name] = part.num_rows
    facts = {"rows": rows, "reference_is_train": parts.reference_rows is parts.train_rows}
    notices = [said_of(said, plan.modality) for said in parts.notices]
    return facts | ({"notices": notices} if parts.left or parts.said else {})


def _stated(run: Run) -> list[str | None]:
    """The part that the source states for each row. Raises DataError when it states none."""
    import pyarrow.parquet as pq

    path = run.folder / "work/data.parquet"
    if SPLIT not in pq.read_schema(path).names:
        raise DataError("split.from_source: the source states no division into train and test; set it to false")
    parts: list[str | None] = pq.read_table(path, columns=[SPLIT]).column(SPLIT).to_pylist()
    return parts


STEP = Step(
    Stage("split", tuple(f"work/{part}.parquet" for part in ("train", "reference", "holdout"))),
    key_of("split", "profile", "data/split.py", "data/split_series.py", part=lambda p: [p.split, p.seed]),
    _split,
)
