"""Does the synthetic set help the model it is for?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from validators._utility_learners import BOOSTING, LEARNERS
from validators._utility_numbers import transfer_of_numbers
from validators._utility_rows import LEAST_TESTED, CannotJudgeError, Task, task
from validators._utility_sweep import Sweep, sweep
from validators._utility_tstr import Ratio, Transfer, transfer
from validators._utility_ways import NOTHING
from validators.base import Culprit, Evidence, Finding, Verdict, figures_of

CHECK = "utility"
#: Figures a plan may limit from below, and the metric of TSTR that each is the ratio of.
RATIOS: Mapping[str, str] = {
    "tstr_auc_ratio": "roc_auc",
    "tstr_ap_ratio": "average_precision",
    "tstr_balanced_accuracy_ratio": "balanced_accuracy",
    "tstr_mae_ratio": "mae",
    "tstr_r2_ratio": "r2",
}
#: The gain by synthetic rows or pictures in average precision, and of pictures in a segmenter's overlap (IoU).
GAIN, IOU_GAIN = "gain", "iou_gain"
FIGURES = (*RATIOS, GAIN, IOU_GAIN)
Depth = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class UtilityCheck:
    """Train on synthetic, test on real (TSTR), as a ratio to train on real; and whether augmentation helps.

    quick: a gradient boosting trained on synthetic rows and one on as many real rows, both tested on the holdout. full: a
    logistic regression too, and real rows plus 0.5 to 10 synthetic ones to each, against nothing, class weights, random
    oversampling and SMOTE; the ratio is chosen on rows that are not the holdout's, the gain is claimed on the holdout.

    It reports. It blocks where a limit of the plan is crossed and the 95 % interval excludes it, and warns where the
    interval does not: limits["utility"] may hold least ratios (`RATIOS`) and a least gain in average precision of the
    minority class, which makes any depth full.

    precision: the precision at which the recall of the minority class is reported; seeds: of the sweep, 3 or more."""

    name: ClassVar[str] = CHECK

    depth: Depth = "quick"
    precision: float = 0.5
    seeds: int = 3

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; rows that no model can be compared on give
        SKIPPED."""
        limits = check_limits(evidence.intent.limits.get(CHECK, {}))
        depth: Depth = "full" if GAIN in limits else self.depth
        schema = evidence.reference.schema
        try:
            if schema.target is None:
                raise CannotJudgeError("no target is named, so there is no model to compare by")
            column = schema[schema.target]
            if column.kind in ("numeric", "integer"):
                return _finding(Answer(depth, numbers=transfer_of_numbers(evidence)), limits)
            if not column.discrete:
                raise CannotJudgeError(f"models of {column.kind} targets are not compared, only of classes and numbers")
            return _finding(self._classes(task(evidence), depth), limits)
        except CannotJudgeError as why:
            return Finding(CHECK, "SKIPPED", summary=str(why))

    def _classes(self, found: Task, depth: Depth) -> Answer:
        if depth == "quick":
            return Answer(depth, found, {BOOSTING: transfer(found)}, precision=self.precision)
        # Rows of one class alone train no model by themselves, but may help beside the real ones.
        learners = LEARNERS if found.synthetic.present > 1 else ()
        each = {learner: transfer(found, learner=learner) for learner in learners}
        return Answer(depth, found, each, sweep(found, precision=self.precision, seeds=self.seeds), precision=self.precision)


@dataclass(frozen=True)
class Answer:
    """All that was measured."""

    depth: Depth
    task: Task | None = None
    transfers: Mapping[str, Transfer] | None = None
    sweep: Sweep | None = None
    numbers: Mapping[str, Ratio] | None = None
    precision: float = 0.5

    @property
    def ratios(self) -> Mapping[str, Ratio]:
        """TSTR of the boosting by metric; empty where no model can be trained on the synthetic rows."""
        if self.numbers is not None:
            return self.numbers
        return self.transfers[BOOSTING].ratios if self.transfers else {}

    def figure(self, name: str) -> tuple[float, float, float] | None:
        """A figure of `FIGURES` with its interval; None where it does not exist."""
        if name == GAIN:
            return None if self.sweep is None else (self.sweep.lead.value, self.sweep.lead.low, self.sweep.lead.high)
        ratio = self.ratios.get(RATIOS.get(name, ""))
        if ratio is None or ratio.ratio is None or ratio.low is None or ratio.high is None:
            return None
        return ratio.ratio, ratio.low, ratio.high

    def reference(self, name: str) -> float:
        """The same figure for real rows: of the reference where it is not train, else what it must be."""
        ratio = self.ratios.get(RATIOS.get(name, ""))
        known = None if ratio is None else ratio.reference
        return (0.0 if name == GAIN else 1.0) if known is None else known


def check_limits(stated: Mapping[str, float]) -> dict[str, float]:
    """The plan's limits; raises DataError for a figure that does not exist."""
    return figures_of("utility", stated, FIGURES)


def _finding(answer: Answer, limits: Mapping[str, float]) -> Finding:
    known = {name: figure for name in FIGURES if (figure := answer.figure(name)) is not None}
    crossed = [name for name, limit in limits.items() if name in known and known[name][0] < limit]
    sure = [name for name in crossed if known[name][2] < limits[name]]
    unseen = [name for name in limits if name not in known]
    verdict: Verdict = "BLOCK" if sure else "INCONCLUSIVE" if unseen else "WARN" if crossed else "PASS"
    lead = next(iter([*sure, *unseen, *crossed, *limits, *known]), None)
    said = _said(answer)
    if verdict != "PASS" and lead is not None:
        said = f"{_against(lead, known.get(lead), limits[lead])}; {said}"
    return Finding(
        CHECK,
        verdict,
        value=known[lead][0] if lead in known else None,
        limit=None if lead is None else limits.get(lead),
        reference=None if lead is None else answer.reference(lead),
        summary=said,
        culprits=_culprits(answer) if crossed else (),
        details=_details(answer, lead),
    )


def _against(name: str, figure: tuple[float, float, float] | None, limit: float) -> str:
    if figure is None:
        return f"{name} cannot be measured on these rows, but the plan limits it to {limit:.3g}"
    sure = "" if figure[2] < limit else ", though by no more than chance allows"
    return f"{name} is {figure[0]:.3g} ({figure[1]:.3g} to {figure[2]:.3g}), below the plan's limit of {limit:.3g}{sure}"


def _said(answer: Answer) -> str:
    parts = []
    if answer.numbers is not None:
        mae, r2 = answer.numbers["mae"], answer.numbers["r2"]
        parts.append(
            f"a model trained on synthetic rows errs by {mae.synthetic:.3g} on unseen real rows, one trained on real rows "
            f"by {mae.real:.3g}; R^2 {r2.synthetic:.2f} and {r2.real:.2f}"
        )
    elif answer.ratios:
        parts.append(_transferred(answer))
    else:
        parts.append("the synthetic rows hold one class alone, so none is trained on them by themselves")
    if answer.task is not None and (out := _untested(answer.task)):
        parts.append(out)
    if answer.sweep is not None:
        parts.append(_gained(answer.sweep))
        if answer.task is not None and answer.sweep.rows < answer.task.train.total:
            parts.append(
                f"measured with {answer.sweep.rows} of {answer.task.train.total} train rows, so with all of them synthetic "
                "rows help less"
            )
    elif answer.depth == "full":
        parts.append("whether augmentation helps is compared for classes only")
    return "; ".join(parts)


def _transferred(answer: Answer) -> str:
    auc, ap, accuracy = (answer.ratios[RATIOS[name]] for name in list(RATIOS)[:3])
    sure = "" if auc.low is None else f", {auc.low:.2f} to {auc.high:.2f}"
    shares = [f"{ratio.ratio:.2f}" if ratio.ratio is not None else "no ratio" for ratio in (auc, ap, accuracy)]
    return (
        f"a model trained on synthetic rows reaches {shares[0]} of the ROC AUC of one trained on real rows "
        f"({auc.synthetic:.2f} and {auc.real:.2f}{sure}), {shares[1]} of its average precision and {shares[2]} of its "
        "balanced accuracy"
    )


def _untested(found: Task) -> str:
    out = [name for y, name in enumerate(found.names) if y not in found.tested]
    if not out:
        return ""
    some = ", ".join(repr(name) for name in out[:5]) + (f" and {len(out) - 5} more" if len(out) > 5 else "")
    return f"fewer than {LEAST_TESTED} holdout rows, or no train rows, leave {some} untested"


def _gained(found: Sweep) -> str:
    gain = found.lead
    made, other = (found.figure(arm, gain.metric)[0] for arm in (gain.better, gain.than))
    return (
        f"{'adding synthetic rows helps' if gain.low > 0 else 'adding synthetic rows brings no gain'}: average precision of "
        f"the minority class {made:.2f} with {gain.better}, {other:.2f} with {gain.than} "
        f"(gain {gain.value:+.3f}, {gain.low:+.3f} to {gain.high:+.3f})"
    )


def _advice(answer: Answer) -> str:
    if answer.sweep is None:
        return "train the generator longer or try another family, then judge a new attempt"
    gain = answer.sweep.lead
    if gain.low > 0:
        return f"add {gain.better.ratio:.2g} synthetic rows to each real one, with {gain.better.learner}"
    way = "train on the real rows alone" if gain.than.method == NOTHING else f"use {gain.than.method} on the real rows"
    return f"prefer the cheaper way: {way}, with {gain.than.learner}; synthetic rows bring no gain over it"


def _details(answer: Answer, lead: str | None) -> dict[str, Any]:
    out: dict[str, Any] = {"depth": answer.depth, "figure": lead, "advice": _advice(answer)}
    if answer.numbers is not None:
        return out | {"tstr": {BOOSTING: {name: ratio.plain() for name, ratio in answer.numbers.items()}}}
    out["tstr"] = {learner: found.plain() for learner, found in (answer.transfers or {}).items()}
    if answer.task is not None:
        found = answer.task
        out |= {
            "minority": found.names[found.minority],
            "tested": [found.names[y] for y in found.tested],
            "holdout_rows": len(found.test.y),
            "train_rows": found.train.total,
            "synthetic_rows": found.synthetic.total,
        }
    if answer.sweep is not None:
        out |= {
            "precision": answer.precision,
            "sweep_train_rows": answer.sweep.rows,
            "gain": answer.sweep.lead.plain(),
            "gains": [gain.plain() for gain in answer.sweep.gains()],
            "chosen_on": answer.sweep.chosen_on,
            "sweep": answer.sweep.plain(),
        }
    return out


def _culprits(answer: Answer) -> tuple[Culprit, ...]:
    """The classes that a model trained on synthetic rows recognises least, beside one trained on real rows."""
    if answer.task is None or not answer.transfers:
        return ()
    found = answer.transfers[BOOSTING]
    each = [
        Culprit(
            cell=f"class {answer.task.names[y]} recognised",
            expected=float(real),
            observed=float(made),
            ratio=float(made / real) if real > 0 else None,
        )
        for y, made, real in zip(answer.task.tested, found.recalled, found.real_recalled, strict=True)
    ]
    return tuple(sorted((c for c in each if c.observed < c.expected), key=lambda c: c.observed - c.expected)[:10])
