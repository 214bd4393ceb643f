"""Is a source that is damaged refused in one sentence, before anything is learned from it?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_iris

from benchmarks.chaos.checkpoint import DAMAGES
from benchmarks.chaos.ground import PLAN, Ground, Trial, differs, stages_of

LOST = "other values published; or, where it is refused, another exit code than 2, no sentence, a stage that counts as done"
PARQUET = PLAN.replace("{use: sklearn, set: iris}", "{use: parquet, path: rows.parquet}")


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """A Parquet file with page checksums, damaged at random places; then the whole one."""
    whole = Ground(folder / "undisturbed", PARQUET)
    write(whole.folder / "rows.parquet")
    if said := whole.run().wrong(0):
        raise RuntimeError(f"the undisturbed run fails: {said}")
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        how = list(DAMAGES)[number % len(DAMAGES)]
        yield _damaged(folder / f"source{number:03d}", how, rng, whole, last=number == count - 1)


def _damaged(folder: Path, how: str, rng: np.random.Generator, whole: Ground, *, last: bool) -> Trial:
    ground = Ground(folder, PARQUET)
    path = folder / "rows.parquet"
    write(path)
    held = path.read_bytes()
    path.write_bytes(DAMAGES[how](held, rng))
    ended = ground.run()
    if ended.code == 0:
        # What was hit is read by nobody, such as a name of the file's writer: the same values must have been published.
        path.write_bytes(held)
        same = differs(data_of(ground), data_of(whole))
        return Trial(f"{how}, of no consequence", ended.wrong(0) or ground.broken() or same)
    wrong = ended.wrong(2)
    if not wrong and (done := [name for name, _ in stages_of(ground)]):
        wrong = f"{done[-1]} counts as done"
    if not wrong and (folder / "published").exists():
        wrong = "something was published"
    path.write_bytes(held)
    return Trial(how, wrong or (ground.run().wrong(0) or differs(data_of(ground), data_of(whole)) if last else None))


def data_of(ground: Ground) -> dict[str, str]:
    """The published rows, by their digests."""
    return {name: digest for name, digest in ground.published().items() if name.endswith(".parquet")}


def write(path: Path) -> None:
    """Iris, and four times as many rows beside it, as a Parquet file whose pages have checksums."""
    rows, rng = load_iris(as_frame=True), np.random.default_rng(0)
    place = np.concatenate([np.arange(150), rng.integers(0, 150, 600)])
    values = rows.data.to_numpy()[place] + rng.normal(0, 0.02, (750, 4)) * (np.arange(750) >= 150)[:, None]
    columns = {name.replace(" (cm)", ""): values[:, i] for i, name in enumerate(rows.feature_names)}
    table = pa.table({**columns, "target": [str(rows.target_names[i]) for i in rows.target[place]]})
    pq.write_table(table, path, write_page_checksum=True)
