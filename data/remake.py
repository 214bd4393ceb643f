"""How are personal values made anew: of the same kind, never a real one, the same for the same seed?

A `Remaker` remembers what kind of value a column holds and a 64-bit hash of each real one. The value of a row is a function of
seed, column and the row's counter, so neither chunks nor their order matter, and equal keys get equal values. Nothing of the
real values shows in it but that it differs from them, which kind they are and, of ids, their shape.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from data.errors import DataError
from data.ids import IdMaker
from data.schema import arrow_type

#: What can be made anew, and by which method of Faker.
MADE = {
    "name": "name", "first_name": "first_name", "last_name": "last_name", "username": "user_name", "email": "ascii_safe_email",
    "phone": "phone_number", "address": "address", "postcode": "postcode", "city": "city", "iban": "iban",
    "card": "credit_card_number", "ssn": "ssn", "ip": "ipv4", "id": "",
}  # fmt: skip
#: Tries to meet no real value: alone; then, of kinds whose words can be joined, two in one ("Anna-Lena").
ALONE, JOINED = 20, 200
_JOINED = frozenset({"name", "first_name", "last_name", "city", "postcode", "address"})


def check_locale(locale: str) -> None:
    """Raises DataError for a locale that Faker does not know. Needs the extra `privacy`."""
    from faker.config import AVAILABLE_LOCALES

    if locale not in AVAILABLE_LOCALES:
        near = [known for known in sorted(AVAILABLE_LOCALES) if known[:2] == locale[:2].lower()]
        shown = ", ".join(near or ("en_US", "de_DE", "fr_FR", "es_ES", "ja_JP"))
        raise DataError(f"Faker has no locale {locale!r}; take one that it knows, e.g. {shown}")


@dataclass(frozen=True)
class Remaker:
    """Makes values: `maker = Remaker.fit("email", column, key="email", locale="de_DE")`, then `maker.draw(start, n, seed)`.

    what: a key of `MADE`. key: names the stream; columns that share it get equal values for equal counters. dtype: the Arrow
    type of the values. lines: how real addresses are written: "lines", "line", or "street" alone. hashes: sorted 64-bit hashes
    of the real values, without case and blanks. ids: makes those of kind id. secret: the key of the stream, without which
    nobody can make it again."""

    what: str
    key: str
    locale: str
    dtype: str
    lines: Literal["lines", "line", "street"] = "line"
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64), repr=False, compare=False)
    ids: IdMaker | None = None
    secret: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def fit(cls, what: str, *columns: pa.ChunkedArray, key: str, locale: str = "en_US", secret: bytes = b"") -> Remaker:
        """Learn which values must not come out: those of all `columns`, whose type is the first one's.

        Raises DataError for a kind that nothing is known to make, and for ids of a type that ids do not come in."""
        if what not in MADE:
            raise DataError(f"{key}: {what} cannot be made anew; drop the column, or state another `pii` of {', '.join(MADE)}")
        plain = [_distinct(column) for column in columns]
        texts = [str(value) for column in plain for value in column.to_pylist()]
        hashes = np.unique(_hashes(_bare(text) for text in texts))
        ids = _ids(pa.chunked_array([column.cast(plain[0].type) for column in plain])) if what == "id" else None
        return cls(what, key, locale, str(plain[0].type), _written(texts), hashes, ids, secret)

    def draw(self, start: int, n: int, seed: int) -> pa.Array:
        """The values of counters start .. start + n: (n,). Ids and e-mails are different for each; none is ever null."""
        return self.at(np.arange(start, start + n, dtype=np.uint64), seed)

    def at(self, counters: np.ndarray, seed: int) -> pa.Array:
        """The values of any counters, (n,) uint64, as `draw` would give them: (n,).

        Raises DataError where no value that differs from all real ones is found."""
        if self.ids is not None:
            return self.ids.at(counters, self._stream(seed))
        return self._typed([self._value(int(counter), seed) for counter in counters])

    def _value(self, counter: int, seed: int) -> str:
        for turn in range(JOINED):
            text = self._one(counter, seed, turn)
            if turn >= ALONE and self.what in _JOINED:
                text = f"{text}-{self._one(counter, seed, turn + JOINED)}"
            if not self.real(text):
                return text
        raise DataError(f"{self.key}: no {self.what} was found that differs from all real ones; drop the column")

    def _one(self, counter: int, seed: int, turn: int) -> str:
        make, fake = self._make
        fake.seed_instance(self._stream(seed, counter, turn))
        text = str(make()).strip()
        if self.what in ("email", "username"):  # the counter makes it this row's own
            name, at, host = text.partition("@")
            text = f"{name.rstrip('0123456789')}{counter}{at}{host}"
        if self.lines != "lines":
            text = re.sub(r"\s*\n\s*", ", ", text)
        return text if _texts(arrow_type(self.dtype)) else _digits(text, self.dtype)

    def _stream(self, *parts: int) -> int:
        """A seed of 64 bits. Its key is the secret: with the plan's seed alone, which is published, anybody could make the same
        values and see by the gaps which of them are real. The real values by themselves would be no key: who knows all of
        them but one could try that one."""
        text = "/".join(map(str, (self.key, *parts)))
        return int.from_bytes(hashlib.blake2b(text.encode(), key=self._salt, digest_size=8).digest(), "little")

    @cached_property
    def _salt(self) -> bytes:
        return hashlib.blake2b(self.hashes.tobytes(), key=self.secret, digest_size=32).digest()

    @cached_property
    def _make(self) -> tuple[Callable[[], Any], Any]:
        from faker import Faker

        fake = Faker(self.locale)
        # Of languages without streets in front Faker has whole addresses alone.
        street = self.what == "address" and self.lines == "street" and self.locale[:2] not in ("ja", "ko", "th", "zh")
        return getattr(fake, "street_address" if street else MADE[self.what]), fake

    def real(self, text: str) -> bool:
        """Whether this is one of the real values, but for case and blanks."""
        mine = _hashes([_bare(text)])[0]
        at = min(int(np.searchsorted(self.hashes, mine)), len(self.hashes) - 1)
        return bool(len(self.hashes) and self.hashes[at] == mine)

    def _typed(self, texts: list[str]) -> pa.Array:
        dtype = arrow_type(self.dtype)
        if _texts(dtype):
            return pa.array(texts, dtype)
        return pa.array([int(text) for text in texts], pa.int64()).cast(dtype, safe=False)


def keys_alike(table: pa.Table, made: Mapping[str, str]) -> dict[str, str]:
    """Columns that hold the same key: each name -> the first of its kind (`made`: column -> kind) that is equal in all rows."""
    roots: dict[str, str] = {}
    texts = {name: _plain(table.column(name)).cast(pa.string()) for name in made}
    for name, what in made.items():
        same = (root for root in dict.fromkeys(roots.values()) if made[root] == what and _equal(texts[root], texts[name]))
        roots[name] = next(same, name)
    return roots


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Whether two columns are equal wherever both have a value, and anywhere have one."""
    same = pc.equal(one, other).drop_null()
    return len(same) > 0 and bool(pc.all(same).as_py())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pt.is_dictionary(column.type) else column


def _distinct(column: pa.ChunkedArray) -> pa.Array:
    found = pc.unique(_plain(column)).drop_null()
    if pt.is_floating(found.type) and pc.all(pc.equal(found, pc.round(found))).as_py():
        found = found.cast(pa.int64(), safe=False)
    return found


def _written(texts: Sequence[str]) -> Literal["lines", "line", "street"]:
    """How most addresses are written."""
    if 2 * sum("\n" in text.strip() for text in texts) > len(texts):
        return "lines"
    return "line" if 2 * sum(", " in text for text in texts) > len(texts) else "street"


def _ids(values: pa.ChunkedArray) -> IdMaker:
    """Of numbers only how many digits the longest has is kept: not the least and the greatest real one."""
    maker = IdMaker.fit(values)
    if maker.places:
        return maker
    most = int(np.iinfo(arrow_type(maker.dtype).to_pandas_dtype()).max)
    digits = len(str(max(maker.high, 1)))
    return replace(maker, low=10 ** (digits - 1), high=min(10**digits - 1, most))


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()


def _hashes(texts: Iterable[str]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _texts(dtype: pa.DataType) -> bool:
    return bool(pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_string_view(dtype))


def _digits(text: str, dtype: str) -> str:
    """The digits of a value, as many as a number of this type holds."""
    most = {"int32": 9, "uint32": 9, "int16": 4, "uint16": 4}.get(dtype, 18)
    return str(int("".join(sign for sign in re.split("[xX]", text)[0] if sign.isdigit())[:most] or "0"))
