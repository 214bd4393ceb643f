"""The page that `benchmarks.images` writes, and how its figures come about."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.images_data import Setting
from benchmarks.images_work import ALL, BALANCED, CHEAP, CLASSICAL, NOTHING, PRETRAIN_STEPS, Limits

#: All real pictures must beat the best cheap way on the few by more than this.
HEADROOM = 0.03
#: Trials of a detector after the first that are looked for.
TRIALS = range(1, 16)
PACKAGES = ("torch", "numpy", "pillow", "diffusers", "peft", "accelerate")
SAID = {
    NOTHING: "nothing",
    BALANCED: "balanced sampling",
    CLASSICAL: "balanced + classical",
    ALL: "all real pictures (balanced + classical)",
}
Cells = Mapping[str, Mapping[str, Any]]
Span = tuple[float, float, float]


def values(cells: Cells, setting: str, seeds: Iterable[int], arm: str, ratio: float | str = 0.0) -> dict[int, float]:
    """The figure of an arm by seed, of those that are finished: the mean of its trials. ratio: 0 for a cheap way, "choice" for
    the one chosen."""
    out: dict[int, float] = {}
    for seed in seeds:
        wanted = ratio
        if isinstance(wanted, str):
            picked = cells.get(f"{setting}|{seed}|{arm}|choice", {})
            if "ratio" not in picked:
                continue
            wanted = float(picked["ratio"])
        # Ratio 0 is what stands below every family: the cheap way that synthetic pictures are added to.
        key = f"{setting}|{seed}|{arm}|{wanted:g}" if wanted else f"{setting}|{seed}|{arm if arm in CHEAP else CLASSICAL}"
        found = [cells[each]["value"] for each in (key, *(f"{key}#{t}" for t in TRIALS)) if "value" in cells.get(each, {})]
        if found:
            out[seed] = float(np.mean(found))
    return out


def headroom(cells: Cells, setting: str, seeds: Iterable[int]) -> float | None:
    """What all real pictures gain over balanced + classical on the few; None until both are known."""
    seeds = list(seeds)
    return _mean(*_paired(values(cells, setting, seeds, ALL), values(cells, setting, seeds, CLASSICAL)))


def mean(found: Sequence[float]) -> Span:
    """Mean with its 95 % t-interval over seeds; NaN ends for a single one."""
    x = np.asarray(found, dtype=float)
    if len(x) < 2:
        return float(x.mean()), float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return float(x.mean()), float(x.mean()) - half, float(x.mean()) + half


def share(gains: Sequence[float], rooms: Sequence[float]) -> Span:
    """Mean gain over mean headroom, with the interval of the gain; the mean headroom is taken as known, since of three seeds
    a ratio of two uncertain means has no interval (Fieller 1954)."""
    room = float(np.mean(rooms))
    value, low, high = mean(gains)
    return value / room, low / room, high / room


def _paired(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[list[float], list[float]]:
    both = [seed for seed in a if seed in b]
    return [a[seed] for seed in both], [b[seed] for seed in both]


def _mean(a: Sequence[float], b: Sequence[float]) -> float | None:
    return float(np.mean(np.subtract(a, b))) if len(a) else None


def record(
    cells: Cells, settings: Sequence[str], arms: Sequence[str], seeds: Sequence[int], limits: Limits, command: str
) -> str:
    """Markdown: the command, the machine, an overview and a section for each setting."""
    head = ["# What pictures of a defect gain a detector", "", f"    {command}", "", *_facts(seeds, limits), ""]
    head += ["## Headroom", "", *_overview(cells, settings, seeds)]
    for name in settings:
        head += ["", f"## {name}", "", _told(name), "", *_section(cells, name, arms, seeds, limits)]
    return "\n".join(head) + "\n"


def _facts(seeds: Sequence[int], limits: Limits) -> list[str]:
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return [
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), one thread a process, Python {platform.python_version()}, "
        f"{versions}.",
        f"Seeds {', '.join(map(str, seeds))}; each picks which few pictures are real, the first weights and the batches. "
        "Intervals (95 %) are Student's over the seeds, paired where two ways are compared; a share is of the mean headroom.",
        f"A family has {limits.minutes:g} minutes to learn on one core, where it would take longer by itself; a surface "
        f"denoiser for finetune is learned once for a data set ({PRETRAIN_STEPS} updates, no real defect shown). The detector "
        f"learns for {limits.steps} updates of 16 pictures. *Chosen*: the ratio is taken by {limits.folds} folds of the few "
        "real pictures, nought included, and never by the test; a family has seen those pictures, so the choice leans "
        "towards adding. Synthetic pictures are added with balanced sampling and classical augmentation on.",
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _told(name: str) -> str:
    setting = Setting.of(name)
    what = "overlap (IoU) of a segmenter's marks" if setting.segments else "average precision, mean of the classes that are cut"
    small = ", of those below the median size in train and test alike" if setting.kind == "small" else ""
    return f"{setting.few} real pictures of {', '.join(setting.cut)}{small}. Figure: {what}."


def _overview(cells: Cells, settings: Sequence[str], seeds: Sequence[int]) -> list[str]:
    lines = ["| setting | balanced + classical | all real | headroom | |", "| --- | ---: | ---: | ---: | --- |"]
    for name in settings:
        few, whole = (values(cells, name, seeds, arm) for arm in (CLASSICAL, ALL))
        a, b = _paired(whole, few)
        if not a:
            lines.append(f"| {name} | | | not measured | |")
            continue
        room = mean(np.subtract(a, b).tolist())
        word = "yes" if room[0] > HEADROOM else f"none (not above {HEADROOM:g})"
        lines.append(f"| {name} | {np.mean(b):.3f} | {np.mean(a):.3f} | {_signed(room)} | {word} |")
    return lines


def _section(cells: Cells, name: str, arms: Sequence[str], seeds: Sequence[int], limits: Limits) -> list[str]:
    lines = [
        "| way | seeds | figure | gain over balanced + classical | share of the headroom | ratio |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [_row(cells, name, seeds, arm) for arm in arms if arm in CHEAP and arm != ALL]
    for arm in (each for each in arms if each not in CHEAP):
        lines += [_row(cells, name, seeds, arm, "choice")] if limits.folds else []
        lines += [_row(cells, name, seeds, arm, ratio) for ratio in limits.ratios]
    lines += [_row(cells, name, seeds, ALL)] if ALL in arms else []
    kept = [line for line in lines if line]
    return kept + _notes(cells, name, arms, seeds)


def _row(cells: Cells, name: str, seeds: Sequence[int], arm: str, ratio: float | str = 0.0) -> str:
    own = values(cells, name, seeds, arm, ratio)
    if not own or (arm not in CHEAP and not _drawn(cells, name, seeds, arm)):
        return ""
    base, whole = (values(cells, name, seeds, each) for each in (CLASSICAL, ALL))
    gain = _signed(mean(np.subtract(*_paired(own, base)).tolist())) if arm != CLASSICAL and _paired(own, base)[0] else ""
    part = "" if arm in (CLASSICAL, ALL) else _part(own, base, whole)
    said = SAID.get(arm, f"**{arm}, chosen**" if isinstance(ratio, str) else f"{arm} {ratio:g} : 1")
    picked = ""
    if ratio == "choice":
        picked = ", ".join(f"{cells[f'{name}|{seed}|{arm}|choice']['ratio']:g}" for seed in own)
    return f"| {said} | {len(own)} | {_plain(mean(list(own.values())))} | {gain} | {part} | {picked} |"


def _part(own: Mapping[int, float], base: Mapping[int, float], whole: Mapping[int, float]) -> str:
    both = [seed for seed in own if seed in base and seed in whole]
    rooms = [whole[seed] - base[seed] for seed in both]
    if not both or np.mean(rooms) <= HEADROOM:
        return ""
    found = share([own[seed] - base[seed] for seed in both], rooms)
    return f"{found[0]:+.0%}" + ("" if np.isnan(found[1]) else f" ({found[1]:+.0%} to {found[2]:+.0%})")


def _drawn(cells: Cells, name: str, seeds: Sequence[int], arm: str) -> bool:
    return any("drawn" in cells.get(f"{name}|{seed}|{arm}|fit", {}) for seed in seeds)


def _notes(cells: Cells, name: str, arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """What each family took, and which are missing and why."""
    out: list[str] = []
    for arm in (each for each in arms if each not in CHEAP):
        found = [cells[key] for seed in seeds if (key := f"{name}|{seed}|{arm}|fit") in cells]
        good = [each for each in found if "drawn" in each]
        if good:
            cut = sorted({f"{k} {v}" for each in good for k, v in each["cut"].items()})
            short = f"; cut to the time: {', '.join(cut)}" if cut else ""
            took = np.mean([each["fit_seconds"] for each in good])
            rate = np.mean([each["pictures_per_second"] for each in good])
            out.append(f"- {arm}: {took:.0f} s to learn, {rate:.0f} pictures/s{short}.")
        out += [f"- {arm} is missing: {why}." for why in sorted({each["error"] for each in found if "error" in each})]
    return ["", *out] if out else []


def _plain(span: Span) -> str:
    return f"{span[0]:.3f}" + ("" if np.isnan(span[1]) else f" ({span[1]:.3f} to {span[2]:.3f})")


def _signed(span: Span) -> str:
    return f"{span[0]:+.3f}" + ("" if np.isnan(span[1]) else f" ({span[1]:+.3f} to {span[2]:+.3f})")
