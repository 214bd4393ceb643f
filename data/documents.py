"""Is what a YAML or JSON text says as small as it looks? An alias stands for a whole part, and parts of parts multiply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Values in one document, each as often as it is named.
MOST = 1_000_000


def check_size(tree: Any) -> None:
    """Raises ValueError for a document that holds itself, or more than MOST values once its aliases are written out."""
    left, seen = [tree], 0
    while left:
        node = left.pop()
        seen += 1
        if seen > MOST:
            raise ValueError(f"its aliases stand for more than {MOST:,} values, or for themselves; write them out")
        if isinstance(node, Mapping):
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)
