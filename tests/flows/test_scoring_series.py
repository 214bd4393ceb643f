"""Are new readings cut and read as those were that the model has learned?"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data.errors import DataError
from data.schema import Column
from data.windows import ELAPSED, schema
from flows.scoring_series import _found, _same_rate

MODEL = Column(name="model", kind="categorical", dtype="string", categories=("a", "b"))


def run_of(folder: Path, lengths: list[int]) -> Any:
    (folder / "profile.json").write_text(json.dumps({"lengths": lengths}), encoding="utf-8")
    return SimpleNamespace(folder=folder)


def test_what_the_plan_left_open_is_as_it_was_found(tmp_path: Path) -> None:
    known = schema(["x", ELAPSED], attributes=[MODEL])
    found = _found(run_of(tmp_path, [48, 48]), known, "series", {})
    assert found == {"length": 48, "channels": ["x"], "attributes": ["model"]}
    stated = {"length": "8h", "channels": ["x"], "attributes": []}
    assert _found(run_of(tmp_path, [48, 48]), known, "series", stated) == {}
    assert _found(run_of(tmp_path, [40, 48]), schema(["sound"]), "wav", {}) == {}


def test_another_rate_is_refused(tmp_path: Path) -> None:
    _same_rate(schema(["x"], period=300.0), schema(["x"], period=301.0), tmp_path)
    with pytest.raises(
        DataError, match="a reading every 60 s, and the model has learned one every 300 s; state data.resample: 300s"
    ):
        _same_rate(schema(["x"], period=60.0), schema(["x"], period=300.0), tmp_path)
