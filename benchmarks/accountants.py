"""Does our accountant of privacy agree with another one, by others and by another method?

    python -m benchmarks.accountants

`generators/tabular/_dp_account.py` (closed forms, and Opacus's accountant of privacy loss variables) is compared with Google's
dp-accounting (privacy loss distributions), over noise, rate, steps and delta, and with two mechanisms composed: noisy counts
of all rows and DP-SGD. dp-accounting pins attrs below ours, so it is installed in an environment of its own in a temporary
folder. The command fails where the two differ by more than LIMIT.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.families import version_of
from generators.tabular._dp_account import ERROR, Part, spent

#: Share by which the two may differ.
LIMIT = 0.01
PEER = "dp-accounting"
SCRIPT = Path(__file__).with_name("peer_dp_accounting.py")


@dataclass(frozen=True)
class Case:
    """What is spent, and at which delta."""

    parts: tuple[Part, ...]
    delta: float


#: Noise, rate, steps and delta of one mechanism.
ALONE = (
    (0.7, 0.004, 2000, 1e-5), (0.8, 0.02, 400, 1e-6), (1.0, 0.01, 1000, 1e-5), (1.27, 0.0175, 600, 3e-6),
    (2.0, 0.05, 1000, 1e-5), (2.9, 0.075, 600, 1.5e-5), (3.0, 0.1, 200, 1e-5), (5.0, 0.25, 600, 1e-4), (1.0, 1.0, 1, 1e-5),
    (12.0, 1.0, 50, 1e-6),
)  # fmt: skip
#: Counts of all rows, and DP-SGD beside them.
COUNTS = (Part(8.0, steps=3), Part(11.0))
CASES = (
    *(Case((Part(noise, rate, steps),), delta) for noise, rate, steps, delta in ALONE),
    *(Case((*COUNTS, Part(noise, rate, steps)), delta) for noise, rate, steps, delta in ALONE[:8:2]),
    Case((Part(0.9, 0.01, 300), Part(1.5, 0.05, 300)), 1e-5),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask both, write the page; the exit code is 1 where they disagree."""
    cli = argparse.ArgumentParser(prog="python -m benchmarks.accountants", description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--out", default="docs/benchmarks/accountants.md", help="the page; empty for none")
    options = cli.parse_args(arguments)
    ours = [spent(case.parts, case.delta) for case in CASES]
    theirs, versions = told(CASES)
    page = "\n".join(record(ours, theirs, versions))
    if options.out:
        Path(options.out).write_text(page)
    print(page)
    return 0 if all(agree(a, b) for a, b in zip(ours, theirs, strict=True)) else 1


def agree(ours: float, theirs: float) -> bool:
    """Whether two epsilons are the same within LIMIT."""
    return abs(ours / theirs - 1) <= LIMIT


def told(cases: Sequence[Case]) -> tuple[list[float], dict[str, str]]:
    """Epsilons by dp-accounting, and the versions that it ran with.

    Raises CalledProcessError where it cannot be installed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        python = folder / "env/bin/python"
        run([python, "-I", "-m", "pip", "--disable-pip-version-check", "-q", "install", PEER])
        asked = [{"parts": [astuple(part) for part in case.parts], "delta": case.delta} for case in cases]
        (folder / "asked.json").write_text(json.dumps(asked))
        run([python, "-I", SCRIPT, folder / "asked.json", folder / "told.json"])
        found = json.loads((folder / "told.json").read_text())
    return found["epsilons"], found["versions"]


def run(command: Sequence[str | Path]) -> None:
    """Run it, its words on stderr."""
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)  # noqa: S603 - words of our own


def record(ours: Sequence[float], theirs: Sequence[float], versions: dict[str, str]) -> list[str]:
    """Markdown: both figures of each case, and how many times theirs ours is."""
    peer = ", ".join(f"{name} {number}" for name, number in versions.items())
    worst = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
    lines = [
        "# Two accountants of privacy",
        "",
        "    python -m benchmarks.accountants",
        "",
        "Epsilon of Gaussian mechanisms, with Poisson sampling where the rate is below 1, by ours (closed forms; with sampling",
        "Opacus's accountant of privacy loss variables, an upper bound) and by Google's dp-accounting (privacy loss",
        "distributions, rounded up), which runs in an environment of its own. Neighbours differ by one row, there or not.",
        "Where several mechanisms stand in a row of the table they are composed.",
        f"They differ by {worst:.2%} at most; the command fails above {LIMIT:.0%}. Ours allows itself an error of",
        f"{ERROR:.1%} and answers with its upper end.",
        f"Python {platform.python_version()}, opacus {version_of('opacus')}, scipy {version_of('scipy')}; peer: {peer}.",
        "",
        "| mechanisms (noise, rate, steps) | delta | ours | dp-accounting | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for case, a, b in zip(CASES, ours, theirs, strict=True):
        said = " and ".join(f"({part.noise:g}, {part.rate:g}, {part.steps})" for part in case.parts)
        lines.append(f"| {said} | {case.delta:g} | {a:.4f} | {b:.4f} | {a / b:.4f} |")
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
