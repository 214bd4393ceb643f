"""Which rows does the generator see, which fix the geometry, and which are counted once at the end?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow.compute as pc

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Schema

#: A numeric target is stratified by this many quantile bins.
BINS = 10
TRAIN, REFERENCE, HOLDOUT = 0, 1, 2
_PARTS = ("train", "reference", "holdout")


@dataclass(frozen=True)
class Split:
    """Three views of one dataset. With `reference=0` the reference is the train set itself.

    The index arrays hold row positions in the dataset that was split, ascending, int64. Rows without a target value are
    in no part: they can neither be drawn class by class nor judged; `unlabelled` holds them. left: rows left out to keep
    groups whole, and why that is. said: what else is to be told."""

    train: Dataset
    reference: Dataset
    holdout: Dataset
    train_rows: np.ndarray = field(repr=False)
    reference_rows: np.ndarray = field(repr=False)
    holdout_rows: np.ndarray = field(repr=False)
    unlabelled: np.ndarray = field(repr=False)
    left: int = 0
    why: str = "rows of their group are kept for judging"
    said: tuple[str, ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should know about this split, a sentence each."""
        out = []
        if len(self.unlabelled):
            target = self.train.schema.target
            out.append(f"{len(self.unlabelled)} rows without a value in the target {target!r} are left out.")
        if self.left:
            out.append(f"{self.left} rows are left out, as {self.why}.")
        out.extend(self.said)
        if self.train_rows is self.reference_rows:
            out.append("The reference is the train set itself.")
        return tuple(out)


def split(dataset: Dataset, *, reference: float, holdout: float, seed: int, group: str | None = None) -> Split:
    """Cut a dataset into train, reference and holdout, by shares of its labelled rows.

    Every class keeps its share in each part, to the nearest row; a class with two rows or more has at least one in train
    and, when `holdout` > 0, one in holdout; with three or more one in the reference when `reference` > 0. A numeric target
    is stratified by deciles. With `group`, rows of one group never stand in two parts (rows without a group value are groups
    of their own); shares and classes are then met as closely as whole groups allow, and a class that lives in one group
    alone is in train. The same seed gives the same split.

    Raises DataError for shares that leave no train rows, too few rows or groups, a target that is constant or all null,
    and a class with a single row."""
    _check_shares(reference, holdout)
    strata, unlabelled = _strata(dataset)
    labelled = np.flatnonzero(strata >= 0)
    parts = 1 + (reference > 0) + (holdout > 0)
    if len(labelled) < parts:
        raise DataError(f"{len(labelled)} rows cannot be cut into {parts} parts; give more rows")
    shares = np.array([1 - reference - holdout, reference, holdout])
    rng = np.random.default_rng(seed)
    group = group if group is not None else dataset.schema.group
    if group is None:
        part = _by_rows(strata[labelled], shares, rng)
    else:
        part = _by_groups(strata[labelled], _groups(dataset, group)[labelled], shares, rng, group)
    rows = [labelled[part == place] for place in range(3)]
    _check_filled(rows, shares)
    return _assemble(dataset, rows, unlabelled, reference)


def split_as(dataset: Dataset, parts: Sequence[str | None]) -> Split:
    """Cut a dataset as its source says: for each row "train", "reference", "holdout" or None (left out).

    A group that the source puts on two sides stays on the later one (holdout before reference before train): its other
    rows are left out, so that no part or machine is known before it is judged; `notices` says how many.

    Raises DataError for another word, for no train or holdout rows, and when leaving out takes half of what there is to
    learn from."""
    unknown = sorted({str(p) for p in parts if p is not None and p not in _PARTS})
    if unknown:
        raise DataError(f"the source's split holds {unknown[0]!r}; it must be {', '.join(_PARTS)}")
    where = np.array([_PARTS.index(p) if p is not None else -1 for p in parts])
    for part in (TRAIN, HOLDOUT):
        if not (where == part).any():
            raise DataError(f"the source's split has no {_PARTS[part]} rows; set split.from_source to false")
    where, left = _apart(dataset, where)
    strata, unlabelled = _strata(dataset)
    rows = [np.flatnonzero((where == part) & (strata >= 0)) for part in range(3)]
    return replace(_assemble(dataset, rows, unlabelled, float(len(rows[REFERENCE]))), left=left)


def _apart(dataset: Dataset, where: np.ndarray) -> tuple[np.ndarray, int]:
    """The part of each row with every group on one side, -1 for rows left out for that; and how many those are."""
    if dataset.schema.group is None:
        return where, 0
    groups = _groups(dataset, dataset.schema.group)
    latest = np.full(groups.max() + 1, -1)
    np.maximum.at(latest, groups, where)
    cut = (where >= 0) & (where != latest[groups])
    learned, lost = int((where == TRAIN).sum()), int((cut & (where == TRAIN)).sum())
    if 2 * lost > learned:
        raise DataError(
            f"{lost} of {learned} train rows share a group with rows kept for judging; mend the source's split so that groups "
            "stay whole, or set split.from_source to false"
        )
    return np.where(cut, -1, where), int(cut.sum())


def _assemble(dataset: Dataset, rows: list[np.ndarray], unlabelled: np.ndarray, reference: float) -> Split:
    if len(unlabelled):
        dataset = replace(dataset, schema=_target_complete(dataset.schema))
    train = dataset.take(rows[TRAIN])
    if reference <= 0:
        rows[REFERENCE] = rows[TRAIN]
    return Split(
        train=train,
        reference=train if reference <= 0 else dataset.take(rows[REFERENCE]),
        holdout=dataset.take(rows[HOLDOUT]),
        train_rows=rows[TRAIN],
        reference_rows=rows[REFERENCE],
        holdout_rows=rows[HOLDOUT],
        unlabelled=unlabelled,
    )


def _target_complete(schema: Schema) -> Schema:
    # The rows without a target are gone, so no part may teach a family to draw such rows.
    columns = tuple(replace(c, nullable=False, null_share=0.0) if c.name == schema.target else c for c in schema)
    return replace(schema, columns=columns)


def _check_shares(reference: float, holdout: float) -> None:
    if not (0 <= reference < 1 and 0 <= holdout < 1 and reference + holdout < 1):
        raise DataError(
            f"the shares of reference ({reference}) and holdout ({holdout}) must be 0 or more and leave rows for train: "
            "their sum must stay below 1"
        )


def _check_filled(rows: list[np.ndarray], shares: np.ndarray) -> None:
    for name, share, places in zip(_PARTS, shares, rows, strict=True):
        if share > 0 and len(places) == 0:
            raise DataError(f"a share of {share:g} leaves no rows for the {name} set; give more rows, or a larger share")


def _strata(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The stratum of each row, -1 where the target is missing; and the rows where it is. (n,), (u,) int64."""
    rows = len(dataset)
    if rows == 0:
        raise DataError("the data hold no rows, so there is nothing to split; give data with rows of at least two classes")
    schema = dataset.schema
    if schema.target is None:
        return np.zeros(rows, dtype=np.int64), np.zeros(0, dtype=np.int64)
    column = dataset.column(schema.target)
    if column.null_count == rows:
        raise DataError(f"the target {schema.target!r} has no value in any row; name another target, or fill this one in")
    if schema[schema.target].discrete:
        strata = _classes(dataset, schema.target)
    else:
        strata = _bins(dataset, schema.target)
    return strata, np.flatnonzero(strata < 0)


def _classes(dataset: Dataset, target: str) -> np.ndarray:
    labels = dataset.labels()
    levels = dataset.schema.classes()
    counts = np.bincount(labels[labels >= 0], minlength=len(levels))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise DataError(
            f"the target {target!r} is constant: every row holds {_shown(levels[present[0]])}; "
            "name a target with two classes or more, or none"
        )
    for place in present[counts[present] == 1]:
        raise DataError(
            f"class {_shown(levels[place])} of the target {target!r} has 1 row, and 2 are needed to learn it and to judge it; "
            "add rows of it, merge it with another class, or leave it out"
        )
    return labels


def _bins(dataset: Dataset, target: str) -> np.ndarray:
    values = dataset.column(target)
    ranks = pc.rank(values, tiebreaker="min").to_numpy().astype(np.int64) - 1
    missing = values.is_null().to_numpy()
    known = int((~missing).sum())
    if len(np.unique(ranks[~missing])) < 2:
        only = _shown(values.drop_null()[0])
        raise DataError(f"the target {target!r} is constant: every row holds {only}; name another target, or none")
    strata = ranks * min(BINS, max(known // 10, 1)) // known
    return np.where(missing, -1, strata)


def _by_rows(strata: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part (0, 1, 2) of each row, each stratum cut by its own shuffled order. (n,) int64."""
    part = np.zeros(len(strata), dtype=np.int64)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        _, reference, holdout = _counts(len(rows), shares)
        part[rows[:holdout]] = HOLDOUT
        part[rows[holdout : holdout + reference]] = REFERENCE
    return part


def _counts(rows: int, shares: np.ndarray) -> tuple[int, int, int]:
    """How many of a stratum's rows go where: rounded, but train first, then holdout, then reference gets its one row."""
    holdout = int(round(rows * shares[HOLDOUT]))
    reference = int(round(rows * (shares[HOLDOUT] + shares[REFERENCE]))) - holdout
    if shares[HOLDOUT] > 0 and rows >= 2:
        holdout = max(holdout, 1)
    if shares[REFERENCE] > 0 and rows >= 3:
        reference = max(reference, 1)
    while rows - holdout - reference < 1 and rows > 0:
        if reference > (1 if rows >= 3 else 0):
            reference -= 1
        elif holdout > (1 if rows >= 2 else 0):
            holdout -= 1
        else:
            reference, holdout = 0, 0
    return rows - holdout - reference, reference, holdout


def _groups(dataset: Dataset, group: str) -> np.ndarray:
    """The group of each row as a number; every row without a group value gets a number of its own. (n,) int64."""
    dataset.schema[group]
    codes = dataset.column(group).combine_chunks()
    codes = codes if hasattr(codes, "indices") else pc.dictionary_encode(codes)
    places = codes.indices.to_numpy(zero_copy_only=False)
    alone = np.isnan(places) if places.dtype.kind == "f" else np.zeros(len(places), dtype=bool)
    out = np.where(alone, 0, places).astype(np.int64)
    out[alone] = len(codes.dictionary) + np.arange(int(alone.sum()))
    return out


def _by_groups(strata: np.ndarray, groups: np.ndarray, shares: np.ndarray, rng: np.random.Generator, name: str) -> np.ndarray:
    """The part of each row such that no group is cut: large groups first, each where its classes are most wanted."""
    kinds, places = np.unique(strata, return_inverse=True)
    _, members = np.unique(groups, return_inverse=True)
    table = np.zeros((members.max() + 1, len(kinds)))  # groups x strata, rows counted
    np.add.at(table, (members, places), 1)
    wanted = int((shares > 0).sum())
    if len(table) < wanted:
        raise DataError(f"the group column {name!r} has {len(table)} groups, and {wanted} parts need one each")
    return _repair(table, _deal(table, shares, rng), shares)[members]


def _deal(table: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Greedy: each group goes where it brings the counts nearest to what the shares ask for. (groups,) int64."""
    total = np.maximum(table.sum(axis=0), 1)
    shuffled = rng.permutation(len(table))
    order = shuffled[np.argsort(-table[shuffled].sum(axis=1), kind="stable")]
    missing = shares[:, None] * np.ones_like(total)  # parts x strata, as shares of each stratum
    home = np.zeros(len(table), dtype=np.int64)
    for place in order:
        brings = table[place] / total
        # Gain in squared distance to the goal when the group joins each part; parts without a share are out.
        gain = (brings * (2 * missing - brings)).sum(axis=1)
        gain[shares <= 0] = -np.inf
        home[place] = int(np.argmax(gain))
        missing[home[place]] -= brings
    return home


def _repair(table: np.ndarray, home: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Move single groups until every class is in train, and in holdout where two groups hold it."""
    home = home.copy()
    for part in (TRAIN, HOLDOUT):
        if shares[part] <= 0:
            continue
        for stratum in range(table.shape[1]):
            holders = np.flatnonzero(table[:, stratum])
            if len(holders) < (1 if part == TRAIN else 2) or np.any(home[holders] == part):
                continue
            movable = [g for g in holders if part == TRAIN or _spared(table, home, int(g))]
            if movable:
                home[min(movable, key=lambda g: (table[g].sum(), int(g)))] = part
    return home


def _spared(table: np.ndarray, home: np.ndarray, group: int) -> bool:
    """Whether the group's part keeps all its classes when the group leaves (only train's must)."""
    if home[group] != TRAIN:
        return True
    rest = (home == TRAIN) & (np.arange(len(home)) != group)
    return bool(np.all(table[rest].sum(axis=0)[table[group] > 0] > 0))


def _shown(level: object) -> str:
    return repr(str(level))
