"""A shop's installation on one machine, with every kind of gate, incident and message that commands print."""

import io
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.core.gates.completion import Envelope
from phasegate.logs import silent
from phasegate.ports import Change, Outgoing, Rejected
from phasegate.testing import ManualClock

from tests.cli.test_actions import Done, run

PIPELINE = """\
pipeline: shop
timezone: Europe/Berlin
calendar: {from: 2026-01-01, closed: [2026-03-06]}
phases:
  raw:
    producers:
      orders_loader: {fills: raw.orders}
      stock_loader: {fills: raw.stock, optional: true}
    due: 06:00 +1d
    quorum: {at_least: 1, of: 2, always: [raw.orders]}
    outputs:
      raw.orders:
        date: day
        key: [id]
        checks:
          - row_count: {between: [9, 11], acceptable: [7, 12], weight: 3}
          - in_range: {column: price, min: 0, max: 100, severity: warn}
          - accepted_values: {column: shop, values: [Berlin, Paris], mode: observe}
      raw.stock: {date: day}
  clean:
    after: [raw]
    producers:
      cleaner: {fills: clean.orders}
    due: 1h after raw
    outputs:
      clean.orders: {date: day, checks: [row_count: {per: raw.orders, between: [1, 1]}]}
  report:
    after: [clean]
    due: 1h after clean
    look_back: 2d
    outputs:
      mart.report: {date: day, may_be_empty: true, checks: [not_null: {columns: [total]}]}
alerts:
  destinations:
    team: {kind: eml, to: [team@example.com]}
    hook: {kind: webhook, webhook: secret://hook}
  routes:
    - {severity: critical, to: [team, hook]}
    - {severity: warning, to: [team]}
"""

TABLES = """
CREATE SCHEMA raw; CREATE SCHEMA clean; CREATE SCHEMA mart;
CREATE TABLE days AS SELECT CAST(range AS DATE) AS day FROM range(DATE '2026-01-01', DATE '2026-03-10', INTERVAL 1 DAY);
CREATE TABLE raw.orders AS
    SELECT day, day || '-' || n AS id, 10.0 * n AS price, 'Berlin' AS shop FROM days, range(1, 11) AS numbers(n);
CREATE TABLE raw.stock AS SELECT day, 3 AS items FROM days;
-- Four stretches without rows, one short day that is acceptable, and one that is not.
DELETE FROM raw.orders WHERE day BETWEEN '2026-01-05' AND '2026-01-07' OR day IN ('2026-01-12', '2026-02-10', '2026-02-12');
DELETE FROM raw.orders WHERE day = '2026-02-20' AND price > 80 OR day IN ('2026-03-03', '2026-03-05') AND price > 50;
UPDATE raw.orders SET price = 250, shop = 'Rome' WHERE day IN ('2026-02-21', '2026-03-03') AND price = 10;
CREATE TABLE clean.orders AS SELECT * FROM raw.orders;
DELETE FROM raw.orders WHERE day IN ('2026-03-04', '2026-03-08');
DELETE FROM raw.stock WHERE day IN ('2026-03-07', '2026-03-08');
CREATE TABLE mart.report AS SELECT day FROM days;
DROP TABLE days
"""

NOW = datetime(2026, 3, 10, 4, 30, tzinfo=UTC)
"""When the commands of the tests run: 05:30 in Berlin, half an hour before raw of 9 March is due."""


class Shop:
    """The installation, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOW)

    def run(self, *args: str, typed: str = "") -> Done:
        """A command; *typed* is what a person types."""
        return run(self.folder, *args, typed=typed, clock=self.clock)

    def at(self, day: int, hour: int, minute: int = 0) -> None:
        """Move the clock to a time in March."""
        self.clock.set(datetime(2026, 3, day, hour, minute, tzinfo=UTC))

    def tick(self) -> Wiring:
        """What the scheduler does once a minute; gives what it was done with."""
        wiring = Wiring(Settings.resolve({}, SETTINGS, self.folder), clock=self.clock, log=silent)
        wiring.tick.run()
        return wiring

    def complete(self, phase: str, day: int, producer: str, *options: str) -> None:
        """A report that came ten minutes after its run had begun."""
        started = (self.clock.now() - timedelta(minutes=10)).isoformat()
        done = self.run("complete", phase, f"2026-03-{day:02}", "--producer", producer, "--started", started, *options)
        assert done.returncode in (0, 1, 3), done.stderr

    def change_table(self, statement: str) -> None:
        """Change the warehouse."""
        with duckdb.connect(str(self.folder / "tables.duckdb")) as connection:
            connection.execute(statement)


SETTINGS = {
    "PHASEGATE_PIPELINES": "shop.yaml",
    "PHASEGATE_WAREHOUSE": "duckdb:tables.duckdb",
    "PHASEGATE_STATE": "sqlite:state.sqlite",
    "PHASEGATE_BUS": "local:",
}


@contextmanager
def opened(folder: Path) -> Iterator[Shop]:
    """A shop in a folder, as its last week has left it."""
    (folder / "shop.yaml").write_text(PIPELINE)
    # The functions' log goes to standard output, which is of no interest here.
    with chdir(folder), redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        shop = Shop(folder)
        shop.change_table(TABLES)
        _week(shop)
        shop.clock.set(NOW)
        yield shop


def _week(shop: Shop) -> None:
    """From 2 to 9 March: each date ends in another state."""
    why = ("--by", "ann", "--reason")

    shop.at(1, 12)
    shop.tick()
    shop.run("pause", "raw", *why, "the warehouse moves", "--until", "7d")
    shop.at(2, 12)
    shop.run("resume", "raw", "--by", "bob", "--reason", "it has moved")

    # 2 March: released twice, so clean is stale and the report, which looks back on it, would be.
    shop.at(3, 2)
    shop.complete("raw", 2, "orders_loader", "--rows", "10")
    shop.complete("raw", 2, "stock_loader", "--rows", "1")
    shop.at(3, 3)
    shop.complete("clean", 2, "cleaner")
    shop.at(3, 3, 30)
    shop.complete("report", 2, "report")
    shop.change_table("UPDATE raw.orders SET id = id || 'b' WHERE day = '2026-03-02'")
    shop.at(3, 4)
    shop.complete("raw", 2, "orders_loader", "--rows", "12")

    # 3 March: half of the orders. 4 March: none, and nobody will find them. 5 March: half, which is let through.
    shop.at(4, 2)
    shop.complete("raw", 3, "orders_loader", "--rows", "5", "--run-id", "r-3")
    shop.complete("raw", 3, "stock_loader")
    shop.at(5, 2)
    shop.complete("raw", 4, "orders_loader", "--status", "failed", "--error", "the [source]\x1b[2J is down")
    shop.at(5, 9)
    shop.run("accept-gap", "raw", "2026-03-04", *why, "lost at the source", "--owner", "bob", "--until", "2026-12-31")
    shop.at(6, 2)
    shop.complete("raw", 5, "orders_loader")
    shop.complete("raw", 5, "stock_loader")
    shop.at(6, 8)
    check = ("--check", "raw.orders.row_count")
    shop.run("override", "raw", "2026-03-05", *check, *why, "a quiet day", "--until", "30d")
    shop.at(6, 8, 30)
    shop.complete("clean", 5, "cleaner")
    shop.run("hold", "clean", "2026-03-05", *why, "being compared", "--until", "2026-03-31")
    shop.at(6, 9)
    shop.complete("report", 5, "report")

    # 6 March: closed. 7 March: no stock, released by the quorum. 8 March: nothing. 9 March: not due yet.
    shop.at(7, 2)
    shop.complete("raw", 6, "orders_loader")
    shop.at(8, 2)
    shop.complete("raw", 7, "orders_loader")
    shop.at(9, 8)
    wiring = shop.tick()
    wiring.monitor.handle(Envelope("m-17", b'{"phase": "rwa", "run_date": "2026-03-08"}', {"origin": "cron"}))
    wiring.monitor.relay()
    incident = next(
        each for each in wiring.alerts.incidents.still_open() if each.subject == "raw" and each.cause == "checks_failed"
    )
    wiring.alerts.incidents.acknowledge(incident.key, by="ann", note="the [source] is asked")
    shop.run("silence", "--match", "phase=clean,cause=late_failure", *why, "moving", "--until", "7d")
    shop.at(10, 2)
    shop.complete("raw", 9, "stock_loader")
    shop.run("pause", "report", *why, "a new layout", "--until", "2026-03-12")
    shop.at(10, 4, 29)
    shop.tick()
    _stuck(SQLiteStore(str(shop.folder / "state.sqlite")), shop.clock.now())


def _stuck(store: SQLiteStore, now: datetime) -> None:
    """Two messages that the bus has not taken, one of them for good, and one that nobody could be given."""
    entries = [Outgoing(key, "events", {"key": key}, {}) for key in ("late", "refused")]
    store.commit(Change(handled="m-18", outbox=tuple(entries)))
    store.mark_failed("late", "the bus is down", now + timedelta(hours=1))
    store.mark_failed("refused", "it is too large", None)
    undelivered = Rejected("m-19", now, "given up after 20 attempts", "{}", {}, source="phasegate-ticks")
    store.commit(Change(handled="m-19", rejected=undelivered))
