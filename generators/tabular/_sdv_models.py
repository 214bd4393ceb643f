"""SDV's synthesizers that tell the losses of every epoch. Imported only when an SDV family is used.

SDV offers a printed progress bar and nothing else. Its models store the losses of all epochs so far in `loss_values`
at the end of each epoch, so a property in a subclass hears of every epoch without patching the library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
from ctgan import CTGAN, TVAE
from sdv.single_table import CopulaGANSynthesizer, CTGANSynthesizer, GaussianCopulaSynthesizer, TVAESynthesizer
from sdv.single_table.utils import detect_discrete_columns

#: (epochs done, losses of the last one by name)
Told = Callable[[int, dict[str, float]], None]


class _Telling:
    """Hands each epoch's losses to `told`, which is never saved with the model."""

    told: Told | None = None

    @property
    def loss_values(self) -> pd.DataFrame | None:
        return self.__dict__.get("_losses")

    @loss_values.setter
    def loss_values(self, frame: pd.DataFrame | None) -> None:
        self.__dict__["_losses"] = frame
        if self.told is not None and frame is not None and len(frame):
            epoch = int(frame["Epoch"].iloc[-1])
            last = frame[frame["Epoch"] == epoch].drop(columns=["Epoch", "Batch"], errors="ignore")
            self.told(epoch + 1, {str(name).lower().replace(" ", "_"): float(last[name].mean()) for name in last})


class TellingCTGAN(_Telling, CTGAN):  # type: ignore[misc]
    """CTGAN of the `ctgan` package (Xu et al. 2019)."""


class TellingTVAE(_Telling, TVAE):  # type: ignore[misc]
    """TVAE of the `ctgan` package (Xu et al. 2019)."""


class _FitsTelling:
    """What SDV's `_fit` does, with a model that tells (SDV names its model class inside the method)."""

    told: Told | None = None
    _telling: type[Any]

    def _print_warning(self, data: pd.DataFrame) -> None:
        """Many categories: SDV prints its alert to stdout, where results belong."""

    def _fit(self, processed_data: pd.DataFrame) -> None:
        transformers = self._data_processor._hyper_transformer.field_transformers  # type: ignore[attr-defined]
        discrete = detect_discrete_columns(self.metadata, processed_data, transformers)  # type: ignore[attr-defined]
        self._model = self._telling(**self._model_kwargs)  # type: ignore[attr-defined]
        self._model.told = self.told
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*Attempting to run cuBLAS.*")
                self._model.fit(processed_data, discrete_columns=discrete)
        finally:
            self._model.told = None


class CTGANTold(_FitsTelling, CTGANSynthesizer):  # type: ignore[misc]
    """SDV's CTGANSynthesizer, telling its losses."""

    _telling = TellingCTGAN


class CopulaGANTold(CopulaGANSynthesizer, CTGANTold):  # type: ignore[misc]
    """SDV's CopulaGANSynthesizer: its `_fit` normalises the columns, then goes on to CTGANTold's."""


class TVAETold(_FitsTelling, TVAESynthesizer):  # type: ignore[misc]
    """SDV's TVAESynthesizer, telling its losses."""

    _telling = TellingTVAE


class GaussianCopulaTold(GaussianCopulaSynthesizer):  # type: ignore[misc]
    """SDV's GaussianCopulaSynthesizer; it has no epochs to tell of."""

    told: Told | None = None
