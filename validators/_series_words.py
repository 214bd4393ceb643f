"""How do checks that were made for rows of a table speak of windows of series?"""

from __future__ import annotations

import re
from dataclasses import replace

from data.words import spoken
from validators.base import Evidence, Finding

UNIT = "window"


def in_windows(finding: Finding, evidence: Evidence) -> Finding:
    """The finding with its rows called windows, unless a class is itself called so."""
    if any(re.search(r"\brows?\b", str(name)) for name in evidence.reference.schema.classes()):
        return finding
    return replace(
        finding,
        summary=spoken(finding.summary, UNIT),
        culprits=tuple(replace(culprit, cell=spoken(culprit.cell, UNIT)) for culprit in finding.culprits),
        details={**finding.details, **{k: spoken(finding.details[k], UNIT) for k in ("advice",) if k in finding.details}},
    )
