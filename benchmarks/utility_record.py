"""The page of `benchmarks.utility`: what each way brings over nothing, with paired intervals, and what the project picks."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.families import version_of
from flows.amount import PART, SPREAD, SURE
from flows.choose import SCARCE
from generators.base import gain_at
from validators.worth import BOOSTING, LEARNERS, LEVELS, METRICS, NOTHING, WEIGHTS, doubt, weighed

Array = np.ndarray
Cells = Mapping[str, Mapping[str, Any]]
PACKAGES = ("numpy", "scikit-learn", "torch", "imbalanced-learn")
#: What `choose` is compared with.
AGAINST = ((NOTHING, ""), (WEIGHTS, ""), ("bootstrap", "full"), ("smote", "full"), ("mixture", "x10"))
NAMES = {"bootstrap": "rows repeated", "smote": "SMOTE(-NC)", "mixture": "Gaussian mixture"}
#: Rows that `Traits.gain` and `gain_of_100` are of, and what is tried where a cell does not say it.
FEWEST, MORE, FIRST = "30", "100", ("tilt",)
#: Families and what are none, and the amount that fills a class up.
FAMILIES = (
    *((use, "1") for use in ("tilt", "gan", "autoregressive", "diffusion", "vae", "flow")),
    *((use, "full") for use in ("mixture", "smote", "bootstrap")),
)
#: Least share of the largest class that a scarce one is filled to.
LEAST = min(LEVELS)
#: Draws of the bootstrap over seeds and test rows.
DRAWS = 4000


def record(cells: Cells, tables: Sequence[str], few: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> str:
    """Markdown of the cells that were asked for."""
    lines = [*_head(tables, few, arms, seeds), ""]
    if "choose" in arms:
        lines += ["## What is picked, against what is cheaper", "", *_picked(cells, tables, few, seeds), ""]
        lines += ["## How to read this", "", *_read(cells, tables, few, seeds), ""]
    lines += ["## What each family brings", "", *_brought(cells, tables, few, seeds), ""]
    for learner in LEARNERS:
        for n in few:
            said = f"## {n} real rows of the rare class, {learner}" if n != "all" else f"## The real mix, {learner}"
            lines += [said, "", *_figures(cells, tables, n, seeds, learner), ""]
    return "\n".join(lines)


def _head(tables: Sequence[str], few: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    versions = ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)
    return [
        "# What rows of a scarce class are worth to a model",
        "",
        f"    python -m benchmarks.utility --data {' '.join(tables)} --few {' '.join(few)} --seeds {' '.join(map(str, seeds))}",
        "",
        "The rarest class of at most 6,000 training rows is cut to so many; of the real mix Adult has 1 %. Every way trains",
        "the same gradient boosting (HistGradientBoosting, its defaults but no early stopping) and logistic regression,",
        "which are asked of up to 10,000 real test rows with their real mix. Rows repeated and SMOTE fill the class up to the",
        "other one; the mixture draws ten times the real rows; families are shown with the amount beside them. `choose` is",
        "`sample.rows: sweep`: the family that the five questions put first (tilt for at most 300 rows, else autoregressive),",
        "and how much of it, or nothing, by four folds inside train and by what it brought on the *other* tables of this page.",
        f"Seeds {', '.join(map(str, seeds))} cut other rows and train other models. Intervals (95 %) are of a",
        f"paired bootstrap over seeds and, within a seed, over test rows ({DRAWS:,} draws).",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), one thread, Python {platform.python_version()}, {versions}.",
    ]


# --- reading the store --------------------------------------------------------------------------------------------------------


def figure(cells: Cells, data: str, few: str, seed: int, arm: str, amount: str, learner: str) -> Mapping[str, Any] | None:
    """The figures of one arm in one amount, None where it was not measured. Families that may be picked are among what `choose`
    measured."""
    held = cells.get(f"{data}|{few}|{seed}|{arm}", {}).get(amount)
    if held is None and amount:
        held = cells.get(f"{data}|{few}|{seed}|choose", {}).get(f"{arm}@{amount}")
    return None if held is None else held[learner]


def pick(cells: Cells, data: str, few: str, seed: int, tables: Sequence[str], seeds: Sequence[int]) -> str | None:
    """What `choose` takes: "tilt@0.3", or NOTHING or WEIGHTS; None where it was not measured.

    As `flows.amount.decide` does, but that what a family brought elsewhere is its mean over the other tables of this page, so
    that nothing of this one is known before its folds."""
    held = cells.get(f"{data}|{few}|{seed}|choose")
    if held is None:
        return None
    rows, tried = int(held.get("rows", few)), held.get("from", FIRST)
    prior = known(cells, rows, [t for t in tables if t != data], seeds) if rows <= SCARCE else {}
    best, lead, error = NOTHING, 0.0, None
    for trial in held["trials"]:
        if trial["level"] and (trial["level"] < LEAST or trial["method"] not in tried):
            continue
        before = prior.get(trial["method"], 0.0) * (1.0 if trial["level"] >= 1 else PART)
        expected = 0.0 if trial["method"] == NOTHING else weighed(trial["gain"], trial["error"], before, SPREAD)
        if expected > lead:
            best, lead, error = _arm(trial), expected, trial["error"]
    return best if best == WEIGHTS or lead >= SURE * doubt(error, SPREAD) else NOTHING


def known(cells: Cells, rows: int, tables: Sequence[str], seeds: Sequence[int]) -> dict[str, float]:
    """What each family brought to a class of so many rows, as `Traits.gain_at` tells it, by these tables alone."""
    few, more = ({use: mean(each) for use, each in brought(cells, n, tables, seeds).items()} for n in (FEWEST, MORE))
    return {use: gain_at(rows, gain, more.get(use)) for use, gain in few.items()}


def mean(each: Mapping[str, float]) -> float:
    """The mean over tables."""
    return float(np.mean([*each.values()]))


def brought(cells: Cells, few: str, tables: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """What each family brings over nothing in average precision of the gradient boosting, classes filled up: family -> table ->
    mean over seeds.

    Some seeds cut easier rows than others. A family that was measured on fewer seeds than the first one is told by the mean of
    its differences to that one, and that one's mean over all of its seeds."""
    gains: dict[str, dict[str, float]] = {}
    for data in tables:
        each = {use: _gains(cells, data, few, seeds, (use, amount)) for use, amount in FAMILIES}
        anchor = each[FAMILIES[0][0]]
        for use, own in each.items():
            shared = [seed for seed in own if seed in anchor]
            if shared and len(own) < len(anchor):
                gap = np.mean([own[seed] - anchor[seed] for seed in shared])
                gains.setdefault(use, {})[data] = float(gap + np.mean([*anchor.values()]))
            elif own:
                gains.setdefault(use, {})[data] = float(np.mean([*own.values()]))
    return gains


def _gains(cells: Cells, data: str, few: str, seeds: Sequence[int], way: tuple[str, str]) -> dict[int, float]:
    """Seed -> gain over nothing."""
    out = {}
    for seed in seeds:
        base = figure(cells, data, few, seed, NOTHING, "", BOOSTING)
        own = figure(cells, data, few, seed, *way, BOOSTING)
        if base is not None and own is not None:
            out[seed] = own[METRICS[0]] - base[METRICS[0]]
    return out


def _arm(trial: Mapping[str, Any]) -> str:
    return named(trial["method"], trial["level"], trial["both"])


def named(method: str, level: float, both: bool) -> str:
    """What a way that `choose` may pick is called in the store: "tilt@0.3", with the other class drawn too "tilt@0.3+"."""
    return f"{method}@{level:g}{'+' if both else ''}" if level else method


def chosen(
    cells: Cells, tables: Sequence[str], seeds: Sequence[int]
) -> Callable[[str, str, int, str], Mapping[str, Any] | None]:
    """A reader of what `choose` picked: (data, few, seed, learner) -> figures."""

    def read(data: str, few: str, seed: int, learner: str) -> Mapping[str, Any] | None:
        name = pick(cells, data, few, seed, tables, seeds)
        if name is None:
            return None
        if name in (NOTHING, WEIGHTS):
            return figure(cells, data, few, seed, name, "", learner)
        return figure(cells, data, few, seed, "choose", name, learner)

    return read


# --- intervals ----------------------------------------------------------------------------------------------------------------


def gain(better: Sequence[Mapping[str, Any]], than: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Mean difference in average precision over seeds, and its 95 % interval: seeds drawn anew, and test rows within each."""
    a, b = (np.array([[float(x) for x in part["draws"].split()] for part in side]) for side in (better, than))
    rng = np.random.default_rng(5)
    seeds, draws = a.shape
    picked = rng.integers(0, seeds, (DRAWS, seeds))
    places = rng.integers(0, draws, (DRAWS, seeds))
    each = (a - b)[picked, places].mean(axis=1)
    value = float(np.mean([x[METRICS[0]] - y[METRICS[0]] for x, y in zip(better, than, strict=True)]))
    low, high = np.percentile(each, [2.5, 97.5])
    return value, min(float(low), value), max(float(high), value)


def _paired(pairs: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]) -> tuple[float, float, float] | None:
    """The gain over the seeds that both sides have."""
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return None if not known else gain([a for a, _ in known], [b for _, b in known])


# --- tables -------------------------------------------------------------------------------------------------------------------


def _picked(cells: Cells, tables: Sequence[str], few: Sequence[str], seeds: Sequence[int]) -> list[str]:
    heads = [NAMES.get(arm, arm) for arm, _ in AGAINST]
    lines = [
        "Average precision of the gradient boosting: gain of what `choose` picks over each cheaper way.",
        "",
        "| table | real rows | seeds | picked | " + " | ".join(f"over {head}" for head in heads) + " |",
        "| --- | ---: | ---: | --- |" + " ---: |" * len(heads),
    ]
    for n in few:
        for data in tables:
            names = [pick(cells, data, n, seed, tables, seeds) for seed in seeds]
            known = [name for name in names if name is not None]
            if not known:
                continue
            counts = sorted({name: known.count(name) for name in known}.items(), key=lambda item: -item[1])
            said = ", ".join(f"{_amount(name)} x {k}" for name, k in counts)
            gains = _over(cells, data, n, tables, seeds)
            lines.append(f"| {data} | {n} | {len(known)} | {said} | " + " | ".join(map(_interval, gains)) + " |")
    return lines


def _read(cells: Cells, tables: Sequence[str], few: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """On how many tables what is picked is surely better than each cheaper way, and where it is not."""
    lines = []
    for n in few:
        found = {data: _over(cells, data, n, tables, seeds) for data in tables}
        found = {data: gains for data, gains in found.items() if any(gains)}
        if not found:
            continue
        said = []
        for k, (arm, _) in enumerate(AGAINST):
            gains = {data: each for data, all_ in found.items() if (each := all_[k]) is not None}
            sure = sum(low > 0 for _, low, _ in gains.values())
            open_ = [f"{data} {value:+.3f}" for data, (value, low, _) in gains.items() if low <= 0]
            said.append(f"{NAMES.get(arm, arm)} on {sure} of {len(gains)}" + (f" (not {', '.join(open_)})" if open_ else ""))
        worst = min((each[0][1], data) for data, each in found.items() if each[0] is not None)
        whole = f"{n} real rows" if n != "all" else "the real mix"
        lines += [
            f"- With {whole} it is surely better than {'; '.join(said)}. The least that an interval over nothing reaches is "
            f"{worst[0]:+.3f} ({worst[1]})."
        ]
    lines += [
        "- The gains are of one learner, whose figure the folds ask for. Logistic regression, below, is another matter: rows",
        "  that help the boosting helped it on bank_marketing and harmed it on mammography. Ask with your own model.",
        "- Rows of a family are no real rows: with some hundred real ones of a class most of the gain is gone.",
    ]
    return lines


def _over(
    cells: Cells, data: str, few: str, tables: Sequence[str], seeds: Sequence[int]
) -> list[tuple[float, float, float] | None]:
    """Gains of what is picked over each cheaper way."""
    read = chosen(cells, tables, seeds)
    own = [read(data, few, seed, BOOSTING) for seed in seeds]
    out = []
    for arm, amount in AGAINST:
        other = [figure(cells, data, few, seed, arm, amount, BOOSTING) for seed in seeds]
        out.append(_paired(list(zip(own, other, strict=True))))
    return out


def _amount(name: str) -> str:
    family, _, level = name.partition("@")
    both = " of both" if level.endswith("+") else ""
    return f"{family} to {100 * float(level.rstrip('+')):g} %{both}" if level else name


def _interval(found: tuple[float, float, float] | None) -> str:
    if found is None:
        return ""
    value, low, high = found
    text = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"**{text}**" if low > 0 else text


def _brought(cells: Cells, tables: Sequence[str], few: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Families as rows, the numbers of real rows as columns: the mean over tables, and from which to which they reach."""
    found = {n: brought(cells, n, tables, seeds) for n in few}
    lines = [
        "The rare class filled up to the other one, gradient boosting: gain in average precision over nothing, the mean of the",
        "tables' means, and the least and most of a table. `Traits.gain` and `gain_of_100` are the means at 30 and 100 rows.",
        "Families that were measured on fewer seeds than `tilt` are told by their differences to it on those.",
        "",
        "| family | " + " | ".join(f"{n} real rows" if n != "all" else "the real mix" for n in few) + " |",
        "| --- |" + " ---: |" * len(few),
    ]
    for use, _ in FAMILIES:
        said = [
            f"{np.mean([*each.values()]):+.3f} ({min(each.values()):+.3f} to {max(each.values()):+.3f})"
            if (each := found[n].get(use))
            else ""
            for n in few
        ]
        if any(said):
            lines.append(f"| {NAMES.get(use, use)} | " + " | ".join(said) + " |")
    return lines


def _figures(cells: Cells, tables: Sequence[str], few: str, seeds: Sequence[int], learner: str) -> list[str]:
    """Each way as rows, the tables as columns: average precision, and recall and balanced accuracy behind it."""
    ways = _ways(cells, tables, few, seeds)
    lines = [
        "Average precision / recall at precision .5 / balanced accuracy, means over seeds.",
        "",
        "| way | " + " | ".join(tables) + " |",
        "| --- |" + " ---: |" * len(tables),
    ]
    read = chosen(cells, tables, seeds)
    for arm, amount in ways:
        own = [
            _means(
                [
                    read(data, few, seed, learner) if arm == "choose" else figure(cells, data, few, seed, arm, amount, learner)
                    for seed in seeds
                ]
            )
            for data in tables
        ]
        name = "**what `choose` picks**" if arm == "choose" else f"{NAMES.get(arm, arm)}{AMOUNTS.get(amount, '')}"
        lines.append(f"| {name} | " + " | ".join(own) + " |")
    return lines


AMOUNTS = {"x10": ", ten times", "half": ", half", "full": ", filled up", "0.3": ", to 30 %", "1": ", filled up"}


def _ways(cells: Cells, tables: Sequence[str], few: str, seeds: Sequence[int]) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for data in tables:
        for seed in seeds:
            for key, held in cells.items():
                if not key.startswith(f"{data}|{few}|{seed}|"):
                    continue
                arm = key.rsplit("|", 1)[1]
                if arm == "choose":
                    own = (name.partition("@") for name in held if "@" in name and not name.endswith("+"))
                    found |= {(use, level): None for use, _, level in own if float(level) >= LEAST}
                    found[("choose", "")] = None
                    continue
                found |= {(arm, amount): None for amount, part in held.items() if isinstance(part, dict)}
    order = [NOTHING, WEIGHTS, *(use for use, _ in reversed(FAMILIES))]
    amounts = ["", *AMOUNTS]
    return sorted(found, key=lambda way: (order.index(way[0]) if way[0] in order else len(order), amounts.index(way[1])))


def _means(parts: Sequence[Mapping[str, Any] | None]) -> str:
    known = [part for part in parts if part is not None]
    if not known:
        return ""
    return " / ".join(f"{np.mean([part[name] for part in known]):.3f}" for name in METRICS)
