"""Are only rules proposed that all rows hold and that are not there by chance?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from configs.load import load
from data.constraints import make
from data.infer import infer
from data.propose import propose
from flows.init import write_plan
from tests.generators.test_constrained import orders


def test_orders_and_settled_levels_are_found_and_hold() -> None:
    rng = np.random.default_rng(0)
    towns = [f"town {i}" for i in range(12)]
    town = rng.integers(0, 12, 300)
    table = orders(300).append_column("town", pa.array([towns[i] for i in town]))
    table = table.append_column("county", pa.array([f"county {i // 4}" for i in town]))
    found = propose(table, infer(table, target="label"))
    assert {"use": "inequality", "columns": ["start", "ship", "end"]} in found
    assert {"use": "inequality", "columns": ["net", "gross"]} in found
    assert {"use": "functional_dependency", "columns": ["town"], "settle": ["county"]} in found
    assert not any(make(spec).breaches(table).any() for spec in found)
    assert len(found) == 3


def test_nothing_is_proposed_where_columns_are_independent_or_apart() -> None:
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "a": np.round(rng.normal(0, 1, 400), 2),
            "b": np.round(rng.normal(0, 1, 400), 2),
            "far": np.round(rng.normal(50, 1, 400), 2),  # above a and b whatever happens
            "code": rng.choice(list("uvwxyz"), 400),
            "other": rng.choice(list("kl"), 400),
        }
    )
    assert propose(table, infer(table)) == []
    few = orders(30)
    assert propose(few, infer(few)) == []


@pytest.mark.parametrize("uncomment", [False, True])
def test_init_writes_orders_of_times_and_others_as_comments(tmp_path: Path, uncomment: bool) -> None:
    pacsv.write_csv(orders(400), tmp_path / "orders.csv")
    path = write_plan(str(tmp_path / "orders.csv"), target="label", query=None, out=tmp_path / "p.yaml", force=False)
    lines = path.read_text().splitlines()
    at = lines.index("constraints:")
    assert lines[at + 1] == "  - {use: inequality, columns: [start, ship, end]}" and lines[at + 2].startswith("  # - {")
    if uncomment:
        lines[at + 2] = lines[at + 2].replace("# ", "", 1)
        path.write_text("\n".join(lines))
    assert [rule.use for rule in load(path).constraints] == ["inequality"] * (1 + uncomment)
