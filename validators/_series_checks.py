"""The checks that judge windows of series as they judge rows, and only speak of them otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from validators._series_witnesses import Entities, weighed
from validators._series_words import UNIT, in_windows
from validators.base import Evidence, Finding
from validators.cells import Codes, Grid
from validators.counted import Table
from validators.coverage import CoverageCheck
from validators.duplicates import DuplicatesCheck
from validators.labels import LabelsCheck
from validators.modes import ModesCheck
from validators.search import Found
from validators.sides import sides
from validators.utility import UtilityCheck

#: Where `prepare_series` leaves the evidence by which modes are judged.
MODES = "modes"
#: Where it leaves the evidence by which models are compared.
USE = "use"
#: Where it leaves whose windows those of reference and holdout are, in the evidence of modes.
WHOSE = "entities"


@dataclass(frozen=True)
class SeriesModesCheck(ModesCheck):
    """Is a region of the real windows missing or thin, by what a person can read of them?

    Where whole entities stand in one part, windows count by what they witness (see `_series_witnesses`)."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_series` did not make; sets too small to test give SKIPPED."""
        found = super().evaluate(evidence.memo[MODES])
        seen = found.details.get("detectable")
        told = {**found.details, "detectable": {**seen, "unit": UNIT}} if seen else found.details
        return in_windows(replace(found, details=told), evidence)

    def _counted(self, evidence: Evidence, grid: Grid, table: Table, found: Found | None, placed: Mapping[str, Codes]) -> Table:
        who: Entities | None = evidence.memo.get(WHOSE)
        return table if who is None or not len(table.h) else weighed(table, grid, sides(evidence), found, placed, who)


@dataclass(frozen=True)
class SeriesLabelsCheck(LabelsCheck):
    """Does a synthetic window look like its own class?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        return in_windows(super().evaluate(evidence), evidence)


@dataclass(frozen=True)
class SeriesDuplicatesCheck(DuplicatesCheck):
    """Do synthetic windows repeat each other?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        return in_windows(super().evaluate(evidence), evidence)


@dataclass(frozen=True)
class SeriesCoverageCheck(CoverageCheck):
    """How much of what unseen windows show do the synthetic ones reach?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        return in_windows(super().evaluate(evidence), evidence)


@dataclass(frozen=True, kw_only=True)
class SeriesUtilityCheck(UtilityCheck):
    """Do synthetic windows help to tell the classes apart? Models learn from what was measured of windows."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError for a limit on a figure that does not exist; windows that no model can be compared on give
        SKIPPED, and KeyError evidence that `prepare_series` did not make."""
        return in_windows(super().evaluate(evidence.memo[USE]), evidence)
