"""Links that acknowledge: they work for whoever has one, until a given time, and need the key to be made."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phasegate.core.alerts.ack_link import Grant, InvalidLink, seal, unseal
from phasegate.core.alerts.notice import Link

NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)
KEY = b"k" * 32
GRANT = Grant("shop/raw/checks_failed", NOW - timedelta(hours=1), NOW + timedelta(days=3))


@given(st.text(min_size=1, max_size=120), st.datetimes(timezones=st.just(UTC)))
def test_a_link_carries_what_it_was_made_for_and_fits_into_a_url(incident: str, opened_at: datetime) -> None:
    grant = Grant(incident, opened_at, GRANT.until)
    token = seal(grant, KEY)
    assert unseal(token, KEY, NOW) == grant
    assert Link("Acknowledge", f"https://gates.example.com/ack?token={token}")


def test_a_link_expires() -> None:
    token = seal(GRANT, KEY)
    assert unseal(token, KEY, GRANT.until - timedelta(seconds=1)) == GRANT
    with pytest.raises(InvalidLink, match="expired on 2026-03-06 at 06:00 UTC"):
        unseal(token, KEY, GRANT.until)


@given(st.integers(0, 200), st.text(max_size=3))
def test_a_link_with_any_change_is_refused(place: int, text: str) -> None:
    token = seal(GRANT, KEY)
    place %= len(token)
    changed = token[:place] + text + token[place + 1 :]
    if changed != token:
        with pytest.raises(InvalidLink, match="not made by phasegate"):
            unseal(changed, KEY, NOW)


@pytest.mark.parametrize("token", ["", ".", "a.b", "\x00", "ü.ü", "x" * 100_000, "\ud800.", seal(GRANT, b"another key")])
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(InvalidLink, match="not made by phasegate"):
        unseal(token, KEY, NOW)
