"""What comes next in a row? An any-order autoregressive network over tokens: fast, and exact in its conditions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from data.dataset import Dataset
from data.encode_cells import Ribbon, spans
from data.encode_tokens import BINS, FINE, LevelTokens, NumberTokens, Tokens
from data.encode_values import plain
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, device_of, seal
from generators.tabular._autoregressive_draw import Drawer
from generators.tabular._autoregressive_levels import Awaited
from generators.tabular._autoregressive_net import Fields, Net
from generators.tabular._autoregressive_never import Never, states_of
from generators.tabular._autoregressive_train import Training
from generators.tabular._autoregressive_tune import temper, tune
from generators.tabular._conditions import part_seed, resolve
from generators.tabular._density_train import learn, rules_of
from generators.tabular._table import Finish, at_least, at_most, mark_of, one_thread, open_model, refuse, rounds, write_json
from generators.tabular._token_rows import asked, repeated

__all__ = ["Autoregressive"]

Array = np.ndarray
WEIGHTS = "weights.pt"
STATE = "state.json"
#: Rows that one worker draws at a time, and with a GPU.
SAMPLE_ROWS, GPU_ROWS = 32_768, 262_144
#: Passes over the rows.
EPOCHS = 16
#: Tables of more fields take fewer steps than `min_steps`, in proportion.
MANY = 300


@dataclass
class Autoregressive:
    """Guesses the columns of a row one by one, each given those before it, in any order.

    Columns become tokens: levels, frequent numbers, bins of the others, and null (data/encode_tokens.py); within a bin a
    number is drawn from train's own distribution there. One network learns every column given any others; rows are
    drawn in one order, the class first, then from few tokens to many. A condition on any columns is exact and costs nothing:
    the columns that it names come first.

    Sources: Tiwald et al. 2025 (TabularARGN, arXiv 2501.12012): discretised columns, any order, one small net a column;
    Uria et al. 2014 (arXiv 1310.1757): orders drawn at random while training; Germain et al. 2015 (MADE, arXiv
    1502.03509): masks that hide what comes later.

    What is different, and why. Inputs add up, a table of vectors for each pair of columns, so that drawing the next column is
    a few look-ups and two small products. Numbers begin as waves along their ranks, so that neighbours share what is learned.
    Half of the steps take the order in which rows are drawn: the order that is used most is learned best. Rows are set aside,
    and the average of the weights that guesses them best is kept. Biases are tuned last, until drawn columns hold what train's
    do. Rows of one prefix are drawn together.

    Fields:
        epochs: passes over the training rows; left out, it is EPOCHS, or as many as make `min_steps` steps (fewer for
            tables of more than MANY fields).
        batch_size: rows a step; small data use a sixteenth of their rows, at least 32.
        width: of each column's layer. dropout: share of it that is left out in a step.
        learning_rate: of Adam; it falls along a cosine. decay: weight decay.
        any_order: share of steps in an order drawn at random; 0 learns one order, and conditions on other columns suffer.
        first: columns that rows are drawn by, in order, before all others: those that `complete` is given belong here.
        bins: of a column of numbers, at most, before rare classes cut them. parts: whether a second token tells parts of bins.
        guidance: how much of what the class says of other columns is taken while drawing: 1 as learned, 2 for typical rows.
        ema: the share of the moving average of the weights that is kept each step.
        held_out: share of the rows that are set aside to see when to stop, at most 5,000; of fewer than 400 rows 40, or a
            fifth; of fewer than 25 none.
        patience: looks (there are 20) without a better guess of those that end the training.
        checkpoint_seconds: how often the state is written while training.
        device: "auto" (a GPU where there is one), "cpu", "cuda".

    Learned: `tokens_` (columns to tokens and back), `ribbon_` (how dense numbers are), `net_`, `order_` (fields as they
    are drawn), `finish_`, `rows_`."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="autoregressive",
        rows=25,
        rows_of_class=2,
        auc=0.537,
        scores=True,
        gain=-0.014,
        gain_of_100=-0.006,
        fails=("privacy",),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "width": Range(32, 192, log=True),
        "dropout": Range(0.0, 0.5),
        "learning_rate": Range(1e-3, 8e-3, log=True),
        "decay": Range(0.05, 2.0, log=True),
        "min_steps": Range(600, 4000, log=True),
        "bins": Range(16, 64),
        "guidance": Range(0.8, 1.5),
    }

    epochs: int | None = None
    min_steps: int = 1500
    batch_size: int = 256
    width: int = 64
    dropout: float = 0.2
    learning_rate: float = 3e-3
    decay: float = 0.5
    any_order: float = 0.5
    first: tuple[str, ...] = ()
    bins: int = BINS
    parts: bool = True
    guidance: float = 1.0
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
        self.finish_, self.tokens_, self.rows_ = Finish.fit(train), self._tokens(train), train.num_rows
        self._lay_out()
        encoded = self.tokens_.encode(train)
        self.ribbon_ = Ribbon.fit(self.tokens_, train, encoded, numbers=True)
        tokens = encoded[:, self.live_]
        if not len(self.live_):
            progress.advance(1, 1, "epoch")
            return self
        rules = rules_of(self, EPOCHS, seed)
        # Each step of a very wide table is dear, and many columns say much of each row.
        rules = replace(rules, least=round(rules.least * min(1.0, MANY / len(self.live_))))
        starts = np.array(self.fields_.starts[:-1])
        with one_thread():
            ids = torch.from_numpy(tokens + starts).to(device)
            training = Training(self.fields_, self.width, self.dropout, self.any_order, rules, ids, self.order_)
            mark = mark_of(self, train, seed) if checkpoint else ""
            learn(training, progress, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
            self.net_ = training.average.cpu().eval()
            self.net_.load_state_dict(training.best)
            self.net_.never = Never.fit([states_of(self.tokens_)[k] for k in self.live_], tokens)
            if len(held := training.held[0]):
                temper(self.net_, held.cpu().numpy() - starts, self.order_)
            tune(self.net_, tokens, self.order_, part_seed(seed, 2**21))
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows in batches of at most SAMPLE_ROWS (GPU_ROWS), drawn by as many workers as there are cores.

        A condition on any columns is exact: those columns are set, the others drawn given them. Without one, as many rows as
        train's or more hold every level of five training rows: rows of the last batch make room for those that chance left out.

        Raises GeneratorError for a condition that no training row could hold."""
        wanted = resolve(where, self.finish_.schema)

        def values(tokens: Array, own: int) -> dict[str, pa.Array]:
            return self.tokens_.decode(tokens, np.random.default_rng([own, 1]))

        yield from self.drawn(n, wanted, seed, values)

    def drawn(
        self, n: int, wanted: Mapping[str, Any], seed: int, values: Callable[[Array, int], dict[str, pa.Array]]
    ) -> Iterator[pa.RecordBatch]:
        """What `sample` yields, of a condition that is resolved.

        values: makes the columns from tokens (rows, fields) and a seed for these rows."""
        given, order = self._given(wanted)
        device = device_of(self.device)
        most = SAMPLE_ROWS if device.type == "cpu" else GPU_ROWS
        parts = [(k, min(most, n - start)) for k, start in enumerate(range(0, n, most))]
        drawer = Drawer(self.net_, self.guidance, device) if len(self.live_) else None

        def finish(k: int, tokens: Array) -> pa.RecordBatch:
            columns = values(tokens, part_seed(seed, k))
            columns |= {name: repeated(value, columns[name].type, len(tokens)) for name, value in wanted.items()}
            return self.finish_(pa.RecordBatch.from_pydict(columns), start=k * most, seed=seed)

        def draw(part: tuple[int, int]) -> tuple[int, Array, pa.RecordBatch]:
            k, rows = part
            tokens = np.zeros((rows, len(self.tokens_.sizes)), dtype=np.int64)
            if drawer is not None:
                tokens[:, self.live_] = drawer.draw(rows, order, given, part_seed(seed, k))
            return k, tokens, finish(k, tokens)

        awaited = Awaited(self.tokens_, n if not wanted else 0, self.rows_)
        for made in rounds(draw, parts):
            for _, tokens, _ in made:
                awaited.note(tokens)
            k, tokens, _ = made[-1]
            if k == len(parts) - 1 and drawer is not None:
                with one_thread():
                    changed = awaited.add(tokens, drawer, order, self.place_, part_seed(seed, 2**22))
                made[-1] = (k, tokens, finish(k, tokens)) if changed else made[-1]
            yield from (batch for *_, batch in made)

    def complete(self, known: pa.Table, *, seed: int, only: Sequence[str] | None = None) -> dict[str, pa.Array]:
        """A row for each row of `known`, whose columns are given: column -> its values, drawn given them.

        A null is a value here; what train never held is as good as not known. only: the columns that are drawn, all others if
        None; those of `known` are not among what comes back. Raises KeyError for a column that train did not hold."""
        drawn = [name for name in (only or self.tokens_.names) if name not in known.column_names]
        tokens = np.full((known.num_rows, len(self.tokens_.sizes)), -1, dtype=np.int64)
        for name in known.column_names:
            fields = self.tokens_.fields(name)
            tokens[:, fields.start : fields.stop] = self.tokens_[name].encode(known.column(name))
        asked = {self.place_[f] for name in drawn for f in self.tokens_.fields(name) if f in self.place_}
        given = {self.place_[f] for name in known.column_names for f in self.tokens_.fields(name) if f in self.place_}
        if asked and known.num_rows:
            order = [field for field in self.order_ if field in asked | given]
            with one_thread():
                live = Drawer(self.net_).fill(tokens[:, self.live_], order, {}, part_seed(seed, 2**23))
            tokens[:, self.live_] = live
        rng = np.random.default_rng([part_seed(seed, 2**23), 1])
        out = {}
        for name in drawn:
            fields = self.tokens_.fields(name)
            out[name] = self.tokens_[name].decode(np.maximum(tokens[:, fields.start : fields.stop], 0), rng)
        return out

    def log_likelihood(self, rows: Dataset) -> Array:
        """Nats of each row, of its tokens in the order in which rows are drawn: (n,) float64.

        A level or null that train did not hold, or a number outside its range, counts as seen once in one more row than train
        had. Raises DataError for a column that is missing or of another kind."""
        tokens = self.tokens_.encode(rows)
        unseen = (tokens < 0).sum(axis=1) + self.tokens_.outside(rows)
        return np.asarray(self._nats(tokens) - unseen * math.log(self.rows_ + 1))

    def score(self, rows: Dataset) -> Array:
        """How unusual each row is, in nats: (n,) float64.

        The negative log-likelihood of its tokens, and of its numbers within them: a number is as likely as its bin and as dense
        as train lies there, so that one far from all others counts as odd (data/encode_cells.py)."""
        tokens, at = self.tokens_.encode(rows), spans(self.tokens_)
        nats = self._nats(tokens) + self.ribbon_.within(self.tokens_, rows, tokens) + self.ribbon_.evened(self.tokens_, tokens)
        for column in self.tokens_.columns:
            if not isinstance(column, NumberTokens):
                unseen = (tokens[:, at[column.name]] < 0).any(axis=1) | column.outside(rows.column(column.name))
                nats = nats - unseen * math.log(self.rows_ + 1)
        return np.asarray(-nats)

    def _nats(self, tokens: Array) -> Array:
        """Log-likelihood of tokens (n, fields), those below 0 left out: (n,)."""
        if not len(self.live_):
            return np.zeros(len(tokens))
        with one_thread():
            return Drawer(self.net_).nats(tokens[:, self.live_], self.order_)

    def impute(self, rows: Dataset, *, seed: int) -> pa.Table:
        """The rows with each null drawn given what is known of its row; null itself is never drawn where train has values.

        Values that are known stay as they are. Raises DataError for a column that is missing or of another kind."""
        tokens = self.tokens_.encode(rows)
        filled, empty = tokens.copy(), self.tokens_.missing(rows)
        if len(self.live_):
            known = np.where(empty, -1, tokens)[:, self.live_]
            with one_thread():
                filled[:, self.live_] = Drawer(self.net_).fill(known, self.order_, self._nulls(), part_seed(seed, 2**20))
        columns = self.tokens_.decode(np.maximum(filled, 0), np.random.default_rng([part_seed(seed, 2**20), 1]))
        table = rows.table
        for name, drawn in columns.items():
            place = table.schema.get_field_index(name)
            mended = _filled(table.column(name).combine_chunks(), drawn, empty[:, self.tokens_.fields(name)[0]])
            table = table.set_column(place, table.schema.field(place).with_type(mended.type), pa.chunked_array([mended]))
        return table

    def save(self, folder: Path) -> None:
        """Write the weights, the tokens and the envelope. They hold levels and values of the real data."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {"finish": self.finish_.to_state(), "tokens": self.tokens_.to_state(), "ribbon": self.ribbon_.to_state()}
        never = self.net_.never.to_state() if len(self.live_) else []
        write_json(folder / STATE, state | {"rows": self.rows_, "never": never})
        torch.save(self.net_.state_dict() if len(self.live_) else {}, folder / WEIGHTS)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        family.finish_, family.tokens_ = Finish.from_state(state["finish"]), Tokens.from_state(state["tokens"])
        family.rows_, family.ribbon_ = state["rows"], Ribbon.from_state(family.tokens_, state["ribbon"], numbers=True)
        family._lay_out()
        if len(family.live_):
            with torch.random.fork_rng(devices=[]):
                family.net_ = Net(family.fields_, family.width).eval()
            family.net_.never = Never.from_state(state["never"])
            family.net_.load_state_dict(stored.weights(folder / WEIGHTS))
        return family

    def _check(self, train: Dataset) -> None:
        refuse(train)
        at_least(self, 1, "epochs", "batch_size", "width", "patience", "bins")
        at_least(self, 0, "min_steps", "decay", "learning_rate", "guidance")
        at_most(self, dropout=0.9, any_order=1.0, ema=0.99999, held_out=0.5)
        learned = [column.name for column in train.schema.learned]
        if lost := [name for name in self.first if name not in learned]:
            raise GeneratorError(
                f"generator.first: there is no column {lost[0]!r} to learn; the columns are {', '.join(learned)}"
            )

    def _tokens(self, train: Dataset) -> Tokens:
        return Tokens.fit(train, calendar=True, bins=self.bins, fine=FINE if self.parts else 1)

    def _lay_out(self) -> None:
        """The fields that hold anything to guess, and the order in which they are drawn."""
        sizes = self.tokens_.sizes
        self.live_ = np.flatnonzero(np.array(sizes) > 1)
        ranks = np.concatenate([column.ranks() for column in self.tokens_.columns])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        kept = np.isin(owner, self.live_)
        self.place_ = place = {int(field): k for k, field in enumerate(self.live_)}
        target = self.finish_.schema.target
        classes = target if target in self.tokens_.names and isinstance(self.tokens_[target], LevelTokens) else None
        classed = place.get(self.tokens_.fields(classes)[0]) if classes is not None else None
        numbers = [self.tokens_.fields(c.name)[0] for c in self.tokens_.columns if isinstance(c, NumberTokens)]
        told = tuple(place[field] for field in numbers if field in place)
        self.fields_ = Fields(tuple(sizes[i] for i in self.live_), tuple(ranks[kept].tolist()), classed, told)

        def rank(name: str) -> tuple[int, bool, int]:
            early = self.first.index(name) if name in self.first else len(self.first)
            return (early, name != classes, max(sizes[i] for i in self.tokens_.fields(name)))

        names = sorted((column.name for column in self.tokens_.columns), key=rank)
        self.order_ = [place[i] for name in names for i in self.tokens_.fields(name) if i in place]

    def _nulls(self) -> dict[int, int]:
        """Live field -> its token for null, where there are others."""
        out = {}
        for column in self.tokens_.columns:
            field = self.tokens_.fields(column.name)[0]
            if column.nulls and field in self.place_:
                out[self.place_[field]] = column.sizes[0] - 1
        return out

    def _given(self, wanted: Mapping[str, Any]) -> tuple[dict[int, int], list[int]]:
        """The condition as tokens of live fields, and the order that begins with them. Raises GeneratorError."""
        place = self.place_
        given: dict[int, int] = {}
        for name, value in wanted.items():
            tokens = asked(self.tokens_[name], value)
            given |= {place[f]: t for f, t in zip(self.tokens_.fields(name), tokens, strict=True) if f in place}
        return given, [*given, *(field for field in self.order_ if field not in given)]


def _filled(held: pa.Array, drawn: pa.Array, empty: Array) -> pa.Array:
    """The column with what was drawn where it is empty; empty: (n,) bool, NaN among them."""
    old, new = plain(held), plain(drawn)
    if pa.types.is_null(old.type):  # a column of gaps alone has no type of its own
        return new
    return pc.if_else(pa.array(empty), new.cast(old.type), old).cast(held.type)
