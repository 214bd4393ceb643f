"""How dense are rows here? A normalising flow of mixed tables, whose likelihood is worked out and not bounded."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.encode_cells import Ribbon
from data.encode_tokens import NumberTokens, Tokens
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, device_of, seal
from generators.tabular._conditions import matching, part_seed, place_of, resolve
from generators.tabular._density_train import CHUNK, Training, learn, rules_of, seeded
from generators.tabular._table import (
    Finish,
    at_least,
    at_most,
    mark_of,
    one_thread,
    open_model,
    refuse,
    rng_of,
    rounds,
    write_json,
)
from generators.tabular._token_rows import Fields, class_shares, shared_out

if TYPE_CHECKING:
    from generators.tabular._flow_net import Net

__all__ = ["Flow"]

Array = np.ndarray
WEIGHTS = "weights.pt"
STATE = "state.json"
#: Rows drawn at a time, and passes over the rows.
SAMPLE_ROWS, EPOCHS = 8192, 40
#: Columns that are learned at most: drawing a row takes a step for each, and each step works through what all of them say.
COLUMNS = 400
#: Points in the intervals of states over which a likelihood is averaged.
POINTS = 16


@dataclass
class Flow:
    """An autoregressive spline flow of mixed tables, conditional on the class.

    Every column is laid along the unit interval so that train fills it evenly (data/encode_cells.py): numbers by their rank,
    levels, exact values and null as stretches as long as their share, in which a row lies anywhere. The flow learns what ties
    the columns, that is their copula, given the class. So columns by themselves are right before anything is learned, and
    `log_likelihood` is exact for the point in the cube that a row has become.

    Sources: Durkan et al. 2019 (Neural Spline Flows, arXiv 1906.04032); Kamthe et al. 2021 (Copula Flows, arXiv 2101.00598):
    marginals first; Theis et al. 2016 (arXiv 1511.01844): dequantisation. The splines are zuko's.

    A condition on the class is exact; rows that miss one on other columns are thrown away.

    Fields:
        epochs: passes over the training rows; left out, it is EPOCHS, or as many as make `min_steps` steps.
        batch_size: rows a step; small data use a sixteenth of their rows, at least 32.
        bins: of each spline. width: hidden units for each column, in all at least 128 and at most 1,024.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay.
        ema: the share of the moving average of the weights that is kept each step.
        held_out: share of the rows that are set aside to see when to stop, at most 5,000; of fewer than 400 rows 40, or a
            fifth; of fewer than 25 none.
        patience: looks (there are 20) without a better figure of those that end the training.
        checkpoint_seconds: how often the state is written while training.
        device: "auto" (a GPU where there is one), "cpu", "cuda".

    Learned: `tokens_` (columns to tokens and back), `ribbon_` (the unit intervals), `net_`, `shares_` (of classes)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="normalising flow",
        rows=25,
        rows_of_class=2,
        auc=0.57,
        latent=True,
        scores=True,
        gain=0.021,
        gain_of_100=0.005,
        fails=("slow", "diversity"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "bins": Range(8, 32, log=True),
        "width": Range(8, 48, log=True),
        "learning_rate": Range(5e-4, 5e-3, log=True),
        "decay": Range(1e-3, 0.1, log=True),
        "min_steps": Range(200, 1500, log=True),
    }

    epochs: int | None = None
    min_steps: int = 400
    batch_size: int = 512
    bins: int = 16
    width: int = 16
    learning_rate: float = 2e-3
    decay: float = 0.01
    ema: float = 0.999
    held_out: float = 0.1
    patience: int = 6
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def ready(self) -> None:
        """Raises GeneratorError where zuko is not installed."""
        if importlib.util.find_spec("zuko") is None:
            raise GeneratorError("generator.use: flow needs zuko, which is not installed; run `make setup`, or use vae")

    def refuse(self, train: Dataset) -> None:
        """Raises GeneratorError for what `fit` would refuse at once."""
        refuse(train)
        if (count := len(train.schema.learned)) > COLUMNS:
            raise GeneratorError(f"generator.use: flow learns at most {COLUMNS} columns and there are {count}; use vae")

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one.

        Raises GeneratorError when there is nothing to learn or too much, a setting makes no sense, zuko is missing, or the loss
        stops being a number; DataError when a column holds infinite values."""
        self._check(train)
        device = device_of(self.device)
        self.finish_, self.tokens_ = Finish.fit(train), Tokens.fit(train)
        encoded = self.tokens_.encode(train)
        self.ribbon_ = Ribbon.fit(self.tokens_, train, encoded)
        self._lay_out()
        label = self.fields_.labels(encoded)
        self.shares_ = class_shares(label, self.fields_.classes)
        if not self.live_:
            progress.advance(1, 1, "epoch")
            return self
        start, end, _ = self.ribbon_.place(self.tokens_, train, encoded)
        of = torch.from_numpy(label)
        rows = [torch.from_numpy(side[:, self.live_]).to(device) for side in (start, end)]
        with one_thread():
            training = Training(self._net(seed).to(device), [*rows, of.to(device)], of, rules_of(self, EPOCHS, seed))
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
        self.net_ = training.average.cpu().eval()
        self.net_.load_state_dict(training.best)
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows in batches of at most SAMPLE_ROWS.

        A condition on the class is drawn directly; one on other columns is met by drawing and throwing away.

        Raises GeneratorError for a condition that no training row could hold, or that the model hardly ever meets."""
        wanted = resolve(where, self.finish_.schema)
        given = self.fields_.given(wanted)
        target = self.finish_.schema.target if self.fields_.classed is not None else None
        label = given.get(self.fields_.classed) if self.fields_.classed is not None else None
        own = {name: value for name, value in wanted.items() if name == target}
        rest = {name: value for name, value in wanted.items() if name != target}
        for name, value in rest.items():
            self._makes(name, value)
        start = 0

        def draw(rows: int, part: int) -> pa.RecordBatch:
            rng = rng_of(part, 1)
            of = np.full(rows, label) if label is not None else shared_out(rows, self.shares_, rng)
            return self.fields_.table(self._drawn(of, part), of, own, rng)

        for batch in matching(draw, n, rest, seed=part_seed(seed, 2**20), rows=SAMPLE_ROWS):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def log_likelihood(self, rows: Dataset) -> Array:
        """The log of the density of each row: (n,) float64 nats.

        What it is a density of: all learned columns together, the class among them. A number has a density by standard
        deviations of train, even within a bin's part; a level, an exact number, a number on a grid and null have a chance.
        For the point in the unit cube that a row becomes the flow's density is exact; as a state is a stretch of the interval
        and no point, the mean is taken over POINTS points of it, the same for all rows: an unbiased estimate of its chance.
        Where all is continuous, nothing is left to average.

        A level or null that train did not hold counts as seen once in one more row than train had, a number outside its range
        as rarer still. Raises DataError for a column that is missing or of another kind."""
        encoded = self.tokens_.encode(rows)
        start, end, nats = self.ribbon_.place(self.tokens_, rows, encoded)
        label = np.maximum(self.fields_.labels(encoded), 0)
        total = nats.sum(axis=1)
        if self.live_:
            with one_thread():
                total = total + self._nats(start[:, self.live_], end[:, self.live_], label)
        return np.asarray(total)

    def score(self, rows: Dataset) -> Array:
        """How unusual each row is, in nats: (n,) float64, the negative log-likelihood made comparable between rows.

        An exact number at which rows gather, and null, count as spread over as much as numbers of their column usually are:
        chances would make such rows look odd beside densities. Raises DataError as `log_likelihood` does."""
        return np.asarray(-(self.log_likelihood(rows) + self.ribbon_.evened(self.tokens_, self.tokens_.encode(rows))))

    def save(self, folder: Path) -> None:
        """Write the weights, the tokens and the envelope. They hold levels and values of the real data."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {"finish": self.finish_.to_state(), "tokens": self.tokens_.to_state(), "ribbon": self.ribbon_.to_state()}
        write_json(folder / STATE, state | {"shares": self.shares_.tolist()})
        torch.save(self.net_.state_dict() if self.live_ else {}, folder / WEIGHTS)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        family.ready()
        state = json.loads((folder / STATE).read_text())
        family.finish_, family.tokens_ = Finish.from_state(state["finish"]), Tokens.from_state(state["tokens"])
        family.ribbon_ = Ribbon.from_state(family.tokens_, state["ribbon"])
        family.shares_ = np.array(state["shares"], dtype=np.float64)
        family._lay_out()
        if family.live_:
            family.net_ = family._net(0).eval()
            family.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self, train: Dataset) -> None:
        self.ready()
        self.refuse(train)
        at_least(self, 1, "epochs", "batch_size", "width", "patience")
        at_least(self, 2, "bins")
        at_least(self, 0, "min_steps", "decay", "learning_rate")
        at_most(self, ema=0.99999, held_out=0.5)

    def _lay_out(self) -> None:
        """The class, and the columns that hold anything to learn: places among the learned ones."""
        self.fields_ = Fields.of(self.tokens_, self.finish_.schema)
        classed = self.fields_.classed
        self.live_ = [
            k
            for k, cells in enumerate(self.ribbon_.cells)
            if len(cells.known) > 1 and (classed is None or self.tokens_.fields(cells.column.name)[0] != classed)
        ]

    def _makes(self, name: str, value: object) -> None:
        """Raises GeneratorError for a number between those of train where only these are drawn: no row would be left."""
        column = self.tokens_[name]
        if isinstance(column, NumberTokens) and value is not None:
            if not column.makes(place_of(column.scale, value, name)):
                raise GeneratorError(
                    f"where.{name}: no training row holds {value}, and generator.use: flow draws only theirs there; name one "
                    "that was seen, or use a family that sets any number of the range (generator.use: autoregressive)"
                )

    def _net(self, seed: int) -> Net:
        from generators.tabular._flow_net import Net

        bounds = [self.ribbon_.cells[k].first()[0] for k in self.live_]
        with seeded(int(rng_of(seed, 32).integers(2**31)), torch.device("cpu")):
            return Net(bounds, self.fields_.classes, self.bins, self.width)

    def _drawn(self, label: Array, seed: int) -> Array:
        """Tokens of the live fields, (n, live fields), of rows of these classes."""
        out = np.zeros((len(label), len(self.tokens_.sizes)), dtype=np.int64)
        if self.live_:
            parts = list(enumerate(range(0, len(label), CHUNK)))

            def draw(part: tuple[int, int]) -> Array:
                k, first = part
                chance = torch.Generator().manual_seed(part_seed(seed, k))
                return np.asarray(self.net_.draw(torch.from_numpy(label[first : first + CHUNK]), chance))

            drawn = [points for done in rounds(draw, parts) for points in done]
            points = np.concatenate(drawn) if drawn else np.zeros((0, len(self.live_)))
            for place, k in enumerate(self.live_):
                cells = self.ribbon_.cells[k]
                out[:, self.tokens_.fields(cells.column.name)] = cells.tokens(points[:, place])
        return out[:, self.fields_.live]

    @torch.no_grad()
    def _nats(self, start: Array, end: Array, label: Array) -> Array:
        """The log of the mean density over POINTS points of each row's intervals, (n,); one point where they are points."""
        count = POINTS if (start < end).any() else 1
        along = np.random.default_rng(POINTS).random((count, start.shape[1]))
        out = np.empty(len(start))
        for first in range(0, len(start), CHUNK):
            part = slice(first, first + CHUNK)
            of, low, wide = torch.from_numpy(label[part]), start[part], end[part] - start[part]
            each = [self.net_.nats(torch.from_numpy(low + wide * place), of).double() for place in along]
            out[part] = torch.logsumexp(torch.stack(each), dim=0).numpy() - math.log(count)
        return out
