"""What does each column mean? Guessed from its type, its values and its name; the plan can overrule every guess.

The rules, in order:

- The target is categorical when its values are words, truth values, or at most 20 whole numbers each seen twice on
  average; otherwise it is numeric or integer.
- Whole numbers are an id when they are unique and named like one ("customerID", "row_id"); foreign keys (named like an id,
  but repeated) are categorical. They are categorical, too, when there are only two levels, or three to ten that all hold
  at least one row in a hundred: codes fill their levels, counts thin out into a tail and stay integer.
- Words are an id when (nearly) every row has its own and they are compact: no blanks, with digits, or named like an id.
  They are text when they are long (four words or more on average), unique in most rows, or personal data in many spellings.
  Otherwise they are categorical, however many levels there are. Below 20 rows only the name or the length decides.
- A column without a single value is categorical without levels: what goes out is null again.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from data.errors import DataError
from data.schema import Column, Kind, Schema

#: Numbers written with more digits than this are taken for true binary floats.
MOST_DECIMALS = 9
MOST_CODES = 10
MOST_CLASSES = 20
LEAST_SHARE = 0.01
FEW_ROWS = 20
NEARLY_ALL = 0.95

_CAMEL = re.compile(r"[a-z0-9](?:ID|Id|UUID|Guid|GUID|Key)$")
_PLAIN_ID = re.compile(
    r"(?:^|[\W_])(?:id|ids|uuid|guid|key|pk)$|^unnamed: ?0$|^row_?(?:number|nr|no)$|^index$"
    r"|^(?:customer|user|client|patient|person|order|account|transaction|row|record|member|employee|product|item|case|session|device)id$",
    re.I,
)
_NAMED: tuple[tuple[str, frozenset[str]], ...] = (
    ("email", frozenset({"email", "mail", "emails"})),
    ("phone", frozenset({"phone", "telephone", "tel", "mobile", "cell", "fax", "cellphone"})),
    ("address", frozenset({"address", "street", "addr"})),
    ("name", frozenset({"name", "firstname", "lastname", "surname", "fullname", "forename", "familyname"})),
    ("birth date", frozenset({"birthday", "birthdate", "dob", "born"})),
    ("postcode", frozenset({"zip", "zipcode", "postcode", "postal", "plz"})),
    ("national id", frozenset({"ssn", "passport", "nin", "taxid"})),
    ("bank account", frozenset({"iban", "creditcard", "cardnumber"})),
)
_SHAPED: tuple[tuple[str, str], ...] = (
    ("email", r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"),
    ("ip address", r"^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$"),
    ("bank account", r"^[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,4})?$"),
    ("national id", r"^[0-9]{3}-[0-9]{2}-[0-9]{4}$"),
    ("phone", r"^(?:\+|00)[0-9][0-9 ()./-]{6,18}$|^\(?[0-9]{3}\)?[ -][0-9]{3}[ -][0-9]{4}$"),
)
_PHONE = r"^[+(]?[0-9][0-9 ()./-]{5,18}$"


def infer(
    table: pa.Table,
    *,
    target: str | None = None,
    group: str | None = None,
    stated: Mapping[str, Mapping[str, Any]] | None = None,
) -> Schema:
    """The schema of a table: every column's kind, type, levels, range and digits.

    `stated` (column -> {field: value}) overrules what is inferred; levels and range follow a stated kind.

    Raises DataError when the target, the group or a stated column is not there, a column is of a nested type, or the
    values cannot be of the stated kind."""
    stated = stated or {}
    for role, name in (("target", target), ("group", group)):
        if name is not None and name not in table.column_names:
            Schema(tuple(Column(name=n, kind="text", dtype="string") for n in table.column_names), **{role: name})
    kinds = {name: fields.get("kind") for name, fields in stated.items()}
    columns = tuple(_column(name, table.column(name), name == target, kinds.get(name)) for name in table.column_names)
    return Schema(columns, target=target, group=group).overrule(stated)


def _column(name: str, values: pa.ChunkedArray, is_target: bool, stated: Kind | None = None) -> Column:
    dtype = values.type
    plain = values.cast(dtype.value_type) if pt.is_dictionary(dtype) else values
    if pt.is_floating(plain.type):  # pandas writes missing numbers as NaN
        plain = pc.if_else(pc.fill_null(pc.is_nan(plain), False), pa.scalar(None, plain.type), plain)
    nulls = plain.null_count
    rows = len(plain)
    kind, pii = _meaning(name, plain, is_target)
    if stated is not None and stated != kind:
        _check_stated(name, plain, stated)
        kind = stated
    low, high = _range(plain) if kind in ("numeric", "integer", "datetime") else (None, None)
    return Column(
        name=name,
        kind=kind,
        dtype=str(dtype),
        nullable=nulls > 0,
        null_share=nulls / rows if rows else 0.0,
        categories=_levels(plain) if kind in ("categorical", "boolean") else (),
        low=low,
        high=high,
        decimals=_decimals(plain) if kind == "numeric" else None,
        pii=pii,
    )


def _check_stated(name: str, values: pa.ChunkedArray, stated: Kind) -> None:
    """Refuse a kind that the type of the column rules out."""
    dtype = values.type
    number = pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)
    time = pt.is_timestamp(dtype) or pt.is_date(dtype)
    impossible = (
        (stated in ("numeric", "integer") and not number)
        or (stated == "integer" and not _whole(values))
        or (stated == "datetime" and not time)
        or (stated == "boolean" and not pt.is_boolean(dtype))
        or stated in ("image", "series")
    )
    if impossible and values.null_count < len(values):
        example = values.drop_null()[0].as_py()
        raise DataError(
            f"columns.{name}.kind: {stated} does not fit values such as {example!r} of type {dtype}; state another kind"
        )


def _meaning(name: str, values: pa.ChunkedArray, is_target: bool) -> tuple[Kind, str | None]:
    """The kind of a column without dictionaries, and the personal data it looks like."""
    dtype = values.type
    if values.null_count == len(values):
        return ("boolean" if pt.is_boolean(dtype) else "categorical"), None
    if pt.is_boolean(dtype):
        return "boolean", None
    if pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype):
        return _number_kind(name, values, is_target), None
    if pt.is_timestamp(dtype) or pt.is_date(dtype):
        return "datetime", _by_name(name, ("birth date",))
    if pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_string_view(dtype):
        return _word_kind(name, values, is_target)
    if pt.is_time(dtype) or pt.is_duration(dtype):
        few = is_target or pc.count_distinct(values).as_py() <= 0.5 * len(values)
        return ("categorical" if few else "text"), None
    if pt.is_binary(dtype) or pt.is_large_binary(dtype) or _is_image(dtype):
        return "image", None
    if pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype):
        return "series", None
    raise DataError(f"column {name!r} holds {dtype}, which no kind fits; make flat columns of it, or leave it out")


def _number_kind(name: str, values: pa.ChunkedArray, is_target: bool) -> Kind:
    whole = _whole(values)
    if not whole:
        return "categorical" if is_target and pc.count_distinct(values).as_py() <= 2 else "numeric"
    counts = np.asarray(pc.value_counts(values.drop_null()).field("counts"))
    levels, rows = len(counts), int(counts.sum())
    if is_target:
        few = levels <= MOST_CLASSES and rows >= 2 * levels
        return "categorical" if few else _plain_number(values)
    if pt.is_integer(values.type) and named_like_id(name):
        if levels == rows or (levels >= NEARLY_ALL * rows and rows >= FEW_ROWS):
            return "id"
        # A foreign key is a level when it comes again; keys seen less than twice on average are made anew.
        return "id" if rows >= 5 * FEW_ROWS and levels > 0.5 * rows else "categorical"
    coded = levels <= MOST_CODES and rows >= 10 * levels and (levels <= 2 or counts.min() >= max(LEAST_SHARE * rows, 5))
    return "categorical" if coded or _flags(values, levels) else _plain_number(values)


def _plain_number(values: pa.ChunkedArray) -> Kind:
    dtype = values.type
    return "integer" if pt.is_integer(dtype) or (pt.is_decimal(dtype) and dtype.scale <= 0) else "numeric"


def _flags(values: pa.ChunkedArray, levels: int) -> bool:
    """Two levels that people write for no and yes are a code in however few rows."""
    if levels != 2:
        return False
    ends = pc.min_max(values).as_py()
    return (int(ends["min"]), int(ends["max"])) in ((0, 1), (1, 2), (-1, 1))


def _whole(values: pa.ChunkedArray) -> bool:
    if pt.is_integer(values.type):
        return True
    if pt.is_decimal(values.type):
        return bool(values.type.scale <= 0)
    numbers = _float64(values)
    return bool(np.all(np.isfinite(numbers)) and np.all(numbers == np.rint(numbers)))


def _word_kind(name: str, values: pa.ChunkedArray, is_target: bool) -> tuple[Kind, str | None]:
    present = values.drop_null()
    spellings = pc.unique(present)
    rows, levels = len(present), len(spellings)
    pii = _personal(name, spellings, levels)
    if is_target:
        return "categorical", pii
    lengths = pc.utf8_length(spellings)
    words = pc.mean(pc.add(pc.count_substring_regex(pc.utf8_trim_whitespace(spellings), r"\s+"), 1)).as_py()
    share = levels / rows
    if (words >= 4 and share >= 0.5 and pc.mean(lengths).as_py() >= 20) or pc.mean(lengths).as_py() >= 200:
        return "text", pii
    if share >= NEARLY_ALL and (named_like_id(name) or rows >= FEW_ROWS):
        compact = not _share(spellings, r"\s") and pc.mean(lengths).as_py() <= 128
        if compact and pii not in ("email", "name") and (named_like_id(name) or _share(spellings, "[0-9]") >= 0.8):
            return "id", pii
        return "text", pii
    many = 2 if pii in ("email", "phone", "national id", "bank account") else FEW_ROWS
    if pii is not None and levels > many and share >= 0.2 and pii != "postcode":
        return "text", pii
    # Levels seen less than twice on average are no levels: nothing could be learned of them.
    if rows >= 5 * FEW_ROWS and share > 0.5:
        return "text", pii
    return "categorical", pii


def named_like_id(name: str) -> bool:
    """Whether a column is called like a key: "id", "customerID", "user_id", "Unnamed: 0"."""
    return bool(_PLAIN_ID.search(name.strip()) or _CAMEL.search(name.strip()))


def _personal(name: str, spellings: pa.Array, levels: int) -> str | None:
    """What personal data the spellings look like: by their shape, else by the column's name."""
    sample = spellings[:1000]
    for what, shape in _SHAPED:
        if _share(sample, shape) >= 0.8:
            return what
    called = _by_name(name, ("email", "phone", "address", "name", "postcode", "national id", "bank account", "birth date"))
    if called == "phone":
        return called if _share(sample, _PHONE) >= 0.5 else None
    # A name or an address comes in many spellings; a handful of levels is a category called so.
    return called if levels > FEW_ROWS or called in ("national id", "bank account") else None


def _by_name(name: str, allowed: Sequence[str]) -> str | None:
    tokens = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower())
    joined = {a + b for a, b in zip(tokens, tokens[1:], strict=False)}
    for what, words in _NAMED:
        if what in allowed and (words & (set(tokens) | joined)):
            return what
    return None


def _share(spellings: pa.Array, pattern: str) -> float:
    if len(spellings) == 0:
        return 0.0
    return float(pc.mean(pc.match_substring_regex(spellings, pattern).cast(pa.int8())).as_py())


def _is_image(dtype: pa.DataType) -> bool:
    return pt.is_struct(dtype) and {field.name for field in dtype} >= {"bytes", "path"}


def _levels(values: pa.ChunkedArray) -> tuple[Any, ...]:
    """The distinct values, most frequent first, equal counts by value."""
    counted = pc.value_counts(values.drop_null())
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return tuple(value for value, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _range(values: pa.ChunkedArray) -> tuple[Any, Any]:
    """Least and greatest value: numbers as int or float, times as ISO 8601 text."""
    ends = pc.min_max(values)
    return _plain(ends["min"]), _plain(ends["max"])


def _plain(scalar: pa.Scalar) -> float | int | str | None:
    if pt.is_timestamp(scalar.type) and scalar.type.unit == "ns":
        scalar = scalar.cast(pa.timestamp("us", tz=scalar.type.tz), safe=False)
    value = scalar.as_py()
    if isinstance(value, Decimal):
        return int(value) if scalar.type.scale <= 0 else float(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, dt.date):
        return value.isoformat()
    return value  # type: ignore[no-any-return]


def _decimals(values: pa.ChunkedArray) -> int | None:
    """The fewest digits after the point (0 to 9) that every value fits in; None when there are none such."""
    if pt.is_decimal(values.type):
        return max(int(values.type.scale), 0)
    if not pt.is_floating(values.type):
        return 0
    numbers = _float64(values)
    precision = {16: 1e-3, 32: 1.2e-7}.get(values.type.bit_width, 2.3e-16)
    head = numbers[:1000]  # Most columns of true binary floats show it in their first rows.
    for digits in range(MOST_DECIMALS + 1):
        if _fits(head, digits, precision) and _fits(numbers, digits, precision):
            return digits
    return None


def _fits(numbers: np.ndarray, digits: int, precision: float) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = numbers * 10.0**digits
        slack = 4 * precision * np.abs(scaled)
        near = np.abs(scaled - np.rint(scaled)) <= np.maximum(slack, 1e-12)
    # Where a float has no digits left at this place every value would fit: then only whole numbers do.
    whole = numbers == np.rint(numbers)
    return bool(np.all(whole | (near & (slack <= 0.05))))


def _float64(values: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(values.drop_null().cast(pa.float64(), safe=False), dtype=np.float64)
