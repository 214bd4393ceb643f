"""What is one family worth on a few rows? One trial of a bake-off or of tuning, in a process of its own.

    python -m flows.trial FOLDER

FOLDER holds job.json; the figures, or why there are none, go to the file that it names. The same seed gives the same rows;
times and memory are those of the moment."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from data.dataset import Dataset
    from data.schema import Schema
    from validators.stats import Array

#: Resamples of the reference rows, the same in all trials, and digits that are kept of a figure.
DRAWS, DIGITS = 200, 6
#: Rows that are drawn of a class to fill it up, at most.
FILLED = 10_000
#: Seconds between two looks at whether the process that asked is still there.
EVERY = 1.0


@dataclass(frozen=True)
class Job:
    """What is tried. scarce: positions of the classes whose average precision is asked; began: when, since the epoch."""

    plan: str
    use: str
    settings: Mapping[str, Any]
    train: str
    reference: str
    schema: str
    scarce: Sequence[int]
    seed: int
    began: float
    out: str


def main(folder: Path) -> int:
    """Try what the folder's job names; 0 also where the family failed, as the file then says why."""
    # Ctrl-C is for the process that asked: it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answer(Job(**json.loads((folder / "job.json").read_text())))
    return 0


def answer(job: Job) -> dict[str, Any]:
    """Do the work, and write its record: figures, or why there are none."""
    from data.errors import UserError
    from flows.measure import peak_mib
    from flows.run import write_text

    try:
        found = work(job)
    except MemoryError:
        found = {"failed": "it ran out of memory"}
    except UserError as error:
        found = {"failed": str(error)}
    except Exception as error:  # whatever a family raises: it loses, and the others go on
        found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    found |= {"seconds": round(time.time() - job.began, 3), "peak_mb": round(peak_mib(), 1)}
    write_text(Path(job.out), json.dumps(found))
    return found


def _end_with(parent: int) -> None:
    """A trial that nobody waits for any more, as its run was killed, must not go on."""
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)


def work(job: Job) -> dict[str, Any]:
    """Fit, draw, and score on the reference rows. Raises what the family raises."""
    import pyarrow.parquet as pq

    from configs.load import load
    from configs.plan import GeneratorSpec
    from data.dataset import Dataset
    from data.schema import Schema
    from flows.stages.rules import family_of, one_draw
    from flows.stages.shared import class_counts

    schema = Schema.from_json(json.loads(Path(job.schema).read_text()))
    train, reference = (Dataset(pq.read_table(path), schema) for path in (job.train, job.reference))
    family = family_of(load(Path(job.plan)).model_copy(update={"generator": GeneratorSpec(use=job.use, **dict(job.settings))}))
    started = time.perf_counter()
    fitted = family.fit(train, seed=job.seed)
    fit_seconds = time.perf_counter() - started
    started = time.perf_counter()
    model = one_draw(fitted)
    like = _draw(model, schema, class_counts(reference) or {None: reference.num_rows}, job.seed)
    filled = _draw(one_draw(fitted), schema, _lacking(train, job.scarce), job.seed + 1) if job.scarce else None
    drawn = like.num_rows + (filled.num_rows if filled is not None else 0)
    thousand = 1000 * (time.perf_counter() - started) / max(drawn, 1)
    times = {"rows": train.num_rows, "fit_seconds": round(fit_seconds, 3), "seconds_per_1000": round(thousand, 4)}
    return times | scores(train, reference, like, filled, job.scarce, job.seed)


def scores(
    train: Dataset, reference: Dataset, like: pa.Table, filled: pa.Table | None, scarce: Sequence[int], seed: int
) -> dict[str, Any]:
    """Coverage, the AUC of a classifier that tells drawn rows from reference rows, and what filled classes bring to a model.

    like: drawn rows, of each class as many as the reference has; filled: those that fill scarce classes up, None without.
    Each figure comes with its values over resamples of the reference rows, the same in all trials of a seed."""
    import numpy as np

    from validators._utility_scores import resampled

    classes = reference.labels() if reference.schema.classes() else np.zeros(reference.num_rows, dtype=np.int64)
    weights = resampled(classes, np.ones(len(classes)), DRAWS, np.random.default_rng([seed, 29]))
    each = dict(zip(("coverage", "auc"), _near(reference, like, seed), strict=True))
    figures = {name: values @ weights / weights.sum(axis=0) for name, values in each.items()}
    out: dict[str, Any] = {"utility": None}
    if filled is not None:
        plain, more = (_precision(train, rows, reference, scarce, weights, seed) for rows in (None, filled))
        if plain is not None and more is not None:
            figures["utility"] = more - plain
            out["without"] = round(float(plain[0]), DIGITS)
    out |= {name: round(float(values[0]), DIGITS) for name, values in figures.items()}
    return out | {"draws": {name: [round(float(v), DIGITS) for v in values[1:]] for name, values in figures.items()}}


def _near(reference: Dataset, like: pa.Table, seed: int) -> tuple[Array, Array]:
    """Of each reference row: whether a drawn row is within its fifth neighbour's distance, and its part of the AUC."""
    import numpy as np

    from data.dataset import Dataset
    from data.encode import Geometry
    from validators.coverage import JITTER, coverage
    from validators.fidelity import told_apart
    from validators.points import points

    geometry = Geometry.fit(reference, with_target=True)
    real, made = (
        points(geometry, rows, np.arange(rows.num_rows)).astype(np.float64)
        for rows in (reference, Dataset(like, reference.schema))
    )
    rng = np.random.default_rng([seed, 37])
    a, b = (cloud + rng.uniform(-JITTER, JITTER, cloud.shape) for cloud in (real, made))
    return coverage(a, b).astype(float), told_apart(real, made, seed=seed)


def _precision(
    train: Dataset, rows: pa.Table | None, reference: Dataset, scarce: Sequence[int], weights: Array, seed: int
) -> Array | None:
    """Mean average precision of the scarce classes on the reference rows: (1 + DRAWS,); None where none can be asked."""
    import numpy as np
    import pyarrow as pa

    from data.dataset import Dataset
    from validators.worth import BOOSTING, LEAST, METRICS, figures, trained

    both = train if rows is None else Dataset(pa.concat_tables([train.table, rows]), train.schema)
    y = reference.labels()
    asked = [k for k in scarce if (y == k).sum() >= LEAST and (y != k).any()]
    if not asked:
        return None
    given = trained(both, reference, BOOSTING, seed=seed)
    return np.asarray(np.mean([figures(given, y, k, weights)[METRICS[0]] for k in asked], axis=0))


def _lacking(train: Dataset, scarce: Sequence[int]) -> dict[Any, int]:
    """Rows of the scarce classes that fill them up to the largest, at most FILLED."""
    from flows.stages.shared import class_counts
    from validators.worth import wanted

    names = {train.schema.classes()[k] for k in scarce}
    return {level: min(n, FILLED) for level, n in wanted(class_counts(train), 1.0).items() if level in names}


def _draw(model: Any, schema: Schema, quota: Mapping[Any, int], seed: int) -> pa.Table:
    """Drawn rows of each class, as a table."""
    import numpy as np
    import pyarrow as pa

    batches = []
    for i, (level, n) in enumerate(quota.items()):
        if n:
            own = int(np.random.SeedSequence([seed, i]).generate_state(1)[0]) >> 1
            batches += model.sample(n, where=None if level is None else {str(schema.target): level}, seed=own)
    return pa.Table.from_batches(batches, schema=schema.arrow())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
