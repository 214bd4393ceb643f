"""Does pruning keep what LATEST and tags name, and does a version go as a whole?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import PublishError
from data.publish import Publisher
from data.stores import LocalStore
from tests.data import test_publish_s3 as on_s3
from tests.data.publishing import make_table, publish, rest

bucket, server = on_s3.bucket, on_s3.server


@pytest.fixture(params=["disk", "s3"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Publisher]:
    if request.param == "s3":
        request.getfixturevalue("bucket")
        yield on_s3.publisher(request.getfixturevalue("server"))
    else:
        yield Publisher(str(tmp_path / "out"), "adult")


def test_the_last_ones_stay_and_what_latest_or_a_tag_names(shop: Publisher, tmp_path: Path) -> None:
    for rows in range(10, 16):
        publish(shop, tmp_path, rows=rows)
    shop.tag("audited", "v000002")
    assert shop.prune(2, dry=True) == ["v000001", "v000003", "v000004"] and len(shop.versions()) == 6
    assert shop.prune(2) == ["v000001", "v000003", "v000004"]
    assert shop.versions() == ["v000002", "v000005", "v000006"] and shop.latest() == "v000006"
    assert all(shop.verify(name) == [] for name in shop.versions())
    # A tag moves and goes; what nothing names any more may be pruned, and no number is given twice.
    shop.tag("audited", "v000005")
    assert shop.tags() == {"audited": "v000005"}
    assert shop.prune(1) == ["v000002"]
    shop.tag("audited", None)
    assert shop.prune(1) == ["v000005"] and shop.tags() == {}
    assert publish(shop, tmp_path).name == "v000007"


def test_latest_is_kept_where_it_was_set_back(tmp_path: Path) -> None:
    shop = Publisher(str(tmp_path / "out"), "adult")
    for _ in range(3):
        publish(shop, tmp_path)
    (tmp_path / "out/adult/LATEST").write_text("v000001\n")
    assert shop.prune(1) == ["v000002"] and shop.versions() == ["v000001", "v000003"]
    with pytest.raises(PublishError, match=r"v000001 is what LATEST or a tag names; it stays"):
        LocalStore(tmp_path / "out", "adult").remove("v000001")


def test_what_lies_in_quarantine_goes_by_age(shop: Publisher, tmp_path: Path) -> None:
    for k in range(4):
        told: dict[str, Any] = rest(tmp_path, run_id=f"run-{k}")
        shop.quarantine(iter(make_table(5).to_batches()), **told)
        manifest = tmp_path / f"out/adult/quarantine/run-{k}/manifest.json"
        if manifest.is_file():
            os.utime(manifest, (1e9 + k, 1e9 + k))
    assert shop.prune(1) == [f"quarantine/run-{k}" for k in range(3)]
    assert list(shop.store().placed()) == ["quarantine/run-3"]


@pytest.mark.parametrize(
    ("label", "name", "words"),
    [
        ("good", "v000009", r"has no version 'v000009'; it has v000001"),
        ("v000001", "v000001", "cannot be a tag"),
        ("LATEST", "v000001", "cannot be a tag"),
        ("../up", "v000001", "cannot be a tag"),
        ("gone", None, r"has no tag 'gone'; it has none"),
    ],
)
def test_a_tag_that_cannot_be_is_one_sentence(
    shop: Publisher, tmp_path: Path, label: str, name: str | None, words: str
) -> None:
    publish(shop, tmp_path)
    with pytest.raises(PublishError, match=words):
        shop.tag(label, name)


def test_what_a_killed_removal_leaves_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Publisher(str(tmp_path / "out"), "adult")
    publish(shop, tmp_path)
    publish(shop, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("data.stores.shutil.rmtree", lambda *_, **__: None)
        shop.prune(1)
    assert shop.versions() == ["v000002"] and len(list((tmp_path / "out/adult/.staging").iterdir())) == 1
    publish(shop, tmp_path)
    assert not list((tmp_path / "out/adult/.staging").iterdir())
