"""How is it told whether synthetic pictures help: verdict, sentence, and the figures that the report shows?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from validators._picture_arms import IOU, METRICS, RECALL, Arm
from validators._picture_sweep import Choice, Comparison, best
from validators.base import Finding, Verdict
from validators.utility import CHECK, GAIN, IOU_GAIN

NOTHING = "nothing"
CNN, UNET = "small CNN", "small U-Net"
SYNTHETIC = "synthetic pictures"
Figure = tuple[float, float, float]


@dataclass(frozen=True)
class Answer:
    """All that was measured. filled: the classes that are judged; cheap, mixed: arms without and with synthetic pictures;
    choice: of the arms that were compared on pictures that are not the test's; tested, trained, made: pictures."""

    depth: str
    filled: tuple[str, ...]
    cheap: tuple[Arm, ...]
    mixed: tuple[Arm, ...]
    found: Comparison
    choice: Choice
    precision: float
    tested: int
    trained: int
    made: int

    @property
    def pair(self) -> tuple[str, str]:
        """The best ratio and the best cheaper way, as they did on the pictures set aside for choosing."""
        known = [arm.name for arm in self.cheap if arm.name in self.choice.figures] or [self.cheap[-1].name]
        return best(self.choice, [arm.name for arm in self.mixed]), best(self.choice, known)

    @property
    def chosen(self) -> Arm:
        """What would be done without a look at the test; it may hold no synthetic picture."""
        return next(arm for arm in (*self.cheap, *self.mixed) if arm.name == self.choice.name)

    @property
    def masked(self) -> bool:
        return all(IOU in each for each in self.found.values.values())

    def figures(self) -> dict[str, Figure]:
        """What a plan may limit, with intervals."""
        out = {GAIN: self.found.gain(*self.pair)}
        return out | ({IOU_GAIN: self.found.gain(*self.pair, IOU)} if self.masked else {})


def finding_of(answer: Answer, limits: Mapping[str, float]) -> Finding:
    """The verdict is BLOCK where a figure lies below its limit and its interval does too."""
    known = answer.figures()
    crossed = [name for name, limit in limits.items() if name in known and known[name][0] < limit]
    sure = [name for name in crossed if known[name][2] < limits[name]]
    unseen = [name for name in limits if name not in known]
    verdict: Verdict = "BLOCK" if sure else "INCONCLUSIVE" if unseen else "WARN" if crossed else "PASS"
    lead = next(iter([*sure, *unseen, *crossed, *limits]), GAIN)
    against = "" if verdict == "PASS" else _against(lead, known.get(lead), limits[lead]) + "; "
    return Finding(
        CHECK,
        verdict,
        value=known[lead][0] if lead in known else None,
        limit=limits.get(lead),
        reference=0.0 if lead in known else None,
        summary=against + _said(answer),
        details=_details(answer, lead),
    )


def nothing_to_gain(answer: Answer) -> Finding:
    """Where the last of the cheap ways is perfect on every score and seed, no picture can add to it and none was tried."""
    best_way = answer.chosen
    way = _method(best_way)
    seeds = len(answer.found.seeds(best_way.name))
    said = (
        f"nothing to gain: the detector is already at 1.00 without synthetic pictures (trained on the real ones with {way}; "
        f"average precision and recall of {_names(answer.filled)} and balanced accuracy on {answer.tested} unseen real "
        f"pictures, each of {seeds} {'seed' if seeds == 1 else 'seeds'}), so none were tried"
    )
    plain = "train on the real pictures as they are" if way == NOTHING else f"train on the real pictures with {way}"
    return Finding(
        CHECK,
        "PASS",
        summary=said.replace(" with nothing;", " as they are;"),
        details=_facts(answer, GAIN) | {"nothing_to_gain": True, "advice": f"{plain}; synthetic pictures cannot add to it"},
    )


def _against(name: str, figure: Figure | None, limit: float) -> str:
    if figure is None:
        return f"{name} cannot be measured on these pictures, but the plan limits it to {limit:.3g}"
    sure = "" if figure[2] < limit else ", though by no more than chance allows"
    return f"{name} is {_spanned(figure)}, below the plan's limit of {limit:.3g}{sure}"


def _spanned(figure: Figure) -> str:
    return f"{figure[0]:+.3f} ({figure[1]:+.3f} to {figure[2]:+.3f})"


def _said(answer: Answer) -> str:
    made, other = answer.pair
    found, gain = answer.found, answer.found.gain(made, other)
    helps = "adding synthetic pictures helps" if gain[1] > 0 else "adding synthetic pictures brings no gain"
    parts = [
        f"{helps}: average precision of {_names(answer.filled)} {found.figure(made)[0]:.2f} with {_way(answer, made)}, "
        f"{found.figure(other)[0]:.2f} with {_way(answer, other)} (gain {_spanned(gain)})",
        f"recall at {answer.precision:.0%} precision {found.figure(made, RECALL)[0]:.2f} and "
        f"{found.figure(other, RECALL)[0]:.2f}",
    ]
    if answer.masked:
        parts.append(
            f"a segmenter's overlap (IoU) {found.figure(made, IOU)[0]:.2f} and {found.figure(other, IOU)[0]:.2f} "
            f"(gain {_spanned(found.gain(made, other, IOU))})"
        )
    return "; ".join([*parts, _chosen(answer)])


def _chosen(answer: Answer) -> str:
    if not answer.choice.on:
        return "no class has pictures enough in train to choose a ratio by, so none would be added"
    way = "no synthetic pictures" if not answer.chosen.ratio else f"{answer.chosen.ratio:.2g} to each real one"
    return f"chosen on {answer.choice.on}: {way}"


def _names(filled: tuple[str, ...]) -> str:
    some = ", ".join(repr(name) for name in filled[:3])
    return some if len(filled) <= 3 else f"{some} and {len(filled) - 3} more"


def _way(answer: Answer, name: str) -> str:
    arm = next(each for each in (*answer.cheap, *answer.mixed) if each.name == name)
    return f"{arm.ratio:.2g} to each real one" if arm.ratio else _method(arm)


def _method(arm: Arm) -> str:
    return SYNTHETIC if arm.ratio else NOTHING if not (arm.balanced or arm.classical) else arm.name


def _advice(answer: Answer) -> str:
    made, other = answer.pair
    if answer.found.gain(made, other)[1] > 0:
        return f"add {_way(answer, made)}, with balanced sampling and classical augmentation"
    cheap = "train on the real pictures as they are" if _way(answer, other) == NOTHING else f"use {_way(answer, other)}"
    return f"prefer the cheaper way: {cheap}; synthetic pictures bring no gain over it"


def _details(answer: Answer, lead: str) -> dict[str, Any]:
    gains = _gains(answer)
    return _facts(answer, lead) | {"advice": _advice(answer), "gain": gains[0], "gains": gains}


def _facts(answer: Answer, lead: str) -> dict[str, Any]:
    """What is known whether or not a synthetic picture was tried."""
    chosen = answer.chosen
    return {
        "depth": answer.depth,
        "figure": lead,
        "unit": "pictures",
        "minority": ", ".join(answer.filled),
        "tested": list(answer.filled),
        "holdout_rows": answer.tested,
        "train_rows": answer.trained,
        "synthetic_rows": answer.made,
        "precision": answer.precision,
        "turns": (answer.mixed or answer.cheap)[-1].changes.turns,
        "chosen": {"ratio": chosen.ratio, "way": _method(chosen)},
        "chosen_on": answer.choice.on,
        "sweep": _sweep(answer),
    }


def _plain(arm: Arm, metric: str) -> dict[str, Any]:
    return {"method": _method(arm), "ratio": arm.ratio, "learner": UNET if metric == IOU else CNN}


def _metrics(answer: Answer) -> tuple[str, ...]:
    return (*METRICS, IOU) if answer.masked else METRICS


def _gains(answer: Answer) -> list[dict[str, Any]]:
    """The best ratio against the best cheaper way first, then against the others, in every metric."""
    arms = {arm.name: arm for arm in (*answer.cheap, *answer.mixed)}
    made, other = answer.pair
    out = []
    for than in dict.fromkeys([other, *(arm.name for arm in answer.cheap)]):
        for metric in _metrics(answer):
            ends = dict(zip(("value", "low", "high"), answer.found.gain(made, than, metric), strict=True))
            out.append({"of": _plain(arms[made], metric), "over": _plain(arms[than], metric), "metric": metric} | ends)
    return out


def _sweep(answer: Answer) -> list[dict[str, Any]]:
    """One JSON object for each arm and metric."""
    return [
        _plain(arm, metric)
        | {"metric": metric, "seeds": answer.found.seeds(arm.name, metric)}
        | dict(zip(("value", "low", "high"), answer.found.figure(arm.name, metric), strict=True))
        for arm in (*answer.cheap, *answer.mixed)
        for metric in _metrics(answer)
    ]
