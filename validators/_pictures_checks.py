"""The checks that judge pictures as they judge rows, and only speak of them otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from validators._pictures_words import in_pictures
from validators.base import Evidence, Finding
from validators.coverage import CoverageCheck
from validators.labels import LabelsCheck


@dataclass(frozen=True)
class PictureLabelsCheck(LabelsCheck):
    """Does a synthetic picture look like its own class?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        return in_pictures(super().evaluate(evidence), evidence)


@dataclass(frozen=True)
class PictureCoverageCheck(CoverageCheck):
    """How much of what real pictures show do the synthetic ones reach, and how many of them show it?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        return in_pictures(super().evaluate(evidence), evidence)
