"""Numbers without rounding: compared as they are written, and written so that a reader sees the difference."""

import math
from collections.abc import Iterable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

from phasegate.core.checks.metrics import Number

_LONGEST = 38
"""Digits of the longest whole number that is written out; both warehouses have numbers of as many digits."""


def exact(number: Number | Fraction) -> Fraction | float:
    """The number as a fraction; infinity and NaN stay floats.

    A float stands for the number that it is written as, so 0.1 is one tenth. A whole one is exactly itself.

    >>> exact(0.1) == Fraction(1, 10), exact(2.0**70) == 2**70
    (True, True)
    """
    return number if type(number) is Fraction else _exact(number)


# A bound is compared and spelled again for each date. By type: a float and a Decimal that are equal may be two numbers here.
@lru_cache(maxsize=4096, typed=True)
def _exact(number: Number) -> Fraction | float:
    if isinstance(number, float):
        if not math.isfinite(number):
            return number
        return Fraction(int(number) if number.is_integer() else Decimal(repr(number)))
    return Fraction(number)


def spell(number: Number | Fraction | None, against: Iterable[Number | Fraction] = ()) -> str:
    """A number for people: thousands separated, at most four significant decimals.

    Args:
        against: The bounds that it is compared with. It gets as many more digits as it takes to see on which side it is.

    >>> spell(168386.46), spell(0.99999109, [1]), spell(float("inf"))
    ('168,386.5', '0.99999', 'infinity')
    """
    if number is None:
        return "nothing"
    value = exact(number)
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
    sides = [(bound, _side(value, bound)) for bound in map(exact, against)]
    for digits in range(4, 100):
        rounded = _rounded(value, digits)
        if all(_side(Fraction(rounded), bound) == side for bound, side in sides):
            break
    return _written(rounded)


@lru_cache(maxsize=1024, typed=True)
def spell_bound(number: Number | Fraction) -> str:
    """A bound with all digits that it was given with."""
    if isinstance(number, float):
        return _written(Decimal(repr(number))) if math.isfinite(number) else spell(number)
    return _written(_rounded(Fraction(number), 400))


def percent(share: Number | Fraction, against: Iterable[Number | Fraction] = ()) -> str:
    """A share for people.

    >>> percent(Fraction(1, 303), [Decimal("0.0033")]), percent(0.5)
    ('0.33003%', '50%')
    """
    return f"{spell(exact(share) * 100, [exact(bound) * 100 for bound in against])}%"


@lru_cache(maxsize=1024, typed=True)
def percent_bound(share: Number | Fraction) -> str:
    """The bound of a share, with all digits that it was given with."""
    return f"{spell_bound(exact(share) * 100)}%"


def _side(value: Fraction, bound: Fraction | float) -> int:
    return (value > bound) - (value < bound)


def _rounded(value: Fraction, digits: int) -> Decimal:
    whole = len(str(abs(value.numerator) // value.denominator))
    if value.denominator == 1 and whole <= _LONGEST:
        return Decimal(value.numerator)
    context = Context(prec=max(digits, whole + 1 if whole <= _LONGEST else 0))
    return context.normalize(context.divide(Decimal(value.numerator), Decimal(value.denominator)))


def _written(number: Decimal) -> str:
    number = Decimal(int(number)) if number == number.to_integral_value() and number.adjusted() < _LONGEST else number
    return f"{number:,f}" if -7 < number.adjusted() < _LONGEST else f"{number:e}".replace("E", "e")


def in_json(number: Number | str | None) -> int | float | str | None:
    """The number as JSON can carry it; text with all its digits, where a float would change it.

    >>> in_json(Decimal("10.10")), in_json(Decimal("9007199254740993.5")), in_json(float("nan"))
    (10.1, '9007199254740993.5', 'NaN')
    """
    if isinstance(number, Decimal):
        if number == number.to_integral_value():
            return int(number)
        return float(number) if Decimal(repr(float(number))) == number else f"{number:f}"
    return spell(number) if isinstance(number, float) and not math.isfinite(number) else number
