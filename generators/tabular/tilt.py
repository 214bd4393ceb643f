"""Which rows of the whole table look most like the rare class? Changes real rows, keeps those that two classifiers favour."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.dataset import Dataset
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Range, Traits, seal
from generators.tabular._conditions import part_seed, resolve
from generators.tabular._table import Finish, at_least, class_counts, one_thread, open_model, rng_of, rounds, write_json
from generators.tabular._tilt_odds import Odds
from generators.tabular._token_rows import repeated
from generators.tabular.autoregressive import Autoregressive

__all__ = ["Tilt"]

Array = np.ndarray
STATE, ODDS, ROWS, BASE = "state.json", "odds.npz", "rows.parquet", "base"
#: Candidates that are made at a time, those that share the choice of columns, and those by which yields are measured.
CANDIDATES, BLOCK, PROBE = 65_536, 4_096, 16_384
#: Of the candidates at least this share is taken: a class that lies where almost no row does would take for ever.
LEAST = 1 / 128
#: Real rows that are changed, at most; of the scarce classes all.
MOST_ROWS = 50_000


@dataclass
class Tilt:
    """A scarce class, drawn as changed rows of the whole table, oftener where rows are likely to be of that class.

    By Bayes p(x | class) is p(x) times p(class | x), up to a constant. All rows together say what rows are like: a candidate is
    a real row of any class with half of its columns drawn anew by the family `autoregressive`, given the other half (a step of
    blocked Gibbs sampling, which leaves p(x) as it is). So a class of thirty rows inherits from thousands how columns hang
    together, and its own rows need only say which way it lies: two plain classifiers do (`_tilt_odds.py`). Some candidates are
    changed rows of the class itself, so that no place where it has been seen is left out; all are kept as often as p(x | class)
    over the mixture of both says. A class of more than `most` rows speaks for itself; its own rows are changed
    in the same way, so that classes differ by what they are and not by how they were made. Where no class is scarce, this is
    `autoregressive`.

    Good at: classes of some ten to some hundred rows that a model must learn to find. Not for: release, as half of a row stays
    a real row's.

    Sources: importance resampling, Rubin 1988, without replacement by the Gumbel trick (Kool et al. 2019, arXiv 1903.06059);
    blocked Gibbs steps, Liu 1994; two proposals by the balance heuristic, Veach and Guibas 1995; classes that differ by a tilt
    of one density, Anderson 1979, Qin 1998.

    Fields:
        most: rows of a class up to which it is drawn by tilting.
        redrawn: share of a candidate's columns that are drawn anew. own: share of the candidates that are made of the class's
            own rows; they lie where it is dense and so make up a fifth to a third of what is kept.
        trees: of the forest. leaf: rows in a leaf of it at least. penalty: on the weights of the linear model.
        epochs, min_steps, batch_size, width, checkpoint_seconds, device: of `autoregressive`.

    Learned: `base_`, `odds_`, `rows_` (what is changed: learned columns, class among them), `classes_` (the level of each),
    `scarce_` (which are tilted), `yield_` (class -> share of candidates that are as good as drawn from it), `shift_` (class ->
    what makes its odds a ratio of densities), `finish_`."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="autoregressive, tilted",
        rows=100,
        rows_of_class=5,
        reach=1000,
        scores=True,
        gain=0.062,
        gain_of_100=0.027,
        fails=("privacy", "blur"),
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        "redrawn": Range(0.2, 0.8),
        "trees": Range(50, 400, log=True),
        "leaf": Range(1, 10),
        "penalty": Range(3.0, 300.0, log=True),
        "width": Range(32, 128, log=True),
        "min_steps": Range(600, 4000, log=True),
    }

    most: int = 1000
    redrawn: float = 0.5
    own: float = 0.05
    trees: int = 200
    leaf: int = 3
    penalty: float = 30.0
    epochs: int | None = None
    min_steps: int = 1500
    batch_size: int = 256
    width: int = 64
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`; raises what `autoregressive` raises, and GeneratorError for a setting that makes no sense."""
        at_least(self, 0, "most")
        at_least(self, 1, "trees", "leaf")
        if not self.penalty > 0:
            raise GeneratorError(f"generator.penalty: {self.penalty} is too small; it must be above 0")
        for name in ("redrawn", "own"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise GeneratorError(f"generator.{name}: {value} is not above 0 and at most 1")
        own = ("epochs", "min_steps", "batch_size", "width", "checkpoint_seconds", "device")
        base = Autoregressive(**{name: getattr(self, name) for name in own})
        self.base_ = base.fit(train, seed=seed, progress=progress, checkpoint=checkpoint)
        self.finish_ = Finish.fit(train)
        counts = {level: n for level, n in class_counts(train).items() if n}
        features = [column.name for column in train.schema.learned if column.name != train.schema.target]
        scarce = [level for level, n in counts.items() if n <= self.most]
        self.classes_ = list(counts)
        self.yield_: dict[int, float] = {}
        self.shift_: dict[int, float] = {}
        # With one class, or with nothing beside the class, there is nothing to tell.
        self.scarce_ = scarce if len(counts) > 1 and features else []
        if self.scarce_:
            self._learn_odds(train, seed)
        return self

    def _learn_odds(self, train: Dataset, seed: int) -> None:
        held, rng = train.labels(), rng_of(seed, 31)
        place = {train.schema.classes().index(level): k for k, level in enumerate(self.classes_)}
        rows = np.flatnonzero(held >= 0)
        labels = np.array([place[int(label)] for label in held[rows]])
        with one_thread():
            self.odds_ = Odds.fit(
                train.take(rows), labels, len(place), trees=self.trees, leaf=self.leaf, penalty=self.penalty, rng=rng
            )
        scarce = np.isin(labels, [self.classes_.index(level) for level in self.scarce_])
        common = rows[~scarce]
        kept = common if len(common) <= MOST_ROWS else rng.choice(common, MOST_ROWS, replace=False)
        names = [column.name for column in train.schema.learned]
        self.rows_ = train.take(np.sort(np.concatenate([rows[scarce], kept]))).table.select(names).combine_chunks()
        odds = self.odds_(self._changed(PROBE, None, part_seed(seed, 2**24))[0])
        for level in self.scarce_:
            k = self.classes_.index(level)
            # So that exp(odds - shift) is p(x | class) / p(x), whose mean over p(x) is one.
            self.shift_[k] = float(np.logaddexp.reduce(odds[:, k]) - np.log(len(odds)))
            weight = np.exp(self._weights(odds[:, k], k))
            self.yield_[k] = float(weight.sum() ** 2 / (weight**2).sum() / len(odds))

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows. A condition on other columns than the class is exact: candidates are then drawn with it."""
        wanted = resolve(where, self.finish_.schema)
        target = str(self.finish_.schema.target)
        level = wanted.get(target)
        others = {name: value for name, value in wanted.items() if name != target}
        # What is asked of other columns is exact in the base alone, which draws the candidates then.
        if not self.scarce_ or level not in self.classes_ or (others and level not in self.scarce_):
            yield from self.base_.sample(n, where=where, seed=seed)
            return
        k = self.classes_.index(level)
        each = int(CANDIDATES * np.clip(self.yield_.get(k, 0.5), LEAST, 0.5))
        for i, start in enumerate(range(0, n, each)):
            rows, own = min(each, n - start), part_seed(seed, 2**25 + i)
            drawn = self._tilted(rows, k, others, own) if level in self.scarce_ else self._changed(rows, level, own)[0]
            place = drawn.schema.get_field_index(target)
            same = repeated(level, drawn.schema.field(place).type, rows)
            yield self.finish_(drawn.set_column(place, drawn.schema.field(place), same), start=start, seed=seed)

    def _weights(self, odds: Array, k: int) -> Array:
        """Logarithms of how much a candidate stands for, be it made of any row or of one of the class.

        p(x | class) over the mixture of both, r / (1 - own + own r) with r = p(x | class) / p(x), which is never above 1 / own
        (the balance heuristic, Veach and Guibas 1995)."""
        ratio = odds - self.shift_[k]
        rest = np.log(1 - self.own) if self.own < 1 else -np.inf
        return np.asarray(ratio - np.logaddexp(rest, np.log(self.own) + ratio))

    def _tilted(self, rows: int, k: int, others: dict[str, Any], seed: int) -> pa.Table:
        """`rows` of class `k`, all different candidates; what they hold of the class is not meant."""
        rng, level = rng_of(seed), self.classes_[k]
        few = max(1, round(self.own * CANDIDATES))
        if others:
            names, target = self.rows_.column_names, {str(self.finish_.schema.target): level}
            asked = [(CANDIDATES - few, others, seed), (few, {**others, **target}, part_seed(seed, 1))]
            parts = [b for n, where, own in asked for b in self.base_.sample(n, where=where, seed=own)]
            made = pa.Table.from_batches(parts).select(names)
            moved = np.ones(len(made), dtype=bool)
        else:
            asked_of = ((CANDIDATES - few, None), (few, level))
            pairs = [self._changed(n, of, part_seed(seed, i)) for i, (n, of) in enumerate(asked_of) if n]
            made, moved = pa.concat_tables([part for part, _ in pairs]), np.concatenate([mask for _, mask in pairs])
        with one_thread():
            weights = self._weights(self.odds_(made)[:, k], k)
        # A row that came out as it went in is a copy: taken only where there is nothing else.
        weights = weights + rng.gumbel(size=len(weights)) - 1e3 * ~moved
        best = np.argsort(-weights, kind="stable")[:rows]
        return made.take(pa.array(rng.permutation(best)))

    def _changed(self, rows: int, level: Any, seed: int) -> tuple[pa.Table, Array]:
        """`rows` real rows with some columns drawn anew: of a class, given it, or of any (None), without regard to it; and
        whether anything in them changed."""
        target = str(self.finish_.schema.target)
        held = self.rows_.column(target)
        able = np.arange(len(held)) if level is None else np.flatnonzero(pc.equal(held, level).fill_null(False).to_numpy())
        features = [name for name in self.rows_.column_names if name != target]
        share = max(1, round(self.redrawn * len(features)))

        def change(block: int) -> tuple[pa.Table, Array]:
            rng = rng_of(seed, 7, block)
            own = self.rows_.take(pa.array(able[rng.integers(0, len(able), min(BLOCK, rows - block * BLOCK))]))
            anew = [features[j] for j in rng.permutation(len(features))[:share]]
            known = [name for name in own.column_names if name not in anew and (level is not None or name != target)]
            drawn = self.base_.complete(own.select(known), seed=part_seed(seed, block), only=anew)
            moved = np.zeros(len(own), dtype=bool)
            for name in anew:
                place = own.schema.get_field_index(name)
                fresh = drawn[name].cast(own.schema.field(place).type)
                moved |= _differs(own.column(name).combine_chunks(), fresh)
                own = own.set_column(place, own.schema.field(place), fresh)
            return own, moved

        done = [made for part in rounds(change, list(range(-(-rows // BLOCK)))) for made in part]
        return pa.concat_tables([made for made, _ in done]).combine_chunks(), np.concatenate([mask for _, mask in done])

    def score(self, rows: Dataset) -> Array:
        """How unusual each row is, in nats: (n,) float64, as `autoregressive` says."""
        return self.base_.score(rows)

    def save(self, folder: Path) -> None:
        """The family that draws anew in a folder of its own, the rows it changes, the classifiers as numbers, the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        self.base_.save(folder / BASE)
        state: dict[str, Any] = {"finish": self.finish_.to_state(), "classes": self.classes_, "scarce": self.scarce_}
        state["yield"], state["shift"] = list(self.yield_.items()), list(self.shift_.items())
        if self.scarce_:
            state["geometry"], arrays = self.odds_.to_state()
            np.savez(folder / ODDS, **arrays)  # type: ignore[arg-type]  # its other argument has a name of its own
            Dataset(self.rows_, self.finish_.schema.select(self.rows_.column_names)).write_parquet(folder / ROWS)
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**open_model(folder, cls))
        state = json.loads((folder / STATE).read_text())
        family.base_, family.finish_ = Autoregressive.load(folder / BASE), Finish.from_state(state["finish"])
        family.classes_, family.scarce_ = state["classes"], state["scarce"]
        family.yield_ = {int(k): share for k, share in state["yield"]}
        family.shift_ = {int(k): shift for k, shift in state["shift"]}
        if family.scarce_:
            with stored.arrays(folder / ODDS) as arrays:
                family.odds_ = Odds.from_state(state["geometry"], arrays)
            schema = family.finish_.schema
            learned = schema.select([column.name for column in schema.learned])
            family.rows_ = Dataset.from_parquet(folder / ROWS, learned).table.cast(learned.arrow()).combine_chunks()
        return family


def _differs(old: pa.Array, new: pa.Array) -> Array:
    """(n,) whether two values are not the same; two nulls are."""
    if pa.types.is_dictionary(old.type):
        old, new = old.dictionary_decode(), new.dictionary_decode()
    differ = pc.fill_null(pc.not_equal(old, new), False)
    return np.asarray(pc.or_(differ, pc.xor(pc.is_null(old), pc.is_null(new))).to_numpy(zero_copy_only=False))
