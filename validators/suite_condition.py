"""Can the condition of an expectation do more than choose rows? pandas evaluates it, methods of columns and all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from data.errors import DataError

#: Methods of columns that only look.
METHODS = frozenset("isnull notnull isna notna isin between abs str contains startswith endswith match len lower upper".split())
#: What else a condition may be made of.
PARTS = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Name, ast.Constant, ast.List, ast.Tuple, ast.Load,
    ast.boolop, ast.operator, ast.unaryop, ast.cmpop, ast.keyword, ast.Call, ast.Attribute,
)  # fmt: skip


def check_condition(where: str, condition: Any) -> None:
    """Raises DataError for a condition that is more than comparisons of columns with values."""
    for text in _texts(condition):
        if (odd := _odd(text)) is not None:
            raise DataError(
                f"{where}: row_condition {text[:60]!r} holds {odd}, which could run code; compare columns with values alone"
            )


def _texts(condition: Any) -> Iterator[str]:
    """All that pandas will be given as text to evaluate: conditions, and the names of columns within others."""
    if isinstance(condition, str):
        yield condition
    elif isinstance(condition, Mapping):
        column = condition.get("column")
        if isinstance(column, Mapping):
            column = column.get("name")
        if isinstance(column, str):
            yield f"`{column}` == 0"
        for key in ("pass_through_filter", "conditions"):
            yield from _texts(condition.get(key))
    elif isinstance(condition, list):
        for each in condition:
            yield from _texts(each)


def _odd(text: str) -> str | None:
    """What stands in a condition and is no comparison; None for one that only compares."""
    if "@" in re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "", text):
        return "a variable of Python (@)"
    try:
        tree = ast.parse(re.sub(r"`[^`]+`", "column", text).strip().replace("\n", " "), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "what is no expression"
    for node in ast.walk(tree):
        if not isinstance(node, PARTS):
            return f"a {type(node).__name__.lower()}"
        if isinstance(node, ast.Attribute) and node.attr not in METHODS:
            return f"the attribute {node.attr!r}"
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            return "a call"
    return None
