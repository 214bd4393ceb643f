"""What does each column hold, and how must it look when it goes out again?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

import pyarrow as pa

from data.errors import DataError

Kind = Literal["numeric", "integer", "categorical", "boolean", "datetime", "id", "text", "image", "mask", "boxes", "series"]
KINDS: tuple[str, ...] = get_args(Kind)

#: Kinds a tabular family learns; ids are made anew, text, images and series are left to other families.
LEARNED: frozenset[str] = frozenset({"numeric", "integer", "categorical", "boolean", "datetime"})


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: what it means (`kind`) and how it was written (`dtype`, `decimals`, `categories`).

    Fields:
        name: as it stands in the source.
        kind: what the column means; decides how it is encoded and judged.
        dtype: the Arrow type it came in with, as `str(pa.DataType)`; the published column has this type again.
        nullable: whether nulls were seen or are declared possible.
        null_share: share of nulls in the data the schema was inferred from, 0..1.
        categories: the levels of a categorical or boolean column, most frequent first, in the spelling and type
            they came in with; empty for other kinds.
        low, high: least and greatest value (numeric, integer: a number; datetime: ISO 8601 text); None if unknown.
        decimals: digits after the point that every value fits in; None when binary floats need all their digits.
        pii: what personal data the column looks like ("email", "name", ...), None when nothing was found.
        channels: of series: what is read at each moment, in order.
        levels: of series: for each channel its levels, whose positions are what is read; () for a channel of numbers.
        period: of series: seconds from one reading to the next; None where they come as they come.
        declared: names of the fields that the plan stated rather than the data (a declared bound is a hard rule).
    """

    name: str
    kind: Kind
    dtype: str
    nullable: bool = False
    null_share: float = 0.0
    categories: tuple[Any, ...] = ()
    low: float | int | str | None = None
    high: float | int | str | None = None
    decimals: int | None = None
    pii: str | None = None
    channels: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    period: float | None = None
    declared: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"column {self.name!r}: unknown kind {self.kind!r}; it must be one of {', '.join(KINDS)}")

    @property
    def learned(self) -> bool:
        """Whether a tabular family models this column."""
        return self.kind in LEARNED

    @property
    def discrete(self) -> bool:
        """Whether the column is a finite set of levels."""
        return self.kind in ("categorical", "boolean")

    def level(self, text: object) -> Any:
        """The level that `text` names: exact, else by its text, else by its text without surrounding blanks, else by the
        number it is (5 is 5.0).

        Raises DataError, with the nearest level, when none or several match."""
        if text in self.categories and not (isinstance(text, bool) ^ any(isinstance(c, bool) for c in self.categories)):
            return text
        wanted = str(text)
        readings: tuple[Callable[[str], str], ...] = (str, str.strip, lambda text: text.strip().lower())
        for read in readings:
            hits = [c for c in self.categories if read(str(c)) == read(wanted)]
            if len(hits) == 1:
                return hits[0]
        number = _number(wanted)
        hits = [c for c in self.categories if number is not None and not isinstance(c, bool) and _number(str(c)) == number]
        if len(hits) == 1:
            return hits[0]
        near = difflib.get_close_matches(wanted.strip(), [str(c).strip() for c in self.categories], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {_some(self.categories)}"
        raise DataError(f"column {self.name!r} has no level {wanted!r}{hint}")


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order, and the two that play a part: the target and the group."""

    columns: tuple[Column, ...]
    target: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        for role in ("target", "group"):
            name = getattr(self, role)
            if name is not None and name not in self.names:
                near = difflib.get_close_matches(name, self.names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the columns are {_some(self.names)}"
                raise DataError(f"the {role} column {name!r} is not in the data; {hint}")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the columns are {_some(self.names)}"
        raise DataError(f"there is no column {name!r}; {hint}")

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def of_kind(self, *kinds: str) -> list[Column]:
        return [column for column in self.columns if column.kind in kinds]

    @property
    def learned(self) -> list[Column]:
        """The columns that a tabular family models, in order."""
        return [column for column in self.columns if column.learned]

    def classes(self) -> tuple[Any, ...]:
        """Levels of the target, most frequent first; empty when there is no discrete target."""
        if self.target is None or not self[self.target].discrete:
            return ()
        return self[self.target].categories

    def overrule(self, columns: Mapping[str, Mapping[str, Any]]) -> Schema:
        """What was inferred, with what the plan states instead (`columns.<name>.<field>`)."""
        known = {f.name for f in fields(Column)}
        out = {column.name: column for column in self.columns}
        for name, stated in columns.items():
            self[name]
            if unknown := set(stated) - known:
                raise DataError(f"columns.{name}: unknown field {sorted(unknown)[0]!r}; a column has {_some(sorted(known))}")
            values: dict[str, Any] = {k: tuple(v) if k == "categories" else v for k, v in stated.items()}
            out[name] = replace(out[name], **values, declared=out[name].declared | set(stated))
        return replace(self, columns=tuple(out.values()))

    def arrow(self) -> pa.Schema:
        """The Arrow schema that tables of this schema have."""
        return pa.schema([pa.field(column.name, arrow_type(column.dtype)) for column in self.columns])

    def select(self, names: list[str]) -> Schema:
        """The columns `names`, in that order; a role whose column is gone is dropped."""
        return Schema(
            tuple(self[name] for name in names),
            target=self.target if self.target in names else None,
            group=self.group if self.group in names else None,
        )

    def to_json(self) -> dict[str, Any]:
        """A plain mapping that `from_json` reads back without loss."""
        columns = [asdict(column) | {"declared": sorted(column.declared)} for column in self.columns]
        return {"target": self.target, "group": self.group, "columns": columns}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        columns = tuple(Column(**{**c, **_tuples(c), "declared": frozenset(c["declared"])}) for c in value["columns"])
        return cls(columns, target=value["target"], group=value["group"])


def arrow_type(text: str) -> pa.DataType:
    """`str(dtype)` -> dtype, for the types that tables arrive in.

    Raises DataError for a type this project does not carry (nested types, unions)."""
    if text.startswith("dictionary<"):
        parts = dict(part.split("=") for part in text[len("dictionary<") : -1].split(", "))
        return pa.dictionary(arrow_type(parts["indices"]), arrow_type(parts["values"]), ordered=parts["ordered"] == "1")
    if text.startswith("timestamp["):
        unit, _, zone = text[len("timestamp[") : -1].partition(", tz=")
        return pa.timestamp(unit, tz=zone or None)
    if text.startswith("decimal128("):
        precision, scale = text[len("decimal128(") : -1].split(",")
        return pa.decimal128(int(precision), int(scale))
    if (nested := _nested().get(text)) is not None:
        return nested
    plain = {"double": pa.float64(), "float": pa.float32(), "halffloat": pa.float16(), "date32[day]": pa.date32()}
    if text in plain:
        return plain[text]
    try:
        return pa.type_for_alias(text)
    except ValueError:
        raise DataError(f"columns of type {text} are not supported; cast them to numbers, text or timestamps first") from None


def _tuples(column: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON keeps as lists."""
    levels = tuple(tuple(each) for each in column.get("levels", ()))
    return {"categories": tuple(column["categories"]), "channels": tuple(column.get("channels", ())), "levels": levels}


def _nested() -> dict[str, pa.DataType]:
    """The nested types of pictures, their masks and boxes, and of series."""
    from data.images import BOXES, PICTURE
    from data.windows import READINGS

    return {str(PICTURE): PICTURE, str(BOXES): BOXES, str(READINGS): READINGS}


def _number(text: str) -> Decimal | None:
    """The number that a text is, None when it is none."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _some(values: Any, limit: int = 8) -> str:
    shown = [str(v) for v in list(values)[:limit]]
    return ", ".join(shown) + (f" and {len(values) - limit} more" if len(values) > limit else "")
