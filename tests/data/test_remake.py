"""Are personal values made anew of the same kind, never a real one, and the same however they are cut?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.errors import DataError
from data.infer import infer
from data.personal import find
from data.remake import MADE, Remaker, check_locale, keys_alike
from tests.data.people import CALLED, people


def bare(values: list[str]) -> set[str]:
    return {"".join(str(value).split()).casefold() for value in values}


@pytest.mark.parametrize("locale", CALLED)
def test_never_a_real_value_and_found_to_be_of_the_same_kind(locale: str) -> None:
    table, true = people(locale)
    made = {}
    for name, what in true.items():
        values = Remaker.fit(what, table.column(name), key=name, locale=locale).draw(0, 200, seed=1)
        assert not bare(values.to_pylist()) & bare(table.column(name).to_pylist()) and not values.null_count
        made[name] = values
    # A second look takes what was made for what it replaces.
    anew = pa.table(made)
    assert {one.column: one.what for one in find(anew, infer(anew), locale=locale)} == true


@pytest.mark.parametrize("what", MADE)
def test_the_same_values_however_they_are_cut(what: str) -> None:
    real = pa.chunked_array([pa.array([f"A{i:04d}" for i in range(50)])])
    maker = Remaker.fit(what, real, key="c")
    whole = maker.draw(0, 60, seed=3).to_pylist()
    parts = [*maker.draw(0, 7, 3).to_pylist(), *maker.draw(7, 30, 3).to_pylist(), *maker.draw(37, 23, 3).to_pylist()]
    assert parts == whole and Remaker.fit(what, real, key="c").draw(0, 60, 3).to_pylist() == whole
    assert maker.at(np.array([5, 5, 1], dtype=np.uint64), 3).to_pylist() == [whole[5], whole[5], whole[1]]
    assert maker.draw(0, 60, seed=4).to_pylist() != whole
    assert Remaker.fit(what, real, key="d").draw(0, 60, 3).to_pylist() != whole


def test_every_name_that_faker_knows_is_taken_and_still_none_comes_out() -> None:
    from faker.providers.person.ja_JP import Provider

    taken = [
        part for name in (*Provider.first_names, *Provider.last_names) for part in ([name] if isinstance(name, str) else name)
    ]
    for what in ("first_name", "last_name"):
        values = Remaker.fit(what, pa.chunked_array([pa.array(taken)]), key="c", locale="ja_JP").draw(0, 100, 0).to_pylist()
        assert not set(values) & set(taken)


def test_the_seed_alone_does_not_tell_which_values_were_passed_over() -> None:
    real = [f"555-{i:04d}" for i in range(50)]
    one = Remaker.fit("phone", pa.chunked_array([pa.array(real)]), key="c").draw(0, 50, 0).to_pylist()
    other = Remaker.fit("phone", pa.chunked_array([pa.array(real[1:])]), key="c").draw(0, 50, 0).to_pylist()
    assert not set(one) & set(other)


def test_emails_and_ids_are_each_their_own_and_mail_nobody() -> None:
    real = pa.chunked_array([pa.array([f"{i}@firm.com" for i in range(30)])])
    values = Remaker.fit("email", real, key="mail").draw(0, 3000, 0).to_pylist()
    assert len(set(values)) == 3000 and {value.partition("@")[2] for value in values} <= {
        "example.com",
        "example.org",
        "example.net",
    }
    ids = Remaker.fit("id", pa.chunked_array([pa.array(range(1, 501))]), key="id").draw(0, 3000, 0).to_pylist()
    assert len(set(ids)) == 3000 and not set(ids) & set(range(1, 501))


@pytest.mark.parametrize("dtype", [pa.int64(), pa.int32(), pa.float64()], ids=str)
@pytest.mark.parametrize("what", ["phone", "card", "ssn", "postcode", "id"])
def test_numbers_stay_numbers(what: str, dtype: pa.DataType) -> None:
    real = pa.chunked_array([pa.array([None, *range(212_555_000, 212_555_040)], dtype)])
    values = Remaker.fit(what, real, key="c").draw(0, 50, 0)
    assert pa.types.is_integer(values.type) and not set(values.to_pylist()) & set(real.to_pylist())


def test_the_extremes_of_real_ids_are_not_kept() -> None:
    maker = Remaker.fit("id", pa.chunked_array([pa.array([1_234_567, 7_654_321, 4_000_000])]), key="id").ids
    assert maker is not None and (maker.low, maker.high) == (1_000_000, 9_999_999)


def test_columns_that_hold_the_same_key_get_the_same_values() -> None:
    people_ = [f"P{i:03d}" for i in range(40)]
    gaps: list[str | None] = [None if i % 3 else person for i, person in enumerate(people_)]
    table = pa.table({"a": people_, "b": gaps, "c": people_[::-1], "d": pa.array(people_).dictionary_encode()})
    roots = keys_alike(table, dict.fromkeys("abcd", "id"))
    assert roots == {"a": "a", "b": "a", "c": "c", "d": "a"}
    made = {n: Remaker.fit("id", table.column(n), table.column("a"), key=roots[n]).draw(0, 9, 0).to_pylist() for n in "abcd"}
    assert made["a"] == made["b"] == made["d"] != made["c"]


def test_what_cannot_be_made_is_said() -> None:
    with pytest.raises(DataError, match="text cannot be made anew; drop the column"):
        Remaker.fit("text", pa.chunked_array([["a b"]]), key="note")
    with pytest.raises(DataError, match="no locale 'de_XX'; take one that it knows, e.g. de"):
        check_locale("de_XX")
    check_locale("ja_JP")
