"""Is personal data found wherever it stands, called what it is, and nowhere else?"""

from __future__ import annotations

import importlib
import random
import socket
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from faker import Faker
from sklearn import datasets

from data import personal_values
from data.infer import infer
from data.personal import Personal, find, suspects
from data.personal_words import announced
from tests.data.people import CALLED, people


def looked(table: pa.Table, **options: object) -> dict[str, Personal]:
    return {one.column: one for one in find(table, infer(table), **options)}  # type: ignore[arg-type]


@pytest.mark.parametrize("locale", CALLED)
@pytest.mark.parametrize("called", [True, False], ids=["called so", "called c0, c1"])
def test_people_of_five_countries_are_found_and_nothing_else(locale: str, called: bool) -> None:
    table, true = people(locale, called=called)
    found = looked(table, locale=locale)
    assert set(found) == set(true)
    wrong = {name: found[name].what for name in true if found[name].what != true[name]}
    # No recogniser knows a French national number; without its name it is an id, and made anew all the same.
    assert not wrong or (locale == "fr_FR" and not called and set(wrong.values()) == {"id"})


def test_nothing_that_is_told_holds_a_value() -> None:
    table, _ = people("en_US", 60)
    told = str([one.to_json() for one in find(table, infer(table))])
    for column in table.columns:
        values = {str(value) for value in column.to_pylist() if len(str(value)) > 6}
        assert not any(value in told for value in values)


def test_nothing_asks_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    personal_values._recogniser.cache_clear()
    assert set(people("de_DE", 40)[1]) <= set(looked(people("de_DE", 40)[0]))


def test_gaps_capitals_and_dictionaries_hide_nothing() -> None:
    rng = np.random.default_rng(0)
    table, true = people("en_US")
    for name in ("e-mail", "Phone", "iban"):
        values = [None if rng.random() < 0.3 else value for value in table.column(name).to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values).dictionary_encode())
    shouted = pa.array([value.upper() for value in table.column("FirstName").to_pylist()])
    table = table.set_column(table.schema.get_field_index("FirstName"), "FirstName", shouted)
    assert {name: one.what for name, one in looked(table).items()} == true


def test_numbers_are_personal_only_where_their_name_or_their_check_digits_say_so() -> None:
    rng = np.random.default_rng(0)
    cards = [int(value) for value in people("en_US", 100)[0].column("credit_card").to_pylist() if len(value) == 16]
    rows = len(cards)
    phones = rng.integers(2_125_550_000, 9_795_559_999, rows)
    table = pa.table(
        {"n": cards, "phone": phones, "bytes": phones, "amount": rng.integers(10**15, 10**16, rows), "fnlwgt": phones}
    )
    assert {name: one.what for name, one in looked(table).items()} == {"n": "card", "phone": "phone"}


def test_the_plan_overrules_and_nothing_is_needed_for_that() -> None:
    table, _ = people("en_US", 40)
    stated = {"FirstName": "none", "colour": "city"}
    assert [one.to_json()["what"] for one in find(table, infer(table), stated=stated, able=False)] == ["none", "city"]
    found = looked(table, stated=stated)
    assert found["FirstName"].what == "none" and found["FirstName"].stated and found["colour"].what == "city"


def test_names_of_things_are_no_names_of_persons() -> None:
    rows = 200
    words = pa.array([f"Rock {i} Live" for i in range(rows)])
    table = pa.table({"Name": words, "product_name": words, "artist": words})
    assert {one.what for one in looked(table).values()} == {"text"}  # dropped all the same: free text can name anybody
    few = pa.table({"name": np.random.default_rng(0).choice(["Rock", "Jazz", "Blues"], rows)})
    assert looked(few) == {}


def test_dates_codes_and_firms_are_nobody() -> None:
    fake, rng = Faker("en_US"), random.Random(1)
    fake.seed_instance(1)
    make = {
        "isbn": fake.isbn13, "ean": fake.ean13, "mac": fake.mac_address, "vin": fake.vin, "firm": fake.company, "job": fake.job,
        "file": fake.file_name, "url": fake.url, "colour": fake.color_name, "land": fake.country,
        "day": lambda: f"{rng.randrange(1, 29):02d}.{rng.randrange(1, 13):02d}.{rng.randrange(1990, 2024)}",
        "money": lambda: f"{rng.randrange(1000)}.{rng.randrange(1000):03d},{rng.randrange(100):02d} EUR",
        "place": lambda: f"{rng.uniform(-90, 90):.5f}, {rng.uniform(-180, 180):.5f}",
        "part": lambda: f"{rng.randrange(100, 999)}-{rng.randrange(10000, 99999)}",
        "ratio": lambda: f"{rng.random():.6f}", "serial": lambda: f"SN{rng.randrange(10**9):09d}",
    }  # fmt: skip
    held = {name: [value for value in (str(one()) for _ in range(60)) for _ in range(4)] for name, one in make.items()}
    assert looked(pa.table(held)) == {}


def test_a_place_is_personal_where_hardly_anybody_shares_it() -> None:
    rng = np.random.default_rng(0)
    small = pa.table({"zip": pa.array([f"{n:05d}" for n in rng.integers(0, 99999, 300)]), "x": rng.normal(size=300)})
    large = pa.table({"zip": pa.array([f"{n:05d}" for n in rng.integers(0, 9, 300)]), "x": rng.normal(size=300)})
    assert looked(small)["zip"].what == "postcode" and looked(large) == {}


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits"])
def test_nothing_is_found_in_scikit_learns_sets(name: str) -> None:
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    table = pa.Table.from_pandas(frame, preserve_index=False)
    assert looked(table) == {} and not suspects(table, infer(table))


@pytest.mark.parametrize(
    ("name", "found"),
    [("adult", {}), ("mammography", {}), ("bank-marketing", {}), ("telco_churn", {"customerID": "id"})],
)
def test_real_tables(real_data: Path, name: str, found: dict[str, str]) -> None:
    table = importlib.import_module("data.sources.csv").read(path=str(real_data / name / f"{name}.csv"))
    assert {column: one.what for column, one in looked(table).items()} == found


def test_the_customers_of_a_shop(real_data: Path) -> None:
    import pandas as pd

    with sqlite3.connect(real_data / "chinook/chinook.sqlite") as shop:
        customers = pa.Table.from_pandas(pd.read_sql("SELECT * FROM Customer", shop), preserve_index=False)
        genres = pa.Table.from_pandas(pd.read_sql("SELECT GenreId, Name FROM Genre", shop), preserve_index=False)
    assert {name: one.what for name, one in looked(customers).items()} == {
        "CustomerId": "id", "FirstName": "first_name", "LastName": "last_name", "Address": "address", "City": "city",
        "PostalCode": "postcode", "Phone": "phone", "Fax": "phone", "Email": "email",
    }  # fmt: skip
    assert "name" not in {one.what for one in looked(genres).values()}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CustomerEmail", "email"), ("E-Mail-Adresse", "email"), ("ip_address", None), ("MAC address", None),
        ("Straße", "address"), ("phone_service", None), ("BillingPostalCode", "postcode"), ("fnlwgt", None),
        ("capital-gain", None), ("Geburtsdatum", "birth_date"), ("numéro de sécurité sociale", "ssn"), ("product_name", None),
        ("user name", "username"), ("name", "maybe_name"), ("cellphone", "phone"), ("ssn", "ssn"), ("session", None),
        ("mobility", None), ("citytemp", None), ("顧客電話番号", "phone"),
    ],
)  # fmt: skip
def test_what_a_name_announces(name: str, said: str | None) -> None:
    assert announced(name) == said


def test_rare_family_names_hide_nobody() -> None:
    """Half of the values are on no list; what they begin with is, and no thing begins so."""
    given, ends = ["Rosa", "Karl", "Marta", "Jonas", "Emma"], ["Brinkhus", "Dorrenberg", "Quistlow", "Vendersen", "Ahlbrandt"]
    people_ = [f"{a} {b}{c}" for a in given for b in ends for c in ("", "feld", "sen")] * 4
    assert looked(pa.table({"name": people_}))["name"].what == "name"
    things = [
        f"{a} {b} {n}" for a in ("Blue", "Steel", "Oak") for b in ("chair", "lamp", "shelf") for n in ("one", "two", "xl")
    ] * 4
    assert looked(pa.table({"name": things}))["name"].what == "text"
