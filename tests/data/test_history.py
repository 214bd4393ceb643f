"""Is every version in the history, with what was set aside between them, wherever they lie?"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.history import PAGE, by_turns, history
from data.publish import Publisher
from tests.data import test_publish_objects as on_google
from tests.data import test_publish_s3 as on_s3
from tests.data.publishing import make_table, publish, rest

bucket, server, google = on_s3.bucket, on_s3.server, on_google.google
REPORT = {"verdict": "PASS", "reason": "all is well", "smallest_detectable_mode": 0.1,
          "findings": [{"check": "modes", "verdict": "PASS", "value": 0.9, "limit": 0.5, "summary": "fine"}]}  # fmt: skip


@pytest.fixture(params=["disk", "s3", "google"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    if request.param == "s3":
        request.getfixturevalue("bucket")
        yield on_s3.publisher(request.getfixturevalue("server"))
    elif request.param == "google":
        yield Publisher(on_google.made(request.getfixturevalue("google"), request.node.name, monkeypatch), "adult")
    else:
        yield Publisher(str(tmp_path / "out"), "adult")


def set_aside(shop: Publisher, folder: Path, run: str) -> None:
    told = rest(folder, run_id=run, report_json=json.dumps({**REPORT, "verdict": "BLOCK", "reason": "a mode is gone"}).encode())
    shop.quarantine(iter(make_table(30).to_batches()), **{**told, "facts": {**told["facts"], "verdict": "BLOCK"}})


def test_versions_and_what_was_set_aside_in_their_turns(shop: Publisher, tmp_path: Path) -> None:
    facts: dict[str, Any] = rest(tmp_path)["facts"]
    publish(shop, tmp_path, rows=30, run_id="run-1", report_json=json.dumps(REPORT).encode())
    for _ in range(2):  # S3 keeps whole seconds
        time.sleep(1.1 if shop.root.startswith("s3://") else 0.0)
        set_aside(shop, tmp_path, "run-2")
    time.sleep(1.1 if shop.root.startswith("s3://") else 0.0)
    publish(shop, tmp_path, rows=60, run_id="run-3", facts={**facts, "moved": ["more rows"]}, lineage={"model": "gan@12"})
    shop.tag("audited", "v000001")
    found = history(shop)
    assert [(each.name, each.version, each.verdict, each.rows) for each in found.attempts] == [
        ("v000001", True, "PASS", 30), ("quarantine/run-2", False, "BLOCK", 30), ("v000002", True, "PASS", 60),
    ]  # fmt: skip
    assert (found.latest, found.left, found.uri, [each.tags for each in found.attempts]) == (
        "v000002", 0, shop.uri(), [("audited",), (), ()],
    )  # fmt: skip
    first, aside, second = found.attempts
    assert (first.reason, first.smallest, aside.reason, second.moved) == ("all is well", 0.1, "a mode is gone", ("more rows",))
    assert (second.model, second.run, second.findings) == ("gan", "run-3", ())  # its report says no more than a verdict
    assert (first.real, first.synthetic, first.classes) == (15, 15, ((" <=50K", 10, 10), (" >50K", 5, 5)))
    assert json.loads(json.dumps(first.to_json()))["findings"][0]["summary"] == "fine"
    assert [each.name for each in history(shop, last=1).attempts] == ["v000002"] and history(shop, last=1).left == 2


def test_the_page_lies_beside_the_versions(shop: Publisher, tmp_path: Path) -> None:
    publish(shop, tmp_path)
    for text in ("<!doctype html>one", "<!doctype html>two \N{CHECK MARK}"):
        shop.store().put(PAGE, text)
        assert shop.store().text(PAGE) == text
    assert shop.store().text("nothing.html") is None
    assert (shop.versions(), shop.latest(), shop.verify("v000001")) == (["v000001"], "v000001", [])
    assert list(shop.store().placed()) == ["v000001"]
    if shop.root.startswith("s3://"):
        told = shop.store()._client.head_object(Bucket=shop.store().bucket, Key=shop.store().key(PAGE))  # type: ignore[attr-defined]
        assert told["ContentType"] == "text/html; charset=utf-8"


def test_what_is_damaged_is_told_with_what_is_left(tmp_path: Path) -> None:
    shop = Publisher(str(tmp_path / "out"), "adult")
    for run in ("run-1", "run-2", "run-3"):
        publish(shop, tmp_path, run_id=run)
    folder = tmp_path / "out/adult"
    (folder / "v000001/manifest.json").write_text("{")
    (folder / "v000002/report.json").unlink()
    found = history(shop)
    assert [(each.name, each.verdict, each.reason) for each in found.attempts] == [
        ("v000002", "PASS", ""),
        ("v000003", "PASS", ""),
    ]


def test_a_manifest_of_before_knows_its_rows_alone(tmp_path: Path) -> None:
    shop = Publisher(str(tmp_path / "out"), "adult")
    publish(shop, tmp_path, rows=40)
    path = tmp_path / "out/adult/v000001/manifest.json"
    told = json.loads(path.read_text())
    for key in ("counts", "moved"):
        del told[key]
    path.write_text(json.dumps(told))
    (found,) = history(shop).attempts
    assert (found.rows, found.real, found.synthetic, found.classes, found.moved) == (40, 0, 0, (), ())


def test_no_clock_moves_a_version_before_an_earlier_one(tmp_path: Path) -> None:
    shop = Publisher(str(tmp_path / "out"), "adult")
    publish(shop, tmp_path, run_id="run-1")
    set_aside(shop, tmp_path, "run-2")
    publish(shop, tmp_path, run_id="run-3")
    for name, when in (("v000001", 3e9), ("quarantine/run-2", 3.5e9), ("v000002", 1e9)):  # set back before the second
        os.utime(tmp_path / "out/adult" / name / "manifest.json", (when, when))
    assert [each.name for each in history(shop).attempts] == ["v000001", "v000002", "quarantine/run-2"]
    copied = {"v000002": 5.0, "v000010": 5.0, "quarantine/b": 5.0, "quarantine/a": 5.0, "v000001": 5.0}
    assert list(by_turns(copied)) == ["v000001", "v000002", "v000010", "quarantine/a", "quarantine/b"]


def test_rows_without_classes_or_marks_are_counted(tmp_path: Path) -> None:
    from data.schema import Schema
    from tests.data.publishing import make_schema

    shop = Publisher(str(tmp_path / "out"), "adult")
    publish(shop, tmp_path, rows=20, schema=Schema(make_schema().columns))
    (plain,) = history(shop).attempts
    assert (plain.classes, plain.real, plain.synthetic) == (((None, 10, 10),), 10, 10)
    out = Publisher(str(tmp_path / "out"), "released")
    facts = {**rest(tmp_path)["facts"], "purpose": "release"}
    unmarked = make_table(20).drop_columns("is_synthetic")
    out.publish(iter(unmarked.to_batches()), **rest(tmp_path, facts=facts))
    (released,) = history(out).attempts
    assert (released.real, released.synthetic, released.purpose) == (0, 20, "release")
