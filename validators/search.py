"""Where would a classifier say that synthetic rows are missing? Cells found on some rows and counted on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from data.encode import Geometry
from validators.cells import Codes, Grid
from validators.sides import Sides
from validators.stats import Array, log_binomial_tail

#: A cell of the trees holds the rows whose synthetic density they put at no more than so much of the real one.
RATIOS = (0.15, 0.25, 0.4, 0.6)
#: A cell of the scan holds the rows in a triple of values that is thin among the searched rows by so small a log p.
LOG_P = (-16.0, -12.0, -10.0, -8.0)
#: Rows of either side that the search looks at, at least and at most, and rows that are then counted.
LEAST_ROWS, MOST_ROWS, COUNT_ROWS = 200, 15_000, 50_000
TREES, LEAVES, LEAF_ROWS = 80, 16, 20
#: Triples of columns that the scan goes through, at most.
MOST_TRIPLES = 600


@dataclass(frozen=True)
class Found:
    """Cells that the search found, nested within each of its two ways.

    reference, holdout, sample: (c, n) bool, whether each row of these sides lies in each cell; counted: positions in the
    sample that the search has not seen; labels: what each cell is called."""

    reference: Array
    holdout: Array
    sample: Array
    counted: Array
    labels: tuple[str, ...]


def search(at: Sides, grid: Grid, placed: Mapping[str, Codes]) -> Found | None:
    """Two ways to look for what is missing in half of the synthetic rows, beside the reference; None with too few rows.

    Boosted trees tell the two apart, and their density ratio parts the rows: this finds broad regions of any shape. A
    scan over all triples of columns finds small ones that three values set apart. The other half and the holdout, which
    decide, take no part, so the tests of these cells are as exact as those of cells fixed on the reference alone.
    placed: the grid's codes of "reference", "holdout" and "sample".

    Source: classifier two-sample tests (Lopez-Paz and Oquab 2017, section 3), with a density ratio (Sugiyama et al. 2012,
    chapter 4) in place of the accuracy; subgroup discovery (Kloesgen 1996), with a test in place of a quality."""
    rng = np.random.default_rng([at.intent.seed, 41])
    order = rng.permutation(at.whole)
    seen = order[: min(len(order) // 2, MOST_ROWS)]
    r = rng.permutation(at.reference.num_rows)[:MOST_ROWS]
    if min(len(seen), len(r)) < LEAST_ROWS:
        return None
    geometry = Geometry.fit(at.reference, with_target=True)
    clouds = [geometry.transform(rows) for rows in (at.reference, at.holdout, at.sample)]
    model = _fit(clouds[0][r], clouds[2][seen], at.intent.seed)
    ratios = [_ratios(model, cloud) for cloud in clouds]
    scores = _scan(grid, placed, r, seen, at.intent.rho, rng)
    reference, holdout, sample = (
        np.concatenate([np.greater_equal.outer(RATIOS, ratio), np.greater_equal.outer(LOG_P, score)])
        for ratio, score in zip(ratios, scores, strict=True)
    )
    labels = tuple(_describe(clouds[0], inside, geometry) for inside in reference)
    counted = np.sort(order[len(seen) :][:COUNT_ROWS])
    return Found(reference, holdout, sample, counted=counted, labels=labels)


def _scan(
    grid: Grid, placed: Mapping[str, Codes], r: Array, seen: Array, rho: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """For each row of reference, holdout and sample the least log p of the triples of values that it holds."""
    coarse = [each for each in grid.encoders if each.key.startswith("coarse:") and len(each.labels) > 1]
    columns = [(each.key, len(each.labels)) for each in coarse]
    triples: list[Any] = list(combinations(columns, min(len(columns), 3)))
    if len(triples) > MOST_TRIPLES:
        triples = [triples[i] for i in np.sort(rng.choice(len(triples), MOST_TRIPLES, replace=False))]
    sides = [placed[name] for name in ("reference", "holdout", "sample")]
    best = [np.zeros(len(next(iter(side.values())))) for side in sides]
    chance = rho * len(seen) / (rho * len(seen) + len(r))
    for triple in triples if columns else []:
        codes = [_joined(side, triple) for side in sides]
        size = int(np.prod([wide + 1 for _, wide in triple]))
        real, made = np.bincount(codes[0][r], minlength=size), np.bincount(codes[2][seen], minlength=size)
        # Only cells whose complete loss could count are worth the logarithms.
        some = np.flatnonzero((real >= 4) & (made * len(r) < rho * real * len(seen)))
        log_p = np.zeros(size)
        log_p[some] = log_binomial_tail(made[some], real[some] + made[some], chance)
        for least, code in zip(best, codes, strict=True):
            np.minimum(least, log_p[code], out=least)
    return best[0], best[1], best[2]


def _joined(side: Codes, triple: Sequence[tuple[str, int]]) -> Array:
    """One code for the values of several columns together; rows in no cell of a column share a value there: (n,) int64."""
    out = np.zeros(len(side[triple[0][0]]), dtype=np.int64)
    for key, wide in triple:
        out = out * (wide + 1) + side[key] + 1
    return out


def _fit(real: Array, made: Array, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

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


def _describe(cloud: Array, inside: Array, geometry: Geometry) -> str:
    """The conditions by which a small tree sets most of the cell's reference rows apart."""
    from sklearn.tree import DecisionTreeClassifier

    if not inside.any() or inside.all():
        return "a region that was searched for"
    tree = DecisionTreeClassifier(max_leaf_nodes=8, max_depth=4, class_weight="balanced", random_state=0).fit(cloud, inside)
    leaves = tree.apply(cloud[inside])
    leaf = int(np.bincount(leaves).argmax())
    told = _conditions(cloud[inside][leaves == leaf][:1], tree, geometry)
    return f"a region around {' & '.join(told)}" if told else "a region that was searched for"


def _conditions(row: Array, tree: Any, geometry: Geometry) -> list[str]:
    """What the tree asks on the way of a row (1, d), bounds on one column joined, narrowest last."""
    nodes, path = tree.tree_, tree.decision_path(row).indices
    words: dict[str, str] = {}
    bounds: dict[str, list[float]] = {}
    for node, child in zip(path, path[1:], strict=False):
        above = bool(nodes.children_right[node] == child)
        feature, threshold = int(nodes.feature[node]), float(nodes.threshold[node])
        part = next(p for p in geometry.parts if p.start <= feature < p.stop)
        if part.ranks is None:
            level = part.level_name(feature - part.start)
            words[f"{part.name}={level}"] = f"{part.name}{'=' if above else ' not '}{level}"
        elif feature > part.start:
            words[f"{part.name} missing"] = f"{part.name} {'' if above else 'not '}missing"
        else:
            bounds.setdefault(part.name, [0.0, 1.0])[0 if above else 1] = threshold
    return [_range(name, *limits) for name, limits in bounds.items()] + list(words.values())


def _range(name: str, low: float, high: float) -> str:
    if low <= 0:
        return f"{name} up to its {100 * high:.3g} % quantile"
    if high >= 1:
        return f"{name} over its {100 * low:.3g} % quantile"
    return f"{name} from its {100 * low:.3g} % to its {100 * high:.3g} % quantile"
