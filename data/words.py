"""How is what was said of rows said of pictures?"""

from __future__ import annotations

import re

# Not in a path, a name in quotes, a key of a plan (sample.rows) or an option (--rows): those are called what they are called.
_ROWS = re.compile(r"(?<![\w/.'\"=-])([Rr])(ow)(s?)\b(?![/=-]|\.\w)")


def spoken(text: str) -> str:
    """3 of 40 rows -> 3 of 40 pictures."""
    return _ROWS.sub(lambda found: f"{'P' if found[1] == 'R' else 'p'}icture{found[3]}", text)


def untagged(markdown: str) -> str:
    """Markdown in which no text of the data begins a tag of HTML or the address of a link; a < before a number stays one."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", markdown).replace("](", "]\\(")
