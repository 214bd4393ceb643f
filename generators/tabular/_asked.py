"""What may the family itself be asked, of a condition on columns that are made from what it draws?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.schema import Schema
from generators.base import Generator, GeneratorError
from generators.tabular._chain import Chain
from generators.tabular._conditions import matches, part_seed
from generators.tabular._derive import Derivation, Joint, Lookup

#: Below this share of train's rows a combination is asked for by its number; above it, enough rows come by themselves.
RARE = 0.05


@dataclass(frozen=True)
class Asked:
    """A condition, divided: `ways` to ask the family, of which each row takes one by its weight; `rest`, which the finished
    rows are asked. share: of train's rows that hold what is left to `rest`, about."""

    ways: tuple[Mapping[str, Any], ...]
    weights: tuple[float, ...]
    rest: Mapping[str, Any]
    share: float

    @classmethod
    def nothing(cls) -> Asked:
        return cls(({},), (1.0,), {}, 1.0)

    def draw(self, family: Generator, n: int, seed: int) -> Iterator[pa.RecordBatch]:
        """`n` rows of the family. Where there are several ways they come in one batch, mixed: any part of it is fair."""
        if len(self.ways) == 1:
            yield from family.sample(n, where=self.ways[0] or None, seed=seed)
            return
        rng = np.random.default_rng([seed, 3])
        counts = rng.multinomial(n, self.weights).tolist()
        batches = [
            batch
            for i, (way, rows) in enumerate(zip(self.ways, counts, strict=True))
            if rows
            for batch in family.sample(rows, where=way, seed=part_seed(seed, i))
        ]
        yield pa.concat_batches(batches).take(pa.array(rng.permutation(n)))


def asked_of(wanted: Mapping[str, Any], derivations: Sequence[Derivation], schema: Schema, *, rare: float = RARE) -> Asked:
    """How a resolved condition is met. schema: the columns that the family draws.

    Raises GeneratorError when no training row holds a combination that only training rows can hold."""
    plain = {name: value for name, value in wanted.items() if name in schema}
    rest = {name: value for name, value in wanted.items() if name not in schema}
    for chain in (each for each in derivations if isinstance(each, Chain)):
        plain |= chain.given(wanted)
    rarest: tuple[float, list[dict[str, Any]], list[float]] | None = None
    share = 1.0
    for each in derivations:
        if isinstance(each, (Joint, Lookup)) and (own := {n: v for n, v in rest.items() if n in each.makes}):
            part, ways, counts = _ways(each, own)
            if not ways:
                asked = ", ".join(f"{name}={value}" for name, value in own.items())
                raise GeneratorError(f"no training row holds {asked}, and the rules allow no other; ask for something else")
            share *= part
            if rarest is None or part < rarest[0]:
                rarest = (part, ways, counts)
    if rarest is None or rarest[0] > rare or any(name not in schema for way in rarest[1] for name in way):
        return Asked((plain,), (1.0,), rest, share)
    total = sum(rarest[2])
    fitting = [(way | plain, n / total) for way, n in zip(rarest[1], rarest[2], strict=True)]
    return Asked(tuple(way for way, _ in fitting), tuple(w for _, w in fitting), rest, share / rarest[0])


def _ways(each: Joint | Lookup, own: Mapping[str, Any]) -> tuple[float, list[dict[str, Any]], list[float]]:
    """Share of train's rows that hold it, the values of the learned column that give it, and train's rows of each."""
    known = each.combinations
    batch = known.values.combine_chunks().to_batches()[0] if len(known) else None
    if batch is None:
        return 0.0, [], []
    places = np.flatnonzero(matches(batch, own).to_numpy(zero_copy_only=False))
    counts = [float(known.counts[i]) for i in places]
    if isinstance(each, Joint):
        ways: list[dict[str, Any]] = [{each.name: str(i)} for i in places]
    else:
        ways = [{each.source: known.values.column(each.source)[int(i)].as_py()} for i in places]
    return sum(counts) / max(float(known.counts.sum()), 1.0), ways, counts
