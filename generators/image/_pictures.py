"""What do all families of pictures know of the pictures they learned, and how do they hand out drawn ones?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data.dataset import Dataset
from data.errors import DataError
from data.images import CLASS, Pictures, batch, chunks, is_pictures, pictures
from data.images import normal_class as named_normal
from generators.base import Condition, GeneratorError

Array = np.ndarray
SAMPLE_ROWS = 256
#: (labels (k,) int64, rng) -> pixels (k, h, w, c) uint8, masks (k, h, w) bool or None a picture, sources or None a picture.
Draw = Callable[[Array, np.random.Generator], tuple[Array, Sequence[Array | None], Sequence[str | None]]]


@dataclass(frozen=True)
class Facts:
    """What a family keeps of its training pictures to hand out new ones. It holds no picture.

    size: height and width; channels: 1 or 3; classes: names in the order of the labels; shares: of each class in train;
    normal: the class of good parts, None where there is none."""

    size: int
    channels: int
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    normal: str | None = None

    @classmethod
    def of(cls, train: Pictures, normal: str | None = None) -> Facts:
        """Raises GeneratorError when there is no picture, or `normal` names no class."""
        if not len(train):
            raise GeneratorError("there are no training pictures; give at least a few of each class")
        counts = np.bincount(train.labels, minlength=len(train.classes))
        shares = tuple(float(n) / len(train) for n in counts)
        return cls(train.size, train.channels, train.classes, shares, normal_class(train, normal))

    def label(self, where: Condition | None) -> int | None:
        """The class that a condition asks for, None for any.

        Raises GeneratorError for a condition on anything but the class, or a class without training pictures."""
        if not where:
            return None
        if other := [name for name in where if name != CLASS]:
            raise GeneratorError(f"pictures can be asked for by their {CLASS!r} alone, not by {other[0]!r}")
        wanted = str(where[CLASS])
        if wanted not in self.classes or not self.shares[self.classes.index(wanted)]:
            known = ", ".join(name for name, share in zip(self.classes, self.shares, strict=True) if share)
            raise GeneratorError(f"there are no training pictures of class {wanted!r}; the classes are {known}")
        return self.classes.index(wanted)

    def sample(
        self, n: int, *, where: Condition | None, seed: int, draw: Draw, rows: int = SAMPLE_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures in batches of at most `rows`, whatever the batches: each has a seed of its own stream.

        Without a condition the classes come as they did in train."""
        label = self.label(where)
        for part, (start, stop) in enumerate(chunks(n, rows)):
            rng = np.random.default_rng([seed % 2**63, part])
            count = stop - start
            labels = np.full(count, label) if label is not None else rng.choice(len(self.classes), count, p=self._chances())
            pixels, masks, sources = draw(labels.astype(np.int64), rng)
            names = [f"{self.classes[k]}_{seed}_{start + i:06d}".replace("/", "_") for i, k in enumerate(labels)]
            yield batch(
                pixels, [self.classes[k] for k in labels], masks=list(masks), names=names, sources=list(sources),
                seeds=[int(seed)] * count,
            )  # fmt: skip

    def _chances(self) -> Array:
        shares = np.array(self.shares)
        return np.asarray(shares / shares.sum())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Facts:
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**lists)


def learned(train: Dataset) -> Pictures:
    """The training pictures in memory. Raises GeneratorError for rows of a table, DataError for unreadable pictures."""
    if not is_pictures(train.schema):
        raise GeneratorError("this family learns pictures, and these are rows of a table; use a tabular family such as gan")
    return pictures(train)


def normal_class(train: Pictures, stated: str | None = None) -> str | None:
    """The class of good parts, see `data.images.normal_class`. Raises GeneratorError when the stated one is not there."""
    try:
        return named_normal(train, stated)
    except DataError as error:
        raise GeneratorError(str(error)) from None


def balanced(labels: Array, power: float = 1.0) -> Tensor:
    """Chance of each picture to be drawn for training: (n,) float. power 1: classes equally often; 0: as they are."""
    counts = np.bincount(labels)
    return torch.from_numpy((1.0 / np.maximum(counts, 1) ** power)[labels]).float()


def to_unit(pixels: Tensor) -> Tensor:
    """NHWC uint8 -> NCHW float32 in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_bytes(images: Tensor) -> Array:
    """NCHW float in [-1, 1] -> NHWC uint8."""
    scaled = images.detach().float().clamp(-1, 1).add(1.0).mul(127.5).round()
    return np.asarray(scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def torch_seed(rng: np.random.Generator) -> int:
    """A seed for a torch generator, drawn from numpy's."""
    return int(rng.integers(2**62))


def fingerprint(train: Dataset, family: Any, seed: int) -> str:
    """What a checkpoint depends on: rows, settings and seed."""
    settings = {k: v for k, v in asdict(family).items() if k not in ("device", "checkpoint_seconds")}
    text = json.dumps([type(family).__name__, settings, seed], sort_keys=True, default=str)
    return hashlib.sha256((train.digest() + text).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Strict JSON with sorted keys."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises GeneratorError when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise GeneratorError(f"{path} cannot be read; fit the model again") from None
