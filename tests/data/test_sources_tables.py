"""Are tables and their keys read from databases and files, and is what cannot be read named?"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.relations import ForeignKey, Tables
from data.sources.tables import keys_of, parse_key, read
from tests.generators.related import RELATIONS, shop_tables


@pytest.fixture
def base(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT);
            CREATE TABLE pet (nr INTEGER PRIMARY KEY, owner_id INTEGER REFERENCES owner, kind TEXT);
            CREATE TABLE visit (pet_nr INTEGER REFERENCES pet(nr), day TEXT);
            CREATE TABLE pair (a INTEGER, b INTEGER, PRIMARY KEY (a, b));
            CREATE TABLE deal (a INTEGER, b INTEGER, FOREIGN KEY (a, b) REFERENCES pair (a, b));
            CREATE VIEW cats AS SELECT * FROM pet WHERE kind = 'cat';
            INSERT INTO owner VALUES (2, 'Ada'), (1, 'Bob');
            INSERT INTO pet VALUES (7, 1, 'cat'), (5, 2, 'dog'), (6, NULL, 'cat');
            INSERT INTO visit VALUES (7, '2024-01-02'), (7, '2024-02-02');
            INSERT INTO pair VALUES (1, 2);
            INSERT INTO deal VALUES (1, 2);
            """
        )
    return f"sqlite:///{path}"


def test_a_database_states_its_keys(base: str) -> None:
    held, relations = read(url=base, tables=["owner", "pet", "visit"])
    assert relations.primary == {"owner": ("id",), "pet": ("nr",), "visit": ()}
    # A key that names no column means the primary key.
    assert set(relations.foreign) == {ForeignKey("pet", "owner_id", "owner", "id"), ForeignKey("visit", "pet_nr", "pet", "nr")}
    assert held["pet"].column("nr").to_pylist() == [5, 6, 7]
    assert Tables.from_arrow(held, relations)["pet"].schema["owner_id"].kind == "id"


def test_views_are_no_tables(base: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("DROP TABLE deal")
    assert keys_of(base)[0] == ["owner", "pair", "pet", "visit"]


def test_a_table_left_out_takes_its_keys_with_it(base: str) -> None:
    relations = read(url=base, tables=["pet", "visit"])[1]
    assert relations.foreign == (ForeignKey("visit", "pet_nr", "pet", "nr"),)


def test_composite_foreign_keys_and_unknown_tables_are_refused(base: str) -> None:
    with pytest.raises(DataError, match=r"deal refers to pair by 2 columns together \(a, b\)"):
        read(url=base)
    with pytest.raises(DataError, match="no table 'pets' in .*; did you mean 'pet'"):
        read(url=base, tables=["pets"])


def test_files_have_the_keys_that_are_stated(tmp_path: Path) -> None:
    files = {}
    for name, table in shop_tables(60).items():
        files[name] = str(tmp_path / f"{name}.{'csv' if name in ('order', 'line') else 'parquet'}")
        (pacsv.write_csv if files[name].endswith("csv") else pq.write_table)(table, files[name])
    keys = [f"{k.name} -> {k.parent}.{k.key}" for k in RELATIONS.foreign]
    primary = {name: list(own) if len(own) > 1 else own[0] for name, own in RELATIONS.primary.items()}
    held, relations = read(files=files, primary=primary, keys=keys)
    assert relations == RELATIONS
    assert Tables.from_arrow(held, relations)["order"].num_rows == held["order"].num_rows


@pytest.mark.parametrize("text", ["a.b", "a -> b.c", "a.b -> c", "-> b.c"])
def test_keys_that_are_not_written_so_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="write it as table.column -> parent.column"):
        parse_key(text)


def test_neither_or_both_of_url_and_files_are_refused() -> None:
    for how in ({}, {"url": "sqlite:///x.db", "files": {"a": "a.csv"}}):
        with pytest.raises(DataError, match="either url"):
            read(**how)


def test_files_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: there is no such file"):
        read(files={"a": "nowhere.csv"})


def test_chinook_is_read_with_all_its_keys(real_data: Path) -> None:
    path = real_data / "chinook/chinook.sqlite"
    if not path.is_file():
        pytest.skip("chinook is not here; set COUNTERPOISE_DATA to a folder that holds it")
    tables = Tables.from_arrow(*read(url=f"sqlite:///{path}"))
    assert len(tables.parts) == 11 and len(tables.relations.foreign) == 11
    assert tables.relations.primary["PlaylistTrack"] == ("PlaylistId", "TrackId")
