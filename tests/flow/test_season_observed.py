"""The whole season in observe mode, with everything going wrong: nothing is held, and what would have been is said once."""

from collections import Counter
from dataclasses import replace

import pytest
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import GateState
from phasegate.core.pipeline.model import GateMode

from tests.flow.test_season import SILENCES, runs
from tests.season import FIRST, GAMES, LAST, Season

pytestmark = pytest.mark.slow

OBSERVED = replace(GAMES, phases={name: replace(phase, mode=GateMode.OBSERVE) for name, phase in GAMES.phases.items()})
SPAN = Span(FIRST, LAST)


@pytest.fixture(scope="module")
def season() -> Season:
    new = Season(SILENCES, pipeline=OBSERVED)
    new.live(SPAN)
    return new


def test_nothing_is_ever_held(season: Season) -> None:
    runs_ = [gate.run for gates in season.store.load("games", SPAN).values() for gate in gates.values()]
    states = {event.state for run in runs_ for event in season.store.history(run)}
    assert states <= {GateState.OPEN, GateState.OFF, GateState.WAITING}


def test_every_run_is_released(season: Season) -> None:
    days = season.store.load("games", SPAN)
    expected = {(phase, day) for day, phases in runs().items() for phase in phases}
    assert {(phase, day) for day, gates in days.items() for phase, gate in gates.items() if gate.is_open} == expected


def test_each_thing_that_would_have_been_held_is_said_once(season: Season) -> None:
    told = Counter((alert.phase, alert.day) for alert in season.alerts if alert.cause != "unsent")
    assert set(told.values()) == {1}
    planted = {(silence.phase, silence.day) for silence in SILENCES if silence.cause != "unsent"}
    assert planted <= set(told)
    assert {day for _, day in told} <= {day for _, day in planted}, "nothing else is said, but of its followers"


def test_there_is_no_other_kind_of_alert(season: Season) -> None:
    assert {alert.cause for alert in season.alerts} == {"observed", "quorum", "unsent"}, "a quorum opens in any mode"
    assert all("would have been" in alert.detail for alert in season.alerts if alert.cause == "observed")
