"""Is what is between tables told from what is within them, and is a broken key named?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.relations import Tables
from tests.generators.related import shop
from validators.relations import compare, scattered


@pytest.fixture(scope="module")
def real() -> Tables:
    return shop()


def replaced(tables: Tables, name: str, column: str, values: pa.Array) -> Tables:
    rows = tables[name]
    place = rows.table.schema.get_field_index(column)
    return Tables({**tables.parts, name: Dataset(rows.table.set_column(place, column, values), rows.schema)}, tables.relations)


def test_a_set_beside_itself_is_alike_in_all(real: Tables) -> None:
    told = compare(real, real)
    figures = told.figures()
    assert told.faults == ()
    assert figures["variation"] == figures["distance"] == 0
    assert figures["shapes"] == figures["across parents"] == figures["across grandparents"] == pytest.approx(1)
    assert figures["said"] == pytest.approx(1)
    # Equal rows lie on both sides, so a classifier that learns by heart is even misled.
    assert figures["auc"] < 0.55
    assert {(a.child, a.above) for a in told.across} >= {
        ("line.order_id -> customer_id", "customer"),
        ("order.customer_id", "customer"),
    }


def test_other_draws_of_the_same_shop_are_nearly_alike(real: Tables) -> None:
    figures = compare(real, shop(seed=1)).figures()
    assert figures["across parents"] > 0.85 and figures["said"] > 0.6


def test_children_given_at_random_say_nothing_of_their_parents(real: Tables) -> None:
    told = compare(real, scattered(real, seed=0))
    figures = told.figures()
    assert figures["shapes"] == pytest.approx(1)
    assert figures["said"] < 0.15 and figures["variation"] > 0.2
    parents = {t.table: t.auc for t in told.tables}
    assert parents["customer"] is not None and parents["customer"] > 0.75
    assert parents["tag"] is None


def test_references_to_no_row_and_repeated_links_are_faults(real: Tables) -> None:
    keys = real["order"].column("customer_id").to_numpy().copy()
    keys[:3] = 7
    broken = compare(real, replaced(real, "order", "customer_id", pa.array(keys)))
    assert any("3 of" in fault and "order.customer_id" in fault for fault in broken.faults)
    tags = np.ones(real["product_tag"].num_rows, dtype=np.int64)
    assert any(
        "product_tag" in fault for fault in compare(real, replaced(real, "product_tag", "tag_id", pa.array(tags))).faults
    )
