"""How is a folder of rows drawn by the workers of a Ray cluster, and a shard drawn again whose worker was lost?"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.components import find as find_family
from configs.components import settings_model
from data.errors import DataError, UserError
from flows.drawer import Drawer, Kit, Piece, Place
from flows.pipes import say
from flows.run import Run
from flows.shard import Draw
from generators.base import Generator, Progress

INSTALL = "pip install -c constraints.txt -e '.[ray]'"
#: Seconds between two looks at the workers, until a machine answers at all, and until the first of all workers is there.
EVERY, REACHED, HIRED = 0.5, 5.0, 180.0
#: Workers that one shard, or the start of one worker after the other, may cost.
TRIES = 3


@contextlib.contextmanager
def joined(on: str) -> Iterator[Any]:
    """The library, connected to the cluster that `on` names: ray (that of RAY_ADDRESS, or of this machine) or ray://HOST:PORT.

    Raises DataError where the library is not installed, or no cluster answers."""
    # Nothing is told to anybody about this use.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise DataError(f"--on {on} needs Ray, which is not installed; run `{INSTALL}`") from None
    if ray.is_initialized():  # whoever connected goes on with it
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS", "auto") if on == "ray" else on
    _reach(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise DataError(_unreached(address, str(error))) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Whether anybody listens there, for the library itself asks for half a minute."""
    remembered = _remembered() if address == "auto" else None
    host, _, port = (remembered or address).removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]") or "localhost", int(port)), REACHED).close()
    except OSError as error:
        why = error.strerror or str(error)
        if remembered:
            raise DataError(
                f"the Ray cluster at {remembered}, which this machine remembers, does not answer ({why}); `ray stop` forgets "
                "it, `ray start --head` starts one"
            ) from None
        raise DataError(_unreached(address, why)) from None


def _remembered() -> str | None:
    """The cluster that Ray would join by itself: it keeps the address in a file, which a killed cluster leaves there."""
    path = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray/ray_current_cluster"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _unreached(address: str, why: str) -> str:
    if address == "auto":
        return "there is no Ray cluster on this machine; `ray start --head` starts one, --on ray://HOST:10001 names another"
    said = (why.strip().splitlines() or ["no answer"])[0].rstrip(".")
    return f"the Ray cluster at {address} cannot be reached ({said}); is it up, with the same Ray and Python as here?"


def draw_on_cluster(draw: Draw, wanted: list[int], folder: Path, *, on: str, workers: int | None, progress: Progress) -> None:
    """Draw the shards `wanted` as files into `folder`, here: the workers send them, and need no storage in common.

    workers: how many; one for each GPU where the family uses them and there are any, else for each CPU, where it is None.

    Raises DataError where the cluster fails, and UserError for what cannot be drawn."""
    with joined(on) as ray:
        crew = _Crew(ray, draw, wanted, folder)
        try:
            crew.work(_hands(ray, draw, workers), progress)
        except ray.exceptions.RayTaskError:  # a fault of ours on a worker: unexpected, as it would be here
            raise
        except ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()[0]
            raise DataError(f"the Ray cluster failed ({said}); its own logs say more, and nothing was written") from None
        finally:
            crew.dismiss()


def _hands(ray: Any, draw: Draw, workers: int | None) -> tuple[int, dict[str, float]]:
    """How many workers, and what each takes of the cluster."""
    there = ray.cluster_resources()
    gpu = _on_gpu(Run(draw.run)) and there.get("GPU", 0) >= 1
    slots = int(there.get("GPU" if gpu else "CPU", 0))
    if slots < 1:
        raise DataError("the Ray cluster has no CPU to work on; add a machine to it with `ray start --address`")
    return workers or slots, {"num_cpus": 1, "num_gpus": 1 if gpu else 0}


def _on_gpu(run: Run) -> bool:
    """Whether the family of a run draws on a GPU where there is one."""
    plan = run.settled
    fields = settings_model(find_family(plan.generator.use, Generator, package="generators")).model_fields
    return "device" in fields and plan.generator.settings.get("device", plan.device) != "cpu"


class _Crew:
    """Workers and what they do: each has one call under way, `open` at first and then one piece of a shard after the other."""

    def __init__(self, ray: Any, draw: Draw, wanted: list[int], folder: Path) -> None:
        self.ray, self.draw, self.folder = ray, draw, folder
        self.left, self.undone = deque(wanted), set(wanted)
        self.rows: Counter[int] = Counter()
        self.lost: Counter[int | None] = Counter()
        self.calls: dict[Any, tuple[Any, int | None]] = {}
        self.home = Place.here()
        self.kit = ray.put(Kit.of(draw))

    def work(self, hands: tuple[int, dict[str, float]], progress: Progress) -> None:
        """Until every shard lies in the folder."""
        number, takes = hands
        # Apart from one another, as each wants a machine's memory for itself; no restart, as its shard would not be known.
        self.actor = self.ray.remote(Drawer).options(**takes, max_restarts=0, scheduling_strategy="SPREAD")
        for _ in range(min(number, len(self.left))):
            self._hire()
        total, heard = sum(self.draw.size(shard) for shard in self.left), time.monotonic()
        while self.undone:
            answered, _ = self.ray.wait(list(self.calls), timeout=EVERY)
            for call in answered:
                self._hear(call)
            at_work = any(shard is not None for _, shard in self.calls.values())
            heard = time.monotonic() if answered or at_work else heard
            if time.monotonic() - heard > HIRED:
                raise DataError(
                    f"no worker of the Ray cluster came up within {HIRED:.0f} s; it has {self._free()} free; wait until others "
                    "are done, or add a machine to it"
                )
            progress.advance(sum(self.rows.values()), total, "row")

    def dismiss(self) -> None:
        """Let every worker go, whatever it is at."""
        for worker, _ in self.calls.values():
            with contextlib.suppress(Exception):  # it may be gone, and the cluster with it
                self.ray.kill(worker)
        self.calls = {}

    def _free(self) -> str:
        return f"{self.ray.available_resources().get('CPU', 0):g} of {self.ray.cluster_resources().get('CPU', 0):g} CPUs"

    def _hire(self) -> None:
        worker = self.actor.remote(self.kit)
        self.calls[worker.open.remote()] = (worker, None)

    def _hear(self, call: Any) -> None:
        worker, shard = self.calls.pop(call)
        try:
            answer = self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError) as error:
            self._lose(worker, shard, error)
            return
        self.lost[None] = 0
        if shard is None:
            self._check(answer)
        else:
            shard = self._keep(shard, answer)
        self._employ(worker, shard)

    def _employ(self, worker: Any, shard: int | None) -> None:
        """The next piece of its shard, or the first of another; a worker without any is let go."""
        if shard is None and not self.left:
            self.ray.kill(worker)
            return
        shard = self.left.popleft() if shard is None else shard
        self.calls[worker.piece.remote(shard)] = (worker, shard)

    def _keep(self, shard: int, piece: Piece) -> int | None:
        """Append to the shard's file; the shard, as long as there is more of it."""
        with (self.folder / self.draw.file(shard)).open("ab") as file:
            file.write(piece.data)
        self.rows[shard] += piece.rows
        if not piece.last:
            return shard
        self.undone.discard(shard)
        return None

    def _lose(self, worker: Any, shard: int | None, error: Exception) -> None:
        """Its shard begins anew, with another worker. Raises DataError where that has cost too many already."""
        with contextlib.suppress(Exception):  # what only seems to be gone must not draw on
            self.ray.kill(worker)
        self.lost[shard] += 1
        why = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        what = "a worker could not begin" if shard is None else f"the worker that drew shard {shard} was lost"
        if self.lost[shard] >= TRIES:
            raise DataError(
                f"{what}, {TRIES} times ({why}); every machine of the cluster needs this checkout and enough memory"
            )
        if shard is not None:
            (self.folder / self.draw.file(shard)).unlink(missing_ok=True)
            self.rows[shard] = 0
            self.left.appendleft(shard)
            say(f"{what}; it is drawn again")
        self._hire()

    def _check(self, place: Place) -> None:
        """Raises DataError for a worker whose rows could be other ones."""
        there, here = ({"our code": each.code[:8], **each.versions} for each in (place, self.home))
        for name, value in here.items():
            if there[name] != value:
                raise DataError(
                    f"{place.machine} has {name} {there[name]} and this machine {value}, so its rows could be others; "
                    "install the same checkout with constraints.txt on both"
                )
