"""How far is a row from other rows? Rows as points, exact keys of rows, and nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.encode import Geometry
from data.encode_values import floats, plain
from data.schema import Column
from validators.stats import Array

#: Points per side of a neighbour search.
MOST = 5000
#: Deviation of even ranks: numbers weigh against levels as they do in the geometry of ranks.
EVEN = 12**-0.5
#: Numbers farther from the middle, in deviations, are as far as this.
CLIP = 4.0


def drawn(count: int, most: int, rng: np.random.Generator) -> Array:
    """Positions of at most `most` of `count` rows, in random order."""
    return rng.permutation(count)[:most]


def points(geometry: Geometry, rows: Dataset, places: Array) -> Array:
    """The encoded rows at these places: (k, d) float32, without loading the others where they lie in memory."""
    return geometry.transform(
        rows if len(places) == rows.num_rows and (places == np.arange(len(places))).all() else rows.take(places)
    )


@dataclass(frozen=True)
class Scaled:
    """The gate's geometry with numbers in units of the reference's deviation, not in ranks.

    Ranks squeeze what shrinks, and a little noise on a heavy value (the zeros of a capital gain) is a long way in them."""

    geometry: Geometry
    middles: dict[str, float]
    widths: dict[str, float]

    @classmethod
    def fit(cls, reference: Dataset, *, with_target: bool) -> Scaled:
        """Raises DataError when no column is left to measure."""
        geometry = Geometry.fit(reference, with_target=with_target)
        middles, widths = {}, {}
        for part in geometry.parts:
            if part.ranks is not None:
                known = floats(reference.column(part.name), part.name)
                known = known[~np.isnan(known)]
                middles[part.name] = float(known.mean()) if len(known) else 0.0
                widths[part.name] = (float(known.std()) if len(known) else 0.0) or 1.0
        return cls(geometry, middles, widths)

    def both(self, batch: pa.RecordBatch | Dataset) -> Array:
        """Ranks and, behind them, the numbers in units of their deviation, at most CLIP: (n, d + q) float32.

        Ranks close the gaps between modes, and deviations squeeze the body of a column with a long tail: clusters need
        both."""
        ranked = self.geometry.transform(batch)
        columns = [
            np.clip((self._floats(batch, name) - self.middles[name]) / width, -CLIP, CLIP) * EVEN
            for name, width in self.widths.items()
        ]
        scaled = [np.nan_to_num(column).astype(np.float32)[:, None] for column in columns]
        return np.concatenate([ranked, *scaled], axis=1)

    def _floats(self, batch: pa.RecordBatch | Dataset, name: str) -> Array:
        return floats(batch.column(name), name)

    def points(self, rows: Dataset, places: Array) -> Array:
        """(k, d) float64."""
        some = rows.take(places)
        out = self.geometry.transform(some).astype(np.float64)
        for part in self.geometry.parts:
            if part.ranks is not None:
                values = floats(some.column(part.name), part.name) - self.middles[part.name]
                out[:, part.start] = np.nan_to_num(values * (EVEN / self.widths[part.name]))
        return out


def nearest(query: Array, base: Array, k: int = 1) -> tuple[Array, Array]:
    """Distances and positions of the k nearest base points: (n, d), (m, d) -> (n, k), (n, k)."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=k).fit(base).kneighbors(query)
    return np.asarray(found[0]), np.asarray(found[1])


def nearest_others(cloud: Array, k: int = 1) -> Array:
    """Distance of each point to its k-th nearest other point of the same cloud: (n, d) -> (n,)."""
    from sklearn.neighbors import NearestNeighbors

    return np.asarray(NearestNeighbors(n_neighbors=k).fit(cloud).kneighbors()[0][:, -1])


def keys(rows: Dataset) -> Array:
    """One 64-bit key a row over the columns a family learns: equal rows, equal keys. (n,) uint64."""
    columns = rows.schema.learned
    parts = list(rows.scan(lambda batch, _: batch_keys(batch, columns)))
    return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])


def batch_keys(batch: pa.RecordBatch, columns: list[Column]) -> Array:
    """The keys of one batch over these columns: (n,) uint64."""
    key = np.full(batch.num_rows, 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in columns:
        values = batch.column(batch.schema.get_field_index(column.name))
        key = _mixed(key ^ (_texts(values) if column.discrete else _numbers(values, column.name)))
    return key


def _numbers(values: pa.Array, name: str) -> Array:
    seen = floats(values, name) + 0.0  # -0.0 is 0.0
    return _mixed(np.where(np.isnan(seen), np.nan, seen).view(np.uint64))


def _texts(values: pa.Array) -> Array:
    from pandas.util import hash_array

    array = plain(values).cast("string").fill_null("\0missing")
    encoded = array.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    if not len(codes):
        return np.zeros(0, dtype=np.uint64)
    levels = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    hashed: Array = hash_array(levels, categorize=False)
    return np.asarray(hashed[codes])


def _mixed(key: Array) -> Array:
    """The finaliser of splitmix64: every bit of the input reaches every bit of the output."""
    with np.errstate(over="ignore"):
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)))
