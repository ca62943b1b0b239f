"""Metric math, as far as the dashboards and alarms of this application go; what is not here raises.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html. A series has a value for some of
the periods. Where one side of an operator has none, the result has none; `SUM`, `MAX`, `MIN` and `AVG` of several
series pass over it.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

type Series = dict[int, float]
"""Values by period."""
type Value = float | Series
type Search = Callable[[str, str, int], Sequence[Series]]
"""Finds series by what is searched for, the statistic, and the period."""

QUOTA: Final = 1000.0
"""What `SERVICE_QUOTA` gives here: of concurrent executions, AWS's default. A new account may have 10."""
_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_OF_SEVERAL: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "SUM": sum,
    "MAX": max,
    "MIN": min,
    "AVG": lambda values: sum(values) / len(values),
}


def evaluate(
    expression: str, named: Mapping[str, Series], periods: Iterable[int], search: Search | None = None
) -> Series:
    """The series of an expression.

    Args:
        expression: of numbers, ids, operators and functions.
        named: series by id.
        periods: all there are; what an expression without a series has values for.
        search: for `SEARCH`, inside a function of several series.

    Raises:
        KeyError: an id is unknown.
        NotImplementedError: it has what is not here.
    """
    try:
        parsed = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise NotImplementedError(f"{expression} in an expression of metrics") from None
    found = _value(parsed, named, list(periods), search)
    return found if isinstance(found, dict) else dict.fromkeys(periods, found)


def _value(node: ast.expr, named: Mapping[str, Series], periods: Sequence[int], search: Search | None) -> Value:
    def value(inner: ast.expr) -> Value:
        return _value(inner, named, periods, search)

    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return named[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combined(operator.sub, 0.0, value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(_OPERATORS[type(op)], value(left), value(right))
        case ast.Call(func=ast.Name(id="FILL"), args=[series, filling]):
            return dict.fromkeys(periods, _number(value(filling))) | _series(value(series))
        case ast.Compare(left=left, ops=[ast.GtE()], comparators=[right]):
            return _combined(lambda one, other: float(one >= other), value(left), value(right))
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            told, met, unmet = _series(value(condition)), value(then), value(otherwise)
            chosen = {period: met if is_so else unmet for period, is_so in told.items()}
            parts = {period: one.get(period) if isinstance(one, dict) else one for period, one in chosen.items()}
            return {period: one for period, one in parts.items() if one is not None}
        case ast.Call(func=ast.Name(id="TIME_SERIES"), args=[number]):
            return dict.fromkeys(periods, _number(value(number)))
        case ast.Call(func=ast.Name(id="SERVICE_QUOTA"), args=[ast.Name(id=name)]):
            return dict.fromkeys(named[name], QUOTA)
        case ast.Call(func=ast.Name(id=name), args=[ast.List(elts=several)]) if name in _OF_SEVERAL:
            return _together(_OF_SEVERAL[name], [_series(value(one)) for one in several])
        case ast.Call(
            func=ast.Name(id=name),
            args=[
                ast.Call(
                    func=ast.Name(id="SEARCH"),
                    args=[ast.Constant(str(wanted)), ast.Constant(str(stat)), ast.Constant(int(period))],
                )
            ],
        ) if name in _OF_SEVERAL and search:
            return _together(_OF_SEVERAL[name], search(wanted, stat, period))
    raise NotImplementedError(f"{ast.unparse(node)} in an expression of metrics")


def _combined(combine: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """In each period that both have; a division by zero has no value, as on AWS."""
    if not isinstance(left, dict) and not isinstance(right, dict):
        return combine(left, right)
    places = (side.keys() for side in (left, right) if isinstance(side, dict))
    found: Series = {}
    for period in sorted(set.intersection(*map(set, places))):
        sides = (side[period] if isinstance(side, dict) else side for side in (left, right))
        try:
            found[period] = combine(*sides)
        except ZeroDivisionError:
            continue
    return found


def _together(combine: Callable[[Sequence[float]], float], several: Sequence[Series]) -> Series:
    places = sorted({period for one in several for period in one})
    return {period: combine([one[period] for one in several if period in one]) for period in places}


def _series(value: Value) -> Series:
    if isinstance(value, dict):
        return value
    raise NotImplementedError("a number where a series is wanted")


def _number(value: Value) -> float:
    if isinstance(value, dict):
        raise NotImplementedError("a series where a number is wanted")
    return value
