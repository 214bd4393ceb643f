"""Which pictures do these Parquet files hold, in the convention of Hugging Face's datasets?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DataError
from data.images import Fit, good
from data.sources._found import DEFECT, NORMAL, Found, Rules, part_of, rarest
from data.sources._marks import Both, Marks, MaskFiles, Object, Objects
from data.sources._pictures import table_of
from data.sources._within import within

CLASSES = "label class target category class_name defect_type labels".split()
IMAGES = "image img picture pixels".split()
MASKS = "mask masks ground_truth segmentation annotation".split()
GROUPS = "group group_id part part_id board".split()
#: Rows read at once: pictures may be large.
ROWS = 64
SYNTHETIC = "is_synthetic"


@dataclass(frozen=True)
class _Columns:
    """Which column holds what, "" for what none holds; names: of the classes that are stored as numbers."""

    image: str
    level: str
    mask: str
    objects: str
    group: str
    split: str
    names: Mapping[str, Sequence[str]]


def read(
    path: str | Path,
    *,
    image_column: str | None = None,
    class_column: str | None = None,
    mask_column: str | None = None,
    objects_column: str | None = None,
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
    """The pictures of a Parquet file, or of a folder of them, as the table of `data.sources._pictures.table_of`.

    Pictures and masks are structs of bytes and path, or plain bytes; classes are names, or numbers that the metadata of
    `datasets` name (-1 is none); objects hold bbox (x, y, width, height in pixels) and category, as a struct of lists or a
    list of structs. Without a column of classes the objects, else the masks decide. The split is that of the column, else of
    the names of files and folders. Rows marked as synthetic are left out.

    Raises DataError for no such file, no column of pictures, a stated column that is not there, a class without a name, and
    as `table_of` does."""
    root = Path(path)
    rules = Rules(str(path), size, fit, mode, strict, near_duplicates, normal, few)
    files = _files(root)
    stated = {
        "image": image_column, "level": class_column, "mask": mask_column, "objects": objects_column,
        "group": group_column, "split": split_column,
    }  # fmt: skip
    columns = _columns(files[0], stated)
    said: list[str] = []
    levels = _levels(files, columns, rules, said)
    return table_of(_Rows(root, files, columns, levels), rules, said)


def recognises(path: Path) -> dict[str, Any] | None:
    """A Parquet file with a column of pictures, or a folder of such files."""
    try:
        files = _files(path) if path.is_dir() or path.suffix.lower() in (".parquet", ".pq") else []
        return {"path": str(path)} if files and _image_column(_schema(files[0])) else None
    except DataError:
        return None


def _files(root: Path) -> list[Path]:
    if not root.exists():
        raise DataError(f"there is no file or folder {root}; check the path (relative paths start at the working folder)")
    files = sorted(p for p in root.rglob("*.parquet") if p.is_file()) if root.is_dir() else [root]
    files = [p for p in files if not any(part.startswith(("_", ".")) for part in p.relative_to(root).parts)]
    if not files:
        raise DataError(f"the folder {root} holds no .parquet file; name the folder that does")
    return files


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{file} cannot be read as Parquet: {' '.join(str(error).split())[:160]}; check that it is whole"
        ) from None


def _columns(file: Path, stated: Mapping[str, str | None]) -> _Columns:
    schema = _schema(file)
    for name in stated.values():
        if name is not None and name not in schema.names:
            raise DataError(f"{file}: there is no column {name!r}; the columns are {', '.join(schema.names)}")
    image = stated["image"] or _image_column(schema)
    if not image:
        raise DataError(
            f"{file} has no column of pictures (struct of bytes and path): {', '.join(schema.names)}; state image_column"
        )
    features = _features(schema)
    rest = [name for name in schema.names if name != image]
    named = {name: _class_names(features.get(name)) for name in rest}
    labels = [name for name in rest if named[name] and not pa.types.is_nested(schema.field(name).type)]
    plain = [name for name in rest if not pa.types.is_nested(schema.field(name).type)]
    guessed = {
        "level": next((n for n in labels if n in CLASSES), "") or next(iter(labels), "") or _first(plain, CLASSES),
        "mask": _first([n for n in rest if _holds_pictures(schema.field(n).type)], MASKS),
        "objects": next((n for n in rest if _holds_objects(schema.field(n).type)), ""),
        "group": _first(plain, GROUPS),
        "split": _first(plain, ["split"]),
    }
    chosen = {what: stated[what] or guess for what, guess in guessed.items()}
    names = {name: values for name, values in named.items() if values}
    return _Columns(image=image, names=names, **chosen)


def _first(names: Sequence[str], wanted: Sequence[str]) -> str:
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in wanted if name in lower), "")


def _image_column(schema: pa.Schema) -> str:
    features = _features(schema)
    told = [name for name in schema.names if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"]
    held = told or [field.name for field in schema if _is_struct_of_bytes(field.type)]
    held = held or _bytes_of_pictures(schema)
    return _first(held, IMAGES) or next((name for name in held if name.lower() not in MASKS), "")


def _bytes_of_pictures(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if _is_bytes(field.type) and field.name.lower() in IMAGES]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_struct_of_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(field.name == "bytes" and _is_bytes(field.type) for field in kind)


def _holds_pictures(kind: pa.DataType) -> bool:
    return _is_struct_of_bytes(kind) or _is_bytes(kind)


def _holds_objects(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return pa.types.is_struct(inner) and any(field.name == "bbox" for field in inner)


def _features(schema: pa.Schema) -> dict[str, Any]:
    try:
        held = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = held.get("info", {}).get("features", {})
        return features if isinstance(features, dict) else {}
    except (ValueError, AttributeError):
        return {}


def _class_names(feature: Any) -> list[str]:
    """The names that a feature gives its numbers, however deep they stand in it; none when it gives none."""
    if isinstance(feature, list):
        return next((names for part in feature if (names := _class_names(part))), [])
    if not isinstance(feature, dict):
        return []
    if feature.get("_type") == "ClassLabel":
        return [str(name) for name in feature.get("names", [])]
    return next((names for part in feature.values() if (names := _class_names(part))), [])


def _batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[Path, int, list[dict[str, Any]]]]:
    """file, number of the first row in it, rows."""
    wanted = [*dict.fromkeys(name for name in columns if name)]
    for file in files:
        start = 0
        if lacking := [name for name in wanted if name not in _schema(file).names]:
            raise DataError(f"{file} has no column {lacking[0]!r}, which {files[0].name} has; name files of one kind")
        try:
            held = pq.ParquetFile(file)
            for batch in held.iter_batches(ROWS, columns=wanted):
                yield file, start, batch.to_pylist()
                start += batch.num_rows
        except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(f"{file} cannot be read as Parquet with these columns: {reason}; check that it is whole") from None


def _levels(files: Sequence[Path], columns: _Columns, rules: Rules, said: list[str]) -> list[str | None]:
    """The class of each row, "" for one that is left out, None for one that its mask decides. Pictures are not read."""
    if not (columns.level or columns.objects or columns.mask):
        raise DataError(f"{rules.origin} has no column of classes (label, class, ...), objects or masks; state class_column")
    synthetic = SYNTHETIC if SYNTHETIC in _schema(files[0]).names else ""
    decides = columns.level or columns.objects
    sets: list[set[str]] = []
    left_out: dict[str, int] = {}
    for file, start, rows in _batches(files, [decides or columns.mask, synthetic]):
        for place, row in enumerate(rows, start=start + 1):
            known = _known(row, columns, f"{file}, row {place}") if decides else {NORMAL}
            why = "marked as synthetic" if synthetic and row[synthetic] else "without a class" if known is None else ""
            if why:
                left_out[why] = left_out.get(why, 0) + 1
            sets.append({""} if why or known is None else known)
    if rules.strict and left_out:
        why, count = next(iter(left_out.items()))
        raise DataError(f"{rules.origin}: rows {why}: {count}; remove them, or leave strict out of the plan")
    said += [f"Rows left out, being {why}: {count}." for why, count in left_out.items()]
    levels = rarest(sets, rules.normal or good(sorted(set().union(*sets))) or NORMAL)
    return [level if decides or not level else None for level in levels]


def _known(row: Mapping[str, Any], columns: _Columns, origin: str) -> set[str] | None:
    """The classes of a row: one, those of its objects, or None when it has none though there is a column for it."""
    if columns.level:
        level = _named(row[columns.level], columns.level, columns, origin)
        return None if level is None else {level}
    return {level for _, level in _boxes(row[columns.objects], columns, origin)}


def _named(value: Any, column: str, columns: _Columns, origin: str) -> str | None:
    """A class as it is called; None for a missing one. Raises DataError for a number that has no name."""
    names = columns.names.get(column)
    if value is None or value == "" or (names and value == -1):
        return None
    if not names or isinstance(value, str):
        return str(value)
    if not 0 <= int(value) < len(names):
        raise DataError(f"{origin}: there is no class {value}, {column!r} has {len(names)} names; correct it or its metadata")
    return names[int(value)]


def _boxes(cell: Any, columns: _Columns, origin: str) -> list[tuple[tuple[float, ...], str]]:
    """x, y, width, height and category of each object of a cell: a struct of lists or a list of structs."""
    if cell is None:
        return []
    if isinstance(cell, dict):
        boxes = cell.get("bbox") or []
        kinds = cell.get("category") or cell.get("categories") or cell.get("label") or [None] * len(boxes)
    else:
        boxes = [one["bbox"] for one in cell]
        kinds = [one.get("category", one.get("label")) for one in cell]
    if len(boxes) != len(kinds) or any(box is None or len(box) != 4 for box in boxes):
        raise DataError(f"{origin}: its objects need four numbers x, y, width, height and one category each; correct them")
    named = [_named(kind, columns.objects, columns, origin) or DEFECT for kind in kinds]
    return [(tuple(float(v) for v in box), level) for box, level in zip(boxes, named, strict=True)]


@dataclass(frozen=True)
class _Rows:
    """The pictures of the files, read anew each time they are gone through, so that none stays in memory."""

    root: Path
    files: Sequence[Path]
    columns: _Columns
    levels: Sequence[str | None]

    def __iter__(self) -> Iterator[Found]:
        c = self.columns
        levels = iter(self.levels)
        for file, start, rows in _batches(self.files, [c.image, c.mask, c.objects, c.group, c.split]):
            part = _part(file, self.root)
            for place, row in enumerate(rows, start=start + 1):
                level = next(levels)
                if level != "":
                    yield self._found(row, level, file, place, part)

    def _found(self, row: Mapping[str, Any], level: str | None, file: Path, place: int, part: str | None) -> Found:
        c = self.columns
        image, where = _held(row[c.image], file)
        name = where or f"{file.name}#{place}"
        group = row[c.group] if c.group else None
        stated = part_of(str(row[c.split])) if c.split and row[c.split] is not None else None
        marks = self._marks(row, file, f"{file}, row {place}")
        return Found(image, name, level, marks, None if group is None else str(group), stated or part)

    def _marks(self, row: Mapping[str, Any], file: Path, origin: str) -> Callable[[tuple[int, int]], Marks] | None:
        c = self.columns
        mask = things = None
        if c.mask and row[c.mask] is not None:
            held, where = _held(row[c.mask], file)
            mask = MaskFiles((held,), where or f"in {origin}") if held else None
        if c.objects and row[c.objects] is not None:
            boxes = _boxes(row[c.objects], c, origin)
            things = Objects(tuple(Object(level, box) for box, level in boxes), origin)  # type: ignore[arg-type]
        return Both(mask, things) if mask is not None and things is not None else mask or things


def _held(cell: Any, file: Path) -> tuple[Path | bytes, str]:
    """The bytes of a picture, or its file when it has only a path, and that path."""
    if cell is None or isinstance(cell, bytes):
        return cell or b"", ""
    data, path = cell.get("bytes"), cell.get("path") or ""
    if data is None and path:
        place = file.parent / path
        return within(place, [file.parent], str(file), path, "put the pictures into the file, or beside it"), path
    return data or b"", path


def _part(file: Path, root: Path) -> str | None:
    """The part of a split that a file's name, or its folder's, tells of (train-00000-of-00001.parquet, split=test)."""
    parts = file.relative_to(root).parts if root.is_dir() else (file.name,)
    words = [word for name in reversed(parts) for word in re.split(r"[^a-z]+", name.lower())]
    return next((part for word in words if word and (part := part_of(word))), None)
