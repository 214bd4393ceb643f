"""What do the synthesizers of SDV 2 draw, put behind the same front as every other family?

SDV is licensed under the Business Source License 1.1: free to use, except to sell a synthetic-data service. It is
therefore imported only inside the functions of this backend and is never a default; see
docs/decisions/0003-sdv-is-optional-by-licence.md.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pickle  # noqa: S403  what this user has signed; see _sdv_signature
import random
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.schema import Schema
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal
from generators.tabular._conditions import DRAW_ROWS, matching, resolve
from generators.tabular._sdv_columns import Codec, fit_codecs, frame, rows
from generators.tabular._sdv_signature import check, sign
from generators.tabular._table import Finish, at_least, class_counts, open_model, refuse

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["CTGAN", "TVAE", "CopulaGAN", "GaussianCopula"]

TABLE = "t"
ABSENT = "SDV is not installed; `make setup` brings it, or use generator.use: gan"
SYNTHESIZER = "synthesizer.pkl"
STATE = "state.pkl"
#: Of SDV and its kin, by its SPDX name: no commercial service that makes synthetic data may be offered with it.
LICENCE = "BUSL-1.1"

Distribution = Literal["beta", "norm", "truncnorm", "gamma", "uniform", "gaussian_kde"]


@dataclass
class _SDVFamily:
    """What the four families share: columns to SDV and back, seeds, conditions, saving.

    Learned: `schema_`, `codecs_` (column -> its way to SDV and back), `place_` (column -> its name inside SDV),
    `finish_` (makes ids, orders columns), `shares_` (class -> share in train), `synthesizer_` (None when no column varies)."""

    modality: ClassVar[str] = "tabular"
    exact_conditions: ClassVar[bool] = False
    synthesizer: ClassVar[str]

    def ready(self) -> None:
        """Raises GeneratorError when SDV is not installed; asked before any work is done."""
        if importlib.util.find_spec("sdv") is None:
            raise GeneratorError(ABSENT)

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Learn from `train` on SDV's own training loop.

        SDV cannot go on in the middle of a fit: after a kill the same call starts from the beginning and, being
        seeded, ends as an uninterrupted one would; nothing is written into `checkpoint`.

        Raises GeneratorError when SDV is missing, the settings contradict each other, the data cannot be learned, or
        the losses stop being numbers (it names the epoch)."""
        models = _models()
        self._check_settings()
        self._remember(train)
        seen = frame(train, self.codecs_, self.place_)
        self.synthesizer_: Any = None
        if len(seen.columns):
            self.synthesizer_ = getattr(models, self.synthesizer)(_metadata(self.codecs_, self.place_), **self._settings())
            self.synthesizer_.told = _teller(progress, getattr(self, "epochs", 1))
            with _seeded(seed), _quiet():
                _fit(self.synthesizer_, seen)
        if not hasattr(self, "epochs"):
            progress.advance(1, 1, "fit")
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` rows in batches of at most 10,000, types as in `train.schema.arrow()`.

        A condition is met by drawing and throwing away: the rows are what the model itself makes of the condition
        (SDV's `sample_from_conditions` does the same for these models, without a seed, and gives fewer rows silently).

        Raises GeneratorError for an unknown condition and when the model hardly ever makes such rows."""
        wanted = resolve(where, self.schema_)
        start = 0
        for batch in matching(self._draw, n, wanted, seed=seed, rows=DRAW_ROWS, share=self._share(wanted)):
            yield self.finish_(batch, start=start, seed=seed)
            start += batch.num_rows

    def save(self, folder: Path) -> None:
        """Write SDV's own file, the state around it, and the envelope. The files hold levels and extremes of the real data."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.synthesizer_ is not None:
            with _quiet():
                self.synthesizer_.save(str(folder / SYNTHESIZER))
        learned = {name: getattr(self, name) for name in ("schema_", "codecs_", "place_", "finish_", "shares_")}
        (folder / STATE).write_bytes(pickle.dumps(learned))
        sign(folder, (STATE, SYNTHESIZER))
        seal(folder, self, sdv=_version())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote. Both files are pickles, which can run code: only what this user signed is read.

        Raises GeneratorError when a file was changed after it was saved, another family was saved there, or somebody else
        saved it."""
        family = cls(**open_model(folder, cls))
        check(folder, (STATE, SYNTHESIZER))
        for name, value in pickle.loads((folder / STATE).read_bytes()).items():  # noqa: S301  signed, checked above
            setattr(family, name, value)
        family.synthesizer_ = _load(folder / SYNTHESIZER) if (folder / SYNTHESIZER).is_file() else None
        return family

    def _settings(self) -> dict[str, Any]:
        return asdict(self)

    def _check_settings(self) -> None:
        return None

    def _remember(self, train: Dataset) -> None:
        refuse(train)
        self.schema_: Schema = train.schema
        self.codecs_: dict[str, Codec] = fit_codecs(train)
        self.place_ = {name: f"c{i}" for i, name in enumerate(self.codecs_)}
        self.finish_ = Finish.fit(train)
        self.shares_ = {level: count / train.num_rows for level, count in class_counts(train).items()}

    def _share(self, wanted: dict[str, Any]) -> float | None:
        """The share of train that a condition on the class alone holds; None for any other condition."""
        target = str(self.schema_.target)
        return self.shares_.get(wanted[target]) if set(wanted) == {target} else None

    def _draw(self, n: int, seed: int) -> pa.RecordBatch:
        """`n` unconditioned rows of the learned columns; everything random in it comes from `seed`."""
        drawn = None
        if self.synthesizer_ is not None:
            with _seeded(seed), _quiet():
                _reseed(self.synthesizer_, seed)
                drawn = self.synthesizer_.sample(num_rows=n)[TABLE]
        return rows(drawn, n, self.codecs_, self.place_)


@dataclass
class CTGAN(_SDVFamily):
    """SDV's CTGANSynthesizer: a conditional tabular GAN (Xu et al. 2019, "Modeling Tabular Data using Conditional GAN").

    Needs SDV, which is under the Business Source License 1.1.

    Fields:
        epochs: passes over the training rows.
        batch_size: rows in a step; even and a multiple of `pac`. May exceed the data: steps draw with replacement.
        embedding_dim: length of the generator's noise vector.
        generator_dim, discriminator_dim: width of each hidden layer.
        generator_lr, discriminator_lr: learning rates of Adam; generator_decay, discriminator_decay: weight decay.
        discriminator_steps: discriminator updates for each generator update.
        log_frequency: draw training conditions by the logarithm of their frequency.
        pac: rows that the discriminator judges together (PacGAN, Lin et al. 2018).
        enable_gpu: use a GPU when there is one."""

    synthesizer: ClassVar[str] = "CTGANTold"
    traits: ClassVar[Traits] = Traits(
        kind="GAN", rows=100, rows_of_class=10, auc=0.939, licence=LICENCE, fails=("diversity", "instability")
    )
    epochs: int = 300
    batch_size: int = 500
    embedding_dim: int = 128
    generator_dim: tuple[int, ...] = (256, 256)
    discriminator_dim: tuple[int, ...] = (256, 256)
    generator_lr: float = 2e-4
    discriminator_lr: float = 2e-4
    generator_decay: float = 1e-6
    discriminator_decay: float = 1e-6
    discriminator_steps: int = 1
    log_frequency: bool = True
    pac: int = 10
    enable_gpu: bool = True

    def _check_settings(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "embedding_dim", "discriminator_steps", "pac")
        if self.batch_size % self.pac or self.batch_size % 2:
            step = int(np.lcm(self.pac, 2))
            near = max(step, round(self.batch_size / step) * step)
            raise GeneratorError(
                f"generator.batch_size: {self.batch_size} must be even and a multiple of pac ({self.pac}); use {near}"
            )


@dataclass
class CopulaGAN(CTGAN):
    """SDV's CopulaGANSynthesizer: CTGAN on columns whose marginals were made normal first.

    Needs SDV, which is under the Business Source License 1.1. Fields: those of CTGAN, and
        default_distribution: the marginal fitted to every numeric column."""

    synthesizer: ClassVar[str] = "CopulaGANTold"
    traits: ClassVar[Traits] = Traits(
        kind="GAN", rows=100, rows_of_class=10, licence=LICENCE, fails=("diversity", "instability")
    )
    default_distribution: Distribution = "beta"


@dataclass
class TVAE(_SDVFamily):
    """SDV's TVAESynthesizer: a variational autoencoder for tables (Xu et al. 2019, section 4.5).

    Needs SDV, which is under the Business Source License 1.1.

    Fields:
        epochs: passes over the training rows.
        batch_size: rows in a step.
        embedding_dim: length of the latent vector.
        compress_dims, decompress_dims: width of each hidden layer of encoder and decoder.
        l2scale: weight decay.
        loss_factor: weight of the reconstruction error against the divergence.
        enable_gpu: use a GPU when there is one."""

    synthesizer: ClassVar[str] = "TVAETold"
    traits: ClassVar[Traits] = Traits(
        kind="VAE", rows=100, rows_of_class=10, auc=0.956, licence=LICENCE, fails=("diversity", "blur")
    )
    epochs: int = 300
    batch_size: int = 500
    embedding_dim: int = 128
    compress_dims: tuple[int, ...] = (128, 128)
    decompress_dims: tuple[int, ...] = (128, 128)
    l2scale: float = 1e-5
    loss_factor: float = 2
    enable_gpu: bool = True

    def _check_settings(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "embedding_dim")


@dataclass
class GaussianCopula(_SDVFamily):
    """SDV's GaussianCopulaSynthesizer: fitted marginals tied by a Gaussian copula (Patki et al. 2016).

    Needs SDV, which is under the Business Source License 1.1.

    Fields:
        default_distribution: the marginal fitted to every column."""

    synthesizer: ClassVar[str] = "GaussianCopulaTold"
    traits: ClassVar[Traits] = Traits(
        kind="copula", rows=100, rows_of_class=10, auc=0.988, licence=LICENCE, fails=("diversity", "blur")
    )
    default_distribution: Distribution = "beta"


def _models() -> ModuleType:
    if importlib.util.find_spec("sdv") is None:
        raise GeneratorError(ABSENT)
    with _quiet():
        return importlib.import_module("generators.tabular._sdv_models")


def _version() -> str:
    from importlib.metadata import version

    return version("sdv")


def _load(path: Path) -> Any:
    _models()
    from sdv.utils import load_synthesizer

    with _quiet():
        return load_synthesizer(str(path))


def _metadata(codecs: dict[str, Codec], place: dict[str, str]) -> Any:
    # Stated, not detected: SDV's detection guesses kinds again and stores the real minima and maxima.
    from sdv.metadata import Metadata

    columns = {place[name]: {"sdtype": codec.sdtype} for name, codec in codecs.items() if codec.sdtype is not None}
    return Metadata.load_from_dict({"tables": {TABLE: {"columns": columns}}})


def _fit(synthesizer: Any, seen: Any) -> None:
    from sdv.errors import InvalidDataError

    try:
        synthesizer.fit({TABLE: seen})
    except (InvalidDataError, ValueError, FloatingPointError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise GeneratorError(f"SDV could not learn these data: {first}; try another family, e.g. generator.use: gan") from error
    finally:
        synthesizer.told = None


def _teller(progress: Progress, epochs: int) -> Any:
    def told(done: int, losses: dict[str, float]) -> None:
        if not all(np.isfinite(value) for value in losses.values()):
            raise GeneratorError(
                f"training diverged in epoch {done} of {epochs}: the loss is not a number; "
                "lower the learning rate (or loss_factor), or scale extreme columns"
            )
        progress.advance(done, epochs, "epoch", **losses)

    return told


def _reseed(synthesizer: Any, seed: int) -> None:
    # SDV restarts every draw of a loaded model from one fixed seed, and so does each column's own transformer.
    synthesizer._set_random_state(seed)
    steps = [synthesizer._data_processor._hyper_transformer]
    if (normalizer := getattr(synthesizer, "_gaussian_normalizer_hyper_transformer", None)) is not None:
        steps.append(normalizer)
    for layer, step in enumerate(steps):
        # By name: SDV keeps its transformers in an order that differs between processes.
        for place, name in enumerate(sorted(step.field_transformers, key=str)):
            if (transformer := step.field_transformers[name]) is not None:
                own = np.random.RandomState(np.random.SeedSequence([seed, layer, place]).generate_state(4))
                transformer.set_random_state(own, "reverse_transform")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that SDV draws from, and put them back as they were."""
    small = int(np.random.SeedSequence(seed % 2**63).generate_state(1)[0])
    before_python, before_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        try:
            random.seed(small)
            np.random.seed(small)
            torch.manual_seed(small)
            yield
        finally:
            random.setstate(before_python)
            np.random.set_state(before_numpy)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep SDV's advice and its log file silent while it works here."""
    from logging import getLogger

    names = ("SingleTableSynthesizer", "Metadata", "sdv", "copulas", "rdt", "ctgan")
    loggers = [getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
