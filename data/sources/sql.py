"""What does this query give? Any database SQLAlchemy opens: SQLite, DuckDB (duckdb-engine), PostgreSQL (pg8000)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa

from data.errors import DataError
from data.sources import check_names, check_rows, clean
from data.sources._query import check_query
from data.sources._typed import stamped

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, CursorResult, Engine, Inspector

CHUNK_ROWS = 50_000
#: Exact decimals are given room for values above the largest one seen.
LEAST_PRECISION = 18
_DRIVERS = {"postgresql": "postgresql+pg8000", "postgres": "postgresql+pg8000"}


def read(url: str, query: str) -> pa.Table:
    """The rows that `query` gives, types as the database has them: decimals exact, dates and times as such.

    url: "sqlite:///file.db", "duckdb:///file.duckdb", "postgresql://user@host/base"; PostgreSQL goes through pg8000.
    Rows are fetched and turned into Arrow in chunks, so that Python objects of one chunk only are held at a time.
    SQLite has no type for dates: text columns that hold ISO dates throughout become timestamps.

    Raises DataError, one sentence that never shows the password: an url that says nothing, a driver that is not there, a
    database that cannot be opened, a query that fails or does more than read, no rows, columns named twice, an infinity."""
    from sqlalchemy import exc, text

    address = _address(url)
    shown = address.render_as_string(hide_password=True)
    _check_file(address, shown)
    check_query(query, shown)
    engine = _engine(address, shown)
    try:
        with _connect(engine, address, shown) as connection:
            try:
                # A colon in the query is the user's own ('08:30', ::int): nothing is bound here.
                statement = text(re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", query))
                result = connection.execute(statement)
                table = _table(result, shown)
            except exc.SQLAlchemyError as error:
                raise DataError(f"{shown}: the query failed: {_reason(error, address)}; check its tables and columns") from None
    finally:
        engine.dispose()
    check_rows(table, f"{shown}: the query {_short(query)}")
    if address.get_backend_name() == "sqlite":
        table = stamped(table)
    return clean(table, shown)


def tables(url: str) -> list[str]:
    """The tables and views of a database, by name. Raises DataError as `read` does."""
    with inspected(url) as (found, _):
        return sorted([*found.get_table_names(), *found.get_view_names()])


@contextmanager
def inspected(url: str) -> Iterator[tuple[Inspector, str]]:
    """What tells of tables and keys while the database is open, and the url without its password.

    Raises DataError as `read` does."""
    from sqlalchemy import exc, inspect

    address = _address(url)
    shown = address.render_as_string(hide_password=True)
    _check_file(address, shown)
    engine = _engine(address, shown)
    try:
        with _connect(engine, address, shown) as connection:
            yield inspect(connection), shown
    except exc.SQLAlchemyError as error:
        raise DataError(f"{shown}: its tables cannot be listed: {_reason(error, address)}") from None
    finally:
        engine.dispose()


def _address(url: str) -> URL:
    from sqlalchemy import exc, make_url

    try:
        address = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise DataError(
            "the database url cannot be understood; write for example sqlite:///file.db or postgresql://user@host/base"
        ) from None
    driver = _DRIVERS.get(address.drivername)
    return address.set(drivername=driver) if driver else address


def _check_file(address: URL, shown: str) -> None:
    # An embedded database would be made where none is, and the user would be told of a missing table.
    if address.get_backend_name() not in ("sqlite", "duckdb") or not address.database or address.database == ":memory:":
        return
    if address.database.startswith(("file:", "md:")):
        return
    if not Path(address.database).is_file():
        raise DataError(f"{shown} cannot be opened: there is no file {address.database}; check the path")


def _engine(address: URL, shown: str) -> Engine:
    from sqlalchemy import create_engine, exc

    try:
        return create_engine(_read_only(address))
    except (exc.SQLAlchemyError, ImportError) as error:
        raise DataError(
            f"{shown} cannot be opened: no driver for {address.drivername!r} ({_reason(error, address)}); "
            "use sqlite, duckdb or postgresql, or install the driver"
        ) from None


def _read_only(address: URL) -> URL:
    """The address such that an embedded database is opened for reading: a slip in a query must not change the source."""
    if not address.database or address.database == ":memory:" or address.database.startswith(("file:", "md:")):
        return address
    if address.get_backend_name() == "sqlite":
        path = quote(str(Path(address.database).absolute()))
        return address.set(database=f"file:{path}").update_query_dict({"mode": "ro", "uri": "true"})
    return address.update_query_dict({"access_mode": "READ_ONLY"}) if address.get_backend_name() == "duckdb" else address


def _connect(engine: Engine, address: URL, shown: str) -> Connection:
    from sqlalchemy import exc, text

    options = {"postgresql_readonly": True} if address.get_backend_name() == "postgresql" else {}
    try:
        connection = engine.connect().execution_options(stream_results=True, **options)
        # SQLite opens anything; only the first look tells a database from another file.
        connection.execute(
            text("SELECT name FROM sqlite_master" if address.get_backend_name() == "sqlite" else "SELECT 1")
        ).close()
        return connection
    except (exc.SQLAlchemyError, OSError) as error:
        raise DataError(f"{shown} cannot be opened: {_reason(error, address)}; check address, user and rights") from None


def _table(result: CursorResult[Any], shown: str) -> pa.Table:
    if not result.returns_rows:
        raise DataError(f"{shown}: the query gives no rows; write a SELECT")
    names = list(result.keys())
    check_names(names, shown)
    chunks = [_columns(rows, len(names)) for rows in _chunks(result)]
    if not chunks:
        return pa.table({name: pa.array([], pa.null()) for name in names})
    columns = [_joined([chunk[place] for chunk in chunks], name, shown) for place, name in enumerate(names)]
    return pa.table(columns, names=names)


def _chunks(result: CursorResult[Any]) -> Iterator[Sequence[Any]]:
    while rows := result.fetchmany(CHUNK_ROWS):
        yield rows


def _columns(rows: Sequence[Any], width: int) -> list[pa.Array]:
    return [_array([row[place] for row in rows]) for place in range(width)]


def _array(values: list[Any]) -> pa.Array:
    """Python values as Arrow; what Arrow has no type for becomes text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float} or kinds == {bool, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if kinds <= {Decimal, int} and Decimal in kinds:
        return _decimals([None if v is None else Decimal(v) for v in values])
    if kinds == {dt.datetime}:
        zoned = any(v is not None and v.tzinfo is not None for v in values)
        return pa.array(values, pa.timestamp("us", tz="UTC" if zoned else None))
    if kinds <= {bool, int, float, str, dt.date, dt.time, dt.timedelta, bytes} and len(kinds) <= 1:
        try:
            return pa.array(values)
        except pa.ArrowInvalid:  # whole numbers beyond 64 bits
            return pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.array([None if v is None else _text(v) for v in values], pa.string())


def _decimals(values: list[Decimal | None]) -> pa.Array:
    if any(v is not None and not v.is_finite() for v in values):  # PostgreSQL's numeric knows NaN and infinity
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    present = [v.as_tuple() for v in values if v is not None]
    scale = max(max(-int(v.exponent), 0) for v in present)
    whole = max(len(v.digits) + int(v.exponent) for v in present)
    if whole + scale > 38:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array(values, pa.decimal128(min(max(whole + scale, LEAST_PRECISION), 38), scale))


def _text(value: Any) -> str:
    return str(value) if isinstance(value, (str, UUID, int, float, Decimal)) else repr(value)


def _joined(parts: list[pa.Array], name: str, shown: str) -> pa.ChunkedArray:
    """Chunks of one column under one type: the narrowest that holds them all."""
    kinds = {part.type for part in parts} - {pa.null()}
    if not kinds:
        return pa.chunked_array([pa.nulls(len(part), pa.string()) for part in parts])
    if len(kinds) == 1:
        kind = kinds.pop()
    elif all(pa.types.is_decimal(k) for k in kinds):
        scale = max(k.scale for k in kinds)
        kind = pa.decimal128(min(max(max(k.precision - k.scale for k in kinds) + scale, LEAST_PRECISION), 38), scale)
    elif all(pa.types.is_integer(k) or pa.types.is_floating(k) or pa.types.is_decimal(k) for k in kinds):
        kind = pa.float64()
    else:
        kind = pa.string()
    try:
        return pa.chunked_array([part.cast(kind) for part in parts], type=kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{shown}: column {name!r} mixes {' and '.join(sorted(map(str, kinds)))}; cast it in the query"
        ) from None


def _reason(error: BaseException, address: URL) -> str:
    """The database's own words on one line, without the statement, and never with the password."""
    cause = getattr(error, "orig", None) or error
    first = cause.args[0] if cause.args else str(cause)
    if isinstance(first, dict):  # pg8000 hands on the server's fields; M is the message
        first = first.get("M", str(first))
    text = " ".join(re.sub(r"\(Background on this error.*|\(timeout is .*?\)", "", str(first), flags=re.S).split())[
        :200
    ].rstrip(".")
    return text.replace(str(address.password), "***") if address.password else text


def _short(query: str) -> str:
    text = " ".join(query.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
