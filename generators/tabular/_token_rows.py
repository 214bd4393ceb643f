"""What do families of tokens share: which fields hold anything, which one is the class, what does a condition ask?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data.encode_cells import spans
from data.encode_tokens import LevelTokens, MomentTokens, TokenColumn, Tokens
from data.schema import Schema
from generators.base import GeneratorError
from generators.tabular._conditions import outside, place_of, unseen

Array = np.ndarray


@dataclass(frozen=True)
class Fields:
    """The fields of a table of tokens that a network learns, the class apart.

    live: places, among all fields, of those that hold two tokens and more. classed: the place of the class, None where no
    field is one. classes: its tokens, 1 where there is no class."""

    tokens: Tokens
    live: tuple[int, ...]
    classed: int | None
    classes: int

    @classmethod
    def of(cls, tokens: Tokens, schema: Schema) -> Fields:
        """A class is a target of levels that are one field."""
        sizes, target, classed = tokens.sizes, schema.target, None
        if target in tokens.names and isinstance(tokens[target], LevelTokens) and len(tokens.fields(target)) == 1:
            classed = tokens.fields(target)[0]
            classed = classed if sizes[classed] > 1 else None
        live = tuple(i for i, size in enumerate(sizes) if size > 1 and i != classed)
        return cls(tokens, live, classed, 1 if classed is None else sizes[classed])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each live field."""
        sizes = self.tokens.sizes
        return tuple(sizes[i] for i in self.live)

    @property
    def ranks(self) -> tuple[float, ...]:
        """The place of each token of the live fields among the values of its column; NaN without order."""
        sizes = self.tokens.sizes
        owner = np.repeat(np.arange(len(sizes)), sizes)
        ranks = np.concatenate([column.ranks() for column in self.tokens.columns])
        return tuple(ranks[np.isin(owner, self.live)].tolist())

    @property
    def inner(self) -> tuple[tuple[int, int], ...]:
        """Live fields that refine another one, and that one: pairs of places among the live fields."""
        place, out = {field: k for k, field in enumerate(self.live)}, []
        for span in spans(self.tokens).values():
            fields = range(span.start, span.stop)
            if len(fields) == 2 and fields[0] in place and fields[1] in place:
                out.append((place[fields[1]], place[fields[0]]))
        return tuple(out)

    def labels(self, encoded: Array) -> Array:
        """(n, fields) tokens -> (n,) int64 class of each row; below 0 for one that train did not hold."""
        return np.zeros(len(encoded), dtype=np.int64) if self.classed is None else np.asarray(encoded[:, self.classed])

    def table(self, live: Array, label: Array, wanted: Mapping[str, Any], rng: np.random.Generator) -> pa.RecordBatch:
        """Live tokens (n, live) and classes (n,) as values of the learned columns; those `wanted` in every row."""
        whole = np.zeros((len(label), len(self.tokens.sizes)), dtype=np.int64)
        whole[:, self.live] = live
        if self.classed is not None:
            whole[:, self.classed] = label
        columns = self.tokens.decode(whole, rng)
        columns |= {name: repeated(value, columns[name].type, len(label)) for name, value in wanted.items()}
        return pa.RecordBatch.from_pydict(columns)

    def given(self, wanted: Mapping[str, Any]) -> dict[int, int]:
        """A resolved condition as field -> token, the class among them.

        Raises GeneratorError for what train cannot have held."""
        out: dict[int, int] = {}
        for name, value in wanted.items():
            out |= dict(zip(self.tokens.fields(name), asked(self.tokens[name], value), strict=True))
        return {field: token for field, token in out.items() if field in self.live or field == self.classed}


def class_shares(labels: Array, classes: int) -> Array:
    """(n,) classes -> (classes,) float64 share of each in train."""
    return np.asarray(np.bincount(labels, minlength=classes) / max(len(labels), 1))


def shared_out(n: int, shares: Array, rng: np.random.Generator) -> Array:
    """A class for each of `n` rows: (n,) int64."""
    return np.asarray(rng.choice(len(shares), size=n, p=shares / shares.sum()))


def asked(column: TokenColumn, value: object) -> tuple[int, ...]:
    """The tokens of a wanted value. Raises GeneratorError when train holds nothing like it."""
    if value is None or isinstance(column, LevelTokens):
        try:
            return column.given(value) if isinstance(column, LevelTokens) else column.given(None)
        except KeyError:
            raise GeneratorError(unseen(column.name, value)) from None
    at = place_of(column.scale, value, column.name)
    try:
        return column.given(at)
    except KeyError:
        if isinstance(column, MomentTokens) and column.scale.low <= at <= column.scale.high:
            raise GeneratorError(_no_such_weekday(column, value)) from None
        raise GeneratorError(outside(column.name, value, column.scale)) from None


def _no_such_weekday(column: MomentTokens, value: Any) -> str:
    low, high = column.scale.ends()
    return (
        f"where.{column.name}: no training row lies on a {value:%A}, which {value} is; "
        f"name another weekday between {low} and {high}"
    )


def repeated(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    """The asked value in every row: a bin holds others as well."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.array([value], type=plain).take(pa.array(np.zeros(rows, dtype=np.int64))).cast(kind)
