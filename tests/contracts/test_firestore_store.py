"""The Firestore store, beyond the contract of every state store."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import Client
from google.cloud.firestore_v1.types import StructuredQuery
from phasegate.adapters.state import firestore
from phasegate.adapters.state.firestore import FirestoreStore
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GateState, Reason
from phasegate.errors import Conflict, StateError
from phasegate.ports import Change, Event, Outgoing, Rejected

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)
RAW = RunKey("shop", "raw", DAY)
CLEAN = replace(RAW, phase="clean")
STOCK = replace(RAW, phase="stock")


def message(key: str) -> Outgoing:
    return Outgoing(key, "alerts", {"key": key}, {"key": key})


def release(
    run: RunKey, version: int = 0, message_id: str | None = "m1", related_versions: dict[RunKey, int] | None = None
) -> Change:
    """The release of a gate, with its go-signal and its history."""
    gate = Gate(run, version=version, state=GateState.OPEN, generation=version + 1)
    event = Event(run, NOW, "passed", gate.state, Reason.PASSED, "all checks passed", gate.generation, 100.0, str(message_id))
    return Change(gate, related_versions or {}, message_id, (message(gate.decision_id),), event)


def gate(store: FirestoreStore, run: RunKey) -> Gate | None:
    return store.load(run.pipeline, Span(run.run_date, run.run_date)).get(run.run_date, {}).get(run.phase)


def keys(store: FirestoreStore) -> list[str]:
    return [entry.message.key for entry in store.pending(NOW, 100)]


@pytest.fixture
def client(firestore_store: FirestoreStore, project: str) -> Iterator[Client]:  # noqa: ARG001 – sets the environment
    """The library's client, to read the store's documents."""
    client = Client(project)
    yield client
    client.close()


class Unsure:
    """The library's client, whose commits raise an error after they were written, or before."""

    def __init__(self, client: Client, error: Exception, *, written: bool) -> None:
        self._client, self.error, self._written = client, error, written

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def batch(self) -> object:
        batch = self._client.batch()
        commit = batch.commit

        def unsure(**kwargs: object) -> None:
            if self._written:
                commit(**kwargs)
            raise self.error

        batch.commit = unsure
        return batch


@pytest.mark.parametrize("error", [DeadlineExceeded("no answer"), ServiceUnavailable("gone")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("written", [True, False], ids=["written", "not written"])
def test_a_commit_without_an_answer_may_be_repeated(
    firestore_store: FirestoreStore, client: Client, project: str, error: Exception, written: bool
) -> None:
    """Whether it was written or not, a second commit leaves its effect once."""
    unsure = FirestoreStore(project, "(default)", client=Unsure(client, error, written=written))

    with pytest.raises(StateError) as caught:
        unsure.commit(release(RAW))
    assert caught.value.retryable
    assert not isinstance(caught.value, Conflict)

    assert firestore_store.commit(release(RAW)) is not written
    stored = gate(firestore_store, RAW)
    assert stored is not None
    assert stored.version == 1
    assert keys(firestore_store) == ["shop/raw/2026-03-02/g1"]
    assert len(firestore_store.history(RAW)) == 1


def test_a_commit_without_a_message_that_is_repeated_is_a_conflict(
    firestore_store: FirestoreStore, client: Client, project: str
) -> None:
    """A tick has no marker; the changed gate shows that its commit was written."""
    unsure = FirestoreStore(project, "(default)", client=Unsure(client, DeadlineExceeded("no answer"), written=True))
    with pytest.raises(StateError):
        unsure.commit(release(RAW, message_id=None))

    with pytest.raises(Conflict):
        firestore_store.commit(release(RAW, message_id=None))
    assert keys(firestore_store) == ["shop/raw/2026-03-02/g1"]


def at_once(store: FirestoreStore, changes: Sequence[Change]) -> list[int]:
    """Commit each change in a thread; gives which of them were written."""

    def commit(change: Change) -> bool:
        try:
            return store.commit(change)
        except Conflict:
            return False

    with ThreadPoolExecutor(16) as pool:
        return [n for n, written in enumerate(pool.map(commit, changes)) if written]


@pytest.mark.parametrize("version", [0, 1], ids=["a new gate", "a known gate"])
def test_of_several_commits_over_one_version_one_wins(firestore_store: FirestoreStore, version: int) -> None:
    for known in range(version):
        firestore_store.commit(replace(release(RAW, known, "before"), outbox=()))

    won = at_once(
        firestore_store,
        [replace(release(RAW, version, f"m{n}"), outbox=(message(f"k{n}"),)) for n in range(32)],
    )

    assert len(won) == 1
    assert keys(firestore_store) == [f"k{won[0]}"]
    assert len(firestore_store.history(RAW)) == version + 1


def test_of_several_deliveries_of_one_message_one_is_handled(firestore_store: FirestoreStore) -> None:
    won = at_once(firestore_store, [Change(handled="m1", outbox=(message(f"k{n}"),)) for n in range(32)])
    assert len(won) == 1
    assert keys(firestore_store) == [f"k{won[0]}"]


def test_of_two_gates_that_open_concurrently_the_second_sees_the_first(firestore_store: FirestoreStore) -> None:
    """Both are new: each commits on the condition that the other does not exist."""
    for n in range(20):
        day = DAY + timedelta(days=n)
        clean, stock = replace(CLEAN, run_date=day), replace(STOCK, run_date=day)
        changes = [
            release(clean, message_id=f"c{n}", related_versions={stock: 0}),
            release(stock, message_id=f"s{n}", related_versions={clean: 0}),
        ]
        assert len(at_once(firestore_store, changes)) == 1


def test_a_related_gate_that_does_not_exist_is_not_loaded(firestore_store: FirestoreStore) -> None:
    """Its document is a placeholder at version 0, and can become a gate like a new one."""
    assert firestore_store.commit(release(CLEAN, related_versions={STOCK: 0}))
    assert gate(firestore_store, STOCK) is None
    assert firestore_store.latest("shop") == DAY

    assert firestore_store.commit(release(STOCK, message_id="m2", related_versions={CLEAN: 1}))
    assert gate(firestore_store, STOCK) is not None


def test_a_related_gate_is_checked_and_not_changed(firestore_store: FirestoreStore) -> None:
    firestore_store.commit(release(STOCK, message_id="m0"))
    before = gate(firestore_store, STOCK)

    assert firestore_store.commit(release(CLEAN, message_id="m1", related_versions={STOCK: 1}))
    assert gate(firestore_store, STOCK) == before
    assert firestore_store.commit(release(STOCK, version=1, message_id="m2")), "its version was not used up"
    with pytest.raises(Conflict):
        firestore_store.commit(release(CLEAN, version=1, message_id="m3", related_versions={STOCK: 1}))
    assert firestore_store.commit(release(CLEAN, version=1, message_id="m3", related_versions={STOCK: 2})), (
        "the conflict left no marker"
    )


def test_a_version_that_was_never_stored_is_a_conflict(firestore_store: FirestoreStore) -> None:
    with pytest.raises(Conflict):
        firestore_store.commit(release(RAW, version=5))
    assert gate(firestore_store, RAW) is None


def test_a_key_that_is_already_in_the_outbox_is_not_retryable(firestore_store: FirestoreStore) -> None:
    firestore_store.commit(Change(handled="m1", outbox=(message("k"),)))

    with pytest.raises(StateError, match="already exists") as caught:
        firestore_store.commit(Change(handled="m2", outbox=(message("k"),)))
    assert not caught.value.retryable


def test_pending_keeps_the_order_of_commits_and_of_messages_within_one(firestore_store: FirestoreStore) -> None:
    """Also with a limit, and when an older entry was waiting for its next attempt."""
    for n in range(8):
        firestore_store.commit(Change(handled=f"m{n}", outbox=(message(f"{n}z"), message(f"{n}a"))))
    expected = [f"{n}{letter}" for n in range(8) for letter in "za"]
    assert keys(firestore_store) == expected
    assert [entry.message.key for entry in firestore_store.pending(NOW, 5)] == expected[:5]

    firestore_store.mark_failed("0z", "the bus is silent", NOW + timedelta(minutes=1))
    assert keys(firestore_store) == expected[1:]
    later = firestore_store.pending(NOW + timedelta(minutes=1), 2)
    assert [(entry.message.key, entry.attempts, entry.error) for entry in later] == [
        ("0z", 1, "the bus is silent"),
        ("0a", 0, ""),
    ]


def test_a_failed_attempt_changes_nothing_once_the_entry_is_sent(firestore_store: FirestoreStore) -> None:
    """Two processes were sending the entry."""
    firestore_store.commit(Change(handled="m1", outbox=(message("k"),)))
    firestore_store.mark_sent(["k"], NOW)
    firestore_store.mark_failed("k", "too late", NOW)
    firestore_store.mark_failed("k", "too late", None)
    assert not firestore_store.pending(NOW, 9)
    assert not firestore_store.parked()


def test_mark_sent_takes_more_entries_than_a_batch_and_expired_ones(firestore_store: FirestoreStore) -> None:
    many = [f"k{n}" for n in range(firestore.BATCH + 20)]
    firestore_store.commit(Change(handled="m1", outbox=tuple(map(message, many))))
    assert len(firestore_store.pending(NOW, 1_000)) == len(many)

    firestore_store.mark_sent([*many, "gone long ago"], NOW)
    firestore_store.mark_sent(many[:3], NOW)
    assert not firestore_store.pending(NOW, 1_000)


def test_only_garbage_expires(firestore_store: FirestoreStore, client: Client) -> None:
    """Gates and unsent messages stay; the others have a timestamp for Firestore's TTL."""
    firestore_store.commit(release(RAW, related_versions={CLEAN: 0}))
    firestore_store.commit(Change(handled="m2", outbox=(message("k"),), rejected=Rejected("m2", NOW, "no date", "{}", {})))
    firestore_store.mark_sent(["k"], NOW)
    ends = {
        found.reference.path.split("/")[-2]: found.to_dict().get("expires_at")
        for group in (firestore.GATES, firestore.HISTORY, firestore.HANDLED, firestore.REJECTED)
        for found in client.collection_group(group).stream()
    }
    assert ends[firestore.GATES] is None
    assert all(isinstance(ends[group], datetime) for group in (firestore.HISTORY, firestore.HANDLED, firestore.REJECTED))
    entries = [found.to_dict() for found in client.collection(firestore.OUTBOX).stream()]
    assert sorted("expires_at" in entry for entry in entries) == [False, True]
    assert not [entry for entry in entries if "expires_at" in entry and "next_at" in entry], "a sent entry is not indexed"
    assert firestore.SENT_KEPT + timedelta(days=7) < firestore.HANDLED_KEPT


def test_databases_of_one_project_share_nothing(firestore_store: FirestoreStore, project: str) -> None:
    firestore_store.commit(release(RAW))
    other = FirestoreStore(project, "other")
    assert gate(other, RAW) is None
    assert not other.pending(NOW, 9)


def test_a_store_that_does_not_answer_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:9")
    store = FirestoreStore("nowhere", "(default)", within=0.5)
    started = datetime.now(UTC)
    for request in (
        lambda: store.load("shop", Span(DAY, DAY)),
        lambda: store.commit(release(RAW)),
        lambda: store.mark_sent(["k"], NOW),
    ):
        with pytest.raises(StateError, match=r"state at firestore:nowhere/\(default\): ") as caught:
            request()
        assert caught.value.retryable
    assert datetime.now(UTC) - started < timedelta(seconds=10)


class Recording(Client):
    """The library's client over a service that records every query and answers with nothing."""

    def __init__(self) -> None:
        super().__init__("p", credentials=AnonymousCredentials())
        self.queries: list[StructuredQuery] = []

    @property
    def _firestore_api(self) -> Any:
        return self

    def run_query(self, request: Mapping[str, Any], **_: object) -> Iterator[object]:
        self.queries.append(request["structured_query"])
        return iter(())


def needed_index(query: StructuredQuery) -> tuple[Any, ...]:
    """The index that a query needs: fields compared for equality, then the order, then bounded fields."""
    where = query.where.composite_filter.filters or ([query.where] if "field_filter" in query.where else [])
    compared = {each.field_filter.field.field_path: each.field_filter.op.name for each in where}
    order = {each.field.field_path: each.direction.name for each in query.order_by}
    last = next(reversed(order.values()), "ASCENDING")
    equal = {field: "ASCENDING" for field, op in compared.items() if op in ("EQUAL", "IN")}
    bounded = {field: last for field in compared if field not in equal}
    return (query.from_[0].collection_id, *{**equal, **order, **{f: d for f, d in bounded.items() if f not in order}}.items())


def test_each_query_has_its_index_and_each_index_its_query() -> None:
    """The emulator needs none; Firestore refuses a query without its index."""
    client = Recording()
    store = FirestoreStore("p", "(default)", client=client)
    store.load("shop", Span(DAY, DAY))
    store.awaiting_clock("shop", DAY, 10)
    store.latest("shop")
    store.pending(NOW, 10)
    store.parked()
    store.rejected(10)
    store.live("incident")
    store.due("incident", NOW, 10)
    assert {needed_index(query) for query in client.queries} == set(firestore.INDEXES)

    client.queries.clear()
    store.history(RAW)
    assert [needed_index(query) for query in client.queries] == [(firestore.HISTORY,)], (
        "a query for a whole collection needs no index"
    )
