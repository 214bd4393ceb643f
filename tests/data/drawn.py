"""Pictures, masks and folders of them for the tests of readers."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from data.dataset import Dataset
from data.errors import DataError
from data.images import Pictures, pictures, schema
from data.sources._pictures import NOTICES


def texture(seed: int, size: tuple[int, int] = (40, 40), mode: str = "L") -> Image.Image:
    """A picture that is like no other: (width, height), of one mode."""
    channels = {"L": (), "RGB": (3,)}[mode]
    return Image.fromarray(np.random.default_rng(seed).integers(40, 200, (size[1], size[0], *channels), dtype=np.uint8))


def spot(size: tuple[int, int], box: tuple[int, int, int, int], value: int = 255) -> Image.Image:
    """A mask that marks x, y, width, height."""
    mask = np.zeros(size[::-1], dtype=np.uint8)
    x, y, w, h = box
    mask[y : y + h, x : x + w] = value
    return Image.fromarray(mask)


def put(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def notices(table: pa.Table) -> str:
    return "\n".join(json.loads((table.schema.metadata or {}).get(NOTICES, b"[]")))


def decoded(table: pa.Table) -> Pictures:
    levels = sorted(set(table["class"].to_pylist()))
    return pictures(Dataset(table, schema(levels)))


def by_source(table: pa.Table) -> dict[str, dict]:
    return {row["source"]: row for row in table.to_pylist()}


def refused(says: str, read, **options) -> None:
    """Reading so raises a DataError of one sentence that says this."""
    with pytest.raises(DataError, match=says) as refusal:
        read(**options)
    assert "\n" not in str(refusal.value)


def classes(root: Path, counts: dict[str, int], **options) -> Path:
    seed = 0
    for name, count in counts.items():
        for i in range(count):
            put(root / name / f"{i:03d}.png", texture(seed, **options))
            seed += 1
    return root
