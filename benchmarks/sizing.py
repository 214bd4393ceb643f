"""What does a run take: CPU seconds, memory and disk, stage by stage, for small, middle and large data?

    python -m benchmarks.sizing --cases adult-1k adult-10k

Each case is a whole run in a process of its own, with the settings that a plan has if it says nothing. CPU seconds are those of
the process and its children, so that a machine that does other work beside it changes them little; memory is the most that was
resident within a stage. Cases that were taken are kept in build/sizing and are not taken again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build/sizing"
OUT = ROOT / "docs/benchmarks/sizing.md"
ADULT = Path(os.environ.get("COUNTERPOISE_DATA", ROOT.parent / "shared/data")) / "adult/adult.csv"
MIB = 2**20

#: case -> (plan, rows of adult or None, overrides)
CASES: dict[str, tuple[str, int | None, tuple[str, ...]]] = {
    "adult-1k": ("adult", 1_000, ("gate.detect=0.3",)),
    "adult-10k": ("adult", 10_000, ()),
    "adult-33k": ("adult", 32_561, ()),
    "tilt-1k": ("adult", 1_000, ("gate.detect=0.3", "generator.use=tilt")),
    "release-10k": ("adult_release", 10_000, ()),
    "release-33k": ("adult_release", 32_561, ()),
    "pictures-32": ("surfaces", None, ("data.size=32",)),
    "pictures-64": ("surfaces", None, ()),
}
TOLD = {
    "adult-1k": "table, 1,000 rows, `autoregressive`",
    "adult-10k": "table, 10,000 rows, `autoregressive`",
    "adult-33k": "table, 32,561 rows, `autoregressive`",
    "tilt-1k": "table, 1,000 rows, `tilt`",
    "release-10k": "release, 10,000 rows, `dp_autoregressive`",
    "release-33k": "release, 32,561 rows, `dp_autoregressive`",
    "pictures-32": "560 pictures of 32 px, `image.paste`",
    "pictures-64": "560 pictures of 64 px, `image.paste`",
}


def measured(case: str, folder: Path) -> dict[str, Any]:
    """One whole run in this process: {stage: {cpu, seconds, peak_mib}}, what it drew, and the disk that it took."""
    from flows.begin import begun
    from flows.stages import perform, steps_of

    plan, rows, overrides = CASES[case]
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    if rows is not None:
        pd.read_csv(ADULT).sample(rows, random_state=0).to_csv("rows.csv", index=False)
        overrides = (*overrides, "data.path=rows.csv")
    run = begun(ROOT / f"configs/runs/{plan}.yaml", list(overrides), Path("runs"), fresh=True)
    stages: dict[str, Any] = {}
    for name in steps_of(run):
        forget_peak()
        before = cpu()
        facts, how = perform(run, name)
        stages[name] = {"cpu": cpu() - before, "peak_mib": peak() / MIB}
        if name == "judge":
            verdict = facts["verdict"]
    for name, kept in run.stages.items():
        if name in stages:
            stages[name]["seconds"] = kept["seconds"]
    return {
        "stages": stages,
        "verdict": verdict,
        "run_mib": size(run.folder) / MIB,
        "published_mib": size(Path("published")) / MIB,
        "source_mib": size(Path("rows.csv")) / MIB,
    }


def cpu() -> float:
    """CPU seconds of this process and its ended children so far."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def forget_peak() -> None:
    """From here on the most resident memory is counted anew (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most resident bytes of this process since `forget_peak`."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])


def size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def take(case: str) -> None:
    """Measure one case in a process of its own and keep its record, unless it is there."""
    kept = KEPT / f"{case}.json"
    if kept.is_file():
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    print(case, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.sizing", "--one", case], check=True, cwd=ROOT)


STAGES = ("read", "profile", "choose", "split", "fit", "sample", "judge", "publish")


def written(records: Mapping[str, Any]) -> str:
    """The page."""
    rows = [line(case, record) for case, record in records.items()]
    return "\n".join([
        "# What a run takes",
        "",
        f"`make bench-sizing` measures it: {platform.machine()}, {os.cpu_count()} cores that other work shared, one thread",
        "(`OMP_NUM_THREADS=1`), no GPU. CPU seconds of whole runs with the settings that a plan has if it says nothing,",
        "start-up apart; the most memory that was resident; what then lies on the disk. Tables are Adult",
        "(15 columns), whole or a part of its rows; pictures are the drawn surfaces of `configs/runs/surfaces.yaml`.",
        "",
        "| run | " + " | ".join(STAGES) + " | all | memory | run | version |",
        "| --- |" + " ---: |" * (len(STAGES) + 4),
        *rows,
        "",
    ])  # fmt: skip


def line(case: str, record: Mapping[str, Any]) -> str:
    """One row of the table."""
    stages = record["stages"]
    whole = sum(each["cpu"] for each in stages.values())
    cells = [seconds(stages[stage]["cpu"]) for stage in STAGES]
    most = f"{max(each['peak_mib'] for each in stages.values()) / 1024:.1f} GiB"
    disk = [f"{record[part]:.1f} MiB" for part in ("run_mib", "published_mib")]
    return "| " + " | ".join([TOLD[case], *cells, seconds(whole), most, *disk]) + " |"


def seconds(value: float) -> str:
    """Seconds as a table shows them."""
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Take the cases that are asked for, and write the page of all that were taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        record = measured(asked.one, KEPT / "work" / asked.one)
        (KEPT / f"{asked.one}.json").write_text(json.dumps(record, indent=1))
        return
    for case in asked.cases:
        take(case)
    records = {case: json.loads(path.read_text()) for case in CASES if (path := KEPT / f"{case}.json").is_file()}
    OUT.write_text(written(records), encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
