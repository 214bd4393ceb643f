"""Do a few bytes that claim to be gigabytes end in a sentence, rather than in the machine's memory?"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import PlanError
from configs.load import load
from data import documents, images, limits
from data.errors import DataError
from data.sources import coco, csv, image_folder, yolo
from flows.judging import read_mix
from validators.suite_file import read_suite


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size, its lines all zero and packed to almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compress(bytes(min((width + 1) * height, 1 << 22)), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 1), (1, 100_000), (60_000, 60_000), (11_000, 11_000)])
def test_a_picture_that_claims_too_many_pixels_is_not_opened(width: int, height: int) -> None:
    with pytest.raises(DataError, match=f"it claims {width:,} x {height:,} pixels|exceeds limit of") as caught:
        images.decode(png(width, height))
    assert "\n" not in str(caught.value)
    assert images.decode(png(4000, 16)).shape == (16, 4000, 1)


def test_such_a_picture_in_a_folder_is_listed_and_with_strict_refused(tmp_path: Path) -> None:
    for name in ("good/a", "good/b", "pit/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 256, (40, 40, 1), dtype=np.uint8)
        (tmp_path / f"{name}.png").write_bytes(images.encode(pixels))
    (tmp_path / "pit/wide.png").write_bytes(png(100_000, 1))
    table = image_folder.read(tmp_path, size=40)
    assert table.num_rows == 3
    assert "pit/wide.png (cannot be read (it claims 100,000 x 1" in str(table.schema.metadata)
    with pytest.raises(DataError, match=r"pit/wide.png \(cannot be read"):
        image_folder.read(tmp_path, size=40, strict=True)


def test_postscript_in_a_picture_is_given_to_no_program(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, format="EPS")
    with pytest.raises(DataError, match="it is no picture"):
        images.decode(out.getvalue())


def test_marks_that_claim_too_many_pixels_are_not_drawn(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 1), dtype=np.uint8)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(images.encode(np.roll(pixels, ord(name), axis=0)))
    runs = {"size": [100_000, 100_000], "counts": [0, 10_000_000_000]}
    held = {
        "images": [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate("abc")],
        "annotations": [{"id": 7, "image_id": 0, "category_id": 1, "segmentation": runs}],
        "categories": [{"id": 1, "name": "pit"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(held))
    with pytest.raises(DataError, match="annotation 7.*100,000 x 100,000 pixels"):
        coco.read(tmp_path, size=40, strict=True)
    held["annotations"][0] |= {"segmentation": [[1, 1, 5, 1, 5, 5]]}
    held["images"][0] |= {"width": 90_000, "height": 90_000}
    (tmp_path / "all.json").write_text(json.dumps(held))
    with pytest.raises(DataError, match="90,000 x 90,000 pixels"):
        coco.read(tmp_path, size=40, strict=True)


def test_a_packed_csv_that_unpacks_to_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BYTES", 1 << 20)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 4_000_000))
    with pytest.raises(DataError, match="bomb.csv.gz unpacks to more than 1,048,576 bytes; if you trust it, unpack it"):
        csv.read(tmp_path / "bomb.csv.gz")
    rows = "".join(f"{v}\n" for v in np.random.default_rng(0).integers(0, 10**9, 200_000))
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(f"a\n{rows}".encode()))
    assert csv.read(tmp_path / "rows.csv.gz").num_rows == 200_000
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(f"a\n{rows}".encode())[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        csv.read(tmp_path / "cut.csv.gz")


#: Ten lists of ten of the one before: ten thousand million values in five hundred bytes.
LAUGHS = "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n" + "".join(
    f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
LOOP = "x: &x [*x]\n"


@pytest.mark.parametrize("text", [LAUGHS, LOOP])
def test_yaml_that_multiplies_or_holds_itself_is_refused(tmp_path: Path, text: str) -> None:
    said = "aliases stand for more than 1,000,000 values" if text == LAUGHS else "."
    (tmp_path / "p.yaml").write_text(f"name: a\ndata: {{use: sklearn, set: iris}}\n{text}")
    with pytest.raises(PlanError, match=said):
        load(tmp_path / "p.yaml")
    (tmp_path / "suite.yaml").write_text(f"name: a\nexpectations: []\n{text}")
    with pytest.raises(DataError, match=said):
        read_suite(tmp_path / "suite.yaml")
    (tmp_path / "data.yaml").write_text(f"names: [pit]\n{text}")
    with pytest.raises(DataError, match=said):
        yolo.read(tmp_path / "data.yaml")
    (tmp_path / "mix.yaml").write_text(text)
    with pytest.raises(DataError, match="cannot be read as YAML"):
        read_mix(tmp_path / "mix.yaml")
    documents.check_size({"a": [1, 2, {"b": 3}]})


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    mark = tmp_path / "went_off"
    for tag in ("!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system"):
        text = f'name: {tag} ["touch {mark}"]\ndata: {{use: sklearn, set: iris}}\n'
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(PlanError):
            load(tmp_path / "p.yaml")
        (tmp_path / "suite.yaml").write_text(text)
        with pytest.raises(DataError):
            read_suite(tmp_path / "suite.yaml")
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(DataError):
            yolo.read(tmp_path / "data.yaml")
    assert not mark.exists()
