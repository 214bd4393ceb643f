"""Which rows of many belong to which file, and how is one of these files written?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from flows.stages.personal import Remade
from flows.stages.sample import IdColumns
from generators.base import Generator

#: Rows of a file when the number of shards is not stated, and rows of a row group.
FILE_ROWS, GROUP_ROWS = 1_000_000, 131_072


@dataclass(frozen=True)
class Draw:
    """What is drawn, and how it is divided. The rows of a shard depend on model, condition, seed, rows and the number of shards
    alone, not on who draws it, nor when."""

    run: Path
    rows: int
    where: dict[str, str | None]
    seed: int
    shards: int

    def size(self, shard: int) -> int:
        """Rows of a shard: as even as can be."""
        return self.rows // self.shards + (shard < self.rows % self.shards)

    def first(self, shard: int) -> int:
        """Rows of all shards before it."""
        return shard * (self.rows // self.shards) + min(shard, self.rows % self.shards)

    def seed_of(self, shard: int) -> int:
        """An independent stream for each shard: 0 <= seed < 2**31."""
        return int(np.random.SeedSequence([self.seed % 2**63, self.shards, shard]).generate_state(1)[0]) >> 1

    def file(self, shard: int) -> str:
        return f"part-{shard:05d}-of-{self.shards:05d}.parquet"


def written(draw: Draw, shard: int, model: Generator, ids: IdColumns, remade: Remade, to: Any) -> Iterator[int]:
    """Write one shard to a path or a file, batch by batch: how many rows each had.

    ids, remade: as they are for the first shard; they are left as they are."""
    ids, remade = ids.after(draw.first(shard)), remade.after(draw.first(shard))
    with pq.ParquetWriter(to, remade.schema.arrow(), compression="zstd", write_page_index=True) as writer:
        for batch in model.sample(draw.size(shard), where=draw.where or None, seed=draw.seed_of(shard)):
            writer.write_batch(remade.add(ids.renew(batch)), row_group_size=GROUP_ROWS)
            yield batch.num_rows
