"""Millions of rows from a fitted model: a folder of Parquet files, drawn by several processes, each with a seed of its own."""

from __future__ import annotations

import multiprocessing as mp
import os
import shutil
import signal
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from queue import Queue
from threading import Event

from data.errors import DataError
from flows.run import Run
from flows.shard import FILE_ROWS, Draw, written
from flows.stages.personal import Remade
from flows.stages.sample import IdColumns, load_model
from flows.stages.shared import load_schema
from flows.tell import console
from generators.base import Progress

#: Seconds between two looks at how far the processes are.
EVERY = 0.5


def many_rows(
    run: Run,
    *,
    rows: int,
    where: dict[str, str | None],
    seed: int,
    out: Path,
    shards: int | None,
    workers: int | None,
    only: int | None,
    on: str = "local",
) -> None:
    """Write `rows` rows as Parquet files into the folder `out`, one for each shard, or the shard `only` alone.

    They are drawn by processes of this machine, or by the workers of the Ray cluster `on`, with the same bytes.

    All files are drawn beside the folder and moved into it at the end, so that a fault leaves nothing half-written. Memory
    does not grow with `rows`. Ids are unique over all shards.

    Raises DataError for a folder that holds anything already, or a shard that there is not."""
    draw = Draw(run.folder, rows, where, seed, min(shards or -(-rows // FILE_ROWS), rows))
    if only is not None and not 0 <= only < draw.shards:
        raise DataError(f"--shard {only}: there are {draw.shards} shards, named 0 to {draw.shards - 1}; name one of them")
    if draw.shards > 1 and any(rule.use == "unique" for rule in run.plan.constraints):
        raise DataError("a rule of the plan is unique over all rows, and shards are drawn apart; use --shards 1, or one file")
    wanted = list(range(draw.shards)) if only is None else [only]
    _check(out, [draw.file(k) for k in wanted], alone=only is None)
    beside = out.with_name(f"{out.name}.part{'' if only is None else f'-{only}'}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        with console(quiet=False) as teller:
            started = time.monotonic()
            progress = teller.begin("draw")
            if on == "local":
                _draw_all(draw, wanted, beside, min(workers or os.cpu_count() or 1, len(wanted)), progress)
            else:
                from flows.cluster import draw_on_cluster

                draw_on_cluster(draw, wanted, beside, on=on, workers=workers, progress=progress)
            teller.end("draw", "done", {"rows": {"None": sum(draw.size(k) for k in wanted)}}, time.monotonic() - started)
        out.mkdir(exist_ok=True)
        for path in sorted(beside.iterdir()):
            path.replace(out / path.name)
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror or error}); name a folder in one that exists") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(out)


def _check(out: Path, files: list[str], *, alone: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; name a folder for many files of rows")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if alone and held:
        raise DataError(f"{out} is not empty; name a new folder")
    if clash := held & set(files):
        raise DataError(f"{out / min(clash)} is there already; remove it first, or name another folder")


def _draw_all(draw: Draw, wanted: list[int], folder: Path, workers: int, progress: Progress) -> None:
    """Each shard once, `workers` of them at a time."""
    total = sum(draw.size(k) for k in wanted)
    drawn = 0
    # Fresh processes: what a model or its library keeps in this one must not matter to the rows.
    context = mp.get_context("spawn")
    # Ctrl-C is this process's to hear: the others are told to stop, and say nothing.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(workers, mp_context=context, initializer=signal.signal, initargs=deaf) as pool,
    ):
        told, stop = manager.Queue(), manager.Event()
        waiting = {pool.submit(_draw_one, draw, k, folder / draw.file(k), told, stop) for k in wanted}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=EVERY, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
                while not told.empty():
                    drawn += told.get()
                progress.advance(drawn, total, "row")
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _draw_one(draw: Draw, shard: int, path: Path, told: Queue[int], stop: Event) -> None:
    """In a process of its own: one shard as one file, unless told to stop; how many rows are drawn is told batch by batch."""
    run = Run(draw.run)
    model, schema = load_model(run), load_schema(run)
    ids, remade = IdColumns(run, schema, seed=draw.seed), Remade(run, seed=draw.seed)
    for rows in written(draw, shard, model, ids, remade, path):
        told.put(rows)
        if stop.is_set():
            return
