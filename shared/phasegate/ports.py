"""The outside systems as phasegate sees them. The docstrings are the contract; one suite tests every adapter against it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from phasegate.core.checks.metrics import Answer, Query
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, Reason

# Named by ports that few processes need.
if TYPE_CHECKING:
    from phasegate.core.alerts.notice import Notice
    from phasegate.core.secret import Secret


class Warehouse(Protocol):
    """Where the pipeline's tables are. Read only."""

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """Answer each query for all dates of *span*, one `Answer` per query, in any order, as they finish.

        A table or column that is missing, SQL that the warehouse refuses, or a warehouse that does not answer makes the
        metrics that need it `Unmeasured`, and no others. `Fault.UNAVAILABLE` is what may go away by itself.

        Raises:
            ConfigError: SQL of the pipeline file does not parse; names the text.
            WarehouseError: Nothing at all could be asked (no such file, no permission to open it).
        """
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that must be sent.

    Args:
        key: Deterministic: the same effect has the same key, however often it is decided.
        topic: Logical name; the publisher knows where it is.
        body: A JSON object.
        attributes: Carried beside the body, for filters and for de-duplication.
    """

    key: str
    topic: str
    body: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """An outgoing message that has not been sent yet, and how often that was tried."""

    message: Outgoing
    attempts: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a gate's history.

    Args:
        trigger: What led to the decision: a message id, `tick`, or who did it by hand.
        act: What was done by hand, and why; empty where nothing was.
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


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that made no sense, or could not be delivered; kept so that it can be looked at and replayed.

    Args:
        data: Its body as text; cut, when it is very long.
        published_at: When the broker took it; None when that is not known.
        source: The subscription that gave it up; empty for one that was delivered and made no sense.
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
    """What is kept beside the gates: an incident, a delivery, a pause, a heartbeat, a day's budget.

    Args:
        kind: What it is; keys are unique within a kind.
        body: A JSON object.
        version: Raised by one with every commit; a commit names the version that it has read, 0 for one that did not exist.
        due: When it wants to be looked at next; None when nothing is planned.
        expires: From when on it may be deleted; None while it is live.
    """

    kind: str
    key: str
    body: Mapping[str, Any]
    version: int = 0
    due: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one message or tick changes, all at once or not at all.

    Args:
        gate: The gate to store; its `version` is the one that was read, 0 for a gate that did not exist.
        beside: Versions of other gates that the decision rests on and that must not have moved.
        handled: The id of the message that led to it.
        outbox: What must be sent because of it.
        records: Records to store, each at the version that was read.
    """

    gate: Gate | None = None
    related_versions: Mapping[RunKey, int] = field(default_factory=dict)
    handled: str | None = None
    outbox: tuple[Outgoing, ...] = ()
    event: Event | None = None
    rejected: Rejected | None = None
    records: tuple[Record, ...] = ()


class StateStore(Protocol):
    """Where gates are kept."""

    def load(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        """The gates of a pipeline that are known, by run date and phase; dates without any are absent."""
        ...

    def awaiting_clock(self, pipeline: str, before: date, limit: int) -> Sequence[Gate]:
        """Gates of run dates before *before* that the clock has not done with (`Gate.awaits_clock`), newest run dates first."""
        ...

    def latest(self, pipeline: str) -> date | None:
        """The newest run date of which a gate is known."""
        ...

    def commit(self, change: Change) -> bool:
        """Write a change as one; False, and nothing written, when its message was handled before.

        The stored versions of the gate and of the records are one above the given ones.

        Raises:
            Conflict: The gate, one beside it, or a record is no longer at the version that was read. Nothing was written.
            StateError: The store did not answer; it may have written. The same change may be committed again.
        """
        ...

    def history(self, run: RunKey) -> Sequence[Event]:
        """What was decided about a gate, oldest first."""
        ...

    def rejected(self, limit: int) -> Sequence[Rejected]:
        """Messages that made no sense or could not be delivered, newest first."""
        ...


class Records(Protocol):
    """What is kept beside the gates; written by `StateStore.commit`."""

    def find(self, kind: str, keys: Sequence[str]) -> Mapping[str, Record]:
        """Records by key, in one request; those that do not exist are absent."""
        ...

    def live(self, kind: str) -> Sequence[Record]:
        """All records of a kind that do not expire, in the order of their keys."""
        ...

    def due(self, kind: str, now: datetime, limit: int) -> Sequence[Record]:
        """Records that want to be looked at, longest due first."""
        ...


class State(StateStore, Records, Protocol):
    """Gates and what is kept beside them in one store, so that one commit covers both."""


class Outbox(Protocol):
    """What was decided and must still be sent."""

    def pending(self, now: datetime, limit: int) -> Sequence[Pending]:
        """Entries whose next attempt is due, in the order in which they were committed. Parked ones are not among them."""
        ...

    def sent(self, keys: Sequence[str], now: datetime) -> None:
        """Entries were taken by the bus. Saying it twice is harmless."""
        ...

    def failed(self, key: str, error: str, again: datetime | None) -> None:
        """An attempt failed; try at *again*, or park the entry when that is None."""
        ...

    def parked(self) -> Sequence[Pending]:
        """Entries that will not be tried again by themselves."""
        ...


class Store(State, Outbox, Protocol):
    """A whole state store. It holds gates, records and the outbox, so that one commit covers all of them."""


class Publisher(Protocol):
    """Hands messages to the bus."""

    def publish(self, message: Outgoing) -> str:
        """Hand a message to the bus and wait until it is taken; gives the bus's id for it.

        Raises:
            PublishError: It was not taken, as far as can be known; consumers see its key when it comes twice.
        """
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """A destination's word that it took a notice.

    Args:
        status: Its HTTP or SMTP status; None where there is no such thing.
        message_id: Its id for what it took; empty where it gives none.
        plain: True when it refused the card and took plain text in its place.
    """

    status: int | None = None
    message_id: str = ""
    plain: bool = False


class Notifier(Protocol):
    """Brings notices to one destination."""

    def notify(self, notice: "Notice") -> Receipt:
        """Hand over a notice and wait until it is taken; at most one attempt.

        A second one is made at once where the first was refused in words that leave no doubt: plain text in place of a card,
        or with a secret that was replaced meanwhile.

        The same notice may be handed over again: its key tells a receiver that looks, its `possible_duplicate` a reader.

        Raises:
            NotifyError: It was not taken, as far as can be known. No error of a notifier holds a secret.
        """
        ...


class Secrets(Protocol):
    """Where passwords, keys and addresses are that the pipeline file only refers to."""

    def get(self, reference: str, *, fresh: bool = False) -> "Secret":
        """The secret that a reference like `secret://chat-webhook` stands for.

        Args:
            fresh: Look again, whatever is remembered: the one that is known was refused.

        Raises:
            ConfigError: There is none, it is empty, or it may not be read; says how to set it.
            SecretError: The place where it is kept did not answer.
        """
        ...


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...
