"""Bounds and shares: how a number is compared with what the pipeline file allows, and how both are written for people.

Bounds are inclusive. A share is one division of two whole counts, compared with the bound as it is written in the file: both
are rounded to a float in the same way, so 28 of 30 is neither above nor below a bound that it equals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from phasegate.core.checks.base import BaseCheck, Judgement, Outcome
from phasegate.core.checks.metrics import Number
from phasegate.core.field_syntax import Between, Share

Bounds: TypeAlias = tuple[float, float]
OpenBounds: TypeAlias = tuple[float | None, float | None]
"""Lower and upper bound, both inclusive; None is open."""
Count = Annotated[int, Between(0)]


def format_number(number: Number | None) -> str:
    """A measured number for people: with thousands separators and at most four significant digits."""
    if number is None:
        return "nothing"
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.4g}"


def format_bound(bound: float) -> str:
    """A bound for people, with every digit that the file has."""
    return f"{bound:,.0f}" if float(bound).is_integer() else f"{bound:g}"


def format_bounds(bounds: OpenBounds) -> str:
    """Two bounds for people: `0.98 to 1.02`, `at least 1`."""
    low, high = bounds
    if low is not None and high is not None:
        return format_bound(low) if low == high else f"{format_bound(low)} to {format_bound(high)}"
    if low is not None:
        return f"at least {format_bound(low)}"
    return "any number" if high is None else f"at most {format_bound(high)}"


def is_inside(number: Number, bounds: OpenBounds) -> bool:
    """True when a number lies within bounds."""
    low, high = bounds
    return (low is None or number >= low) and (high is None or number <= high)


def outcome_up_to(number: Number, bound: float, acceptable: float | None) -> Outcome:
    """Passed up to *bound*, acceptable up to *acceptable*, failed above."""
    if number <= bound:
        return Outcome.PASSED
    return Outcome.ACCEPTABLE if acceptable is not None and number <= acceptable else Outcome.FAILED


def judgement(outcome: Outcome, measured: Number | str | None, expected: str, sentence: str) -> Judgement:
    """A judgement whose message ends with what was expected, unless the check passed."""
    message = sentence if outcome is Outcome.PASSED else f"{sentence}, expected {expected}"
    return Judgement(outcome, measured, expected, message)


def require_columns(columns: Sequence[str]) -> None:
    """Raise ValueError when there are no columns."""
    if not columns:
        raise ValueError("at least one column")


def count_of(number: int, singular: str) -> str:
    """A count and its noun: `1 row`, `1,200 rows`."""
    return f"{number:,} {singular}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedCheck(BaseCheck):
    """A check of one number between two bounds."""

    between: Bounds | None = None
    """The smallest and greatest number that pass."""
    at_least: float | None = None
    """The smallest number that passes."""
    at_most: float | None = None
    """The greatest number that passes."""
    acceptable: Bounds | None = None
    """A wider band that is amber instead of red."""

    def __post_init__(self) -> None:
        if self.between is None and self.at_least is None and self.at_most is None:
            raise ValueError("one of between, at_least, at_most")
        if self.between is not None and (self.at_least is not None or self.at_most is not None):
            raise ValueError("either between, or at_least and at_most, not both")
        for pair in (self.bounds, self.acceptable):
            if pair is not None and pair[0] is not None and pair[1] is not None and pair[0] > pair[1]:
                raise ValueError("bounds whose first number is not above the second")
        if self.acceptable and not all(is_inside(bound, self.acceptable) for bound in self.bounds if bound is not None):
            raise ValueError("an acceptable band that includes the passing one")

    @property
    def bounds(self) -> OpenBounds:
        """The bounds of the numbers that pass."""
        return self.between or (self.at_least, self.at_most)

    def outcome(self, number: Number) -> Outcome:
        """Whether a number passes, is acceptable or fails."""
        if is_inside(number, self.bounds):
            return Outcome.PASSED
        return Outcome.ACCEPTABLE if self.acceptable and is_inside(number, self.acceptable) else Outcome.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCheck(BaseCheck):
    """A check of the share of rows that violate something."""

    at_most: Share = 0.0
    """The greatest share that passes, from 0 to 1."""
    acceptable: Share | None = None
    """A greater share that is amber instead of red."""

    def judge_share(self, violations: int, rows: int, table: str, *, kept: str, broken: str) -> Judgement | None:
        """Judge a share of rows; without rows there is nothing to judge.

        Args:
            kept: What rows without a violation have: `origin in EWR or JFK`.
            broken: What is wrong with the others, after the table's name: `.origin is not EWR or JFK`.
        """
        if not rows:
            return None
        share = violations / rows
        expected = f"at most {self.at_most:g}" if self.at_most else "none"
        if violations:
            sentence = f"{table}{broken} in {violations:,} of {rows:,} rows ({share:.2%})"
        else:
            sentence = f"the only row of {table} has {kept}" if rows == 1 else f"all {rows:,} rows of {table} have {kept}"
        return judgement(outcome_up_to(share, self.at_most, self.acceptable), share, expected, sentence)
