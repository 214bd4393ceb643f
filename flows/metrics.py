"""How do the runs stand, in figures that Prometheus reads? All state of runs is in their files, which are read anew each time.

What bounds the number of series: the names of plans (folders under the folder of runs), times stages, checks, verdicts, and
figures of training, of each of which there are few. Classes, columns, cells and old runs have none.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import DataError, UserError
from flows.live import at_work
from flows.run import REFUSED, TOLD, Run, all_runs
from flows.watched import Watched

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

OUTCOMES = ("published", "blocked", "compared", "refused", "unfinished")
VERDICTS = ("PASS", "WARN", "BLOCK", "INCONCLUSIVE")
OF_CHECKS = (*VERDICTS, "SKIPPED", "ERROR")
#: Figures of one training that are told of at most.
FIGURES = 20
#: Bytes at the end of a training's file among which its last whole line is.
TAIL = 16384

#: Gauge -> what it is, and its labels beside the dataset.
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "runs": ("Runs in the folder of runs; compared: of tables that refer to one another, which publish nothing", ("outcome",)),
    "run_info": ("The latest run: its id, of a release its alias, and its family", ("run", "family")),
    "run_timestamp_seconds": ("When the latest run last moved", ()),
    "run_refused": ("Whether the latest run was refused when it was last tried, or an attempt after it before it began", ()),
    "run_at_work": ("Whether a process works on the latest run, and on which stage", ("stage",)),
    "stage_duration_seconds": ("How long a stage of the latest run took", ("stage",)),
    "sample_rows": ("Rows that the latest run drew for its dataset", ()),
    "sample_rows_per_second": ("Rows a second that the latest run drew, those for the gate among them (of a release not)", ()),
    "training_progress": ("How far the training of the latest run is, or came, in its own unit", ("unit",)),
    "training_figure": ("The last figures, losses above all, that the training of the latest run told of", ("figure",)),
    "verdict": ("Whether this is the verdict of the run that was judged last", ("verdict",)),
    "smallest_detectable_mode": ("Share of the smallest mode whose absence would have been noticed", ()),
    "check_verdict": ("Whether this is the verdict of a check of the run that was judged last", ("check", "verdict")),
    "check_value": ("The figure of a check of the run that was judged last", ("check",)),
    "check_limit": ("The limit of that figure", ("check",)),
    "check_reference": ("The same figure of real rows", ("check",)),
    "published_timestamp_seconds": ("When the last version was published", ()),
    "published_rows": ("Rows of the last version", ()),
}

#: A gauge, its labels beside the dataset, its value.
Sample = tuple[str, tuple[str, ...], float]


class Runs:
    """What Prometheus' client collects: all gauges of a folder of runs."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge, read from the files as they are now."""
        from prometheus_client.core import GaugeMetricFamily

        started = time.perf_counter()
        found = {
            name: GaugeMetricFamily(f"counterpoise_{name}", f"{text}.", labels=("dataset", *labels))
            for name, (text, labels) in GAUGES.items()
        }
        for dataset, own in _by_dataset(self.runs).items():
            for name, labels, value in _samples(own):
                found[name].add_metric((dataset, *labels), value)
        yield from found.values()
        took = time.perf_counter() - started
        yield GaugeMetricFamily("counterpoise_read_duration_seconds", "How long it took to read all this.", value=took)


def registry(runs: Path) -> CollectorRegistry:
    """A registry of these gauges alone: those of the process that serves them tell nothing of runs."""
    from prometheus_client import CollectorRegistry

    made = CollectorRegistry()
    made.register(Runs(runs))
    return made


def exposition(runs: Path) -> str:
    """All gauges in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(registry(runs)).decode()


def write(runs: Path, path: Path) -> None:
    """Write the gauges for the textfile collector of node_exporter; a reader meets no half file.

    Raises DataError where the file cannot be written, or would not be read."""
    from prometheus_client import write_to_textfile

    if path.suffix != ".prom":
        raise DataError(f"--out {path}: the textfile collector reads files that end in .prom alone; call it {path.stem}.prom")
    try:
        write_to_textfile(str(path), registry(runs))
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); name a file in a folder that exists") from None


def listen(runs: Path, at: str) -> str:
    """Answer at /metrics from now on, in a thread of this process; the address that it is at.

    at: PORT, of this machine alone, or HOST:PORT. Raises UserError for what is neither, or taken."""
    from prometheus_client import start_http_server

    match = re.fullmatch(r"(?:(?P<host>[^\s:]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d{1,5})", at)
    if match is None or not 0 <= int(match["port"]) < 65536:
        raise UserError(f"--metrics {at}: name a port of this machine, as 9464, or an address too, as 0.0.0.0:9464")
    host = (match["host"] or "127.0.0.1").strip("[]")
    try:
        running, _ = start_http_server(int(match["port"]), host, registry(runs))
    except OSError as error:
        raise UserError(f"--metrics {at}: nothing can listen there ({error.strerror}); name another port") from None
    return f"http://{match['host'] or '127.0.0.1'}:{running.server_port}/metrics"


def _by_dataset(runs: Path) -> dict[str, list[Run]]:
    """Runs of each plan's name, oldest first."""
    own: dict[str, list[Run]] = {}
    for _ in range(3):
        # A run may be taken away between being listed and being looked at.
        with suppress(OSError, ValueError):
            own = {}
            for run in all_runs(runs):
                own.setdefault(run.folder.parent.name, []).append(run)
            break
    return dict(sorted(own.items()))


def _samples(own: Sequence[Run]) -> Iterator[Sample]:
    """All of one dataset. What cannot be read, as it is being taken away, is left out."""
    for part in (_counted, _latest, _judged, _published):
        with suppress(OSError, ValueError, KeyError, UserError):
            yield from list(part(own))


def _counted(own: Sequence[Run]) -> Iterator[Sample]:
    outcomes = Counter(_outcome(run) for run in own)
    for outcome in OUTCOMES:
        yield "runs", (outcome,), outcomes[outcome]


def _outcome(run: Run) -> str:
    if (run.folder / REFUSED).is_file():
        return "refused"
    if (run.folder / "published.json").is_file():
        return "blocked" if run.version is None else "published"
    return "compared" if (run.folder / "relations.json").is_file() else "unfinished"


def _latest(own: Sequence[Run]) -> Iterator[Sample]:
    watched = Watched.of(own[-1])
    run, stages = watched.run, watched.run.stages
    done = {name: entry for name, entry in stages.items() if isinstance(entry, dict)}
    family = str(done.get("choose", {}).get("facts", {}).get("family", ""))
    yield "run_info", (watched.id, family), 1
    yield "run_timestamp_seconds", (), run.touched
    yield "run_refused", (), any((folder / REFUSED).is_file() for folder in (run.folder, run.folder.parent))
    if (now := at_work(run)) is not None:
        yield "run_at_work", (str(now["stage"]),), 1
    for stage, entry in done.items():
        yield "stage_duration_seconds", (stage,), entry["seconds"]
    if "sample" in done:
        yield from _drawn(watched, done["sample"])
    yield from _trained(watched)


def _drawn(watched: Watched, entry: Mapping[str, Any]) -> Iterator[Sample]:
    facts = watched.facts("sample", entry["facts"])
    rows = facts["rows"]
    drawn = sum(rows.values()) if isinstance(rows, Mapping) else rows
    yield "sample_rows", (), drawn
    if entry["seconds"]:
        yield "sample_rows_per_second", (), (drawn + sum(facts.get("judged", {}).values())) / entry["seconds"]


def _trained(watched: Watched) -> Iterator[Sample]:
    told = dict(_last_told(watched.run.folder))
    if not told:
        return
    unit, done = next(iter(told.items()))
    yield "training_progress", (unit,), done
    figures = {name: value for name, value in told.items() if name != unit}
    for name, value in list(watched.figures(figures).items())[:FIGURES]:
        yield "training_figure", (name,), value


def _last_told(folder: Path) -> Mapping[str, float]:
    """What a training that goes on told of last; of one that ended, what it told of at its end."""
    if (going := folder / TOLD).is_file():
        with going.open("rb") as file:
            file.seek(max(going.stat().st_size - TAIL, 0))
            whole = [line for line in file.read().split(b"\n")[:-1] if line.endswith(b"}")]
        return json.loads(whole[-1]) if whole else {}
    ended = folder / "training.json"
    curve = json.loads(ended.read_text(encoding="utf-8")) if ended.is_file() else []
    return curve[-1] if curve else {}


def _judged(own: Sequence[Run]) -> Iterator[Sample]:
    run = next((run for run in reversed(own) if (run.folder / "report.json").is_file()), None)
    report = None if run is None else Watched.of(run).report()
    if report is None:
        return
    for verdict in VERDICTS:
        yield "verdict", (verdict,), report["verdict"] == verdict
    if report["smallest_detectable_mode"] is not None:
        yield "smallest_detectable_mode", (), report["smallest_detectable_mode"]
    for finding in report["findings"]:
        check = str(finding["check"])
        for verdict in OF_CHECKS:
            yield "check_verdict", (check, verdict), finding["verdict"] == verdict
        for what in ("value", "limit", "reference"):
            if finding[what] is not None:
                yield f"check_{what}", (check,), finding[what]


def _published(own: Sequence[Run]) -> Iterator[Sample]:
    for run in reversed(own):
        if run.version is not None:
            path = run.folder / "published.json"
            yield "published_timestamp_seconds", (), path.stat().st_mtime
            yield "published_rows", (), json.loads(path.read_text(encoding="utf-8"))["rows"]
            return
