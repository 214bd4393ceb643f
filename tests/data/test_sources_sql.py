"""Are rows read from real databases with their types, without changing them, and faults said without the password?"""

import datetime as dt
import sqlite3

import duckdb
import pyarrow as pa
import pytest

from data.errors import DataError
from data.infer import infer
from data.sources import sql
from tests.postgres import postgres_server


@pytest.fixture
def lite(tmp_path):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as base:
        base.execute("create table t (i integer, f real, s text, d datetime)")
        base.executemany(
            "insert into t values (?, ?, ?, ?)",
            [(1, 1.5, "ä, b", "1955-01-01 10:00:00"), (None, 2, None, None), (3, None, "c", "2020-02-29 00:00:00")],
        )
    base.close()
    return path


def test_sqlite(lite):
    table = sql.read(f"sqlite:///{lite}", "select * from t")
    assert [str(t) for t in table.schema.types] == ["int64", "double", "string", "timestamp[us]"]
    assert table["i"].to_pylist() == [1, None, 3]
    assert table["d"].to_pylist()[0] == dt.datetime(1955, 1, 1, 10)
    assert infer(table)["d"].kind == "datetime"


def test_chunks_join_under_one_type(lite, monkeypatch):
    monkeypatch.setattr(sql, "CHUNK_ROWS", 1)
    whole = sql.read(f"sqlite:///{lite}", "select * from t")
    assert whole["f"].to_pylist() == [1.5, 2.0, None]
    mixed = sql.read(f"sqlite:///{lite}", "select 1 as x union all select 2.5 union all select null")
    assert mixed["x"].to_pylist() == [1.0, 2.5, None]


WRITES = [
    "create table u (a int)",
    "drop table t",
    "select 1; drop table t",
    "with x as (select 1) insert into t select * from t",
    "with x as (select 1) delete from t",
]


@pytest.mark.parametrize("query", WRITES)
def test_a_query_cannot_change_the_source(lite, query):
    before = lite.read_bytes()
    with pytest.raises(DataError, match="query failed|gives no rows|only read"):
        sql.read(f"sqlite:///{lite}", query)
    assert lite.read_bytes() == before


def test_colons_and_percents_are_the_users_own(lite):
    table = sql.read(f"sqlite:///{lite}", "select ' :x 10:30' as a, '50%' as b where 'abc' like 'a%'")
    assert table.to_pylist() == [{"a": " :x 10:30", "b": "50%"}]


def test_duckdb(tmp_path):
    path = tmp_path / "t.duckdb"
    base = duckdb.connect(str(path))
    base.execute(
        "create table t as select i::int as i, (i / 4)::decimal(10, 2) as m, date '1955-01-01' + i::int as d, "
        "timestamp '1955-01-01 10:00:00' + interval (i) hour as ts, i % 2 = 0 as b, uuid() as u from range(40) r(i)"
    )
    base.close()
    table = sql.read(f"duckdb:///{path}", "select * from t order by i")
    types = ["int64", "decimal128(18, 2)", "date32[day]", "timestamp[us]", "bool", "string"]
    assert [str(t) for t in table.schema.types] == types
    assert infer(table)["u"].kind == "id"
    with pytest.raises(DataError, match="only read"):
        sql.read(f"duckdb:///{path}", "drop table t")
    with pytest.raises(DataError, match="query failed"):
        sql.read(f"duckdb:///{path}", "with x as (select 1) delete from t")


@pytest.mark.parametrize(
    ("url", "query", "says"),
    [
        ("nonsense", "select 1", "cannot be understood"),
        ("foo://a/b", "select 1", "no driver for 'foo'"),
        ("sqlite:///none/such.db", "select 1", "there is no file"),
        ("postgresql://bob:geheim99@127.0.0.1:1/x", "select 1", "cannot be opened"),
        ("LITE", "select * from nope", "no such table: nope"),
        ("LITE", "select 1 where 1 = 0", "holds no rows"),
        ("LITE", "select 1 as a, 2 as a", "column name 'a' stands there 2 times"),
        ("LITE", "select 9e999 as x", "column 'x' holds an infinity in row 1"),
        ("LITE", "", "begins with nothing"),
    ],
)
def test_refusals(lite, url, query, says):
    with pytest.raises(DataError, match=says) as refusal:
        sql.read(f"sqlite:///{lite}" if url == "LITE" else url, query)
    assert "geheim99" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "t.db").write_text("a,b\n1,2\n" * 200)
    with pytest.raises(DataError, match="cannot be opened: file is not a database"):
        sql.read(f"sqlite:///{tmp_path / 't.db'}", "select 1")


@pytest.fixture(scope="module")
def postgres():
    with postgres_server() as url:
        yield url


def test_postgresql_types(postgres):
    table = sql.read(
        postgres,
        "select i::bigint as i, (i / 4.0)::numeric(10, 2) as m, date '1955-01-01' + i as d, "
        "timestamp '1955-01-01 10:00' + i * interval '1 hour' as ts, "
        "timestamptz '2020-01-01 10:00+02' as tz, i % 2 = 0 as b, case when i > 1 then 'ä🙂' end as s, "
        "gen_random_uuid() as u, i / 3.0::float8 as f, null as nothing from generate_series(1, 50) as i order by i",
    )
    types = ["int64", "decimal128(18, 2)", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]"]
    assert [str(t) for t in table.schema.types] == [*types, "bool", "string", "string", "double", "string"]
    assert table["s"].to_pylist()[:2] == [None, "ä🙂"]
    assert str(table["m"][0]) == "0.25"
    assert table["nothing"].null_count == 50
    assert infer(table)["m"].decimals == 2


def test_postgresql_streams_more_than_one_chunk(postgres, monkeypatch):
    monkeypatch.setattr(sql, "CHUNK_ROWS", 700)
    table = sql.read(postgres, "select i from generate_series(1, 5000) as i")
    assert table["i"].combine_chunks().equals(pa.chunked_array([pa.array(range(1, 5001))]).combine_chunks())


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select * from nope", 'relation "nope" does not exist'),
        ("create table t (i int)", "begins with CREATE"),
        ("with x as (delete from pg_class returning 1) select * from x", "query failed"),
        ("select 1; commit; create table t (i int)", "several statements"),
        ("select 'NaN'::float8 as x, 'Infinity'::float8 as y", "column 'y' holds an infinity in row 1"),
    ],
)
def test_postgresql_refusals(postgres, query, says):
    with pytest.raises(DataError, match=says) as refusal:
        sql.read(postgres, query)
    assert "geheim99" not in str(refusal.value)


def test_postgresql_wrong_password(postgres):
    with pytest.raises(DataError, match="cannot be opened: password authentication failed") as refusal:
        sql.read(postgres.replace("geheim99", "falsch77"), "select 1")
    assert "falsch77" not in str(refusal.value)
