"""How much sound does a WaveNet of ours draw in a second, beside one that keeps nothing of the past, and beside real time?

    OMP_NUM_THREADS=1 python -m benchmarks.series_speed --width 32 --layers 10 --streams 1 16 256 --processes 2

One channel of numbers at 16 kHz, random weights: what is drawn does not matter for the time it takes. `kept` draws through the
queue (Paine et al. 2016), `anew` does all convolutions again for each reading over all that it sees, as before that paper. Both
draw in one run, one after the other, the middle of three turns counts. With `--processes` so many draw at once, one a core.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from generators.series._planes import Layout
from generators.series._wavenet import Net, Queue, Rounded
from generators.tabular._table import one_thread

#: Readings a second of the sound.
RATE = 16_000
TURNS = 3


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
def kept(net: Net, streams: int, readings: int) -> float:
    """Seconds for so many readings of each of the streams, through the queue."""
    queue = net.begin(streams, torch.zeros(streams, 0))
    chances = torch.from_numpy(np.random.default_rng(0).random((readings, streams, 2), dtype=np.float32))
    began = time.perf_counter()
    for chance in chances:
        queue.step(chance)
    return time.perf_counter() - began


@torch.no_grad()
def anew(net: Net, streams: int, readings: int) -> float:
    """Seconds for so many readings of each of the streams once all that the layers see is there, without the queue."""
    about, reach = torch.zeros(streams, 0), sum(net.apart) + 1
    queue, out = net.begin(streams, about), torch.randn(streams, reach, 1)
    began = time.perf_counter()
    for chance in torch.rand(readings, streams, 2):
        setattr(queue, "_answer", answering(net, about, out))  # noqa: B010  a method of one object
        out = torch.cat([out[:, 1:], queue.step(chance)[:, None]], dim=1)
    return time.perf_counter() - began


def rate(way: Callable[[Net, int, int], float], net: Net, streams: int, readings: int) -> float:
    """Seconds of sound drawn in a second, all streams together: the middle of TURNS turns."""
    with one_thread():
        return streams * readings / RATE / statistics.median(way(net, streams, readings) for _ in range(TURNS))


def work(given: tuple[int, int, int, int]) -> float:
    """What one of several processes draws at once."""
    width, layers, streams, readings = given
    return rate(kept, network(width, layers), streams, readings)


def main() -> None:
    """Print a line for each number of streams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--readings", type=int, default=2000, help="of each stream in a turn")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    net = network(args.width, args.layers)
    print(
        f"width {args.width}, {args.layers} layers, sees {sum(net.apart) + 1} readings, {RATE} a second, one thread a process"
    )
    print("| streams | kept, x real time | anew, x real time | times as fast |")
    print("|---:|---:|---:|---:|")
    for streams in args.streams:
        if args.processes > 1:
            with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
                quick = sum(pool.map(work, [(args.width, args.layers, streams, args.readings)] * args.processes))
        else:
            quick = rate(kept, net, streams, args.readings)
        slow = rate(anew, net, streams, max(2, min(40, 400 // streams)))
        print(f"| {streams * args.processes} | {quick:.3f} | {slow:.5f} | {quick / args.processes / slow:.0f} |", flush=True)


if __name__ == "__main__":
    main()
