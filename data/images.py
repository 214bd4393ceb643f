"""How do pictures, masks and boxes travel in a table, and how does any picture come to the size and mode of a plan?

A dataset of pictures is an Arrow table with the columns of `schema()`: the picture and its mask as PNG bytes in the
convention of Hugging Face, the boxes of what is marked on it, its class, its group, where it came from, and for a drawn
picture the seed it was drawn with."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema

if TYPE_CHECKING:
    from PIL import Image

Array = np.ndarray
Fit = Literal["letterbox", "crop", "stretch"]
Mode = Literal["gray", "rgb"]

#: Picture and mask as `datasets` decodes them; boxes as its object-detection sets hold them: x, y, width, height in pixels.
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
BOXES = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.string()))])

IMAGE, MASK, OBJECTS, CLASS, GROUP, SOURCE, SEED = "image", "mask", "objects", "class", "group", "source", "seed"
#: A mask's pixel is marked from this value of 255 on.
MARKED = 128

#: Names that good parts go by.
GOOD = frozenset(
    {"normal", "good", "ok", "defect_free", "defect-free", "no_defect", "nodefect", "clean", "intact", "healthy", "pass"}
)


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
        elif objects is not None and objects["bbox"]:
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
    """The class that is named as good parts are, None where there is none."""
    return next((name for name in classes if str(name).strip().lower().replace(" ", "_") in GOOD), None)


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


def opened(data: bytes) -> Image.Image:
    """The picture that the bytes hold, fully read and turned as its camera says.

    Raises DataError, with the reason, when they hold none or only part of one."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = "it is no picture" if isinstance(error, UnidentifiedImageError) else str(error)[:120]
        raise DataError(f"the picture cannot be read ({said})") from None


def to_pixels(image: Image.Image, mode: Mode | None = None) -> Array:
    """(h, w, c) uint8 of a picture of any mode: 1-bit, gray, 16-bit, float, palette, RGB, CMYK, with or without alpha.

    mode: "gray" or "rgb"; None keeps gray gray and colour colour. 16-bit and float values are stretched from the least to
    the greatest of their own type where it is known (65535), else of the picture."""
    from PIL import Image

    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
        image = image.convert("L" if mode == "gray" or _colourless(image) else "RGB")
    elif image.mode.startswith(("I", "F")):
        image = Image.fromarray(_squeezed(np.asarray(image), image.mode))
    elif image.mode == "P" and _colourless(image.convert("RGB")):
        image = image.convert("L")
    gray = mode == "gray" or (mode is None and image.mode in ("1", "L"))
    pixels = np.asarray(image.convert("L" if gray else "RGB"), dtype=np.uint8)
    return pixels[:, :, None] if gray else pixels


def _colourless(image: Image.Image) -> bool:
    parts = np.asarray(image.convert("RGB"))
    return bool((parts[..., 0] == parts[..., 1]).all() and (parts[..., 1] == parts[..., 2]).all())


def _squeezed(values: Array, mode: str) -> Array:
    numbers = np.nan_to_num(values.astype(np.float64))
    if mode.startswith("I;16") or (mode == "I" and 255 < numbers.max(initial=0) <= 65535 and numbers.min(initial=0) >= 0):
        return np.asarray(np.round(numbers / 257.0), dtype=np.uint8)
    low, high = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    if mode == "I" and low >= 0 and high <= 255:
        return np.asarray(numbers, dtype=np.uint8)
    return np.asarray(np.round((numbers - low) / ((high - low) or 1.0) * 255), dtype=np.uint8)


def fitted(pixels: Array, size: int, how: Fit) -> Array:
    """(h, w, c) uint8 -> (size, size, c): letterbox (whole picture, edges filled with its border's mean), crop (middle
    square) or stretch. Shrinking and growing by Lanczos; a picture of the size already is left as it is."""
    return _placed(pixels, size, how, nearest=False)


def fitted_mask(mask: Array, size: int, how: Fit) -> Array:
    """(h, w) bool -> (size, size) bool, moved as `fitted` moves the picture. A pixel is marked when at least a quarter
    of what it covers was, and the strongest one where nothing else would be left of a mark."""
    if not mask.any():
        return np.zeros((size, size), dtype=bool)
    soft = _placed(mask[:, :, None].astype(np.uint8) * 255, size, how, nearest=True)[:, :, 0]
    if not soft.any():
        return np.zeros((size, size), dtype=bool)  # the mark lay in what was cropped away
    return np.asarray(soft >= min(64, int(soft.max())))


def _placed(pixels: Array, size: int, how: Fit, *, nearest: bool) -> Array:
    from PIL import Image

    h, w = pixels.shape[:2]
    if how == "crop":
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    shape = (size, size)
    if how == "letterbox":
        scale = size / max(h, w)
        shape = (max(1, round(w * scale)), max(1, round(h * scale)))
    if pixels.shape[:2] == (shape[1], shape[0]):
        inner = pixels
    else:
        gray = pixels.shape[2] == 1
        image = Image.fromarray(pixels[:, :, 0] if gray else pixels)
        way = Image.Resampling.BOX if nearest else Image.Resampling.LANCZOS
        inner = np.asarray(image.resize(shape, way), dtype=np.uint8).reshape(shape[1], shape[0], -1)
    if inner.shape[:2] == (size, size):
        return inner
    out = np.empty((size, size, inner.shape[2]), dtype=np.uint8)
    out[:] = 0 if nearest else _border(inner)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    out[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return out


def _border(pixels: Array) -> Array:
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.round(edge.mean(axis=0)), dtype=np.uint8)


def key(pixels: Array) -> str:
    """sha256 of the pixels and their shape: equal pictures, equal keys, however they were encoded."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def chunks(n: int, rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive pieces of at most `rows`."""
    for start in range(0, n, rows):
        yield start, min(start + rows, n)
