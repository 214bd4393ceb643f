"""What does a promise cost: how useful are rows at each budget, what do attacks find, and how long does it take?

    python -m benchmarks.privacy --data adult mammography --epsilon none 10 3 1 --seeds 0 1

Every private family learns the scoring split's training rows at each budget; `none` is the default family without a promise.
Bounds are read off the rows (`bounds: data`), as a codebook would have them. Finished cells are kept in the store; the page is
made of those that were asked for.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402 - after the threads are set

from benchmarks.cells import Cells  # noqa: E402 - as numpy
from benchmarks.families import learned, read, version_of  # noqa: E402 - as numpy
from configs.components import build  # noqa: E402 - as numpy
from data.dataset import Dataset  # noqa: E402 - as numpy
from data.split import split  # noqa: E402 - as numpy
from generators.base import Generator, table  # noqa: E402 - as numpy
from validators.base import Intent, Privacy  # noqa: E402 - as numpy
from validators.judge import checks, prepare, run  # noqa: E402 - as numpy
from validators.worth import BOOSTING, figures, trained  # noqa: E402 - as numpy

TABLES = ("adult", "mammography", "telco_churn", "bank_marketing")
FAMILIES = ("dp_marginals", "dp_autoregressive", "dp_gan")
PLAIN, NONE = "autoregressive", "none"
EPSILONS = (NONE, "10", "3", "1")
ATTACKS = ("membership", "singling_out", "linkability", "inference", "rare")
PACKAGES = ("torch", "opacus", "mbi", "scikit-learn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, write store and page; the exit code."""
    options = _options(arguments)
    cells = Cells(Path(options.store))
    wanted = [
        (d, f, e, s) for s in options.seeds for d in options.data for e in options.epsilon for f in _of(e, options.families)
    ]
    missing = [each for each in wanted if "|".join(map(str, each)) not in cells.held]
    for turn, each in enumerate(missing, start=1):
        print(f"[{turn}/{len(missing)}] {each[0]}: {each[1]}, epsilon {each[2]}, seed {each[3]}", file=sys.stderr, flush=True)
        cells.keep({"|".join(map(str, each)): cell(*each)})
        _forget_programs()
    if options.out:
        Path(options.out).write_text("\n".join(record(cells.held, options)))
        print(f"written: {options.out}", file=sys.stderr)
    return 0


def _forget_programs() -> None:
    """Jax keeps what it compiled for every shape that it met: gigabytes after some dozen fits."""
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


def _of(epsilon: str, families: Sequence[str]) -> Sequence[str]:
    return (PLAIN,) if epsilon == NONE else families


def cell(data: str, family: str, epsilon: str, seed: int) -> dict[str, Any]:
    """The figures of one fit."""
    whole = learned(read(data, None, 0))
    parts = split(whole, reference=0.15, holdout=0.25, seed=seed)
    spec: dict[str, Any] = {"use": family}
    if epsilon != NONE:
        # The noise is that of a release; only the seed of who is drawn from the model is told.
        spec |= {"epsilon": float(epsilon), "bounds": "data"}
    began = time.process_time()
    fitted = build(spec, Generator, package="generators").fit(parts.train, seed=seed)
    seconds = time.process_time() - began
    made = Dataset(table(fitted.sample(parts.train.num_rows, seed=seed), whole.schema.arrow()), whole.schema)
    return {"fit_s": round(seconds, 1)} | _useful(parts.train, parts.holdout, made, seed) | _attacked(parts, made, seed)


def _useful(train: Dataset, test: Dataset, made: Dataset, seed: int) -> dict[str, float]:
    """A boosting trained on drawn rows, and one on real ones: AUC, average precision and recall of the rarer class."""
    from sklearn.metrics import recall_score, roc_auc_score

    rare = int(np.argmin(np.bincount(train.labels())))
    truth, out = test.labels() == rare, {}
    for name, rows in (("", made), ("real_", train)):
        share = float((rows.labels() == rare).mean())
        if 0 < share < 1:
            given = trained(rows, test, BOOSTING, seed=seed)
            found = figures(given, test.labels(), rare)
            out |= {
                f"{name}auc": round(float(roc_auc_score(truth, given[:, rare])), 4),
                f"{name}ap": round(float(found["average_precision"][0]), 4),
                f"{name}recall": round(float(recall_score(truth, given.argmax(axis=1) == rare)), 4),
            }
        else:
            out |= {f"{name}auc": 0.5, f"{name}ap": round(float(truth.mean()), 4), f"{name}recall": 0.0}
        out[f"{name}share"] = round(share, 4)
    return out


def _attacked(parts: Any, made: Dataset, seed: int) -> dict[str, Any]:
    """Coverage, and what the attacks of the gate find."""
    intent = Intent(seed=seed, privacy=Privacy())
    evidence = prepare(parts.train, parts.holdout, made, reference=parts.reference, intent=intent)
    running = [check for check in checks(utility="off", privacy=True) if check.name in ("coverage", "copies", *ATTACKS)]
    found = {check.name: run(check, evidence) for check in running}
    out: dict[str, Any] = {"coverage": None if found["coverage"].value is None else round(found["coverage"].value, 4)}
    for name in ("copies", *ATTACKS):
        value = found[name].value
        out[name] = {"verdict": found[name].verdict, "value": None if value is None else round(float(value), 4)}
    return out


def record(cells: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Markdown of the cells that were asked for: medians of seeds."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)
    lines = [
        "# What a promise costs",
        "",
        f"    python -m benchmarks.privacy --data {' '.join(options.data)} --epsilon {' '.join(options.epsilon)} "
        f"--seeds {' '.join(map(str, options.seeds))}",
        "",
        "Each family learns 60 % of the rows and draws as many; a gradient boosting trained on those is asked of real rows",
        "that nobody saw (25 %): AUC, average precision and recall of the rarer class, whose share in the drawn rows stands",
        "beside. `none` is `autoregressive`, without a promise. Delta is a tenth of one over the rows; noise is that of a",
        "release; bounds are read off the rows, as a codebook would state them. Attacks are those of the gate: the AUC of",
        "membership, the risk of the others, the share of copies, of which unseen real rows have some as well (three in",
        "ten of mammography's rows stand in it more than once); a verdict other than PASS stands beside its figure. Medians.",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), one thread, Python {platform.python_version()}, {versions}.",
    ]
    for data in options.data:
        lines += ["", f"## {data}", ""]
        lines += ["| family | epsilon | seeds | fit, cpu s | AUC | AP | recall | share | coverage | copies | membership | "
                  "singling out | linkability | inference | rare |"]  # fmt: skip
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
        real = [c for key, c in cells.items() if key.startswith(f"{data}|") and int(key.rsplit("|", 1)[1]) in options.seeds]
        if real:
            said = " | ".join(_median(real, f"real_{name}") for name in ("auc", "ap", "recall", "share"))
            lines += [f"| real rows | | | | {said} | | | | | | | |"]
        for epsilon in options.epsilon:
            for family in _of(epsilon, options.families):
                own = [cells[k] for s in options.seeds if (k := f"{data}|{family}|{epsilon}|{s}") in cells]
                if own:
                    figs = " | ".join(_median(own, name) for name in ("auc", "ap", "recall", "share", "coverage"))
                    attacks = " | ".join(_attack(own, name) for name in ("copies", *ATTACKS))
                    lines += [f"| {family} | {epsilon} | {len(own)} | {_median(own, 'fit_s', '.0f')} | {figs} | {attacks} |"]
    return [*lines, ""]


def _median(cells: Sequence[dict[str, Any]], name: str, form: str = ".3f") -> str:
    known = [c[name] for c in cells if c.get(name) is not None]
    return format(float(np.median(known)), form) if known else ""


def _attack(cells: Sequence[dict[str, Any]], name: str) -> str:
    known = [c[name]["value"] for c in cells if c[name]["value"] is not None]
    other = sorted({c[name]["verdict"] for c in cells} - {"PASS"})
    said = f"{np.median(known):.3f}" if known else ""
    return " ".join([said, *other]).strip()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.privacy", description=__doc__.splitlines()[0] if __doc__ else "")
    cli.add_argument("--data", nargs="+", choices=TABLES, default=list(TABLES[:2]))
    cli.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    cli.add_argument("--epsilon", nargs="+", default=list(EPSILONS))
    cli.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    cli.add_argument("--store", default="docs/benchmarks/privacy.json", help="where finished cells are kept")
    cli.add_argument("--out", default="docs/benchmarks/privacy.md", help="the page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
