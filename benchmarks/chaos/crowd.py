"""Do publishers who come at once to one dataset each get a version of their own?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.chaos.ground import Ground, Trial
from data.publish import Publisher
from data.schema import Column, Schema

LOST = "two got one number, a version is missing or not whole, LATEST is not the newest, an attempt of the gate is not counted"
CROWDS = (2, 4, 8)
#: Exit codes of runs that were not let pass.
VERDICTS = (3, 4)


def trials(folder: Path, count: int, seed: int) -> Iterator[Trial]:
    """In turn two, four and eight: processes that publish three versions each, and every third time whole runs."""
    for number in range(count):
        many = CROWDS[number % len(CROWDS)]
        place = folder / f"crowd{number:03d}"
        yield runs(place, many, seed + number) if number // len(CROWDS) % 3 == 2 else publishers(place, many)


def publishers(folder: Path, many: int) -> Trial:
    """Processes that do nothing but publish."""
    with ProcessPoolExecutor(many, mp_context=get_context("forkserver")) as pool:
        jobs = [pool.submit(_publish, str(folder), str(who), 3) for who in range(many)]
        names = [name for job in jobs for name in job.result()]
    return Trial(f"{many} publishers", wrong(folder / "published", "rows", names, 3 * many))


def runs(folder: Path, many: int, seed: int) -> Trial:
    """Whole runs, with a seed each, in one folder of runs."""
    ground = Ground(folder)
    crowd = [ground.start("-o", f"seed={seed + who + 1}") for who in range(many)]
    # One that the gate does not let pass is put aside, and is no fault.
    ended = [end for command in crowd if (end := command.end()).code not in VERDICTS]
    if said := next((end.wrong(0) for end in ended if end.wrong(0)), None):
        return Trial(f"{many} runs", said)
    told = [json.loads(path.read_text())["version"] for path in folder.glob("runs/iris/*/published.json")]
    names = [name for name in told if name is not None]
    counted = sum(map(len, json.loads((folder / "runs/.attempts.json").read_text()).values()))
    missed = None if counted == many else f"{counted} attempts are counted of {many}"
    return Trial(f"{many} runs", wrong(folder / "published", "iris", names, len(ended)) or missed)


def wrong(root: Path, dataset: str, names: list[str], many: int) -> str | None:
    """What is wrong with the versions that `many` publishers say they made."""
    to = Publisher(str(root), dataset)
    if len(names) != many or len(set(names)) != many:
        return f"{len(set(names))} numbers for {many} versions"
    if sorted(names) != to.versions():
        return f"{len(to.versions())} versions are there of {many}"
    if to.latest() != max(names):
        return f"LATEST is {to.latest()}, the newest {max(names)}"
    return next((problem for name in names for problem in to.verify(name)), None)


def _publish(folder: str, who: str, count: int) -> list[str]:
    return [publish(Publisher(f"{folder}/published", "rows"), Path(folder), f"{who}-{turn}").name for turn in range(count)]


def publish(to: Publisher, folder: Path, run_id: str) -> Any:
    """A small version, which says who made it."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{run_id}.html"
    page.write_text("<p>chaos</p>")
    rows = pa.table({"x": pa.array(range(500)), "is_synthetic": pa.array([True] * 500)})
    facts = {"purpose": "augment", "verdict": "PASS", "reason": "", "family": "gan", "seed": 0}
    return to.publish(rows.to_batches(), schema=Schema((Column(name="x", kind="integer", dtype="int64"),)), run_id=run_id,
                      report_json=b"{}", report_html=page, facts=facts, lineage={}, plan_yaml="name: rows\n")  # fmt: skip
