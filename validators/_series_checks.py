"""The checks that judge windows of series as they judge rows, and only speak of them otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from validators._series_words import UNIT, in_windows
from validators.base import Evidence, Finding
from validators.coverage import CoverageCheck
from validators.duplicates import DuplicatesCheck
from validators.labels import LabelsCheck
from validators.modes import ModesCheck

#: Where `prepare_series` leaves the evidence by which modes are judged.
MODES = "modes"


@dataclass(frozen=True)
class SeriesModesCheck(ModesCheck):
    """Is a region of the real windows missing or thin, by what a person can read of them?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_series` did not make; sets too small to test give SKIPPED."""
        found = super().evaluate(evidence.memo[MODES])
        seen = found.details.get("detectable")
        told = {**found.details, "detectable": {**seen, "unit": UNIT}} if seen else found.details
        return in_windows(replace(found, details=told), evidence)


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
