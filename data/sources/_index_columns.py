"""Which column of an index holds what?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.sources._found import ENDINGS, part_of

#: Names that columns go by, in the order in which they are taken.
NAMES = {
    "image": "image image_path img_path image_file image_name file_name filename img picture path file image_id".split(),
    "class": "class label target category class_name defect_type defect type class_id classid".split(),
    "mask": "mask mask_path mask_file mask_name ground_truth gt segmentation".split(),
    "rle": "rle encoded_pixels encodedpixels rle_mask mask_rle".split(),
    "group": "group group_id part part_id board board_id lot serial panel patient_id".split(),
    "split": "split subset partition set".split(),
}
#: Names of the four columns of a box; the last four of these rows are width and height, not right and bottom.
CORNERS = (
    "bx0 by0 bx1 by1",
    "xmin ymin xmax ymax",
    "x_min y_min x_max y_max",
    "x0 y0 x1 y1",
    "x1 y1 x2 y2",
    "left top right bottom",
)
SIDES = (
    "bbox_x bbox_y bbox_w bbox_h",
    "bbox_x bbox_y bbox_width bbox_height",
    "x y w h",
    "x y width height",
    "left top width height",
)


@dataclass(frozen=True)
class Columns:
    """Which column holds what; "" for what none holds."""

    image: str
    level: str
    mask: str
    rle: str
    group: str
    split: str
    box: tuple[str, ...]
    sides: bool


@dataclass(frozen=True)
class Row:
    """One line of an index: the number of the line, and its cells by their columns."""

    line: int
    cells: Mapping[str, str]

    def of(self, column: str) -> str:
        return self.cells.get(column, "").strip() if column else ""


def columns_of(
    file: Path, names: list[str], rows: list[Row], stated: Mapping[str, str | None], box: Sequence[str] | None
) -> Columns:
    """The columns as they are stated, else as their names say. Raises DataError for one that is not there, or no pictures."""
    for name in [*stated.values(), *(box or ())]:
        if name is not None and name not in names:
            raise DataError(f"{file}: there is no column {name!r}; the columns are {', '.join(names)}")
    image = stated["image"] or image_column_of(names, rows)
    if image is None:
        raise DataError(f"{file} has no column of pictures (image, file, path, ...): {', '.join(names)}; state image_column")
    found = {"image": image}
    for what in ("mask", "rle", "class", "group", "split"):
        free = [name for name in names if name not in found.values()]
        found[what] = stated[what] or named(free, what, rows)
    places, sides = _box_columns(names, box)
    mask = "" if stated["rle"] else found["mask"]
    rle = "" if mask else found["rle"]
    return Columns(image, found["class"], mask, rle, found["group"], found["split"], places, sides)


def named(names: list[str], what: str, rows: list[Row]) -> str:
    """The column that is named as one of masks, classes, ... is, and holds such; "" for none."""
    plain = {_plain(name): name for name in reversed(names)}
    fit = [plain[name] for name in NAMES[what] if name in plain]
    if what == "mask":
        fit = [name for name in fit if any(is_file(row.of(name)) for row in rows)]
    if what == "class":
        fit = [name for name in fit if not any(is_file(row.of(name)) for row in rows[:50])]
    if what == "split":
        fit = [name for name in fit if all(part_of(row.of(name)) for row in rows if row.of(name))]
    return fit[0] if fit else ""


def image_column_of(names: list[str], rows: list[Row]) -> str | None:
    """The column of the pictures; None for none, or several that nothing tells apart."""
    plain = {_plain(name): name for name in reversed(names)}
    held = [
        name
        for name in names
        if is_file(rows[0].of(name)) and all(is_file(cell) for row in rows[:50] if (cell := row.of(name)))
    ]
    return next((plain[name] for name in NAMES["image"] if plain.get(name) in held), held[0] if len(held) == 1 else None)


def _box_columns(names: list[str], stated: Sequence[str] | None) -> tuple[tuple[str, ...], bool]:
    if stated is not None:
        return tuple(stated), re.search(r"w(idth)?$", _plain(stated[2])) is not None
    plain = {_plain(name): name for name in reversed(names)}
    for sides, rows in ((False, CORNERS), (True, SIDES)):
        for row in rows:
            if all(name in plain for name in row.split()):
                return tuple(plain[name] for name in row.split()), sides
    return (), False


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def is_file(cell: str) -> bool:
    """Whether a cell names a picture or mask."""
    return Path(cell).suffix.lower() in ENDINGS
