"""Which pictures does this csv name, and what does it say of them?"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data.errors import DataError
from data.images import Fit
from data.sources._bring import head
from data.sources._dialect import load, sniff_delimiter, to_utf8
from data.sources._found import DEFECT, ENDINGS, NORMAL, Found, Rules, in_order, listed, part_of, pictures_below, rarest, told
from data.sources._marks import Both, Box, Marks, MaskFiles, Object, Objects, fits
from data.sources._pictures import table_of

#: Names that columns go by, in the order in which they are taken.
NAMES = {
    "image": "image image_path img_path image_file image_name file_name filename img picture path file image_id".split(),
    "class": "class label target category class_name defect_type defect type".split(),
    "mask": "mask mask_path mask_file mask_name ground_truth gt segmentation".split(),
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
FAR = 3


@dataclass(frozen=True)
class _Columns:
    """Which column holds what; "" for what none holds."""

    image: str
    level: str
    mask: str
    group: str
    split: str
    box: tuple[str, ...]
    sides: bool


@dataclass(frozen=True)
class _Row:
    line: int
    cells: Mapping[str, str]

    def of(self, column: str) -> str:
        return self.cells.get(column, "").strip() if column else ""


def read(
    path: str | Path,
    *,
    root: str | None = None,
    image_column: str | None = None,
    class_column: str | None = None,
    mask_column: str | None = None,
    box_columns: Sequence[str] | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    size: int | None = None,
    fit: Fit = "letterbox",
    mode: Literal["auto", "gray", "rgb"] = "auto",
    strict: bool = False,
    near_duplicates: bool = True,
    normal: str | None = None,
    few: bool = False,
) -> pa.Table:
    """The pictures that a csv names, as the table of `data.sources._pictures.table_of`.

    path: the csv, or a folder with an index.csv or a single csv that names pictures; columns that are not stated are found
    by their names. Several rows of one picture are several boxes; its class is then the rarest of theirs. Boxes that reach
    out of their pictures are none when there are masks (they tell where a picture was cut from).

    Raises DataError, with the line where there is one, for no such file, no column of pictures, a stated column that is not
    there, files that are not there, a box that is no number, and as `table_of` does."""
    file = _index(Path(path))
    rules = Rules(str(file), size, fit, mode, strict, near_duplicates, normal, few)
    names, rows = _rows(file)
    stated = {"image": image_column, "class": class_column, "mask": mask_column, "group": group_column, "split": split_column}
    columns = _columns(file, names, rows, stated, box_columns)
    base = _Base(file, Path(root) if root is not None else None)
    said: list[str] = []
    found = _found(file, base, columns, rows, rules, said)
    return table_of(found, rules, said)


def recognises(path: Path) -> dict[str, Any] | None:
    """A csv whose rows name pictures that are there, or a folder with an index.csv or just one such csv."""
    if (path / "index.csv").is_file():
        return {"path": str(path)} if _means_pictures(path / "index.csv") else None
    candidates = [path] if path.is_file() and path.suffix.lower() == ".csv" else []
    candidates += sorted(path.glob("*.csv")) if path.is_dir() else []
    return {"path": str(path)} if sum(_names_pictures(file) for file in candidates) == 1 else None


def _means_pictures(file: Path) -> bool:
    """Whether an index.csv is one of pictures, whole or not: what is wrong with it is told when it is read."""
    try:
        return _image_column(*_rows(file)) is not None
    except DataError:
        return bool(pictures_below(file.parent))


def _index(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / "index.csv").is_file():
        return path / "index.csv"
    naming = [file for file in sorted(path.glob("*.csv")) if _names_pictures(file)]
    if len(naming) != 1:
        seen = (
            f"{len(naming)} that name pictures ({listed([file.name for file in naming])})"
            if naming
            else "none that names pictures"
        )
        raise DataError(f"{path} holds no index.csv, and of its csv files {seen}; name the csv")
    return naming[0]


def _names_pictures(file: Path) -> bool:
    try:
        names, rows = _rows(file)
        column = _image_column(names, rows)
        return column is not None and any(_Base(file, None).of(row.of(column)) for row in rows[:50])
    except DataError:
        return False


def _rows(file: Path) -> tuple[list[str], list[_Row]]:
    text, _ = to_utf8(load(file), file)
    reader = csv.reader(io.StringIO(text.decode("utf-8"), newline=""), delimiter=sniff_delimiter(text))
    names: list[str] = []
    rows = []
    for cells in reader:
        if not names:
            names = [name.strip() for name in cells]
        elif any(cell.strip() for cell in cells):
            if len(cells) != len(names):
                raise DataError(
                    f"{file}, line {reader.line_num}: {len(cells)} fields where the header has {len(names)}; mend the row"
                )
            rows.append(_Row(reader.line_num, dict(zip(names, cells, strict=True))))
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(f"{file}: the column name {twice!r} stands there twice; rename one")
    if not rows:
        raise DataError(f"{file} holds a header and no rows; give an index with a row for each picture")
    return names, rows


def _columns(
    file: Path, names: list[str], rows: list[_Row], stated: Mapping[str, str | None], box: Sequence[str] | None
) -> _Columns:
    for name in [*stated.values(), *(box or ())]:
        if name is not None and name not in names:
            raise DataError(f"{file}: there is no column {name!r}; the columns are {', '.join(names)}")
    image = stated["image"] or _image_column(names, rows)
    if image is None:
        raise DataError(f"{file} has no column of pictures (image, file, path, ...): {', '.join(names)}; state image_column")
    found = {"image": image}
    for what in ("mask", "class", "group", "split"):
        free = [name for name in names if name not in found.values()]
        found[what] = stated[what] or _named(free, what, rows)
    places, sides = _box_columns(names, box)
    return _Columns(image, found["class"], found["mask"], found["group"], found["split"], places, sides)


def _named(names: list[str], what: str, rows: list[_Row]) -> str:
    plain = {_plain(name): name for name in reversed(names)}
    fit = [plain[name] for name in NAMES[what] if name in plain]
    if what == "mask":
        fit = [name for name in fit if any(_is_file(row.of(name)) for row in rows)]
    if what == "class":
        fit = [name for name in fit if not any(_is_file(row.of(name)) for row in rows[:50])]
    if what == "split":
        fit = [name for name in fit if all(part_of(row.of(name)) for row in rows if row.of(name))]
    return fit[0] if fit else ""


def _image_column(names: list[str], rows: list[_Row]) -> str | None:
    plain = {_plain(name): name for name in reversed(names)}
    held = [
        name
        for name in names
        if _is_file(rows[0].of(name)) and all(_is_file(cell) for row in rows[:50] if (cell := row.of(name)))
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


def _is_file(cell: str) -> bool:
    return Path(cell).suffix.lower() in ENDINGS


class _Base:
    """Where the files of an index start from: the folder stated, else the csv's or one of those that it lies in."""

    def __init__(self, file: Path, root: Path | None) -> None:
        around = [file.parent, *list(file.resolve().parent.parents)[:FAR]]
        self.folders = [root] if root is not None else around

    def of(self, name: str) -> Path | None:
        """The file of this name, None when it is not there."""
        if not name:
            return None
        places = [folder / name.replace("\\", "/") for folder in self.folders]
        bare = [] if _is_file(name) else [Path(f"{place}{ending}") for place in places for ending in sorted(ENDINGS)]
        return next((file for file in [*places, *bare] if file.is_file()), None)


def _found(file: Path, base: _Base, columns: _Columns, rows: list[_Row], rules: Rules, said: list[str]) -> list[Found]:
    pictures: dict[str, list[_Row]] = {}
    for row in rows:
        pictures.setdefault(row.of(columns.image), []).append(row)
    files = _there(file, base, [(name, some[0].line) for name, some in pictures.items()])
    if columns.level:
        _leave_out_unnamed(file, columns, pictures, rules, said)
    elif not columns.mask and not columns.box:
        raise DataError(f"{file} has no column of classes (class, label, ...) and none of masks or boxes; state class_column")
    levels = rarest([{row.of(columns.level) for row in some} - {""} for some in pictures.values()], NORMAL)
    masks = _masks(file, base, columns, pictures)
    boxes = _boxes(file, columns, pictures, files, bool(masks), said)
    return [
        Found(
            files[name], name.replace("\\", "/"), level if columns.level else None, _marks(file, name, masks, boxes),
            group=some[0].of(columns.group) or None, split=part_of(some[0].of(columns.split)),
        )
        for (name, some), level in zip(pictures.items(), levels, strict=True)
    ]  # fmt: skip


def _leave_out_unnamed(file: Path, columns: _Columns, pictures: dict[str, list[_Row]], rules: Rules, said: list[str]) -> None:
    unnamed = [name for name, some in pictures.items() if not any(row.of(columns.level) for row in some)]
    if unnamed and rules.strict:
        raise DataError(f"{file}, line {pictures[unnamed[0]][0].line}: {unnamed[0]} has no class; name it, or remove the row")
    if unnamed:
        said.append(told(f"Left out because {file.name} gives no class", unnamed))
    for name in unnamed:
        del pictures[name]


def _there(file: Path, base: _Base, names: Sequence[tuple[str, int]]) -> dict[str, Path]:
    """The files of these names (with their lines). Raises DataError when one is not there."""
    found = {name: base.of(name) for name, _ in names}
    missing = [(name, line) for name, line in names if found[name] is None]
    if missing:
        name, line = missing[0]
        what = f"{name!r} is not there" if name else "no picture is named"
        more = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise DataError(f"{file}, line {line}: {what}{more}; add it, remove the row, or state the folder it is in as root")
    return {name: where for name, where in found.items() if where is not None}


def _masks(file: Path, base: _Base, columns: _Columns, pictures: Mapping[str, list[_Row]]) -> dict[str, MaskFiles]:
    if not columns.mask:
        return {}
    cells = {
        name: [(row.of(columns.mask), row.line) for row in some if row.of(columns.mask)] for name, some in pictures.items()
    }
    where = _there(file, base, [cell for some in cells.values() for cell in some])
    return {
        name: MaskFiles(
            tuple(dict.fromkeys(where[mask] for mask, _ in some)), ", ".join(dict.fromkeys(mask for mask, _ in some))
        )
        for name, some in cells.items()
        if some
    }


def _boxes(
    file: Path, columns: _Columns, pictures: Mapping[str, list[_Row]], files: Mapping[str, Path], masked: bool, said: list[str]
) -> dict[str, tuple[Object, ...]]:
    """The boxes of each picture that has some; none at all when there are masks and a box does not fit its picture."""
    out: dict[str, tuple[Object, ...]] = {}
    for name, some in pictures.items():
        found = [(row.of(columns.level) or DEFECT, _box(file, columns, row)) for row in some]
        if things := tuple(Object(level, box) for level, box in found if box is not None):
            out[name] = things
    if not masked or not out:
        return out
    heads = in_order(lambda name: head(files[name]), list(out))
    for things, seen in zip(out.values(), heads, strict=True):
        if seen is not None and not all(thing.box and fits(thing.box, seen[0]) for thing in things):
            said.append(
                f"The columns {', '.join(columns.box)} reach out of the pictures, so the masks alone say what is marked."
            )
            return {}
    return out


def _box(file: Path, columns: _Columns, row: _Row) -> Box | None:
    cells = [row.of(name) for name in columns.box]
    if not any(cells):
        return None
    try:
        left, top, third, fourth = (float(cell) for cell in cells)
    except ValueError:
        raise DataError(f"{file}, line {row.line}: the box {', '.join(cells)} is not four numbers; correct it") from None
    box = (left, top, third, fourth) if columns.sides else (left, top, third - left, fourth - top)
    if not box[2] > 0 or not box[3] > 0:
        raise DataError(f"{file}, line {row.line}: the box {', '.join(cells)} has no area; correct it or leave its cells empty")
    return box


def _marks(
    file: Path, name: str, masks: Mapping[str, MaskFiles], boxes: Mapping[str, tuple[Object, ...]]
) -> Callable[[tuple[int, int]], Marks] | None:
    things = Objects(boxes[name], file.name) if name in boxes else None
    mask = masks.get(name)
    return Both(mask, things) if mask is not None and things is not None else mask or things
