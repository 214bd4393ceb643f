"""How large may what others packed become here? A few kilobytes can claim to be gigabytes."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from data.errors import DataError

#: Pixels along one side of a picture, and in all: beyond the largest cameras, and what fits into memory many times over.
SIDE, PIXELS = 65_535, 100_000_000
#: Packed text may grow to so many times its size, or to so many bytes whatever its size.
TIMES, BYTES = 100, 256 << 20
CHUNK = 4 << 20


def check_picture(width: int, height: int) -> None:
    """Raises DataError for a picture that is too large to be opened."""
    if max(width, height) > SIDE or width * height > PIXELS:
        raise DataError(
            f"the picture cannot be read (it claims {width:,} x {height:,} pixels; {SIDE:,} a side and {PIXELS:,} in all are "
            "the most, so cut it up or make it smaller)"
        )


def unpacked(path: Path) -> bytes:
    """The bytes of a .gz file.

    Raises DataError where they are far more than such a file holds, OSError or EOFError for damage."""
    most, parts, size = max(BYTES, TIMES * path.stat().st_size), [], 0
    try:
        with gzip.open(path) as packed:
            while part := packed.read(CHUNK):
                parts.append(part)
                size += len(part)
                if size > most:
                    raise DataError(f"{path} unpacks to more than {most:,} bytes; if you trust it, unpack it yourself first")
    except zlib.error as error:
        raise OSError(f"its gzip is damaged ({error})") from None
    return b"".join(parts)
