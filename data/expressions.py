"""Does a row hold a condition that a user wrote? A small language over columns: parsed once, run by Arrow, never by Python.

    `capital-gain` == 0 or income == ">50K"
    end - start <= days(30)
    price * (1 - discount) >= cost if kind == "sale" else price >= cost

Names are columns (odd ones between backticks). There are numbers, texts, True, False, lists of these, + - * / // % **,
comparisons and their chains, in, not in, and, or, not, if-else, and the functions of FUNCTIONS. A text beside a time is read
as a time. What is missing makes a comparison unknown, and unknown is no breach (as in SQL's CHECK); ask `missing(column)`.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.encode_values import plain
from data.errors import DataError
from data.schema import Schema, arrow_type

Rows: TypeAlias = pa.Table | pa.RecordBatch
Value: TypeAlias = pa.Array | pa.Scalar

#: Nodes of an expression at most: a rule that a person wrote has some dozens.
MOST_NODES = 500
MICROSECONDS = {"days": 86_400_000_000, "hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000}
LISTS = (ast.List, ast.Tuple, ast.Set)
_BACKTICKS = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Expression:
    """A parsed condition. text: as it was written; raises DataError where it is none."""

    text: str

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError(f"{self.text!r} names no column")

    @cached_property
    def _parsed(self) -> tuple[ast.expr, dict[str, str]]:
        """The tree, and what each name in it stands for."""
        quoted: dict[str, str] = {}

        def stand_in(found: re.Match[str]) -> str:
            quoted[name := f"_quoted_{len(quoted)}"] = found[1]
            return name

        try:
            tree = ast.parse(_BACKTICKS.sub(stand_in, self.text).strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            words = [word for word in re.findall(r"[A-Za-z]+", self.text) if keyword.iskeyword(word)]
            odd = [word for word in words if word not in ("and", "or", "not", "in", "if", "else", "True", "False")]
            hint = f"; write the column `{odd[0]}` between backticks" if odd else "; check brackets, quotes and operators"
            raise DataError(f"{self.text!r} is no expression{hint}") from None
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise DataError(f"{self.text[:40]!r}... is too long; split it into several constraints")
        _only_known(tree, self.text)
        return tree, quoted

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that it speaks of, in order."""
        tree, quoted = self._parsed
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called]
        ordered = sorted(found, key=lambda node: (node.lineno, node.col_offset))
        return tuple(dict.fromkeys(quoted.get(node.id, node.id) for node in ordered))

    def check(self, schema: Schema) -> None:
        """Raises DataError where the columns are not there, their types do not fit, or a level is unheard of."""
        for name in self.names:
            schema[name]
        self._check_levels(schema)
        empty = pa.table({name: pa.array([], arrow_type(schema[name].dtype)) for name in self.names})
        try:
            answer = self._value(empty)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, ValueError):
            kinds = ", ".join(f"{name} is {schema[name].kind}" for name in self.names)
            raise DataError(f"{self.text!r} puts together what does not belong together ({kinds})") from None
        if not pa.types.is_boolean(answer.type):
            raise DataError(f"{self.text!r} gives values, not true or false; compare it with something")

    def holds(self, rows: Rows) -> pa.BooleanArray:
        """(rows,) without nulls: false where the row surely breaks the condition."""
        answer = self._value(rows)
        if isinstance(answer, pa.Scalar):
            return pa.array([answer.as_py() is not False] * rows.num_rows, pa.bool_())
        return pc.fill_null(answer, True)

    def _value(self, rows: Rows) -> Value:
        tree, quoted = self._parsed
        named = {_stand_in(name, quoted): _column(rows.column(name)) for name in self.names}
        return _run(tree, named)

    def _check_levels(self, schema: Schema) -> None:
        tree, quoted = self._parsed
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            names = [quoted.get(side.id, side.id) for side in sides if isinstance(side, ast.Name)]
            texts = [leaf.value for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)]
            for column in (schema[name] for name in names):
                if column.kind == "categorical":
                    for text in (t for t in texts if isinstance(t, str)):
                        if (level := column.level(text)) != text:
                            raise DataError(f"column {column.name!r} has no level {text!r}; write it as it is: {level!r}")


def _stand_in(name: str, quoted: Mapping[str, str]) -> str:
    return next((key for key, meant in quoted.items() if meant == name), name)


def _column(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Whole numbers as int64, others as float64 without NaN, times as microseconds in UTC; texts and truths as they are."""
    array = plain(values)
    kind = array.type
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        wide = array.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), wide)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return array.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.timestamp("us"))
    return array.cast(pa.string()) if pa.types.is_large_string(kind) else array


def _run(node: ast.expr, columns: Mapping[str, pa.Array]) -> Value:
    """The value of a checked tree."""
    if isinstance(node, ast.Name):
        return columns[node.id]
    if isinstance(node, ast.Constant):
        return pa.scalar(float(value) if isinstance(value := node.value, int) and abs(value) >= 2**63 else value)
    if isinstance(node, ast.BoolOp):
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        return reduce(join, (_truth(_run(each, columns)) for each in node.values))
    if isinstance(node, ast.UnaryOp):
        value = _run(node.operand, columns)
        return pc.invert(_truth(value)) if isinstance(node.op, ast.Not) else pc.negate(_number(value))
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_run(node.left, columns), _run(node.right, columns))
    if isinstance(node, ast.Compare):
        return _compared(node, columns)
    if isinstance(node, ast.IfExp):
        test = _truth(_run(node.test, columns))
        return pc.if_else(test, _run(node.body, columns), _run(node.orelse, columns))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return FUNCTIONS[node.func.id](*(_run(each, columns) for each in node.args))
    raise DataError(f"{_said(node)} is not part of the language of expressions")


def _compared(node: ast.Compare, columns: Mapping[str, pa.Array]) -> Value:
    parts, left = [], node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        # A list stands behind `in` and `not in`, and nowhere else: see _check_lists.
        if isinstance(right, LISTS):
            value = _run(left, columns)
            equal = [pc.equal(*_alike(value, _run(each, columns))) for each in right.elts]
            found = reduce(pc.or_kleene, equal)
            parts.append(found if isinstance(operator, ast.In) else pc.invert(found))
        else:
            parts.append(_COMPARISONS[type(operator)](*_alike(_run(left, columns), _run(right, columns))))
        left = right
    return reduce(pc.and_kleene, parts)


def _alike(left: Value, right: Value) -> tuple[Value, Value]:
    """Both sides of a comparison: a text beside a time is a time, whole numbers beside others are numbers."""
    if pa.types.is_timestamp(left.type) and pa.types.is_string(right.type):
        return left, _instant(right)
    if pa.types.is_timestamp(right.type) and pa.types.is_string(left.type):
        return _instant(left), right
    if {pa.types.is_boolean(left.type), pa.types.is_boolean(right.type)} == {True, False}:
        return _number(left), _number(right)
    return left, right


def _instant(value: Value) -> pa.Scalar:
    if not isinstance(value, pa.Scalar):
        raise ValueError("texts are no times")  # the check of the expression says it in its own words
    found = pd.Timestamp(value.as_py())
    found = found.tz_convert("UTC").tz_localize(None) if found.tzinfo else found
    return pa.scalar(found.to_pydatetime(), pa.timestamp("us"))


def _truth(value: Value) -> Value:
    if not pa.types.is_boolean(value.type):
        raise ValueError("and, or and not join conditions")
    return value


def _number(value: Value) -> Value:
    return value.cast(pa.int64()) if pa.types.is_boolean(value.type) else value


def _wide(value: Value) -> Value:
    return _number(value).cast(pa.float64(), safe=False)


def _exact(name: str) -> Callable[[Value, Value], Value]:
    """Arithmetic on whole numbers that does not wrap around: what is too large goes on as float64."""

    def work(left: Value, right: Value) -> Value:
        left, right = _number(left), _number(right)
        try:
            return pc.call_function(f"{name}_checked", [left, right])
        except pa.ArrowInvalid:
            return pc.call_function(name, [_wide(left), _wide(right)])

    return work


def _divide(left: Value, right: Value) -> Value:
    return pc.divide(_wide(left), _wide(right))


def _floor_divide(left: Value, right: Value) -> Value:
    return pc.floor(_divide(left, right))


def _remainder(left: Value, right: Value) -> Value:
    return pc.subtract(_wide(left), pc.multiply(_floor_divide(left, right), _wide(right)))


def _power(left: Value, right: Value) -> Value:
    return pc.power(_wide(left), _wide(right))


def _span(unit: str) -> Callable[[Value], Value]:
    def work(value: Value) -> Value:
        return pc.multiply(_wide(value), float(MICROSECONDS[unit])).cast(pa.int64(), safe=False).cast(pa.duration("us"))

    return work


def _one(name: str) -> Callable[[Value], Value]:
    return lambda value: pc.call_function(name, [_number(value)])


def _several(name: str) -> Callable[..., Value]:
    options = pc.ElementWiseAggregateOptions(skip_nulls=False)
    return lambda *values: pc.call_function(name, [_number(v) for v in values], options)


_ARITHMETIC: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: _exact("add"), ast.Sub: _exact("subtract"), ast.Mult: _exact("multiply"), ast.Div: _divide,
    ast.FloorDiv: _floor_divide, ast.Mod: _remainder, ast.Pow: _power,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], Value]] = {
    ast.Lt: pc.less, ast.LtE: pc.less_equal, ast.Gt: pc.greater, ast.GtE: pc.greater_equal, ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}  # fmt: skip
#: What may be called, and with how many values.
FUNCTIONS: dict[str, Callable[..., Value]] = {
    "abs": _one("abs"), "round": _one("round"), "floor": _one("floor"), "ceil": _one("ceil"),
    "sqrt": lambda value: pc.sqrt(_wide(value)), "log": lambda value: pc.ln(_wide(value)),
    "exp": lambda value: pc.exp(_wide(value)), "min": _several("min_element_wise"), "max": _several("max_element_wise"),
    "missing": pc.is_null, "length": pc.utf8_length, "year": pc.year, "month": pc.month, "day": pc.day,
    **{unit: _span(unit) for unit in MICROSECONDS},
}  # fmt: skip
_TAKES = {"min": (2, 9), "max": (2, 9)}
_JOINTS = (ast.BoolOp, ast.Compare, ast.IfExp, ast.Name, ast.Load, ast.boolop, ast.cmpop)


def _only_known(tree: ast.expr, text: str) -> None:
    """Raises DataError for anything that the language does not have, and for a function that is none."""
    asked = [side for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in node.comparators]
    fit = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)} | {id(side) for side in asked}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _check_call(node, text)
        elif isinstance(node, ast.Compare):
            _check_lists(node, text)
        elif isinstance(node, (ast.Name, *LISTS)) and id(node) in fit:
            continue
        elif isinstance(node, ast.Constant) and not isinstance(node.value, (bool, int, float, str)):
            raise DataError(f"{text!r}: {node.value!r} cannot be compared; ask missing(column) for what is not there")
        elif not _known(node):
            raise DataError(f"{text!r}: {_said(node)} is not part of the language; there are arithmetic, comparisons and "
                            f"{', '.join(FUNCTIONS)}")  # fmt: skip


def _known(node: ast.AST) -> bool:
    if isinstance(node, (ast.BinOp, ast.UnaryOp)):
        return type(node.op) in _ARITHMETIC or isinstance(node.op, (ast.Not, ast.USub))
    return isinstance(node, (*_JOINTS, ast.Constant, ast.operator, ast.unaryop))


def _check_lists(node: ast.Compare, text: str) -> None:
    for operator, side in zip(node.ops, node.comparators, strict=True):
        values = side.elts if isinstance(side, LISTS) else None
        if isinstance(operator, (ast.In, ast.NotIn)) != (values is not None) or values == []:
            raise DataError(f"{text!r}: `in` and `not in` stand before a list of values, such as ['a', 'b'], and only they")
        if isinstance(operator, (ast.Is, ast.IsNot)):
            raise DataError(f"{text!r}: `is` is not part of the language; use == or missing(column)")


def _check_call(node: ast.Call, text: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS:
        raise DataError(f"{text!r}: {_said(node.func)} is no function here; there are {', '.join(FUNCTIONS)}")
    least, most = _TAKES.get(name, (1, 1))
    if node.keywords or not least <= len(node.args) <= most:
        raise DataError(f"{text!r}: {name} takes {'one value' if most == 1 else f'{least} to {most} values'}")


def _said(node: ast.AST) -> str:
    try:
        return repr(ast.unparse(node))
    except (AttributeError, ValueError):
        return type(node).__name__
