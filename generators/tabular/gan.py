"""What would more rows of this table look like? A conditional tabular GAN that starts from a linear model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.encode_modes import Discrete, Modes, Part
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, device_of, seal
from generators.tabular._conditions import matching, outside, part_seed, place_of, resolve, unseen
from generators.tabular._gan_nets import Generator, Layout, gumbel, heads, logits, whitening
from generators.tabular._gan_train import Game, Rules, play
from generators.tabular._gan_watch import HELD, REFEREED, Referee, snapped, teach
from generators.tabular._location import Location
from generators.tabular._table import Finish, at_least, mark_of, one_thread, open_model, refuse, write_json

__all__ = ["GAN"]

WEIGHTS = "weights.pt"
STATE = "state.json"
SAMPLE_ROWS = 8192
EPOCHS = 100
#: Rounds in which rows that miss the condition are thrown away, before the condition is written into the rest.
ROUNDS = 3


@dataclass
class GAN:
    """A conditional tabular GAN with packed critic that starts from a linear model.

    Sources: Xu et al. 2019 (CTGAN, arXiv 1907.00503): mode-specific normalisation, condition vector, training by
    sampling, residual generator; Lin et al. 2018 (PacGAN, arXiv 1712.04086): the critic judges packs of rows;
    Gulrajani et al. 2017: gradient penalty.

    What is different, and why. CTGAN starts from white noise and spends its epochs on finding what any linear model
    knows; with few rows it never gets there. Here the noise is a row drawn from a general location model
    (generators/tabular/_location.py) given the condition, and the generator learns the correction, which is zero at
    first. So little data gives about the linear model, much data gives a network's.

    What holds it there. An information loss ties means and products of features to those of train (Moments). A watch
    compares cells of drawn rows with train's after every block (Watch); the best average is kept, and the start itself
    is the first best, so what is kept is never worse than the start by the watch. Last, a referee learns how much
    likelier a row is in train than among those drawn, and chooses one of several (Referee: discriminator rejection
    sampling, Azadi et al. 2019).

    Fields:
        epochs: passes over the training rows; left out, it is EPOCHS, or as many as make `min_steps` steps, so that two
            hundred rows are trained as well as thousands.
        batch_size: rows a step, rounded down to packs; small data use a quarter of their rows, at least four packs.
        pac: rows that the critic judges together.
        learning_rate: of Adam, for both networks. decay: weight decay of Adam.
        critic_steps: steps of the critic for each step of the generator.
        penalty: weight of the gradient penalty. moments: weight of the information loss: means and products of
            features, class by class, shall be those of train.
        patience: training ends after so many blocks of at least 25 steps without a row nearer to train.
        choices: rows drawn for each row kept, by the referee's choice; 1 keeps all.
        latent: length of the noise vector. width: of every hidden layer.
        ema: the share of the generator's moving average that is kept each step; samples come from the average.
        checkpoint_seconds: how often the state is written while training.
        device: "auto" (a GPU where there is one), "cpu", "cuda".
    """

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="GAN", rows=25, rows_of_class=5, auc=0.599, gain=0.001, gain_of_100=-0.009, fails=("diversity", "instability")
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "width": Range(64, 384, log=True),
        "learning_rate": Range(5e-5, 8e-4, log=True),
        "critic_steps": Range(1, 3),
        "penalty": Range(1.0, 30.0, log=True),
        "moments": Range(0.1, 5.0, log=True),
        "min_steps": Range(300, 2000, log=True),
        "choices": Range(1, 16, log=True),
    }

    epochs: int | None = None
    min_steps: int = 600
    batch_size: int = 500
    pac: int = 10
    learning_rate: float = 2e-4
    decay: float = 1e-6
    critic_steps: int = 1
    penalty: float = 10.0
    moments: float = 1.0
    patience: int = 10
    choices: int = 8
    latent: int = 64
    width: int = 256
    ema: float = 0.995
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; with a `checkpoint` folder, go on from the state that a killed fit left there.

        On a CPU a resumed fit ends bit for bit as an uninterrupted one.

        Raises GeneratorError when there is nothing to learn, a setting makes no sense, or the loss stops being a number;
        DataError when a column holds infinite values."""
        self._check(train)
        self.finish_ = Finish.fit(train)
        self.modes_ = Modes.fit(train, seed=seed)
        states, values = self.modes_.split(train)
        sizes = [part.states for part in self.modes_.parts]
        rng = np.random.default_rng([seed % 2**63, 7])
        self.start_ = Location.fit(states, values, sizes=[max(s, 1) for s in sizes], classed=self._classed(), rng=rng)
        self.layout_: Layout | None = None
        self.referee_: Referee | None
        self.kept_, self.referee_ = 0, None
        if self.modes_.width:
            matrix = self.modes_.encode(states, values)
            self.layout_ = Layout.of(self.modes_, matrix)
            self._train(train, matrix, seed, progress, checkpoint)
        else:
            progress.advance(1, 1, "epoch")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows in batches of at most 8,192.

        A condition on levels, nulls or frequent exact values is asked of the model: the start is drawn given it,
        rows that keep it are taken, and after three rounds it is written into the rest. A condition on any other
        number is met by drawing and throwing away.

        Raises GeneratorError for a condition that no training row holds, or that the model hardly ever meets."""
        wanted = resolve(where, self.finish_.schema)
        evidence, rest = self._evidence(wanted)
        start = 0

        def draw(rows: int, part: int) -> pa.RecordBatch:
            return self._learned(rows, evidence, wanted, part)

        for batch in matching(draw, n, rest, seed=part_seed(seed, 2**20), rows=SAMPLE_ROWS):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def save(self, folder: Path) -> None:
        """Write the weights, the encoder and the envelope. They hold levels and extremes of the real data."""
        folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {"finish": self.finish_.to_state(), "modes": self.modes_.to_state(), "kept": self.kept_}
        state["start"] = self.start_.facts()
        weights: dict[str, Any] = {"start": self.start_.tensors()}
        if self.layout_ is not None:
            weights |= {"generator": self.generator_.state_dict(), "layout": self.layout_.tensors()}
        if self.referee_ is not None:
            weights["referee"] = self.referee_.state_dict()
        torch.save(weights, folder / WEIGHTS)
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        weights = stored.weights(folder / WEIGHTS)
        family.finish_ = Finish.from_state(state["finish"])
        family.modes_ = Modes.from_state(state["modes"])
        family.start_ = Location.rebuild(weights["start"], state["start"])
        family.layout_ = None
        family.kept_, family.referee_ = state["kept"], None
        if "generator" in weights:
            family.layout_ = Layout.rebuild(family.modes_, weights["layout"])
            family.generator_ = family._empty_generator(family.layout_)
            family.generator_.load_state_dict(weights["generator"])
        if "referee" in weights and family.layout_ is not None:
            with torch.random.fork_rng(devices=[]):
                family.referee_ = Referee(family.layout_, weights["referee"]["white"], family.width, *family._choice()).eval()
            family.referee_.load_state_dict(weights["referee"])
        return family

    def _check(self, train: Dataset) -> None:
        refuse(train)
        at_least(self, 1, "epochs", "batch_size", "pac", "critic_steps", "latent", "width", "patience", "choices")
        at_least(self, 0, "min_steps", "decay", "penalty", "moments", "learning_rate")
        if not 0 <= self.ema < 1:
            raise GeneratorError(f"generator.ema: {self.ema} is not in [0, 1); use 0.995")

    def _classed(self) -> int:
        """Place of the target among the learned columns, -1 where it is no class."""
        names = [part.name for part in self.modes_.parts]
        target = self.finish_.schema.target
        if target not in names or not isinstance(self.modes_[target], Discrete):
            return -1
        return names.index(target) if self.modes_[target].states > 1 else -1

    def _train(self, train: Dataset, matrix: np.ndarray, seed: int, progress: Progress, checkpoint: Path | None) -> None:
        layout = self._shape()
        batch = self._batch(len(matrix))
        an_epoch = -(-len(matrix) // batch)
        steps = max(EPOCHS * an_epoch, self.min_steps) if self.epochs is None else self.epochs * an_epoch
        block = an_epoch * -(-25 // an_epoch) if an_epoch <= 250 else 250
        rules = Rules(batch, self.pac, self.learning_rate, self.decay, self.ema, self.critic_steps, self.penalty,
                      self.latent, self.width, steps, block, seed, self.moments, self.patience)  # fmt: skip
        places = [place for place, _, _ in layout.conditions]
        favourite = places.index(self._classed()) if self._classed() in places else -1
        game = Game(self.modes_, self.start_, layout, rules, device_of(self.device), favourite)
        game.open(matrix)

        def tell(done: int, losses: dict[str, float]) -> None:
            progress.advance(-(-done // an_epoch), -(-steps // an_epoch), "epoch", **losses)

        def where(done: int) -> str:
            return f"the end of epoch {-(-done // an_epoch)} of {-(-steps // an_epoch)}"

        mark = mark_of(self, train, seed) if checkpoint else ""
        with one_thread():
            play(game, tell, where=where, folder=checkpoint, mark=mark, seconds=self.checkpoint_seconds)
        self.generator_ = game.average.cpu().eval()
        self.generator_.load_state_dict(game.best)
        self.kept_ = game.kept
        with one_thread():
            self.referee_ = self._referee(matrix, seed) if self.choices > 1 else None

    def _referee(self, matrix: np.ndarray, seed: int) -> Referee | None:
        """Who chooses among drawn rows; None where train is too small to say anything for sure."""
        layout, rng = self._shape(), np.random.default_rng([seed % 2**63, 5])
        rows = rng.choice(len(matrix), REFEREED, replace=False) if len(matrix) > REFEREED else np.arange(len(matrix))
        real = torch.from_numpy(matrix[rows])
        if len(real) < 2 * HELD:
            return None
        states = self.modes_.decode(matrix[rows])[0]
        label = states[:, self._classed()] if self._classed() >= 0 else np.zeros(len(states), dtype=np.int64)
        counts = np.bincount(label)
        # Classes by log-frequency on both sides: the ratio within each is what a draw of that class needs.
        share = np.log1p(counts) / np.log1p(counts).sum()
        drawn = []
        for k in np.flatnonzero(counts):
            evidence = {self._classed(): int(k)} if self._classed() >= 0 else {}
            made = self._proposed(int(np.ceil(share[k] * max(len(real), 2000))), evidence, part_seed(seed, 2**21 + int(k)))
            keep = made[0][:, self._classed()] == k if evidence else np.ones(len(made[0]), dtype=bool)
            drawn.append(self.modes_.encode(made[0][keep], made[1][keep]))
        with torch.random.fork_rng(devices=[]):
            referee = Referee(layout, whitening(layout.values(real)), self.width, *self._choice())
        weight = torch.from_numpy(share[label] / counts[label])
        return referee if teach(referee, real, torch.from_numpy(np.concatenate(drawn)), weight, seed) else None

    def _choice(self) -> tuple[tuple[int, int], int]:
        """Features of the class, and among how many rows one is chosen."""
        spans = {place: (a, b) for place, a, b in self._shape().conditions}
        return spans.get(self._classed(), (0, 0)), self.choices

    def _shape(self) -> Layout:
        assert self.layout_ is not None  # noqa: S101 - the caller looked
        return self.layout_

    def _batch(self, rows: int) -> int:
        wished = min(self.batch_size, max(rows // 4, 4 * self.pac))
        return max(wished // self.pac, 1) * self.pac

    def _empty_generator(self, layout: Layout) -> Generator:
        with torch.random.fork_rng(devices=[]):
            return Generator(layout, self.latent, self.width).eval()

    def _evidence(self, wanted: Condition) -> tuple[dict[int, int], dict[str, Any]]:
        """The condition as states {column: state}, and what of it can only be met by throwing rows away."""
        evidence: dict[int, int] = {}
        rest: dict[str, Any] = {}
        for i, part in enumerate(self.modes_.parts):
            if part.name in wanted:
                state = _state(part, wanted[part.name])
                if state is None:
                    rest[part.name] = wanted[part.name]
                else:
                    evidence[i] = state
        return evidence, rest

    def _learned(self, n: int, evidence: dict[int, int], wanted: Condition, seed: int) -> pa.RecordBatch:
        """`n` rows of the learned columns that hold the evidence."""
        kept: list[tuple[np.ndarray, np.ndarray]] = []
        missing = n
        for turn in range(ROUNDS):
            states, values = self._raw(missing, evidence, part_seed(seed, turn))
            good = (
                np.all([states[:, i] == state for i, state in evidence.items()], axis=0)
                if evidence
                else np.ones(len(states), bool)
            )
            if turn == ROUNDS - 1:
                good = np.ones(len(states), dtype=bool)
            kept.append((states[good], values[good]))
            missing -= int(good.sum())
            if not missing:
                break
        states, values = (np.concatenate(x) for x in zip(*kept, strict=True))
        for i, state in evidence.items():
            states[:, i] = state
        table = self.modes_.join(states, values, seed=part_seed(seed, ROUNDS))
        return _force(table, {self.modes_.parts[i].name: wanted[self.modes_.parts[i].name] for i in evidence})

    def _raw(self, n: int, evidence: dict[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """States and values: of the rows proposed, those that the referee chooses."""
        if self.layout_ is None or self.referee_ is None:
            return self._proposed(n, evidence, seed)
        states, values = self._proposed(n * self.choices, evidence, seed)
        rng = np.random.default_rng(part_seed(seed, 2**22))
        kept = self.referee_.choose(torch.from_numpy(self.modes_.encode(states, values)), rng)
        return states[kept], values[kept]

    @torch.no_grad()
    def _proposed(self, n: int, evidence: dict[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """States and values as the start draws them and the generator corrects them; numbers on their grids."""
        rng = np.random.default_rng(seed)
        try:
            states, values = self.start_.draw(n, evidence, rng)
        except ValueError:
            asked = ", ".join(self.modes_.parts[i].name for i in evidence)
            raise GeneratorError(f"no row can hold this combination of {asked}; ask for fewer conditions") from None
        if self.layout_ is None or not self.kept_:
            return snapped(self.modes_, states, values)
        layout = self.layout_
        start = torch.from_numpy(self.modes_.encode(states, values))
        noise = torch.Generator().manual_seed(seed)
        vector = self._vector(states, evidence, rng)
        correction = self.generator_(start, torch.randn(n, self.latent, generator=noise), vector)
        raw = logits(layout, start, correction)
        made = heads(layout, raw, start, correction, gumbel((n, layout.width), noise))
        return snapped(self.modes_, *self.modes_.decode(made.numpy()))

    def _vector(self, states: np.ndarray, evidence: dict[int, int], rng: np.random.Generator) -> torch.Tensor:
        """Condition vectors: what is asked, or what the start holds in a column drawn as in training."""
        assert self.layout_ is not None  # noqa: S101 - the caller looked
        conditions = self.layout_.conditions
        out = np.zeros((len(states), self.layout_.asked), dtype=np.float32)
        if not conditions:
            return torch.from_numpy(out)
        asked = [c for c, (place, _, _) in enumerate(conditions) if place in evidence]
        target = [c for c, (place, _, _) in enumerate(conditions) if place == self._classed()]
        # Within a class training draws rows as they are, so the class is asked for wherever nothing else is.
        if target and (not asked or target[0] in asked):
            asked = target
        chosen = rng.choice(asked or len(conditions), size=len(states))
        offsets = np.cumsum([0, *(b - a for _, a, b in conditions)])
        places = np.array([place for place, _, _ in conditions])
        rows = np.arange(len(states))
        out[rows, offsets[chosen] + states[rows, places[chosen]]] = 1
        return torch.from_numpy(out)


def _state(part: Part, value: object) -> int | None:
    """The state that a wanted value is, None where only a number in state 0 can be it. Raises GeneratorError."""
    if isinstance(part, Discrete):
        try:
            return part.state(value)
        except KeyError:
            raise GeneratorError(unseen(part.name, value)) from None
    if value is None:
        if not part.nulls:
            raise GeneratorError(unseen(part.name, None))
        return part.states - 1
    at = place_of(part.scale, value, part.name)
    if not part.scale.low <= at <= part.scale.high:
        raise GeneratorError(outside(part.name, value, part.scale))
    hits = np.flatnonzero(part.spikes == at)
    return int(hits[0]) + 1 if len(hits) else None


def _force(table: pa.Table, wanted: Condition) -> pa.RecordBatch:
    """Write the asked values into their columns: members of a tail are drawn, but here one was named."""
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        values = column.combine_chunks()
        if field.name in wanted:
            plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            first = pa.array(np.zeros(len(table), dtype=np.int64))
            values = pa.array([wanted[field.name]], type=plain).take(first).cast(field.type)
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)
