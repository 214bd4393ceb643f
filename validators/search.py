"""Where would a classifier say that synthetic rows are missing? Cells found on some rows and counted on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.encode import Geometry
from data.schema import Schema
from validators.sides import Sides
from validators.stats import Array

#: A cell holds the rows whose synthetic density the classifier puts at no more than so much of the real one.
RATIOS = (0.15, 0.25, 0.4, 0.6)
#: Rows of either side that the search looks at, at least and at most, and rows that are then counted.
LEAST_ROWS, MOST_ROWS, COUNT_ROWS = 200, 15_000, 50_000
TREES, LEAVES, LEAF_ROWS = 80, 16, 20


@dataclass(frozen=True)
class Found:
    """Cells that the search found, nested by RATIOS.

    reference, holdout, sample: (n,) density ratio that the classifier gives each row of these sides; counted: positions in
    the sample that the search has not seen; labels: what each cell is called."""

    reference: Array
    holdout: Array
    sample: Array
    counted: Array
    labels: tuple[str, ...]

    def inside(self, ratios: Array, cell: int) -> Array:
        """Whether rows of these density ratios lie in a cell: (n,) bool."""
        return np.asarray(ratios <= RATIOS[cell])


def search(at: Sides) -> Found | None:
    """Boosted trees tell half of the synthetic rows from the reference; None where either side has too few rows.

    The other half and the holdout, which decide, take no part, so the tests of these cells are as exact as those of cells
    fixed on the reference alone. Source: classifier two-sample tests (Lopez-Paz and Oquab 2017, section 3), with the
    density ratio of Sugiyama et al. 2012, chapter 4, in place of the accuracy."""
    rng = np.random.default_rng([at.intent.seed, 41])
    order = rng.permutation(at.whole)
    seen = order[: min(len(order) // 2, MOST_ROWS)]
    r = rng.permutation(at.reference.num_rows)[:MOST_ROWS]
    if min(len(seen), len(r)) < LEAST_ROWS:
        return None
    geometry = Geometry.fit(at.reference, with_target=True)
    clouds = [geometry.transform(rows) for rows in (at.reference, at.holdout, at.sample)]
    model = _fit(clouds[0][r], clouds[2][seen], at.intent.seed)
    reference, holdout, sample = (_ratios(model, cloud) for cloud in clouds)
    counted = np.sort(order[len(seen) :][:COUNT_ROWS])
    schema = at.reference.schema
    labels = tuple(_describe(clouds[0], reference <= ratio, geometry, schema, at.reference) for ratio in RATIOS)
    return Found(reference, holdout, sample, counted=counted, labels=labels)


def _fit(real: Array, made: Array, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAF_ROWS,
        class_weight="balanced",
        early_stopping=False,
        random_state=seed,
    )
    labels = np.repeat([0, 1], [len(real), len(made)])
    with threadpool_limits(1):
        return model.fit(np.concatenate([real, made]), labels)


def _ratios(model: Any, cloud: Array) -> Array:
    """Synthetic density over real density at each row, as the classifier has it."""
    if not len(cloud):
        return np.zeros(0)
    return np.asarray(np.exp(model.decision_function(cloud)), dtype=np.float64)


def _describe(cloud: Array, inside: Array, geometry: Geometry, schema: Schema, reference: Dataset) -> str:
    """The conditions by which a small tree sets most of the cell's reference rows apart."""
    from sklearn.tree import DecisionTreeClassifier

    if not inside.any() or inside.all():
        return "a region that was searched for"
    tree = DecisionTreeClassifier(max_leaf_nodes=8, max_depth=4, class_weight="balanced", random_state=0).fit(cloud, inside)
    nodes = tree.tree_
    leaves = tree.apply(cloud[inside])
    leaf = int(np.bincount(leaves).argmax())
    conditions: dict[str, str] = {}
    path = tree.decision_path(cloud[inside][leaves == leaf][:1]).indices
    for node, child in zip(path, path[1:], strict=False):
        above = nodes.children_right[node] == child
        column, text = _condition(int(nodes.feature[node]), float(nodes.threshold[node]), bool(above), geometry, schema)
        conditions[f"{column} {above}"] = text  # a later, narrower bound replaces an earlier one on the same side
    return "a region around " + " & ".join(conditions.values()) if conditions else "a region that was searched for"


def _condition(feature: int, threshold: float, above: bool, geometry: Geometry, schema: Schema) -> tuple[str, str]:
    part = next(p for p in geometry.parts if p.start <= feature < p.stop)
    if part.ranks is None:
        level = part.level_name(feature - part.start)
        return f"{part.name}={level}", f"{part.name}{'=' if above else ' not '}{level}"
    if feature > part.start:
        return f"{part.name} missing", f"{part.name} {'' if above else 'not '}missing"
    return part.name, f"{part.name} {'over' if above else 'up to'} its {100 * threshold:.0f} % quantile"
