"""How fast do the families of pictures train and draw on this device, and what do they draw after a proper training?

    python -m benchmarks.images_gpu --out docs/benchmarks/images_gpu.md [--minutes 3] [--sizes 64 128 256]

Needs torch, diffusers, numpy and pillow alone; on a machine without a GPU it runs on the CPU and says so. Speed is measured
as the difference of two trainings of different lengths, so that set-up does not count; work as torch counts it (matrix
products and convolutions), so that the share of the card's peak is a lower bound; the peak is that of a large matrix
product on the same device, measured here. Proper trainings show their grids as pictures beside the record."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

#: Only tables need this, and no table is made here.
if importlib.util.find_spec("pyarrow") is None:
    for _name in ("pyarrow", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet", "pyarrow.types"):
        sys.modules[_name] = MagicMock()

from data.images import Pictures, decode, encode  # noqa: E402
from generators.image._loop import grid  # noqa: E402

FAMILIES = {"gan": "GAN", "diffusion": "Diffusion", "finetune": "FineTune", "vae": "VAE"}
#: Steps of the short and of the long training whose difference is measured, on a GPU and on a CPU.
STEPS = {"cuda": (20, 120), "cpu": (2, 6)}
BATCHES = {"cuda": 64, "cpu": 8}
DRAWN = {"cuda": 512, "cpu": 32}
CLASSES = ("normal", "pit")


class _Rows:
    """Stands for a dataset whose pictures are in memory already."""

    def digest(self) -> str:
        return "in memory"


class _Clock:
    """A progress that says nothing."""

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        return None


@contextmanager
def _given(module: ModuleType, known: Pictures) -> Iterator[_Rows]:
    """Let a family learn these pictures without a table."""
    before = module.learned
    module.learned = lambda _: known
    try:
        yield _Rows()
    finally:
        module.learned = before


def fitted(name: str, known: Pictures, settings: dict[str, Any]) -> Any:
    """A family fitted to pictures in memory, with those of the settings that it has."""
    module = importlib.import_module(f"generators.image.{name}")
    cls = getattr(module, FAMILIES[name])
    own = {f.name for f in fields(cls)}
    family = cls(**{key: value for key, value in settings.items() if key in own})
    with _given(module, known) as rows:
        return family.fit(rows, seed=0, progress=_Clock())


def noise_pictures(size: int, n: int = 256) -> Pictures:
    """Pictures with a bright patch on half of them: speed does not ask what they show."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 160, (n, size, size, 1), dtype=np.uint8)
    masks = np.zeros((n, size, size), dtype=bool)
    labels = np.arange(n) % 2
    masks[labels == 1, size // 4 : size // 2, size // 4 : size // 2] = True
    pixels[masks] = 230
    return Pictures(pixels, masks, np.ones(n, dtype=bool), labels, CLASSES, groups=(None,) * n, sources=(None,) * n)


def peak(device: torch.device, precision: str) -> float:
    """Measured TFLOP/s of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    best = min(_timed(lambda: a @ b, device) for _ in range(8))
    return 2 * side**3 / best / 1e12


class Counter(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions, forward and backward of any order."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def speed(name: str, size: int, precision: str, device: torch.device) -> dict[str, float]:
    """Pictures a second in training and in drawing, TFLOP a training step, peak memory in GiB."""
    known, batch = noise_pictures(size), BATCHES[device.type]
    common = {"batch_size": batch, "precision": precision, "device": device.type, "look_every": 10**9, "patience": 10**9}
    short, long = STEPS[device.type]
    fitted(name, known, {**common, "steps": short})  # what is compiled or tuned once is not measured
    counts = []
    for steps in (1, 2):
        with Counter() as counter:
            fitted(name, known, {**common, "steps": steps})
        counts.append(counter.total)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = [_timed(lambda s=steps: fitted(name, known, {**common, "steps": s}), device) for steps in (short, long)]
    family = fitted(name, known, {**common, "steps": short})
    labels = np.ones(DRAWN[device.type], dtype=np.int64)
    drawn = [_timed(lambda: family._draw(labels, np.random.default_rng(0)), device) for _ in range(3)]
    a_step = max(times[1] - times[0], 1e-9) / (long - short)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return {
        "train": batch / a_step,
        "draw": len(labels) / float(np.median(drawn)),
        "tflops": max(counts[1] - counts[0], 0) / a_step / 1e12,
        "memory": memory,
    }


def bsdata(root: Path, most: int = 20) -> Pictures | None:
    """All good pictures and `most` pittings of the train side; None where the data are not."""
    index = root / "bsdata/index.csv"
    if not index.is_file():
        return None
    rows = [row for row in csv.DictReader(index.open()) if row["split"] == "train"]
    pits = [row for row in rows if row["class"] == "pitting"][:most]
    kept = [row for row in rows if row["class"] == "normal"] + pits
    pixels = np.stack([decode((index.parent / row["image"]).read_bytes()) for row in kept])
    masks = np.stack([decode((index.parent / row["mask"]).read_bytes())[:, :, 0] > 0 for row in kept])
    labels = np.array([row["class"] == "pitting" for row in kept]).astype(np.int64)
    groups = tuple(row["group"] for row in kept)
    return Pictures(pixels, masks, np.ones(len(kept), dtype=bool), labels, ("normal", "pitting"), groups=groups,
                    sources=tuple(row["image"] for row in kept))  # fmt: skip


def surfaces(counts: dict[str, int], seed: int = 0) -> Pictures:
    """Surfaces drawn by this project."""
    from data.samples.surfaces import _picture, _shots

    parts = [
        (*_picture(shot, 64, seed, "gray"), k) for k, name in enumerate(counts) for shot in _shots(name, counts[name], seed)
    ]
    pixels, masks, labels = (np.stack([np.asarray(part[i]) for part in parts]) for i in range(3))
    pixels = pixels if pixels.ndim == 4 else pixels[..., None]
    none = (None,) * len(parts)
    return Pictures(
        pixels,
        masks.astype(bool),
        np.ones(len(parts), dtype=bool),
        labels.astype(np.int64),
        tuple(counts),
        groups=none,
        sources=none,
    )


def trained(name: str, title: str, known: Pictures, minutes: float, device: torch.device, out: Path) -> str:
    """Train a family for about `minutes`, keep a grid of its drawings, and say how it went."""
    common = {"precision": "auto", "device": device.type, "batch_size": BATCHES[device.type]}
    probe = _timed(lambda: fitted(name, known, {**common, "steps": 20}), device)
    steps = int(max(40, 60 * minutes / (probe / 20)))
    took = _timed(lambda: kept.append(fitted(name, known, {**common, "steps": steps})), device) if (kept := []) == [] else 0.0
    rare = len(known.classes) - 1
    pixels, masks, _ = kept[0]._draw(np.full(24, rare), np.random.default_rng(1))
    shown = np.concatenate([known.pixels[known.labels == rare][:8], pixels])
    path = out.with_name(f"{out.stem}-{title}-{name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(grid(shown, columns=8)))
    marked = np.mean([mask is not None and bool(mask.any()) for mask in masks])
    return f"| {title} | {name} | {steps:,} | {took:.0f} | {marked:.0%} | {path.name} |"


def main() -> None:
    """Measure, train, and write the record."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    cli.add_argument("--sizes", nargs="+", type=int, default=[64, 128])
    cli.add_argument("--precisions", nargs="+", default=["no", "bf16"], choices=["no", "bf16"])
    cli.add_argument("--minutes", type=float, default=2.0, help="of each proper training; 0 leaves them out")
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("COUNTERPOISE_DATA", "../shared/data")))
    cli.add_argument("--out", type=Path, default=Path("docs/benchmarks/images_gpu.md"))
    args = cli.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lines = [*_head(device), *_speeds(args, device), *_trainings(args, device)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _head(device: torch.device) -> list[str]:
    import diffusers

    card = (
        torch.cuda.get_device_name(0) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads (no GPU was seen)"
    )
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}, CUDA {torch.version.cuda}"
    return [
        "# Families of pictures on a device",
        "",
        f"Device: {card}. {versions}, Python {platform.python_version()}.",
        "",
        f"`{' '.join(['python -m benchmarks.images_gpu', *sys.argv[1:]])}`",
        "",
    ]


def _speeds(args: argparse.Namespace, device: torch.device) -> list[str]:
    lines = [
        "| family | px | precision | training, pictures/s | drawing, pictures/s | TFLOP/s | share of measured peak | GiB |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for precision in args.precisions:
        best = peak(device, precision)
        for name in args.families:
            for size in args.sizes:
                try:
                    got = speed(name, size, precision, device)
                except Exception as error:  # one family that fails must not cost the record of the others
                    lines.append(f"| {name} | {size} | {precision} | {type(error).__name__}: {str(error)[:80]} | | | | |")
                    continue
                row = f"| {name} | {size} | {precision} | {got['train']:,.0f} | {got['draw']:,.0f} | {got['tflops']:.2f} "
                lines.append(f"{row}| {got['tflops'] / best:.1%} of {best:,.1f} | {got['memory']:.2f} |")
                print(lines[-1], file=sys.stderr, flush=True)
    return [*lines, ""]


def _trainings(args: argparse.Namespace, device: torch.device) -> list[str]:
    if args.minutes <= 0:
        return []
    sets = {"bsdata": bsdata(args.data), "surfaces": surfaces({"normal": 300, "scratch": 120, "stain": 120, "pit": 20})}
    lines = [
        "| data | family | steps | seconds | with a mask | grid (first row real) |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for title, known in sets.items():
        if known is None:
            lines.append(f"| {title} | | | | | the data are not here |")
            continue
        for name in args.families:
            lines.append(trained(name, title, known, args.minutes, device, args.out))
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


if __name__ == "__main__":
    main()
