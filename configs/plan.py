"""What is one run? Every choice that a user can make, with its default, its bounds and its meaning."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from configs.constraints import AnyRule
from configs.sinks import AnySink
from configs.sources import PICTURE_SOURCES, SERIES_SOURCES, Address, DataSource, Spec, TablesSource
from data.personal import What
from data.schema import Kind

CLASS = "class"
#: No family is named: one is chosen by what families say of themselves, or by trials (`choose`).
AUTO = "auto"
#: Whose settings are meant when a plan states some and names no family: of tables, of pictures, and of series.
TABLE_FAMILY, PICTURE_FAMILY, SERIES_FAMILY = "autoregressive", "image.gan", "series.vae"

Share = Annotated[float, Field(gt=0, lt=1)]


def _date_as_text(value: Any) -> Any:
    """YAML reads an unquoted date as one; plans hold it as text."""
    return value.isoformat() if isinstance(value, date) else value


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
    low: Annotated[float | int | str, BeforeValidator(_date_as_text)] | None = None
    """Least value that is allowed; a date as 2024-01-31."""
    high: Annotated[float | int | str, BeforeValidator(_date_as_text)] | None = None
    """Greatest value that is allowed."""
    decimals: Annotated[int, Field(ge=0, le=15)] | None = None
    """Digits after the point."""
    pii: What | None = None
    """The personal data that the column holds, in place of what is found; none: it is no personal data and is learned."""

    def stated(self) -> dict[str, Any]:
        """The schema fields this states."""
        return {k: v for k, v in self.model_dump(exclude_unset=True).items() if k not in ("drop", "pii")}


class SplitSpec(Spec):
    """How the real rows are divided; what is not reference or holdout trains the generator."""

    reference: Annotated[float, Field(ge=0, lt=0.5)] = 0.15
    """Share of rows that fix the gate's geometry; 0 lets the training rows do that, for very small data."""
    holdout: Share = 0.25
    """Share of rows that the gate counts once, at the end."""
    from_source: bool = False
    """Take the division that the source states (its train, val and test pictures) in place of the shares."""
    by: Literal["auto", "entity", "time", "last"] = "auto"
    """Of series. entity: whole machines stand in one part; time: stretches of each, so that no window overlaps one of another
    part; last: what comes last is the holdout; auto: by entity where there are enough of them, else by time."""

    @model_validator(mode="after")
    def _leaves_rows_to_train(self) -> SplitSpec:
        if self.reference + self.holdout > 0.8:
            raise ValueError("reference and holdout together take more than 0.8 of the data; leave more to the generator")
        return self


class GeneratorSpec(BaseModel):
    """The family and its settings. `use` is a file in generators (gan), a class in it (sdv:CTGAN), or package.module:Class."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    use: str = AUTO
    """The family; auto: the one that `choose` finds."""

    @property
    def named(self) -> bool:
        """Whether the plan says which family."""
        return self.use != AUTO

    @property
    def settings(self) -> dict[str, Any]:
        """The family's own fields, as stated."""
        return dict(self.model_extra or {})


class ChooseSpec(Spec):
    """How the family is chosen where the plan names none. Five questions; what is not stated is inferred from plan and data."""

    how: Literal["rubric", "bakeoff"] = "rubric"
    """rubric: by what families say of themselves; bakeoff: by trials of those that are left, on rows that are no holdout."""
    use: Literal["auto", "augment", "replace", "photorealistic", "scores"] = "auto"
    """What the rows are for. augment: beside real ones, for a model; replace: in place of real ones; photorealistic: to be
    looked at; scores: a model that says how unusual a row is. auto: augment where classes are filled up, else replace."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Minutes of this machine that training may take, or all trials of a bake-off together."""
    avoid: list[Literal["diversity", "blur", "slow", "instability", "privacy"]] = []
    """Failures that cannot be afforded: of families that are known for one none is chosen."""
    licence: Literal["permissive", "any"] = "permissive"
    """permissive: no family whose licence limits what you may do with it."""
    families: list[str] = []
    """Only these come into question; all if empty."""

    @field_validator("avoid", "families", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class SampleSpec(Spec):
    """Which rows are drawn for the dataset."""

    mix: Literal["balanced", "natural"] | dict[str, Annotated[float, Field(ge=0)]] = "balanced"
    """balanced: fill every class up to the largest; natural: as in the data; or a weight for each class."""
    rows: Annotated[int, Field(ge=1)] | Literal["auto", "sweep"] | dict[str, Annotated[int, Field(ge=0)]] = "auto"
    """Synthetic rows; auto: what `balanced` needs, else as many as there are real rows; sweep: as many of each scarce class as
    help a model most, by cross-validation inside train, and none where nothing helps; or rows of each class, in place of a mix,
    e.g. {fraud: 5000}: none of a class that is not named."""
    include_real: bool = True
    """Whether the dataset also holds the real rows (is_synthetic is false there)."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Tables that refer to one another: how many times as many rows as there are; 1 if not stated."""

    @model_validator(mode="after")
    def _says_once_how_many(self) -> SampleSpec:
        if isinstance(self.rows, dict) and self.mix != "balanced":
            raise ValueError("sample.rows states the rows of each class, so sample.mix has nothing to say; leave one out")
        if self.rows == "sweep" and self.mix != "balanced":
            raise ValueError("sample.rows: sweep finds the rows of each class, so sample.mix has nothing to say; leave one out")
        if isinstance(self.rows, dict) and not sum(self.rows.values()):
            raise ValueError("sample.rows asks for no row of any class; give at least one class some")
        return self


class GateSpec(Spec):
    """What the gate must be able to see, and how sure it must be."""

    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """False-alarm rate over all attempts; attempt k spends alpha / 2**k."""
    detect: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Smallest mode, as a share of the judged rows, whose loss must be visible; else INCONCLUSIVE."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 10
    """Rows that the gate draws for itself, for each holdout row."""
    limits: dict[str, dict[str, float]] = {}
    """Limits of figures, e.g. {fidelity: {c2st_auc: 0.9}, pairs: {change: 0.4}, utility: {tstr_auc_ratio: 0.95}}."""
    utility: Literal["quick", "full", "off"] = "quick"
    """quick: train on synthetic rows, test on the holdout; full: does augmentation help beside the real rows, too."""
    suite: Annotated[str, Field(min_length=1)] | None = None
    """Your own suite of Great Expectations 1 that the synthetic rows must meet: its JSON, or YAML of the same shape."""
    extractor: Annotated[str, Field(min_length=1)] = "random"
    """What pictures are compared by: random (a fixed random convolutional net), trained, or a local model's file or folder."""


class PublishSpec(Spec):
    """Where the versions go."""

    root: Address = "published"
    """A folder, or s3://bucket/prefix, gs://bucket/prefix, abfs://container@account.dfs.core.windows.net/prefix."""
    dataset: str | None = None
    """Folder of the dataset under root; the plan's name if not stated."""
    endpoint: Address | None = None
    """Address of a store that speaks as S3, Google's or Azure's does."""
    region: str | None = None
    """Region of the bucket."""
    license: str | None = None
    """Licence of the published data, as the dataset card names it."""
    rows_per_file: Annotated[int, Field(ge=1)] = 1_000_000
    """Rows in one Parquet file."""
    sinks: list[AnySink] = []
    """Tables that every version is written to besides, after it was published: {use: delta, path: ...}, {use: iceberg, ...}."""
    credentials: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] | None = None
    """A Secret block of the Prefect server: a JSON object of environment variables that stores take credentials from."""


class PrivacySpec(Spec):
    """What a release promises: how much one person's rows may change what is published, and which attacks are tried on it."""

    epsilon: Annotated[float, Field(gt=0)] | None = None
    """Budget of differential privacy; 3 if neither it nor noise is stated. Families without it refuse."""
    noise: Annotated[float, Field(gt=0)] | None = None
    """Noise multiplier in place of a budget; what it spends is counted."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """How likely the promise may fail; 1 / (10 n) for n training rows if not stated."""
    unit: Literal["row", "group"] = "row"
    """Whom the promise is for: one row, or all rows of one value of the plan's `group` (one person)."""
    rows: Annotated[int, Field(ge=1)] = 1
    """Of unit: group, training rows of one person that the promise is for; of who has more, so many are kept by chance. With 1
    nobody may have more, and nothing is left out."""
    bounds: Literal["declared", "budget", "data"] = "declared"
    """Where ranges and levels come from. declared: `columns:` states them all; budget: what is not stated pays from the budget;
    data: they are read off, and the promise is not end to end (the card says so)."""
    source: str | None = None
    """Name of the source in the ledger; the plan's name if not stated."""
    ledger: Annotated[str, Field(min_length=1)] = "privacy.sqlite"
    """The file in which what was spent of each source is kept, over all runs."""
    cap: Annotated[float, Field(gt=0)] | None = None
    """Most epsilon that may ever be spent of the source; a run that would pass it does not start."""
    quasi: list[str] = []
    """Quasi-identifiers: columns that an attacker may know of a person. All learned columns but the secret if empty."""
    secret: list[str] = []
    """Columns that an attacker wants to know. The target, and each other column in turn, if empty."""
    k: Annotated[int, Field(ge=2)] = 5
    """Fewer real rows than this are never shown or drawn more often than chance."""
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}_[A-Z]{2}$")] = "en_US"
    """Language and country of the names, addresses and numbers that are made anew, e.g. de_DE."""

    @model_validator(mode="after")
    def _one_of_both(self) -> PrivacySpec:
        if self.epsilon is not None and self.noise is not None:
            raise ValueError("epsilon states the budget and noise states what it follows from; leave one of the two out")
        return self


Outcome = Literal["published", "unchanged", "blocked", "failed"]


class NotifySpec(Spec):
    """Who is told what became of a scheduled run. No address is stated here: they are secrets."""

    addresses: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    """Name of an environment variable that holds addresses with spaces between: json://host/hook, slack://..., mailto://..."""
    blocks: list[str] = []
    """Notification blocks of the Prefect server, as type/name: slack-webhook/alerts."""
    on: list[Outcome] = ["blocked", "failed"]
    """Of which outcomes."""


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
    """What is stated of columns; of several tables a column is called table.column."""
    constraints: list[Annotated[AnyRule, Field(discriminator="use")]] = []
    """What every row must hold, drawn or real: hard rules of the gate too."""
    split: SplitSpec = SplitSpec()
    choose: ChooseSpec = ChooseSpec()
    generator: GeneratorSpec = GeneratorSpec()
    sample: SampleSpec = SampleSpec()
    gate: GateSpec = GateSpec()
    privacy: PrivacySpec = PrivacySpec()
    publish: PublishSpec = PublishSpec()
    notify: NotifySpec = NotifySpec()

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        use = value.get("data", {}).get("use") if isinstance(value.get("data"), dict) else None
        pictures, series = use in PICTURE_SOURCES, use in SERIES_SOURCES
        family = value.get("generator")
        if isinstance(family, dict) and family and "use" not in family:
            usual = PICTURE_FAMILY if pictures else SERIES_FAMILY if series else TABLE_FAMILY
            value = {**value, "generator": {"use": usual, **family}}
        if value.get("purpose") == "release":
            # What replaces real rows is as they are as a whole, and holds none of them.
            sample = value.get("sample")
            if sample is None or isinstance(sample, dict):
                value = {**value, "sample": {"mix": "natural", "include_real": False, **(sample or {})}}
        if use == "tables" and not family:
            value = {**value, "generator": {"use": TABLE_FAMILY}}
        if isinstance(value.get("choose"), str):
            value = {**value, "choose": {"how": value["choose"]}}
        return {"target": CLASS, **value} if pictures or series else value

    @property
    def modality(self) -> Literal["tabular", "image", "series"]:
        """What the rows are."""
        if self.data.use in SERIES_SOURCES:
            return "series"
        return "image" if self.data.use in PICTURE_SOURCES else "tabular"

    @property
    def several(self) -> bool:
        """Whether the data are tables that refer to one another."""
        return isinstance(self.data, TablesSource)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Plan:
        if self.modality != "tabular":
            self._fit_modality()
        if isinstance(self.data, TablesSource):
            self._fit_tables(self.data)
        elif self.sample.scale is not None:
            raise ValueError("sample.scale is for tables that refer to one another (data.use: tables); state sample.rows")
        if self.sample.rows == "sweep" and (self.target is None or self.modality != "tabular"):
            raise ValueError(
                "sample.rows: sweep asks what rows of a class bring, for tables with a target of classes; of pictures and "
                "series `gate.utility: full` shows it"
            )
        if self.purpose == "release":
            self._fit_release()
        if self.choose.how == "bakeoff" and self.generator.named:
            raise ValueError(
                "choose: bakeoff finds the family by trials, and generator.use names one; leave one of the two out"
            )
        for part in ("mix", "rows"):
            if self.target is None and isinstance(getattr(self.sample, part), dict):
                raise ValueError(f"sample.{part} names classes but the plan names no target; add `target: <column>`")
        if self.target is None and self.data.keep:
            raise ValueError("data.keep names classes but the plan names no target; add `target: <column>`")
        return self

    def _fit_release(self) -> None:
        if self.sample.include_real:
            raise ValueError("a release holds synthetic rows only; leave sample.include_real out")
        if self.sample.mix != "natural" or not (self.sample.rows == "auto" or isinstance(self.sample.rows, int)):
            raise ValueError(
                "a release draws rows as the model has them, as how many of each class there really are would be told for "
                "nothing; leave sample.mix out, and state sample.rows as one number or not at all"
            )
        if self.constraints:
            raise ValueError("constraints are learned from the rows, which nobody would pay for; leave them out of a release")
        if self.privacy.unit == "group" and self.group is None:
            raise ValueError("privacy.unit: group promises for all rows of one person; name their column as `group`")
        if self.privacy.rows > 1 and (self.privacy.unit != "group" or self.privacy.noise is not None):
            raise ValueError("privacy.rows is of one person's rows; set privacy.unit: group, and state epsilon, not noise")
        if self.choose.how == "bakeoff":
            raise ValueError("choose: bakeoff looks at the rows without paying for it; name the family of a release")

    def _fit_tables(self, source: TablesSource) -> None:
        if (source.url is None) == (source.files is None):
            raise ValueError("data.use: tables needs either url, for a database, or files, for csv and Parquet files")
        if self.target is not None or self.group is not None or source.keep:
            raise ValueError("tables that refer to one another have no target, group or keep; leave these out")
        if self.sample.rows != "auto" or isinstance(self.sample.mix, dict):
            raise ValueError("of tables that refer to one another no rows or mix can be stated; state sample.scale")
        if self.constraints:
            raise ValueError("constraints are rules over the columns of one table; leave them out for several")
        if odd := [name for name in self.columns if "." not in name]:
            raise ValueError(f"columns.{odd[0]}: of several tables a column is called table.column")

    def _fit_modality(self) -> None:
        what = "pictures" if self.modality == "image" else "series"
        if self.target != CLASS:
            raise ValueError(
                f"{what} have their classes in {CLASS!r}; leave target out, or name their column under data.class_column"
            )
        if self.constraints:
            raise ValueError(f"constraints are rules over the columns of a table; leave them out for {what}")
        if self.columns:
            raise ValueError(f"{what} have fixed columns, so there is nothing to state under columns; leave it out")
        if self.gate.suite is not None:
            raise ValueError("a suite of your own is for tables; leave gate.suite out")
