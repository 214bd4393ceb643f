"""The check that judges pictures as it judges rows, and only speaks of them otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from validators._pictures_words import in_pictures
from validators.base import Evidence, Finding
from validators.labels import LabelsCheck


@dataclass(frozen=True)
class PictureLabelsCheck(LabelsCheck):
    """Does a synthetic picture look like its own class?"""

    def evaluate(self, evidence: Evidence) -> Finding:
        return in_pictures(super().evaluate(evidence), evidence)
