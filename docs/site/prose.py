"""How do docstrings read as a page? Their lines `name: what it means` become a list; all else is as it stands."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

#: The start of what is said of a field or an argument: `rows, rows_of_class: training rows ...`
NAMED = re.compile(r"^([a-z]\w*(?:, \w+)*): (?=\S)")
ENDED = (".", ":", ";", '"', ")")
#: What is not code, and in it what a browser would take for a tag.
TEXT, TAG = re.compile(r"`[^`]*`|[^`]+"), re.compile(r"<(?=[A-Za-z/])")


class Prose(Extension):
    """Rewrites the docstrings of what is read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = listed(shown(obj.docstring.value))


def shown(text: str) -> str:
    """The text with `<name>` as it is read, not as a tag."""
    return TEXT.sub(lambda part: part[0] if part[0].startswith("`") else TAG.sub("&lt;", part[0]), text)


def listed(text: str) -> str:
    """The text with the lines of fields as items; what goes on in the line after is of the same item."""
    made: list[str] = []
    item = False
    for line in text.splitlines():
        plain = line.strip()
        named = NAMED.match(plain) if made and not _in_sentence(made) else None
        if named:
            if not item and made[-1].strip():
                made.append("")
            made.append(f"- `{named[1]}`: {plain[named.end() :]}")
        elif item and plain and not named:
            made.append(f"  {plain}")
        else:
            made.append(line)
        item = bool(named) or (item and bool(plain))
    return "\n".join(made)


def _in_sentence(before: list[str]) -> bool:
    """Whether the line before has not come to its end."""
    last = before[-1].strip()
    return bool(last) and not last.endswith(ENDED)
