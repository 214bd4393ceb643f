"""Are there training windows among the synthetic ones, whole or in part, as they are or a little changed?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from validators._series_words import in_windows
from validators.base import Evidence, Finding
from validators.copies import CHECK, CopiesCheck

#: Where `prepare_series` leaves the evidence by which copies are judged.
TRACES = "traces"


@dataclass(frozen=True)
class SeriesCopiesCheck:
    """The check of copies on traces, which stay when a window is lifted or stretched in strength."""

    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises KeyError for evidence that `prepare_series` did not make."""
        return in_windows(CopiesCheck().evaluate(evidence.memo[TRACES]), evidence)
