"""How does a network learn how likely rows are, when does it stop, and how does a killed fit go on?"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from generators.base import GeneratorError, Progress
from generators.checkpoints import keep, recall
from generators.tabular._table import rng_of

#: Looks at the rows that are set aside, in a training.
LOOKS = 20
#: Steps in which the learning rate grows to its full size.
WARM = 50
#: Times that a row of a rare class comes in an epoch, at most.
LIFT = 8
#: Rows that are set aside at most, and at least unless these are more than a FIFTH; of fewer rows than SMALL none are.
HELD, LEAST, FIFTH, SMALL = 5_000, 40, 0.2, 25
#: Rows that go through the network together when it is looked at.
CHUNK = 2048
CHECKPOINT = "density.pt"


class Density(nn.Module, ABC):
    """A network that rates rows, such as by a bound on their likelihood."""

    def begin_from(self, *rows: Tensor) -> None:
        """What is known of the rows before any step, where the network begins with such."""
        return

    @abstractmethod
    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """Nats of each row, to be made small: (n,); done: how much of the training is over, 0 to 1, 1 at looks."""


M = TypeVar("M", bound=nn.Module)
N = TypeVar("N", bound=Density)


@dataclass(frozen=True)
class Rules:
    """batch: rows a step. epochs: passes over the rows, or as many as make `least` steps. patience: looks without a better
    figure that end it. held: share of the rows that is set aside to look at."""

    batch: int
    epochs: int
    least: int
    learning_rate: float
    decay: float
    ema: float
    patience: int
    held: float
    seed: int


def rules_of(family: Any, passes: int, seed: int) -> Rules:
    """What the fields of a family say; without `epochs` it makes `passes`, or as many as make `min_steps` steps."""
    epochs, least = (passes, family.min_steps) if family.epochs is None else (family.epochs, 0)
    return Rules(
        batch=family.batch_size, epochs=epochs, least=least, learning_rate=family.learning_rate, decay=family.decay,
        ema=family.ema, patience=family.patience, held=family.held_out, seed=seed,
    )  # fmt: skip


class Loop(ABC, Generic[M]):
    """Steps, averages and looks; everything that a resumed fit needs is in `state`. What a loss is, is told below.

    What is random in a step follows from the seed and the number of the step alone, so that a resumed fit ends as one that
    was never stopped, on one processor bit for bit.

    net: trained in place. rows: tensors of n rows each, on one device. label: (n,) the class of each row, on the
    CPU; None where there is none. order: the places of all rows, those set aside first.
    Class attribute: most, the norm that gradients are cut to."""

    most: ClassVar[float] = math.inf

    def __init__(self, net: M, rows: Sequence[Tensor], label: Tensor | None, rules: Rules) -> None:
        count = len(rows[0])
        held = set_aside(rules.held, count)
        aside = self.dealt_out = torch.from_numpy(rng_of(rules.seed, 31).permutation(count))
        self.device = rows[0].device
        self.held = [part[aside[:held].to(self.device)] for part in rows]
        self.rows = [part[aside[held:].to(self.device)] for part in rows]
        self.turns = turns(label[aside[held:]]) if label is not None else torch.ones(count - held)
        self.batch = min(rules.batch, max((count - held) // 16, 32))
        self.epoch = math.ceil(int(self.turns.sum()) / self.batch)
        self.steps = max(rules.epochs * self.epoch, rules.least)
        self.rules, self.net = rules, net
        self.begin()
        self.average = copy.deepcopy(net).eval()
        self.best = copy.deepcopy(net.state_dict())
        self.figures: list[float] = []
        self.adam = _adam(net, rules)
        self.done = 0
        self.dealt: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.long))

    def begin(self) -> None:
        """Prepare the network, which has not been copied yet, knowing the rows that it will learn."""
        return

    @abstractmethod
    def loss(self, dealt: Tensor) -> Tensor:
        """What a step makes small, of the rows at these places (on the CPU): a number."""

    @abstractmethod
    def rate(self, rows: Sequence[Tensor]) -> Tensor:
        """Nats of each row by the average of the weights: (n,)."""

    def step(self) -> float:
        """One update; the loss in nats a row."""
        rules = self.rules
        for group in self.adam.param_groups:
            group["lr"] = rules.learning_rate * min(1.0, (self.done + 1) / WARM) * self._fall()
        loss = self.loss(self._dealt())
        self.adam.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if math.isfinite(self.most):
            nn.utils.clip_grad_norm_(self.net.parameters(), self.most)
        self.adam.step()
        self.done += 1
        kept = min(rules.ema, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - kept)
        return float(loss.detach())

    def look(self) -> float:
        """Nats a row of the average on the rows set aside (on train's own where there are none); the best is kept."""
        rows = self.held if len(self.held[0]) else [part[:CHUNK] for part in self.rows]
        with seeded(self.rules.seed % 2**31, self.device), torch.no_grad():
            parts = zip(*(torch.split(part, CHUNK) for part in rows), strict=True)
            value = sum(float(self.rate(part).sum()) for part in parts) / len(rows[0])
        if not self.figures or value < min(self.figures) or not len(self.held[0]):
            self.best = copy.deepcopy(self.average.state_dict())
        self.figures.append(value)
        return value

    @property
    def over(self) -> bool:
        last = len(self.figures) - 1 - int(np.argmin(self.figures)) if self.figures else 0
        return self.done >= self.steps or (len(self.held[0]) > 0 and last >= self.rules.patience)

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(), "average": self.average.state_dict(), "best": self.best,
            "adam": self.adam.state_dict(), "done": self.done, "figures": self.figures,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.adam.load_state_dict(state["adam"])
        self.best, self.done, self.figures = state["best"], state["done"], state["figures"]

    def _dealt(self) -> Tensor:
        """Places of the rows of this step: every epoch goes through all of them, shuffled anew."""
        epoch, place = divmod(self.done, self.epoch)
        if epoch != self.dealt[0]:
            every = torch.repeat_interleave(torch.arange(len(self.rows[0])), self.turns.long())
            self.dealt = epoch, every[torch.from_numpy(rng_of(self.rules.seed, 34, epoch).permutation(len(every)))]
        return self.dealt[1][place * self.batch : (place + 1) * self.batch]

    def _fall(self) -> float:
        return 0.5 * (1 + math.cos(math.pi * self.done / self.steps))


class Training(Loop[N]):
    """The training of a network that rates rows by itself."""

    most = 10.0

    def begin(self) -> None:
        self.net.begin_from(*self.rows)

    def loss(self, dealt: Tensor) -> Tensor:
        at = dealt.to(self.device)
        with seeded(int(rng_of(self.rules.seed, 33, self.done).integers(2**31)), self.device):
            return self.net.losses(*(part[at] for part in self.rows), done=self.done / self.steps).mean()

    def rate(self, rows: Sequence[Tensor]) -> Tensor:
        return self.average.losses(*rows, done=1.0)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within it torch's random numbers follow from a seed; those of the process are left alone."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def set_aside(share: float, rows: int) -> int:
    """How many rows are set aside. Without any, a network learns a hundred rows by heart long before it is done: one in seven
    rows drawn of iris was a training row."""
    if not share or rows < SMALL:
        return 0
    return min(max(int(share * rows), min(int(FIFTH * rows), LEAST)), HELD)


def turns(label: Tensor) -> Tensor:
    """How often each row comes in an epoch: (n,) float32. The root of how much rarer its class is than the largest, and LIFT
    times at most: what is learned of a class of few rows must not be these rows."""
    counts = torch.bincount(label)
    return (counts.max() / counts[label]).sqrt().round().clamp(1, LIFT)


def _adam(net: nn.Module, rules: Rules) -> torch.optim.AdamW:
    plain = [value for name, value in net.named_parameters() if "bias" not in name]
    biases = [value for name, value in net.named_parameters() if "bias" in name]
    groups = [{"params": plain, "weight_decay": rules.decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rules.learning_rate, betas=(0.9, 0.99))


def learn(training: Loop[M], progress: Progress, *, folder: Path | None, mark: str, seconds: float) -> None:
    """Train to the end, from a checkpoint in `folder` that bears this mark if there is one.

    Raises GeneratorError when the loss stops being a number."""
    if folder is not None:
        _resume(training, folder / CHECKPOINT, mark)
    every = max(training.steps // LOOKS, 1)
    written = time.monotonic()
    while not training.over:
        loss = training.step()
        if not math.isfinite(loss):
            at = f"step {training.done} of {training.steps}"
            raise GeneratorError(f"the loss stopped being a number at {at}; use a smaller generator.learning_rate")
        if training.done % every == 0 or training.done == training.steps:
            epoch, epochs = -(-training.done // training.epoch), -(-training.steps // training.epoch)
            progress.advance(epoch, epochs, "epoch", loss=loss, **{"held out": training.look()})
        if folder is not None and time.monotonic() - written >= seconds:
            keep(folder / CHECKPOINT, {"mark": mark, "state": training.state()})
            written = time.monotonic()


def _resume(training: Loop[M], path: Path, mark: str) -> None:
    if (held := recall(path)) is not None and held["mark"] == mark:
        training.restore(held["state"])
