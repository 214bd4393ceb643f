"""How are new ids made that look like the real ones, are never one of them, and never repeat?

An `IdMaker` remembers the shape of the real ids and a 64-bit hash of each, nothing else. The shape is that of the commonest
pattern: which signs never change (the dash of "7590-VHVEG"), and which letters or digits stand in every other place. The
i-th new id is a number put through a seeded bijection and spelled in that shape, so ids of different counters differ; where
it hits a real one, the next of a few spare numbers kept for this counter is taken.
"""

from __future__ import annotations

import base64
import hashlib
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from data.errors import DataError
from data.schema import arrow_type

#: Numbers kept for each counter: when all of them are real ids, a longer shape is taken.
SPARE = 8
#: A shape is used while at most one number in this many is a real id.
ROOM = 8
_MOST = 1 << 62
_ROUNDS = 4
_DIGITS, _LOWER, _UPPER = string.digits, string.ascii_lowercase, string.ascii_uppercase
_HEX = ("0123456789abcdef", "0123456789ABCDEF")
_FALLBACK = (_UPPER + _DIGITS,) * 8


@dataclass(frozen=True)
class IdMaker:
    """Draws ids: `maker = IdMaker.fit(column)`, then `maker.draw(start, n, seed)` for counters start .. start + n.

    dtype: the Arrow type of the ids. places: for text, the signs each place may hold. low, high: for numbers, the
    least and the greatest real one. hashes: sorted 64-bit hashes of the real ids."""

    dtype: str
    places: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64), repr=False, compare=False)

    @classmethod
    def fit(cls, values: pa.Array | pa.ChunkedArray) -> IdMaker:
        """Learn the shape of a column of ids; nulls are passed over.

        Raises DataError for a type that ids do not come in (floats that are not whole, nested types)."""
        dtype = values.type.value_type if pt.is_dictionary(values.type) else values.type
        distinct = pc.unique(values.cast(dtype)).drop_null()
        if not (pt.is_integer(dtype) or pt.is_string(dtype) or pt.is_large_string(dtype)):
            raise DataError(f"ids of type {dtype} cannot be made anew; cast them to text or whole numbers")
        hashes = np.sort(_hashes(distinct.cast(pa.string()).to_pylist()))
        if pt.is_integer(dtype):
            ends = pc.min_max(distinct).as_py()
            return cls(str(dtype), low=ends["min"] or 0, high=ends["max"] or 0, hashes=hashes)
        return cls(str(dtype), places=_roomy(_places(distinct.to_pylist()), len(hashes)), hashes=hashes)

    def draw(self, start: int, n: int, seed: int) -> pa.Array:
        """The ids of counters start .. start + n: distinct over all counters of one seed, never a real one. (n,)

        Raises DataError when the integer type has no numbers left, and for counters below 0."""
        if start < 0 or n < 0:
            raise DataError(f"ids are counted from 0 upwards, not {start=}, {n=}")
        return self.at(np.arange(start, start + n, dtype=np.uint64), seed)

    def at(self, counters: np.ndarray, seed: int) -> pa.Array:
        """The ids of any counters, (n,) uint64, as `draw` would give them: (n,)."""
        if self.places:
            return pa.array(self._texts(counters, seed), arrow_type(self.dtype))
        return self._numbers(counters, seed)

    def _texts(self, counters: np.ndarray, seed: int) -> list[str]:
        out: list[str] = [""] * len(counters)
        places, first, left = self.places, 0, np.arange(len(counters))
        while len(left):
            space = min(_size(places), _MOST)
            zone = space // SPARE
            here = left[counters[left] < first + zone]
            left = left[counters[left] >= first + zone]
            for row, text in zip(here, self._spelled(counters[here] - np.uint64(first), places, zone, seed), strict=True):
                out[row] = text
            first += zone
            places = _longer(places)
        return out

    def _spelled(self, counters: np.ndarray, places: tuple[str, ...], zone: int, seed: int) -> list[str]:
        """The first of each counter's spare ids that is no real one."""
        texts = _spell(_shuffle(counters, zone * SPARE, seed), places, seed)
        taken = np.flatnonzero(self._real(texts))
        for spare in range(1, SPARE):
            if len(taken) == 0:
                break
            again = _spell(_shuffle(counters[taken] + np.uint64(spare * zone), zone * SPARE, seed), places, seed)
            for row, text in zip(taken, again, strict=True):
                texts[row] = text
            taken = taken[self._real(again)]
        if len(taken):
            # All spare ids of a counter were real: a shape so long that no other counter gets there is free.
            for row, text in zip(taken, self._spelled(counters[taken], _longer(places, 12), zone, seed), strict=True):
                texts[row] = text
        return texts

    def _numbers(self, counters: np.ndarray, seed: int) -> pa.Array:
        out: list[int] = [0] * len(counters)
        first, left = 0, np.arange(len(counters))
        for low, high in self._ranges():
            inside = high < self.high  # the real range itself: its numbers may be real ids, those above it are none
            zone = (high - low + 1) // (SPARE if inside else 1)
            here = left[counters[left] < first + zone]
            left = left[counters[left] >= first + zone]
            numbers = counters[here] - np.uint64(first)
            for row, value in zip(here, self._free(numbers, low, zone, seed, SPARE if inside else 1), strict=True):
                out[row] = value
            first += zone
            if len(left) == 0:
                return pa.array(out, arrow_type(self.dtype))
        raise DataError(f"ids of type {self.dtype} run out after {first} rows; cast the column to a wider type")

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """Where numbers may come from, in turn: the real range when it is mostly empty, then decade after decade above it."""
        if self.low < self.high and len(self.hashes) * ROOM <= self.high - self.low and self.high - self.low < _MOST:
            yield self.low, self.high - 1
        top = _top(arrow_type(self.dtype))
        low = 10 ** len(str(max(self.high, 0)))
        low = low if low <= top else self.high + 1
        while low <= top:
            high = min(10 ** len(str(low)) - 1, top, low + _MOST - 1)
            yield low, high
            low = high + 1

    def _free(self, counters: np.ndarray, low: int, zone: int, seed: int, spares: int) -> list[int]:
        """The first of each counter's spare numbers that is no real id."""
        values = [low + int(v) for v in _shuffle(counters, zone * spares, seed)]
        taken = np.flatnonzero(self._real(map(str, values)))
        for spare in range(1, spares):
            again = [low + int(v) for v in _shuffle(counters[taken] + np.uint64(spare * zone), zone * spares, seed)]
            for row, value in zip(taken, again, strict=True):
                values[row] = value
            taken = taken[self._real(map(str, again))]
        if len(taken):
            raise DataError("a new id could not be told from the real ones; leave the id column out")
        return values

    def _real(self, texts: Iterable[str]) -> np.ndarray:
        mine = _hashes(texts)
        if len(self.hashes) == 0:
            return np.zeros(len(mine), dtype=bool)
        at = np.minimum(np.searchsorted(self.hashes, mine), len(self.hashes) - 1)
        return np.asarray(self.hashes[at] == mine)

    def to_json(self) -> dict[str, Any]:
        """A plain mapping that `from_json` reads back; the hashes as base64 of little-endian uint64."""
        packed = base64.b64encode(self.hashes.astype("<u8").tobytes()).decode("ascii")
        return {"dtype": self.dtype, "places": list(self.places), "low": self.low, "high": self.high, "hashes": packed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> IdMaker:
        hashes = np.frombuffer(base64.b64decode(value["hashes"]), dtype="<u8").astype(np.uint64)
        return cls(value["dtype"], tuple(value["places"]), int(value["low"]), int(value["high"]), hashes)


def _hashes(texts: Iterable[str]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _top(dtype: pa.DataType) -> int:
    return int((1 << (dtype.bit_width - (0 if pt.is_unsigned_integer(dtype) else 1))) - 1)


def _places(texts: list[str]) -> tuple[str, ...]:
    """The signs of each place, from the ids of the commonest length and separators."""
    shapes: dict[tuple[int, str], list[str]] = {}
    for text in texts:
        shapes.setdefault((len(text), "".join(c if not c.isalnum() else "_" for c in text)), []).append(text)
    if not shapes or max(shapes)[0] == 0:
        return _FALLBACK
    alike = max(shapes.items(), key=lambda item: (len(item[1]), item[0]))[1]
    return tuple(_signs({text[place] for text in alike}, len(alike)) for place in range(len(alike[0])))


def _signs(seen: set[str], rows: int) -> str:
    """What may stand in a place where these signs were seen: the only one, the few, or their whole class."""
    if len(seen) == 1 or (len(seen) <= 4 and rows >= 50) or not all(c.isascii() and c.isalnum() for c in seen):
        return "".join(sorted(seen))
    for family in (_DIGITS, _LOWER, _UPPER, *_HEX, _LOWER + _DIGITS, _UPPER + _DIGITS):
        if seen <= set(family):
            # A first digit that is never 0 in many ids is no accident.
            bare = "".join(c for c in family if c != "0")
            return bare if "0" not in seen and "0" in family and rows >= 50 else family
    return _UPPER + _LOWER + _DIGITS


def _roomy(places: tuple[str, ...], real: int) -> tuple[str, ...]:
    while _size(places) < max(ROOM * real, SPARE):
        places = _longer(places)
    return places


def _longer(places: tuple[str, ...], more: int = 1) -> tuple[str, ...]:
    """One place more, beside the last that varies; digits when none does."""
    last = max((i for i, signs in enumerate(places) if len(signs) > 1), default=len(places) - 1)
    signs = places[last] if len(places[last]) > 1 else _DIGITS
    if set(signs) <= set(_DIGITS):
        signs = _DIGITS
    return places[: last + 1] + (signs,) * more + places[last + 1 :]


def _size(places: tuple[str, ...]) -> int:
    size = 1
    for signs in places:
        size *= len(signs)
    return size


def _spell(numbers: np.ndarray, places: tuple[str, ...], seed: int) -> list[str]:
    """Numbers as ids: last place first, as digits of a mixed base; beyond 2**62 the front places come from a hash."""
    rest, size = numbers.copy(), 1
    columns: list[np.ndarray] = []
    for place in reversed(range(len(places))):
        signs = np.array(list(places[place]))
        if size * len(signs) <= _MOST:
            columns.append(signs[(rest % np.uint64(len(signs))).astype(np.int64)])
            rest = rest // np.uint64(len(signs))
            size *= len(signs)
        else:
            columns.append(signs[(_mix(numbers, seed + 7919 * (place + 1)) % np.uint64(len(signs))).astype(np.int64)])
    return ["".join(row) for row in zip(*reversed(columns), strict=True)]


def _shuffle(numbers: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A seeded bijection of 0 .. size-1, uint64 -> uint64: a Feistel net walked until it lands inside the range."""
    half = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
    out = _feistel(numbers, half, seed)
    outside = np.flatnonzero(out >= np.uint64(size))
    while len(outside):
        out[outside] = _feistel(out[outside], half, seed)
        outside = outside[out[outside] >= np.uint64(size)]
    return out


def _feistel(numbers: np.ndarray, half: int, seed: int) -> np.ndarray:
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = numbers >> shift, numbers & mask
    for turn in range(_ROUNDS):
        left, right = right, left ^ (_mix(right, seed * _ROUNDS + turn) & mask)
    return (left << shift) | right


def _mix(numbers: np.ndarray, key: int) -> np.ndarray:
    """splitmix64 of a number and a key: well-stirred bits, (n,) uint64. Source: Steele, Lea, Flood 2014."""
    stir = hashlib.blake2b(str(key).encode(), digest_size=8).digest()
    with np.errstate(over="ignore"):
        z = numbers + np.uint64(int.from_bytes(stir, "little"))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
