"""Can a name in an index, in annotations, in a manifest, or a link in a folder reach a file that is not of the set?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import images
from data.errors import DataError, PublishError
from data.publish import Publisher, verify
from data.sources import coco, image_folder, image_index, image_parquet, parquet, voc, yolo
from tests.data.publishing import publish

SIDE = 40


def put(file: Path, seed: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)
    file.write_bytes(images.encode(pixels))
    return file


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A set of pictures in home/sets/parts, and a private one in home/private."""
    for i in range(4):
        put(tmp_path / f"home/sets/parts/images/{i}.png", i)
    put(tmp_path / "home/private/me.png", 9)
    return tmp_path / "home"


def index(parts: Path, name: str) -> Callable[[], Any]:
    rows = "".join(f"images/{i}.png,{'pit' if i < 2 else 'good'}\n" for i in range(4))
    (parts / "index.csv").write_text(f"file,class\n{rows}{name},pit\n")
    return lambda: image_index.read(parts, size=SIDE)


def annotations(parts: Path, name: str) -> Callable[[], Any]:
    names = [*(f"images/{i}.png" for i in range(4)), name]
    held = {
        "images": [{"id": i, "file_name": file} for i, file in enumerate(names)],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [1, 1, 9, 9]} for i in (0, 1, 4)],
        "categories": [{"id": 1, "name": "pit"}],
    }
    (parts / "instances.json").write_text(json.dumps(held))
    return lambda: coco.read(parts, size=SIDE)


def listed(parts: Path, name: str) -> Callable[[], Any]:
    (parts / "labels").mkdir()
    for i in range(4):
        (parts / f"labels/{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n" if i < 2 else "")
    (parts / "train.txt").write_text("".join(f"images/{i}.png\n" for i in range(4)) + f"{name}\n")
    (parts / "data.yaml").write_text("train: train.txt\nnames: [pit]\n")
    return lambda: yolo.read(parts, size=SIDE)


def placed(parts: Path, name: str) -> Callable[[], Any]:
    (parts / "labels").mkdir()
    (parts / "labels/0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (parts / "data.yaml").write_text(f"train: images\nval: {Path(name).parent}\nnames: [pit]\n")
    return lambda: yolo.read(parts, size=SIDE)


def celled(parts: Path, name: str) -> Callable[[], Any]:
    cells = pa.array([{"bytes": None, "path": p} for p in [*(f"images/{i}.png" for i in range(4)), name]], images.PICTURE)
    pq.write_table(pa.table({"image": cells, "label": ["pit", "pit", "good", "good", "pit"]}), parts / "all.parquet")
    return lambda: image_parquet.read(parts / "all.parquet", size=SIDE)


WAYS = [index, annotations, listed, placed, celled]


@pytest.mark.parametrize("how", ["up", "absolute"])
@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_leads_out_of_the_set_is_refused(world: Path, way: Callable[..., Any], how: str) -> None:
    name = "../../private/me.png" if how == "up" else str(world / "private/me.png")
    read = way(world / "sets/parts", name)
    with pytest.raises(DataError, match="lies outside of") as caught:
        read()
    assert "\n" not in str(caught.value) and "private" in str(caught.value)


@pytest.mark.parametrize("way", [index, annotations, listed, celled])
def test_a_link_that_leads_out_of_the_set_is_refused_unless_links_are_followed(
    world: Path, way: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "sets/parts/images/link.png").symlink_to(world / "private/me.png")
    read = way(world / "sets/parts", "images/link.png")
    with pytest.raises(DataError, match=r"link.png is a link to .*private/me.png, outside of .*COUNTERPOISE_LINKS=follow"):
        read()
    monkeypatch.setenv("COUNTERPOISE_LINKS", "follow")
    assert read().num_rows == 5


@pytest.mark.parametrize("way", WAYS)
def test_names_within_the_set_are_read(world: Path, way: Callable[..., Any]) -> None:
    if way is placed:
        put(world / "sets/parts/more/5.png", 5)
    name = "more/5.png" if way is placed else "images/../extra.png"
    put(world / "sets/parts/extra.png", 8)
    assert way(world / "sets/parts", name)().num_rows >= 5


def test_the_folder_that_a_plan_states_may_be_anywhere(world: Path) -> None:
    read = index(world / "sets/parts", "me.png")
    with pytest.raises(DataError):
        read()
    (world / "sets/parts/index.csv").write_text("file,class\nme.png,pit\nyou.png,good\n")
    put(world / "private/you.png", 10)
    assert image_index.read(world / "sets/parts", root=str(world / "private"), size=SIDE).num_rows == 2


def test_folders_of_pictures_and_of_parquet_hold_no_link_out(world: Path) -> None:
    parts = world / "sets/parts"
    (parts / "images/pit").mkdir()
    (parts / "images/pit/x.png").symlink_to(world / "private/me.png")
    for read in (image_folder.read, voc.read):
        with pytest.raises(DataError, match="is a link to"):
            read(parts)
    pq.write_table(pa.table({"a": [1]}), world / "private/rows.parquet")
    (parts / "rows.parquet").symlink_to(world / "private/rows.parquet")
    with pytest.raises(DataError, match="is a link to"):
        parquet.read(parts)


def test_a_manifest_that_names_a_file_elsewhere_is_no_version(tmp_path: Path) -> None:
    version = publish(Publisher(str(tmp_path / "out"), "d"), tmp_path)
    path = Path(version.uri) / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("../../secret", "/etc/passwd", "data/../../x"):
        manifest["files"][0]["path"] = name
        path.write_text(json.dumps(manifest))
        assert f"{name!r} in the manifest lies outside of the version" in verify(version.uri)


def test_no_dataset_and_no_run_lies_outside_of_its_root(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/b", "..", ""):
        with pytest.raises(PublishError, match="cannot name a folder"):
            publish(Publisher(str(tmp_path), name), tmp_path)
        with pytest.raises(PublishError, match="cannot name a folder"):
            publish(Publisher(str(tmp_path), "d"), tmp_path, run_id=name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/LATEST").write_text("../../etc\n")
    with pytest.raises(PublishError, match="no version"):
        Publisher(str(tmp_path), "d").latest()
