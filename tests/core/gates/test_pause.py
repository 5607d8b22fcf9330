"""Pauses: when one is in force, what ends it, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from phasegate.core.gates.pause import HISTORY_LENGTH, Pause, begin, end, live, subject
from phasegate.errors import ActionRefused

NOW = datetime(2026, 3, 3, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAUSE = Pause("shop/raw", "ann", "the warehouse moves", NOW, NOW + HOUR)


def test_a_pause_is_in_force_until_just_before_its_end() -> None:
    moments = (NOW - HOUR / 60, NOW, NOW + HOUR - timedelta.resolution, NOW + HOUR)
    assert [PAUSE.is_live(now) for now in moments] == [False, True, True, False]
    assert str(PAUSE) == "shop/raw is paused by ann until 2026-03-03 08:00 UTC: the warehouse moves"
    assert PAUSE.undo == "phasegate resume raw --pipeline shop"
    assert replace(PAUSE, subject=subject("shop")).undo == "phasegate resume --pipeline shop"


def test_of_two_pauses_the_longer_one_counts() -> None:
    long = replace(PAUSE, subject="shop", until=NOW + 2 * HOUR)
    assert live((long, PAUSE), NOW) == live((PAUSE, long), NOW) == long
    assert live((PAUSE,), NOW + HOUR) is None


def test_an_ended_pause_is_stored_with_who_ended_it() -> None:
    (ended,) = end("shop/raw", begin((), PAUSE), NOW + HOUR / 2, "bob", "done")
    assert (ended.ended_by, ended.ended_at, ended.ended_why) == ("bob", NOW + HOUR / 2, "done")
    assert not ended.is_live(NOW + HOUR / 2)
    assert end("shop/raw", begin((ended,), replace(PAUSE, at=NOW + HOUR / 2)), NOW + HOUR * 0.6, "cem", "")[0] == ended


def test_a_new_pause_replaces_the_one_in_force() -> None:
    """Even when it is shorter."""
    short = replace(PAUSE, by="bob", at=NOW + HOUR / 4, until=NOW + HOUR / 2)
    both = begin(begin((), PAUSE), short)
    assert live(both, NOW + HOUR / 4) == short
    assert live(both, NOW + HOUR / 2) is None
    assert (both[0].ended_by, both[0].ended_at) == ("bob", short.at)


def test_the_pause_history_has_a_maximum_length() -> None:
    history: tuple[Pause, ...] = ()
    for n in range(HISTORY_LENGTH + 9):
        history = begin(history, replace(PAUSE, at=NOW + n * HOUR, until=NOW + (n + 1) * HOUR))
    assert len(history) == HISTORY_LENGTH
    assert history[-1].at == NOW + (HISTORY_LENGTH + 8) * HOUR


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"until": NOW}, "is in the past; choose a later end"),
        ({"why": " "}, "needs a reason"),
        ({"by": ""}, "a pause needs a reason and a name"),
    ],
)
def test_a_pause_without_end_reason_or_name_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ActionRefused, match=message):
        begin((), replace(PAUSE, **wrong))


def test_only_a_paused_subject_can_be_resumed() -> None:
    for history in ((), (PAUSE,)):
        with pytest.raises(ActionRefused, match="shop/raw is not paused"):
            end("shop/raw", history, NOW + HOUR, "ann", "")
