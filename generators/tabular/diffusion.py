"""A coarse row first, then its numbers: cascaded flow matching of mixed tables."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.encode_detail import Detail, stretch
from data.encode_tokens import LevelTokens, NumberTokens
from data.schema import arrow_type
from generators import _stored as stored
from generators.base import SILENT, Condition, Progress, Range, Traits, device_of, seal
from generators.tabular._conditions import resolve
from generators.tabular._density_train import Training, learn, rules_of, seeded
from generators.tabular._diffusion_net import Net
from generators.tabular._diffusion_start import MOST, Start
from generators.tabular._table import at_least, at_most, mark_of, one_thread, open_model, refuse, rng_of
from generators.tabular.autoregressive import Autoregressive

__all__ = ["Diffusion"]

Array = np.ndarray
WEIGHTS, COARSE = "weights.pt", "coarse"
EPOCHS = 20
#: Rows whose numbers are drawn together, and on a GPU.
CHUNK, GPU_CHUNK = 2048, 131_072
#: At most so many pairs of numbers of such rows.
ROOM, GPU_ROOM = 2**22, 2**27


@dataclass
class Diffusion:
    """Draws a coarse row, then where in their bins its numbers lie, all of them together.

    The coarse row is the autoregressive family's, with few bins for each column of numbers: levels, exact numbers at which rows
    gather, null and bins are its tokens. Where numbers lie in their bins is drawn by flow matching: a velocity, told the
    tokens, carries what a Gaussian copula says of the row to places in a few steps. Take it for continuous columns that depend
    on one another more finely than bins say; where all columns are levels or repeat few values it is the autoregressive family,
    and slower to draw.

    Sources: Mueller et al. 2026 (Cascaded Flow Matching, arXiv 2601.22816); Lipman et al. 2023 (arXiv 2210.02747); Ho and
    Salimans 2022 (classifier-free guidance, arXiv 2207.12598). What is different is said in _diffusion_net.py.

    A condition on any columns is exact: its tokens come first, a number that it names is shown to the velocity of the others.

    Fields:
        epochs: passes over the training rows, of both stages; left out, it is EPOCHS, or as many as make `min_steps` steps, for
            the numbers, and the autoregressive family's own for the coarse row.
        batch_size: rows a step for the numbers; small data use a sixteenth of their rows, at least 32.
        bins: of a column of numbers, at most, before rare classes cut them.
        width, depth: of the velocity's hidden layers, and how many pairs of them. dropout: share that is left out in a step.
        steps: evaluations of the velocity for a row, two for each step of Heun's method; 4 draw twice as fast, hardly worse.
        guidance: how much of what the class says is taken, in both stages: 1 as learned, 2 for rows typical of their class.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay.
        ema: the share of the moving average of the weights that is kept each step.
        held_out: share of the rows that are set aside to see when to stop, at most 5,000; of fewer than 400 rows 40, or a
            fifth; of fewer than 25 none.
        patience: looks (there are 20) without a better figure of those that end a stage.
        checkpoint_seconds: how often the state is written while training.
        device: "auto" (a GPU where there is one), "cpu", "cuda".

    Learned: `coarse_` (the family of coarse rows), `detail_` (places within bins), `net_` (the velocity)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="diffusion",
        rows=25,
        rows_of_class=2,
        auc=0.535,
        passes=30,
        gain=-0.003,
        gain_of_100=0.001,
        fails=("slow", "privacy"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "width": Range(64, 256, log=True),
        "depth": Range(1, 5),
        "dropout": Range(0.0, 0.4),
        "bins": Range(4, 24, log=True),
        "steps": Range(4, 16),
        "learning_rate": Range(3e-4, 3e-3, log=True),
        "min_steps": Range(300, 2000, log=True),
        "guidance": Range(0.8, 1.5),
    }

    epochs: int | None = None
    min_steps: int = 600
    batch_size: int = 512
    bins: int = 8
    width: int = 128
    depth: int = 3
    dropout: float = 0.2
    steps: int = 8
    guidance: float = 1.0
    learning_rate: float = 1e-3
    decay: float = 0.01
    ema: float = 0.999
    held_out: float = 0.1
    patience: int = 6
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one.

        Raises GeneratorError when there is nothing to learn, a setting makes no sense, or the loss stops being a number;
        DataError when a column holds infinite values."""
        self._check(train)
        device = device_of(self.device)
        kept = None if checkpoint is None else checkpoint / COARSE
        self.coarse_ = self._family().fit(train, seed=seed, progress=progress, checkpoint=kept)
        self.detail_ = Detail.of(self.coarse_.tokens_)
        if not self.detail_.columns:
            return self
        encoded = self.coarse_.tokens_.encode(train)
        net = self._net(seed)
        label = None if net.classed is None else torch.from_numpy(encoded[:, net.classed])
        rows = [torch.from_numpy(part).to(device) for part in (encoded, *self.detail_.places(train, encoded))]
        with one_thread():
            training = Training(net.to(device), rows, label, rules_of(self, EPOCHS, seed))
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
            self.net_ = training.average.cpu().eval()
            self.net_.load_state_dict(training.best)
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows in batches, drawn by as many workers as there are cores.

        A condition on any columns is exact. Without one, as many rows as train's or more hold every level of five training
        rows.

        Raises GeneratorError for a condition that no training row could hold."""
        wanted, device = resolve(where, self.coarse_.finish_.schema), device_of(self.device)
        net = copy.deepcopy(self.net_).to(device) if self.detail_.columns else None

        def values(tokens: Array, own: int) -> dict[str, pa.Array]:
            within = self.detail_.within(self._places(net, tokens, wanted, own))
            return self.coarse_.tokens_.decode(tokens, np.random.default_rng([own, 1]), within)

        yield from self.coarse_.drawn(n, wanted, seed, values)

    def save(self, folder: Path) -> None:
        """Write the coarse family, the weights and the envelope. They hold levels and values of the real data."""
        self.coarse_.save(folder / COARSE)
        torch.save(self.net_.state_dict() if self.detail_.columns else {}, folder / WEIGHTS)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        family.coarse_ = Autoregressive.load(folder / COARSE)
        family.detail_ = Detail.of(family.coarse_.tokens_)
        if family.detail_.columns:
            family.net_ = family._net(0).eval()
            family.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self, train: Dataset) -> None:
        refuse(train)
        at_least(self, 1, "epochs", "batch_size", "width", "depth", "patience", "bins")
        at_least(self, 2, "steps")
        at_least(self, 0, "min_steps", "decay", "learning_rate", "guidance")
        at_most(self, dropout=0.9, ema=0.99999, held_out=0.5)

    def _family(self) -> Autoregressive:
        own = ("epochs", "bins", "guidance", "held_out", "patience", "checkpoint_seconds", "device")
        return Autoregressive(parts=False, **{name: getattr(self, name) for name in own})

    def _net(self, seed: int) -> Net:
        tokens, target = self.coarse_.tokens_, self.coarse_.finish_.schema.target
        classed = tokens.fields(target)[0] if target in tokens.names and isinstance(tokens[target], LevelTokens) else None
        begin = [0, *np.cumsum(tokens.sizes).tolist()]
        low, wide = self.detail_.table()
        order = self._order()
        start = Start(begin, order, self.detail_.fields, classed) if len(order) <= MOST else None
        with seeded(int(rng_of(seed, 35).integers(2**31)), torch.device("cpu")):
            return Net(begin, self.detail_.fields, low, wide, classed, self.width, self.depth, self.dropout, start)

    def _order(self) -> dict[int, Array]:
        """Field of each column of numbers -> its tokens from low to high, without null."""
        out, tokens = {}, self.coarse_.tokens_
        for column in tokens.columns:
            ranks = column.ranks()
            if isinstance(column, NumberTokens) and not np.isnan(ranks).all():
                out[tokens.fields(column.name)[0]] = np.argsort(ranks, kind="stable")[: int((~np.isnan(ranks)).sum())]
        return out

    def _places(self, net: Net | None, tokens: Array, wanted: Condition, seed: int) -> Array:
        """Where the numbers of coarse rows lie along their bins: (n, columns)."""
        out = np.zeros((len(tokens), len(self.detail_.columns)))
        if net is None:
            return out
        device = net.low.device
        chance, given = torch.Generator(device).manual_seed(seed), self._given(tokens, wanted, seed)
        rows, room = (CHUNK, ROOM) if device.type == "cpu" else (GPU_CHUNK, GPU_ROOM)
        chunk = min(rows, max(room // len(self.detail_.columns) ** 2, 1))
        for first in range(0, len(tokens), chunk):
            part = slice(first, first + chunk)
            own, known = torch.from_numpy(tokens[part]).to(device), given[part].to(device)
            out[part] = net.draw(own, known, self.steps, self.guidance, chance).cpu().numpy()
        return out

    def _given(self, tokens: Array, wanted: Condition, seed: int) -> torch.Tensor:
        """The places of numbers that a condition names, (n, columns) float32, NaN elsewhere."""
        out = np.full((len(tokens), len(self.detail_.columns)), np.nan, dtype=np.float32)
        for k, (column, field) in enumerate(zip(self.detail_.columns, self.detail_.fields, strict=True)):
            if wanted.get(column.name) is not None:
                value = pa.array([wanted[column.name]], type=arrow_type(column.scale.dtype))
                low, high = stretch(column, np.repeat(column.scale.read(value, column.name), len(tokens)), tokens[:, field])
                out[:, k] = low + rng_of(seed, k).random(len(tokens)) * (high - low)
        return torch.from_numpy(out)
