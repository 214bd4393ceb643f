"""How do scikit-learn's handwritten digits become pictures?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.images import batch, chunks

SIZES = (16, 32)
#: The brightest value of a digit as scikit-learn holds it.
FULL = 16.0


def read(*, size: int = 32) -> pa.Table:
    """1,797 digits, written by hand, as a table with the columns of `data.images.schema`: gray, classes "0" to "9".

    size: 16 or 32; the 8 x 8 pixels are scaled up smoothly. There are no masks, and who wrote a digit is not known, so
    there are no groups. Raises DataError for another size."""
    if size not in SIZES:
        raise DataError(f"digits come as pictures of {SIZES[0]} or {SIZES[1]} pixels a side, not of {size}; change size")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    levels = [str(int(digit)) for digit in bunch.target]
    pixels = np.stack([_grown(image, size) for image in bunch.images])
    parts = [
        batch(
            pixels[start:stop],
            levels[start:stop],
            names=[f"digit_{i:04d}" for i in range(start, stop)],
            sources=[f"digits/{i}" for i in range(start, stop)],
        )
        for start, stop in chunks(len(levels), 256)
    ]
    return pa.Table.from_batches(parts)


def _grown(image: np.ndarray, size: int) -> np.ndarray:
    """(8, 8) of 0..16 -> (size, size, 1) uint8."""
    from PIL import Image

    small = Image.fromarray(np.asarray(np.round(image * (255 / FULL)), dtype=np.uint8))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)[:, :, None]
