"""The page that `benchmarks.tables` writes."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.families import PACKAGES, version_of

Cells = Mapping[str, Mapping[str, Any]]
PEER = "sdv:CTGAN"
#: Ratios beyond this say nothing.
MOST = 5_000
QUALITY = ("tstr_auc", "tstr_ap", "c2st_auc", "coverage", "shapes", "trends", "exact", "closeness", "levels")


def facts(family: str) -> dict[str, Any]:
    """What a cell must say of where it was taken: machine, and versions of what the family needs."""
    names = PACKAGES if family.startswith("sdv") else tuple(name for name in PACKAGES if name not in ("sdv", "ctgan"))
    return {
        "machine": f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}",
        "versions": {name: version_of(name) for name in names},
    }


def record(cells: Cells, tables: Sequence[str], families: Sequence[str], seeds: Sequence[int]) -> str:
    """Markdown: the command, the machines, and a table of medians over seeds for each data set."""
    chosen = {k: v for k, v in cells.items() if _asked(k, tables, families, seeds)}
    command = f"python -m benchmarks.tables --data {' '.join(tables)} --families {' '.join(families)}"
    head = [
        "# Families of tables beside those that people install",
        "",
        f"    {command} --seeds {' '.join(map(str, seeds))}",
        "",
    ]
    machines = sorted({cell["machine"] for cell in chosen.values()})
    versions = {name: number for cell in chosen.values() for name, number in cell["versions"].items()}
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    head += [
        f"Machine: {'; '.join(machines)}; {said}.",
        "One thread a process; 80 % of the rows, of a permutation, train, the others test. Medians over the seeds, in",
        "brackets the least and greatest. `fit cpu s` is the processor's time, which other work on the machine troubles less",
        "than the clock's; rows a second are by the clock, so those of a busy machine are too few;",
        f"ratios are against {PEER} on the same data.",
        "",
    ]
    for data in tables:
        head += [f"## {data}", "", *_section(chosen, data, families), ""]
    return "\n".join([*head, *_legend()]) + "\n"


def _asked(name: str, tables: Sequence[str], families: Sequence[str], seeds: Sequence[int]) -> bool:
    data, family, seed = name.split("|")
    return data in tables and family in families and int(seed) in seeds


def _of(cells: Cells, data: str, family: str) -> list[Mapping[str, Any]]:
    return [cell for name, cell in cells.items() if name.startswith(f"{data}|{family}|") and "quality" in cell]


def _section(cells: Cells, data: str, families: Sequence[str]) -> list[str]:
    head = ["family", "seeds", "fit cpu s", "faster", "rows/s", "faster", "rows/s of a rare level", "peak MiB", *QUALITY]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    peer = _of(cells, data, PEER)
    for family in families:
        own = _of(cells, data, family)
        if own:
            lines.append(_row(family, own, peer))
        elif any(name.startswith(f"{data}|{family}|") for name in cells):
            lines.append(f"| {family} | failed |" + " |" * (len(head) - 2))
    found = [cell for family in families for cell in _of(cells, data, family)]
    if found:
        real, (train, test, columns) = found[0]["quality"], found[0]["sizes"]
        rare = next((cell["rare"] for cell in found if "rare" in cell), None)
        lines += [
            "",
            f"{train:,} training rows, {test:,} test rows, {columns} columns. "
            f"Trained on real rows: AUC {real['trtr_auc']:.3f}, "
            f"AP {real['trtr_ap']:.3f}; real test rows: exact {real['exact_holdout']:.3f}, closeness "
            f"{real['closeness_holdout']:.3f}"
            + (f"; the rare level is {rare['column']}={rare['level']}, {rare['rows']} training rows." if rare else "."),
        ]
    return lines


def _row(family: str, own: Sequence[Mapping[str, Any]], peer: Sequence[Mapping[str, Any]]) -> str:
    rare = [cell["rare_rows_per_s"] for cell in own if "rare_rows_per_s" in cell]
    cells = [family, str(len(own))]
    for name in ("fit_cpu_s", "rows_per_s"):
        value = median(cell[name] for cell in own)
        cells.append(f"{value:,.0f}" if value >= 10 else f"{value:.1f}")
        other = median(cell[name] for cell in peer) if peer else 0.0
        ratio = (other / max(value, 1e-3) if name == "fit_cpu_s" else value / other) if other else 0.0
        # What learns nothing is no rival in speed.
        cells.append(f"{ratio:.1f}x" if 0 < ratio < MOST else "")
    cells += [f"{median(rare):,.0f}" if rare else "", f"{median(cell['peak_mib'] for cell in own):,.0f}"]
    for name in QUALITY:
        values = [cell["quality"][name] for cell in own]
        span = f" ({min(values):.3f}..{max(values):.3f})" if len(values) > 1 and max(values) - min(values) >= 5e-4 else ""
        cells.append(f"{median(values):.3f}{span}")
    return "| " + " | ".join(cells) + " |"


def _legend() -> list[str]:
    return [
        "`tstr_auc`, `tstr_ap` (of the rarest class): boosting trained on as many synthetic rows as there are training rows,",
        "tested on real ones. `c2st_auc`: boosting tells synthetic from real test rows, best at 0.5. `coverage`: k = 5, Naeem",
        "et al. 2020. `shapes`, `trends`: SDMetrics. `exact`: rows that equal a training row. `closeness`: median distance to",
        "the nearest training row; both best near those of real test rows. `levels`: levels of five training rows or more that",
        "are drawn. `bootstrap` draws training rows again: what a perfect likeness would reach, and no privacy at all.",
        "`mostlyai` is mostlyai-engine's TabularARGN with its defaults, but without the protection of rare values.",
        "`benchmarks/quality.py` defines each figure.",
    ]
