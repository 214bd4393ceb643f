"""May these synthetic windows stand in for the real ones? The gate on series: its evidence and its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column
from data.windows import Windows, attributes_of, is_series, windows
from validators._pictures_features import judged_rows
from validators._series_checks import (
    MODES,
    USE,
    WHOSE,
    SeriesCoverageCheck,
    SeriesDuplicatesCheck,
    SeriesLabelsCheck,
    SeriesModesCheck,
    SeriesUtilityCheck,
)
from validators._series_copies import TRACES, SeriesCopiesCheck
from validators._series_features import (
    Measured,
    keys,
    look_tables,
    measure,
    mode_tables,
    shown_tables,
    trace_tables,
    use_tables,
)
from validators._series_fidelity import SeriesFidelityCheck
from validators._series_fidelity import check_limits as of_fidelity
from validators._series_looks import MEMO as LOOKS
from validators._series_looks import SeriesLooksCheck, Wanted, look
from validators._series_spread import SeriesSpreadCheck
from validators._series_witnesses import entities
from validators.base import Check, Intent
from validators.fidelity import CHECK as FIDELITY
from validators.judge import Prepared
from validators.mix import intended, judged, refuse_unseen
from validators.yardstick import MOST

Array = np.ndarray[Any, Any]
Utility = Literal["quick", "full", "off"]
#: Where `prepare_series` leaves the evidence of what a person can read.
SHOWN = "shown"


def prepare_series(
    train: Dataset, holdout: Dataset, synthetic: Dataset, *, reference: Dataset | None = None, intent: Intent
) -> Prepared:
    """The evidence of series, on which the gate's checks run as on a table; see `series_checks`.

    All are datasets of `data.windows.schema`, with the same channels and classes. reference: windows that fix the geometry,
    train when None. In the memo stand "windows" (side -> Windows) and "features" (side -> what was measured of them), row by
    row as in the tables; synthetic windows that cannot be judged are left out there, and `schema` blocks for them.

    Raises DataError for windows that cannot be read or compared, or an intended mix that does not fit."""
    real = {"train": _read(train, "train"), "holdout": _read(holdout, "holdout")}
    real["reference"] = real["train"] if reference is None else _read(reference, "reference")
    _refuse(real, train, intent)
    notices = []
    for role in ("train", "reference") if reference is not None else ("train",):
        real["holdout"], said = _apart(real[role], real["holdout"], role)
        notices += said
    attributes = tuple(attributes_of(train.schema))
    if not is_series(synthetic.schema):
        raise DataError(
            "the synthetic rows are no windows of series: they have no column of readings; give a dataset of series"
        )
    looked = look(synthetic, Wanted.of([real[name] for name in ("train", "reference", "holdout")], attributes))
    held = {"train": real["train"], "reference": real["reference"], "holdout": real["holdout"], "synthetic": looked.windows}
    evidence = evidence_of(measure(held, seed=intent.seed), intent, attributes, notices)
    evidence.memo.update({"windows": held, LOOKS: looked})
    return evidence


def evidence_of(
    measured: Mapping[str, Measured], intent: Intent, attributes: tuple[Column, ...], notices: Sequence[str] = ()
) -> Prepared:
    """Evidence of what was measured of the windows of each side; without the windows themselves.

    Raises DataError for an intended mix with classes of which there are no real windows."""
    classes = measured["train"].classes
    under = judged(classes, intent) if classes else np.zeros(1, dtype=np.int64)
    looks, shown = look_tables(measured, under, attributes), shown_tables(measured, attributes)
    traces = trace_tables(measured, under)
    same = measured["reference"] is measured["train"]

    def sides(tables: Mapping[str, Dataset]) -> Prepared:
        reference = tables["train"] if same else tables["reference"]
        return Prepared(
            train=tables["train"], reference=reference, holdout=tables["holdout"], synthetic=tables["synthetic"],
            intent=intent, notices=tuple(notices),
        )  # fmt: skip

    out = sides(looks)
    refuse_unseen(out, under, "window")
    modes = sides(mode_tables(looks, shown))
    names = [measured[role].entities[judged_rows(out, looks[role])] for role in ("reference", "holdout")]
    modes.memo[WHOSE] = entities(*names)
    out.memo[USE] = sides(use_tables(measured, looks, attributes))
    out.memo.update({MODES: modes, TRACES: sides(traces), SHOWN: sides(shown)})
    out.memo["features"] = dict(measured)
    return out


def series_checks(*, utility: Utility = "quick") -> list[Check]:
    """The checks of the gate on series, in their order, for evidence of `prepare_series`.

    utility: how far to look, or "off"."""
    if utility not in get_args(Utility):
        raise DataError(f"utility must be one of {', '.join(get_args(Utility))}, not {utility!r}")
    found: list[Check] = [
        SeriesLooksCheck(), SeriesModesCheck(), SeriesCopiesCheck(), SeriesSpreadCheck(), SeriesLabelsCheck(),
        SeriesDuplicatesCheck(), SeriesCoverageCheck(), SeriesFidelityCheck(),
    ]  # fmt: skip
    return found if utility == "off" else [*found, SeriesUtilityCheck(depth=utility)]


def check_limits(limits: Mapping[str, Mapping[str, float]]) -> None:
    """Raises DataError for a limit on a figure, or of a check, that does not exist for series."""
    from validators.utility import check_limits as of_utility

    known = {FIDELITY: of_fidelity, "utility": of_utility}
    for name, stated in limits.items():
        if name not in known:
            raise DataError(f"limits.{name}: there are no limits to set for this check; they are for {' and '.join(known)}")
        known[name](stated)


def _read(rows: Dataset, role: str) -> Windows:
    if not is_series(rows.schema):
        raise DataError(f"the {role} rows are no windows of series: they have no column of readings; give a dataset of series")
    if not rows.num_rows:
        raise DataError(f"there are no {role} windows; give at least a few")
    held = windows(rows)
    if np.isinf(held.values).any():
        name = held.channels[int(np.isinf(held.values).any(axis=(0, 2)).argmax())]
        raise DataError(f"the channel {name!r} of the {role} windows holds infinite readings; write them as missing")
    return held


def _refuse(real: Mapping[str, Windows], train: Dataset, intent: Intent) -> None:
    """Raise DataError for what no check could judge."""
    first = real["train"]
    for role, held in real.items():
        if held.channels != first.channels or held.levels != first.levels:
            raise DataError(f"train and {role} windows do not have the same channels; read them with one schema")
        if held.classes != first.classes:
            raise DataError(f"train and {role} windows do not have the same classes; read them with one schema")
        if held.attributes.column_names != first.attributes.column_names:
            raise DataError(f"train and {role} windows do not have the same attributes; read them with one schema")
    for c, name in enumerate(first.channels):
        if not np.isfinite(first.values[:, c]).any():
            raise DataError(f"the channel {name!r} has no reading in any training window; leave it out")
    if not 0 < intent.detect <= 1 or not 0 < intent.alpha < 1 or intent.attempt < 1:
        raise DataError("detect must lie in (0, 1], alpha in (0, 1), and attempt must be 1 or more")
    check_limits(intent.limits)
    intended(intent, train.schema)


def _apart(known: Windows, holdout: Windows, role: str) -> tuple[Windows, list[str]]:
    """The holdout without windows that are training (or reference) windows too, and the sentence that says so.

    Where more than half are, all stay, and the check of copies refuses to judge. Constant windows are no copies."""
    with np.errstate(invalid="ignore"):
        moves = (np.fmax.reduce(holdout.values, axis=2) > np.fmin.reduce(holdout.values, axis=2)).any(axis=1)
    same = np.isin(keys(holdout), keys(known)) & moves
    if not same.any() or same.mean() > MOST:
        return holdout, []
    said = (
        f"{int(same.sum())} of {len(holdout)} holdout windows are {role} windows too and were left out of the holdout, "
        "since they cannot stand for unseen ones"
    )
    return holdout.take(np.flatnonzero(~same)), [said]
