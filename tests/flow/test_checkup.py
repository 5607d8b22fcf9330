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
from phasegate.gates.adoption import adopt
from phasegate.gates.backfill import parse_range
from phasegate.installation.checkup import Checkup
from phasegate.messaging.outbox import Relay
from phasegate.testing import Countdown, Crash, Crashing, ManualClock

from tests.cli.test_doctor import FILE
from tests.flow.test_monitor import Bus

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
WELL = Finding("clock", Health.OK, "right")
ACK = Finding("subscription acme-ticks", Health.WRONG, "it waits 10 s", "gcloud … --ack-deadline=600")


class Checkups:
    """Checkups over a store, and the alerts they sent."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store, self.bus, self.clock, self.calls = store, Bus(), ManualClock(START), Countdown()
        self.findings: Sequence[Finding] = [WELL]
        self.runs = 0

    def examine(self) -> Sequence[Finding]:
        self.runs += 1
        return self.findings

    def tick(self, after: timedelta = timedelta()) -> None:
        self.clock.advance(after)
        store = Crashing(self.store, self.calls)
        Checkup(self.examine, store, Relay(store, self.bus, self.clock), self.clock).check()  # type: ignore[arg-type]

    @property
    def states(self) -> list[str]:
        return [message.body["state"] for message in self.bus.taken]


@pytest.fixture
def checkups(tmp_path: Path) -> Checkups:
    return Checkups(SQLiteStore(str(tmp_path / "s.sqlite")))


def test_the_first_checkup_comes_an_hour_after_the_first_tick_then_one_a_day(checkups: Checkups) -> None:
    for _ in range(59):
        checkups.tick(timedelta(minutes=1))
    assert checkups.runs == 0
    checkups.tick(SOON)
    assert checkups.runs == 1
    for _ in range(23):
        checkups.tick(SOON)
    assert checkups.runs == 1
    checkups.tick(SOON)
    assert checkups.runs == 2
    assert checkups.states == []


def test_a_fault_raises_an_alert_and_its_fix_a_recovery_within_the_hour(checkups: Checkups) -> None:
    checkups.tick()
    checkups.findings = [WELL, ACK]
    checkups.tick(SOON)
    checkups.tick(SOON)
    assert checkups.states == ["firing"]
    checkups.findings = [WELL]
    checkups.tick(SOON)
    assert checkups.states == ["firing", "recovered"]
    checkups.tick(DAILY)
    assert checkups.states == ["firing", "recovered"]


def test_a_crash_at_any_step_loses_nothing_and_a_second_tick_repeats_nothing(tmp_path: Path) -> None:
    for steps in range(8):
        checkups = Checkups(SQLiteStore(str(tmp_path / f"{steps}.sqlite")))
        checkups.tick()
        checkups.findings = [ACK]
        checkups.calls.left = steps
        try:
            checkups.tick(SOON)
        except Crash:
            checkups.tick()
        checkups.calls.left = None
        checkups.tick()
        Relay(checkups.store, checkups.bus, checkups.clock).send_pending()
        assert len({message.key for message in checkups.bus.taken}) == 1, steps


def wired(folder: Path, clock: ManualClock) -> Wiring:
    """The real wiring over the files of a folder."""
    environ = {
        "PHASEGATE_PIPELINES": "shop.yaml",
        "PHASEGATE_WAREHOUSE": f"duckdb:{folder / 'w.duckdb'}",
        "PHASEGATE_STATE": f"sqlite:{folder / 's.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    return Wiring(Settings.resolve({}, environ, folder), clock=clock)


def test_a_tick_runs_the_checkup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over the real wiring: a table that no pipeline file names appears, and raises an alert on the console."""
    (tmp_path / "shop.yaml").write_text(FILE)
    with duckdb.connect(str(tmp_path / "w.duckdb")) as con:
        con.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (day DATE, id VARCHAR); CREATE TABLE raw.strange (x INT)")
    clock = ManualClock(START)
    wiring = wired(tmp_path, clock)
    wiring.tick.run()
    clock.advance(SOON)
    wiring.tick.run()
    assert "dataset raw: no pipeline file names raw.strange" in capsys.readouterr().err


def test_people_are_told_once_that_a_history_is_not_adopted_where_a_route_takes_info(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over the real wiring, for two days: adopted in time, nobody is told; not adopted, they are told once, with the command."""
    for name, routes, is_adopted, notices in (
        ("info", "[{to: [screen]}]", False, 1),
        ("no_info", "[{severity: critical, to: [screen]}, {severity: warning, to: [screen]}]", False, 0),
        ("adopted", "[{to: [screen]}]", True, 0),
    ):
        folder = tmp_path / name
        folder.mkdir()
        file = FILE.replace("[{to: [screen]}]", routes)
        (folder / "shop.yaml").write_text(file.replace("  raw:\n", "  raw:\n    due: 06:00 +1d\n"))
        with duckdb.connect(str(folder / "w.duckdb")) as con:
            con.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (day DATE, id VARCHAR)")
            con.execute("INSERT INTO raw.orders SELECT date '2026-01-01' + range::int, range FROM range(70)")
        clock = ManualClock(START)
        wiring = wired(folder, clock)
        wiring.tick.run()
        if is_adopted:
            (pipeline,) = wiring.pipelines
            span = parse_range("2026-01-01..2026-03-01", pipeline, now=START)
            adopt(
                pipeline, pipeline.phases, span, warehouse=wiring.warehouse, known={}, store=wiring.store, now=START, by="ann",
            )  # fmt: skip
        for _ in range(48):
            clock.advance(SOON)
            wiring.tick.run()
        shown = capsys.readouterr().err
        assert shown.count("history of shop: not adopted") == notices, name
        assert shown.count("phasegate adopt --pipeline shop") == notices, name
        assert "2026-02" not in shown, "nothing is said about the past"
