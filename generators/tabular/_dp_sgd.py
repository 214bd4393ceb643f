"""How does a network learn so that no single row shows? Clipped gradients of single rows, summed, with noise (DP-SGD).

Source: Abadi et al. 2016 (arXiv 1607.00133), algorithm 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from generators.tabular._dp_noise import Noise

Array = np.ndarray
#: Rows whose gradients are held at a time.
HELD = 128


@dataclass(frozen=True)
class Schedule:
    """How it is learned. noise: multiplier of `clip`, the most that a row's gradient may be long (L2); rate: chance of each row
    to be in a step; steps; learning_rate: of Adam, falling along a cosine; average: share of the steps, the last ones, whose
    weights are averaged."""

    noise: float
    clip: float
    rate: float
    steps: int
    learning_rate: float
    average: float = 0.5


def private_optimizer(
    net: nn.Module, rows: int, schedule: Schedule, source: Noise, kind: type[torch.optim.Optimizer] = torch.optim.Adam
) -> tuple[nn.Module, Any]:
    """The network with gradients of single rows, and the optimizer that clips them and adds noise.

    kind: of the optimizer that then moves the weights. Noise comes from `source`, not from torch. Expected rows of a step
    divide the gradient, whatever came."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    class Secret(DPOptimizer):  # type: ignore[misc]
        """Opacus's optimizer, with noise from our source."""

        def add_noise(self) -> None:
            for p in self.params:
                noise = torch.from_numpy(source.normal(tuple(p.summed_grad.shape))).to(p.summed_grad)
                p.grad = (p.summed_grad + self.noise_multiplier * self.max_grad_norm * noise).view_as(p)

    module = GradSampleModule(net, loss_reduction="sum")
    inner = kind(module.parameters(), lr=schedule.learning_rate)  # type: ignore[call-arg]
    optimizer = Secret(
        inner,
        noise_multiplier=schedule.noise,
        max_grad_norm=schedule.clip,
        expected_batch_size=max(schedule.rate * rows, 1.0),
        loss_reduction="sum",
    )
    return module, optimizer


def step(module: nn.Module, optimizer: Any, loss: Callable[[Tensor], Tensor], chosen: Array, expected: float) -> float:
    """One step on the rows chosen; the loss per row. loss: places of rows -> the sum of their losses.

    A step without rows is one as well: its noise hides that nobody was chosen."""
    told = noisy_gradient(module, optimizer, loss, chosen, expected)
    optimizer.original_optimizer.step()
    return told


def noisy_gradient(
    module: nn.Module, optimizer: Any, loss: Callable[[Tensor], Tensor], chosen: Array, expected: float
) -> float:
    """Leave in `grad` of each weight the clipped gradients of the rows chosen, summed, with noise, over `expected`."""
    total = clipped_sum(module, optimizer, loss, chosen)
    optimizer.add_noise()
    for p in _parameters(module):
        p.grad /= expected
        p.summed_grad = None
    return total / max(len(chosen), 1)


def clipped_sum(module: nn.Module, optimizer: Any, loss: Callable[[Tensor], Tensor], chosen: Array) -> float:
    """Leave in `summed_grad` of each weight the clipped gradients of these rows, summed, without noise; their loss."""
    optimizer.zero_grad(set_to_none=True)
    parameters = _parameters(module)
    for p in parameters:
        p.summed_grad = torch.zeros_like(p)
    total = 0.0
    for start in range(0, len(chosen), HELD):
        part = torch.from_numpy(chosen[start : start + HELD])
        value = loss(part)
        value.backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
        optimizer.clip_and_accumulate()
        for p in parameters:
            p.grad_sample = None
            p.grad = None
    return total


def _parameters(module: nn.Module) -> list[Any]:
    """Weights that learn; Opacus hangs fields of its own on them."""
    return [p for p in module.parameters() if p.requires_grad]


class Averages:
    """The mean of a network's weights over the last steps: of what is private already."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.count = net, 0
        self.sums: list[Tensor] = [torch.zeros_like(p, dtype=torch.float64) for p in net.parameters()]

    def add(self) -> None:
        """One more step."""
        self.count += 1
        with torch.no_grad():
            for mean, p in zip(self.sums, self.net.parameters(), strict=True):
                mean += p.double()

    def take(self) -> None:
        """Put the means in place of the weights."""
        with torch.no_grad():
            for mean, p in zip(self.sums, self.net.parameters(), strict=True):
                if self.count:
                    p.copy_((mean / self.count).to(p))


def rates(schedule: Schedule) -> Sequence[float]:
    """The learning rate of each step."""
    return [
        schedule.learning_rate * (0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * k / schedule.steps))))
        for k in range(schedule.steps)
    ]
