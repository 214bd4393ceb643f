"""May these synthetic pictures stand in for the real ones? The gate on images: its evidence and its checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from data.dataset import Dataset
from data.errors import DataError
from data.images import Pictures, is_pictures, pictures
from validators import extractor as extractors
from validators._pictures_checks import PictureLabelsCheck
from validators._pictures_collapse import PictureDuplicatesCheck
from validators._pictures_copies import MEMO as TRACES
from validators._pictures_copies import TWINS, PictureCopiesCheck
from validators._pictures_coverage import PictureCoverageCheck
from validators._pictures_crops import Seen, agreed
from validators._pictures_features import SHOWN, Measured, look_tables, measure, mode_tables, shown_tables, trace_tables
from validators._pictures_missing import MEMO as MODES
from validators._pictures_missing import PictureModesCheck
from validators._pictures_spread import PictureSpreadCheck
from validators.base import Check, Intent
from validators.judge import Prepared
from validators.kid import CHECK as FIDELITY
from validators.kid import PictureFidelityCheck
from validators.kid import check_limits as of_fidelity
from validators.looks import MEMO as LOOKS
from validators.looks import LooksCheck, Wanted, look
from validators.mix import intended, judged, refuse_unseen
from validators.stats import listed
from validators.yardstick import MOST

Array = np.ndarray[Any, Any]
Utility = Literal["quick", "full", "off"]
SIDES = ("train", "reference", "holdout", "synthetic")


def prepare_pictures(
    train: Dataset,
    holdout: Dataset,
    synthetic: Dataset,
    *,
    reference: Dataset | None = None,
    intent: Intent,
    extractor: str | None = None,
) -> Prepared:
    """The evidence of pictures, on which the gate's checks run as on a table; see `picture_checks`.

    All are datasets of `data.images.schema`, the real ones of one size and mode. reference: pictures that fix the geometry,
    train when None. extractor: what they are compared by: random, trained, or the path of a local model. In the memo stand
    "pictures" (side -> Pictures) and "features" (side -> what was measured of them), row by row as in the tables; synthetic
    pictures that cannot be judged are left out there, and `schema` blocks for them.

    Raises DataError for pictures that cannot be read or compared, an intended mix that does not fit, or no such
    extractor."""
    real = {"train": _read(train, "train"), "holdout": _read(holdout, "holdout")}
    real["reference"] = real["train"] if reference is None else _read(reference, "reference")
    _refuse(real, train, intent)
    notices = []
    given = len(real["holdout"])
    for role in ("train", "reference") if reference is not None else ("train",):
        real["holdout"], said = _apart(real[role], real["holdout"], role)
        notices += said
    looked = look(synthetic, Wanted.of([real[name] for name in ("train", "reference", "holdout")]))
    held = {"train": real["train"], "reference": real["reference"], "holdout": real["holdout"], "synthetic": looked.pictures}
    seen = agreed([held["train"], held["reference"], held["holdout"]], held["synthetic"])
    chosen = extractors.load(extractor, held["train"], seed=intent.seed)
    measured = measure(held, seen, chosen)
    evidence = evidence_of(measured, intent, [_compared(chosen), *_seen(seen, intent, held["train"]), *notices])
    evidence.memo.update(
        {"pictures": held, "extractor": (chosen.name, chosen.digest), LOOKS: looked, TWINS: given - len(real["holdout"])}
    )
    return evidence


def evidence_of(measured: Mapping[str, Measured], intent: Intent, notices: Sequence[str] = ()) -> Prepared:
    """Evidence of what was measured of the pictures of each side; without the pictures themselves.

    Raises DataError for an intended mix with classes of which there are no real pictures."""
    under = judged(measured["train"].classes, intent)
    looks, traces, shown = (make(measured, under) for make in (look_tables, trace_tables, shown_tables))
    same = measured["reference"] is measured["train"]

    def sides(tables: Mapping[str, Dataset]) -> Prepared:
        reference = tables["train"] if same else tables["reference"]
        return Prepared(
            train=tables["train"], reference=reference, holdout=tables["holdout"], synthetic=tables["synthetic"],
            intent=intent, notices=tuple(notices),
        )  # fmt: skip

    out = sides(looks)
    refuse_unseen(out, under, "picture")
    views = {MODES: sides(mode_tables(looks, shown)), TRACES: sides(traces), SHOWN: sides(shown)}
    out.memo.update({**views, "features": dict(measured)})
    return out


def picture_checks(*, utility: Utility = "quick", extractor: str | None = None, suite: Path | None = None) -> list[Check]:
    """The checks of the gate on pictures, in their order, for evidence of `prepare_pictures`.

    utility: how far to look, or "off". extractor and suite are taken so that one call fits tables and pictures: the evidence
    was prepared with its extractor, and rules of Great Expectations are about columns."""
    if utility not in get_args(Utility):
        raise DataError(f"utility must be one of {', '.join(get_args(Utility))}, not {utility!r}")
    found: list[Check] = [
        LooksCheck(), PictureModesCheck(), PictureCopiesCheck(), PictureSpreadCheck(), PictureLabelsCheck(),
        PictureDuplicatesCheck(), PictureCoverageCheck(), PictureFidelityCheck(),
    ]  # fmt: skip
    if utility != "off":
        # It trains networks; who does not ask for it need not load them.
        from validators.picture_utility import PictureUtilityCheck

        found.append(PictureUtilityCheck(depth=utility))
    return found


def check_limits(limits: Mapping[str, Mapping[str, float]]) -> None:
    """Raises DataError for a limit on a figure, or of a check, that does not exist for pictures."""
    from validators.utility import check_limits as of_utility

    known = {FIDELITY: of_fidelity, "utility": of_utility}
    for name, stated in limits.items():
        if name not in known:
            raise DataError(f"limits.{name}: there are no limits to set for this check; they are for {' and '.join(known)}")
        known[name](stated)


def _read(rows: Dataset, role: str) -> Pictures:
    if not is_pictures(rows.schema):
        raise DataError(f"the {role} rows are no pictures: they have no column of them; give a dataset of pictures")
    if not rows.num_rows:
        raise DataError(f"there are no {role} pictures; give at least a few")
    return pictures(rows)


def _refuse(real: Mapping[str, Pictures], train: Dataset, intent: Intent) -> None:
    """Raise DataError for what no check could judge."""
    first = real["train"]
    for role, held in real.items():
        if (held.size, held.channels) != (first.size, first.channels):
            shapes = [f"{one.size} x {one.size} x {one.channels}" for one in (first, held)]
            raise DataError(f"train pictures are {shapes[0]} and {role} pictures {shapes[1]}; bring them to one size and mode")
        if held.classes != first.classes:
            raise DataError(f"train and {role} pictures do not have the same classes; read them with one schema")
    if not 0 < intent.detect <= 1 or not 0 < intent.alpha < 1 or intent.attempt < 1:
        raise DataError("detect must lie in (0, 1], alpha in (0, 1), and attempt must be 1 or more")
    check_limits(intent.limits)
    intended(intent, train.schema)


def _apart(known: Pictures, holdout: Pictures, role: str) -> tuple[Pictures, list[str]]:
    """The holdout without pictures that are training (or reference) pictures too, and the sentence that says so.

    Where more than half are, all stay, and the check of copies refuses to judge. Flat pictures are no copies."""
    seen = {one.tobytes() for one in known.pixels}
    same = np.array([one.tobytes() in seen and float(one.std()) >= 1.0 for one in holdout.pixels], dtype=bool)
    if not same.any() or same.mean() > MOST:
        return holdout, []
    said = (
        f"{int(same.sum())} of {len(holdout)} holdout pictures are {role} pictures too and were left out of the holdout, "
        "since they cannot stand for unseen ones"
    )
    return holdout.take(np.flatnonzero(~same)), [said]


def _compared(chosen: extractors.Extractor) -> str:
    what = {
        "random": "a convolutional net of fixed random weights",
        "trained": "a small convolutional net that learned the classes of the training pictures",
    }.get(chosen.name, "a local model")
    return (
        f"pictures are compared by {chosen.name}, {what} (sha256 {chosen.digest[:12]}), copies by a fixed net that "
        f"mirroring and small shifts leave alone (sha256 {extractors.traces_digest()[:12]})"
    )


def _seen(seen: Seen, intent: Intent, train: Pictures) -> Iterator[str]:
    known = [train.classes[k] for k in judged(train.classes, intent)]
    marked, whole = ([name for name in known if (name in seen.by_marks) == by] for by in (True, False))
    if marked:
        boxes = ", of which only the boxes count" if set(marked) <= seen.as_boxes else ""
        rest = f", those of {listed(whole)} as a whole" if whole else ""
        yield f"pictures of {listed(marked)} are looked at through a square around their marks{boxes}{rest}"
