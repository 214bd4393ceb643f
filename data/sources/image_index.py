"""Which pictures does this csv name, and what does it say of them?"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from data.errors import DataError
from data.images import Fit, good
from data.sources._bring import head
from data.sources._dialect import load, sniff_delimiter, to_utf8
from data.sources._found import (
    DEFECT,
    ENDINGS,
    NORMAL,
    Found,
    Rules,
    in_order,
    is_picture,
    listed,
    part_of,
    pictures_below,
    rarest,
    told,
)
from data.sources._index_columns import Columns, Row, columns_of, image_column_of, is_file, named
from data.sources._marks import Both, Box, Marks, MaskFiles, Object, Objects, Starts, fits
from data.sources._pictures import table_of
from data.sources._within import within

FAR = 3


def read(
    path: str | Path,
    *,
    root: str | None = None,
    image_column: str | None = None,
    class_column: str | None = None,
    mask_column: str | None = None,
    rle_column: str | None = None,
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
    out of their pictures are none when there are masks (they tell where a picture was cut from). Marks may be runs of pixels
    as text; then pictures of the same folders that have no row are good, and the csv may lie beside the folder of the pictures.

    Raises DataError, with the line where there is one, for no such file, no column of pictures, a stated column that is not
    there, files that are not there, a box that is no number, and as `table_of` does."""
    file = _index(Path(path))
    rules = Rules(str(file), size, fit, mode, strict, near_duplicates, normal, few)
    names, rows = _rows(file)
    stated = {"image": image_column, "class": class_column, "mask": mask_column, "rle": rle_column, "group": group_column}
    columns = columns_of(file, names, rows, stated | {"split": split_column}, box_columns)
    base = _Base(file, Path(root) if root is not None else None, below=bool(columns.rle))
    said: list[str] = []
    found = _found(file, base, columns, rows, rules, said)
    return table_of(found, rules, said)


def recognises(path: Path) -> dict[str, Any] | None:
    """A csv whose rows name pictures that are there, or a folder with an index.csv or just one such csv."""
    if (path / "index.csv").is_file():
        return {"path": str(path)} if means_pictures(path / "index.csv") else None
    if path.is_dir():
        return {"path": str(path)} if len(_naming(path)) == 1 else None
    return {"path": str(path)} if path.is_file() and path.suffix.lower() == ".csv" and _names_pictures(path) else None


def _naming(folder: Path) -> list[Path]:
    """The csv files of a folder that name pictures, but for the forms that a contest wants filled in."""
    naming = [file for file in sorted(folder.glob("*.csv")) if _names_pictures(file)]
    return [file for file in naming if "submission" not in file.stem.lower()] or naming


def means_pictures(file: Path) -> bool:
    """Whether an index.csv is one of pictures, whole or not: what is wrong with it is told when it is read."""
    try:
        return image_column_of(*_rows(file)) is not None
    except DataError:
        return bool(pictures_below(file.parent))


def _index(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / "index.csv").is_file():
        return path / "index.csv"
    naming = _naming(path)
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
        column = image_column_of(names, rows)
        base = _Base(file, None, below=bool(named(names, "rle", rows)))
        return column is not None and any(base.of(row.of(column)) for row in rows[:50])
    except DataError:
        return False


def _rows(file: Path) -> tuple[list[str], list[Row]]:
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
            rows.append(Row(reader.line_num, dict(zip(names, cells, strict=True))))
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(f"{file}: the column name {twice!r} stands there twice; rename one")
    if not rows:
        raise DataError(f"{file} holds a header and no rows; give an index with a row for each picture")
    return names, rows


class _Base:
    """Where the files of an index start from: the folder stated, else the csv's or one of those that it lies in, or with
    `below` one of those beside it."""

    def __init__(self, file: Path, root: Path | None, *, below: bool) -> None:
        around = [file.parent, *list(file.resolve().parent.parents)[:FAR]]
        self.file, self.folders = file, [root] if root is not None else around
        #: What an index names lies in its own folder or beside that, unless the plan states another place.
        self.homes = [root] if root is not None else [file.parent, file.resolve().parent.parent]
        self.below = sorted(p for p in file.parent.iterdir() if p.is_dir()) if below and root is None else []

    def of(self, name: str) -> Path | None:
        """The file of this name, None when it is not there. Raises DataError for one outside of where its files may lie."""
        found = self._of(name) if name else None
        if found is None:
            return None
        return within(found, self.homes, str(self.file), name, "correct it, or state the folder that it is in as root")

    def _of(self, name: str) -> Path | None:
        places = [folder / name.replace("\\", "/") for folder in self.folders]
        bare = [] if is_file(name) else [Path(f"{place}{ending}") for place in places for ending in sorted(ENDINGS)]
        found = next((file for file in [*places, *bare] if file.is_file()), None)
        beside = [folder / name for folder in self.below if (folder / name).is_file()] if found is None else []
        return beside[0] if len(beside) == 1 else found


def _found(file: Path, base: _Base, columns: Columns, rows: list[Row], rules: Rules, said: list[str]) -> list[Found]:
    pictures: dict[str, list[Row]] = {}
    for row in rows:
        pictures.setdefault(row.of(columns.image), []).append(row)
    files = _there(file, base, [(name, some[0].line) for name, some in pictures.items()])
    if columns.level:
        _leave_out_unnamed(file, columns, pictures, rules, said)
    elif not columns.mask and not columns.rle and not columns.box:
        raise DataError(f"{file} has no column of classes (class, label, ...) and none of masks or boxes; state class_column")
    classes = [_levels(columns, some) for some in pictures.values()]
    normal = rules.normal or good(sorted(set().union(*classes))) or NORMAL
    levels = rarest(classes, normal)
    masks = _masks(file, base, columns, pictures)
    boxes = _boxes(file, columns, pictures, files, bool(masks), said)
    found = [
        Found(
            files[name], name.replace("\\", "/"), level if columns.level else None, _marks(file, name, masks, boxes),
            group=some[0].of(columns.group) or None, split=part_of(some[0].of(columns.split)),
        )
        for (name, some), level in zip(pictures.items(), levels, strict=True)
    ]  # fmt: skip
    return found + (_without_rows(file, files, normal if columns.level else None, said) if columns.rle else [])


def _levels(columns: Columns, some: Sequence[Row]) -> set[str]:
    """The classes of a picture: where a row stands for each class that there is, those of the rows with marks."""
    levels = {row.of(columns.level) for row in some} - {""}
    if not columns.rle or len(levels) < 2:
        return levels
    return {row.of(columns.level) for row in some if row.of(columns.rle)} - {""}


def _without_rows(file: Path, files: Mapping[str, Path], level: str | None, said: list[str]) -> list[Found]:
    """The pictures in the folders of those with rows that have none themselves."""
    folders = {where.parent: Path(name.replace("\\", "/")).parent for name, where in files.items()}
    taken = set(files.values())
    rest = [(p, name) for p, name in folders.items() for p in sorted(p.iterdir()) if is_picture(p) and p not in taken]
    if rest:
        said.append(told(f"Taken for good because {file.name} has no row of them", [p.name for p, _ in rest]))
    return [Found(p, (name / p.name).as_posix(), level) for p, name in rest]


def _leave_out_unnamed(file: Path, columns: Columns, pictures: dict[str, list[Row]], rules: Rules, said: list[str]) -> None:
    unnamed = [
        name
        for name, some in pictures.items()
        if not any(row.of(columns.level) for row in some) and (not columns.rle or any(row.of(columns.rle) for row in some))
    ]
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


def _masks(file: Path, base: _Base, columns: Columns, pictures: Mapping[str, list[Row]]) -> dict[str, MaskFiles]:
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
    file: Path, columns: Columns, pictures: Mapping[str, list[Row]], files: Mapping[str, Path], masked: bool, said: list[str]
) -> dict[str, tuple[Object, ...]]:
    """The boxes and runs of each picture that has some; none at all when there are masks and a box does not fit its picture."""
    out: dict[str, tuple[Object, ...]] = {}
    for name, some in pictures.items():
        found = [Object(row.of(columns.level) or DEFECT, _box(file, columns, row), _runs(file, columns, row)) for row in some]
        if things := tuple(thing for thing in found if thing.box is not None or thing.outline is not None):
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


def _box(file: Path, columns: Columns, row: Row) -> Box | None:
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


def _runs(file: Path, columns: Columns, row: Row) -> Starts | None:
    text = row.of(columns.rle)
    if not text:
        return None
    numbers = text.split()
    if len(numbers) % 2 or not all(re.fullmatch(r"[0-9]{1,15}", number) for number in numbers):
        raise DataError(f"{file}, line {row.line}: the runs {text[:40]!r} are not pairs of a start and a length; correct them")
    return Starts(tuple(int(number) for number in numbers), f"{file.name}, line {row.line}")


def _marks(
    file: Path, name: str, masks: Mapping[str, MaskFiles], boxes: Mapping[str, tuple[Object, ...]]
) -> Callable[[tuple[int, int]], Marks] | None:
    things = Objects(boxes[name], file.name) if name in boxes else None
    mask = masks.get(name)
    return Both(mask, things) if mask is not None and things is not None else mask or things
