"""How does any tabular family draw only rows that hold every rule of a plan?

Columns that a rule lets be made from others are taken out before the family learns and made again afterwards (_derive.py);
what then still breaks a rule is thrown away and drawn anew. The family itself knows nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.combinations import Combinations
from data.constraints import Constraint, FixedCombinations, FunctionalDependency, Range, Unique, make
from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, seal, unseal
from generators.tabular._asked import Asked, asked_of
from generators.tabular._chain import Chain, one
from generators.tabular._conditions import DRAW_ROWS, LEAST_SHARE, PATIENCE, matches, next_size, part_seed, resolve
from generators.tabular._derive import Columns, Derivation, derive, rebuild
from generators.tabular._table import Finish, write_json
from generators.tabular._tally import Seen, Tally

__all__ = ["Constrained"]

STATE = "rules.json"
FAMILY = "family"
#: Rows that are drawn after the fit to see how many hold the rules.
PROBE = 2_000


@dataclass
class Constrained:
    """A family behind the rules of a plan: itself a family, with the same conditions and the same streaming.

    Source for learning an order by its differences and combinations as one column: Patki et al. 2016 (The Synthetic Data
    Vault), and its library's constraints; that rejection keeps the family's distribution given the rules: von Neumann 1951.

    Fields:
        family: what learns and draws. rules: entries as a plan has them (`use` and its keys).

    Learned: `rules_` (knowing train), `derivations_`, `built_` (which rules hold by the derivations alone), `schema_` (what the
    family sees), `finish_`, `acceptance_` (share of unconditioned rows that hold every rule)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = False

    family: Any
    rules: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`, whose rows must hold every rule (`data.constraints.check`).

        Raises what the family raises, and GeneratorError when a row of `train` breaks a rule."""
        inner = self._learn_rules(train)
        self.family = self.family.fit(inner, seed=seed, progress=progress, checkpoint=checkpoint)
        tally = Tally(self.rules_)
        for columns, fit in self._proposed(PROBE, Asked.nothing(), part_seed(seed, 2**23)):
            held = self._held(columns, fit, {})
            tally.add(held, int(np.logical_and.reduce(held).sum()))
        self.acceptance_ = tally.share
        return self

    def refuse(self, train: Dataset) -> None:
        """Raises what the family would refuse of these rows."""
        inner = self._learn_rules(train)
        if hasattr(self.family, "refuse"):
            self.family.refuse(inner)

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows, each of which holds `where` and every rule.

        Raises GeneratorError for a condition that the rules exclude, or when hardly any row holds them."""
        return self.one_draw().sample(n, where=where, seed=seed)

    def one_draw(self) -> Draw:
        """The model for a draw of several parts: what is unique is unique over all of them, and what was thrown away is
        counted together."""
        return Draw(self, Seen(self.rules_), Tally(self.rules_))

    @property
    def score(self) -> Callable[[Dataset], np.ndarray]:
        """The family's own rating of rows (nats), where it has one: infinite for a row that breaks a rule. (n,) float64."""
        rate = self.family.score

        def work(rows: Dataset) -> np.ndarray:
            table = rows.table
            keep = np.ones(len(table), dtype=bool)
            for rule in self.rules_:
                keep &= rule.holds(table)
            out = np.full(len(table), np.inf)
            if keep.any():
                out[keep] = rate(self._inner(table.filter(pa.array(keep))))
            return out

        return work

    def foretell(self, train: Dataset, *, seed: int) -> list[str]:
        """How each rule will be held, a sentence each, before anything is learned."""
        self._learn_rules(train)
        table = train.table
        rng = np.random.default_rng([seed % 2**63, 11])
        names = list(dict.fromkeys(name for rule in self.rules_ for name in rule.columns))
        # Columns drawn without regard to one another: what a family that learned no dependence would give.
        apart = pa.table({name: table.column(name).take(pa.array(rng.integers(0, len(table), PROBE))) for name in names})
        return [_foretold(rule, built, apart) for rule, built in zip(self.rules_, self.built_, strict=True)]

    def save(self, folder: Path) -> None:
        """The family in a folder of its own, the rules beside it. Combinations of real values are kept as they are."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAMILY).mkdir(exist_ok=True)
        self.family.save(folder / FAMILY)
        kept = [(each.to_state(), each.remembered) for each in self.derivations_]
        for i, (_, table) in enumerate(kept):
            if table is not None:
                pq.write_table(table, folder / f"derived-{i}.parquet")
        for i, known in enumerate(_knowing(self.rules_)):
            if known is not None:
                pq.write_table(known.values, folder / f"known-{i}.parquet")
        cls = type(self.family)
        state = {
            "family": f"{cls.__module__}:{cls.__qualname__}",
            "finish": self.finish_.to_state(),
            "schema": self.schema_.to_json(),
            "built": self.built_,
            "acceptance": self.acceptance_,
            "derivations": [state for state, _ in kept],
            "counts": [None if known is None else known.counts.tolist() for known in _knowing(self.rules_)],
        }
        write_json(folder / STATE, state)
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; the family's class is imported by its name, where that is trusted."""
        envelope = unseal(folder)
        state = json.loads((folder / STATE).read_text())
        family = stored.family(state["family"], folder)
        model = cls(family.load(folder / FAMILY), tuple(envelope["settings"]["rules"]))
        model.finish_ = Finish.from_state(state["finish"])
        model.schema_ = Schema.from_json(state["schema"])
        model.built_, model.acceptance_ = state["built"], state["acceptance"]
        model.derivations_ = [
            rebuild(each, pq.read_table(path) if (path := folder / f"derived-{i}.parquet").is_file() else None)
            for i, each in enumerate(state["derivations"])
        ]
        model.rules_ = tuple(
            _knows(make(spec), folder / f"known-{i}.parquet", state["counts"][i]) for i, spec in enumerate(model.rules)
        )
        return model

    def _learn_rules(self, train: Dataset) -> Dataset:
        """Get to know the rules' rows, and what the family is to learn."""
        rules = [make(spec) for spec in self.rules]
        table = train.table
        for place, rule in enumerate(rules):
            rule.check(train.schema)
            if broken := int(rule.breaches(table).sum()):
                raise GeneratorError(
                    f"constraints.{place}: {broken} training rows break the rule {rule}; mend them or loosen it"
                )
        self.rules_: tuple[Constraint, ...] = tuple(rule.learn(table) for rule in rules)
        self.finish_ = Finish.fit(train)
        self.derivations_, self.built_ = derive(self.rules_, table, train.schema)
        self.schema_ = _seen_by_the_family(train.schema, self.derivations_)
        return self._inner(table)

    def _inner(self, table: pa.Table) -> Dataset:
        """Whole rows as the family sees them."""
        columns: Columns = {}
        for each in self.derivations_:
            columns |= each.forward(table)
        held = {name: columns[name] if name in columns else table.column(name) for name in self.schema_.names}
        return Dataset(pa.table(held, schema=self.schema_.arrow()), self.schema_)

    def _proposed(self, n: int, asked: Asked, seed: int) -> Iterator[tuple[Columns, np.ndarray]]:
        """Learned columns of whole rows, batch by batch, and which of them could be made."""
        for batch in asked.draw(self.family, n, seed):
            columns = {name: one(batch.column(name)) for name in batch.schema.names}
            fit = np.ones(batch.num_rows, dtype=bool)
            for each in self.derivations_:
                made, could = each.inverse(columns)
                columns |= made
                fit &= could
            yield {column.name: columns[column.name] for column in self.finish_.schema.learned}, fit

    def _held(self, columns: Columns, fit: np.ndarray, rest: Mapping[str, Any]) -> list[np.ndarray]:
        """Of each rule the rows that hold it, and last those that hold the rest of a condition and could be made."""
        batch = pa.RecordBatch.from_pydict(columns)
        wanted = np.asarray(matches(batch, rest).to_numpy(zero_copy_only=False)) if rest else np.ones(len(fit), dtype=bool)
        return [*(rule.holds(batch) for rule in self.rules_), fit & wanted]


@dataclass
class Draw:
    """One draw from a constrained model, in as many parts as are asked for."""

    model: Constrained
    seen: Seen
    tally: Tally

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """As Constrained.sample."""
        model = self.model
        wanted = resolve(where, model.finish_.schema)
        self._possible(wanted)
        asked = asked_of(wanted, model.derivations_, model.schema_)
        start = part = 0
        window = Tally(model.rules_)
        while start < n:
            share = window.share if window.drawn else model.acceptance_ * asked.share
            size = next_size(n - start, DRAW_ROWS, share=share or LEAST_SHARE)
            for columns, fit in model._proposed(size, asked, part_seed(seed, part)):
                held = model._held(columns, fit, asked.rest)
                keep = np.logical_and.reduce(held)
                batch = pa.RecordBatch.from_pydict(columns)
                taken = np.flatnonzero(self.seen.fresh(batch, keep, n - start))[: n - start]
                # What lies behind the last row that was needed is not counted: nobody asked whether it is unique.
                counted = slice(0, int(taken[-1]) + 1 if start + len(taken) == n else len(keep))
                for tally in (window, self.tally):
                    tally.add([each[counted] for each in held], len(taken))
                if len(taken):
                    yield model.finish_(batch.take(pa.array(taken)), start=start, seed=seed)
                    start += len(taken)
                if start == n:
                    return
            part += 1
            if window.drawn >= PATIENCE:
                asked = self._otherwise(wanted, asked, window)
                window = Tally(model.rules_)

    def _otherwise(self, wanted: Mapping[str, Any], asked: Asked, window: Tally) -> Asked:
        """How to go on after PATIENCE rows. Raises GeneratorError where hardly any was kept and nothing is left to try."""
        if window.kept >= LEAST_SHARE * window.drawn:
            return asked
        model = self.model
        # What train holds often may be rare beside the rest of the condition: last, it is asked for by its number.
        last = asked_of(wanted, model.derivations_, model.schema_, rare=1.0)
        if last == asked:
            chains = [each for each in model.derivations_ if isinstance(each, Chain)]
            made_from = {name: each.needs[0] for each in chains for name in each.makes}
            raise GeneratorError(window.hopeless(wanted, made_from))
        return last

    def _possible(self, wanted: Mapping[str, Any]) -> None:
        """Raises GeneratorError where the condition by itself breaks a rule."""
        schema = self.model.finish_.schema
        for rule in self.model.rules_:
            if set(rule.columns) <= set(wanted) and not isinstance(rule, Unique):
                row = {name: pa.array([wanted[name]], schema.arrow().field(name).type) for name in rule.columns}
                if not rule.holds(pa.RecordBatch.from_pydict(row))[0]:
                    asked = ", ".join(f"{name}={wanted[name]}" for name in rule.columns)
                    raise GeneratorError(f"no row can hold {asked}, because of the rule {rule}; ask for something else")


def _seen_by_the_family(schema: Schema, derivations: Sequence[Derivation]) -> Schema:
    """The learned columns, with what a derivation learns in the place of the first column that it makes."""
    maker = {name: each for each in derivations for name in each.makes}
    out: list[Column] = []
    done: list[Derivation] = []
    for column in schema.learned:
        each = maker.get(column.name)
        if each is None:
            out.append(column)
        elif all(each is not other for other in done):
            out.extend(each.learned)
            done.append(each)
    names = [column.name for column in out]
    if not names:
        raise DataError("the rules leave nothing to learn; leave one of them out")
    target, group = (name if name in names else None for name in (schema.target, schema.group))
    return Schema(tuple(out), target=target, group=group)


def _foretold(rule: Constraint, built: bool, apart: pa.Table) -> str:
    if built or isinstance(rule, Range):
        return f"{rule}: holds by construction"
    if isinstance(rule, Unique):
        return f"{rule}: rows that repeat are drawn again"
    share = float(rule.holds(apart).mean())
    return f"{rule}: rows that break it are drawn again; {100 * share:.3g} % would hold it if its columns were independent"


def _knowing(rules: Sequence[Constraint]) -> list[Combinations | None]:
    return [rule.known if isinstance(rule, (FixedCombinations, FunctionalDependency)) else None for rule in rules]


def _knows(rule: Constraint, path: Path, counts: list[int] | None) -> Constraint:
    if counts is not None and isinstance(rule, (FixedCombinations, FunctionalDependency)):
        return replace(rule, known=Combinations.over(pq.read_table(path), np.array(counts)))
    return rule
