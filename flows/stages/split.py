"""Which rows may the generator see, and which does the gate keep for itself?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.dataset import Dataset
from flows.run import Run, Stage
from flows.stages.shared import Step, dataset, key_of
from generators.base import Progress


def _split(run: Run, progress: Progress) -> Mapping[str, Any]:
    from data.split import split

    plan = run.plan
    parts = split(dataset(run), reference=plan.split.reference, holdout=plan.split.holdout, seed=plan.seed, group=plan.group)
    rows = {}
    for name in ("train", "reference", "holdout"):
        part: Dataset = getattr(parts, name)
        part.write_parquet(run.folder / f"work/{name}.parquet")
        rows[name] = part.num_rows
    return {"rows": rows, "reference_is_train": plan.split.reference == 0}


STEP = Step(
    Stage("split", tuple(f"work/{part}.parquet" for part in ("train", "reference", "holdout"))),
    key_of("split", "profile", "data/split.py", part=lambda p: [p.split, p.seed]),
    _split,
)
