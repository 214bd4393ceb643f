"""The page that `benchmarks.relational` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.families import version_of

FIGURES = ("variation", "distance", "shapes", "trends", "across parents", "across grandparents", "said", "auc")
Cells = Mapping[str, Mapping[str, Any]]


def record(cells: Cells, sets: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> str:
    """Markdown: a table of medians over seeds for each set, then each key and each pair of tables of the first arm."""
    command = f"python -m benchmarks.relational --sets {' '.join(sets)} --seeds {' '.join(map(str, seeds))}"
    versions = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "sdv", "numpy"))
    lines = ["# Tables that refer to one another", "", f"    {command}", ""]
    lines += [f"One thread; {versions}. Medians over the seeds, in brackets the least and greatest.", "", *_legend(), ""]
    for name in sets:
        lines += [f"## {name}", "", *_section(cells, name, arms, seeds), ""]
    return "\n".join(lines)


def _legend() -> list[str]:
    return [
        "`faults`: keys that do not hold, and links that repeat. Of the numbers of children per parent, over all foreign",
        "keys: `variation`, total variation over a dozen ranges, and `distance`, that of Kolmogorov and Smirnov (0 at",
        "best; a table of few parents differs by chance alone). `shapes`, `trends`: SDMetrics, within tables. `across",
        "parents`, `across grandparents`: trends of pairs of columns, one of a table, one of a table above it (1 at",
        "best). `said`: how much such columns say of each other, as a share of what the real ones do (mutual information",
        "less chance). `auc`: how well a classifier tells rows, with what their children are like, from real ones: 0.5 at",
        "best; lower where rows are those of train again. `at random`: the real rows, children given to parents at",
        "random. `bootstrap` draws real rows again, group by group: no privacy at all.",
    ]


def _section(cells: Cells, name: str, arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    head = ["rows drawn by", "faults", *FIGURES, "fit cpu s", "draw cpu s"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    said = []
    for arm in arms:
        own = [cells[key] for seed in seeds if (key := f"{name}|{arm}|{seed}") in cells]
        if errors := [each["error"] for each in own if "error" in each]:
            said += ["", f"{arm} refuses: {errors[0]}"]
        elif own:
            lines.append(_row(arm, own))
    first = [cells[key] for seed in seeds if (key := f"{name}|{arms[0]}|{seed}") in cells]
    return [*lines, *said, "", *_keys(first), "", *_pairs(first)]


def _row(arm: str, own: Sequence[Mapping[str, Any]]) -> str:
    shown = [arm, str(max(len(each["faults"]) for each in own))]
    shown += [_span([each["figures"][figure] for each in own if figure in each["figures"]]) for figure in FIGURES]
    shown += [f"{median(each[name] for each in own):.1f}" for name in ("fit_cpu_s", "draw_cpu_s")]
    return "| " + " | ".join(shown) + " |"


def _span(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ({min(values):.3f}..{max(values):.3f})" if max(values) - min(values) >= 5e-4 else ""
    return f"{median(values):.3f}{spread}"


def _keys(own: Sequence[Mapping[str, Any]]) -> list[str]:
    if not own:
        return []
    head = ["foreign key", "children (real, drawn)", "childless", "null", "variation", "distance"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for place, reference in enumerate(own[0]["references"]):
        every = [each["references"][place] for each in own]
        pairs = [f"{reference[n][0]:.2f}, {median(e[n][1] for e in every):.2f}" for n in ("children", "childless", "nulls")]
        spans = [_span([e[n] for e in every]) for n in ("variation", "distance")]
        lines.append("| " + " | ".join([reference["key"], *pairs, *spans]) + " |")
    return lines


def _pairs(own: Sequence[Mapping[str, Any]]) -> list[str]:
    if not own:
        return []
    lines = ["| columns of | and of | trends | said, nats (real, drawn) |", "| --- | --- | ---: | ---: |"]
    for place, across in enumerate(own[0]["across"]):
        every = [each["across"][place] for each in own if place < len(each["across"])]
        said = across["said"]
        told = f"{said[0]:.3f}, {median(e['said'][1] for e in every):.3f}" if said else ""
        lines.append(f"| {across['child']} | {across['above']} | {_span([e['trends'] for e in every])} | {told} |")
    return lines
