"""Does the gate reach what it promises: few false alarms on real rows, and faults caught? Writes docs/benchmarks/gate.md.

    python -m benchmarks.gate --reshuffles 200 --trials 100 --seed 0

Every trial has a seed of its own and runs in one thread; trials run on all cores. With --store FILE each row is kept as
it is finished, and a run that was stopped goes on where it was; the record then holds every row of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Before numpy is loaded: processes share the cores, and threads of theirs would wait for each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from benchmarks.gate_data import MIXTURES, available  # noqa: E402 - after the threads are set
from benchmarks.gate_trials import Trial, mixture_against_itself, real_against_real, trials  # noqa: E402

ROOT = Path(__file__).parent.parent


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    p, scale = hits / count, 1 + z**2 / count
    half = z * ((p * (1 - p) + z**2 / (4 * count)) / count) ** 0.5 / scale
    middle = (p + z**2 / (2 * count)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Alarms:
    """What the gate said of real rows against real rows."""

    data: str
    setting: str
    verdicts: dict[str, int]
    blocked: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class Power:
    """How often a planted fault was caught: fields as in `Trial`."""

    row: str
    data: str
    setting: str
    check: str
    least: float
    caught: int
    count: int
    seconds: float


class Store:
    """Finished rows by name, in a JSON file or in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path and path.is_file() else {}

    def add(self, name: str, row: Alarms | Power) -> None:
        self.rows[name] = asdict(row)
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.rows, indent=1))

    def alarms(self) -> list[Alarms]:
        return [Alarms(**row) for row in self.rows.values() if "verdicts" in row]

    def powers(self) -> list[Power]:
        return [Power(**row) for row in self.rows.values() if "caught" in row]


_JOBS: list[Callable[[int], Any]] = []


def _job(place: int, seed: int) -> Any:
    return _JOBS[place](seed)


def map_seeds(pool: ProcessPoolExecutor, place: int, seeds: range) -> Iterator[Any]:
    """Answers in the order of the seeds."""
    yield from pool.map(_job, [place] * len(seeds), seeds, chunksize=max(1, len(seeds) // 20))


def _alarm_jobs() -> list[tuple[str, str, Callable[[int], Any]]]:
    out: list[tuple[str, str, Callable[[int], Any]]] = []
    for real in available():
        train, n, m = real.sizes
        out.append((real.name, f"train {train}, n = {n}, m = {m}", real_against_real(real.name)))
    sizes = "train 1000, n = 1000, m = 5000"
    return out + [(mixture.name, sizes, mixture_against_itself(mixture, 1000, 5000)) for mixture in MIXTURES]


def measure(reshuffles: int, count: int, seed: int, only: str | None, store: Store) -> None:
    """All rows of the record that the store does not have yet, one after the other."""
    wanted = _wanted(only, store)
    alarms = [job for job in _alarm_jobs() if reshuffles and wanted(f"false alarms, {job[0]}, {job[1]}")]
    rows = [t for t in trials() if count and wanted(f"{t.row}, {t.data}, {t.setting}")]
    # Workers are forked, so that they find the jobs, which are closures, where this process has them.
    _JOBS[:] = [job[2] for job in alarms] + [trial.trial for trial in rows]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for place, (data, setting, _) in enumerate(alarms):
            found = _alarms(pool, place, data, setting, range(seed, seed + reshuffles))
            store.add(f"false alarms, {data}, {setting}", found)
        for place, t in enumerate(rows, start=len(alarms)):
            store.add(f"{t.row}, {t.data}, {t.setting}", _power(pool, place, t, range(seed, seed + count)))


def _wanted(only: str | None, store: Store) -> Callable[[str], bool]:
    return lambda name: name not in store.rows and (only is None or only in name)


def _alarms(pool: ProcessPoolExecutor, place: int, data: str, setting: str, seeds: range) -> Alarms:
    start, verdicts, blocked = time.monotonic(), Counter[str](), Counter[str]()
    for seed, decision in zip(seeds, map_seeds(pool, place, seeds), strict=True):
        verdicts[decision.verdict] += 1
        for finding in decision.findings:
            if finding.verdict in ("BLOCK", "ERROR"):
                blocked[finding.check] += 1
                _say(f"  {data}, seed {seed}: {finding.check} {finding.verdict}: {finding.summary}")
    _say(f"false alarms, {data}: {dict(verdicts)} {dict(blocked)} ({time.monotonic() - start:.0f} s)")
    return Alarms(data, setting, dict(verdicts), dict(blocked), time.monotonic() - start)


def _power(pool: ProcessPoolExecutor, place: int, trial: Trial, seeds: range) -> Power:
    start = time.monotonic()
    found = [each for each in map_seeds(pool, place, seeds) if each is not None]
    caught = sum(bool(each) for each in found)
    _say(f"{trial.row}, {trial.data}, {trial.setting}: {caught} of {len(found)} ({time.monotonic() - start:.0f} s)")
    told = (trial.row, trial.data, trial.setting, trial.check, trial.least)
    return Power(*told, caught, len(found), time.monotonic() - start)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def alarm_rows(alarms: list[Alarms]) -> list[str]:
    """The first table, in Markdown."""
    out = ["| data | sizes | BLOCK | 95 % interval | WARN | INCONCLUSIVE | blocked by | at most |", "| --- " * 8 + "|"]
    for each in alarms:
        total, hits = sum(each.verdicts.values()), each.verdicts.get("BLOCK", 0)
        low, high = wilson(hits, total)
        by = ", ".join(f"{name} {n}" for name, n in each.blocked.items()) or "none"
        others = " | ".join(str(each.verdicts.get(verdict, 0)) for verdict in ("WARN", "INCONCLUSIVE"))
        what = f"| {each.data} | {each.setting} | {hits} of {total} | {_share(low)} to {_share(high)} | {others} | {by} "
        out.append(f"{what}| 2 % {'met' if hits <= 0.02 * total else '**missed**'} |")
    return out


def power_rows(powers: list[Power]) -> list[str]:
    """The second table, in Markdown."""
    out = ["| fault | data | sizes | check | caught | 95 % interval | asked |", "| --- " * 7 + "|"]
    for each in powers:
        low, high = wilson(each.caught, each.count)
        least = each.least
        kept = "met" if each.caught >= least * each.count else "within chance" if high >= least else "**missed**"
        asked = f"{_share(least)} {kept}" if least else "shown beside"
        what = f"{each.row} | {each.data} | {each.setting} | {each.check}"
        out.append(f"| {what} | {each.caught} of {each.count} | {_share(low)} to {_share(high)} | {asked} |")
    return out


def main() -> None:
    """Measure, print, and write the record where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reshuffles", type=int, default=200, help="real-against-real verdicts of each set")
    parser.add_argument("--trials", type=int, default=100, help="trials of each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="rows whose fault, data or sizes contain this text")
    parser.add_argument("--speed", type=int, nargs="*", default=[], metavar="ROWS", help="judge so many synthetic rows, timed")
    parser.add_argument("--out", type=Path, help="the record, in Markdown")
    parser.add_argument("--store", type=Path, help="a JSON file of finished rows, to go on from")
    args = parser.parse_args()
    store = Store(args.store)
    measure(args.reshuffles, args.trials, args.seed, args.only, store)
    from benchmarks.gate_speed import speed_rows, timed

    speeds = [timed(rows) for rows in args.speed]
    from benchmarks.gate_record import record

    text = record(sys.argv[1:], alarm_rows(store.alarms()), power_rows(store.powers()), speed_rows(speeds))
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
