"""The outside systems as phasegate sees them. The docstrings are the contract, and one suite per port tests every adapter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from phasegate.core.checks.metrics import Answer, Query
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, Reason

# Only ports that few processes need name these.
if TYPE_CHECKING:
    from phasegate.core.alerts.notice import Notice
    from phasegate.core.secret import Secret


class Warehouse(Protocol):
    """Where the pipeline's tables are. Read only."""

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """One `Answer` per query for all dates of *span*, in the order in which they finish.

        A missing table or column, SQL that the warehouse refuses, or a warehouse that does not answer makes the metrics that
        need it `Unmeasured`, and no others. `Fault.UNAVAILABLE` is what may go away by itself.

        Raises:
            ConfigError: SQL in the pipeline file does not parse; names the text.
            WarehouseError: Nothing could be measured (no such file, no permission to open it).
        """
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that must be sent.

    Args:
        key: Deterministic: the same effect has the same key, however often it is decided.
        topic: Its logical name; the publisher maps it to a real one.
        body: A JSON object.
        attributes: Sent with the body, for filters and de-duplication.
    """

    key: str
    topic: str
    body: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """An outgoing message that was not sent yet, with its failed attempts and the last error."""

    message: Outgoing
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """An entry in a gate's history.

    Args:
        trigger: What led to the decision: a message id, `tick`, or the person who acted.
        act: The manual action and its reason; empty when there was none.
    """

    run: RunKey
    at: datetime
    rule: str
    state: GateState
    reason: Reason
    detail: str
    generation: int
    score: float | None
    trigger: str
    act: str = ""

    @classmethod
    def about(cls, gate: Gate, at: datetime, rule: str, trigger: str) -> "Event":
        """An entry that says of a gate what the gate says itself."""
        return cls(gate.run, at, rule, gate.state, gate.reason, gate.detail, gate.generation, gate.score, trigger)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that was invalid or could not be delivered; stored for inspection and replay.

    Args:
        data: Its body as text, cut when very long.
        published_at: When the broker accepted it; None when that is not known.
        source: The subscription that gave up on it; empty for one that was delivered but invalid.
    """

    message_id: str
    at: datetime
    reason: str
    data: str
    attributes: Mapping[str, str]
    published_at: datetime | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """State other than gates: an incident, a delivery, a pause, a heartbeat, a day's budget.

    Args:
        kind: What it is; keys are unique within a kind.
        body: A JSON object.
        version: Raised by one with every commit. A commit names the version it read, 0 for a record that did not exist.
        due: When it must be handled next; None when nothing is planned.
        expires: From then on it may be deleted; None while it is live.
    """

    kind: str
    key: str
    body: Mapping[str, Any]
    version: int = 0
    due: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one message or tick changes, in one commit.

    Args:
        gate: The gate to store; its `version` is the one that was read, 0 for a gate that did not exist.
        related_versions: Versions read of other gates that the decision rests on; the commit fails if one has changed.
        handled: The id of the message that led to it; makes a redelivery a duplicate.
        outbox: Messages that must be sent because of it.
        records: Records to store, each with the version that was read.
    """

    gate: Gate | None = None
    related_versions: Mapping[RunKey, int] = field(default_factory=dict)
    handled: str | None = None
    outbox: tuple[Outgoing, ...] = ()
    event: Event | None = None
    rejected: Rejected | None = None
    records: tuple[Record, ...] = ()


ADDED_AT_ONCE = 200
"""The most gates that a store adds in one write. Source: a Firestore batch has at most 500 writes, and a gate needs two."""


class StateStore(Protocol):
    """Where gates are stored."""

    def load(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        """The stored gates of a pipeline, by run date and phase; dates without any are absent."""
        ...

    def awaiting_clock(self, pipeline: str, before: date, limit: int) -> Sequence[Gate]:
        """Gates of run dates before *before* that a tick must still look at (`Gate.awaits_clock`), newest run dates first."""
        ...

    def latest(self, pipeline: str) -> date | None:
        """The newest run date with a stored gate; None without any."""
        ...

    def commit(self, change: Change) -> bool:
        """Write a change atomically; False, with nothing written, when its message was handled before.

        The stored versions of the gate and the records are one above those of the change.

        Raises:
            Conflict: The gate, a related gate or a record is no longer at the version that was read. Nothing was written.
            StateError: The store did not answer, and may have written. The same change may be committed again.
        """
        ...

    def add(self, new: Sequence[tuple[Gate, Event]]) -> Sequence[RunKey]:
        """Write gates that are not stored yet, each with the first entry of its history; gives the gates that were written.

        Gates that are stored already stay as they are. All of them are written, or none; at most `ADDED_AT_ONCE`.

        Raises:
            StateError: The store did not answer, and may have written. The same gates may be added again.
        """
        ...

    def history(self, run: RunKey) -> Sequence[Event]:
        """The decisions about a gate, oldest first."""
        ...

    def rejected(self, limit: int) -> Sequence[Rejected]:
        """Messages that were invalid or could not be delivered, newest first."""
        ...


class Records(Protocol):
    """State other than gates; written by `StateStore.commit`."""

    def find(self, kind: str, keys: Sequence[str]) -> Mapping[str, Record]:
        """Records by key, in one request; missing ones are absent."""
        ...

    def live(self, kind: str) -> Sequence[Record]:
        """All live records of a kind, those without an expiry, by key."""
        ...

    def due(self, kind: str, now: datetime, limit: int) -> Sequence[Record]:
        """Records that are due, longest due first."""
        ...


class State(StateStore, Records, Protocol):
    """Gates and records in one store, so that one commit covers both."""


class Outbox(Protocol):
    """Messages that were committed and must still be sent."""

    def pending(self, now: datetime, limit: int) -> Sequence[Pending]:
        """Entries whose next attempt is due, in the order of their commits; parked ones are left out."""
        ...

    def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        """Record that the bus accepted entries. Doing so twice is harmless."""
        ...

    def mark_failed(self, key: str, error: str, again: datetime | None) -> None:
        """Record a failed attempt; the next one is due at *again*, or the entry is parked when that is None."""
        ...

    def postpone(self, keys: Sequence[str], again: datetime) -> None:
        """Put off entries that were not tried, because their topic fails; this counts no attempt. Sent entries stay sent."""
        ...

    def parked(self) -> Sequence[Pending]:
        """Entries without a next attempt: the bus refused them for good."""
        ...


class Store(State, Outbox, Protocol):
    """A whole state store. It holds gates, records and the outbox, so that one commit covers all of them."""


class Publisher(Protocol):
    """Hands messages to the bus."""

    def publish(self, message: Outgoing) -> str:
        """Hand a message to the bus, wait until it is accepted, and give the bus's id for it.

        Raises:
            PublishError: It was not accepted, as far as can be known. Consumers recognise a duplicate by its key.
        """
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """A destination's confirmation that it accepted a notice.

    Args:
        status: Its HTTP or SMTP status; None for a destination without one.
        message_id: Its id for the notice; empty when it gives none.
        plain: True when it refused the card and accepted plain text instead.
    """

    status: int | None = None
    message_id: str = ""
    plain: bool = False


class Notifier(Protocol):
    """Delivers notices to one destination."""

    def notify(self, notice: "Notice") -> Receipt:
        """Deliver a notice and wait until it is accepted; at most one attempt.

        A second attempt follows immediately only after a clear refusal: with plain text instead of a card, or with a secret
        that was replaced meanwhile.

        The same notice may be delivered again. A receiver recognises it by its key, a reader by its `possible_duplicate`.

        Raises:
            NotifyError: It was not accepted, as far as can be known. No error of a notifier holds a secret.
        """
        ...


class Secrets(Protocol):
    """Where the passwords, keys and addresses are that a pipeline file refers to."""

    def get(self, reference: str, *, fresh: bool = False) -> "Secret":
        """The secret that a reference like `secret://chat-webhook` stands for.

        Args:
            fresh: Read it again even when it is cached, because the cached one was refused.

        Raises:
            ConfigError: It is missing, empty, or may not be read; says how to set it.
            SecretError: The place of the secrets did not answer.
        """
        ...


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...
