"""Rerun requests through the whole monitor: requests, budget, breaker, giving up."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import Gate, GateState
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline, Retry
from phasegate.gates.heartbeat import Heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.rerun_requests import BREAKER, BUDGET
from phasegate.gates.tick import Tick
from phasegate.testing import Countdown, Crash, Crashing, ManualClock, ScriptedWarehouse

from tests.flow.test_monitor import Bus

FIRST = date(2020, 1, 1)
START = datetime(2026, 3, 3, 6, tzinfo=UTC)
TODAY = date(2026, 3, 3)
MINUTE = timedelta(minutes=1)


class Shop:
    """One phase that reports failures, and a clock."""

    def __init__(self, **policy: Any) -> None:
        outputs = {"raw.a": Output(date="d", checks=(RowCount(at_least=10),))}
        retry = Retry(**{"first": 2 * MINUTE, "at_most": 30 * MINUTE, **policy})
        pipeline = Pipeline(
            pipeline="shop", calendar=Calendar(from_=FIRST), phases={"raw": Phase(outputs=outputs, retry=retry)}
        )
        self.clock, self.store, self.bus = ManualClock(START), SQLiteStore(":memory:"), Bus()
        self.warehouse = ScriptedWarehouse()
        self.pipeline = pipeline
        self.tick = self.ticking(self.store, self.bus)
        self.sent = 0

    def ticking(self, store: Any, bus: Any) -> Tick:
        """The tick of a newly started process."""
        self.monitor = Monitor(
            [self.pipeline],
            warehouse=self.warehouse,
            store=store,
            outbox=store,
            publisher=bus,
            clock=self.clock,
            chance=lambda: 0.5,
        )
        return Tick(self.monitor, store=store, records=store, clock=self.clock, heartbeats=Heartbeats(store, store))

    def report(self, day: date, status: str) -> None:
        self.sent += 1
        now = self.clock.now().isoformat()
        body = {
            "phase": "raw",
            "run_date": str(day),
            "status": status,
            "started_at": now,
            "finished_at": now,
            "error": "disk full",
        }
        self.monitor.handle(Envelope(f"m{self.sent}", json.dumps(body).encode(), {}))

    def done(self, day: date) -> None:
        self.warehouse.numbers["raw.a", day] = 10
        self.report(day, "done")

    def pass_(self, minutes: int) -> None:
        for _ in range(minutes):
            self.clock.advance(MINUTE)
            self.tick.run()

    @property
    def requests(self) -> list[str]:
        return [message.key for message in self.bus.taken if message.topic == "shop-raw-retry"]

    def gate(self, day: date) -> Gate:
        return self.store.load("shop", Span(day, day))[day]["raw"]


def test_a_failure_is_retried_until_exhausted_and_can_still_open() -> None:
    shop = Shop(attempts=2)
    shop.report(TODAY, "failed")
    for attempt in (2, 3):
        shop.pass_(3)
        assert shop.requests[-1] == f"shop/raw/{TODAY}/raw/retry-{attempt}"
        shop.report(TODAY, "failed")
        shop.pass_(1)
    assert shop.bus.alerts == [("producer_failed", "firing"), ("retries_spent", "firing")]
    alert = shop.bus.taken[-1]
    assert alert.body["detail"].startswith("retries exhausted after 2 rerun requests: raw reported that it failed")
    shop.pass_(120)
    assert len(shop.requests) == 2
    shop.done(TODAY)
    assert shop.gate(TODAY).state is GateState.OPEN
    assert shop.bus.alerts[2:] == [("producer_failed", "recovered"), ("retries_spent", "recovered")]


def test_a_request_has_producer_reason_and_time() -> None:
    shop = Shop()
    shop.report(TODAY, "failed")
    shop.pass_(1)
    (request,) = [message for message in shop.bus.taken if message.topic == "shop-raw-retry"]
    assert request.body == {
        "key": f"shop/raw/{TODAY}/raw/retry-2",
        "pipeline": "shop",
        "phase": "raw",
        "run_date": str(TODAY),
        "producer": "raw",
        "attempt": 2,
        "why": "raw reported that it failed: disk full",
        "not_before": "2026-03-03T06:01:00+00:00",
    }


def test_a_thousand_failures_stay_within_the_daily_budget() -> None:
    """Every third date is good, so the breaker does not open."""
    shop = Shop(budget_per_day=20)
    days = [TODAY - timedelta(days=n) for n in range(1500)]
    for n, day in enumerate(days):
        if n % 3:
            shop.report(day, "failed")
        elif n < 9:
            shop.done(day)
    shop.pass_(240)
    assert len(shop.requests) == 20
    shop.clock.set(START + timedelta(days=1))
    shop.pass_(60)
    assert len(shop.requests) == 40
    assert len(set(shop.requests)) == 40


def test_the_breaker_opens_and_closes() -> None:
    """After three failed dates in a row only the newest is retried; once that one is released the others are, too."""
    shop = Shop(at_most=5 * MINUTE)
    days = [TODAY - timedelta(days=n) for n in range(3)]
    for day in reversed(days):
        shop.report(day, "failed")
    shop.pass_(12)
    assert {key.split("/")[2] for key in shop.requests} == {str(TODAY)}
    assert ("retries_suspended", "firing") in shop.bus.alerts
    assert shop.bus.alerts.count(("retries_suspended", "firing")) == 1
    shop.done(TODAY)
    shop.pass_(12)
    assert shop.bus.alerts.count(("retries_suspended", "recovered")) == 1
    assert {key.split("/")[2] for key in shop.requests} == {str(day) for day in days}


def test_two_failed_dates_in_a_row_open_no_breaker() -> None:
    shop = Shop()
    for n in range(2):
        shop.report(TODAY - timedelta(days=n), "failed")
    shop.pass_(5)
    assert {key.split("/")[2] for key in shop.requests} == {str(TODAY - timedelta(days=n)) for n in range(2)}
    assert ("retries_suspended", "firing") not in shop.bus.alerts


DAYS = tuple(TODAY - timedelta(days=n) for n in range(3))


def failing() -> Shop:
    """Three dates in a row have failed; the next tick sends requests and opens the breaker."""
    shop = Shop(at_most=5 * MINUTE)
    for day in reversed(DAYS):
        shop.report(day, "failed")
    shop.clock.advance(2 * MINUTE)
    return shop


def final_state(shop: Shop) -> object:
    """The requests, the budget that they used, and the alerts."""
    budget = shop.store.find(BUDGET, [f"shop/raw/{TODAY}"])[f"shop/raw/{TODAY}"]
    breaker = shop.store.find(BREAKER, ["shop/raw"])["shop/raw"]
    gates = [shop.gate(day) for day in DAYS]
    alerts = {(m.body["cause"], m.body["state"], m.body.get("run_date")) for m in shop.bus.taken if m.topic == "alerts"}
    return (
        set(shop.requests),
        budget.body,
        breaker.body["run_date"],
        [(g.state, g.retries and g.retries.asked) for g in gates],
        alerts,
    )


def test_a_tick_that_dies_at_any_point_sends_each_request_once() -> None:
    undisturbed = failing()
    undisturbed.tick.run()
    undisturbed.tick.run()
    assert final_state(undisturbed)[:2] == ({f"shop/raw/{TODAY}/raw/retry-2"}, {"used": 1})  # type: ignore[index]
    point, died = 0, True
    while died:
        shop, calls = failing(), Countdown(point)
        try:
            shop.ticking(Crashing(shop.store, calls), Crashing(shop.bus, calls)).run()
            died = False
        except Crash:
            pass
        shop.ticking(shop.store, shop.bus).run()
        shop.ticking(shop.store, shop.bus).run()
        assert final_state(shop) == final_state(undisturbed), point
        point += 1
    assert point > 30


def test_two_overlapping_ticks_send_each_request_once() -> None:
    """The second one sends its requests just after the first has read the budget."""
    undisturbed, shop = failing(), failing()
    undisturbed.tick.run()
    undisturbed.tick.run()
    other = shop.ticking(shop.store, shop.bus)

    class Interrupted:
        """A store in which the other tick runs right after the budget was first read."""

        met = False

        def __getattr__(self, name: str) -> Any:
            verb = getattr(shop.store, name)

            def call(*args: Any) -> Any:
                result = verb(*args)
                if name == "find" and args[0] == BUDGET and not self.met:
                    self.met = True
                    other.run()
                return result

            return call

    store = Interrupted()
    shop.ticking(store, shop.bus).run()
    assert store.met
    shop.tick.run()
    assert final_state(shop) == final_state(undisturbed)
    assert len(shop.requests) == len(set(shop.requests))
