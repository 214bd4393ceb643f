"""Are there training windows among the synthetic ones, whole or in part, as they are or a little changed?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from data.windows import Windows
from validators._pictures_features import judged_rows
from validators._series_features import Planes
from validators._series_stretches import Copied, Known
from validators._series_words import in_windows
from validators.base import Culprit, Evidence, Finding
from validators.copies import CHECK, TOLERANCE, CopiesCheck, Excess
from validators.sides import sides
from validators.stats import percent

Array = np.ndarray[Any, Any]

#: Where `prepare_series` leaves the evidence by which copies are judged.
TRACES = "traces"
#: Part of the check's alpha for windows of which parts are copied.
PARTS = 0.25
#: Share of a window's stretches that must be copied for it to be pieced together.
PIECED = 0.25
SHOWN = 10
ADVICE = "use a family that learns what windows have in common in place of one that pastes parts of them, then judge anew"


@dataclass(frozen=True)
class Pieced:
    """What of the asked windows is copied. rows: positions of the asked synthetic windows; made, real: their shares of copied
    stretches and those of unseen windows; test: whether more of them are pieced together than of the unseen; length:
    readings of a stretch."""

    rows: Array
    made: Copied
    real: Copied
    test: Excess
    length: int


@dataclass(frozen=True)
class SeriesCopiesCheck:
    """The check of copies on traces, which stay when a window is lifted or stretched in strength; and one question more.

    Parts: a window is pieced together where a quarter of its stretches, each an eighth of a window, are copies: less than half
    as far from a stretch of a training window as that is from the nearest one of another training window. More such windows
    than among as many unseen ones (Fisher's exact test) block, where their odds are above 2. A stretch in which nothing moves
    is no copy, and what all windows repeat is near in all of them. See `validators._series_stretches`."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_series` did not make."""
        traces: Evidence = evidence.memo[TRACES]
        whole = CopiesCheck().evaluate(replace(traces, intent=replace(traces.intent, alpha=traces.intent.alpha * (1 - PARTS))))
        found = pieced(evidence)
        return in_windows(whole if found is None else _both(whole, found), evidence)


def pieced(evidence: Evidence) -> Pieced | None:
    """What of the synthetic windows is copied from training windows; None where the windows are not at hand, or too short.

    Of many windows a part is asked about, drawn with the seed."""
    held: Mapping[str, Windows] | None = evidence.memo.get("windows")
    at = sides(evidence)
    if held is None or not len(at.h) or not len(at.whole):
        return None
    seed = evidence.intent.seed
    known = Known(held["train"], Planes.of(held["train"]), seed=seed)
    rng = np.random.default_rng([seed, 79])
    many = known.affordable(float(held["train"].lengths.mean()))
    unseen = np.sort(rng.permutation(judged_rows(evidence, evidence.holdout)[at.h])[: many // 2])
    made = np.sort(rng.permutation(at.places[at.whole])[: many - len(unseen)])
    found = [known.copied(held[side].take(rows)) for side, rows in (("synthetic", made), ("holdout", unseen))]
    told = [each.shares[~np.isnan(each.shares)] for each in found]
    if not all(map(len, told)):
        return None
    hits = [int((each >= PIECED).sum()) for each in told]
    test = Excess(hits[0], len(told[0]), hits[1], len(told[1]), PARTS * evidence.intent.level(CHECK), "part")
    return Pieced(made, found[0], found[1], test, known.length)


def _both(whole: Finding, found: Pieced) -> Finding:
    """The finding of whole windows with that of their parts; the worse one leads."""
    test = found.test
    told = {
        "parts": {
            "pieced": test.hits, "windows": test.rows, "pieced_holdout": test.base_hits, "holdout_windows": test.base_rows,
            "share": float(np.nanmean(found.made.shares)), "share_holdout": float(np.nanmean(found.real.shares)),
            "stretch": found.length, "p": test.p,
        }
    }  # fmt: skip
    details = {**whole.details, **told}
    if test.verdict == "PASS" or whole.verdict == "INCONCLUSIVE":
        return replace(whole, details=details)
    said = (
        f"{test.hits} of {test.rows} synthetic windows are pieced together from parts of training windows "
        f"({percent(told['parts']['share'])} of their stretches of {found.length} readings), of {test.base_rows} unseen ones "
        f"{test.base_hits}"
    )
    culprits = tuple(_culprits(found))
    if whole.verdict == "BLOCK" or (whole.verdict, test.verdict) == ("WARN", "WARN"):
        both = (*whole.culprits[: SHOWN // 2], *culprits)[:SHOWN]
        return replace(
            whole,
            summary=f"{whole.summary}; {said}",
            culprits=both,
            details=details,
        )
    return replace(
        whole,
        verdict=test.verdict,
        value=test.share,
        limit=min(TOLERANCE * test.base, 1.0),
        reference=test.base,
        p_value=min(1.0, test.p / PARTS),
        summary=said,
        culprits=culprits,
        details={**details, "advice": ADVICE},
    )


def _culprits(found: Pieced) -> Iterator[Culprit]:
    """The copied stretches that are nearest, one of each synthetic window."""
    seen: set[int] = set()
    for window, begin, train, place, _ in found.made.pairs:
        if window in seen or found.made.shares[window] < PIECED:
            continue
        seen.add(window)
        ends = begin + found.length - 1, place + found.length - 1
        yield Culprit(
            cell=f"synthetic window {found.rows[window]}, readings {begin} to {ends[0]} = training window {train}, readings "
            f"{place} to {ends[1]}",
            expected=0,
            observed=1,
        )
        if len(seen) == SHOWN:
            return
