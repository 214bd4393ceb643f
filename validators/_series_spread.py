"""Did a class of windows shrink, more than the entities that happened to be read explain?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from validators._pictures_spread import PictureSpreadCheck
from validators._series_words import UNIT, in_windows
from validators.base import Evidence, Finding
from validators.spread import SpreadCheck


@dataclass(frozen=True)
class SeriesSpreadCheck(SpreadCheck):
    """The check of spread, where windows of one entity are no independent witnesses (see `PictureSpreadCheck`)."""

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises nothing: too few windows give SKIPPED."""
        found = in_windows(PictureSpreadCheck().evaluate(evidence), evidence)
        culprits = tuple(replace(one, cell=one.cell.replace("picture", UNIT)) for one in found.culprits)
        return replace(found, summary=found.summary.replace("picture", UNIT), culprits=culprits)
