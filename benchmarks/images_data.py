"""Which few pictures are learned from, and which real ones judge? The settings of the benchmark of pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.images import CLASS, Pictures, pictures, schema

Array = np.ndarray
FOLDERS = {"bsdata": "bsdata", "deeppcb": "deeppcb"}
#: Classes that are cut to a few; the others keep all their training pictures.
CUT = {
    "bsdata": ("pitting",),
    "deeppcb": ("mousebite", "open", "pin_hole", "short", "spur", "spurious_copper"),
    "surfaces": ("pit",),
}
#: Drawn surfaces: pictures of each class, for training and, of another seed and so of other parts, for the test.
SURFACES = {"normal": 300, "scratch": 120, "pit": 120, "stain": 120}
NAME = re.compile(r"^(bsdata|deeppcb|surfaces)(-small|-seg)?-(\d+)$")
DEFAULTS = (
    "bsdata-3", "bsdata-5", "bsdata-small-5", "bsdata-seg-5", "bsdata-seg-20",
    "deeppcb-5", "deeppcb-10", "deeppcb-20", "surfaces-5", "surfaces-20",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """`bsdata-small-5`: five pictures of the defect, of the small ones; `-seg`: what is judged is a segmenter's overlap.

    kind: "", "small" or "seg"; few: pictures of each class that is cut."""

    name: str
    data: str
    kind: str
    few: int

    @classmethod
    def of(cls, name: str) -> Setting:
        """Raises DataError for a name of another form."""
        found = NAME.match(name)
        if found is None or (found[2] and found[1] != "bsdata") or int(found[3]) < 1:
            raise DataError(f"there is no setting {name!r}; settings are named like {', '.join(DEFAULTS)}")
        return cls(name, found[1], (found[2] or "").lstrip("-"), int(found[3]))

    @property
    def cut(self) -> tuple[str, ...]:
        return CUT[self.data]

    @property
    def segments(self) -> bool:
        return self.kind == "seg"

    def train(self) -> Dataset:
        """All real training pictures."""
        return self._part("train")

    def test(self) -> Pictures:
        """All real test pictures, of other groups than those of train."""
        return pictures(self._part("holdout"))

    def places(self, seed: int) -> Array:
        """Positions in `train` of the few pictures of each class that is cut, and of all others; seed: which few."""
        labels = np.array(self.train().column(CLASS).to_pylist())
        rng = np.random.default_rng([seed, 20_31])
        kept = [np.flatnonzero(~np.isin(labels, self.cut))]
        for name in self.cut:
            own = np.flatnonzero(labels == name)
            if len(own) < self.few:
                raise DataError(f"{self.name}: there are {len(own)} training pictures of {name!r}, fewer than {self.few}")
            kept.append(rng.choice(own, self.few, replace=False))
        return np.sort(np.concatenate(kept))

    def few_of(self, seed: int) -> Dataset:
        """The real pictures that a seed is given."""
        return self.train().take(self.places(seed))

    def _part(self, part: str) -> Dataset:
        whole = _parts(self.data)[part]
        return _small(self.data)[part] if self.kind == "small" else whole


def folder() -> Path:
    """The data folder: COUNTERPOISE_DATA, else ../shared/data."""
    return Path(os.environ.get("COUNTERPOISE_DATA", "../shared/data"))


def absent(names: Sequence[str]) -> list[str]:
    """The settings whose data is not there."""
    sets = {name: Setting.of(name).data for name in names}
    return [name for name, data in sets.items() if data in FOLDERS and not (folder() / FOLDERS[data] / "index.csv").is_file()]


@cache
def _parts(data: str) -> dict[str, Dataset]:
    if data == "surfaces":
        from data.samples.surfaces import draw

        return {part: dataset(draw(SURFACES, seed=seed)) for part, seed in (("train", 0), ("holdout", 1))}
    from data.sources import image_index

    # Whole groups are divided by the source; looking for near-duplicates would only add to them.
    table = image_index.read(folder() / FOLDERS[data], near_duplicates=False)
    split = np.array(table.column("split").to_pylist())
    whole = dataset(table)
    return {part: whole.take(np.flatnonzero(split == part)) for part in ("train", "holdout")}


def dataset(table: pa.Table) -> Dataset:
    """The pictures of a source's table, classes by how many they are; other columns, as that of a split, are left out."""
    names, counts = np.unique(table.column(CLASS).to_pylist(), return_counts=True)
    kept = schema([str(names[i]) for i in np.lexsort((names, -counts))])
    return Dataset(table.select(kept.names), kept)


@cache
def _small(data: str) -> dict[str, Dataset]:
    """Only the defects whose marks are smaller than the median of those in train, beside all good parts."""
    parts = {name: (rows, pictures(rows)) for name, rows in _parts(data).items()}
    shares = {name: held.masks.mean(axis=(1, 2)) for name, (_, held) in parts.items()}
    flawed = {name: np.isin(np.array(held.classes)[held.labels], CUT[data]) for name, (_, held) in parts.items()}
    middle = float(np.median(shares["train"][flawed["train"]]))
    return {name: rows.take(np.flatnonzero(~flawed[name] | (shares[name] < middle))) for name, (rows, _) in parts.items()}
