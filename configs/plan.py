"""What is one run? Every choice that a user can make, with its default, its bounds and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.schema import Kind

#: Sources of pictures, and the column that their classes come in.
PICTURE_SOURCES = frozenset(
    {"image_folder", "image_index", "coco", "yolo", "voc", "image_parquet", "surfaces", "digits_images"}
)
CLASS = "class"
#: What is fitted to pictures when the plan names no family.
PICTURE_FAMILY = "image.gan"

Share = Annotated[float, Field(gt=0, lt=1)]


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
    url: str
    """SQLAlchemy URL: sqlite:///file.db, duckdb:///file.duckdb, postgresql+pg8000://user:password@host/db."""
    query: str
    """One SELECT."""


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


#: One line a source, so that new ones stand in a line of their own.
AnySource = (
    CsvSource
    | ParquetSource
    | SqlSource
    | SklearnSource
    | ImageFolderSource
    | ImageIndexSource
    | CocoSource
    | YoloSource
    | VocSource
    | ImageParquetSource
    | SurfacesSource
    | DigitsImagesSource
)
DataSource = Annotated[AnySource, Field(discriminator="use")]


class ColumnSpec(Spec):
    """What the plan states about a column in place of what is inferred; a stated bound is a hard rule of the gate."""

    kind: Kind | None = None
    """numeric, integer, categorical, boolean, datetime, id or text."""
    drop: bool = False
    """Leave the column out of everything."""
    nullable: bool | None = None
    """Whether the column may be empty."""
    categories: list[str | int | float | bool] | None = None
    """Every level that is allowed."""
    low: float | int | str | None = None
    """Least value that is allowed."""
    high: float | int | str | None = None
    """Greatest value that is allowed."""
    decimals: Annotated[int, Field(ge=0, le=15)] | None = None
    """Digits after the point."""
    pii: str | None = None
    """The personal data that the column holds."""

    def stated(self) -> dict[str, Any]:
        """The schema fields this states."""
        return {k: v for k, v in self.model_dump(exclude_unset=True).items() if k != "drop"}


class SplitSpec(Spec):
    """How the real rows are divided; what is not reference or holdout trains the generator."""

    reference: Annotated[float, Field(ge=0, lt=0.5)] = 0.15
    """Share of rows that fix the gate's geometry; 0 lets the training rows do that, for very small data."""
    holdout: Share = 0.25
    """Share of rows that the gate counts once, at the end."""
    from_source: bool = False
    """Take the division that the source states (its train, val and test pictures) in place of the shares."""

    @model_validator(mode="after")
    def _leaves_rows_to_train(self) -> SplitSpec:
        if self.reference + self.holdout > 0.8:
            raise ValueError("reference and holdout together take more than 0.8 of the data; leave more to the generator")
        return self


class GeneratorSpec(BaseModel):
    """The family and its settings. `use` is a file in generators (gan), a class in it (sdv:CTGAN), or package.module:Class."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    use: str = "autoregressive"
    """The family."""

    @property
    def settings(self) -> dict[str, Any]:
        """The family's own fields, as stated."""
        return dict(self.model_extra or {})


class SampleSpec(Spec):
    """Which rows are drawn for the dataset."""

    mix: Literal["balanced", "natural"] | dict[str, Annotated[float, Field(ge=0)]] = "balanced"
    """balanced: fill every class up to the largest; natural: as in the data; or a weight for each class."""
    rows: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Synthetic rows; auto: what `balanced` needs, else as many as there are real rows."""
    include_real: bool = True
    """Whether the dataset also holds the real rows (is_synthetic is false there)."""


class GateSpec(Spec):
    """What the gate must be able to see, and how sure it must be."""

    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """False-alarm rate over all attempts; attempt k spends alpha / 2**k."""
    detect: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Smallest mode, as a share of the judged rows, whose loss must be visible; else INCONCLUSIVE."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 10
    """Rows that the gate draws for itself, for each holdout row."""
    limits: dict[str, dict[str, float]] = {}
    """Limits of reported figures, e.g. {fidelity: {c2st_auc: 0.9}, utility: {tstr_auc_ratio: 0.95}}."""
    utility: Literal["quick", "full", "off"] = "quick"
    """quick: train on synthetic rows, test on the holdout; full: does augmentation help beside the real rows, too."""
    suite: Annotated[str, Field(min_length=1)] | None = None
    """Your own suite of Great Expectations 1 that the synthetic rows must meet: its JSON, or YAML of the same shape."""
    extractor: Annotated[str, Field(min_length=1)] = "random"
    """What pictures are compared by: random (a fixed random convolutional net), trained, or a local model's file or folder."""


class PublishSpec(Spec):
    """Where the versions go."""

    root: str = "published"
    """A folder, or s3://bucket/prefix."""
    dataset: str | None = None
    """Folder of the dataset under root; the plan's name if not stated."""
    endpoint: str | None = None
    """Address of an S3-compatible store."""
    region: str | None = None
    """Region of the bucket."""
    license: str | None = None
    """Licence of the published data, as the dataset card names it."""
    rows_per_file: Annotated[int, Field(ge=1)] = 1_000_000
    """Rows in one Parquet file."""


class Plan(Spec):
    """One run of counterpoise."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    """Name of the run's folder."""
    purpose: Literal["augment", "release"] = "augment"
    """augment: rows that stand beside the real ones; release: rows that replace them."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """All randomness comes from here."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """auto takes a GPU when there is one."""
    data: DataSource
    target: str | None = None
    """The column of the classes."""
    group: str | None = None
    """Rows that share a value here (one patient, one machine) never fall on both sides of a split."""
    columns: dict[str, ColumnSpec] = {}
    split: SplitSpec = SplitSpec()
    generator: GeneratorSpec = GeneratorSpec()
    sample: SampleSpec = SampleSpec()
    gate: GateSpec = GateSpec()
    publish: PublishSpec = PublishSpec()

    @model_validator(mode="before")
    @classmethod
    def _pictures_have_their_classes(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        use = value.get("data", {}).get("use") if isinstance(value.get("data"), dict) else None
        if use not in PICTURE_SOURCES:
            return value
        family = value.get("generator", {})
        stated = {"use": PICTURE_FAMILY, **family} if isinstance(family, dict) else family
        return {"target": CLASS, **value, "generator": stated}

    @property
    def modality(self) -> Literal["tabular", "image"]:
        """What the rows are."""
        return "image" if self.data.use in PICTURE_SOURCES else "tabular"

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Plan:
        if self.data.use in PICTURE_SOURCES:
            self._fit_pictures()
        if self.target is None and isinstance(self.sample.mix, dict):
            raise ValueError("sample.mix names classes but the plan names no target; add `target: <column>`")
        if self.target is None and self.data.keep:
            raise ValueError("data.keep names classes but the plan names no target; add `target: <column>`")
        return self

    def _fit_pictures(self) -> None:
        if self.target != CLASS:
            raise ValueError(
                f"pictures have their classes in {CLASS!r}; leave target out, or name their column under data.class_column"
            )
        if self.columns:
            raise ValueError("pictures have fixed columns, so there is nothing to state under columns; leave it out")
        if self.gate.suite is not None:
            raise ValueError("a suite of your own is for tables; leave gate.suite out")


def json_schema(families: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """JSON schema of a plan; the generator's settings are those of the families given (name -> settings model)."""
    schema = Plan.model_json_schema()
    definitions = schema["$defs"]
    variants = []
    for name, model in sorted(families.items()):
        part = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(part.pop("$defs", {}))
        part["properties"] = {"use": {"const": name}} | part.get("properties", {})
        part["required"] = ["use", *part.get("required", [])]
        definitions[f"generator.{name}"] = part
        variants.append({"$ref": f"#/$defs/generator.{name}"})
    other = {"type": "object", "properties": {"use": {"type": "string", "pattern": ":"}}, "required": ["use"]}
    known = [name for name in families if ":" in name]
    definitions["GeneratorSpec"] = {
        "description": GeneratorSpec.__doc__,
        "anyOf": [*variants, other | {"not": {"properties": {"use": {"enum": known}}}}],
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "counterpoise plan"
    return schema
