"""Which settings of a family draw these rows best? Searched by trials on reference rows, the plan's own settings first.

Trials are those of a bake-off (flows/trial.py): each in a process of its own, on a third of the training rows first, where the
poorer ones end, then on all. The same seed asks for the same settings as long as trials are made one at a time and none is cut
short by its time.

Sources: Bergstra et al. 2011 (the tree-structured Parzen estimator) and Golovin et al. 2017 (the median rule), as in Optuna
(Akiba et al. 2019)."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.components import families
from configs.load import load, rewritten
from configs.plan import Plan
from data.errors import DataError, UserError
from flows.choose import device_of, fills_up, use_of
from flows.choose_words import MODALITIES
from flows.ground import HOW, OUT_OF_TIME, START, Ground, job_of, record_of, sizes, workers
from flows.run import Run, code_version, digest, write_text
from flows.stages import PLAN_CHECKS, perform
from flows.stages.read import fingerprint
from flows.stages.rules import family_of
from flows.stages.shared import class_counts, generator_spec, owned
from flows.standings import WORDS, Trial, lead_of, margin
from generators.base import Generator, Progress, Range

if TYPE_CHECKING:
    import optuna

#: Settings that there is to be time for at least, where no number of trials is stated.
TRIALS = 8
#: How many times as long as the plan's own settings others may take.
SLOWEST = 3.0
#: Rungs of a trial, and trials before the median of others ends one.
RUNGS, BEFORE = 2, 4
#: What the trial of the plan's own settings is marked by.
OWN = "own"
#: Digits of a number that is searched: what is written into the plan is what was tried.
DIGITS = 3


@dataclass(frozen=True)
class Tuned:
    """What came of it. best, own: trials of the best and of the plan's own settings; settings: of the best, those searched."""

    family: str
    best: Trial
    own: Trial
    settings: Mapping[str, Any]
    before: Mapping[str, Any]
    lead: str
    tried: int
    whole: int
    failed: int

    @property
    def gap(self) -> dict[str, Any]:
        """By how much the best is better, with an interval."""
        return margin(self.best, self.own, self.lead)

    @property
    def said(self) -> list[str]:
        """What was gained, a sentence each."""
        counted = f"{self.family}: {self.tried} settings tried, {self.whole} of them on all rows"
        counted += f", {self.failed} failed" if self.failed else ""
        if not self.settings:
            return [f"{counted}; nothing beat the plan's own settings ({self._figure(self.own)})"]
        gap = self.gap
        found = f"{gap['value']:+.4f}, 95 % interval {gap['low']:+.4f} to {gap['high']:+.4f}"
        sure = "; it may be chance" if gap["low"] <= 0 else ""
        what = WORDS[self.lead]
        return [
            counted,
            f"gained {found}{sure}: {what}, {self._figure(self.own)} before and {self._figure(self.best)} now",
            f"of {self.whole} settings the best was taken, so the gain is flattered somewhat; the gate asks rows unseen here",
        ]

    def _figure(self, trial: Trial) -> str:
        return f"AUC {trial.auc:.3f}" if self.lead == "fidelity" else f"{float(trial.over(self.lead)[0]):.4f}"


@dataclass(frozen=True)
class Search:
    """What is searched: a family's settings within their ranges, on these rows, in this time.

    own: the plan's own values of what is searched; fixed: its other settings; seconds: of the whole search."""

    run: Run
    folder: Path
    ground: Ground
    use: str
    family: str
    own: Mapping[str, Any]
    fixed: Mapping[str, Any]
    ranges: Mapping[str, Range]
    rungs: tuple[int, ...]
    drawn: int
    seconds: float

    def tried(self, settings: Mapping[str, Any], rung: int, seconds: float) -> Trial:
        """One trial on the rows of a rung; not made again where its record is there."""
        place, plan = self.folder / "trials" / self.name(settings, rung), self.run.plan
        if not record_of(place).is_file():
            job_of(
                place,
                self.ground.write(self.rungs[rung]),
                use=self.family,
                settings={**self.fixed, **settings},
                plan=str(self.run.folder / "plan.yaml"),
                scarce=self.ground.scarce,
                seed=plan.seed,
            )
            HOW.get()(str(place), max(seconds, 1.0))
        return Trial.of(self.family, rung, {"rows": self.rungs[rung]} | json.loads(record_of(place).read_text()), self.drawn)

    def asked(self, trial: optuna.Trial) -> dict[str, Any]:
        """Settings to try: the plan's own first, which are told to the study as they are."""
        out: dict[str, Any] = {}
        for name, stated in self.ranges.items():
            space = stated.holding(self.own[name])
            if space.choices:
                out[name] = trial.suggest_categorical(name, space.choices)
            elif all(isinstance(end, int) for end in (space.low, space.high)):
                out[name] = trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
            else:
                out[name] = float(f"{trial.suggest_float(name, space.low, space.high, log=space.log):.{DIGITS}g}")
        return dict(self.own) if OWN in trial.user_attrs else out

    def limit(self, rung: int, *, own: bool) -> float:
        """Seconds that a trial may take on a rung: SLOWEST times what the plan's own settings took, which may take all."""
        place = record_of(self.folder / "trials" / self.name(self.own, rung))
        if own or not place.is_file():
            return self.seconds
        return float(SLOWEST * json.loads(place.read_text())["seconds"] + START)

    def name(self, settings: Mapping[str, Any], rung: int) -> str:
        """What a trial's folder is called."""
        return f"{digest(settings)[:12]}-{rung}"

    def objective(self, trial: optuna.Trial) -> float:
        """The leading figure on all rows. Raises TrialPruned for one that falls behind, _FailedError for one that failed."""
        import optuna

        settings, value = self.asked(trial), math.nan
        trial.set_user_attr("settings", settings)
        for rung in range(len(self.rungs)):
            found = self.tried(settings, rung, self.limit(rung, own=OWN in trial.user_attrs))
            if found.failed:
                trial.set_user_attr("failed", found.failed)
                raise _FailedError(found.failed)
            value = float(found.over(lead_of(self.use, [found]))[0])
            trial.report(value, rung)
            if OWN not in trial.user_attrs and rung + 1 < len(self.rungs) and trial.should_prune():
                raise optuna.TrialPruned
        return value


class _FailedError(Exception):
    """A trial gave no figures; it loses, the others go on."""


def tuned_plan(
    config: Path, overrides: Sequence[str], runs: Path, out: Path, *, minutes: float, trials: int | None, progress: Progress
) -> list[str]:
    """Search, and write the plan with what was found; what came of it, a sentence each. Nothing is written where nothing beat
    the plan's own settings. Raises as `tune` does."""
    tuned = tune(config, overrides, runs, minutes=minutes, trials=trials, progress=progress)
    if not tuned.settings:
        return tuned.said
    write_tuned(config, overrides, out, tuned)
    return [*tuned.said, *(f"{name}: {tuned.before[name]} -> {value}" for name, value in tuned.settings.items()), str(out)]


def tune(
    config: Path, overrides: Sequence[str], runs: Path, *, minutes: float, trials: int | None, progress: Progress
) -> Tuned:
    """Search the settings of the plan's family, or of the one that the five questions put first.

    What is finished is kept in `<runs>/tune/<name>-<digest>`, and the same command goes on from there.

    Raises UserError for pictures, for a family that says nothing of what can be searched, for too little time, and where the
    plan's own settings give no figures."""
    plan = load(config, overrides, checks=PLAN_CHECKS)
    if plan.modality != "tabular" or plan.several:
        what = "tables that refer to one another" if plan.several else MODALITIES[plan.modality]
        raise UserError(f"{config}: tune judges by rows of one table, and these are {what}; set generator.* by hand")
    if plan.sample.rows == "sweep":
        # How many rows help is asked by a run; which settings do, at the usual number.
        plan = plan.model_copy(update={"sample": plan.sample.model_copy(update={"rows": "auto"})})
    mark = fingerprint(plan)
    asked = digest(plan.model_dump(exclude={"publish", "gate"}), mark, code_version("generators", "validators", "data"))
    folder = runs / "tune" / f"{plan.name}-{asked[:10]}"
    run = Run.open(folder, plan, mark)
    run.note("foretold", True)  # a family that trials would choose is the first of the five questions here
    with run.locked():
        for name in ("read", "profile", "choose"):
            perform(run, name)
        search = _search(run, folder, minutes, trials)
        return _searched(search, minutes, trials, progress)


def _search(run: Run, folder: Path, minutes: float, trials: int | None) -> Search:
    plan = run.settled
    choice = json.loads((run.folder / "choice.json").read_text())
    family, ranges = family_of(plan.model_copy(update={"constraints": []})), _ranges(plan)
    drawn = {level: choice["draw"].get(str(level), 0) for level in class_counts(owned(run))}
    ground = Ground.lay(run, folder / "rows", drawn)
    spec = generator_spec(plan)
    at_once = workers(trials or TRIALS, (), device_of(plan.device))
    rungs, count = sizes(ground.train.num_rows, RUNGS), trials or TRIALS
    if 60 * minutes * at_once < START * len(rungs) * count:
        needed = math.ceil(10 * START * len(rungs) * count / at_once / 60) / 10
        raise UserError(
            f"--minutes {minutes:g} leave {60 * minutes * at_once / count:.1f} s for each of {count} trials, and starting one "
            f"takes some {START * len(rungs):g} s; give at least {needed:g}"
        )
    return Search(
        run=run,
        folder=folder,
        ground=ground,
        use=use_of(plan.choose, fills_up(plan, len(drawn))),
        family=plan.generator.use,
        own={name: getattr(family, name) for name in ranges},
        fixed={name: value for name, value in spec.items() if name != "use" and name not in ranges},
        ranges=ranges,
        rungs=rungs,
        drawn=sum(choice["draw"].values()),
        seconds=60 * minutes,
    )


def _ranges(plan: Plan) -> Mapping[str, Range]:
    from configs.components import find

    ranges: Mapping[str, Range] = getattr(find(plan.generator.use, Generator, package="generators"), "ranges", {})
    if not ranges:
        found = families("generators", Generator).items()
        able = ", ".join(
            sorted(n for n, f in found if getattr(f, "ranges", None) and getattr(f, "modality", "") == plan.modality)
        )
        raise UserError(f"generator.use: {plan.generator.use} says nothing of what can be searched; name one of {able}")
    return ranges


def _searched(search: Search, minutes: float, trials: int | None, progress: Progress) -> Tuned:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _study(search)
    total = 60 * minutes
    at_once = workers(trials or TRIALS, (), device_of(search.run.plan.device))

    def used() -> float:
        # What earlier commands took counts: the minutes are for all of them together.
        return float(sum(t.duration.total_seconds() for t in _ended(study) if t.duration)) / at_once

    def told(*_: Any) -> None:
        best = max((float(t.value) for t in study.trials if t.value is not None), default=math.nan)
        done = (len(_ended(study)), trials, "trial") if trials else (min(int(used()), int(total)), int(total), "second")
        progress.advance(*done, best=best)

    def more(count: int | None, jobs: int) -> None:
        left = total - used()
        if left > 0 and (count is None or count > 0):
            study.optimize(search.objective, n_trials=count, timeout=left, n_jobs=jobs, catch=_FailedError, callbacks=[told])

    if not _ended(study):
        more(1, 1)
    why = next((t.user_attrs["failed"] for t in _ended(study) if OWN in t.user_attrs and "failed" in t.user_attrs), None)
    if why is not None:
        if OUT_OF_TIME in why:
            raise UserError(
                f"the plan's own settings alone take longer than --minutes {minutes:g} here; give at least {TRIALS * minutes:g}"
            )
        raise UserError(f"the plan's own settings gave no figures ({why}); mend them")
    more(None if trials is None else trials - len(_ended(study)), at_once)
    return _tuned(search, study)


def _study(search: Search) -> optuna.Study:
    """The study in the folder; trials that a kill interrupted are asked again."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    search.folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(search.folder / "study.log")))
    study = optuna.create_study(storage=storage, study_name=search.family, load_if_exists=True, direction="maximize")
    interrupted = [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    for each in interrupted:
        study.tell(each.number, state=optuna.trial.TrialState.FAIL)
    ended = len(_ended(study))
    # Not the same draws again after an interruption.
    study.sampler = optuna.samplers.TPESampler(seed=search.run.plan.seed + ended, n_startup_trials=BEFORE + 2)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=BEFORE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not ended:
            study.enqueue_trial(dict(search.own), user_attrs={OWN: True})
        for each in interrupted if ended else ():
            study.enqueue_trial(each.params)
    return study


def _ended(study: optuna.Study) -> list[Any]:
    """Trials that gave figures, fell behind, or failed by themselves; not those that were interrupted."""
    return [t for t in study.trials if t.state.is_finished() and (t.state.name != "FAIL" or "failed" in t.user_attrs)]


def _tuned(search: Search, study: optuna.Study) -> Tuned:
    last = len(search.rungs) - 1
    whole = [t for t in study.trials if t.value is not None and t.state.name == "COMPLETE"]
    made = {t.number: search.tried(t.user_attrs["settings"], last, 1.0) for t in whole}
    own = made[next(t.number for t in whole if OWN in t.user_attrs)]
    lead = lead_of(search.use, [own])
    # The first of equals: the plan's own settings stay where nothing beats them.
    best = max(whole, key=lambda t: (float(made[t.number].over(lead)[0]), OWN in t.user_attrs))
    settings = best.user_attrs["settings"]
    changed = {name: value for name, value in settings.items() if value != search.own[name]}
    failed = sum("failed" in t.user_attrs for t in study.trials)
    ended = len(_ended(study))
    return Tuned(search.family, made[best.number], own, changed, search.own, lead, ended, len(whole), failed)


def check_out(out: Path, *, force: bool) -> None:
    """Raises DataError for a file that is there and is not to be written over, or whose folder is not there."""
    if out.exists() and not force:
        raise DataError(f"{out} exists; name another with --out, or use --force")
    if out.is_dir() or not out.parent.is_dir():
        raise DataError(f"{out} cannot be written: name a file in a folder that exists")


def write_tuned(config: Path, overrides: Sequence[str], out: Path, tuned: Tuned) -> None:
    """The plan with what was found, its comments kept. Raises PlanError where the result would be no plan."""
    gap = tuned.gap
    span = f"95 % interval {gap['low']:+.4f} to {gap['high']:+.4f}"
    note = [
        f"Tuned: {tuned.tried} settings tried; {WORDS[tuned.lead]}:",
        f"{gap['value']:+.4f} over what the plan said before, on reference rows ({span}).",
    ]
    beside = out.with_name(f"{out.name}.part")
    write_text(beside, rewritten(config, overrides, tuned.family, tuned.settings, note))
    try:
        load(beside, checks=PLAN_CHECKS)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(out)
