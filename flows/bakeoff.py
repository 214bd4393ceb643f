"""Which of the families that are left draws these rows best? Trials of all of them, the better ones again on more rows.

Successive halving: each rung tries fewer families on more rows, with an equal share of the time for each. Judged on reference
rows, never on the holdout. The same seed gives the same rows in every trial; times differ from run to run, so that where two
families are close, or time is short, another one may be chosen.

Source: Jamieson and Talwalkar 2016 (arXiv 1502.07943), algorithm 1."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.components import find as find_family
from configs.errors import DataFault
from configs.plan import GeneratorSpec
from flows.choose import NoFamilyError, device_of
from flows.ground import ETA, START, Ground, file_name, job_of, record_of, sizes, tried, workers
from flows.run import Run, code_version, digest, write_text
from flows.stages.shared import generator_spec
from generators.base import Generator, Progress

if TYPE_CHECKING:
    from flows.choose import Rubric

Array = np.ndarray
#: One family in ETA stays, at least LEAST of them but in the last rung.
LEAST, MOST_RUNGS = 2, 3
MINUTES = 10.0
#: Costs that differ by less than this are the same: a machine is not always as busy.
CHEAPER = 2 / 3
#: What leads, by what the rows are for, and how it is called. Where nothing can be asked of a class, coverage leads.
LEADS: Mapping[str, str] = {"augment": "utility", "scores": "coverage"}
WORDS: Mapping[str, str] = {
    "utility": "average precision that its rows add for the scarce classes",
    "coverage": "share of reference rows that its rows reach",
    "fidelity": "nearness to .5 of the AUC that tells its rows from reference rows",
}


@dataclass(frozen=True)
class Trial:
    """What came of one family on one rung. failed: why there are no figures.

    cost: seconds to fit, and to draw as many rows as the plan draws; draws: figure -> its values over resamples of reference
    rows, the same for all trials."""

    family: str
    rung: int
    rows: int = 0
    seconds: float = 0.0
    failed: str = ""
    fit_seconds: float = math.nan
    seconds_per_1000: float = math.nan
    peak_mb: float = math.nan
    coverage: float = math.nan
    auc: float = math.nan
    utility: float | None = None
    without: float | None = None
    cost: float = math.inf
    draws: Mapping[str, Sequence[float]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, family: str, rung: int, record: Mapping[str, Any], drawn: int) -> Trial:
        """A trial by its record. drawn: rows that the plan draws."""
        known = {f.name for f in fields(cls)}
        found = {name: value for name, value in record.items() if name in known and value is not None}
        cost = record.get("fit_seconds", math.inf) + record.get("seconds_per_1000", 0.0) * drawn / 1000
        return cls(family, rung, **found, cost=round(cost, 3))

    @property
    def fidelity(self) -> float:
        """How near the AUC is to .5, at most 0."""
        return -abs(self.auc - 0.5)

    def over(self, figure: str) -> Array:
        """A figure, and its values over resamples: (1 + draws,)."""
        if figure == "fidelity":
            return np.asarray(-np.abs(np.r_[self.auc, self.draws["auc"]] - 0.5))
        return np.asarray(np.r_[getattr(self, figure), self.draws[figure]])

    def plain(self) -> dict[str, Any]:
        """JSON values; figures alone where there are any."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "draws"}
        return {k: v for k, v in kept.items() if v not in (None, "") and not (isinstance(v, float) and not math.isfinite(v))}


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other beats or equals in everything: utility, coverage and fidelity up, cost down (Pareto)."""
    at = {t.family: (t.utility or 0.0, t.coverage, t.fidelity, -t.cost) for t in trials}

    def beaten(t: Trial) -> bool:
        own = at[t.family]
        return any(all(a >= b for a, b in zip(o, own, strict=True)) and o != own for o in at.values())

    return [t for t in trials if not beaten(t)]


def ordered(trials: Sequence[Trial], lead: str) -> list[Trial]:
    """Best first: the front before those that it beats, and so on; among equals by the leading figure, then coverage."""
    left, out = [t for t in trials if not t.failed], []
    while left:
        best = front(left)
        out += sorted(best, key=lambda t: (-float(t.over(lead)[0]), -t.coverage))
        left = [t for t in left if t not in best]
    return out


def lead_of(use: str, trials: Sequence[Trial]) -> str:
    """The figure that the use asks for, among those that there are."""
    lead = LEADS.get(use, "fidelity")
    return lead if lead != "utility" or all(t.utility is not None for t in trials) else "coverage"


def margin(best: Trial, second: Trial, lead: str) -> dict[str, Any]:
    """By how much the leading figure is better, with a 95 % interval: the paired bootstrap over reference rows."""
    gap = best.over(lead) - second.over(lead)
    low, high = np.percentile(gap[1:], [2.5, 97.5])
    value = float(gap[0])
    low, high = min(float(low), value), max(float(high), value)
    return {"figure": lead, "value": value, "low": low, "high": high, "of": best.family, "over": second.family}


def key(run: Run) -> str:
    """What the outcome of trials depends on beside what the choice depends on."""
    rooms = ("generators", "validators", "data", "flows/bakeoff.py", "flows/ground.py", "flows/trial.py")
    return digest(run.stages["profile"]["key"], run.plan.model_dump(exclude={"publish", "gate"}), code_version(*rooms))


@dataclass(frozen=True)
class Bakeoff:
    """The trials of a run: who takes part, in which rungs of how many rows, within how many minutes."""

    run: Run
    ground: Ground
    families: tuple[str, ...]
    use: str
    drawn: int
    rungs: tuple[int, ...]
    minutes: float

    @classmethod
    def plan(cls, run: Run, found: Rubric, drawn: Mapping[Any, int]) -> Bakeoff:
        """Lay it out. Raises DataFault where the minutes are too few for one trial, or the rows to judge by."""
        families = tuple(each.family for each in found.left)
        ground = Ground.lay(run, run.folder / "bakeoff" / "rows", drawn)
        minutes = run.plan.choose.minutes or MINUTES
        this = cls(run, ground, families, found.use, sum(drawn.values()), _rungs(ground.train.num_rows, families), minutes)
        at_once = workers(len(families), (), device_of(run.plan.device))
        share = this.share(0, 0.0, len(families), at_once)
        if share < START:
            needed = math.ceil(10 * START * len(families) * len(this.rungs) / at_once / 60) / 10
            raise DataFault(
                ("choose", "minutes"),
                f"{minutes:g} minutes leave {share:.1f} s for each of {len(families)} trials, and starting one takes some "
                f"{START:g} s; give at least {needed:g}",
            )
        return this

    def share(self, rung: int, used: float, trials: int, at_once: int) -> float:
        """Seconds of each trial of a rung: what is left of the time over the rungs that are left, over its trials."""
        left = max(60 * self.minutes - used, 0.0)
        return left / (len(self.rungs) - rung) * min(at_once, trials) / trials

    def foretold(self) -> dict[str, Any]:
        """What would be tried, without any trial."""
        counts, left = [], len(self.families)
        for i in range(len(self.rungs)):
            counts.append(left)
            left = _stay(left, last=i == len(self.rungs) - 1)
        rungs = [{"rows": rows, "trials": n} for rows, n in zip(self.rungs, counts, strict=True)]
        return {"budget_minutes": self.minutes, "families": list(self.families), "rungs": rungs}

    def held(self, progress: Progress) -> list[list[Trial]]:
        """All rungs. A trial whose record is there is not made again."""
        families, used = self.families, 0.0
        rungs: list[list[Trial]] = []
        expected: int = sum(rung["trials"] for rung in self.foretold()["rungs"])
        for i, rows in enumerate(self.rungs):
            done = sum(len(rung) for rung in rungs)
            trials, took = self._rung(i, rows, families, used, (done, expected, progress))
            used += took
            rungs.append(trials)
            best = ordered(trials, lead_of(self.use, [t for t in trials if not t.failed]))
            families = tuple(t.family for t in best[: _stay(len(trials), last=i == len(self.rungs) - 1)])
            if len(families) < LEAST:
                break
        return rungs

    def _rung(
        self, rung: int, rows: int, families: Sequence[str], used: float, told: tuple[int, int, Progress]
    ) -> tuple[list[Trial], float]:
        """The trials of a rung in the order of the families, and the seconds that it took."""
        done, total, progress = told
        folder, ready = self.run.folder / "bakeoff", self.ground.write(rows)
        jobs = {name: self._job(folder, rung, name, ready) for name in families}
        records = {n: json.loads(record_of(place).read_text()) for n, place in jobs.items() if record_of(place).is_file()}
        peaks = [float(r["peak_mb"]) for path in folder.glob("*.json") if "peak_mb" in (r := json.loads(path.read_text()))]
        at_once = workers(len(families), peaks, device_of(self.run.plan.device))
        seconds = self.share(rung, used, len(families), at_once)

        def heard(name: str, record: Mapping[str, Any]) -> None:
            records[name] = record
            progress.advance(done + len(records), total, "trial")

        tried({n: p for n, p in jobs.items() if n not in records}, seconds=seconds, at_once=at_once, heard=heard)
        trials = [Trial.of(name, rung, {"rows": rows} | dict(records[name]), self.drawn) for name in families]
        return trials, sum(t.seconds for t in trials) / at_once

    def _job(self, folder: Path, rung: int, family: str, ready: Mapping[str, str]) -> Path:
        """The folder of a trial, with its job in it."""
        plan = self.run.plan
        spec = generator_spec(plan.model_copy(update={"generator": GeneratorSpec(use=family)}))
        return job_of(
            folder / f"{rung}-{file_name(family)}",
            ready,
            use=family,
            settings={name: value for name, value in spec.items() if name != "use"},
            plan=str(self.run.folder / "plan.yaml"),
            scarce=self.ground.scarce,
            seed=plan.seed,
        )


def chosen_by_trials(run: Run, found: Rubric, drawn: Mapping[Any, int], progress: Progress) -> dict[str, Any]:
    """The family that trials put first, the reason, and all that was measured. drawn: rows that the plan draws of each class.

    Of one family alone nothing is tried. Raises NoFamilyError when none finished, DataFault where there is too little time
    or rows, and nothing at all of what a family raises: it loses."""
    choice: dict[str, Any] = {"settings": {}, "rubric": found.to_json()}
    if len(found.left) == 1:
        only = found.left[0]
        return choice | {
            "family": only.family,
            "reason": f"alone left by the five questions, so nothing was tried; {only.reason}",
        }
    _renew(run)
    bakeoff = Bakeoff.plan(run, found, drawn)
    if run.stages.get("foretold"):
        told = bakeoff.foretold()
        return choice | {"family": found.left[0].family, "reason": _foretold(told, bakeoff.families), "bakeoff": told}
    rungs = bakeoff.held(progress)
    shutil.rmtree(bakeoff.ground.folder, ignore_errors=True)
    return choice | outcome(rungs, bakeoff)


def _renew(run: Run) -> None:
    """Leave out trials of other data, another plan or another version of the program."""
    folder, now = run.folder / "bakeoff", key(run)
    mark = folder / "key"
    if not mark.is_file() or mark.read_text() != now:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_text(mark, now)


def outcome(rungs: Sequence[Sequence[Trial]], bakeoff: Bakeoff) -> dict[str, Any]:
    """Family, reason and all figures. Raises NoFamilyError when no trial of the first rung finished."""
    finished = [[t for t in rung if not t.failed] for rung in rungs]
    if not finished[0]:
        raise NoFamilyError(
            f"no trial gave any figures ({_reasons(rungs[0])}); give choose.minutes more, or name a family with generator.use"
        )
    last = max(i for i, rung in enumerate(finished) if rung)
    lead = lead_of(bakeoff.use, finished[last])
    best, gap, why = _decided(finished[last], lead, bakeoff.families)
    said = f"{_figures(best, lead)} in trials on {best.rows:,} rows{why}"
    if last + 1 < len(rungs):
        said += "; on more rows no trial finished within its share of the time"
    told = bakeoff.foretold() | {
        "use": bakeoff.use,
        "lead": lead,
        "scarce": [str(bakeoff.ground.train.schema.classes()[k]) for k in bakeoff.ground.scarce],
        "reference_rows": bakeoff.ground.reference.num_rows,
        "trials": [t.plain() for rung in rungs for t in rung],
        "front": [t.family for t in front(finished[last])],
        "margin": gap,
    }
    return {"family": best.family, "reason": said, "bakeoff": told}


def _reasons(trials: Sequence[Trial]) -> str:
    """Why trials failed, those that failed alike together."""
    alike: dict[str, list[str]] = {}
    for trial in trials:
        alike.setdefault(trial.failed, []).append(trial.family)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in alike.items())


def _decided(trials: Sequence[Trial], lead: str, families: Sequence[str]) -> tuple[Trial, dict[str, Any] | None, str]:
    """The choice of the last rung, its margin to the second, and why. families: in the order of the rubric."""
    ranked = sorted(trials, key=lambda t: (t not in front(trials), -float(t.over(lead)[0]), -t.coverage))
    if len(ranked) < LEAST:
        return ranked[0], None, ", the only one that finished"
    best, second = ranked[:2]
    gap = margin(best, second, lead)
    said = f", {_gap(gap)} over {second.family}"
    if gap["low"] > 0:
        return best, gap, said
    taken, why = _between(best, second, families)
    shown = said if taken is best else f"; {best.family} is {_gap(gap)} over it"
    return taken, gap, f"{shown}, which holds 0, and {why}"


def _between(best: Trial, second: Trial, families: Sequence[str]) -> tuple[Trial, str]:
    """The one of two to take where the leading figure does not part them, and why. families: in the order of the rubric."""
    cheap, dear = sorted((best, second), key=lambda t: t.cost)
    first = min((best, second), key=lambda t: families.index(t.family))
    taken, why = (cheap, "it costs less") if cheap.cost < CHEAPER * dear.cost else (first, "the five questions put it first")
    # What costs little because it draws few kinds of rows is no bargain.
    if taken is second and margin(best, second, "coverage")["low"] > 0:
        return best, "it surely reaches more of the reference rows"
    return taken, why


def _gap(gap: Mapping[str, Any]) -> str:
    return f"{gap['value']:+.3f} (95 % interval {gap['low']:+.3f} to {gap['high']:+.3f})"


def _figures(trial: Trial, lead: str) -> str:
    value = float(trial.over(lead)[0])
    if lead == "utility":
        return f"{value:+.3f} in average precision of the scarce classes"
    return (
        f"AUC {trial.auc:.2f} beside reference rows" if lead == "fidelity" else f"{100 * value:.0f} % of reference rows reached"
    )


def _foretold(told: Mapping[str, Any], families: Sequence[str]) -> str:
    rungs = " and then ".join(f"{r['trials']} on {r['rows']:,} rows" for r in told["rungs"])
    count = len(told["rungs"])
    return (
        f"trials will decide: {rungs}, in {count} rung{'s' * (count > 1)} and at most {told['budget_minutes']:g} minutes; "
        f"without them it is {families[0]}"
    )


def _stay(count: int, *, last: bool) -> int:
    return 1 if last else min(count, max(LEAST, math.ceil(count / ETA)))


def _rungs(rows: int, families: Sequence[str]) -> tuple[int, ...]:
    """Training rows of each rung: as many rungs as it takes until two families are left, the last with all rows."""
    count = 1
    while count < MOST_RUNGS and len(families) > LEAST * ETA ** (count - 1):
        count += 1
    found = (find_family(name, Generator, package="generators") for name in families)
    least = max((t.rows for f in found if (t := getattr(f, "traits", None))), default=0)
    return sizes(rows, count, least)
