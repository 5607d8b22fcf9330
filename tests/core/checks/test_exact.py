"""Numbers are compared as they are written, and written so that a reader sees the difference."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phasegate.core.checks.exact import exact, percent, percent_bound, spell, spell_bound


@pytest.mark.parametrize(
    ("number", "against", "text"),
    [
        (None, [], "nothing"),
        (0, [], "0"),
        (9_500, [], "9,500"),
        (9_500.0, [], "9,500"),
        (0.62043, [], "0.6204"),
        (1e15, [], "1,000,000,000,000,000"),
        (float("inf"), [1], "infinity"),
        (float("-inf"), [], "-infinity"),
        (float("nan"), [1], "NaN"),
        (2**53 + 1, [2**53], "9,007,199,254,740,993"),
        (10**37, [], "10,000,000,000,000,000,000,000,000,000,000,000,000"),
        (1e308, [], "1e+308"),
        (-(10**40), [], "-1e+40"),
        (168_386.4, [168_386], "168,386.4"),
        (168_386.004, [168_386], "168,386.004"),
        (Decimal("10.10"), [], "10.1"),
        (Decimal("0.00001234"), [], "0.00001234"),
        (1e-12, [], "1e-12"),
        (Fraction(336_773, 336_776), [1], "0.99999"),
        (Fraction(1, 3), [Decimal("0.33333333")], "0.333333333"),
        (0.30000000000000004, [Decimal("0.3")], "0.30000000000000004"),
    ],
)
def test_a_number_is_spelled_with_as_many_digits_as_it_takes(number, against, text):
    assert spell(number, against) == text


def test_bounds_keep_all_their_digits():
    assert spell_bound(Decimal("1234567.123456789012345678")) == "1,234,567.123456789012345678"
    assert (spell_bound(1e308), spell_bound(28 / 30)) == ("1e+308", "0.9333333333333333")
    assert (percent(Fraction(1, 9)), percent_bound(Decimal("0.0033"))) == ("11.11%", "0.33%")


@given(
    st.fractions(max_denominator=10**9) | st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**9), 10**9, places=6),
)
def test_a_spelled_number_stands_on_the_same_side_of_its_bound(number, bound):
    text = spell(number, [bound]).replace(",", "")
    assert (Fraction(text) > bound, Fraction(text) < bound) == (exact(number) > bound, exact(number) < bound)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_floats_keep_their_order(left, right):
    assert (exact(left) < exact(right)) == (left < right)
