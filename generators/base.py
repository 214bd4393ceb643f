"""What every family can do: learn a distribution from a dataset, draw from it, be saved and loaded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import pyarrow as pa

from data.dataset import Dataset
from data.errors import UserError

if TYPE_CHECKING:
    import torch

#: column -> the value every drawn row must hold there, e.g. {"income": ">50K"}.
Condition = Mapping[str, Any]


class GeneratorError(UserError):
    """The family cannot do what was asked: of this data, of this condition, or with these settings."""


class NoisyError(GeneratorError):
    """Noisy counts show too little to learn from. Their noise was seen, so that their budget is spent though there is no model:
    who could try again for nothing would do so until noise allows it."""


#: What a family may do when it goes wrong, or even when it does not: draw too few kinds of rows, draw them without detail, take
#: long for each, end elsewhere with every seed, hold training rows.
Failure = Literal["diversity", "blur", "slow", "instability", "privacy"]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a family says of itself to whoever chooses among families (`flows/choose.py`). Figures are measured, not promised.

    kind: the field's name of what it is ("GAN").
    rows, rows_of_class: training rows or pictures, in all and of a class that is drawn, from which it has been seen to work.
    reach: rows of a class beyond which it has nothing over the default; None where there is no such number.
    auc: by which a classifier tells its rows from real ones, the median over the tables of docs/benchmarks/tables.md; .5 is
        best.
    gain, gain_of_100: in average precision of a class of 30 and of 100 real rows, beside nothing, the class filled up: means
        over the tables of docs/benchmarks/utility.md; of pictures (gain alone) the mean share of the headroom in
        docs/benchmarks/images.md, of 5 real ones.
    photorealistic: whether fine detail comes out as a camera sees it, with the backbone or the rows that it needs.
    latent: whether rows have places in a space, between which there are others. scores: whether it says how unusual a row is.
    passes: evaluations of a network for one row.
    fails: how it is known to fail, worst first.
    private: whether it can promise differential privacy. licence: of what it is made of, by its SPDX name.
    reference: only there for others to be compared with; never chosen.
    gpu: whether nobody would wait for it without a GPU. backbone: whether it cannot do without a pretrained one."""

    kind: str
    rows: int
    rows_of_class: int
    fails: tuple[Failure, ...]
    reach: int | None = None
    auc: float | None = None
    gain: float | None = None
    gain_of_100: float | None = None
    photorealistic: bool = False
    latent: bool = False
    scores: bool = False
    passes: int = 1
    private: bool = False
    licence: str = "Apache-2.0"
    reference: bool = False
    gpu: bool = False
    backbone: bool = False

    def gain_at(self, rows: int) -> float | None:
        """The gain that is to be expected of a class of so many real rows, None where nothing was measured."""
        return None if self.gain is None else gain_at(rows, self.gain, self.gain_of_100)


def gain_at(rows: int, of_30: float, of_100: float | None) -> float:
    """A gain in average precision at so many real rows of a class: of 30 and fewer that of 30; on to 100 in a straight line
    over the logarithm; with more it shrinks as they grow."""
    if of_100 is None or rows <= 30:
        return of_30
    if rows >= 100:
        return of_100 * 100 / rows
    part = math.log(rows / 30) / math.log(100 / 30)
    return of_30 + part * (of_100 - of_30)


@dataclass(frozen=True)
class Range:
    """Where a setting may be searched (`counterpoise tune`): whole numbers where both ends are, or one of `choices`.

    log: whether what counts is how many times as large a value is."""

    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def holding(self, value: Any) -> Range:
        """The range with this value in it."""
        if self.choices:
            return self if value in self.choices else replace(self, choices=(*self.choices, value))
        return replace(self, low=min(self.low, value), high=max(self.high, value))


class Progress(Protocol):
    """Told where a long piece of work stands; shows it or keeps silent."""

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        """`done` of `total` units of `what` ("epoch"), with the losses of the moment."""


class Silent:
    """Shows nothing."""

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        return None


SILENT = Silent()


@runtime_checkable
class Generator(Protocol):
    """A family: a dataclass whose fields are its settings; what `fit` learns ends in `_`.

    Class attributes:
        modality: the kind of data it learns, "tabular", "image" or "series".
        exact_conditions: whether `where` is drawn directly; otherwise rows are drawn and the rest thrown away.
        distributed: whether `fit` in each of several processes (`accelerate launch`) is one fit; a family that says nothing
            learns in one.
        warm: of a family that can begin with a model of its own: the setting that takes its folder.

    A family may also have `traits`, by which it can be chosen (of one that has none nothing is known, so a plan must name it);
    `ready()`, which raises where something it needs is not installed, and `refuse(train)`, which raises
    what `fit` would refuse at once, such as data of which it can make nothing; both are asked before any work. `ranges` says in
    which settings it can be tuned: a mapping from the names of fields to `Range`.
    """

    modality: ClassVar[str]
    exact_conditions: ClassVar[bool]

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train`. With `checkpoint` (a folder) the state is kept there and a later call with the same
        data, settings and seed goes on from it and ends as an uninterrupted one would."""

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Draw exactly `n` rows in batches, columns and types as in `train.schema.arrow()`."""

    def save(self, folder: Path) -> None:
        """Write everything `load` needs into `folder`."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""


def table(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """All batches as one table."""
    return pa.Table.from_batches(list(batches), schema=schema)


ENVELOPE = "envelope.json"
FORMAT = 2


def seal(folder: Path, family: object, **facts: Any) -> None:
    """Write the envelope of a saved model last: who it is, its settings, and the sha256 of every file beside it."""
    settings = asdict(family) if is_dataclass(family) and not isinstance(family, type) else {}
    files = {p.name: _sha256(p) for p in sorted(folder.iterdir()) if p.is_file() and p.name != ENVELOPE}
    cls = type(family)
    value = {"format": FORMAT, "family": f"{cls.__module__}:{cls.__qualname__}", "settings": settings, "files": files, **facts}
    beside = folder / (ENVELOPE + ".part")
    beside.write_text(json.dumps(value, indent=1, sort_keys=True, default=str))
    beside.replace(folder / ENVELOPE)


def unseal(folder: Path) -> dict[str, Any]:
    """Read an envelope and check that every file beside it is what was saved.

    Raises GeneratorError when the folder holds no model, another format, or a changed file."""
    path = folder / ENVELOPE
    if not path.is_file():
        raise GeneratorError(f"{folder} holds no saved model: {ENVELOPE} is missing; fit one with `counterpoise run`")
    value: dict[str, Any] = json.loads(path.read_text())
    if value.get("format") != FORMAT:
        raise GeneratorError(f"{path}: format {value.get('format')} is not {FORMAT}; fit the model again with this version")
    for name, digest in value["files"].items():
        if not (folder / name).is_file() or _sha256(folder / name) != digest:
            raise GeneratorError(f"{folder / name} is missing or was changed after it was saved; fit the model again")
    return value


def device_of(name: str) -> torch.device:
    """The device that `generator.device` names; "auto" is a GPU where there is one. Raises GeneratorError for none."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise GeneratorError(f"generator.device: {name} was asked for but there is none; use auto")
    try:
        return torch.device(name)
    except RuntimeError:
        raise GeneratorError(f"generator.device: {name!r} is no device; use auto, cpu or cuda") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
