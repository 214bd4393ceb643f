"""Do other tools read a version: Hugging Face datasets, Croissant?"""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest

from data.publish import Publisher
from data.schema import Column, Schema
from tests.data.publishing import make_table, publish, rest


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hugging Face's library without network, its cache in the test's own folder."""
    pytest.importorskip("datasets")
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


def test_hugging_face_reads_a_version(tmp_path: Path, offline: Path) -> None:
    from datasets import load_dataset

    table = make_table(250)
    whole = table.set_column(2, "no", table.column("no").dictionary_encode())
    version = Publisher(str(tmp_path / "out"), "d").publish(iter(whole.to_batches()), **rest(tmp_path, rows_per_file=100))
    by_folder = load_dataset(version.uri, split="train", cache_dir=str(offline))
    by_files = load_dataset(
        "parquet", data_files=[f"{version.uri}/{f}" for f in version.files], split="train", cache_dir=str(offline)
    )
    for rows in (by_folder, by_files):
        assert rows.to_list() == table.to_pylist()
        assert {name: f.dtype for name, f in rows.features.items()} == {
            "age": "int64", "pay, €": "float64", "no": "string", "seen": "timestamp[ms]", "is_synthetic": "bool",
        }  # fmt: skip


def make_images(count: int) -> tuple[pa.Table, Schema]:
    image = pytest.importorskip("PIL.Image")
    cells = []
    for i in range(count):
        buffer = io.BytesIO()
        image.new("RGB", (8, 6), (i, 0, 255 - i)).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": f"{i}.png"})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    boxes = [[[0.0, 1.0, 2.0, float(i)]] for i in range(count)]
    table = pa.table(
        {
            "image": pa.array(cells, kind),
            "label": ["scratch", "dent"] * (count // 2),
            "boxes": pa.array(boxes, pa.list_(pa.list_(pa.float32()))),
            "is_synthetic": [True] * count,
        }
    )
    columns = (
        Column(name="image", kind="image", dtype="struct"),
        Column(name="label", kind="categorical", dtype="string", categories=("scratch", "dent")),
    )
    return table, Schema(columns, target="label")


def test_hugging_face_decodes_images(tmp_path: Path, offline: Path) -> None:
    from datasets import load_dataset

    table, schema = make_images(6)
    version = Publisher(str(tmp_path / "out"), "d").publish(iter(table.to_batches()), **rest(tmp_path, schema=schema))
    for source in ({"path": version.uri}, {"path": "parquet", "data_files": [f"{version.uri}/{version.files[0]}"]}):
        rows = load_dataset(**source, split="train", cache_dir=str(offline))
        assert type(rows.features["image"]).__name__ == "Image"
        assert rows[4]["image"].size == (8, 6)
        assert rows[4]["image"].getpixel((0, 0)) == (4, 0, 251)
        assert rows["label"][:2] == ["scratch", "dent"]
        assert rows[5]["boxes"] == [[0.0, 1.0, 2.0, 5.0]]


def test_croissant_is_valid_and_its_records_read_back(tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    version = publish(Publisher(str(tmp_path / "out"), "d"), tmp_path, rows=50, rows_per_file=20)
    described = croissant.Dataset(jsonld=str(Path(version.uri) / "croissant.json"))
    assert described.metadata.ctx.issues.errors == set()
    assert str(described.metadata.ctx.conforms_to.value).endswith("/1.1")
    records = list(described.records("rows"))
    expected = make_table(50).to_pylist()
    assert [r["rows/age"] for r in records] == [e["age"] for e in expected]
    assert [r["rows/no"].decode() for r in records] == [e["no"] for e in expected]
    assert [r["rows/is_synthetic"] for r in records] == [e["is_synthetic"] for e in expected]


def test_croissant_reads_images(tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    table, schema = make_images(4)
    version = Publisher(str(tmp_path / "out"), "d").publish(iter(table.to_batches()), **rest(tmp_path, schema=schema))
    described = croissant.Dataset(jsonld=str(Path(version.uri) / "croissant.json"))
    assert described.metadata.ctx.issues.errors == set()
    assert [r["rows/image"].size for r in described.records("rows")] == [(8, 6)] * 4
