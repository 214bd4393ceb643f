"""How do figures and names read on the page?"""

from __future__ import annotations

import math
import re
from typing import Any

#: Control characters (tab and newline too: names stand on one line) and marks that turn the reading direction.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")

NONE = "\N{EN DASH}"


def clean(value: Any) -> str:
    """A name from the data as one line of harmless text (escaping is the template's work)."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text).strip() or "(blank)"


def crop(value: Any, length: int) -> str:
    """`clean`, cut to `length` characters with an ellipsis."""
    text = clean(value)
    return text if len(text) <= length else text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def finite(value: Any) -> float | None:
    """`value` as a float, or None when it is missing, not a number or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def figure(value: Any, digits: int = 3) -> str:
    """1234.5 -> "1,234"; 0.01234 -> "0.0123"; 1e-9 -> "1e-9"; missing -> a dash."""
    x = finite(value)
    if x is None:
        return NONE
    if x == 0 or x == int(x) and abs(x) < 1e7:
        return f"{int(x):,}"
    if abs(x) >= 1e7 or abs(x) < 1e-3:
        return f"{x:.{max(digits - 2, 0)}e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e+")
    if abs(x) >= 10 ** (digits - 1):
        return f"{x:,.0f}"
    return f"{x:.{max(digits - 1 - math.floor(math.log10(abs(x))), 0)}f}".rstrip("0").rstrip(".")


def tick(value: float) -> str:
    """A number short enough for an axis: 1234567 -> "1.23M"."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            scale = 1e3 if name == "k" else unit
            return f"{value / scale:.3g}{name}" if abs(value) < 1e12 else f"{value:.2g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def share(value: Any) -> str:
    """0.0123 -> "1.2 %"."""
    x = finite(value)
    if x is None:
        return NONE
    percent = 100 * x
    if percent and abs(percent) < 0.1:
        return "< 0.1 %" if percent > 0 else "> \N{MINUS SIGN}0.1 %"
    return f"{percent:.1f} %" if abs(percent) < 10 else f"{percent:.0f} %"


def sentence(text: str) -> str:
    """A capital first and a full stop last."""
    text = clean(text) if text else ""
    if not text or text == "(blank)":
        return ""
    # A name from the data keeps its spelling: "occupation=Sales has ...".
    first = text[0].upper() if text.split()[0].rstrip(",:;").isalpha() else text[0]
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def listed(value: Any) -> list[Any]:
    """A list as it is, nothing as no list, one value as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def many(count: int, one: str) -> str:
    """(1, "row") -> "1 row"; (2, "row") -> "2 rows"."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
