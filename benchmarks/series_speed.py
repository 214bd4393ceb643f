"""How much sound does a WaveNet of ours draw in a second, beside one that keeps nothing of the past, and beside real time?

    OMP_NUM_THREADS=1 python -m benchmarks.series_speed --width 16 32 --streams 1 16 64 256 --processes 1 2

One channel of numbers at 16 kHz, random weights: what is drawn does not matter for the time it takes. `kept` draws through the
queue (Paine et al. 2016), `anew` does all convolutions again for each reading over all that it sees, as before that paper. Both
draw in one run, one after the other, the middle of three turns counts. With `--processes` so many draw at once, one a core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from generators.series._planes import Layout
from generators.series._wavenet import Net, Queue, Rounded
from generators.tabular._table import one_thread

#: Readings a second of the sound.
RATE = 16_000
TURNS = 3
#: Seconds of the clock, and of the processor.
Spent = tuple[float, float]


def network(width: int, layers: int, seconds: float = 1.0) -> Net:
    """A network of one channel of 16-bit readings that has learned nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layout = Layout(counts=(0,), longest=int(RATE * seconds), about=0, halvings=0)
        return Net(layout, Rounded((2.0**-13,), (-4.0,), (4.0,)), width, layers, 512, 0.0).eval()


@torch.no_grad()
def drawn_naively(net: Net, about: Tensor, chances: Tensor) -> Tensor:
    """What the queue draws, (n, t, planes), by uniform numbers (t, n, 2 channels), every convolution done anew."""
    t, n = chances.shape[:2]
    queue, out = Queue(net, n, [told(about) for told in net.told]), torch.zeros(n, 0, net.layout.planes)
    for i in range(t):
        setattr(queue, "_answer", answering(net, about, out))  # noqa: B010  a method of one object
        out = torch.cat([out, queue.step(chances[i])[:, None]], dim=1)
    return out


def answering(net: Net, about: Tensor, out: Tensor) -> Callable[[Tensor], Tensor]:
    """The answer of the layers to the moment behind `out`, (n, t, planes), from all of it."""
    seen = torch.cat([torch.zeros(len(out), 1, net.layout.planes), out], dim=1)
    was = torch.ones_like(seen)
    was[:, 0] = 0.0
    return lambda _: net.answers(seen, was, about, torch.zeros(len(out)))[0][:, -1]


@torch.no_grad()
def kept(net: Net, streams: int, readings: int) -> Spent:
    """What so many readings of each of the streams take, through the queue."""
    queue = net.begin(streams, torch.zeros(streams, 0))
    chances = torch.from_numpy(np.random.default_rng(0).random((readings, streams, 2), dtype=np.float32))
    began = now()
    for chance in chances:
        queue.step(chance)
    return since(began)


@torch.no_grad()
def anew(net: Net, streams: int, readings: int) -> Spent:
    """What so many readings of each of the streams take once all that the layers see is there, without the queue."""
    about, reach = torch.zeros(streams, 0), sum(net.apart) + 1
    queue, out = net.begin(streams, about), torch.randn(streams, reach, 1)
    began = now()
    for chance in torch.rand(readings, streams, 2):
        setattr(queue, "_answer", answering(net, about, out))  # noqa: B010  a method of one object
        out = torch.cat([out[:, 1:], queue.step(chance)[:, None]], dim=1)
    return since(began)


def now() -> Spent:
    """Seconds of the clock on the wall, and of this process's processor."""
    return time.perf_counter(), time.process_time()


def since(began: Spent) -> Spent:
    """How many of both went by."""
    clock, processor = now()
    return clock - began[0], processor - began[1]


def rate(way: Callable[[Net, int, int], Spent], net: Net, streams: int, readings: int) -> Spent:
    """Seconds of sound drawn in a second of the clock and of the processor, all streams together: the middle of TURNS turns."""
    with one_thread():
        turns = [way(net, streams, readings) for _ in range(TURNS)]
    clock, processor = (streams * readings / RATE / statistics.median(each) for each in zip(*turns, strict=True))
    return clock, processor


def work(given: tuple[int, int, int, int]) -> Spent:
    """What one of several processes draws at once."""
    width, layers, streams, readings = given
    return rate(kept, network(width, layers), streams, readings)


def measured(width: int, layers: int, streams: int, readings: int, processes: int) -> dict[str, float]:
    """One line of the record: what so many processes draw together, each of so many streams, and what one draws anew."""
    net = network(width, layers)
    if processes > 1:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            all_of_them = pool.map(work, [(width, layers, streams, readings)] * processes)
    else:
        all_of_them = [rate(kept, net, streams, readings)]
    clock, processor = (sum(each) for each in zip(*all_of_them, strict=True))
    slow = rate(anew, net, streams, max(2, min(40, 400 // streams)))[1]
    return {
        "width": width,
        "layers": layers,
        "sees": sum(net.apart) + 1,
        "processes": processes,
        "streams": streams * processes,
        "kept_clock": round(clock, 3),
        "kept_cpu": round(processor, 3),
        "anew_cpu": round(slow, 5),
        "times": round(processor / processes / slow),
        # What the network itself multiplies for a reading, of each layer the taps and what goes on and out.
        "gflops": round(processor * RATE * layers * 2 * (4 * width**2 + 2 * width**2) / 1e9, 2),
        "queue_mib": round(4 * width * streams * processes * sum(net.apart) / 2**20, 1),
    }


def page(lines: Sequence[Mapping[str, float]], command: str, remark: str) -> str:
    """The record in Markdown."""
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}"
    titles = {
        "width": "width",
        "layers": "layers",
        "sees": "sees",
        "processes": "processes",
        "streams": "streams",
        "kept_clock": "kept, by the clock",
        "kept_cpu": "kept, by the processor",
        "anew_cpu": "anew, one process",
        "times": "times",
        "gflops": "GFLOP/s",
        "queue_mib": "queue, MiB",
    }
    head = [
        "# How quickly a WaveNet draws sound",
        "",
        f"    {command}",
        "",
        f"{machine}, one thread a process. {remark}".rstrip(),
        "",
        "Seconds of 16 kHz mono drawn in a second, all streams together: as multiples of real time. Weights are random, which",
        "changes nothing about the time. *Kept* draws through the queue, *anew* does every convolution again for each reading,",
        "in the same run. By the processor: in seconds of its own time, of all processes together what they would draw with a",
        "core each. GFLOP/s, in the same time, are of the layers' products alone; the queue is what is kept of the past.",
        "",
        "| " + " | ".join(titles.values()) + " |",
        "|" + "---:|" * len(titles),
    ]
    return "\n".join([*head, *("| " + " | ".join(f"{line[key]}" for key in titles) + " |" for line in lines), ""])


def main() -> None:
    """Print a table, a line for each width, number of processes and of streams; with --out, write it and a JSON beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64, 256], help="of each process")
    parser.add_argument("--readings", type=int, default=500, help="of each stream in a turn")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--remark", default="", help="of the state of the machine, for the page")
    parser.add_argument("--out", type=Path, help="the page, e.g. docs/benchmarks/series_speed.md")
    args = parser.parse_args()
    lines = []
    for width, processes, streams in itertools.product(args.width, args.processes, args.streams):
        lines.append(measured(width, args.layers, streams, args.readings, processes))
        print(lines[-1], file=sys.stderr, flush=True)
    several = {name: " ".join(map(str, getattr(args, name))) for name in ("width", "streams", "processes")}
    command = "OMP_NUM_THREADS=1 python -m benchmarks.series_speed " + " ".join(f"--{k} {v}" for k, v in several.items())
    text = page(lines, f"{command} --layers {args.layers} --readings {args.readings}", args.remark)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
        args.out.with_suffix(".json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
