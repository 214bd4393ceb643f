"""How do the processes that a launcher started share a fit, while the first of them does all the rest alone?

`accelerate launch` starts the same command several times. The first process (rank 0) runs it. The others look at a store of
keys now and then, which has no time limit, take part in each fit that it announces there, and end as it does."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer import Typer
from typer.main import get_command

from configs.components import families
from configs.components import find as find_family
from configs.errors import DataFault, KeyFault
from configs.plan import Plan
from data.errors import UserError
from data.secrets import hidden
from flows.pipes import say
from generators.base import Generator

#: What a launcher tells its processes. They meet at this address.
TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: Seconds between two looks at the store, until the last process has heard how the first one ended, and until it then ends
#: itself: the first one that ends with a fault is the one that a launcher names.
EVERY, HEARD, AFTER = 0.2, 20.0, 1.0
#: Keys of the store: the exit code of the first process, whether it failed, what another says that was refused, who heard.
END, FAILED, REFUSED, HEARERS = "end", "failed", "refused", "hearers"


class OtherError(UserError):
    """Another process of the launch failed: the exit code that it would have, a space, and what it says."""

    def __init__(self, told: str) -> None:
        code, _, why = told.partition(" ")
        super().__init__(why)
        self.exit_code = int(code)


@dataclass
class Ranks:
    """The processes of one launch. rank: which of them this is; store: torch's, of keys that all of them see."""

    rank: int
    size: int
    store: Any
    told: dict[str, str] = field(default_factory=dict)
    fits: int = 0
    code: int = 1

    @classmethod
    def met(cls) -> Ranks:
        """The processes that the environment tells of. It tells of them during a fit alone from now on, since whatever else
        this process does or starts is its own."""
        from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

        store, rank, size = next(rendezvous("env://"))
        told = {name: os.environ[name] for name in TOLD if name in os.environ}
        _forget()
        return cls(rank, size, PrefixStore("counterpoise", store), told)

    def lead(self, command: Callable[[], Any]) -> int:
        """In the first process: the command, whose exit code the others are told."""
        global _RANKS
        _RANKS = self
        # Last of all that is done at the end, for a launcher ends the first process when another one does.
        atexit.register(self.dismiss)
        self.code = _code_of(command)
        return self.code

    def dismiss(self) -> None:
        """The others end as this one, which waits until they have heard."""
        with suppress(RuntimeError):  # the launcher, and the store with it, may be gone
            self.store.set(END, str(self.code))
            until = time.monotonic() + HEARD
            while self.store.add(HEARERS, 0) < self.size - 1 and time.monotonic() < until:
                time.sleep(EVERY)
        _part()

    @contextmanager
    def fitting(self, folder: Path) -> Iterator[None]:
        """In the first process: the others make the fit of this block with it, of the run in `folder`.

        Raises OtherError where one of them failed while this one did not."""
        self.store.set(f"fit {self.fits}", str(folder.resolve()))
        self.fits += 1
        os.environ.update(self.told)
        try:
            yield
        except BaseException as error:
            self.store.set(FAILED, "0")
            _part()  # or the others would wait for it in the middle of a step
            if isinstance(error, Exception) and not isinstance(error, UserError) and self.store.check([REFUSED]):
                raise OtherError(self.store.get(REFUSED).decode()) from error
            raise
        finally:
            _forget()

    def follow(self) -> int:
        """In the others: every fit that the first one announces, until it ends; its exit code."""
        until: float | None = None
        try:
            while not self.store.check([END]):
                if until is not None and time.monotonic() > until:
                    raise OtherError(self.store.get(REFUSED).decode())
                if until is None and self.store.check([f"fit {self.fits}"]):
                    if not self._joined(Path(self.store.get(f"fit {self.fits}").decode())):
                        until = time.monotonic() + HEARD  # the first may wait without end for what is missing now
                    self.fits += 1
                time.sleep(EVERY)
            code = int(self.store.get(END))
            self.store.add(HEARERS, 1)
        except KeyboardInterrupt:
            return 130
        except OtherError as error:
            say(str(error), "refused", level="error", exit=error.exit_code)
            return error.exit_code
        except RuntimeError:  # torch's own, where the store is gone
            said = f"process {self.rank}: the first process of this launch is gone; what it said last says why"
            say(said, "failed", level="error", exit=1)
            return 1
        _part()
        time.sleep(AFTER if code else 0.0)
        return code

    def _joined(self, folder: Path) -> bool:
        """Whether the fit of a run was made together with the first process; why not is told to it."""
        os.environ.update(self.told)
        try:
            _fit(folder)
        except Exception as error:
            if not self.store.check([FAILED]):
                self._tell(error)
            _part()
            return False
        finally:
            _forget()
        return True

    def _tell(self, error: Exception) -> None:
        from flows.usage import logged

        why, code = str(error), 1
        if isinstance(error, UserError):
            code = error.exit_code
        else:
            why = f"unexpected {type(error).__name__}: {why}; {logged(error)}"
        self.store.set(REFUSED, f"{code} process {self.rank} of {self.size}: {hidden(why)}")


#: The processes of this launch, in the first one of several.
_RANKS: Ranks | None = None


def run_together(app: Typer) -> int:
    """Run the command line in the first of several processes, with the others at hand for fits; the exit code of each."""
    ranks = Ranks.met()
    if ranks.rank > 0:
        return ranks.follow()
    verb = _verb(app)
    if verb == "run":
        return ranks.lead(app)
    what = f"counterpoise {verb}".strip()
    said = f"`{what}` is the work of one process, and {ranks.size} were started; start it without the launcher"
    say(said, "refused", level="error", exit=2)
    return ranks.lead(lambda: sys.exit(2))


def _verb(app: Typer) -> str:
    """The verb of this command line, which options may precede."""
    verbs = getattr(get_command(app), "commands", {})
    return next((word for word in sys.argv[1:] if word in verbs), "")


def started() -> int:
    """How many processes a fit has."""
    return 1 if _RANKS is None else _RANKS.size


@contextmanager
def shared(plan: Plan, folder: Path) -> Iterator[None]:
    """The fit in this block is made by all processes of the launch; there may be one alone.

    Raises DataFault for a family that several could only fit each for itself, and what `Ranks.fitting` raises."""
    if _RANKS is None:
        yield
        return
    try:
        check_processes(plan)
    except KeyFault as fault:
        raise DataFault(fault.key, fault.message) from None
    with _RANKS.fitting(folder):
        yield


def check_processes(plan: Plan) -> None:
    """Refuse a family that learns in one process where several were started.

    Raises KeyFault at generator.use."""
    if started() == 1 or not (plan.generator.named or plan.several):
        return
    name = plan.generator.use if plan.generator.named else "relational"
    if not getattr(find_family(name, Generator, package="generators"), "distributed", False):
        known = families("generators", Generator).items()
        able = ", ".join(sorted(each for each, cls in known if getattr(cls, "distributed", False)))
        raise KeyFault(
            ("generator", "use"),
            f"{name!r} learns in one process, and {started()} were started; start it without the launcher, or use one of "
            f"{able}",
        )


def _fit(folder: Path) -> None:
    from flows.run import Run
    from flows.stages.rules import family_of
    from flows.stages.shared import dataset

    run = Run(folder)
    plan = run.settled
    family_of(plan).fit(dataset(run, "train"), seed=plan.seed, checkpoint=folder / "checkpoint")


def _code_of(command: Callable[[], Any]) -> int:
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _part() -> None:
    """Leave the group in which gradients are averaged, if there is one."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _forget() -> None:
    for name in TOLD:
        os.environ.pop(name, None)
