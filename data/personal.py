"""Which columns say who somebody is, how sure is that, and what is done about it?

Values decide where a recogniser knows them (e-mail, phone, IBAN, card, national numbers, IP); names and addresses, for which no
language model is at hand, need the column's name and the shape of the values, or Faker's lists of names. What is told never
holds a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from data.infer import NEARLY_ALL, named_like_id
from data.personal_words import announced
from data.schema import Column, Schema

#: What a plan may say that a column holds. none: no personal data, so it is learned.
What = Literal[
    "none", "name", "first_name", "last_name", "username", "email", "phone", "address", "postcode", "city", "iban", "card",
    "ssn", "ip", "id", "text",
]  # fmt: skip
#: Values looked at, different ones, spread over the column.
SAMPLE = 300
#: Shares of values from which a column is taken for what they are: alone, and where the column's name says so, too.
ALONE, TOGETHER = 0.8, 0.5
#: The share of values on lists of names that is enough in a column called "name", "author", "customer": no list is complete.
LISTED = 0.25
#: Of these fewer are enough: check digits and domains hardly fit by chance, and of phone numbers no list knows all.
_CERTAIN = {"email": 0.5, "iban": 0.5, "card": 0.5, "phone": 0.7}
#: So many different values make a column of names; fewer are a category, unless nearly every row has its own.
SPELLINGS, OWN = 20, 0.5
#: Fewer rows than this to a level on average, and a place says who lives there.
PLACE_ROWS = 20
#: The least number that could be a card's.
LONG = 1e11
#: A key that repeats is a person's or a thing's from so many different ones on; fewer are a category.
KEYS = 50
_SAID = {"ssn": "national numbers", "ip": "IP addresses", "card": "card numbers", "iban": "IBANs", "email": "e-mail addresses"}


@dataclass(frozen=True)
class Personal:
    """One column's decision.

    what: one of `What`, or "birth_date". share: of the values that were looked at, 0..1; None where none decided. why: without
    any value. done: what becomes of it, e.g. "re-made"; empty until `flows` knows. stated: the plan says so."""

    column: str
    what: str
    share: float | None
    why: str
    done: str = ""
    stated: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def find(
    table: pa.Table, schema: Schema, *, locale: str = "en_US", stated: Mapping[str, str] | None = None, able: bool = True
) -> list[Personal]:
    """What is personal in a table, in the order of its columns.

    stated (column -> one of `What`) overrules what is found; "none" is told, too. locale: whose way to write phone numbers is
    tried first. able: whether the extra `privacy` is there (`personal_values.ready`); without it what is stated is all."""
    found = []
    for column in schema:
        said = (stated or {}).get(column.name)
        one = _found(column, table.column(column.name), locale) if said is None and able else None
        if said is not None:
            one = Personal(column.name, said, None, "the plan says so", stated=True)
        if one is not None:
            found.append(one)
    return found


def suspects(table: pa.Table, schema: Schema) -> bool:
    """Whether any column could hold what only the extra `privacy` tells: words in many spellings, and long numbers."""
    return any(
        column.kind == "text" or (len(column.categories) > SPELLINGS and isinstance(column.categories[0], str))
        for column in schema
    )


def _found(column: Column, values: pa.ChunkedArray, locale: str) -> Personal | None:
    if column.kind in ("image", "mask", "boxes", "series", "boolean") or values.null_count == len(values):
        return None
    said = announced(column.name)
    if column.kind == "datetime":
        return Personal(column.name, "birth_date", None, "the column is called so") if said == "birth_date" else None
    if column.kind == "numeric" and column.decimals != 0:
        return None
    if column.kind == "integer" and said is None and float(column.high or 0) < LONG:
        return None  # most columns of most tables: nothing of their values need be looked at
    if _texts(values.type):
        return _words(column, _Looked.at(values), said, locale)
    return _digits(column, _Looked.at(values), said, locale)


@dataclass(frozen=True)
class _Looked:
    """A column as it is looked at: some different values as text, how many rows and different values there are."""

    values: tuple[str, ...]
    rows: int
    levels: int

    @classmethod
    def at(cls, values: pa.ChunkedArray) -> _Looked:
        distinct = pc.unique(_plain(values).drop_null())
        places = np.unique(np.linspace(0, max(len(distinct) - 1, 0), SAMPLE).astype(np.int64))
        some = distinct.take(pa.array(places[: len(distinct)]))
        if pt.is_floating(some.type) and pc.all(pc.equal(some, pc.round(some))).as_py():
            some = some.cast(pa.int64(), safe=False)  # whole numbers that a gap among them made floats
        texts = tuple(str(value).strip() for value in some.to_pylist())
        return cls(tuple(text for text in texts if text), len(values) - values.null_count, len(distinct))

    @property
    def many(self) -> bool:
        """Whether these are as many spellings as persons have, not a category's levels."""
        return self.levels > 2 and (self.levels > SPELLINGS or self.levels >= OWN * self.rows)

    def share(self, test: Any) -> float:
        return sum(bool(test(value)) for value in self.values) / max(len(self.values), 1)


def _words(column: Column, looked: _Looked, said: str | None, locale: str) -> Personal | None:
    from data.personal_values import addresses, names, shares

    if not looked.values:
        return None
    name, certain = column.name, shares(looked.values, locale, named=said)
    if said not in (None, "phone"):
        certain.pop("phone", None)  # the least certain form: a postcode or a national number can have it, too
    for what, (share, by) in sorted(certain.items(), key=lambda item: (item[0] != said, -item[1][0])):
        if share >= _CERTAIN.get(what, ALONE) or (said == what and share >= TOGETHER):
            also = ", and the column is called so" if said == what else ""
            return Personal(
                name, what, share, f"{_percent(share)} of its values are {_SAID.get(what, f'{what} numbers')} ({by}){also}"
            )
    if (one := _announced(name, looked, said)) is not None:
        return one
    if looked.many and looked.levels > SPELLINGS and column.kind != "id":
        known = names(looked.values)
        what = "name" if known["name"] >= TOGETHER else max(("first_name", "last_name"), key=lambda each: known[each])
        if known[what] >= (TOGETHER if what == "name" else ALONE):
            return Personal(name, what, known[what], f"{_percent(known[what])} of its values are on lists of names")
        if (share := addresses(looked.values)) >= ALONE:
            return Personal(name, "address", share, f"{_percent(share)} of its values have a street and a number")
    if (key := _key(column, looked)) is not None:
        return key
    if column.kind == "text":
        return Personal(name, "text", None, "free text can name anybody")
    return None


def _announced(name: str, looked: _Looked, said: str | None) -> Personal | None:
    """What the column's name says, where the values could be that."""
    from data.personal_values import given, names

    called = "the column is called so"
    lettered = looked.share(lambda value: not any(sign.isdigit() for sign in value) and len(value.split()) <= 5)
    if said in ("first_name", "last_name", "name") and lettered >= ALONE and looked.levels > 2:
        return Personal(
            name, said, lettered, f"{called}, and {_percent(lettered)} of its values are a few words without digits"
        )
    if said == "maybe_name" and looked.many:
        known = names(looked.values)
        what = max(known, key=lambda each: known[each])
        if known[what] >= LISTED:
            return Personal(
                name, what, known[what], f"{called}, and {_percent(known[what])} of its values are on lists of names"
            )
        # Family names are more than any list knows; given names are not.
        if (begin := given(looked.values)) >= TOGETHER:
            return Personal(name, "name", begin, f"{called}, and {_percent(begin)} of its values begin with a given name")
    if said == "address" and looked.many:
        spelled = looked.share(lambda value: any(sign.isalpha() for sign in value))
        if spelled >= ALONE:
            return Personal(name, said, spelled, f"{called}, and nearly every row has its own words")
    if said == "username" and looked.many:
        return Personal(name, said, 1.0, f"{called}, in many spellings")
    return _numbered(name, looked, said)


def _numbered(name: str, looked: _Looked, said: str | None) -> Personal | None:
    """National numbers that no recogniser knows, and places that hardly repeat."""
    least = {"ssn": 5, "iban": 8, "card": 12}
    if said in least and looked.levels > 2:
        share = looked.share(lambda value: sum(sign.isdigit() for sign in value) >= least[said])
        if share >= ALONE:
            return Personal(name, said, share, f"the column is called so, and {_percent(share)} of its values are long numbers")
    if said in ("postcode", "city") and looked.levels > 2 and looked.rows < PLACE_ROWS * looked.levels:
        return Personal(name, said, None, f"the column is called so, and fewer than {PLACE_ROWS} rows share a place")
    return None


def _digits(column: Column, looked: _Looked, said: str | None, locale: str) -> Personal | None:
    """Numbers: nothing but their name tells a phone number from an amount; a card's last digit checks the others."""
    from data.personal_values import shares

    whole = looked.share(lambda value: value.isdigit())
    if whole >= ALONE and column.kind != "numeric" or (column.decimals == 0 and whole >= ALONE):
        certain = shares(looked.values, locale, named=said) if said in ("phone", "ssn", "card") or _long(looked) else {}
        for what in ("card", "phone", "ssn"):
            share, by = certain.get(what, (0.0, ""))
            if share >= _CERTAIN.get(what, ALONE) and what in ("card", said):
                return Personal(column.name, what, share, f"{_percent(share)} of its values are {_SAID.get(what, what)} ({by})")
        if (one := _numbered(column.name, looked, said)) is not None:
            return one
    return _key(column, looked)


def _long(looked: _Looked) -> bool:
    return looked.share(lambda value: 13 <= len(value) <= 19) >= ALONE


def _key(column: Column, looked: _Looked) -> Personal | None:
    if column.kind == "id":
        share = looked.levels / max(looked.rows, 1)
        if share < NEARLY_ALL:
            return Personal(column.name, "id", None, f"it is a key and has {looked.levels:,} different ones")
        return Personal(column.name, "id", share, f"{_percent(share)} of its rows have a value of their own")
    if column.discrete and named_like_id(column.name) and looked.levels > KEYS:
        return Personal(column.name, "id", None, f"it is called like a key and has {looked.levels:,} different ones")
    return None


def _texts(dtype: pa.DataType) -> bool:
    dtype = dtype.value_type if pt.is_dictionary(dtype) else dtype
    return bool(pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_string_view(dtype))


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(values.type.value_type) if pt.is_dictionary(values.type) else values


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
