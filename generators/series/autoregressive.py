"""What if a window is drawn reading by reading, each by all before it? A WaveNet of any channels, with a likelihood."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data.dataset import Dataset
from data.windows import CLASS, SERIES, readings
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, device_of, seal
from generators.series._facts import Facts, Given
from generators.series._planes import AT_ONCE, Layout, asked_as, like, planes
from generators.series._scale import Scale
from generators.series._wavenet import Net, Rounded
from generators.tabular._density_train import Training, learn, rules_of, seeded
from generators.tabular._table import at_least, at_most, mark_of, one_thread, open_model, rng_of, write_json

__all__ = ["Autoregressive"]

Array = np.ndarray
WEIGHTS, STATE = "weights.pt", "state.json"
EPOCHS = 60
#: Readings apart, at most, of the two taps of a layer.
MOST = 512


@dataclass
class Autoregressive:
    """A WaveNet of windows: what each channel reads next is a mixture of logistics (of levels a softmax), given all that was
    read before, the channels before it at the same moment, class, attributes and the place in the window.

    It knows how rough each moment is, so that a quiet class beside a loud one stays quiet, and its likelihood is exact. What it
    gets wrong adds up along a window, and drawing takes a step a reading; what the layers saw is kept, so that a step is small.

    Sources: van den Oord et al. 2016 (WaveNet); Salimans et al. 2017 (the mixture, rounded as readings are); Paine et al. 2016
    (the queue).

    Fields:
        epochs: passes over the training windows; left out, EPOCHS, or as many as make `min_steps` steps.
        batch_size: windows a step; of few windows a sixteenth, at least 32.
        width: features of a layer. layers: of them; left out, as many as look back over a whole window, at most 20.
        dropout: share of what a layer sees that is left out in training.
        temperature: 1 draws as was learned; less stays nearer to what is likely.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay. ema: of the weights' moving average.
        held_out: share of the windows that is set aside to see when to stop. patience: looks (there are 20) without a better
            figure that end it.
        checkpoint_seconds: how often the state is written while training. device: "auto", "cpu", "cuda"."""

    modality: ClassVar[str] = "series"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="autoregressive", rows=50, rows_of_class=10, scores=True, passes=100, fails=("slow", "privacy")
    )

    epochs: int | None = None
    min_steps: int = 4000
    batch_size: int = 32
    width: int = 32
    layers: int | None = None
    dropout: float = 0.15
    temperature: float = 1.0
    learning_rate: float = 3e-3
    decay: float = 0.01
    ema: float = 0.99
    held_out: float = 0.1
    patience: int = 6
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one. Raises GeneratorError for rows of a table, no window,
        a setting that makes no sense, or a loss that stops being a number."""
        self._check()
        device = device_of(self.device)
        self.facts_, held = Facts.of(train)
        self.scale_ = Scale.of(held)
        net = self._blank(seed)
        labels = torch.from_numpy(held.labels)
        rows = [
            row.to(device) for row in (*planes(self.layout_, self.scale_, held.values), torch.from_numpy(self.facts_.about))
        ]
        with one_thread():
            training = Training(net.to(device), rows, labels if held.classes else None, rules_of(self, EPOCHS, seed))
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
        self.net_ = training.average.cpu().eval()
        self.net_.load_state_dict(training.best)
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` windows in batches of at most 256; without missing readings.

        Raises GeneratorError for a condition on anything but the class and the attributes, or on what cannot be."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def extend(self, prefix: Dataset, n: int, *, seed: int) -> Dataset:
        """Windows and what may come in the next `n` readings, one draw for each; missing readings are filled by what came
        before them. Each goes on as of its own class, or of the most frequent.

        Raises GeneratorError for windows of other channels than were learned."""
        held = like(self.facts_, prefix)
        if n < 1:
            raise GeneratorError(f"extend: {n} readings cannot be foretold; ask for 1 or more")
        lengths = held.lengths + n
        more = np.full((*held.values.shape[:2], int(lengths.max(initial=1)) - held.longest), np.nan, dtype=np.float32)
        values = np.concatenate([held.values, more], axis=2)
        x, known = self.scale_.forward(values)
        names = [self.facts_.classes.index(c) if c in self.facts_.classes else self._usual() for c in _named(prefix)]
        about = np.zeros((len(held), self.layout_.about), dtype=np.float32)
        for k in set(names):
            own = np.flatnonzero(np.array(names) == k)
            about[own] = asked_as(self.facts_, held.take(own), k).about
        drawn = self._walked(about, lengths, rng_of(seed, 48), torch.from_numpy(x), torch.from_numpy(known))
        whole = np.where(np.isfinite(values), values, drawn)
        table = prefix.table
        at = table.column_names.index(SERIES)
        return Dataset(table.set_column(at, table.schema.field(SERIES), readings(whole, lengths)), prefix.schema)

    def score(self, dataset: Dataset) -> Array:
        """How unlikely each window is as one of the most frequent class: nats a reading, (n,) float64, higher is more unusual.

        Raises GeneratorError for windows of other channels, or longer ones, than were learned."""
        held = like(self.facts_, dataset)
        x, known = planes(self.layout_, self.scale_, held.values)
        about = torch.from_numpy(asked_as(self.facts_, held, self._usual()).about)
        out = []
        with torch.no_grad(), one_thread():
            for a in range(0, len(held), AT_ONCE):
                part = slice(a, a + AT_ONCE)
                rows = x[part].movedim(1, 2), known[part].movedim(1, 2)
                nats = self.net_.nats(*rows, about[part], torch.zeros(len(rows[0])))
                there = torch.stack([rows[1][..., f] for f in self.layout_.first], dim=-1).sum(dim=(1, 2)).clamp(min=1)
                out.append((nats.sum(dim=(1, 2)) / there).double())
        return np.asarray(torch.cat(out).numpy()) if out else np.zeros(0)

    def save(self, folder: Path) -> None:
        """Write weights and envelope. They hold no readings."""
        folder.mkdir(parents=True, exist_ok=True)
        self.facts_.save(folder)
        torch.save(self.net_.state_dict(), folder / WEIGHTS)
        write_json(folder / STATE, {"scale": self.scale_.to_json()})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        family.facts_ = Facts.load(folder)
        family.scale_ = Scale.from_json(json.loads((folder / STATE).read_text(encoding="utf-8"))["scale"])
        family.net_ = family._blank(0).eval()
        family.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "width", "layers", "patience")
        at_least(self, 0, "min_steps", "decay", "learning_rate", "temperature")
        at_most(self, dropout=0.9, ema=0.99999, held_out=0.5)

    def _blank(self, seed: int) -> Net:
        """A network of the right shape that has learned nothing."""
        self.layout_ = Layout.of(self.facts_, self.scale_, 0)
        reach = min(MOST, max(2, 2 ** math.ceil(math.log2(max(self.facts_.longest, 2)))))
        layers = self.layers or min(20, max(1, math.ceil(math.log2(max(self.facts_.longest, 2)))))
        with seeded(int(rng_of(seed, 47).integers(2**31)), torch.device("cpu")):
            return Net(self.layout_, _rounded(self.scale_), self.width, layers, reach, self.dropout)

    def _usual(self) -> int:
        return int(np.bincount(self.facts_.labels).argmax())

    def _draw(self, given: Given, rng: np.random.Generator) -> Array:
        return self._walked(given.about, given.lengths, rng)

    @torch.no_grad()
    def _walked(
        self, about: Array, lengths: Array, rng: np.random.Generator, x: Tensor | None = None, known: Tensor | None = None
    ) -> Array:
        """Windows drawn reading by reading, (n, channels, longest), going on from what is known: x, known (n, planes, t)."""
        device = device_of(self.device)
        net, n, t = self.net_.to(device), len(about), int(lengths.max(initial=1))
        out = torch.zeros(n, self.layout_.planes, t)
        with one_thread():
            queue = net.begin(n, torch.from_numpy(np.ascontiguousarray(about)).to(device))
            for i in range(t):
                chance = torch.from_numpy(rng.random((n, 2 * len(self.layout_.counts)), dtype=np.float32)).to(device)
                if self.temperature != 1:
                    chance[:, 1::2] = torch.sigmoid(torch.logit(chance[:, 1::2], eps=1e-6) * self.temperature)
                there = None if known is None else known[:, :, i].to(device)
                given = None if x is None else x[:, :, i].to(device)
                out[:, :, i] = queue.step(chance, given, there).cpu()
        self.net_ = net.cpu()
        return self.scale_.back(out.numpy())


def _rounded(scale: Scale) -> Rounded:
    """How readings of numbers come, in spreads. What is drawn may pass what was read by half of its range."""
    steps, least, most = [], [], []
    for c, count in enumerate(scale.counts):
        if count:
            continue
        low, high = ((end - scale.middle[c]) / scale.width[c] for end in (scale.low[c], scale.high[c]))
        step = 0.0 if scale.decimals[c] is None else 10.0 ** -int(scale.decimals[c] or 0) / scale.width[c]
        beyond = 0.5 * (high - low)
        beyond = math.ceil(beyond / step) * step if step else beyond
        zero = -scale.middle[c] / scale.width[c]
        steps.append(step)
        least.append(max(low - beyond, zero) if scale.low[c] >= 0 else low - beyond)
        most.append(min(high + beyond, zero) if scale.high[c] <= 0 else high + beyond)
    return Rounded(tuple(steps), tuple(least), tuple(most))


def _named(rows: Dataset) -> list[str | None]:
    """The class of each window, None where there is none."""
    return rows.table.column(CLASS).to_pylist() if CLASS in rows.table.column_names else [None] * rows.num_rows
