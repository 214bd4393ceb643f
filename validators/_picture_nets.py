"""What do a small classifier and a small segmenter learn from a few hundred pictures, in seconds on one core?"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from validators._picture_changes import Changes, changed
from validators.stats import Array

#: Pictures scored at once, and the width that keeps a step cheap: pictures above this size are averaged down to it.
ROWS, MOST_SIZE = 256, 96
#: Levels of 255 that a picture's spread is taken to be at least, or the grain of a flat one would fill the scale.
LEAST_SPREAD = 4.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """How long a network learns: updates, pictures an update, the highest learning rate, channels of the first layer."""

    steps: int = 600
    batch_size: int = 16
    rate: float = 4e-3
    width: int = 20


@dataclass(frozen=True)
class Lesson:
    """What a network learns from.

    pixels: (n, h, w, c) uint8; labels: (n,) int64; masks: (n, h, w) bool; chances: (n,) how often each is drawn."""

    pixels: Array
    labels: Array
    masks: Array
    chances: Array


@dataclass(frozen=True)
class Scale:
    """How pixels become numbers: each picture is centred by itself, since the light differs between parts, and its
    contrast is brought half of the way (the geometric mean) to that of the real training pictures.

    spread: standard deviation of the pixels within those pictures, in levels."""

    spread: float

    @classmethod
    def of(cls, pixels: Array) -> Scale:
        """(n, h, w, c) uint8."""
        return cls(max(float(pixels.reshape(len(pixels), -1).std(axis=1).mean()), LEAST_SPREAD))

    def read(self, pixels: Tensor) -> Tensor:
        """NHWC uint8 -> NCHW float32, about one standard deviation wide, at most MOST_SIZE a side."""
        x = shrunk(pixels.permute(0, 3, 1, 2).float())
        own = x.std(dim=(1, 2, 3), keepdim=True).clamp(min=LEAST_SPREAD)
        centred = (x - x.mean(dim=(1, 2, 3), keepdim=True)) / (own * self.spread).sqrt()
        return centred.contiguous(memory_format=torch.channels_last)


def shrunk(x: Tensor) -> Tensor:
    """NCHW averaged over whole blocks until a side is at most MOST_SIZE."""
    by = -(-x.shape[-1] // MOST_SIZE)
    return functional.avg_pool2d(x, by) if by > 1 else x


def classifier(channels: int, classes: int, width: int) -> nn.Module:
    """Four convolutions. Between them, and at the end beside the mean, the strongest answer is kept: a defect may fill a few
    pixels only, and strides in the place of it cost a tenth of the average precision on small pits."""
    w = width
    return nn.Sequential(
        *_block(channels, w, 5, 2), nn.MaxPool2d(2), *_block(w, 3 * w, 3, 1), nn.MaxPool2d(2), *_block(3 * w, 4 * w, 3, 1),
        *_block(4 * w, 4 * w, 3, 1), _MeanAndMost(), nn.Linear(8 * w, classes),
    )  # fmt: skip


class _MeanAndMost(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)


def _block(inside: int, out: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


class Segmenter(nn.Module):
    """A U-Net of three levels: NCHW -> (n, 1, h, w) logits of a pixel being marked. Source: Ronneberger et al. 2015."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        w = max(2 * width // 5, 4)
        self.top = nn.Sequential(*_block(channels, w, 3, 1))
        self.middle = nn.Sequential(*_block(w, 2 * w, 3, 2), *_block(2 * w, 2 * w, 3, 1))
        self.bottom = nn.Sequential(*_block(2 * w, 4 * w, 3, 2), *_block(4 * w, 4 * w, 3, 1), *_block(4 * w, 4 * w, 3, 1))
        self.up = nn.Sequential(*_block(6 * w, 2 * w, 3, 1))
        self.out = nn.Sequential(*_block(3 * w, w, 3, 1), nn.Conv2d(w, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        top = self.top(x)
        middle = self.middle(top)
        bottom = self.bottom(middle)
        middle = self.up(torch.cat([_grown(bottom, middle), middle], dim=1))
        logits: Tensor = self.out(torch.cat([_grown(middle, top), top], dim=1))
        return logits


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="nearest")


def classify(lesson: Lesson, scale: Scale, tests: list[Array], *, classes: int, changes: Changes | None, seed: int,
             course: Course) -> list[Array]:  # fmt: skip
    """Chances of each class for each test, (n, classes) float64 each, by a network trained on `lesson`.

    tests: (n, h, w, c) uint8 each. The same seed gives the same network; the global randomness is left as it was."""
    with _quiet(seed):
        net = classifier(lesson.pixels.shape[3], classes, course.width)
        _learn(net, lesson, scale, changes, seed, course, with_marks=False)
        return [np.concatenate(list(_answers(net, scale, test))) for test in tests]


def segment(lesson: Lesson, scale: Scale, tests: list[Array], *, changes: Changes | None, seed: int,
            course: Course) -> list[Array]:  # fmt: skip
    """Chance of each pixel to be marked, (n, h, w) float32 for each test, by a U-Net trained on `lesson`."""
    with _quiet(seed):
        net = Segmenter(lesson.pixels.shape[3], course.width)
        _learn(net, lesson, scale, changes, seed, course, with_marks=True)
        return [np.concatenate(list(_drawn_masks(net, scale, test))) for test in tests]


def _learn(net: nn.Module, lesson: Lesson, scale: Scale, changes: Changes | None, seed: int, course: Course, with_marks: bool
           ) -> None:  # fmt: skip
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    picker = torch.Generator().manual_seed(seed % 2**63)
    chances = torch.from_numpy(np.asarray(lesson.chances, dtype=np.float64))
    pixels, labels = torch.from_numpy(lesson.pixels), torch.from_numpy(lesson.labels)
    masks = torch.from_numpy(lesson.masks)
    optimizer = torch.optim.AdamW(net.parameters(), lr=course.rate, weight_decay=1e-2, foreach=True)
    pace = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, course.steps))
    net.train()
    for _ in range(course.steps):
        rows = torch.multinomial(chances, course.batch_size, replacement=True, generator=picker)
        x = scale.read(pixels[rows])
        marks = shrunk(masks[rows, None].float()) if with_marks else None
        if changes is not None:
            x, marks = changed(x, marks, changes, picker)
        loss = _class_loss(net(x), labels[rows]) if marks is None else _mask_loss(net(x), marks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        pace.step()
    net.eval()


def _pace(step: int, steps: int) -> float:
    """Share of the learning rate: up for a fifth of the steps, then down along half a cosine (Smith and Topin 2019)."""
    up = max(steps // 5, 1)
    return (step + 1) / (up + 1) if step < up else 0.5 * (1 + math.cos(math.pi * (step - up) / max(steps - up, 1)))


def _class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, label_smoothing=0.02)


def _mask_loss(logits: Tensor, marks: Tensor) -> Tensor:
    """Cross-entropy of pixels and the overlap over the batch, which small marks do not vanish in."""
    chance = logits.sigmoid()
    both = (chance * marks).sum()
    dice = 1 - (2 * both + 1) / (chance.sum() + marks.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logits, marks) + dice


@torch.no_grad()
def _answers(net: nn.Module, scale: Scale, pixels: Array) -> Iterator[Array]:
    for start in range(0, len(pixels), ROWS):
        yield net(scale.read(torch.from_numpy(pixels[start : start + ROWS]))).double().softmax(dim=1).numpy()


@torch.no_grad()
def _drawn_masks(net: nn.Module, scale: Scale, pixels: Array) -> Iterator[Array]:
    size = pixels.shape[1]
    for start in range(0, len(pixels), ROWS):
        x = scale.read(torch.from_numpy(pixels[start : start + ROWS]))
        logits = functional.interpolate(net(x), size=(size, size), mode="bilinear", align_corners=False)
        yield logits[:, 0].sigmoid().numpy()


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """First weights come from torch's global generator: seed it, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        yield
