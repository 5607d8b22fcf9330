"""Pauses: when one holds, what ends it, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from phasegate.core.gates.pause import HISTORY_LENGTH, Pause, begin, end, live, subject
from phasegate.errors import ActionRefused

NOW = datetime(2026, 3, 3, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAUSE = Pause("shop/raw", "ann", "the warehouse moves", NOW, NOW + HOUR)


def test_a_pause_holds_until_its_end_which_is_not_included() -> None:
    moments = (NOW - HOUR / 60, NOW, NOW + HOUR - timedelta.resolution, NOW + HOUR)
    assert [PAUSE.is_live(now) for now in moments] == [False, True, True, False]
    assert str(PAUSE) == "shop/raw is paused by ann until 2026-03-03 08:00 UTC: the warehouse moves"
    assert PAUSE.undo == "phasegate resume raw --pipeline shop"
    assert replace(PAUSE, subject=subject("shop")).undo == "phasegate resume --pipeline shop"


def test_of_two_pauses_the_longer_one_counts() -> None:
    long = replace(PAUSE, subject="shop", until=NOW + 2 * HOUR)
    assert live((long, PAUSE), NOW) == live((PAUSE, long), NOW) == long
    assert live((PAUSE,), NOW + HOUR) is None


def test_a_pause_that_is_ended_is_remembered_with_who_ended_it() -> None:
    (ended,) = end("shop/raw", begin((), PAUSE), NOW + HOUR / 2, "bob", "done")
    assert (ended.ended_by, ended.ended_at, ended.ended_why) == ("bob", NOW + HOUR / 2, "done")
    assert not ended.is_live(NOW + HOUR / 2)
    assert end("shop/raw", begin((ended,), replace(PAUSE, at=NOW + HOUR / 2)), NOW + HOUR * 0.6, "cem", "")[0] == ended


def test_a_new_pause_takes_the_place_of_one_that_holds() -> None:
    """Also when it is the shorter one."""
    short = replace(PAUSE, by="bob", at=NOW + HOUR / 4, until=NOW + HOUR / 2)
    both = begin(begin((), PAUSE), short)
    assert live(both, NOW + HOUR / 4) == short
    assert live(both, NOW + HOUR / 2) is None
    assert (both[0].ended_by, both[0].ended_at) == ("bob", short.at)


def test_only_so_many_are_remembered() -> None:
    known: tuple[Pause, ...] = ()
    for n in range(HISTORY_LENGTH + 9):
        known = begin(known, replace(PAUSE, at=NOW + n * HOUR, until=NOW + (n + 1) * HOUR))
    assert len(known) == HISTORY_LENGTH
    assert known[-1].at == NOW + (HISTORY_LENGTH + 8) * HOUR


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"until": NOW}, "is in the past; choose a later end"),
        ({"why": " "}, "needs a reason"),
        ({"by": ""}, "a pause needs a reason and a name"),
    ],
)
def test_a_pause_without_end_reason_or_person_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ActionRefused, match=said):
        begin((), replace(PAUSE, **wrong))


def test_what_is_not_paused_cannot_go_on() -> None:
    for known in ((), (PAUSE,)):
        with pytest.raises(ActionRefused, match="shop/raw is not paused"):
            end("shop/raw", known, NOW + HOUR, "ann", "")
