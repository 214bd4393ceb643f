"""Which rows does the model draw, for the dataset and, apart from that, for the gate?"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.plan import Plan
from data.errors import DataError
from data.mix import apportion
from data.schema import Schema
from data.words import UNITS
from flows.power import check_enough
from flows.run import Run, Stage
from flows.stages.choose import drawn_rows, judged_counts
from flows.stages.personal import Remade
from flows.stages.rules import kept_of, one_draw, saved_model
from flows.stages.shared import Step, class_counts, dataset, key_of, load_schema, owned
from generators.base import Generator, Progress


def load_model(run: Run) -> Generator:
    """The fitted model of a run.

    Raises DataError when the run has none yet.
    """
    if not (run.folder / "model/envelope.json").is_file():
        raise DataError(f"run {run.id} has no fitted model; `counterpoise run` its plan first")
    return saved_model(run)


def _sample(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan, data, model = run.settled, owned(run), load_model(run)
    drawn = drawn_rows(plan, data.schema, class_counts(data), data.num_rows)
    judged = _judged_quotas(plan, drawn, judged_counts(run))
    total = sum(drawn.values()) + sum(judged.values())
    draws = one_draw(model), one_draw(model)
    made = _write_draw(run, draws[0], drawn, "samples", stream=1, progress=progress, done=0, total=total)
    _write_draw(run, draws[1], judged, "work/judged", stream=2, progress=progress, done=made, total=total)
    facts = {str(level): n for level, n in drawn.items()}
    return {"rows": facts, "judged": {str(level): n for level, n in judged.items()}, **kept_of(draws)}


def _judged_quotas(plan: Plan, drawn: Mapping[Any, int], holdout: Mapping[Any, int]) -> dict[Any, int]:
    # The gate's own draw has the intended mix and `draws` rows for each holdout row of the classes it judges.
    check_enough(plan.gate, holdout)
    rows = plan.gate.draws * sum(holdout.values())
    wanted = {level: float(n) for level, n in drawn.items() if n > 0}
    return {level: max(1, n) for level, n in apportion(wanted, max(rows, len(wanted))).items()}


def _write_draw(
    run: Run, model: Generator, quota: Mapping[Any, int], folder: str, *, stream: int, progress: Progress, done: int, total: int
) -> int:
    schema = load_schema(run)
    ids = IdColumns(run, schema, seed=_seed(run.plan.seed, stream, 0))
    # What is made anew stands in the rows that go out, and tells the gate nothing.
    remade = Remade(run, seed=_seed(run.plan.seed, stream, 0)) if folder == "samples" else None
    written = schema.arrow() if remade is None else remade.schema.arrow()
    (run.folder / folder).mkdir(parents=True, exist_ok=True)
    for i, (level, n) in enumerate(quota.items()):
        if not n:
            continue
        where = None if level is None else {str(schema.target): level}
        path = run.folder / folder / f"part-{i:03d}.parquet"
        with pq.ParquetWriter(path, written, compression="zstd") as writer:
            for batch in model.sample(n, where=where, seed=_seed(run.plan.seed, stream, i + 1)):
                renewed = ids.renew(batch)
                writer.write_batch(renewed if remade is None else remade.add(renewed))
                done += batch.num_rows
                progress.advance(done, total, UNITS[run.plan.modality])
    return done


class IdColumns:
    """Ids made anew over all classes of a draw: a family sees one class at a time and could give one id twice."""

    def __init__(self, run: Run, schema: Schema, *, seed: int) -> None:
        from data.ids import IdMaker

        data = dataset(run)
        self.makers = {c.name: IdMaker.fit(data.column(c.name)) for c in schema.of_kind("id")}
        self.schema, self.seed, self.made = schema.arrow(), seed, 0

    def after(self, made: int) -> IdColumns:
        """The same for rows before which `made` others were drawn, in other files of the same draw."""
        twin = copy(self)
        twin.made = made
        return twin

    def renew(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with ids that none before them has."""
        for name, maker in self.makers.items():
            fresh = maker.draw(self.made, batch.num_rows, self.seed).cast(self.schema.field(name).type)
            batch = batch.set_column(batch.schema.get_field_index(name), self.schema.field(name), fresh)
        self.made += batch.num_rows
        return batch


def _seed(seed: int, *stream: int) -> int:
    return int(np.random.SeedSequence([seed, *stream]).generate_state(1)[0]) >> 1


STEP = Step(
    Stage("sample", ("samples", "work/judged")),
    key_of("sample", "fit", "generators", "data", part=lambda p: [p.sample, p.gate.draws, p.seed, p.privacy.locale]),
    _sample,
)
