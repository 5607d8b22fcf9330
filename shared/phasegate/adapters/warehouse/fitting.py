"""Bounds and values of checks as numbers of a column's own type, so that no warehouse rounds them when it compares."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from phasegate.core.checks.exact import exact
from phasegate.core.checks.metrics import Number


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column.

    Args:
        name: In GoogleSQL; empty when it is not known.
        digits: Of a decimal type, the most digits before and after the point.
        largest: Of a type of whole numbers, the largest.
    """

    name: str = ""
    digits: tuple[int, int] = (29, 9)
    largest: int = 2**63 - 1


def fit(bound: Number, column: ColumnType, *, up: bool) -> Number:
    """The nearest number of the column's type that is not below the bound (*up*), or not above it.

    It splits the values of the column as the bound does. Infinity, when the bound is beyond all of them.
    """
    value = exact(bound)
    if isinstance(value, float):
        return value
    match column.name:
        case "INT64":
            whole = math.ceil(value) if up else math.floor(value)
            return whole if -column.largest - 1 <= whole <= column.largest else _infinity(whole)
        case "FLOAT64":
            return _float(value, up=up)
        case "NUMERIC" | "BIGNUMERIC":
            before, after = column.digits
            return _decimal(value, before, after, up=up)
    if value.denominator == 1 and abs(value) < 2**63:
        return int(value)
    return _decimal(value, 38, 38, up=up)


def fitting(values: Iterable[Number], column: ColumnType) -> Iterator[Number]:
    """The values that the column's type has, as numbers of that type; no row can hold the others."""
    for value in values:
        near = fit(value, column, up=True)
        if exact(near) == exact(value):
            yield near


def _float(value: Fraction, *, up: bool) -> float:
    try:
        near = value.numerator / value.denominator  # rounded once, to the nearest
    except OverflowError:
        near = _infinity(value)
    if up and exact(near) < value:
        return math.nextafter(near, math.inf)
    return math.nextafter(near, -math.inf) if not up and exact(near) > value else near


def _decimal(value: Fraction, before: int, after: int, *, up: bool) -> Number:
    scaled = value * 10**after
    whole = math.ceil(scaled) if up else math.floor(scaled)
    if abs(whole) >= 10 ** (before + after):
        return _infinity(whole)
    exactly = Context(prec=before + after + 1, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return exactly.normalize(exactly.scaleb(Decimal(whole), -after))


def _infinity(value: Fraction | int) -> float:
    return math.inf if value > 0 else -math.inf
