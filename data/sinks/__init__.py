"""Where else does a version go? One kind of table a file; what every one of them is told, and owes, stands here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from data.errors import PublishError
from data.secrets import hidden

Mode = Literal["overwrite", "append"]
#: Before the names of what a table keeps of a version.
PREFIX = "counterpoise."


@dataclass(frozen=True)
class Told:
    """The version that a table's version is of."""

    dataset: str
    version: str
    run_id: str
    sha256: str
    verdict: str

    def properties(self) -> dict[str, str]:
        """What a table keeps with the rows."""
        return {f"{PREFIX}{name}": value for name, value in vars(self).items()}

    def is_in(self, kept: Iterable[Mapping[str, object]], mode: Mode) -> bool:
        """Whether a table has this version already, by what it keeps of its own; where each version takes the place of the one
        before, also whether it has a later one."""
        versions = [str(each[f"{PREFIX}version"]) for each in kept if each.get(f"{PREFIX}dataset") == self.dataset]
        return self.version in versions or (mode == "overwrite" and any(number(v) > number(self.version) for v in versions))


def refused(what: str, told: Told, error: Exception) -> PublishError:
    """The sentence about a table that could not be written, without the colours and secrets that a library's own may hold."""
    said = hidden(" ".join(re.sub(r"\x1b\[[0-9;]*m|↳", " ", str(error)).split()))[:200]
    return PublishError(
        f"{told.version} is published, but the {what} could not be written ({said}); mend that and give the same command "
        "again, which writes the table alone"
    )


def number(version: str) -> int:
    """The number of "v000007"."""
    return int(version.removeprefix("v"))


def plain(schema: pa.Schema) -> pa.Schema:
    """The types that both kinds of tables know: levels as texts, moments in microseconds, whole numbers with a sign."""
    return pa.schema([pa.field(field.name, _plain(field.type), field.nullable) for field in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_unsigned_integer(kind) or pa.types.is_int8(kind) or pa.types.is_int16(kind):
        return pa.int64()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_null(kind) or pa.types.is_time(kind) or pa.types.is_large_string(kind):
        return pa.string()
    return pa.date32() if pa.types.is_date64(kind) else kind


def reader(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    """The rows as they come, in the types of `plain`."""

    def cast() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()

    return pa.RecordBatchReader.from_batches(schema, cast())
