"""The daily round by the tick: what was changed by hand is told within the day, and its end within the hour."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.core.installation.checkup import DAILY, SOON
from phasegate.core.installation.finding import Finding, Health
from phasegate.installation.checkup import Checkup
from phasegate.messaging.outbox import Relay
from phasegate.testing import Countdown, Crash, Crashing, ManualClock

from tests.cli.test_doctor import FILE
from tests.flow.test_monitor import Bus

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
WELL = Finding("clock", Health.OK, "right")
ACK = Finding("subscription acme-ticks", Health.WRONG, "it waits 10 s", "gcloud … --ack-deadline=600")


class Round:
    """A round over a store, and what it sent."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store, self.bus, self.clock, self.calls = store, Bus(), ManualClock(START), Countdown()
        self.findings: Sequence[Finding] = [WELL]
        self.looked = 0

    def examine(self) -> Sequence[Finding]:
        self.looked += 1
        return self.findings

    def tick(self, after: timedelta = timedelta()) -> None:
        self.clock.advance(after)
        store = Crashing(self.store, self.calls)
        Checkup(self.examine, store, Relay(store, self.bus, self.clock), self.clock).check()  # type: ignore[arg-type]

    @property
    def told(self) -> list[str]:
        return [message.body["state"] for message in self.bus.taken]


@pytest.fixture
def round_(tmp_path: Path) -> Round:
    return Round(SQLiteStore(str(tmp_path / "s.sqlite")))


def test_it_looks_an_hour_after_the_first_tick_and_then_daily(round_: Round) -> None:
    for _ in range(59):
        round_.tick(timedelta(minutes=1))
    assert round_.looked == 0
    round_.tick(SOON)
    assert round_.looked == 1
    for _ in range(23):
        round_.tick(SOON)
    assert round_.looked == 1
    round_.tick(SOON)
    assert round_.looked == 2
    assert round_.told == []


def test_what_is_wrong_is_told_and_its_end_within_the_hour(round_: Round) -> None:
    round_.tick()
    round_.findings = [WELL, ACK]
    round_.tick(SOON)
    round_.tick(SOON)
    assert round_.told == ["firing"]
    round_.findings = [WELL]
    round_.tick(SOON)
    assert round_.told == ["firing", "recovered"]
    round_.tick(DAILY)
    assert round_.told == ["firing", "recovered"]


def test_a_crash_at_any_step_loses_nothing_and_a_second_tick_at_once_doubles_nothing(tmp_path: Path) -> None:
    for steps in range(8):
        round_ = Round(SQLiteStore(str(tmp_path / f"{steps}.sqlite")))
        round_.tick()
        round_.findings = [ACK]
        round_.calls.left = steps
        try:
            round_.tick(SOON)
        except Crash:
            round_.tick()
        round_.calls.left = None
        round_.tick()
        Relay(round_.store, round_.bus, round_.clock).send_pending()
        assert len({message.key for message in round_.bus.taken}) == 1, steps


def test_the_tick_of_an_installation_does_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the real wiring: a table that nobody watches appears, and is told on the screen."""
    (tmp_path / "shop.yaml").write_text(FILE)
    with duckdb.connect(str(tmp_path / "w.duckdb")) as con:
        con.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (day DATE, id VARCHAR); CREATE TABLE raw.strange (x INT)")
    environ = {
        "PHASEGATE_PIPELINES": "shop.yaml",
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'w.duckdb'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 's.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    clock = ManualClock(START)
    wiring = Wiring(Settings.resolve({}, environ, tmp_path), clock=clock)
    wiring.tick.run()
    clock.advance(SOON)
    wiring.tick.run()
    assert "dataset raw: nobody watches raw.strange" in capsys.readouterr().err
