"""Which of the families that are left draws these rows best? Trials of all of them, the better ones again on more rows.

Successive halving: each rung tries fewer families on more rows, with an equal share of the time for each. On the last one they
race: what time is left is spent on judging them by other parts of train, turn by turn, without those that are surely behind,
and then on those that a smaller rung left behind.
Judged on reference rows and parts of train, never on the holdout. The same seed gives the same rows in every trial; times
differ from run to run, so that where two families are close, or time is short, another one may be chosen.

Source: Jamieson and Talwalkar 2016 (arXiv 1502.07943), algorithm 1."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.components import find as find_family
from configs.errors import DataFault
from configs.plan import GeneratorSpec
from flows.choose import NoFamilyError, device_of
from flows.ground import ETA, OUT_OF_TIME, START, Ground, file_name, job_of, record_of, sizes, tried, workers
from flows.run import Run, code_version, digest, write_text
from flows.stages.shared import generator_spec
from flows.standings import Trial, front, lead_of, margin, ordered, standings
from generators.base import Generator, Progress

if TYPE_CHECKING:
    from flows.choose import Rubric

#: One family in ETA stays, at least LEAST of them.
LEAST, MOST_RUNGS = 2, 3
MINUTES = 10.0
#: How much slower a turn may be than the one before, and how sure an end of the race is, in percent.
SLOWER, SURE = 1.3, 99.0
#: How many times as much time as it was stopped after a family must have left to be tried again.
AGAIN = 2.0
#: Costs that differ by less than this are the same: a machine is not always as busy.
CHEAPER = 2 / 3


def key(run: Run) -> str:
    """What the outcome of trials depends on beside what the choice depends on."""
    rooms = ("generators", "validators", "data", "flows/bakeoff.py", "flows/ground.py", "flows/standings.py", "flows/trial.py")
    return digest(run.stages["profile"]["key"], run.plan.model_dump(exclude={"publish", "gate"}), code_version(*rooms))


@dataclass
class Spent:
    """Whom to tell, seconds by the clock and trials so far."""

    progress: Progress
    seconds: float = 0.0
    trials: int = 0


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
        """What would be tried, without any trial: of later rungs the least."""
        counts, left = [], len(self.families)
        for _ in self.rungs:
            counts.append(left)
            left = _stay(left)
        rungs = [{"rows": rows, "trials": n} for rows, n in zip(self.rungs, counts, strict=True)]
        told = {"budget_minutes": self.minutes, "families": list(self.families), "rungs": rungs}
        share = self.share(0, 0.0, len(self.families), self.at_once(self.families))
        return told | {"turns": self.ground.turns, "first_seconds": round(share, 1)}

    def held(self, progress: Progress) -> list[list[Trial]]:
        """All rungs, of the last all turns. A trial whose record is there is not made again."""
        families, spent = self.families, Spent(progress)
        rungs: list[list[Trial]] = []
        expected: int = sum(rung["trials"] for rung in self.foretold()["rungs"])
        for i in range(len(self.rungs)):
            share = self.share(i, spent.seconds, len(families), self.at_once(families))
            rungs.append(self._turn((i, 0), families, share, spent, max(expected, spent.trials + len(families))))
            families = self._kept(i, rungs[-1], spent)
            if len(families) < LEAST:
                return rungs
        self._race(rungs[-1], families, spent)
        for name in self._left_behind(rungs):
            if self._expected(name, rungs) <= 60 * self.minutes - spent.seconds:
                self._race(rungs[-1], [name], spent)
        for trial in (t for t in rungs[0] if OUT_OF_TIME in t.failed):
            # Others were quicker than their share: what they left may be enough for one that was not.
            if 60 * self.minutes - spent.seconds > AGAIN * trial.seconds:
                self._race(rungs[-1], [trial.family], spent)
        return rungs

    def _kept(self, rung: int, trials: Sequence[Trial], spent: Spent) -> tuple[str, ...]:
        """Those that stay, best first: one in ETA, and more where there is time for all turns of them on the next rung."""
        best = ordered(trials, lead_of(self.use, [t for t in trials if not t.failed]))
        if rung + 1 == len(self.rungs):
            return tuple(t.family for t in best)
        more = self.rungs[rung + 1] * self.ground.turns / self.at_once([t.family for t in best])
        costs = np.cumsum([t.seconds / t.rows * more for t in best])
        able = int((costs <= 60 * self.minutes - spent.seconds).sum())
        return tuple(t.family for t in best[: max(_stay(len(trials)), able)])

    def _race(self, trials: list[Trial], group: Sequence[str], spent: Spent) -> None:
        """Add the trials of a group on the last rung that are not there yet: turn by turn, each on another part of train, while
        there is time, without those that are surely behind.

        Source: Maron and Moore 1994 (NIPS 6), with paired differences as in Birattari et al. 2002 (GECCO, F-Race)."""
        for turn in range(self.ground.turns):
            own = [t for t in trials if t.family in group]
            if any(t.turn == turn for t in own):
                continue
            near, lately = self._near(trials), [t.seconds for t in own if t.turn == turn - 1]
            left = [name for name in group if name in near or not own]
            at_once, seconds = self.at_once(left), 60 * self.minutes - spent.seconds
            if not left or (own and len(near) < LEAST) or sum(lately) * SLOWER > seconds * at_once:
                break
            share = seconds * min(at_once, len(left)) / len(left)
            expected = spent.trials + (self.ground.turns - turn) * len(left)
            trials += self._turn((len(self.rungs) - 1, turn), left, share, spent, expected)

    def _left_behind(self, rungs: Sequence[Sequence[Trial]]) -> list[str]:
        """Families that gave figures and are not on the last rung, those that came furthest first."""
        known = {t.family for t in rungs[-1]}
        out: list[str] = []
        for rung in reversed(rungs[:-1]):
            lead = lead_of(self.use, standings(rung))
            out += [t.family for t in ordered(rung, lead) if t.family not in known and t.family not in out]
        return out

    def _expected(self, family: str, rungs: Sequence[Sequence[Trial]]) -> float:
        """Seconds of all turns of a family on the last rung: it slows down there as much as others did."""
        before = {t.family: t for rung in rungs[:-1] for t in rung}
        slower = max(t.seconds / before[t.family].seconds for t in rungs[-1] if not t.failed)
        return before[family].seconds * slower * self.ground.turns / self.at_once([family])

    def _near(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Families that never failed and are not surely behind the best."""
        standing = standings(trials)
        lead = lead_of(self.use, standing)
        best = max(standing, key=lambda t: float(t.over(lead)[0]), default=None)
        return tuple(t.family for t in standing if best is not None and margin(best, t, lead, SURE)["low"] <= 0)

    def at_once(self, families: Sequence[str]) -> int:
        """Trials at a time, as memory allows for the largest so far."""
        records = (json.loads(path.read_text()) for path in (self.run.folder / "bakeoff").glob("*.json"))
        return workers(len(families), [float(r["peak_mb"]) for r in records if "peak_mb" in r], device_of(self.run.plan.device))

    def _turn(self, where: tuple[int, int], families: Sequence[str], seconds: float, spent: Spent, total: int) -> list[Trial]:
        """The trials of a turn of a rung in the order of the families. where: rung and turn; total: of trials."""
        rung, turn = where
        rows, at_once, ready = self.rungs[rung], self.at_once(families), self.ground.turned(turn)
        files = ready.write(rows)
        jobs = {name: self._job(f"{rung}-{turn}-{file_name(name)}", name, files) for name in families}
        records = {n: json.loads(record_of(place).read_text()) for n, place in jobs.items() if record_of(place).is_file()}

        def heard(name: str, record: Mapping[str, Any]) -> None:
            records[name] = record
            spent.progress.advance(spent.trials + len(records), total, "trial")

        tried({n: p for n, p in jobs.items() if n not in records}, seconds=seconds, at_once=at_once, heard=heard)
        trials = [Trial.of(name, rung, {"rows": rows} | dict(records[name]), self.drawn, turn) for name in families]
        spent.seconds, spent.trials = spent.seconds + sum(t.seconds for t in trials) / at_once, spent.trials + len(trials)
        return trials

    def _job(self, name: str, family: str, ready: Mapping[str, str]) -> Path:
        """The folder of a trial, with its job in it."""
        plan = self.run.plan
        spec = generator_spec(plan.model_copy(update={"generator": GeneratorSpec(use=family)}))
        return job_of(
            self.run.folder / "bakeoff" / name,
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
    finished = [standings(rung) for rung in rungs]
    if not finished[0]:
        raise NoFamilyError(
            f"no trial gave any figures ({_reasons(rungs[0])}); give choose.minutes {3 * bakeoff.minutes:g}, or name a family "
            "with generator.use"
        )
    last = max(i for i, rung in enumerate(finished) if rung)
    lead, known = lead_of(bakeoff.use, finished[last]), {t.family for t in finished[last]}
    best, gap, why = _decided(finished[last], lead, bakeoff.families)
    turns = f" in {best.turns} turns" if best.turns > 1 else ""
    said = f"{_figures(best, lead)} in trials on {best.rows:,} rows{turns}{why}"
    if late := [t.family for rung in rungs for t in rung if OUT_OF_TIME in t.failed and t.family not in known]:
        said += f"; {', '.join(dict.fromkeys(late))} ran out of time"
    if last + 1 < len(rungs):
        said += "; on more rows no trial finished within its share of the time"
    told = bakeoff.foretold() | {
        "use": bakeoff.use,
        "lead": lead,
        "scarce": [str(bakeoff.ground.train.schema.classes()[k]) for k in bakeoff.ground.scarce],
        "reference_rows": bakeoff.ground.reference.num_rows,
        "trials": [t.plain() for rung in rungs for t in rung],
        "standings": [t.plain() for t in finished[last]],
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
    turns, ahead = max(t.turns for t in trials), [t.family for t in front(trials)]
    # Those that fell behind before the last turn have fewer.
    ranked = sorted(trials, key=lambda t: (t.turns < turns, t.family not in ahead, -float(t.over(lead)[0]), -t.coverage))
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
    rungs = " and then at least ".join(f"{r['trials']} on {r['rows']:,} rows" for r in told["rungs"])
    count, turns = len(told["rungs"]), f", the last up to {told['turns']} times," if told["turns"] > 1 else ""
    return (
        f"trials will decide: {rungs}, in {count} rung{'s' * (count > 1)}{turns} and at most {told['budget_minutes']:g} "
        f"minutes (a trial of the first may take {told['first_seconds']:.0f} s); without them it is {families[0]}"
    )


def _stay(count: int) -> int:
    return min(count, max(LEAST, math.ceil(count / ETA)))


def _rungs(rows: int, families: Sequence[str]) -> tuple[int, ...]:
    """Training rows of each rung: as many rungs as it takes until two families are left, the last with all rows."""
    count = 1
    while count < MOST_RUNGS and len(families) > LEAST * ETA ** (count - 1):
        count += 1
    found = (find_family(name, Generator, package="generators") for name in families)
    least = max((t.rows for f in found if (t := getattr(f, "traits", None))), default=0)
    return sizes(rows, count, least)
