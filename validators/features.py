"""How are feature vectors, of images for example, judged by the same checks as tables?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from data.errors import DataError
from validators.stats import Array

#: Directions that are kept: cells of more would hold too few rows each to be tested.
MOST = 32
LABEL = "class"


def tables(
    features: Mapping[str, Array], labels: Mapping[str, Sequence[object]] | None = None, *, fit: str = "train", most: int = MOST
) -> dict[str, pa.Table]:
    """Feature matrices as tables that `judge` takes: principal components of the `fit` side, largest first, and the class.

    features: side ("train", "holdout", "synthetic") -> (n, d), finite; labels: side -> (n,) classes, written to a column
    named "class", the `target` of `judge`. Columns are `component 1`, ... in units of the first one's deviation, so that
    distances stay those of the features. Components and units come from the `fit` side alone.

    Raises DataError when shapes do not fit or a value is not finite. Source: Pearson 1901; the gate sees at most `most`
    directions, so what differs in none of them is not judged."""
    known = _checked(features)
    middle = known[fit].mean(axis=0)
    _, sizes, directions = np.linalg.svd(known[fit] - middle, full_matrices=False)
    kept = max(1, min(most, int((sizes > 1e-9 * max(float(sizes[0]), 1e-300)).sum())))
    scale = float(sizes[0]) / np.sqrt(max(len(known[fit]) - 1, 1)) or 1.0
    out = {}
    for side, matrix in known.items():
        points = (matrix - middle) @ directions[:kept].T / scale
        columns: dict[str, object] = {f"component {i + 1}": points[:, i] for i in range(kept)}
        if labels is not None:
            if len(labels[side]) != len(matrix):
                raise DataError(f"the {side} side has {len(matrix)} feature vectors but {len(labels[side])} labels")
            columns[LABEL] = [str(label) for label in labels[side]]
        out[side] = pa.table(columns)
    return out


def _checked(features: Mapping[str, Array]) -> dict[str, Array]:
    known = {side: np.asarray(matrix, dtype=np.float64) for side, matrix in features.items()}
    widths = {matrix.shape[1] if matrix.ndim == 2 else -1 for matrix in known.values()}
    if len(widths) != 1 or -1 in widths or min(len(matrix) for matrix in known.values()) < 1:
        shapes = ", ".join(f"{side} {matrix.shape}" for side, matrix in known.items())
        raise DataError(f"feature matrices must be (n, d) with one d and at least one row each, not {shapes}")
    for side, matrix in known.items():
        if not np.isfinite(matrix).all():
            raise DataError(f"the {side} features hold values that are not finite; mend the extractor or drop those rows")
    return known
