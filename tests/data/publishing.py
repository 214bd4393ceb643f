"""A small table with every kind of column, and how it is published, for the tests of publishing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from data.publish import Publisher, Version
from data.schema import Column, Schema

ROOT = Path(__file__).resolve().parents[2]


def make_schema() -> Schema:
    return Schema(
        (
            Column(name="age", kind="integer", dtype="int64", low=17, high=90),
            Column(name="pay, €", kind="numeric", dtype="double", low=0.25, high=99.5, decimals=2, nullable=True),
            Column(name="no", kind="categorical", dtype="string", categories=(" <=50K", " >50K")),
            Column(name="seen", kind="datetime", dtype="timestamp[ms]"),
        ),
        target="no",
    )


def make_table(rows: int, synthetic: bool | None = None) -> pa.Table:
    return pa.table(
        {
            "age": pa.array([17 + i % 70 for i in range(rows)], pa.int64()),
            "pay, €": pa.array([None if i % 7 == 0 else i / 4 for i in range(rows)], pa.float64()),
            "no": pa.array([" >50K" if i % 3 == 0 else " <=50K" for i in range(rows)]),
            "seen": pa.array([i * 1000 - 10**12 for i in range(rows)], pa.timestamp("ms")),
            "is_synthetic": pa.array([i % 2 == 1 if synthetic is None else synthetic for i in range(rows)]),
        }
    )


def rest(folder: Path, **changes: Any) -> dict[str, Any]:
    """All that publish takes beside the rows."""
    html = folder / "report-of-the-run.html"
    html.write_text("<html>report</html>")
    value: dict[str, Any] = {
        "schema": make_schema(),
        "run_id": "run-1",
        "report_json": b'{"verdict": "PASS"}',
        "report_html": html,
        "facts": {"purpose": "augment", "verdict": "PASS", "reason": "nothing is missing", "family": "gan", "seed": 7},
        "lineage": {"data_sha256": "ab" * 32},
        "plan_yaml": "name: test\n",
    }
    return value | changes


def publish(publisher: Publisher, folder: Path, rows: int = 100, **changes: Any) -> Version:
    return publisher.publish(iter(make_table(rows).to_batches()), **rest(folder, **changes))


def assert_untouched(root: Path, latest: str | None = None) -> None:
    folder = root / "d"
    assert (folder / "LATEST").exists() == (latest is not None)
    if latest:
        assert (folder / "LATEST").read_text().strip() == latest
    staging = folder / ".staging"
    assert not staging.exists() or list(staging.iterdir()) == []
    assert [p.name for p in folder.glob("v*")] == ([latest] if latest else [])
