"""Can any row hold all of these rules? Bounds are carried along the order of columns until one meets its counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.constraints import Constraint, Inequality, Range, instant
from data.errors import DataError


@dataclass(frozen=True)
class _Limit:
    """A bound that a column must keep, as it was written, and whether it is left out itself."""

    value: float
    shown: str
    strict: bool

    def above(self, other: _Limit) -> bool:
        """Whether nothing lies between this least value and that greatest one."""
        return self.value > other.value or (self.value == other.value and (self.strict or other.strict))


@dataclass(frozen=True)
class _Step:
    """`left` <= `right`, or < where it is strict, because of the rule at `place`."""

    left: str
    right: str
    strict: bool
    place: int


def contradiction(
    constraints: Sequence[Constraint], bounds: Mapping[str, tuple[Any, Any]] | None = None
) -> tuple[int, str] | None:
    """The place of a rule that cannot be held beside the others and why; None when none is found.

    bounds: column -> (low, high) that are stated elsewhere. Ranges and inequalities are looked at."""
    low, high = _stated(bounds or {})
    steps: list[_Step] = []
    for place, rule in enumerate(constraints):
        if isinstance(rule, Range):
            fault = _narrow(rule, low, high)
            if fault is not None:
                return place, fault
        elif isinstance(rule, Inequality):
            pairs = zip(rule.columns, rule.columns[1:], strict=False)
            steps += [_Step(left, right, rule.strict, place) for left, right in pairs]
            fault = _circle(steps) or _carried(steps, low, high)
            if fault is not None:
                return place, fault
    fault = _carried(steps, low, high)
    return None if fault is None else (steps[-1].place, fault)


def _stated(bounds: Mapping[str, tuple[Any, Any]]) -> tuple[dict[str, _Limit], dict[str, _Limit]]:
    low = {name: _limit(pair[0], False) for name, pair in bounds.items() if pair[0] is not None}
    high = {name: _limit(pair[1], False) for name, pair in bounds.items() if pair[1] is not None}
    return low, high


def _limit(value: Any, strict: bool) -> _Limit:
    try:
        return _Limit(float(instant(value) if isinstance(value, str) else value), str(value), strict)
    except DataError:  # a text that is no time is refused where the column is known
        return _Limit(float("nan"), str(value), strict)


def _narrow(rule: Range, low: dict[str, _Limit], high: dict[str, _Limit]) -> str | None:
    """Take in the bounds of a range; why not, where nothing lies between them."""
    name = rule.column
    if rule.low is not None:
        found = _limit(rule.low, rule.strict in (True, "low"))
        if name not in low or (found.value, found.strict) > (low[name].value, low[name].strict):
            low[name] = found
    if rule.high is not None:
        found = _limit(rule.high, rule.strict in (True, "high"))
        if name not in high or (found.value, not found.strict) < (high[name].value, not high[name].strict):
            high[name] = found
    if name in low and name in high and low[name].above(high[name]):
        return f"no value of {name!r} lies above {low[name].shown} and below {high[name].shown}; correct one of these bounds"
    return None


def _circle(steps: Sequence[_Step]) -> str | None:
    """Columns of which each must lie below the next, and the last below the first."""
    last = steps[-1].place
    for own in (step for step in steps if step.place == last):
        # From the right end of this step back to its left end: a strict one anywhere on the way cannot be.
        reached = {own.right: own.strict}
        waiting = [own.right]
        while waiting:
            at = waiting.pop()
            for step in (step for step in steps if step.left == at):
                strict = reached[at] or step.strict
                if step.right not in reached or (strict and not reached[step.right]):
                    reached[step.right] = strict
                    waiting.append(step.right)
        if reached.get(own.left):
            return f"{own.left!r} would have to lie below itself, by way of {own.right!r}; take one of the inequalities out"
    return None


def _carried(steps: Sequence[_Step], low: Mapping[str, _Limit], high: Mapping[str, _Limit]) -> str | None:
    """A greatest value that lies below what the columns before it need at least."""
    least = dict(low)
    for _ in range(len(steps)):
        for step in (step for step in steps if step.left in least):
            found = least[step.left]
            found = _Limit(found.value, found.shown, found.strict or step.strict)
            held = least.get(step.right)
            if held is None or (found.value, found.strict) > (held.value, held.strict):
                least[step.right] = found
    for name, limit in least.items():
        if name in high and limit.above(high[name]):
            return f"{name!r} would have to lie above {limit.shown} and below {high[name].shown}; correct one of these bounds"
    return None
