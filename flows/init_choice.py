"""What does a first plan say of its family? The five questions, asked on a terminal where flags do not answer them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from configs.errors import did_you_mean
from configs.plan import AUTO, PICTURE_FAMILY, SERIES_FAMILY, TABLE_FAMILY, ChooseSpec
from data.dataset import Dataset
from data.errors import UserError
from flows.choose import FAILS, Facts, In, NoFamilyError, Rubric, device_of, refused, rubric

RELEASE = "release"
#: What each use is called when it is asked for.
USES: Mapping[str, str] = {
    "augment": "rows beside the real ones, for a model to learn from",
    "replace": "rows in place of the real ones",
    RELEASE: "rows in place of the real ones that may leave the house, with a promise of privacy",
    "photorealistic": "pictures to be looked at",
    "scores": "a model that says how unusual a row is",
}


def answers(use: str | None, minutes: float | None, avoid: list[str] | None, *, licence: str | None) -> tuple[ChooseSpec, bool]:
    """What the user says to questions 3 to 5, by flags, and on a terminal by answering where there is none; and whether the
    rows are for a release.

    Raises UserError for a failure that there is not."""
    for word in avoid or []:
        if word not in FAILS:
            raise UserError(f"--avoid: there is no failure {word!r}{did_you_mean(word, FAILS)}")
    if sys.stdin.isatty() and sys.stderr.isatty() and use is None and minutes is None and not avoid:
        use, minutes, avoid = _ask()
    purpose = None if use == RELEASE else use
    stated: dict[str, Any] = {"use": purpose, "minutes": minutes, "avoid": avoid or None, "licence": licence}
    return ChooseSpec(**{name: value for name, value in stated.items() if value is not None}), use == RELEASE


def _ask() -> tuple[str | None, float | None, list[str]]:
    """Three questions on stderr; return takes the usual answer of each."""
    import typer

    def ask(text: str, usual: str, allowed: tuple[str, ...]) -> str:
        while True:
            said = str(typer.prompt(text, default=usual, err=True)).strip()
            if all(word in allowed for word in said.replace(",", " ").split()):
                return said
            print(f"answer with {' or '.join(allowed)}", file=sys.stderr)

    for name, means in USES.items():
        print(f"  {name:<15} {means}", file=sys.stderr)
    use = ask("What are the rows for? (auto: augment where classes are filled up, else replace)", AUTO, (AUTO, *USES))
    while True:
        text = str(typer.prompt("Minutes that training may take (0: no limit)", default="0", err=True))
        try:
            minutes = float(text)
        except ValueError:
            print("answer with a number", file=sys.stderr)
            continue
        break
    for name, means in FAILS.items():
        print(f"  {name:<15} {means}", file=sys.stderr)
    worst = ask("Which failure can you not afford? (none, or some of these)", "none", ("none", *FAILS))
    picked = [word for word in worst.replace(",", " ").split() if word != "none"]
    return (None if use == AUTO else use), (minutes if minutes > 0 else None), picked


def first_choice(
    data: Dataset, counts: Mapping[Any, int], stated: ChooseSpec, *, modality: str, balanced: bool, kept: float
) -> Rubric:
    """The rubric over data that no plan divides yet. kept: the share of the rows that will be trained on.

    Where so few rows end every family, the usual one is left, with the reason why no other is: a plan for few data still shows
    its user what could be done. Raises NoFamilyError where an answer of the user ends them."""
    try:
        return _asked(data, counts, stated, modality=modality, balanced=balanced, kept=kept)
    except NoFamilyError as error:
        if stated.model_fields_set:
            raise
        usual = {"image": PICTURE_FAMILY, "series": SERIES_FAMILY}.get(modality, TABLE_FAMILY)
        return Rubric((), (), (In(usual, str(error).split("; ", 1)[0]),), "augment" if balanced else "replace", str(error))


def _asked(
    data: Dataset, counts: Mapping[Any, int], stated: ChooseSpec, *, modality: str, balanced: bool, kept: float
) -> Rubric:
    top = max(counts.values(), default=0)

    facts = Facts(
        modality=modality,
        rows=int(kept * data.num_rows),
        classes={level: max(1, int(kept * n)) for level, n in counts.items()},
        filled=[level for level, n in counts.items() if n < top or not balanced],
        device=device_of(),
        refuse=lambda family: refused(family, data),
    )
    return rubric(facts, stated, balanced=balanced)


def family_lines(found: Rubric | None, stated: ChooseSpec, *, pictures: bool = False) -> list[str]:
    """The lines of a plan that name the family, why, and what else was left; and what the user answered. None: no family."""
    if found is None:
        return []
    first, *others = found.left
    lines = []
    if said := stated.model_dump(exclude_defaults=True):
        lines += ["choose:                 # your answers; `counterpoise plan` shows what they leave"]
        lines += [f"  {name}: {_flat(value)}" for name, value in said.items()]
        lines += [""]
    lines += ["generator:", f"  use: {first.family:<17} # {first.reason.partition('; mind')[0]}"]
    if others:
        lines += [f"  # left beside it: {', '.join(each.family for each in others)}"]
    how = "`how: bakeoff` under `choose`" if said else "`choose: bakeoff`"
    tried = "" if pictures else f"; {how} in place of `generator` tries them on your rows"
    return [*lines, f"  # `counterpoise plan` says why{tried}"]


def _flat(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
