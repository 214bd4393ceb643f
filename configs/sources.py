"""Where may the data of a plan come from? Every source with its keys, their bounds and their meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data.secrets import holds_secret

#: Sources of pictures, and the column that their classes come in.
PICTURE_SOURCES = frozenset(
    {"image_folder", "image_index", "coco", "yolo", "voc", "image_parquet", "surfaces", "digits_images"}
)
#: Sources of series.
SERIES_SOURCES = frozenset({"series", "wav", "pump"})


def _without_secret(address: str) -> str:
    if holds_secret(address):
        raise ValueError(
            "the address spells out a password or key, which every copy of the plan would hold; put it into the environment "
            "and write its name in place of it, as in postgresql://user:${DB_PASSWORD}@host/db"
        )
    return address


#: An address whose secrets, if it has any, are names of environment variables.
Address = Annotated[str, AfterValidator(_without_secret)]


class Spec(BaseModel):
    """A part of a plan: frozen, and strict about keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Spec):
    """What every source of data has."""

    keep: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Cut a class of the target to at most this many rows (drawn with the plan's seed), e.g. {malignant: 40}."""


class CsvSource(Source):
    """A delimited text file; what is not stated is found out from the file."""

    use: Literal["csv"]
    path: str
    """The file, relative to the working directory."""
    encoding: str | None = None
    """Text encoding, e.g. utf-8 or cp1252."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """The character between fields."""
    missing: list[str] | None = None
    """Texts that mean "no value", e.g. ["?", "n/a"]; they take the place of those that are found out."""
    decimal: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """The decimal mark."""


class ParquetSource(Source):
    """A Parquet file, or a folder of them."""

    use: Literal["parquet"]
    path: str
    """The file or folder, relative to the working directory."""


class SqlSource(Source):
    """The answer of a database to one query."""

    use: Literal["sql"]
    url: Address
    """SQLAlchemy URL: sqlite:///file.db, duckdb:///file.duckdb, postgresql+pg8000://user:${DB_PASSWORD}@host/db."""
    query: str
    """One SELECT."""


class TablesSource(Source):
    """Tables that refer to one another: of a database, which states its keys, or of files, whose keys are stated here."""

    use: Literal["tables"]
    url: Address | None = None
    """SQLAlchemy URL of the database, as for sql."""
    files: dict[str, str] | None = None
    """In place of a database: table -> its csv or Parquet file, relative to the working directory."""
    tables: Annotated[list[str], Field(min_length=1)] | None = None
    """The only tables to read; all if not stated."""
    primary: dict[str, str | list[str]] = {}
    """Primary keys: table -> its column, or columns; those of a database are known."""
    keys: list[str] = []
    """Foreign keys: `table.column -> parent.column` each; those of a database are known."""


class SklearnSource(Source):
    """A set that scikit-learn brings along."""

    use: Literal["sklearn"]
    set: Literal["breast_cancer", "iris", "wine", "digits", "diabetes"]
    """Which set."""


class PictureSource(Source):
    """What every source of pictures on disk has: all come out square, of one size and one mode."""

    path: str
    """Where the pictures are, relative to the working directory."""
    size: Annotated[int, Field(ge=8, le=512)] | None = None
    """Height and width in pixels; if not stated, near the median of the shorter sides, 32 to 256."""
    fit: Literal["letterbox", "crop", "stretch"] = "letterbox"
    """letterbox: the whole picture, with bars; crop: its middle square; stretch: the whole, out of proportion."""
    mode: Literal["auto", "gray", "rgb"] = "auto"
    """auto: gray when no picture has a colour, else rgb."""
    strict: bool = False
    """Refuse damaged files, pictures smaller than size and marks that are missing or empty, in place of listing them."""
    near_duplicates: bool = True
    """Find pictures of nearly the same content and keep each such group on one side of the split."""
    normal: Annotated[str, Field(min_length=1)] | None = None
    """The class of good parts, on which nothing is marked; found by its name if not stated, and else called normal."""


class ImageFolderSource(PictureSource):
    """A folder with a folder for each class, perhaps below train, val and test; masks beside the pictures, or below a folder
    of their own."""

    use: Literal["image_folder"]
    masks: str | None = None
    """The folder of the masks, relative to path; found by its name (masks, ground_truth, labels) if not stated."""
    folders: Literal["auto", "class", "part"] = "auto"
    """What a folder of pictures is: a class, or the part that was photographed, where masks tell what is defective. auto:
    parts where masks are there and many folders go by one name and a number (kos01, kos02), with few pictures each."""


class ImageIndexSource(PictureSource):
    """A csv that names pictures; path is the csv, or the folder it lies in. Columns are found by their names if not stated."""

    use: Literal["image_index"]
    root: str | None = None
    """The folder that the names of files start from, relative to the working directory; the csv's if not stated."""
    image_column: str | None = None
    """The files of the pictures; rows of one picture are taken together."""
    class_column: str | None = None
    """Their classes."""
    mask_column: str | None = None
    """The files of their masks."""
    rle_column: str | None = None
    """Marked runs (start length start length ..., from 1, column by column) in place of masks; pictures beside these that
    have no row are good."""
    box_columns: Annotated[list[str], Field(min_length=4, max_length=4)] | None = None
    """left, top, right, bottom in pixels; or left, top, width, height when the last two are named so."""
    group_column: str | None = None
    """The part that a picture shows; pictures of one part stay on one side of the split."""
    split_column: str | None = None
    """train, val or test."""


class CocoSource(PictureSource):
    """COCO annotations (boxes, polygons, run lengths); a picture has the class of its annotations, the rarest of several."""

    use: Literal["coco"]
    images: str | None = None
    """The folder of the pictures, relative to the working directory; looked for beside the annotations if not stated."""


class YoloSource(PictureSource):
    """A data.yaml, or the folder it lies in; without one, a folder with images and labels. Boxes or polygons."""

    use: Literal["yolo"]
    names: list[str] | None = None
    """The classes in the order of their numbers; from data.yaml or classes.txt if not stated."""


class VocSource(PictureSource):
    """A folder with Pascal VOC annotations, an .xml for each picture; pictures without one are good. Boxes."""

    use: Literal["voc"]
    images: str | None = None
    """The folder of the pictures, relative to the working directory; looked for below path if not stated."""


class ImageParquetSource(PictureSource):
    """A Parquet file, or a folder of them, with pictures as `datasets` writes them; columns are found if not stated."""

    use: Literal["image_parquet"]
    image_column: str | None = None
    """The pictures: struct of bytes and path, or bytes."""
    class_column: str | None = None
    """Their classes: names, or numbers that the file's metadata name."""
    mask_column: str | None = None
    """Their masks."""
    objects_column: str | None = None
    """Their boxes: bbox (left, top, width, height) and category."""
    group_column: str | None = None
    """The part that a picture shows."""
    split_column: str | None = None
    """train, validation or test; from the names of files if not stated."""


class SurfacesSource(Source):
    """Brushed-metal surfaces with scratches, pits and stains that the project draws itself, each with its exact mask."""

    use: Literal["surfaces"]
    counts: dict[Literal["normal", "scratch", "pit", "stain"], Annotated[int, Field(ge=0)]] | None = None
    """Pictures of each class; {normal: 300, scratch: 120, pit: 20, stain: 120} if not stated."""
    size: Annotated[int, Field(ge=32, le=256)] = 64
    """Height and width in pixels."""
    colour: Literal["gray", "rgb"] = "gray"
    """rgb: tinted metal and brown stains."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Other seeds draw other parts."""


class DigitsImagesSource(Source):
    """Scikit-learn's 1,797 handwritten digits as gray pictures; there are no masks."""

    use: Literal["digits_images"]
    size: Literal[16, 32] = 32
    """Height and width in pixels."""


class PumpSource(Source):
    """Windows of a pump that the project simulates: it starts, runs steadily, cavitates, leaks."""

    use: Literal["pump"]
    counts: dict[Literal["steady", "start", "cavitation", "leak"], Annotated[int, Field(ge=0)]] | None = None
    """Windows of each class; {steady: 300, start: 90, cavitation: 24, leak: 30} if not stated."""
    length: Annotated[int, Field(ge=32, le=512)] = 96
    """Readings a window, one a second."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Other seeds simulate other pumps."""


#: Readings, or a span of time as 8h.
Span = Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|sec|min|h|d|w)\s*$")]


class WindowSource(Source):
    """What every source of series that are cut into windows has."""

    path: str
    """The file or folder, relative to the working directory."""
    length: Span | None = None
    """Readings of a window, or its span of time, e.g. 96 or 8h; by how the series repeat themselves if not stated."""
    stride: Span | None = None
    """From the start of one window to the next, in readings or as a span of time; half of length if not stated."""


class SeriesSource(WindowSource):
    """Tables of readings (csv or Parquet, a file or a folder): long ones, with a row a moment, or wide ones, with a row a
    series. What is not stated is found out."""

    use: Literal["series"]
    layout: Literal["auto", "long", "wide"] = "auto"
    """auto: wide where columns of readings are numbered one after another, or there is no header."""
    time: str | None = None
    """The column that says when a reading was made: dates, or seconds as numbers."""
    entity: str | None = None
    """The column that says whose a reading is (a machine, a patient); without one each file of a folder is an entity."""
    channels: Annotated[list[str], Field(min_length=1)] | None = None
    """The columns of readings; all of numbers, and those of few levels, if not stated."""
    class_column: str | None = None
    """The label of each reading, from which windows have their class; of a wide table that of each series."""
    normal: Annotated[str, Field(min_length=1)] | None = None
    """The label that says that nothing happens; found by its name, or by being 0 beside 1, if not stated."""
    events: str | None = None
    """A file of label windows, relative to the working directory: json as {entity: [[start, end], ...]}, or a csv with the
    columns start and end, and perhaps class and entity."""
    attributes: list[str] | None = None
    """Columns that do not change within an entity; found if not stated."""
    resample: Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|sec|min|h|d|w)\s*$")] | None = None
    """Make one reading of what was read within this span, e.g. 5min."""
    aggregate: Literal["auto", "mean", "last", "majority"] = "auto"
    """How: auto takes the mean of numbers and the majority of levels."""
    period: Annotated[float, Field(gt=0)] | None = None
    """Seconds between readings where no column says when they were made; 1 if not stated."""
    gaps: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|sec|min|h|d|w)\s*$")] | None = (
        None
    )
    """The longest hole that is filled in, in readings or as a span of time; 3 readings if not stated. Longer ones cut the
    series."""
    least: Annotated[float, Field(ge=0, le=1)] = 0.8
    """The share of its readings that a window must have."""
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of a window, or of an event that is shorter, that an event must cover to name the window."""


class WavSource(WindowSource):
    """Sounds (WAV, FLAC, Ogg, AIFF), with a folder for each class; or one file. A file is an entity.

    Where no length is stated, a file is one window where files are short, and else a window lasts a second."""

    use: Literal["wav"]
    rate: Annotated[int, Field(ge=1, le=768_000)] | None = None
    """Readings a second that all are brought to; the least of the files if not stated."""
    mono: bool | None = None
    """Mix the channels of each sound down to one; if not stated, where files differ in how many they have."""
    strict: bool = False
    """Refuse damaged files in place of listing them."""


#: One line a source, so that new ones stand in a line of their own.
AnySource = (
    CsvSource
    | ParquetSource
    | SqlSource
    | TablesSource
    | SklearnSource
    | ImageFolderSource
    | ImageIndexSource
    | CocoSource
    | YoloSource
    | VocSource
    | ImageParquetSource
    | SurfacesSource
    | DigitsImagesSource
    | PumpSource
    | SeriesSource
    | WavSource
)
DataSource = Annotated[AnySource, Field(discriminator="use")]
