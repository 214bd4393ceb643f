"""How does the network learn from rows of tokens, when does it stop, and how does a killed fit go on?"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generators.tabular._autoregressive_net import Fields, Net
from generators.tabular._table import rng_of

#: Looks at the rows that are set aside, in a training.
LOOKS = 20
#: Steps in which the learning rate grows to its full size.
WARM = 50
#: Times that a row of a rare class comes in an epoch, at most.
LIFT = 8
CHECKPOINT = "autoregressive.pt"

Array = np.ndarray
Tell = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Rules:
    """batch: rows a step. epochs: passes over the rows, or as many as make `least` steps. any_order: share of steps in an order
    drawn at random; the others take the order in which rows are drawn. patience: looks without a better figure that end it.
    held: rows set aside to look at."""

    batch: int
    epochs: int
    least: int
    learning_rate: float
    decay: float
    ema: float
    any_order: float
    patience: int
    held: int
    seed: int


class Training:
    """Steps, averages and looks; everything that a resumed fit needs is in `state`.

    What is random in a step follows from the seed and the number of the step alone, so that a resumed fit ends as one that
    was never stopped, on one processor bit for bit."""

    def __init__(self, fields: Fields, width: int, drop: float, rules: Rules, tokens: Tensor, order: Sequence[int]) -> None:
        self.rules, self.order, self.classed = rules, list(order), fields.classed
        shuffled = aside(rules.seed, len(tokens))
        self.held, self.rows = tokens[shuffled[: rules.held]], tokens[shuffled[rules.held :]]
        self.turns = _turns(self.rows, fields.classed)
        self.epoch = math.ceil(int(self.turns.sum()) / rules.batch)
        self.steps = max(rules.epochs * self.epoch, rules.least)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng_of(rules.seed, 32).integers(2**31)))
            self.net = Net(fields, width, drop).to(tokens.device)
        self.net.begin(self.rows)
        self.average = copy.deepcopy(self.net).eval()
        self.best = copy.deepcopy(self.net.state_dict())
        self.figures: list[float] = []
        plain = [value for name, value in self.net.named_parameters() if "bias" not in name]
        biases = [value for name, value in self.net.named_parameters() if "bias" in name]
        groups = [{"params": plain, "weight_decay": rules.decay}, {"params": biases, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=rules.learning_rate, betas=(0.9, 0.99))
        self.done = 0
        self.dealt: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.long))

    def step(self) -> float:
        """One update; the loss in nats a row."""
        rules = self.rules
        rng = rng_of(rules.seed, 33, self.done)
        dealt = self._dealt()
        rows, weight = self.rows[dealt], 1.0 / self.turns[dealt]
        order = rng.permutation(len(self.order)).tolist() if rng.random() < rules.any_order else self.order
        for group in self.adam.param_groups:
            group["lr"] = rules.learning_rate * min(1.0, (self.done + 1) / WARM) * self._fall()
        with torch.random.fork_rng(devices=[self.rows.device] if self.rows.device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**31)))
            loss = self._loss(rows, order, weight)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.done += 1
        kept = min(rules.ema, (self.done + 1) / (self.done + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - kept)
        return float(loss.detach())

    def _dealt(self) -> Tensor:
        """Places of the rows of this step: every epoch goes through all of them, shuffled anew."""
        epoch, place = divmod(self.done, self.epoch)
        if epoch != self.dealt[0]:
            every = torch.repeat_interleave(torch.arange(len(self.rows)), self.turns.cpu().long())
            shuffled = rng_of(self.rules.seed, 34, epoch).permutation(len(every))
            self.dealt = epoch, every[torch.from_numpy(shuffled)].to(self.rows.device)
        return self.dealt[1][place * self.rules.batch : (place + 1) * self.rules.batch]

    def _loss(self, rows: Tensor, order: Sequence[int], weight: Tensor) -> Tensor:
        """Rows of rare classes come more often; a field that is guessed before the class is known weighs them down again."""
        losses = self.net.losses(rows, order, each=True)
        if self.classed is None:
            return losses.mean(dim=1).sum()
        place = {field: k for k, field in enumerate(order)}
        known = torch.tensor([place[field] > place[self.classed] for field in range(len(order))], device=rows.device)
        even = weight / weight.mean()
        return torch.where(known, losses.mean(dim=1), (losses * even).mean(dim=1)).sum()

    def _fall(self) -> float:
        return 0.5 * (1 + math.cos(math.pi * self.done / self.steps))

    def look(self) -> float:
        """Nats a row of the average on the rows set aside (on train's own where there are none); the best is kept."""
        rows = self.held if len(self.held) else self.rows[:2048]
        with torch.no_grad():
            parts = torch.split(rows, 2048)
            value = sum(float(self.average.losses(part, self.order).sum()) * len(part) for part in parts) / len(rows)
        if not self.figures or value < min(self.figures) or not len(self.held):
            self.best = copy.deepcopy(self.average.state_dict())
        self.figures.append(value)
        return value

    @property
    def over(self) -> bool:
        last = len(self.figures) - 1 - int(np.argmin(self.figures)) if self.figures else 0
        return self.done >= self.steps or (len(self.held) > 0 and last >= self.rules.patience)

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


def aside(seed: int, rows: int) -> Array:
    """Places of all rows in the order in which they are set aside: (rows,) int64."""
    return rng_of(seed, 31).permutation(rows)


def _turns(rows: Tensor, classed: int | None) -> Tensor:
    """How often each row comes in an epoch: (n,) float32. The root of how much rarer its class is than the largest, and LIFT
    times at most: what is learned of a class of few rows must not be these rows."""
    if classed is None:
        return torch.ones(len(rows), device=rows.device)
    label = rows[:, classed] - rows[:, classed].min()
    counts = torch.bincount(label)
    return (counts.max() / counts[label]).sqrt().round().clamp(1, LIFT)


def learn(training: Training, tell: Tell, *, folder: Path | None, mark: str, seconds: float) -> None:
    """Train to the end, from a checkpoint in `folder` that bears this mark if there is one.

    Raises FloatingPointError when the loss stops being a number."""
    if folder is not None:
        _resume(training, folder / CHECKPOINT, mark)
    every = max(training.steps // LOOKS, 1)
    written = time.monotonic()
    while not training.over:
        loss = training.step()
        if not math.isfinite(loss):
            raise FloatingPointError(f"step {training.done} of {training.steps}")
        if training.done % every == 0 or training.done == training.steps:
            tell(training.done, {"loss": loss, "held out": training.look()})
        if folder is not None and time.monotonic() - written >= seconds:
            _write(training, folder / CHECKPOINT, mark)
            written = time.monotonic()


def _write(training: Training, path: Path, mark: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    torch.save({"mark": mark, "state": training.state()}, beside)
    beside.replace(path)


def _resume(training: Training, path: Path, mark: str) -> None:
    if path.is_file() and (held := torch.load(path, map_location="cpu", weights_only=True))["mark"] == mark:
        training.restore(held["state"])
