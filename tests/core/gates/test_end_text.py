"""When a person's decision ends, as it was given."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from phasegate.core.gates.gate import AcceptedGap, end_text, is_live
from phasegate.serialization import from_json, to_json

NEW_YORK = ZoneInfo("America/New_York")
LAST = datetime.combine(datetime(2999, 12, 31), time.max, NEW_YORK)


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        (LAST, "2999-12-31"),
        (datetime.combine(datetime(2999, 12, 31), time.max, UTC), "2999-12-31"),
        (datetime(2026, 3, 4, 0, 0, tzinfo=UTC), "2026-03-04 00:00 UTC"),
        (datetime(2026, 3, 4, 7, 0, tzinfo=NEW_YORK), "2026-03-04 12:00 UTC"),
    ],
)
def test_a_day_is_shown_as_the_day_that_was_given(end: datetime, shown: str) -> None:
    """Also after it was stored."""
    assert end_text(end) == shown
    gap = AcceptedGap("ann", "lost", datetime(2026, 3, 3, tzinfo=UTC), end)
    assert end_text(from_json(AcceptedGap, to_json(gap)).until) == shown


def test_the_last_day_counts_to_its_end() -> None:
    gap = AcceptedGap("ann", "lost", datetime(2026, 3, 3, tzinfo=UTC), LAST)
    assert is_live(gap, datetime(2999, 12, 31, 23, 59, tzinfo=NEW_YORK))
    assert not is_live(gap, LAST + timedelta(microseconds=1))
