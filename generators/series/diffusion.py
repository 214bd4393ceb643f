"""Windows out of noise, in a few steps of a network that knows which window it may have been."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data.dataset import Dataset
from data.windows import CLASS, SERIES, Windows, readings
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, device_of, seal
from generators.series._diffusion_net import Net, draw
from generators.series._facts import Facts, Given
from generators.series._planes import AT_ONCE, Layout, asked_as, like, planes, within
from generators.series._scale import Scale
from generators.tabular._density_train import Training, learn, rules_of, seeded
from generators.tabular._table import at_least, at_most, mark_of, one_thread, open_model, rng_of, write_json

__all__ = ["Diffusion"]

Array = np.ndarray
WEIGHTS, STATE = "weights.pt", "state.json"
EPOCHS = 150
#: Halvings of the readings, at most.
HALVINGS = 3


@dataclass
class Diffusion:
    """Diffusion of windows by a small U-Net along time, conditional on class and attributes; it also fills gaps and foretells.

    The network corrects what a normal distribution of the class's principal components makes of a noisy window, so that few
    steps of training are enough for levels and trends. Numbers are drawn together with the channels of levels, whose planes are
    numbers until the last step. Take it where the shape of events counts and windows are some hundreds or more; a few windows
    of a class it may hand out again nearly as they were.

    Sources: Ho et al. 2020 (denoising diffusion); Kong et al. 2021 (DiffWave) and Tashiro et al. 2021 (CSDI), on series; Lu et
    al. 2022 (DPM-Solver++, the sampler; its twenty lines are our own, since importing the whole of diffusers takes seconds and
    would make a family of sensor data need the extra of pictures); Ho and Salimans 2022 (guidance).

    Fields:
        epochs: passes over the training windows; left out, EPOCHS, or as many as make `min_steps` steps.
        batch_size: windows a step; of few windows a sixteenth, at least 32.
        width: channels of the finest stage; coarser ones have twice as many. dropout: share that is left out in a step.
        steps: of sampling, each one pass of the network (two with guidance).
        guidance: how much of what class and attributes say is taken: 1 as learned, more for windows typical of their class.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay.
        ema: the share of the moving average of the weights that is kept each step.
        held_out: share of the windows that are set aside to see when to stop, at least 40 or a fifth; of fewer than 25 none.
        patience: looks (there are 20) without a better figure of those that end it.
        checkpoint_seconds: how often the state is written while training. device: "auto", "cpu", "cuda"."""

    modality: ClassVar[str] = "series"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="diffusion",
        rows=100,
        rows_of_class=10,
        passes=20,
        fails=("slow", "privacy"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "width": Range(16, 64, log=True),
        "dropout": Range(0.0, 0.3),
        "steps": Range(10, 40),
        "learning_rate": Range(5e-4, 4e-3, log=True),
        "min_steps": Range(500, 4000, log=True),
        "guidance": Range(0.8, 2.0),
    }

    epochs: int | None = None
    min_steps: int = 2500
    batch_size: int = 32
    width: int = 32
    dropout: float = 0.0
    steps: int = 20
    guidance: float = 1.0
    learning_rate: float = 4e-3
    decay: float = 0.01
    ema: float = 0.99
    held_out: float = 0.1
    patience: int = 8
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
        about, labels = torch.from_numpy(self.facts_.about), torch.from_numpy(held.labels)
        rows = [row.to(device) for row in (*planes(self.layout_, self.scale_, held.values), about, labels)]
        with one_thread():
            rules = rules_of(self, EPOCHS, seed)
            training = Training(net.to(device), rows, labels if held.classes else None, rules)
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
        self.net_ = training.average.cpu().eval()
        self.net_.load_state_dict(training.best)
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` windows in batches of at most 256; without missing readings.

        Raises GeneratorError for a condition on anything but the class and the attributes, or on what cannot be."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def impute(self, dataset: Dataset, *, seed: int) -> Dataset:
        """The same windows with every missing reading drawn to go with those that are there; those stay as they are.

        A window of known class is filled as of that, others as of none. Raises GeneratorError for windows of other channels,
        or longer ones, than were learned."""
        held = like(self.facts_, dataset)
        return self._filled(dataset, held, held.values, held.lengths, seed)

    def forecast(self, prefix: Dataset, n: int, *, seed: int) -> Dataset:
        """Windows and what may come in the next `n` readings, one draw for each; missing readings are filled too.

        Raises GeneratorError where that makes them longer than any window that was learned, and as `impute` does."""
        held = like(self.facts_, prefix)
        lengths = held.lengths + n
        if n < 1 or lengths.max(initial=0) > self.facts_.longest:
            most = self.facts_.longest - int(held.lengths.max(initial=0))
            raise GeneratorError(f"forecast: {n} readings cannot be foretold of these windows; ask for 1 to {max(most, 0)}")
        more = np.full((*held.values.shape[:2], n), np.nan, dtype=np.float32)
        return self._filled(prefix, held, np.concatenate([held.values, more], axis=2), lengths, seed)

    def save(self, folder: Path) -> None:
        """Write weights and envelope. They hold means and principal components of training windows."""
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
        at_least(self, 1, "epochs", "batch_size", "width", "patience")
        at_least(self, 2, "steps")
        at_least(self, 0, "min_steps", "decay", "learning_rate", "guidance")
        at_most(self, dropout=0.9, ema=0.99999, held_out=0.5)

    def _blank(self, seed: int) -> Net:
        """A network of the right shape that has learned nothing."""
        self.layout_ = Layout.of(self.facts_, self.scale_, HALVINGS)
        with seeded(int(rng_of(seed, 45).integers(2**31)), torch.device("cpu")):
            return Net(self.layout_, max(len(self.facts_.classes), 1), self.width, self.dropout)

    def _draw(self, given: Given, rng: np.random.Generator) -> Array:
        there = within(torch.from_numpy(given.lengths), self.layout_.side).expand(-1, self.layout_.planes, -1)
        none = torch.zeros(len(given), dtype=torch.bool)
        blank = torch.zeros(there.shape)
        return self._read(given, none, there, torch.zeros_like(there), blank, int(rng.integers(2**63 - 1)))

    def _filled(self, dataset: Dataset, held: Windows, values: Array, lengths: Array, seed: int) -> Dataset:
        """The rows of `dataset` with these readings (n, channels, t), those that are NaN drawn."""
        if not len(held):
            return dataset
        x, shown = planes(self.layout_, self.scale_, values)
        there = within(torch.from_numpy(lengths), self.layout_.side).expand(-1, self.layout_.planes, -1)
        given, none = self._known_as(dataset, held)
        drawn = self._read(given, torch.from_numpy(none), there, shown & there, x, int(rng_of(seed, 46).integers(2**63 - 1)))
        drawn = drawn[:, :, : values.shape[2]]
        whole = np.where(np.isfinite(values), values, drawn)
        place = dataset.table.column_names.index(SERIES)
        field = dataset.table.schema.field(SERIES)
        return Dataset(dataset.table.set_column(place, field, readings(whole, lengths)), dataset.schema)

    def _known_as(self, dataset: Dataset, held: Windows) -> tuple[Given, Array]:
        """What is asked of each window by its own class and attributes, and for which no class is known: (n,) bool."""
        classes = self.facts_.classes
        names = dataset.table.column(CLASS).to_pylist() if CLASS in dataset.table.column_names else [None] * len(held)
        labels = np.array([classes.index(name) if name in classes else 0 for name in names], dtype=np.int64)
        none = np.array([bool(classes) and name not in classes for name in names], dtype=bool)
        about = np.zeros((len(held), self.layout_.about), dtype=np.float32)
        for k in np.unique(labels):
            about[labels == k] = asked_as(self.facts_, held.take(np.flatnonzero(labels == k)), int(k)).about
        return Given(labels, about, held.lengths), none

    def _read(self, given: Given, none: Tensor, there: Tensor, shown: Tensor, x: Tensor, seed: int) -> Array:
        """Readings (n, channels, side) that go with those shown."""
        device = device_of(self.device)
        net, chance = self.net_.to(device).eval(), torch.Generator(device).manual_seed(seed)
        rows = (torch.from_numpy(given.about), torch.from_numpy(given.labels), none, there, shown, x)
        with one_thread():
            parts = [
                draw(net, tuple(row.to(device) for row in part), self.steps, self.guidance, chance).cpu()
                for part in zip(*(torch.split(row, AT_ONCE) for row in rows), strict=True)
            ]
        whole = torch.cat(parts) if parts else torch.zeros(there.shape)
        return self.scale_.back(whole.numpy())
