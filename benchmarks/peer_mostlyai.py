"""mostlyai-engine in an environment of its own, whose pins are not ours: fit, draw, and tell what it took.

    PYTHON_OF_THAT_ENVIRONMENT benchmarks/peer_mostlyai.py train.parquet drawn.parquet seed judged rows

Defaults of TabularARGN but for one: the protection of rare values, which replaces them, is off, as the other families have
none. Written: `judged` rows to drawn.parquet, figures to drawn.json. Nothing of this project is imported here.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Fit on one thread, as all families of this benchmark are."""
    train, out, seed, judged, rows = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    import pandas as pd
    import torch

    engine = importlib.import_module("mostlyai.engine")
    torch.set_num_threads(1)
    frame = pd.read_parquet(train)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, spent = time.perf_counter(), _cpu()
    model = engine.TabularARGN(device="cpu", random_state=seed, value_protection=False, verbose=0)
    model.fit(frame)
    fitted, used = time.perf_counter(), _cpu()
    drawn = model.sample(n_samples=max(rows, judged))
    ended = time.perf_counter()
    drawn.head(judged).to_parquet(out)
    figures = {
        "fit_s": fitted - started, "fit_cpu_s": used - spent, "rows_per_s": len(drawn) / (ended - fitted), "epochs": 0,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "before_mib": before,
        "versions": {name: version(name) for name in ("mostlyai-engine", "torch")},
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(figures))


def _cpu() -> float:
    """Seconds of the processor, those of finished children among them."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
