"""How close is a synthetic table to the real one? One protocol for every family that is compared.

Nothing is fitted on the synthetic rows except the learners whose success is the measure. All figures but the first
stand beside what real rows would reach only where the protocol gives it (`trtr_auc`, `exact_holdout`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer

from data.dataset import Dataset
from data.schema import Schema

#: Rows compared by nearest neighbours, and the neighbour whose distance is a row's radius.
NEAR_ROWS, NEIGHBOUR = 5000, 5
#: A level of so many training rows belongs into as many synthetic ones.
LEVEL_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Figures of one synthetic table.

    trtr_auc, tstr_auc: ROC AUC on real test rows of boosting trained on real / on synthetic rows (one-vs-rest mean).
    tstr_ap: average precision of the rarest class, trained on synthetic rows.
    c2st_auc: AUC of boosting that tells synthetic from real test rows; 0.5 is best.
    coverage: share of real test rows with a synthetic row within their 5th neighbour's distance (Naeem et al. 2020).
    shapes, trends: SDMetrics' column shapes and column pair trends against train.
    exact, exact_holdout: share of synthetic / real test rows that equal a training row.
    closeness, closeness_holdout: median distance of synthetic / real test rows to the nearest training row.
    levels: share of levels with LEVEL_ROWS training rows or more that the synthetic rows hold; 1 where there is none."""

    trtr_auc: float
    trtr_ap: float
    tstr_auc: float
    tstr_ap: float
    c2st_auc: float
    coverage: float
    shapes: float
    trends: float
    exact: float
    exact_holdout: float
    closeness: float
    closeness_holdout: float
    levels: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def score(train: Dataset, test: Dataset, synthetic: Dataset) -> Quality:
    """All figures of `synthetic`; the three tables share one schema, whose target is a class.

    The synthetic rows may lack a class: it is then simply never predicted."""
    schema = train.schema
    real, held, fake = (plain(part.to_pandas(), schema) for part in (train, test, synthetic))
    a, b, s = (codes(part, real, schema) for part in (real, held, fake))
    target = str(schema.target)
    classes = np.unique(np.concatenate([a[target], b[target]]))
    rare = int(np.argmin([(a[target] == c).sum() for c in classes]))
    by_real = predictions(a, b, target, classes)
    by_fake = predictions(s[s[target].isin(classes)], b, target, classes)
    exact, exact_holdout = (share_of_copies(part, real) for part in (fake, held))
    shapes, trends = sdmetrics_scores(real, fake, schema)
    near, near_holdout = closeness(real, (fake, held), schema)
    return Quality(
        trtr_auc=class_auc(b[target], by_real, classes),
        trtr_ap=float(average_precision_score(b[target] == classes[rare], by_real[:, rare])),
        tstr_auc=class_auc(b[target], by_fake, classes),
        tstr_ap=float(average_precision_score(b[target] == classes[rare], by_fake[:, rare])),
        c2st_auc=two_sample_auc(b, s),
        coverage=coverage(real, held, fake, schema),
        shapes=shapes,
        trends=trends,
        exact=exact,
        exact_holdout=exact_holdout,
        closeness=near,
        closeness_holdout=near_holdout,
        levels=levels_held(real, fake, schema),
    )


def plain(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Learned columns alone: numbers and moments as float64 (missing NaN), levels as text (missing "<null>")."""
    out: dict[str, pd.Series[Any]] = {}
    for column in schema.learned:
        values = frame[column.name]
        if column.discrete:
            out[column.name] = values.astype(object).where(values.notna(), "<null>").astype(str)
        elif column.kind == "datetime":
            moments = pd.to_datetime(values, utc=True)
            out[column.name] = moments.astype("int64").astype(float).where(moments.notna())
        else:
            out[column.name] = pd.to_numeric(values).astype(float)
    return pd.DataFrame(out)


def codes(frame: pd.DataFrame, train: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Levels as numbers by their place among train's levels in text order, -1 for one unseen: all float64."""
    out = frame.copy()
    for name in _discrete(schema):
        out[name] = pd.Index(sorted(train[name].unique())).get_indexer(frame[name]).astype(float)
    return out


def predictions(rows: pd.DataFrame, test: pd.DataFrame, target: str, classes: np.ndarray) -> np.ndarray:
    """Class probabilities on `test` of boosting trained on `rows`: (n, classes). One class alone is a sure guess."""
    proba = np.zeros((len(test), len(classes)))
    known = np.unique(rows[target])
    if len(known) == 1:
        proba[:, np.searchsorted(classes, known)] = 1.0
    if len(known) <= 1:
        return proba
    model = HistGradientBoostingClassifier(random_state=0).fit(rows.drop(columns=target), rows[target])
    proba[:, np.searchsorted(classes, model.classes_)] = model.predict_proba(test.drop(columns=target))
    return proba


def class_auc(truth: pd.Series, proba: np.ndarray, classes: np.ndarray) -> float:
    """ROC AUC of the second class, or the mean over classes against the rest when there are more."""
    chosen = [1] if len(classes) == 2 else range(len(classes))
    return float(np.mean([roc_auc_score(truth == classes[i], proba[:, i]) for i in chosen]))


def two_sample_auc(real: pd.DataFrame, fake: pd.DataFrame) -> float:
    """AUC on the second half of equal shares of both, of boosting trained on the first half."""
    size = min(len(real), len(fake))
    rows = np.vstack([real.sample(size, random_state=0), fake.sample(size, random_state=0)])
    label = np.repeat([0, 1], size)
    order = np.random.default_rng(0).permutation(2 * size)
    first, second = order[:size], order[size:]
    teller = HistGradientBoostingClassifier(random_state=0).fit(rows[first], label[first])
    return float(roc_auc_score(label[second], teller.predict_proba(rows[second])[:, 1]))


def coverage(train: pd.DataFrame, test: pd.DataFrame, fake: pd.DataFrame, schema: Schema) -> float:
    """Naeem et al. 2020 with k = 5 on equal sizes: numbers as train's quantiles, levels one-hot / sqrt(2)."""
    size = min(NEAR_ROWS, len(test), len(fake))
    real, drawn = (embed(train, part.sample(size, random_state=1), schema) for part in (test, fake))
    k = min(NEIGHBOUR, size - 1)
    radius = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(drawn).kneighbors(real)[0][:, 0]
    return float((nearest < radius).mean())


def closeness(train: pd.DataFrame, parts: Sequence[pd.DataFrame], schema: Schema) -> list[float]:
    """Median distance to the nearest training row of at most NEAR_ROWS rows of each part, in the space of `embed`."""
    near = NearestNeighbors(n_neighbors=1).fit(embed(train, train, schema))
    some = (part.sample(min(NEAR_ROWS, len(part)), random_state=1) for part in parts)
    return [float(np.median(near.kneighbors(embed(train, part, schema))[0])) for part in some]


def levels_held(train: pd.DataFrame, fake: pd.DataFrame, schema: Schema) -> float:
    """Share of levels (missing is one) with LEVEL_ROWS training rows or more that are among the synthetic rows."""
    held = []
    for name in _discrete(schema):
        counts = train[name].value_counts()
        held += list(counts.index[counts >= LEVEL_ROWS].isin(fake[name].unique()))
    return float(np.mean(held)) if held else 1.0


def embed(train: pd.DataFrame, rows: pd.DataFrame, schema: Schema) -> np.ndarray:
    """(n, d) float32; a missing number is train's median."""
    discrete = _discrete(schema)
    numbers = [name for name in train if name not in discrete]
    blocks = []
    if numbers:
        fill = train[numbers].median().fillna(0.0)
        spread = QuantileTransformer(n_quantiles=min(500, len(train))).fit(train[numbers].fillna(fill))
        blocks.append(spread.transform(rows[numbers].fillna(fill)))
    if discrete:
        hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train[discrete])
        blocks.append(hot.transform(rows[discrete]) / np.sqrt(2))
    return np.hstack(blocks).astype(np.float32)


def share_of_copies(rows: pd.DataFrame, train: pd.DataFrame) -> float:
    """Share of rows equal to a training row in every column; missing equals missing."""
    seen = set(pd.util.hash_pandas_object(train, index=False))
    return float(pd.util.hash_pandas_object(rows, index=False).isin(seen).mean())


def sdmetrics_scores(train: pd.DataFrame, fake: pd.DataFrame, schema: Schema) -> tuple[float, float]:
    """Column shapes and column pair trends of SDMetrics' QualityReport."""
    with warnings.catch_warnings():
        # SDMetrics is moving this report to another package; the figures are these.
        warnings.simplefilter("ignore")
        discrete = _discrete(schema)
    meta = {"columns": {c: {"sdtype": "categorical" if c in discrete else "numerical"} for c in train}}
    with warnings.catch_warnings():
        # It warns of its own coming move to another module, and of constant columns; the figures are the same.
        warnings.simplefilter("ignore")
        from sdmetrics.reports.single_table import QualityReport

        report = QualityReport()
        report.generate(train, fake, meta, verbose=False)
    parts = report.get_properties().set_index("Property")["Score"]
    return float(parts["Column Shapes"]), float(parts["Column Pair Trends"])


def _discrete(schema: Schema) -> list[str]:
    return [column.name for column in schema.learned if column.discrete]
