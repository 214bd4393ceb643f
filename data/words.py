"""How is what was said of rows said of pictures, or of windows of series?"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: What one of each modality is called.
UNITS: Mapping[str, str] = {"tabular": "row", "image": "picture", "series": "window"}

# Not in a path, a name in quotes, a key of a plan (sample.rows) or an option (--rows): those are called what they are called.
_ROWS = re.compile(r"(?<![\w/.'\"=-])([Rr])(ow)(s?)\b(?![/=-]|\.\w)")


def spoken(text: str, unit: str = "picture") -> str:
    """3 of 40 rows -> 3 of 40 pictures."""
    return _ROWS.sub(lambda found: f"{unit.title() if found[1] == 'R' else unit}{found[3]}", text)


def said_of(text: str, modality: str) -> str:
    """What was said of rows, of what these are."""
    return text if modality == "tabular" else spoken(text, UNITS[modality])


def untagged(markdown: str) -> str:
    """Markdown in which no text of the data begins a tag of HTML or the address of a link; a < before a number stays one."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", markdown).replace("](", "]\\(")
