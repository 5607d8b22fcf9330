"""The contract of every state store and outbox."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from phasegate.adapters.local import LocalBus
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.checks.base import CheckResult, Mode, Outcome, Severity
from phasegate.core.checks.metrics import Fault, Unmeasured
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import AcceptGap, PutHold, Waive
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.gate import AcceptedGap, Alert, AlertState, Gate, GateState, Hold, Override, Reason, Retries
from phasegate.core.gates.verdict import Fingerprint, Verdict
from phasegate.core.pipeline.model import AlertSeverity, Calendar, Output, Phase, Pipeline
from phasegate.errors import Conflict, StateError
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import Pauses, pause_history, paused
from phasegate.ports import ADDED_AT_ONCE, Change, Event, Outgoing, Record, Rejected, Store
from phasegate.testing import ManualClock, ScriptedWarehouse

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 6, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RUN = RunKey("shop", "raw", DAY)


def message(key: str, **body: Any) -> Outgoing:
    """A message for the outbox."""
    return Outgoing(key, "alerts", {"key": key, **body}, {"key": key})


def event(rule: str, run: RunKey = RUN) -> Event:
    """An entry of the history."""
    return Event(run, NOW, rule, GateState.HELD, Reason.CHECKS_FAILED, "detail", 1, 66.7, "m1", "hold: why")


def rejected(message_id: str, reason: str = "no run_date given") -> Rejected:
    """An invalid message."""
    return Rejected(message_id, NOW, reason, "\x00 ünïcode \ufffd", {"a": "b"}, NOW - MINUTE, "phasegate-shop-raw-complete")


def loaded(store: Store, run: RunKey = RUN) -> Gate:
    """The stored gate, or a new one."""
    return store.load(run.pipeline, Span(run.run_date, run.run_date)).get(run.run_date, {}).get(run.phase, Gate(run))


def keys(store: Store, now: datetime = NOW + timedelta(days=1), limit: int = 100) -> list[str]:
    """The keys of pending messages, in order."""
    return [entry.message.key for entry in store.pending(now, limit)]


def everything(store: Store) -> tuple[Any, ...]:
    """Everything that a store can read."""
    span = Span(date(2000, 1, 1), date(2100, 1, 1))
    return store.load("shop", span), store.pending(NOW, 99), store.parked(), store.history(RUN), store.rejected(99)


FULL = Gate(
    run=RUN,
    state=GateState.OPEN,
    reason=Reason.QUORUM,
    detail="released without report.extra – «ü» \x00 \" '",
    since=NOW,
    reports={
        "orders": Report("orders", Status.PARTIAL, NOW, "r1", 2, NOW - MINUTE, NOW, 10**14, "c1", "disk\nfull"),
        "prices": Report("prices", Status.DONE, NOW),
    },
    generation=3,
    opened_at=NOW,
    consumed={"up": 2},
    fingerprint={"raw.orders": Fingerprint(10, 2**60 - 1, "a", "b")},
    score=66.7,
    verdict=Verdict.ACCEPTABLE,
    results=(
        CheckResult("a", "row_count", "t", Severity.WARN, Mode.OBSERVE, 0.5, Outcome.FAILED, 0.1 + 0.2, "e", "m"),
        CheckResult("b", "unique", "t", Severity.BLOCK, Mode.ENFORCE, 1.0, Outcome.PASSED, 2**60, "e", "m"),
        CheckResult("c", "sql", "t", Severity.BLOCK, Mode.ENFORCE, 1.0, Outcome.ACCEPTABLE, "12", "e", "m"),
        CheckResult(
            "d", "x", "t", Severity.BLOCK, Mode.ENFORCE, 1.0, Outcome.NOT_EVALUATED, None, "e", "m", Unmeasured(Fault.SQL, "r")
        ),
    ),
    rows={"t": 0, "u": 5},
    degraded=True,
    missing=("report.extra",),
    overrides=(Override(("a", "b"), "ann", "why", NOW, NOW + MINUTE),),
    gap=AcceptedGap("bob", "why", NOW, NOW + MINUTE, "cem"),
    hold=Hold("dee", "why", NOW, NOW + MINUTE),
    alert=Alert(
        "k", RUN, AlertSeverity.CRITICAL, AlertState.FIRING, Reason.QUORUM, ("a",), GateState.HELD, "d", ("e", "f"), "eff", NOW, NOW
    ),
    unproven=True,
    first_report_at=NOW,
    rerun=("a",),
    flaw=GateState.SETTLING,
    orphaned=True,
    retries=Retries(3, NOW, NOW, answered=False, given_up=True),
)  # fmt: skip


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert everything(store) == ({}, [], [], [], [])
    assert store.latest("shop") is None
    store.mark_sent(["unknown"], NOW)
    store.mark_failed("unknown", "x", NOW)
    assert everything(store) == ({}, [], [], [], [])


def test_a_gate_is_loaded_as_it_was_stored(store: Store) -> None:
    """Every field, with the next version."""
    defaults = Gate(RUN)
    same = [f.name for f in fields(Gate) if getattr(FULL, f.name) == getattr(defaults, f.name)]
    assert same == ["run", "version", "unreadable"], "the example sets every field that is stored"
    assert store.commit(Change(FULL)) is True
    assert loaded(store) == replace(FULL, version=1)
    assert store.commit(Change(loaded(store))) is True
    assert loaded(store) == replace(FULL, version=2)


def test_a_commit_writes_the_whole_change(store: Store) -> None:
    change = Change(Gate(RUN), {}, "m1", (message("a", n=[1, {"b": None}]), message("b")), event("rule"), rejected("m1"))
    assert store.commit(change) is True
    assert loaded(store).version == 1
    assert [entry.message for entry in store.pending(NOW, 9)] == list(change.outbox)
    assert [(entry.attempts, entry.error) for entry in store.pending(NOW, 9)] == [(0, ""), (0, "")]
    assert store.history(RUN) == [change.event]
    assert store.rejected(9) == [change.rejected]


def test_new_gates_are_added_with_the_first_entry_of_their_history(store: Store) -> None:
    other = replace(RUN, phase="other")
    store.commit(Change(Gate(RUN, state=GateState.HELD), event=event("first")))
    kept = loaded(store)
    new = [(replace(FULL, run=run), replace(event("adopted"), run=run)) for run in (RUN, other)]
    assert store.add(new) == [other]
    assert loaded(store) == kept
    assert [line.rule for line in store.history(RUN)] == ["first"]
    added = store.load("shop", Span(RUN.run_date, RUN.run_date))[RUN.run_date]["other"]
    assert added == replace(FULL, run=other, version=1)
    assert [line.rule for line in store.history(other)] == ["adopted"]
    assert store.add(new) == []
    assert [line.rule for line in store.history(other)] == ["adopted"]
    assert store.pending(NOW, 9) == []


def test_as_many_gates_as_a_write_takes_are_added_at_once(store: Store) -> None:
    days = [RUN.run_date - timedelta(days=n) for n in range(ADDED_AT_ONCE)]
    new = [(Gate(replace(RUN, run_date=day)), replace(event("adopted"), run=replace(RUN, run_date=day))) for day in days]
    assert len(store.add(new)) == ADDED_AT_ONCE
    assert len(store.load("shop", Span(days[-1], days[0]))) == ADDED_AT_ONCE


def test_a_gate_that_others_rest_on_but_that_does_not_exist_can_be_added(store: Store) -> None:
    """A commit that rests on the absence of a gate may leave a trace of it in the store."""
    other = replace(RUN, phase="other")
    store.commit(Change(Gate(RUN), related_versions={other: 0}))
    assert store.add([(Gate(other), replace(event("adopted"), run=other))]) == [other]


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_changed_gate_is_a_conflict_and_nothing_is_written(store: Store, version: int) -> None:
    store.commit(Change(Gate(RUN)))
    store.commit(Change(loaded(store)))
    before = everything(store)
    late = Change(Gate(RUN, version=version, state=GateState.OPEN), {}, "m1", (message("a"),), event("rule"), rejected("m1"))
    with pytest.raises(Conflict) as caught:
        store.commit(late)
    assert caught.value.retryable
    assert everything(store) == before
    assert store.commit(replace(late, gate=loaded(store))) is True, "the message still counts as not handled"


@pytest.mark.parametrize(
    ("stored", "read", "fits"), [(0, 0, True), (0, 1, False), (1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True)]
)
def test_related_gates_must_not_have_changed(store: Store, stored: int, read: int, fits: bool) -> None:
    """Version 0 is a gate that did not exist."""
    other = replace(RUN, phase="stock")
    for _ in range(stored):
        store.commit(Change(loaded(store, other)))
    before = everything(store)
    change = Change(Gate(RUN), {other: read}, "m1", (message("a"),), event("rule"), rejected("m1"))
    if fits:
        assert store.commit(change) is True
        assert loaded(store, other).version == stored, "a related gate is compared, not written"
    else:
        with pytest.raises(Conflict):
            store.commit(change)
        assert everything(store) == before


def test_commit_refuses_a_message_it_has_handled(store: Store) -> None:
    """The second commit of one message changes nothing and says so, even when its gate has changed since."""
    change = Change(Gate(RUN), {}, "m1", (message("a"),), event("rule"))
    assert store.commit(change) is True
    before = everything(store)
    assert store.commit(change) is False
    assert store.commit(Change(loaded(store), {}, "m1", (message("b"),), event("other"), rejected("m1"))) is False
    assert store.commit(Change(handled="m1")) is False
    assert everything(store) == before


def test_a_message_without_a_change_is_handled_once(store: Store) -> None:
    assert [store.commit(Change(handled=m)) for m in ("m1", "m1", "m2", "m2")] == [True, False, True, False]
    assert everything(store) == ({}, [], [], [], [])


def test_gates_are_loaded_by_span(store: Store) -> None:
    """Both ends included, of one pipeline, by date and phase; dates without any are absent."""
    for run in (
        *(RunKey("shop", "raw", DAY + timedelta(days=n)) for n in (-2, -1, 0, 1, 2)),
        RunKey("shop", "clean", DAY),
        RunKey("other", "raw", DAY),
    ):
        store.commit(Change(Gate(run)))
    found = store.load("shop", Span(DAY - timedelta(days=1), DAY + timedelta(days=1)))
    assert {day: set(gates) for day, gates in found.items()} == {
        DAY - timedelta(days=1): {"raw"},
        DAY: {"raw", "clean"},
        DAY + timedelta(days=1): {"raw"},
    }
    assert all(gate.run == RunKey("shop", phase, day) for day, gates in found.items() for phase, gate in gates.items())
    assert store.load("shop", Span(DAY + timedelta(days=9), DAY + timedelta(days=99))) == {}
    assert store.load("none", Span(DAY, DAY)) == {}


def test_gates_that_await_a_tick_are_found_at_any_age(store: Store) -> None:
    """Newest first, of one pipeline, before a date; without settled gates, and without placeholders of related ones."""
    days = [DAY - timedelta(days=n) for n in range(5)]
    for day in days:
        store.commit(Change(Gate(RunKey("shop", "raw", day), state=GateState.HELD)))
    store.commit(Change(Gate(RunKey("other", "raw", DAY), state=GateState.HELD)))
    settled, related_versions = RunKey("shop", "raw", days[2]), RunKey("shop", "clean", days[3])
    gate = store.load("shop", Span(days[2], days[2]))[days[2]]["raw"]
    store.commit(Change(replace(gate, state=GateState.OPEN), {related_versions: 0}))
    assert [gate.run for gate in store.awaiting_clock("shop", DAY, 9)] == [RunKey("shop", "raw", days[n]) for n in (1, 3, 4)]
    assert [gate.run.run_date for gate in store.awaiting_clock("shop", days[1], 1)] == [days[3]]
    doubted = replace(loaded(store, settled), unproven=True)
    store.commit(Change(doubted))
    assert settled in [gate.run for gate in store.awaiting_clock("shop", DAY, 9)]


def test_latest_is_the_newest_run_date_of_a_pipeline(store: Store) -> None:
    for run in (RUN, replace(RUN, run_date=DAY - timedelta(days=400)), RunKey("other", "raw", DAY + timedelta(days=1))):
        store.commit(Change(Gate(run)))
    assert (store.latest("shop"), store.latest("other"), store.latest("none")) == (DAY, DAY + timedelta(days=1), None)


def test_history_is_oldest_first_for_each_gate(store: Store) -> None:
    other = replace(RUN, phase="clean")
    for n in range(12):
        store.commit(Change(loaded(store), event=event(f"rule {n}")))
        store.commit(Change(loaded(store, other), event=event(f"other {n}", other)))
    assert [e.rule for e in store.history(RUN)] == [f"rule {n}" for n in range(12)]
    assert [e.rule for e in store.history(other)] == [f"other {n}" for n in range(12)]


def test_rejected_messages_are_newest_first(store: Store) -> None:
    for n in range(5):
        at = NOW + n * MINUTE
        store.commit(Change(handled=f"m{n}", rejected=replace(rejected(f"m{n}"), at=at)))
    assert [r.message_id for r in store.rejected(3)] == ["m4", "m3", "m2"]
    assert store.rejected(9)[-1] == rejected("m0")


def test_pending_entries_are_in_the_order_of_their_commits(store: Store) -> None:
    for n in range(3):
        store.commit(Change(handled=f"m{n}", outbox=(message(f"b{n}"), message(f"a{n}"))))
    assert keys(store) == ["b0", "a0", "b1", "a1", "b2", "a2"]
    assert keys(store, limit=3) == ["b0", "a0", "b1"]


def test_a_failed_entry_waits_for_its_next_attempt(store: Store) -> None:
    store.commit(Change(outbox=(message("a"), message("b"))))
    store.mark_failed("a", "the bus is silent", NOW + MINUTE)
    assert keys(store, NOW) == ["b"]
    assert keys(store, NOW + MINUTE - timedelta(microseconds=1)) == ["b"]
    assert keys(store, NOW + MINUTE) == ["a", "b"]
    assert [(e.attempts, e.error) for e in store.pending(NOW + MINUTE, 9)] == [(1, "the bus is silent"), (0, "")]
    store.mark_failed("a", "still", NOW + 2 * MINUTE)
    assert [(e.attempts, e.error) for e in store.pending(NOW + 2 * MINUTE, 1)] == [(2, "still")]


def test_a_postponed_entry_waits_without_an_attempt_and_keeps_its_place(store: Store) -> None:
    store.commit(Change(outbox=(message("a"), message("b"), message("c"), message("d"))))
    store.mark_sent(["c"], NOW)
    store.mark_failed("d", "there is no such topic", None)
    store.postpone(["b", "a", "c", "d", "none"], NOW + MINUTE)
    assert keys(store, NOW) == []
    assert keys(store, NOW + MINUTE) == ["a", "b"]
    assert [(e.attempts, e.error) for e in store.pending(NOW + MINUTE, 9)] == [(0, ""), (0, "")]
    assert [entry.message.key for entry in store.parked()] == ["d"]


def test_a_whole_second_is_not_later_than_the_same_with_decimals(store: Store) -> None:
    whole = NOW.replace(microsecond=0)
    store.commit(Change(outbox=(message("a"),)))
    store.mark_failed("a", "x", whole)
    assert keys(store, whole) == ["a"]
    assert keys(store, whole + timedelta(microseconds=1)) == ["a"]
    assert keys(store, whole - timedelta(microseconds=1)) == []


def test_a_parked_entry_is_stored_and_has_no_next_attempt(store: Store) -> None:
    store.commit(Change(outbox=(message("a"), message("b"))))
    store.mark_failed("a", "no such topic", None)
    assert keys(store) == ["b"]
    assert [(e.message, e.attempts, e.error) for e in store.parked()] == [(message("a"), 1, "no such topic")]


def test_an_entry_may_be_marked_as_sent_twice(store: Store) -> None:
    store.commit(Change(outbox=(message("a"), message("b"), message("c"))))
    store.mark_sent(["a"], NOW)
    store.mark_sent(["a", "b"], NOW + MINUTE)
    store.mark_sent([], NOW)
    assert keys(store) == ["c"]
    assert store.parked() == []


@pytest.mark.parametrize("again", [NOW, None])
def test_a_sent_entry_stays_sent(store: Store, again: datetime | None) -> None:
    """Two processes may send one entry; a failure of the second must neither retry nor park it."""
    store.commit(Change(outbox=(message("a"),)))
    store.mark_sent(["a"], NOW)
    store.mark_failed("a", "the bus is silent", again)
    assert (keys(store), store.parked()) == ([], [])


def test_a_parked_entry_that_is_sent_is_no_longer_parked(store: Store) -> None:
    store.commit(Change(outbox=(message("a"),)))
    store.mark_failed("a", "no such topic", None)
    store.mark_sent(["a"], NOW)
    assert (keys(store), store.parked()) == ([], [])


def together(count: int, work: Callable[[int], Any]) -> Sequence[Any]:
    """Do something in several threads at the same time."""
    start = threading.Barrier(count)

    def one(n: int) -> Any:
        start.wait()
        return work(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_contended_commits_lose_nothing(store: Store) -> None:
    """8 threads write one gate 25 times each, and load it again after a conflict."""

    def work(thread: int) -> None:
        for n in range(25):
            while True:
                gate = loaded(store)
                change = Change(
                    replace(gate, generation=gate.generation + 1),
                    {},
                    f"m{thread}-{n}",
                    (message(f"k{thread}-{n}"),),
                    event("r"),
                )
                try:
                    assert store.commit(change) is True
                    break
                except Conflict:
                    continue

    together(8, work)
    assert (loaded(store).version, loaded(store).generation) == (200, 200)
    assert len(set(keys(store, limit=999))) == 200
    assert len(store.history(RUN)) == 200


def test_a_message_in_several_threads_is_handled_once(store: Store) -> None:
    def work(_: int) -> bool:
        try:
            return store.commit(Change(Gate(RUN), {}, "m1", (message("a"),), event("rule")))
        except Conflict:
            return False

    assert sum(together(8, work)) == 1
    assert (loaded(store).version, keys(store), len(store.history(RUN))) == (1, ["a"], 1)


def incident(key: str, version: int = 0, **more: Any) -> Record:
    """A record."""
    return Record("incident", key, {"n": [1, None, "ü\x00"]}, version, **more)


def test_records_are_found_by_key_within_their_kind(store: Store) -> None:
    whole = incident("a/b", due=NOW, expires=NOW + MINUTE)
    store.commit(Change(records=(whole, incident("c"), Record("pause", "a/b", {}))))
    assert store.find("incident", ["a/b", "none", "c"]) == {
        "a/b": replace(whole, version=1),
        "c": incident("c", 1),
    }
    assert store.find("pause", ["a/b", "c"]) == {"a/b": Record("pause", "a/b", {}, 1)}
    assert store.find("incident", []) == {}


def test_a_record_is_replaced_as_a_whole(store: Store) -> None:
    """Also its times: without a due time it is no longer due, and a live record does not expire."""
    store.commit(Change(records=(incident("a", due=NOW, expires=NOW),)))
    store.commit(Change(records=(Record("incident", "a", {"b": 1}, 1),)))
    assert store.find("incident", ["a"]) == {"a": Record("incident", "a", {"b": 1}, 2)}
    assert store.due("incident", NOW, 9) == []
    assert store.live("incident") == [Record("incident", "a", {"b": 1}, 2)]


@pytest.mark.parametrize("version", [0, 2])
def test_a_changed_record_is_a_conflict_and_nothing_is_written(store: Store, version: int) -> None:
    store.commit(Change(records=(incident("a"),)))
    before = everything(store)
    with pytest.raises(Conflict):
        store.commit(Change(Gate(RUN), {}, "m1", (message("x"),), event("r"), None, (incident("b"), incident("a", version))))
    assert everything(store) == before
    assert store.find("incident", ["a", "b"]) == {"a": incident("a", 1)}


def test_live_records_are_ordered_by_key(store: Store) -> None:
    times = {"b": None, "a": None, "gone": NOW, "c": None}
    store.commit(Change(records=tuple(incident(key, expires=expires) for key, expires in times.items())))
    store.commit(Change(records=(Record("pause", "aa", {}),)))
    assert [record.key for record in store.live("incident")] == ["a", "b", "c"]
    assert store.live("none") == []


def test_due_records_are_longest_due_first(store: Store) -> None:
    """A record that expires may still be due."""
    second = timedelta(seconds=1)
    store.commit(
        Change(
            records=(
                incident("now", due=NOW),
                incident("later", due=NOW + timedelta(microseconds=1)),
                incident("before", due=NOW.replace(microsecond=0), expires=NOW),
                incident("long ago", due=NOW - second),
                incident("never"),
                Record("pause", "other", {}, due=NOW),
            )
        )
    )
    assert [record.key for record in store.due("incident", NOW, 9)] == ["long ago", "before", "now"]
    assert [record.key for record in store.due("incident", NOW, 1)] == ["long ago"]


def test_a_record_is_due_at_its_moment_whatever_its_zone(store: Store) -> None:
    """An end that a person gives as a day is in the pipeline's zone."""
    second = timedelta(seconds=1)
    for name, zone in (("east", timezone(timedelta(hours=9))), ("west", timezone(timedelta(hours=-5)))):
        due, later = incident(name, due=NOW.astimezone(zone)), incident(f"{name} later", due=(NOW + second).astimezone(zone))
        store.commit(Change(records=(due, later)))
    assert sorted(record.key for record in store.due("incident", NOW, 9)) == ["east", "west"]
    assert len(store.due("incident", (NOW + second).astimezone(timezone(timedelta(hours=9))), 9)) == 4


def test_contended_records_lose_nothing(store: Store) -> None:
    """8 threads increment one record 10 times each, and read it again after a conflict."""

    def work(_: int) -> None:
        for _ in range(10):
            while True:
                known = store.find("count", ["a"]).get("a", Record("count", "a", {"n": 0}))
                try:
                    store.commit(Change(records=(replace(known, body={"n": known.body["n"] + 1}),)))
                    break
                except Conflict:
                    continue

    together(8, work)
    assert store.find("count", ["a"]) == {"a": Record("count", "a", {"n": 80}, 80)}


# -- SQLite -------------------------------------------------------------------------------------------------------------------


def test_a_reopened_file_has_everything(tmp_path: Path) -> None:
    path = str(tmp_path / "state.sqlite")
    first = SQLiteStore(path)
    first.commit(Change(FULL, {}, "m1", (message("a"), message("b"), message("c")), event("rule"), rejected("m1")))
    first.mark_failed("a", "x", NOW + MINUTE)
    first.mark_failed("b", "x", None)
    second = SQLiteStore(path)
    assert everything(second) == everything(first)
    assert loaded(second) == replace(FULL, version=1)
    assert second.commit(Change(handled="m1")) is False


def test_a_file_may_be_opened_concurrently(tmp_path: Path) -> None:
    """Also when it does not exist yet."""
    path = str(tmp_path / "new" / "state.sqlite")
    stores = together(8, lambda _: SQLiteStore(path))
    assert [found.commit(Change(handled=f"m{n}")) for n, found in enumerate(stores)] == [True] * 8


@pytest.mark.parametrize("path", ["{tmp}/file/state.sqlite", "{tmp}/folder", "{tmp}/file"])
def test_an_unusable_path_is_an_error_that_names_it(tmp_path: Path, path: str) -> None:
    """A file instead of a folder, a folder instead of the file, and a file of another format."""
    (tmp_path / "file").write_text("this is no database, but long enough to be looked at as one" * 50)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match=str(tmp_path)) as caught:
        SQLiteStore(path.format(tmp=tmp_path))
    assert not caught.value.retryable


def test_manual_actions_are_loaded_as_they_were_stored(store: Store) -> None:
    """On the gate, in its history, and a pause with the person who ended it."""
    shop = Pipeline(
        pipeline="shop", calendar=Calendar(from_=DAY), phases={"raw": Phase(outputs={"raw.orders": Output(date="d")})}
    )
    clock, sent = ManualClock(NOW), LocalBus()
    warehouse = ScriptedWarehouse({("raw.orders", DAY): 10})
    monitor = Monitor([shop], warehouse=warehouse, store=store, outbox=store, publisher=sent, clock=clock)
    monitor.act(RUN, AcceptGap("lost", NOW + MINUTE, "bob"), "ann")
    monitor.act(RUN, PutHold("a reload", NOW + MINUTE), "ann")
    monitor.act(RUN, Waive(("producers_missing",), "known", NOW + MINUTE), "ann")
    gate = loaded(store)
    assert gate.hold == Hold("ann", "a reload", NOW, NOW + MINUTE)
    assert gate.gap == AcceptedGap("ann", "lost", NOW, NOW + MINUTE, "bob")
    assert gate.overrides == (Override(("producers_missing",), "ann", "known", NOW, NOW + MINUTE),)
    assert [(event.trigger, event.act) for event in store.history(RUN)] == [
        ("by hand: ann", "gap accepted until 2026-03-03 06:01 UTC, owner: bob: lost"),
        ("by hand: ann", "hold until 2026-03-03 06:01 UTC: a reload"),
        ("by hand: ann", "override of producers_missing until 2026-03-03 06:01 UTC: known"),
    ]
    pauses = Pauses(store, clock)
    put = pauses.pause(shop, "raw", by="ann", why="the warehouse moves", until=NOW + MINUTE)
    assert paused(store, "shop", "raw", NOW) == put
    clock.advance(MINUTE / 2)
    ended = pauses.resume(shop, "raw", by="bob", why="it has moved")
    assert paused(store, "shop", "raw", clock.now()) is None
    assert pause_history(store, "shop", "raw") == [ended]
    assert (ended.ended_by, ended.ended_at) == ("bob", NOW + MINUTE / 2)
