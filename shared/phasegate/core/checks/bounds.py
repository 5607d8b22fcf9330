"""Bounds and shares: how a number is compared with what the pipeline file allows, and how both are written for people.

Everything is compared exactly: bounds as they are written in the file, shares as fractions of two counts, whole numbers of any
size. Messages have as many digits as it takes to see on which side of its bound a number is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, TypeAlias

from phasegate.core.checks.base import Answers, BaseCheck, Judgement, Outcome
from phasegate.core.checks.exact import exact, percent, percent_bound, spell, spell_bound
from phasegate.core.checks.metrics import Number
from phasegate.core.field_syntax import Between, Exact, Share

Bound: TypeAlias = Annotated[Number, Exact()]
Bounds: TypeAlias = tuple[Bound, Bound]
OpenBounds: TypeAlias = tuple[Number | None, Number | None]
"""Lower and upper bound, both inclusive; None is open."""
Count = Annotated[int, Between(0)]
End: TypeAlias = Number | str | None
"""One end of a range: a number, a date or time as text, or none."""


def format_bounds(bounds: OpenBounds) -> str:
    """Two inclusive bounds for people: `0.98 to 1.02`, `at least 1`."""
    return _format_bounds(*bounds)


@lru_cache(maxsize=1024, typed=True)
def _format_bounds(low: Number | None, high: Number | None) -> str:
    if low is not None and high is not None:
        return spell_bound(low) if exact(low) == exact(high) else f"{spell_bound(low)} to {spell_bound(high)}"
    if low is not None:
        return f"at least {spell_bound(low)}"
    return "any number" if high is None else f"at most {spell_bound(high)}"


def spell_ends(at_least: End, above: End, at_most: End, below: End) -> str:
    """The ends of a range for people, without those that are not given: `above 0 and at most 1`, `at least 2013-01-01`."""
    ends = (("at least", at_least), ("above", above), ("at most", at_most), ("below", below))
    return " and ".join(f"{word} {spell_end(end)}" for word, end in ends if end is not None)


def spell_end(end: Number | str) -> str:
    """One end of a range for people; a date or time is written as it is."""
    return end if isinstance(end, str) else spell_bound(end)


def is_inside(number: Number | Fraction, bounds: OpenBounds) -> bool:
    """True when a number lies within inclusive bounds; NaN lies within none."""
    low, high = bounds
    value = exact(number)
    return (low is None or value >= exact(low)) and (high is None or value <= exact(high))


def outcome_up_to(number: Number | Fraction, bound: Number, acceptable: Number | None) -> Outcome:
    """Passed up to *bound*, acceptable up to *acceptable*, failed above."""
    if is_inside(number, (None, bound)):
        return Outcome.PASSED
    return Outcome.ACCEPTABLE if acceptable is not None and is_inside(number, (None, acceptable)) else Outcome.FAILED


def judgement(outcome: Outcome, measured: Number | str | None, expected: str, sentence: str) -> Judgement:
    """A judgement whose message ends with what was expected, unless the check passed."""
    message = sentence if outcome is Outcome.PASSED else f"{sentence}, expected {expected}"
    return Judgement(outcome, measured, expected, message)


def judge_tolerated(bad: int, rows: int, sentence: str, *, at_most: Number, acceptable: int | None) -> Judgement:
    """Judge a count of bad rows that may be a share of all rows; *acceptable* is a count."""
    share = Fraction(bad, rows) if rows else float("inf")
    outcome = outcome_up_to(share, at_most, None)
    if outcome is Outcome.FAILED and acceptable is not None and bad <= acceptable:
        outcome = Outcome.ACCEPTABLE
    expected = f"at most {percent_bound(at_most)}"
    shown = f"{percent(share, [at_most])} of {count_of(rows, 'row')}" if rows else "and the table has no rows"
    sentence = f"{sentence} ({shown})" if rows else f"{sentence}, {shown}"
    sentence += f"; up to {percent_bound(at_most)} is allowed" if outcome is Outcome.PASSED else ""
    return judgement(outcome, float(share), expected, sentence)


def require_columns(columns: Sequence[str]) -> None:
    """Raise ValueError when there are no columns."""
    if not columns:
        raise ValueError("at least one column")


def count_of(number: int, singular: str) -> str:
    """A count and its noun: `1 row`, `1,200 rows`."""
    return f"{number:,} {singular}{'' if number == 1 else 's'}"


def only(where: str | None) -> str:
    """The condition of a check, as the end of what is counted: ` where status = 'paid'`."""
    return f" where {where}" if where else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedCheck(BaseCheck):
    """A check of one number between two bounds."""

    between: Bounds | None = None
    """The smallest and greatest number that pass."""
    at_least: Bound | None = None
    """The smallest number that passes."""
    at_most: Bound | None = None
    """The greatest number that passes."""
    above: Bound | None = None
    """Only greater numbers pass."""
    below: Bound | None = None
    """Only smaller numbers pass."""
    acceptable: Bounds | None = None
    """A wider band that is amber instead of red."""

    def __post_init__(self) -> None:
        open_ends = (self.at_least, self.at_most, self.above, self.below)
        if self.between is None and all(bound is None for bound in open_ends):
            raise ValueError("one of between, at_least, at_most, above, below")
        if self.between is not None and any(bound is not None for bound in open_ends):
            raise ValueError("either between, or at_least and at_most, not both")
        if (None not in (self.at_least, self.above)) or (None not in (self.at_most, self.below)):
            raise ValueError("either at_least or above, and either at_most or below")
        for low, high in (self.bounds, self.acceptable or (None, None)):
            if low is not None and high is not None and exact(low) > exact(high):
                raise ValueError("bounds with the smaller number first")
        if self.acceptable and not all(is_inside(bound, self.acceptable) for bound in self.bounds if bound is not None):
            raise ValueError("an acceptable band that includes the passing one")

    @property
    def bounds(self) -> OpenBounds:
        """The bounds of the numbers that pass; *above* and *below* do not pass themselves."""
        low = self.above if self.at_least is None else self.at_least
        return self.between or (low, self.below if self.at_most is None else self.at_most)

    def expected(self) -> str:
        """The bounds for people: `at least 1`, `above 0 and at most 1`."""
        if self.above is None and self.below is None:
            return format_bounds(self.bounds)
        return spell_ends(self.at_least, self.above, self.at_most, self.below)

    def passes(self, number: Number | Fraction) -> bool:
        """True when a number lies within the bounds."""
        return is_inside(number, self.bounds) and exact(number) not in [
            exact(bound) for bound in (self.above, self.below) if bound is not None
        ]

    def outcome(self, number: Number | Fraction) -> Outcome:
        """Whether a number passes, is acceptable or fails."""
        if self.passes(number):
            return Outcome.PASSED
        return Outcome.ACCEPTABLE if self.acceptable and is_inside(number, self.acceptable) else Outcome.FAILED

    def spelled(self, number: Number | Fraction | None) -> str:
        """A number with enough digits to see on which side of the bounds it is."""
        ends = (*self.bounds, *(self.acceptable or ()))
        return spell(number, [bound for bound in ends if bound is not None])


class Denominator(StrEnum):
    """What a number is divided by."""

    EXPECTED = "expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerExpectedCheck(BoundedCheck):
    """A check of one number, alone or divided by the count of entities that the calendar expects."""

    per: Denominator | None = None
    """`expected`: the bounds are for the number divided by the calendar's count."""

    @property
    def counts_expected(self) -> bool:
        """True when it compares with what the calendar expects."""
        return self.per is Denominator.EXPECTED

    def judge_number(self, number: Number, sentence: str, answers: Answers, day: date) -> Judgement:
        """Judge a number; *sentence* is what is said of it."""
        if not self.counts_expected:
            return judgement(self.outcome(number), number, self.expected(), sentence)
        whole = answers.expected(day)
        expected, against = f"{self.expected()} of {spell(whole)}", f"the {spell(whole)} expected"
        value = exact(number)
        if not whole or isinstance(value, float):  # the calendar's 0 means that no run is expected
            return judgement(Outcome.FAILED, None, expected, f"{sentence}, compared with {against}")
        ratio = value / exact(whole)
        return judgement(self.outcome(ratio), float(ratio), expected, f"{sentence}, {self.spelled(ratio)} × {against}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCheck(BaseCheck):
    """A check of the share of rows that violate something."""

    at_most: Share = 0.0
    """The greatest share that passes, from 0 to 1."""
    acceptable: Share | None = None
    """A greater share that is amber instead of red."""

    def __post_init__(self) -> None:
        if self.acceptable is not None and exact(self.acceptable) < exact(self.at_most):
            raise ValueError("an acceptable share ≥ at_most")

    def judge_share(self, violations: int, rows: int, table: str, *, valid: str, invalid: str) -> Judgement | None:
        """Judge a share of rows; without rows there is nothing to judge.

        Args:
            valid: What valid rows have: `origin in EWR or JFK`.
            invalid: What is wrong with the others, after the table's name: `.origin is not EWR or JFK`.
        """
        if not rows:
            return None
        share = Fraction(violations, rows)
        bounds = [bound for bound in (self.at_most, self.acceptable) if bound]
        expected = f"at most {percent_bound(self.at_most)}" if self.at_most else "none"
        outcome = outcome_up_to(share, self.at_most, self.acceptable)
        if violations:
            sentence = f"{table}{invalid} in {violations:,} of {rows:,} rows{only(self.where)} ({percent(share, bounds)})"
            sentence += f"; up to {percent_bound(self.at_most)} is allowed" if outcome is Outcome.PASSED else ""
        elif rows == 1:
            sentence = f"the only row of {table}{only(self.where)} has {valid}"
        else:
            sentence = f"all {rows:,} rows of {table}{only(self.where)} have {valid}"
        return judgement(outcome, float(share), expected, sentence)
