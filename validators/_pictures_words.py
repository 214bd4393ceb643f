"""How do checks that were made for rows of a table speak of pictures?"""

from __future__ import annotations

import re
from dataclasses import replace

from validators.base import Evidence, Finding

_WORDS = ((re.compile(r"\brows\b"), "pictures"), (re.compile(r"\brow\b"), "picture"))


def in_pictures(finding: Finding, evidence: Evidence) -> Finding:
    """The finding with its rows called pictures, unless a class is itself called so."""
    if any(re.search(r"\brows?\b", str(name)) for name in evidence.reference.schema.classes()):
        return finding
    return replace(
        finding,
        summary=spoken(finding.summary),
        culprits=tuple(replace(culprit, cell=spoken(culprit.cell)) for culprit in finding.culprits),
        details={**finding.details, **{k: spoken(finding.details[k]) for k in ("advice",) if k in finding.details}},
    )


def spoken(text: str) -> str:
    """What was said of rows, said of pictures: 3 of 40 rows, 3 of 40 pictures."""
    for word, other in _WORDS:
        text = word.sub(other, text)
    return text
