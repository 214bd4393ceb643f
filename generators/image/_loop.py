"""How is any network on pictures trained so that a killed training goes on as if it had not been killed?

One loop for all families: it knows devices, precision, several processes, moving averages, checkpoints and what to do when
the memory of a GPU is full. What a step is, the family says (`Trainee`)."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from generators.base import SILENT, GeneratorError, Progress
from generators.base import device_of as device_of
from generators.image._loop_state import State

Precision = Literal["auto", "no", "bf16"]
GRIDS = "grids"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How long and how a network is trained.

    steps: updates; batch_size: pictures a step, over all processes together; ema: share of the moving average that is kept
    each step, less in the first steps; precision: "bf16" runs the forward pass in bfloat16, "auto" does so on a GPU that
    can; device: "auto", "cpu", "cuda", "cuda:1", "mps"; look_every: steps between two looks of the family at its own
    samples, 0 for none; checkpoint_seconds: how often the state is written; report_every: steps between two reports."""

    steps: int
    batch_size: int
    ema: float = 0.999
    precision: Precision = "auto"
    device: str = "auto"
    look_every: int = 0
    checkpoint_seconds: float = 30.0
    report_every: int = 10


class Trainee(Protocol):
    """What is trained: the networks, their optimisers, and one step.

    parts: networks by name; optimizers: by name; averaged: names of the parts whose moving average is kept."""

    parts: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    averaged: tuple[str, ...]

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        """One update of every network by `hand.update`; the losses by name, as tensors of no dimension."""

    def look(self, step: int, hand: Hand) -> Look:
        """Judge the moving averages of this moment; called every `look_every` steps and after the last."""

    def memory(self) -> dict[str, Any]:
        """What else a checkpoint must hold; `recall` gets it back."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Take back what `memory` gave."""


@dataclass(frozen=True)
class Look:
    """figures: what is shown; stop: end the training; grid: (h, w, c) uint8 picture of samples, kept beside the run."""

    figures: Mapping[str, float] = field(default_factory=dict)
    stop: bool = False
    grid: np.ndarray | None = None


class Hand:
    """What a step may use: the device, its own randomness, the precision, and the way to update a network.

    rng: a generator on `device`; average: the moving averages by part, in evaluation mode."""

    def __init__(self, accelerator: Any, trainee: Trainee, seed: int) -> None:
        self._accelerator, self._trainee = accelerator, trainee
        self.device: torch.device = accelerator.device
        self.main: bool = accelerator.is_main_process
        self.processes: int = accelerator.num_processes
        self.rng = torch.Generator(device=self.device if self.device.type == "cuda" else "cpu")
        self.rng.manual_seed(seed % 2**63)
        self.average = {name: _frozen(trainee.parts[name]) for name in trainee.averaged}
        self.steps = 0

    def autocast(self) -> Any:
        """A context in which the forward pass runs in the precision of the rules."""
        return self._accelerator.autocast()

    def randn(self, *shape: int) -> Tensor:
        """Standard normal noise on the device, from the loop's own generator."""
        made = torch.randn(*shape, generator=self.rng, device=self.rng.device)
        return made.to(self.device)

    def rand(self, *shape: int) -> Tensor:
        """Uniform noise in [0, 1) on the device."""
        return torch.rand(*shape, generator=self.rng, device=self.rng.device).to(self.device)

    def randint(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high) on the device."""
        return torch.randint(high, shape, generator=self.rng, device=self.rng.device).to(self.device)

    def update(self, name: str, loss: Tensor, *, clip: float | None = None) -> None:
        """Back-propagate `loss` and move the optimiser `name`; gradients are averaged over all processes.

        clip: the norm to which they are cut."""
        optimizer = self._trainee.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.processes > 1:
            for p in moved:
                p.grad = self._accelerator.reduce(p.grad, "mean")
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(moved, clip)
        optimizer.step()

    def agree(self, wish: bool) -> bool:
        """What the first process wishes, in all processes: its clock and its samples decide for all."""
        if self.processes == 1:
            return wish
        from accelerate.utils import broadcast

        return bool(broadcast(torch.tensor([int(wish)], device=self.device)).item())

    def total(self, mine: Tensor) -> Tensor:
        """The sum of what every process has, on the CPU."""
        if self.processes == 1:
            return mine
        return self._accelerator.reduce(mine.to(self.device), "sum").cpu()  # type: ignore[no-any-return]

    def of_all(self, mine: Any) -> list[Any]:
        """What every process has, in their order."""
        if self.processes == 1:
            return [mine]
        from accelerate.utils import gather_object

        return list(gather_object([mine]))

    @property
    def rank(self) -> int:
        """Which of the processes this is, from 0."""
        return int(self._accelerator.process_index)


@dataclass(frozen=True)
class Trained:
    """average: the moving averages on the CPU, in evaluation mode; steps: updates made; batch_size: at the end."""

    average: dict[str, nn.Module]
    steps: int
    batch_size: int


def train(
    trainee: Trainee,
    data: Mapping[str, Tensor],
    rules: Rules,
    *,
    seed: int,
    progress: Progress,
    weights: Tensor | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> Trained:
    """Train until the steps are done or the family stops; with `checkpoint`, go on from what a killed training left there.

    data: tensors of one first dimension, which stay on the device as they are (uint8 pictures stay uint8); weights: (n,)
    chance of each row to be drawn, up to a factor; fingerprint: what of data and settings the state depends on, so that a
    checkpoint of another training is not taken up.

    On a CPU a resumed training ends bit for bit as an uninterrupted one. Raises GeneratorError when a loss stops being a
    number, or when a single picture does not fit the GPU's memory."""
    with _quiet_global_randomness(device_of(rules.device)):
        return _train(trainee, data, rules, seed, progress, weights, checkpoint, fingerprint)


def _train(
    trainee: Trainee, data: Mapping[str, Tensor], rules: Rules, seed: int, progress: Progress,
    weights: Tensor | None, checkpoint: Path | None, fingerprint: str,
) -> Trained:  # fmt: skip
    accelerator = _accelerator(rules)
    torch.manual_seed((seed + accelerator.process_index) % 2**63)
    for part in trainee.parts.values():
        part.to(accelerator.device).train()
    _to_device(trainee.optimizers.values(), accelerator.device)
    hand = Hand(accelerator, trainee, seed + 1 + accelerator.process_index)
    progress = progress if hand.main else SILENT
    resident = {name: tensor.to(accelerator.device) for name, tensor in data.items()}
    rows = len(next(iter(data.values())))
    chances = torch.ones(rows) if weights is None else weights.detach().cpu().float()
    picker = torch.Generator().manual_seed((seed + 104_729 * accelerator.process_index) % 2**63)
    state = State(trainee, hand, picker, max(1, rules.batch_size // accelerator.num_processes))
    step, stopped = state.load(checkpoint, fingerprint)
    if len(set(hand.of_all(step))) > 1:  # they would wait for each other without end
        raise GeneratorError(
            f"the processes of this training see different checkpoints in {checkpoint}; put it on a shared disk"
        )
    written = time.monotonic()
    while step < rules.steps and not stopped:
        figures = _step(trainee, hand, resident, chances, state)
        step += 1
        hand.steps = step
        _follow(hand, trainee, rules.ema, step)
        if step % rules.report_every == 0 or step == rules.steps:
            progress.advance(step, rules.steps, "step", **_finite(figures, step))
        if rules.look_every and (step % rules.look_every == 0 or step == rules.steps):
            stopped = hand.agree(_look(trainee, hand, step, rules, progress, checkpoint))
        due = checkpoint is not None and hand.agree(time.monotonic() - written >= rules.checkpoint_seconds)
        if checkpoint is not None and (due or stopped):
            _finite(figures, step)
            state.save(checkpoint, step, stopped, fingerprint)
            written = time.monotonic()
    return Trained({name: part.cpu() for name, part in hand.average.items()}, step, state.batch_size)


def writes() -> bool:
    """Whether this process keeps what a fit leaves in files; the others that a launcher started beside it do not."""
    return int(os.environ.get("RANK", "0")) == 0


class _Alone:
    """One device and one process, where accelerate is not installed."""

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, device: torch.device, half: bool) -> None:
        self.device, self._half = device, half

    def autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._half)


def _accelerator(rules: Rules) -> Any:
    device = device_of(rules.device)
    half = rules.precision == "bf16" or (rules.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported())
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError:
        return _Alone(device, half)
    # The library keeps one state a process; a second training with another precision would be refused.
    AcceleratorState._reset_state(reset_partial_state=True)
    made = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if half else "no")
    if device.type == "cuda" and device.index is not None and made.num_processes == 1:
        made.state.device = device
    return made


def _frozen(part: nn.Module) -> nn.Module:
    twin = copy.deepcopy(part).eval()
    return twin.requires_grad_(False)


@torch.no_grad()
def _follow(hand: Hand, trainee: Trainee, decay: float, step: int) -> None:
    # A short training would average its own beginning; the usual ramp lets the average follow at first.
    keep = min(decay, (1 + step) / (10 + step))
    for name, twin in hand.average.items():
        part = trainee.parts[name]
        mine: list[Tensor] = list(twin.parameters())
        if mine:
            torch._foreach_lerp_(mine, list(part.parameters()), 1 - keep)
        for kept, fresh in zip(twin.buffers(), part.buffers(), strict=True):
            kept.copy_(fresh)


def _step(trainee: Trainee, hand: Hand, data: Mapping[str, Tensor], chances: Tensor, state: State) -> dict[str, Tensor]:
    while True:
        before = state.streams()
        places = torch.multinomial(chances, state.batch_size, replacement=True, generator=state.picker)
        where = places.to(hand.device)
        with contextlib.suppress(torch.OutOfMemoryError):
            return trainee.step({name: tensor[where] for name, tensor in data.items()}, hand)
        if hand.processes > 1:  # the others wait in the middle of their step
            raise GeneratorError(f"{state.batch_size} pictures do not fit a GPU's memory; set a batch_size half as large")
        # Here, not where the error is caught: its traceback holds on to the tensors that filled the memory.
        _halve(trainee, state)
        state.rewind(before)


def _halve(trainee: Trainee, state: State) -> None:
    if state.batch_size <= 1:
        raise GeneratorError("one picture a step does not fit the GPU's memory; use smaller pictures, or a narrower network")
    for one in trainee.optimizers.values():
        one.zero_grad(set_to_none=True)
    state.batch_size //= 2
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _look(trainee: Trainee, hand: Hand, step: int, rules: Rules, progress: Progress, checkpoint: Path | None) -> bool:
    seen = trainee.look(step, hand)
    if seen.figures:
        progress.advance(step, rules.steps, "step", **{name: float(value) for name, value in seen.figures.items()})
    if seen.grid is not None and checkpoint is not None and hand.main:
        from data.images import encode

        (checkpoint / GRIDS).mkdir(parents=True, exist_ok=True)
        (checkpoint / GRIDS / f"{step:06d}.png").write_bytes(encode(seen.grid))
    return seen.stop


def _finite(figures: Mapping[str, Tensor], step: int) -> dict[str, float]:
    numbers = {name: float(value) for name, value in figures.items()}
    for name, value in numbers.items():
        if not np.isfinite(value):
            raise GeneratorError(f"the {name} loss is no number any more at step {step}; lower the learning rate")
    return numbers


def _to_device(optimizers: Any, device: torch.device) -> None:
    for one in optimizers:
        for state in one.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    state[name] = value.to(device)


@contextlib.contextmanager
def _quiet_global_randomness(device: torch.device) -> Iterator[None]:
    """Dropout and the like draw from torch's global generator: it is put back after this training has seeded and used it."""
    index = device.index if device.index is not None else 0
    with torch.random.fork_rng(devices=[index] if device.type == "cuda" else []):
        yield


def grid(pixels: np.ndarray, columns: int = 8, gap: int = 2) -> np.ndarray:
    """Pictures as one picture, row by row: (n, h, w, c) uint8 -> (rows * h, columns * w, c), with white gaps."""
    n, h, w, c = pixels.shape
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    out = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, c), 255, dtype=np.uint8)
    for i, one in enumerate(pixels):
        y, x = divmod(i, columns)
        out[y * (h + gap) : y * (h + gap) + h, x * (w + gap) : x * (w + gap) + w] = one
    return out
