"""Where does a row lie among the others, what lies between two, and how unusual is it? A variational autoencoder of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.encode_cells import Ribbon
from data.encode_tokens import Tokens
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, device_of, seal
from generators.tabular._conditions import part_seed, resolve
from generators.tabular._density_train import Training, learn, rules_of, seeded
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
from generators.tabular._token_rows import Fields, class_shares
from generators.tabular._vae_draw import Drawer, tune
from generators.tabular._vae_net import Net, Shape
from generators.tabular._vae_path import path

__all__ = ["VAE"]

Array = np.ndarray
WEIGHTS = "weights.pt"
STATE = "state.json"
#: Rows that one worker draws at a time.
SAMPLE_ROWS = 8192
EPOCHS = 30


@dataclass
class VAE:
    """A variational autoencoder of mixed tables, conditional on the class, with a prior that is learned too.

    Take it for what a latent space is good for: `interpolate` between rows, `encode`, `score`. A condition on the class is
    exact; one on other columns holds in every row, and the others follow it as well as the points that were drawn can.

    Sources: Kingma and Welling 2014 (arXiv 1312.6114); Xu et al. 2019 (TVAE, arXiv 1907.00503), section 4.4; Chen et al. 2017
    (arXiv 1611.02731): a flow as the prior; Higgins et al. 2017 (beta).

    What is different from TVAE, and why. Columns are tokens (data/encode_tokens.py) instead of a normal distribution around one
    mode: bins, exact values and null are all guessed as levels are. Points are drawn from a prior that has learned where rows
    lie, not from a normal distribution that they only lie near. The class is given to encoder, prior and decoder. Rows set
    aside say when to stop, the average of the weights is kept. Biases are tuned last, until drawn columns hold what train's do.

    Fields:
        epochs: passes over the training rows; left out, it is EPOCHS, or as many as make `min_steps` steps.
        batch_size: rows a step; small data use a sixteenth of their rows, at least 32.
        latent: length of a point. width: of the hidden layers. dropout: share of them that is left out in a step.
        beta: weight of the divergence from the prior. 1 is the bound on the likelihood; less makes sharper rows.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay.
        ema: the share of the moving average of the weights that is kept each step.
        held_out: share of the rows that are set aside to see when to stop, at most 5,000; of fewer than 400 rows 40, or a
            fifth; of fewer than 25 none.
        patience: looks (there are 20) without a better figure of those that end the training.
        checkpoint_seconds: how often the state is written while training.
        device: "auto" (a GPU where there is one), "cpu", "cuda".

    Learned: `tokens_` (columns to tokens and back), `ribbon_` (how dense numbers are), `net_`, `shares_` (of classes)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="VAE",
        rows=25,
        rows_of_class=2,
        auc=0.598,
        latent=True,
        scores=True,
        gain=-0.004,
        gain_of_100=-0.008,
        fails=("blur", "diversity"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "latent": Range(8, 64, log=True),
        "width": Range(64, 384, log=True),
        "dropout": Range(0.0, 0.3),
        "beta": Range(0.1, 1.0, log=True),
        "learning_rate": Range(1e-3, 1e-2, log=True),
        "min_steps": Range(300, 2000, log=True),
    }

    epochs: int | None = None
    min_steps: int = 600
    batch_size: int = 512
    latent: int = 32
    width: int = 256
    dropout: float = 0.1
    beta: float = 0.5
    learning_rate: float = 4e-3
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
        self.finish_, self.tokens_ = Finish.fit(train), Tokens.fit(train)
        encoded = self.tokens_.encode(train)
        self.ribbon_ = Ribbon.fit(self.tokens_, train, encoded)
        self._lay_out()
        label = self.fields_.labels(encoded)
        self.shares_ = class_shares(label, self.fields_.classes)
        if not self.fields_.live:
            progress.advance(1, 1, "epoch")
            return self
        live = encoded[:, self.fields_.live]
        with one_thread():
            net = self._net(seed)
            rows, of = torch.from_numpy(live + np.array(self.shape_.starts[:-1])), torch.from_numpy(label)
            net.begin(rows, of)
            net = net.to(device)
            training = Training(net, [rows.to(device), of.to(device)], of, rules_of(self, EPOCHS, seed))
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
            self.net_ = training.average.cpu().eval()
            self.net_.load_state_dict(training.best)
            tune(self.net_, live, label, part_seed(seed, 2**21))
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows in batches of at most SAMPLE_ROWS, drawn by as many workers as there are cores.

        A condition on any columns holds in every row; see the class for how the others follow it.

        Raises GeneratorError for a condition that no training row could hold."""
        wanted = resolve(where, self.finish_.schema)
        given = self.fields_.given(wanted)
        label = given.get(self.fields_.classed) if self.fields_.classed is not None else None
        place = {field: k for k, field in enumerate(self.fields_.live)}
        others = {place[field]: token for field, token in given.items() if field in place}
        drawer = Drawer(self.net_, self.shares_) if self.fields_.live else None
        parts = [(k, min(SAMPLE_ROWS, n - start)) for k, start in enumerate(range(0, n, SAMPLE_ROWS))]

        def draw(part: tuple[int, int]) -> pa.RecordBatch:
            k, rows = part
            own = part_seed(seed, k)
            if drawer is not None:
                live, of = drawer.draw(rows, label, others, own)
            else:
                live = np.zeros((rows, 0), dtype=np.int64)
                of = rng_of(own).choice(len(self.shares_), rows, p=self.shares_) if label is None else np.full(rows, label)
            batch = self.fields_.table(live, of, wanted, rng_of(own, 2))
            return self.finish_(batch, start=k * SAMPLE_ROWS, seed=seed)

        for batches in rounds(draw, parts):
            yield from batches

    def encode(self, rows: Dataset) -> Array:
        """The point of each row, the mean of those it may come from: (n, latent) float64, or (n, 0) where nothing varies.

        Raises DataError for a column that is missing or of another kind."""
        encoded = self.tokens_.encode(rows)
        if not self.fields_.live:
            return np.zeros((len(encoded), 0))
        live = encoded[:, self.fields_.live]
        places = torch.from_numpy(np.where(live < 0, -1, live + np.array(self.shape_.starts[:-1])))
        with one_thread(), torch.no_grad():
            mean, _ = self.net_.encode(places, torch.from_numpy(np.maximum(self.fields_.labels(encoded), 0)))
        return np.asarray(mean.double())

    def interpolate(self, a: Dataset, b: Dataset, steps: int, *, seed: int) -> pa.Table:
        """`steps` rows that lead from one row to another: learned columns; the first is `a`, the last `b`.

        a, b: datasets of one row. The rows between are drawn along a path through the latent space; where the two are of
        different classes, it changes half-way. `seed` draws numbers within their bins.

        Raises GeneratorError for fewer than 2 steps or another number of rows, DataError for a column that is missing."""
        if steps < 2 or a.num_rows != 1 or b.num_rows != 1:
            raise GeneratorError(
                f"interpolate: {steps} steps between {a.num_rows} and {b.num_rows} rows; give two datasets of one row each and "
                "ask for 2 steps or more"
            )
        ends = np.concatenate([self.tokens_.encode(each) for each in (a, b)])
        labels = np.maximum(self.fields_.labels(ends), 0)
        live, of = np.zeros((steps, 0), dtype=np.int64), np.where(np.arange(steps) * 2 < steps, labels[0], labels[1])
        if self.fields_.live:
            with one_thread():
                live, of = path(self.net_, ends[:, self.fields_.live], (int(labels[0]), int(labels[1])), steps)
        between = pa.Table.from_batches([self.fields_.table(live, of, {}, rng_of(seed, 3))])
        first, last = (each.table.select(self.tokens_.names).cast(between.schema) for each in (a, b))
        return pa.concat_tables([first, between.slice(1, steps - 2), last])

    def score(self, rows: Dataset) -> Array:
        """How unusual each row is, in nats: (n,) float64, the negative of a bound on the log of its density.

        The density is that of the learned columns, the class among them: a chance for levels, by standard deviations of train
        for numbers; an exact number at which rows gather, and null, count as spread over as much as numbers of their column
        usually are. A level or null that train did not hold counts as seen once in one more row than train had, a number
        outside its range as rarer still.

        Raises DataError for a column that is missing or of another kind."""
        encoded = self.tokens_.encode(rows)
        nats = self.ribbon_.within(self.tokens_, rows, encoded) + self.ribbon_.evened(self.tokens_, encoded)
        label = self.fields_.labels(encoded)
        nats = nats + np.where(label >= 0, np.log(np.maximum(self.shares_, 1e-300))[label], 0.0)
        if self.fields_.live:
            with one_thread():
                nats = nats + Drawer(self.net_, self.shares_).nats(encoded[:, self.fields_.live], label)
        return np.asarray(-nats)

    def save(self, folder: Path) -> None:
        """Write the weights, the tokens and the envelope. They hold levels and values of the real data."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {"finish": self.finish_.to_state(), "tokens": self.tokens_.to_state(), "ribbon": self.ribbon_.to_state()}
        write_json(folder / STATE, state | {"shares": self.shares_.tolist()})
        torch.save(self.net_.state_dict() if self.fields_.live else {}, folder / WEIGHTS)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        family.finish_, family.tokens_ = Finish.from_state(state["finish"]), Tokens.from_state(state["tokens"])
        family.ribbon_ = Ribbon.from_state(family.tokens_, state["ribbon"])
        family.shares_ = np.array(state["shares"], dtype=np.float64)
        family._lay_out()
        if family.fields_.live:
            family.net_ = family._net(0).eval()
            family.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self, train: Dataset) -> None:
        refuse(train)
        at_least(self, 1, "epochs", "batch_size", "width", "patience")
        at_least(self, 2, "latent")
        at_least(self, 0, "min_steps", "decay", "learning_rate", "beta")
        at_most(self, dropout=0.9, ema=0.99999, held_out=0.5)

    def _lay_out(self) -> None:
        self.fields_ = fields = Fields.of(self.tokens_, self.finish_.schema)
        self.shape_ = Shape(fields.sizes, fields.ranks, fields.inner, fields.classes)

    def _net(self, seed: int) -> Net:
        with seeded(int(rng_of(seed, 32).integers(2**31)), torch.device("cpu")):
            return Net(self.shape_, self.latent, self.width, self.dropout, self.beta)
