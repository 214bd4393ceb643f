"""Which pictures are there when a user has none yet? Brushed metal with known defects, drawn by the project itself."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from data.samples.surfaces import COUNTS, Colour, draw


def read(*, counts: Mapping[str, int] | None = None, size: int = 64, colour: Colour = "gray", seed: int = 0) -> pa.Table:
    """Drawn surfaces as a table with the columns of `data.images.schema`.

    counts: pictures of each class (normal, scratch, pit, stain), 300, 120, 20 and 120 if not stated; size: pixels a side,
    32 to 256; colour: "gray" or "rgb". Raises DataError for an unknown class, a size out of bounds, or no picture."""
    return draw(COUNTS if counts is None else counts, size=size, seed=seed, colour=colour)
