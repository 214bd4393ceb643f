"""Which family suits these data and this use? Five questions, in the order in which the cheapest disqualify first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.components import families as found_families
from configs.components import find as find_family
from configs.errors import DataFault, KeyFault
from configs.plan import ChooseSpec, Plan
from data.errors import DataError
from data.words import UNITS, said_of
from flows.choose_words import AS_ROWS, FAILS, KINDS, MODALITIES, QUESTIONS, SOURCES, UNBUILT, USES
from generators.base import Failure, Generator, Traits

__all__ = ["AS_ROWS", "FAILS", "MODALITIES", "QUESTIONS", "SOURCES", "UNBUILT", "USES"]

Use = Literal["augment", "replace", "photorealistic", "scores"]
#: Licences that leave users free in what they do with the rows and with what draws them.
PERMISSIVE = ("Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "ISC", "PSF-2.0")
#: Beyond this AUC a classifier tells drawn rows from real ones so surely that they cannot stand in their place.
APART = 0.75
#: Rows of a class up to which what counts is what a family brings to a class of few rows.
SCARCE = 300
#: What figures of a family are good for: gains with pictures (shares of headroom), with tables (average precision), AUCs.
PICTURE_STEP, TABLE_STEP, AUC_STEP = 0.25, 0.01, 0.01


@dataclass(frozen=True)
class Facts:
    """What is known before a family is chosen.

    rows: real rows or pictures that are trained on; classes: of each class; filled: the classes that are drawn; device: "cpu"
    or "cuda"; release: whether differential privacy must be promised; refuse: asks a family whether it would learn from these,
    and raises what it would."""

    modality: str
    rows: int
    classes: Mapping[Any, int] = field(default_factory=dict)
    filled: Sequence[Any] = ()
    device: str = "cpu"
    release: bool = False
    refuse: Callable[[type], None] = lambda family: None

    @property
    def scarcest(self) -> tuple[Any, int] | None:
        """The class of fewest rows among those that are drawn, and how many it has."""
        drawn = [level for level in self.filled if level in self.classes] or list(self.classes)
        level = min(drawn, key=lambda k: self.classes[k], default=None)
        return None if level is None else (level, self.classes[level])

    @property
    def unit(self) -> str:
        """What a row is called."""
        return f"{UNITS.get(self.modality, 'row')}s"


@dataclass(frozen=True)
class Answer:
    """One question, its answer, and where the answer is from: the data, the plan, or a usual choice."""

    question: int
    answer: str
    source: Literal["data", "plan", "usual", "machine"]

    @property
    def said(self) -> str:
        """One line."""
        return f"{self.question}. {QUESTIONS[self.question]} {self.answer} ({SOURCES[self.source]})"


@dataclass(frozen=True)
class Out:
    """A family that is out, the question that ended it, and why."""

    family: str
    question: int
    reason: str


@dataclass(frozen=True)
class In:
    """A family that is left, and what speaks for it."""

    family: str
    reason: str


@dataclass(frozen=True)
class Rubric:
    """What the five questions leave. left: best first."""

    answers: tuple[Answer, ...]
    out: tuple[Out, ...]
    left: tuple[In, ...]
    use: Use
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values, for choice.json."""
        return {
            "use": self.use,
            "answers": [{"question": a.question, "answer": a.answer, "source": a.source} for a in self.answers],
            "out": [dict(o.__dict__) for o in self.out],
            "left": [dict(i.__dict__) for i in self.left],
            "advice": self.advice,
        }


class NoFamilyError(DataError):
    """No family is left, or these data are of a kind that none draws."""


def rubric(facts: Facts, stated: ChooseSpec, *, balanced: bool, known: Mapping[str, type] | None = None) -> Rubric:
    """The five questions over all families (`known`, or those that are found).

    Raises NoFamilyError where none is left, and says which answer would have to change."""
    if facts.modality in UNBUILT:
        raise NoFamilyError(UNBUILT[facts.modality])
    use = use_of(stated, balanced)
    candidates = _candidates(stated) if known is None else known
    answers = _answers(facts, stated, use)
    out: list[Out] = []
    left: dict[str, Traits] = {}
    for name, family in candidates.items():
        traits: Traits | None = getattr(family, "traits", None)
        ended = _ended(name, family, traits, facts, stated, use)
        if ended is None and traits is not None:
            left[name] = traits
        elif ended is not None and ended.question:
            out.append(ended)
    if not left:
        raise NoFamilyError(_none_left([o for o in out if _meant(candidates[o.family], facts)], facts, stated, use))
    order = sorted(left, key=lambda name: _rank(name, left[name], facts, stated, use))
    ranked = tuple(In(name, _for(name, left[name], facts, use)) for name in order)
    return Rubric(answers, tuple(out), ranked, use, _advice(order, left, facts, use))


def _meant(family: type, facts: Facts) -> bool:
    """Whether a family is one that could be left: no reference, and with the promise that is needed, or without one."""
    traits: Traits | None = getattr(family, "traits", None)
    return traits is None or not (traits.reference or traits.private != facts.release)


def ruled_out(name: str, facts: Facts, stated: ChooseSpec, *, balanced: bool) -> Out | None:
    """The question at which a family that a plan names would be out for what the plan states itself, None where nothing it says
    stands against it."""
    family = find_family(name, Generator, package="generators")
    traits: Traits | None = getattr(family, "traits", None)
    if traits is None or traits.reference:
        return None
    said = {3: (_of_use, stated.use != "auto"), 5: (_of_failure, bool(stated.avoid))}
    for question, (check, asked) in said.items():
        if asked and (reason := check(traits, family, facts, stated, use_of(stated, balanced))):
            return Out(name, question, reason)
    return None


def refused(family: Any, train: Any) -> None:
    """Raises what a family says at once against learning from these rows or pictures, or where something it needs is absent.

    Of one that can also draw whole pictures it is asked whether it could paint: its figures are of that."""
    painting = getattr(family, "paints", False) and "task" in getattr(family, "__dataclass_fields__", {})
    asked = family(task="inpaint") if painting else family()
    if hasattr(asked, "ready"):
        asked.ready()
    if hasattr(asked, "refuse"):
        asked.refuse(train)


def facts_of(
    plan: Plan, rows: int, counts: Mapping[Any, int], drawn: Mapping[Any, int], refuse: Callable[[type], None]
) -> Facts:
    """What the rubric asks of a run. rows, counts: real ones to train on, in all and of each class; drawn: to draw."""
    return Facts(
        modality=plan.modality,
        rows=rows,
        classes=counts,
        filled=[level for level, n in drawn.items() if n and level is not None],
        device=device_of(plan.device),
        release=plan.purpose == "release",
        refuse=refuse,
    )


def device_of(device: str = "auto") -> str:
    """What a plan's `device` trains on here: "cuda" where there is a GPU and it does not say otherwise."""
    if device != "auto":
        return "cuda" if device.startswith("cuda") else "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _candidates(stated: ChooseSpec) -> Mapping[str, type]:
    """All families here, and those of others that the plan names. Raises DataFault for a name that means none."""
    found = found_families("generators", Generator)
    try:
        return found | {n: find_family(n, Generator, package="generators") for n in stated.families if n not in found}
    except KeyFault as fault:
        raise DataFault(("choose", "families"), fault.message) from None


def fills_up(plan: Plan, classes: int) -> bool:
    """Whether the plan draws rows to fill its classes up."""
    return plan.sample.mix != "natural" and classes > 1


def use_of(stated: ChooseSpec, balanced: bool) -> Use:
    """What the rows are for: as the plan says, else by whether classes are filled up."""
    if stated.use != "auto":
        return stated.use
    return "augment" if balanced else "replace"


def _answers(facts: Facts, stated: ChooseSpec, use: Use) -> tuple[Answer, ...]:
    rows = f"{facts.rows:,} {facts.unit} to train on"
    if (least := facts.scarcest) is not None:
        rows += f", {least[1]:,} of the scarcest class that is drawn ({str(least[0]).strip()})"
    minutes = "no limit of time" if stated.minutes is None else f"{stated.minutes:g} minutes of training"
    where = "a GPU" if facts.device == "cuda" else "the CPU alone"
    licence = "permissive licences" if stated.licence == "permissive" else "any licence"
    avoid = ", ".join(stated.avoid) if stated.avoid else "lost diversity, as nothing mends that afterwards"
    return (
        Answer(1, KINDS.get(facts.modality, facts.modality), "data"),
        Answer(2, rows, "data"),
        Answer(3, USES[use], "plan" if stated.use != "auto" else "usual"),
        Answer(4, f"{minutes}, on {where}; {licence}", "plan" if stated.minutes is not None else "machine"),
        Answer(5, avoid, "plan" if stated.avoid else "usual"),
    )


def _ended(name: str, family: type, traits: Traits | None, facts: Facts, stated: ChooseSpec, use: Use) -> Out | None:
    """The first question that a family does not survive; question 0 for one that only needs no mention."""
    if getattr(family, "modality", "") != facts.modality:
        return Out(name, 1, f"it draws {MODALITIES.get(getattr(family, 'modality', ''), 'other data')}")
    if stated.families and name not in stated.families:
        return Out(name, 0, "the plan asks only of others")
    if traits is None:
        return Out(name, 2, "it says nothing of itself; name it with generator.use")
    if traits.private != facts.release:
        why = "it promises no differential privacy" if facts.release else "its noise is for releases (purpose: release)"
        return Out(name, 5, why)
    for question, check in ((2, _of_data), (3, _of_use), (4, _of_cost), (5, _of_failure)):
        if reason := check(traits, family, facts, stated, use):
            return Out(name, question, said_of(reason, facts.modality))
    return None


def _of_data(traits: Traits, family: type, facts: Facts, stated: ChooseSpec, use: Use) -> str:
    least = facts.scarcest
    if facts.rows < traits.rows:
        return f"it needs some {traits.rows:,} {facts.unit}, and there are {facts.rows:,}"
    if least is not None and least[1] < traits.rows_of_class:
        return f"it needs some {traits.rows_of_class} {facts.unit} of a class, and {str(least[0]).strip()!r} has {least[1]}"
    if traits.reach is not None and (least is None or least[1] > traits.reach):
        return f"it is for classes of at most {traits.reach:,} {facts.unit}, and none that is drawn has so few"
    try:
        facts.refuse(family)
    except DataError as error:
        return str(error)
    except Exception as error:  # a family's own word, whatever it is: it is out, the others stay
        return " ".join(str(error).split())
    return ""


def _of_use(traits: Traits, family: type, facts: Facts, stated: ChooseSpec, use: Use) -> str:
    if traits.reference and not stated.families:
        return "it is a reference that others are compared with"
    if use == "photorealistic" and not traits.photorealistic:
        return "what it draws is no photograph"
    if use == "scores" and not traits.scores:
        return "it gives no scores"
    if use == "replace" and traits.reach is not None:
        return "it is made for one scarce class, not for the whole"
    if use == "replace" and traits.auc is not None and traits.auc > APART:
        return f"a classifier tells its rows from real ones (AUC {traits.auc:.2f})"
    return ""


def _of_cost(traits: Traits, family: type, facts: Facts, stated: ChooseSpec, use: Use) -> str:
    if traits.gpu and facts.device != "cuda":
        return "nobody would wait for it without a GPU"
    if traits.licence not in PERMISSIVE and stated.licence == "permissive":
        return f"its licence ({traits.licence}) limits what you may do with it; choose.licence: any lets it in"
    return ""


def _of_failure(traits: Traits, family: type, facts: Facts, stated: ChooseSpec, use: Use) -> str:
    for failure in stated.avoid:
        if failure in traits.fails and not (failure == "privacy" and traits.private):
            return FAILS[failure]
    return ""


def _rank(name: str, traits: Traits, facts: Facts, stated: ChooseSpec, use: Use) -> tuple[float, ...]:
    """Smaller is better: what counts for the use first, then how it fails, then what a row costs."""
    worst: Sequence[Failure] = traits.fails[:1]
    lost = 1.0 if "diversity" in worst and not stated.avoid else 0.0
    # What is not known comes after what is, and differences that a figure cannot carry do not decide.
    if use == "augment" and _few(facts):
        step = PICTURE_STEP if facts.modality == "image" else TABLE_STEP
        lead = math.inf if traits.gain is None else -round(_gain(traits, facts) / step)
    else:
        lead = math.inf if traits.auc is None else round(traits.auc / AUC_STEP)
    return (lead, lost, float(traits.passes), float(len(traits.fails)))


def _few(facts: Facts) -> bool:
    """Whether what a family brings to a class of few rows is what counts."""
    least = facts.scarcest
    return facts.modality == "image" or (least is not None and least[1] <= SCARCE)


def _gain(traits: Traits, facts: Facts) -> float:
    """What is to be expected of a family that is measured: of pictures a share of the headroom, else by the scarcest class."""
    if facts.modality == "image" or facts.scarcest is None:
        return traits.gain or 0.0
    return traits.gain_at(facts.scarcest[1]) or 0.0


def _for(name: str, traits: Traits, facts: Facts, use: Use) -> str:
    parts = [] if traits.kind == name else [traits.kind]
    if use == "augment" and _few(facts) and traits.gain is not None:
        parts.append(_brought(traits, facts))
    elif traits.auc is not None:
        parts.append(f"a classifier hardly tells its rows from real ones (AUC {traits.auc:.2f})" if traits.auc < 0.6 else
                     f"a classifier tells its rows from real ones with an AUC of {traits.auc:.2f}")  # fmt: skip
    parts.append("one pass a row" if traits.passes == 1 else f"{traits.passes} passes a row")
    if traits.fails:
        parts.append(f"mind that {FAILS[traits.fails[0]]}")
    said = "; ".join(parts)
    return said_of(said, facts.modality)


def _brought(traits: Traits, facts: Facts) -> str:
    """What a family brought, in words."""
    if facts.modality == "image":
        return f"brought {100 * (traits.gain or 0.0):+.0f} % of the headroom of a detector where it was measured"
    of_100 = "" if traits.gain_of_100 is None else f" and {traits.gain_of_100:+.3f} of 100"
    return f"brought {traits.gain:+.3f} in average precision of a class of 30 rows{of_100} where it was measured"


def _advice(order: Sequence[str], left: Mapping[str, Traits], facts: Facts, use: Use) -> str:
    best = None if left[order[0]].gain is None else _gain(left[order[0]], facts)
    if use == "augment" and _few(facts) and best is not None and best <= 0:
        return f"nothing that is left brought a model anything where it was measured ({order[0]}: {best:+.2f}); expect little"
    if len(order) < 2:
        return ""
    first, second = left[order[0]], left[order[1]]
    few = use == "augment" and _few(facts)
    a, b = (None if t.gain is None else _gain(t, facts) for t in (first, second)) if few else (first.auc, second.auc)
    close = a is not None and b is not None and abs(a - b) < 0.02
    unknown = a is None or b is None
    if not close and not unknown:
        return ""
    why = "figures from other data do not part them" if close else "not both are measured for this use"
    if facts.release:
        return f"{order[0]} and {order[1]}: {why}"
    if facts.modality != "tabular":
        return f"{order[0]} and {order[1]}: {why}; run both with `gate.utility: full`, which measures what they bring"
    return f"{order[0]} and {order[1]}: {why}; `choose: bakeoff` tries them on your rows"


def _none_left(out: Sequence[Out], facts: Facts, stated: ChooseSpec, use: Use) -> str:
    """Why, and which answer would have to change: the question that ended most of those of the right modality."""
    near = [o for o in out if o.question > 1]
    if not near:
        if stated.families:
            return f"choose.families: none of {', '.join(stated.families)} draws {MODALITIES[facts.modality]}; leave it out"
        return f"no family draws {MODALITIES[facts.modality]}"
    last = max(near, key=lambda o: o.question)
    remedy = {
        2: "give more of them, or name a family with generator.use",
        3: f"choose.use: {use} asks what none can give; say augment",
        4: "allow more under choose (licence, minutes), or use a machine with a GPU",
        5: f"take one of {', '.join(stated.avoid)} out of choose.avoid" if stated.avoid else "name a family with generator.use",
    }[last.question]
    return (
        f"no family is left for these {facts.unit}: the last to go was {last.family} at question {last.question} "
        f"({QUESTIONS[last.question].rstrip('?')}): {last.reason}; {remedy}"
    )
