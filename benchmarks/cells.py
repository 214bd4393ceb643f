"""Where finished figures are kept, so that a run of hours may be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from generators.tabular._table import write_json


class Cells:
    """Figures by name in a JSON file. Each is written as soon as it is there, beside what other runs wrote meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def held(self) -> dict[str, Any]:
        """All that is there now."""
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def keep(self, found: dict[str, Any]) -> None:
        """Add or replace."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.held | found, indent=1)
