"""Which of scikit-learn's bundled data sets is meant, and how many rows of each class?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import DataError
from data.sources import clean, thin

SETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")
TARGET = "target"


def read(set: str, *, keep: Mapping[Any, int] | None = None, seed: int = 0) -> pa.Table:  # noqa: A002
    """A bundled set as a table: its features with underscores for blanks, then `target`.

    Classes are their names as text ("malignant"); diabetes has numbers. Features that hold whole numbers alone are int64.
    keep: class -> the most rows of it to keep, drawn by `seed`. Raises DataError for an unknown set or class."""
    if set not in SETS:
        raise DataError(f"scikit-learn bundles no set {set!r}; choose {', '.join(SETS)}")
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{set}")()
    columns = {_name(name): _narrow(values) for name, values in zip(bunch.feature_names, np.asarray(bunch.data).T, strict=True)}
    table = clean(pa.table(columns | {TARGET: _target(bunch)}), f"scikit-learn's {set}")
    return thin(table, TARGET, keep, seed=seed) if keep else table


def _target(bunch: Any) -> pa.Array:
    names = getattr(bunch, "target_names", None)
    if names is None:
        return _narrow(np.asarray(bunch.target, dtype=np.float64))
    return pa.array([str(names[int(place)]) for place in bunch.target], pa.string())


def _narrow(values: np.ndarray) -> pa.Array:
    whole = np.all(values == np.rint(values))
    return pa.array(values.astype(np.int64) if whole else values.astype(np.float64))


def _name(text: str) -> str:
    return str(text).replace(" (cm)", "").replace(" ", "_").replace("/", "_per_")
