"""How do pictures, masks and boxes travel in a table, and how is a picture of any mode read?

A dataset of pictures is an Arrow table with the columns of `schema()`: the picture and its mask as PNG bytes in the
convention of Hugging Face, the boxes of what is marked on it, its class, its group, where it came from, and for a drawn
picture the seed it was drawn with."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.fitting import Fit as Fit
from data.fitting import fitted as fitted
from data.fitting import fitted_boxes as fitted_boxes
from data.fitting import fitted_mask as fitted_mask
from data.limits import check_picture
from data.schema import Column, Schema

if TYPE_CHECKING:
    from PIL import Image

Array = np.ndarray
Mode = Literal["gray", "rgb"]

#: Picture and mask as `datasets` decodes them; boxes as its object-detection sets hold them: x, y, width, height in pixels.
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
BOXES = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.string()))])

IMAGE, MASK, OBJECTS, CLASS, GROUP, SOURCE, SEED = "image", "mask", "objects", "class", "group", "source", "seed"
#: What pictures are decoded from. Pillow knows more, some of them programs that it gives to others to run (PostScript).
FORMATS = frozenset("PNG JPEG BMP DIB TIFF WEBP GIF PPM JPEG2000 AVIF TGA".split())
#: A mask's pixel is marked from this value of 255 on.
MARKED = 128

#: Names that good parts go by, and words that say so within a name.
GOOD = frozenset("pass no_defect no_defects non_defective no_anomaly".split())
GOOD_WORDS = frozenset(
    "normal good ok free clean intact healthy nodefect nodefects defectfree nondefective undamaged uncracked perfect".split()
)
#: Beginnings of a name that deny the rest of it, and names that are good beside another one only.
DENIALS, BESIDE = ("no_", "non_", "not_", "without_", "no", "non", "un"), {"negative": "positive", "neg": "pos"}


def schema(classes: Sequence[str]) -> Schema:
    """The schema of a dataset of pictures; `classes` as they are spelled, most frequent first."""
    return Schema(
        (
            Column(name=IMAGE, kind="image", dtype=str(PICTURE)),
            Column(name=MASK, kind="mask", dtype=str(PICTURE), nullable=True),
            Column(name=OBJECTS, kind="boxes", dtype=str(BOXES), nullable=True),
            Column(name=CLASS, kind="categorical", dtype="string", categories=tuple(classes)),
            Column(name=GROUP, kind="text", dtype="string", nullable=True),
            Column(name=SOURCE, kind="text", dtype="string", nullable=True),
            Column(name=SEED, kind="text", dtype="int64", nullable=True),
        ),
        target=CLASS,
        group=GROUP,
    )


def is_pictures(rows: Schema) -> bool:
    """Whether these are pictures rather than rows of a table."""
    return IMAGE in rows and rows[IMAGE].kind == "image"


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory, all of one size.

    pixels: (n, h, w, c) uint8, c = 1 (gray) or 3 (RGB); masks: (n, h, w) bool, False where there is no mask;
    masked: (n,) bool, whether a mask is known (a known mask may be empty); labels: (n,) int64 positions in `classes`;
    classes: their names; sources: where each came from; keys: a name for each that no other has ("" when unknown)."""

    pixels: Array
    masks: Array
    masked: Array
    labels: Array
    classes: tuple[str, ...]
    _: KW_ONLY
    groups: tuple[str | None, ...] = ()
    sources: tuple[str | None, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[3])

    def take(self, places: Any) -> Pictures:
        """The pictures at these positions, in this order."""
        where = np.asarray(places, dtype=np.int64)
        few = [tuple(part[i] for i in where) if part else () for part in (self.groups, self.sources)]
        return Pictures(
            self.pixels[where], self.masks[where], self.masked[where], self.labels[where], self.classes,
            groups=few[0], sources=few[1],
        )  # fmt: skip

    def of(self, name: str) -> Pictures:
        """The pictures of one class."""
        return self.take(np.flatnonzero(self.labels == self.classes.index(name)))

    def boxes(self, i: int) -> tuple[int, int, int, int] | None:
        """x, y, width, height in pixels of what the i-th mask marks; None for an empty one."""
        return box(self.masks[i])


def pictures(rows: Dataset) -> Pictures:
    """Decode a dataset of pictures that all have one size, as `counterpoise` brings them to.

    Where a row has boxes but no mask, the boxes are its mask. Raises DataError for pictures of several sizes or modes."""
    classes = tuple(str(level) for level in rows.schema[CLASS].categories)
    table = rows.table
    stacks = [decode(cell["bytes"]) for cell in table.column(IMAGE).to_pylist()]
    shapes = sorted({stack.shape for stack in stacks})
    if len(shapes) > 1:
        raise DataError(f"the pictures have {len(shapes)} shapes ({shapes[0]}, {shapes[1]}, ...); bring them to one size first")
    h, w = shapes[0][:2] if shapes else (1, 1)
    masks, masked = np.zeros((len(stacks), h, w), dtype=bool), np.zeros(len(stacks), dtype=bool)
    pairs = zip(table.column(MASK).to_pylist(), table.column(OBJECTS).to_pylist(), strict=True)
    for i, (cell, objects) in enumerate(pairs):
        if cell is not None and cell["bytes"] is not None:
            masks[i], masked[i] = decode(cell["bytes"])[:, :, 0] >= MARKED, True
        elif objects is not None:  # an empty list says that nothing is marked, where None says that nobody looked
            for x, y, width, height in objects["bbox"]:
                masks[i, int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
            masked[i] = True
    where = {name: i for i, name in enumerate(classes)}
    labels = np.array([where[str(level)] for level in table.column(CLASS).to_pylist()], dtype=np.int64)
    pixels = np.stack(stacks) if stacks else np.zeros((0, 1, 1, 1), dtype=np.uint8)
    groups, sources = (tuple(table.column(name).to_pylist()) for name in (GROUP, SOURCE))
    return Pictures(pixels, masks, masked, labels, classes, groups=groups, sources=sources)


def batch(
    pixels: Array,
    classes: Sequence[str],
    *,
    masks: Array | Sequence[Array | None] | None = None,
    names: Sequence[str],
    groups: Sequence[str | None] | None = None,
    sources: Sequence[str | None] | None = None,
    seeds: Sequence[int | None] | None = None,
) -> pa.RecordBatch:
    """Pictures as a batch of the columns of `schema()`.

    pixels: (n, h, w, c) uint8; classes: one name each; masks: (n, h, w) bool, or None where a picture has none; names: the
    file name each picture would have, without its ending. Boxes come from the connected parts of each mask."""
    n = len(pixels)
    marks: list[Array | None] = [None] * n if masks is None else list(masks)
    images = [{"bytes": encode(p), "path": f"{name}.png"} for p, name in zip(pixels, names, strict=True)]
    cells = [
        None if m is None else {"bytes": encode(m[:, :, None].astype(np.uint8) * 255), "path": f"{name}_mask.png"}
        for m, name in zip(marks, names, strict=True)
    ]
    objects = [None if m is None else parts_of(m, level) for m, level in zip(marks, classes, strict=True)]
    columns = [
        pa.array(images, PICTURE),
        pa.array(cells, PICTURE),
        pa.array(objects, BOXES),
        pa.array([str(level) for level in classes], pa.string()),
        pa.array([None] * n if groups is None else list(groups), pa.string()),
        pa.array([None] * n if sources is None else list(sources), pa.string()),
        pa.array([None] * n if seeds is None else list(seeds), pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=[IMAGE, MASK, OBJECTS, CLASS, GROUP, SOURCE, SEED])


def good(classes: Sequence[str]) -> str | None:
    """The class that is named as good parts are (good, OK, ok_front, MT_Free, no defect), or that denies another one (no_crack
    beside crack, Negative beside Positive); None where there is none."""
    named = [str(name) for name in classes]
    return next((name for name in named if _is_good(name)), None) or next((n for n in named if _denies(n, named)), None)


def _plain(name: str) -> str:
    return "_".join(word for word in re.split(r"[^a-z]+", name.lower()) if word)


def _denies(name: str, names: Sequence[str]) -> bool:
    """Whether a class is what another one is not."""
    plain, others = _plain(name), {_plain(other) for other in names} - {""}
    if BESIDE.get(plain) in others:
        return True
    denied = {plain.removeprefix(start) for start in DENIALS if plain.startswith(start)} - {""}
    return bool(denied & others)


def _is_good(name: str) -> bool:
    plain = _plain(name)
    words = set(plain.split("_"))
    return plain in GOOD or (bool(words & GOOD_WORDS) and not words & {"no", "not", "non", "un"})


def normal_class(held: Pictures, stated: str | None = None) -> str | None:
    """The class of good parts: the one stated, else one named so, else the one whose known masks are all empty.

    None when there is no such class. Raises DataError when the stated one is not there."""
    if stated is not None:
        if stated not in held.classes:
            raise DataError(f"normal: there is no class {stated!r}; the classes are {', '.join(held.classes)}")
        return stated
    if (named := good(held.classes)) is not None:
        return named
    empty = []
    for k, name in enumerate(held.classes):
        known = held.masked & (held.labels == k)
        if known.any() and not held.masks[known].any():
            empty.append(name)
    return empty[0] if len(empty) == 1 else None


def box(mask: Array) -> tuple[int, int, int, int] | None:
    """x, y, width, height of the marked pixels of (h, w) bool; None when nothing is marked."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def parts_of(mask: Array, level: str) -> dict[str, list[Any]]:
    """The connected parts of a mask as boxes of class `level`, left to right as they are met."""
    from scipy import ndimage

    marked, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=int))
    found = ndimage.find_objects(marked)
    boxes = [
        [float(x.start), float(y.start), float(x.stop - x.start), float(y.stop - y.start)]
        for y, x in (part for part in found if part is not None)
    ]
    return {"bbox": boxes, "category": [str(level)] * len(boxes)}


def encode(pixels: Array) -> bytes:
    """PNG of (h, w, 1 or 3) uint8; the same pixels give the same bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out, format="PNG", compress_level=6)
    return out.getvalue()


def decode(data: bytes) -> Array:
    """(h, w, 1 or 3) uint8 of an encoded picture of any mode; alpha is laid over black.

    Raises DataError when the bytes are no picture that can be decoded."""
    return to_pixels(opened(data))


def opened(data: bytes, *, upright: bool = True) -> Image.Image:
    """The picture that the bytes hold, fully read and, when `upright`, turned as its camera says.

    Raises DataError, with the reason, when they hold none or only part of one."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise DataError("the picture cannot be read (it is empty)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=formats())
            check_picture(*image.size)
            image.load()
            turned = ImageOps.exif_transpose(image) if upright else image
        turned.format = image.format
        return turned
    except DataError:
        raise
    except Exception as error:  # decoders answer damaged bytes with whatever they stumble over
        said = "it is no picture" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())[:120]
        raise DataError(f"the picture cannot be read ({said})") from None


@functools.cache
def formats() -> list[str]:
    """Those of FORMATS that the Pillow here can open."""
    from PIL import Image

    Image.init()
    return sorted(FORMATS & set(Image.OPEN))


def to_pixels(image: Image.Image, mode: Mode | None = None, *, top: int = 65535) -> Array:
    """(h, w, c) uint8 of a picture of any mode: 1-bit, gray, 16-bit, float, palette, RGB, CMYK, with or without alpha.

    mode: "gray" or "rgb"; None keeps gray gray and colour colour. Alpha is laid over black. top: the 16-bit value that
    becomes white (a camera of 12 bits ends at 4095). Floats are taken as 0 to 1 or 0 to 255 where they lie there, and any
    other numbers are stretched from their least to their greatest."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_squeezed(np.asarray(image), image.mode, top))
    elif image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
        image = image.convert("L" if mode == "gray" or _colourless(image) else "RGB")
    elif image.mode == "P" and _colourless(image.convert("RGB")):
        image = image.convert("L")
    gray = mode == "gray" or (mode is None and image.mode in ("1", "L"))
    pixels = np.asarray(image.convert("L" if gray else "RGB"), dtype=np.uint8)
    return pixels[:, :, None] if gray else pixels


def to_mask(image: Image.Image) -> Array:
    """(h, w) bool of a mask of any mode: what is bright is marked.

    Where the brightest value is below the middle of its type, the values are labels and all but 0 are marked, as are all
    but black in a picture with a palette. A mask that is drawn in the alpha channel alone is read there."""
    values = np.asarray(image.convert("RGBA") if image.mode in ("P", "PA", "La", "RGBa") else image)
    if values.dtype == bool:
        return values
    if values.ndim == 3:
        colours = 1 if values.shape[2] == 2 else 3
        plain, alpha = values[:, :, :colours].max(axis=2), values[:, :, -1]
        in_alpha = values.shape[2] in (2, 4) and plain.min(initial=255) == plain.max(initial=0) and alpha.min() < alpha.max()
        values = alpha if in_alpha else plain
    numbers = np.nan_to_num(values)
    middle = 32768 if numbers.max(initial=0) > 255 else MARKED
    # Lossy files are never quite black, so there a low value is no label.
    labels = image.mode == "P" or (numbers.max(initial=0) < middle and image.format not in ("JPEG", "WEBP"))
    return np.asarray(numbers > 0 if labels else numbers >= middle)


def _colourless(image: Image.Image) -> bool:
    parts = np.asarray(image.convert("RGB"))
    return bool((parts[..., 0] == parts[..., 1]).all() and (parts[..., 1] == parts[..., 2]).all())


def _squeezed(values: Array, mode: str, top: int) -> Array:
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    numbers = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    if mode.startswith("I;16") or (mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, float(top)
    elif low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if mode == "F" and high <= 1 else 255.0
    scaled = (numbers - low) / ((high - low) or 1.0) * 255
    return np.asarray(np.round(np.clip(scaled, 0, 255)), dtype=np.uint8)


def key(pixels: Array) -> str:
    """sha256 of the pixels and their shape: equal pictures, equal keys, however they were encoded."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def chunks(n: int, rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive pieces of at most `rows`."""
    for start in range(0, n, rows):
        yield start, min(start + rows, n)
