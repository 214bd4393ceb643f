"""Do keys hold what they promise, and is what does not named with how often and where first?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.encode_coarse import Coarse, information
from data.errors import DataError
from data.relations import IN_CIRCLE, ForeignKey, Relations, Tables, counts, depths, repeated_rows
from data.schema import Column
from tests.generators.related import RELATIONS, shop, shop_tables


def test_parents_come_before_their_children() -> None:
    order = RELATIONS.order()
    assert sorted(order) == sorted(RELATIONS.tables)
    assert all(order.index(k.parent) < order.index(k.table) for k in RELATIONS.foreign if not k.to_itself)


def test_relations_survive_json() -> None:
    assert Relations.from_json(RELATIONS.to_json()) == RELATIONS


def test_keys_are_ids_and_numbers_of_lines_are_found() -> None:
    made = shop(60)
    assert made["line"].schema["product_code"].kind == "id" and made["order"].schema["seller_id"].kind == "id"
    assert RELATIONS.numbered("line") == "nr" and RELATIONS.numbered("product_tag") is None
    assert RELATIONS.made("product") == ["code"] and RELATIONS.made("line") == []


def refused(tables: dict[str, pa.Table], relations: Relations, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        Tables.from_arrow(tables, relations)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def a_and_b(b: dict[str, list[int | None]], a: list[int | None] | None = None) -> dict[str, pa.Table]:
    return {"a": pa.table({"id": pa.array(a or [1, 2, 3]), "x": [1, 2, 3]}), "b": pa.table(b)}


KEYS = Relations({"a": ("id",), "b": ()}, (ForeignKey("b", "a_id", "a", "id"),))


def test_orphans_are_counted_and_the_first_is_named() -> None:
    refused(a_and_b({"a_id": [1, 7, 9, None]}), KEYS, r"2 of 4 rows of b\.a_id refer to no row of a\.id, the first to 7")


def test_keys_that_repeat_or_are_empty_are_refused() -> None:
    refused(a_and_b({"a_id": [1]}, [1, 1, 3]), KEYS, r"the key a\.id repeats: 1 values stand more than once, the first is 1")
    refused(a_and_b({"a_id": [1]}, [1, None, 3]), KEYS, r"the key a\.id is empty in 1 rows")


def test_keys_that_name_what_is_not_there_are_refused() -> None:
    fine = a_and_b({"a_id": [1]})
    refused(fine, Relations({"a": ("id",), "b": ()}, (ForeignKey("b", "a_id", "c", "id"),)), "needs the table 'c'")
    refused(fine, Relations({"a": ("id",), "b": ()}, (ForeignKey("b", "c_id", "a", "id"),)), r"needs the column b\.c_id")
    refused(fine, Relations({"a": ("nr",), "b": ()}), r"needs the column a\.nr")
    twice = (ForeignKey("b", "a_id", "a", "id"), ForeignKey("b", "a_id", "b", "a_id"))
    refused(fine, Relations({"a": ("id",), "b": ("a_id",)}, twice), r"b\.a_id refers to two tables")


def test_circles_of_tables_are_named() -> None:
    tables = {"a": pa.table({"id": [1], "b_id": [1]}), "b": pa.table({"id": [1], "a_id": [1]})}
    keys = (ForeignKey("a", "b_id", "b", "id"), ForeignKey("b", "a_id", "a", "id"))
    refused(tables, Relations({"a": ("id",), "b": ("id",)}, keys), "in a circle: a -> b -> a")


def test_composite_keys_of_other_columns_are_refused() -> None:
    tables = {"a": pa.table({"year": [1, 1], "nr": [1, 2]})}
    refused(tables, Relations({"a": ("year", "nr")}), r"primary key \(year, nr\), of which 'year' is no foreign key")


def test_types_of_keys_are_reconciled_or_refused() -> None:
    tables = {"a": pa.table({"id": pa.array([1, 2], pa.int32())}), "b": pa.table({"a_id": pa.array(["2", "1"])})}
    assert Tables.from_arrow(tables, KEYS)["b"].schema["a_id"].dtype == "int32"
    tables["b"] = pa.table({"a_id": ["x", "1"]})
    refused(tables, KEYS, r"b\.a_id is of type string and a\.id of type int32")


def test_text_is_left_out_and_said() -> None:
    tables = shop_tables(40)
    words = [f"once upon a time there was a customer called {i}" for i in range(40)]
    tables["customer"] = tables["customer"].append_column("note", pa.array(words))
    made = Tables.from_arrow(tables, RELATIONS)
    assert "note" not in made["customer"].schema
    assert made.notices == ("customer.note is text, which no family of tables writes, and is left out",)


def test_depths_tell_tops_loops_and_circles() -> None:
    np.testing.assert_array_equal(depths(np.array([-1, 0, 1, 3, 5, 4, 5])), [0, 1, 2, 0, IN_CIRCLE, IN_CIRCLE, IN_CIRCLE])


def test_counts_and_repeats() -> None:
    np.testing.assert_array_equal(counts(np.array([0, 2, 2, -1]), 4), [1, 0, 2, 0])
    one, other = np.array([0, 0, 1, -1, -1]), np.array([5, 5, 5, 5, 5])
    np.testing.assert_array_equal(repeated_rows([one, other]), [False, True, False, False, False])


def test_coarse_columns_keep_what_is_frequent() -> None:
    levels = pa.array(["a"] * 50 + ["b"] * 9 + ["c", "d"] + [None])
    coarse = Coarse.fit(levels, Column(name="x", kind="categorical", dtype="string", categories=("a", "b", "c", "d")))
    assert coarse.read(pa.array(["b", "a", "d", "new", None])).tolist() == [1, 0, Coarse.RARE, Coarse.RARE, Coarse.NULL]
    numbers = Coarse.of_numbers("x", np.r_[np.arange(1200.0), np.nan])
    codes = numbers.of(np.array([0.0, 600.0, 1199.0, np.nan]))
    assert codes[0] == 0 and codes[2] == 11 and codes[1] in (5, 6) and codes[3] == Coarse.NULL
    assert Coarse.from_json(numbers.to_json()) == numbers and Coarse.from_json(coarse.to_json()) == coarse
    assert numbers.points(codes).shape == (4, 2)


def test_information_is_nought_for_what_says_nothing() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(12, size=3000)
    assert information(a, rng.integers(12, size=3000)) == pytest.approx(0, abs=0.01)
    assert information(a, a % 3) == pytest.approx(np.log(3), abs=0.05)
