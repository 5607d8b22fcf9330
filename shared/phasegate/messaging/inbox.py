"""Incoming messages: each is handled once, or stored as rejected and acknowledged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from phasegate.core.gates.completion import Envelope, content_id, read_envelope
from phasegate.core.gates.decide import Decision
from phasegate.errors import IgnoredSender, MessageError
from phasegate.messaging.bodies import rejected_message
from phasegate.messaging.outbox import Relay
from phasegate.ports import Change, Clock, Rejected, StateStore

MAX_STORED = 100_000
"""Characters stored of a rejected message."""


class Handled(StrEnum):
    """How a message was handled."""

    DECIDED = "decided"
    DUPLICATE = "duplicate"
    STORED = "kept"
    REJECTED = "rejected"
    IGNORED = "passed_over"
    """It is valid, but does not matter to this installation."""


@dataclass(frozen=True, slots=True)
class InboxResult:
    """How a message was handled.

    Args:
        decision: The decision it led to, when it was about a gate.
        detail: What it led to, when it was about something else.
        problem: Why it was rejected.
    """

    message_id: str
    handled: Handled
    decision: Decision | None = None
    problem: str = ""
    detail: str = ""


def as_rejected(envelope: Envelope, now: datetime, reason: str, source: str = "") -> Rejected:
    """A message as it is stored for inspection and replay."""
    data = envelope.data.decode(errors="replace")[:MAX_STORED]
    return Rejected(envelope.message_id, now, reason, data, envelope.attributes, envelope.published_at, source)


class Inbox:
    """Reads and handles messages in the same way for every function."""

    def __init__(self, store: StateStore, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock

    def receive(self, headers: Mapping[str, str], body: bytes, handle: Callable[[Envelope], InboxResult]) -> InboxResult:
        """Handle one message, as an HTTP request brings it; see `take`."""
        now = self._clock.now()
        try:
            envelope = read_envelope(headers, body, received_at=now)
        except MessageError as error:
            return self._reject(Envelope(content_id(body, at=now), body, {}), error)
        return self.take(envelope, handle)

    def take(self, envelope: Envelope, handle: Callable[[Envelope], InboxResult]) -> InboxResult:
        """Handle one message.

        Args:
            handle: Stores the effect of the message; a `MessageError` that it raises rejects the message.

        Raises:
            AdapterError: The effect is not stored; the message must be delivered again.
        """
        try:
            return handle(envelope)
        except IgnoredSender as ignored:
            return InboxResult(envelope.message_id, Handled.IGNORED, detail=str(ignored))
        except MessageError as error:
            return self._reject(envelope, error)

    def _reject(self, envelope: Envelope, error: MessageError) -> InboxResult:
        """Store an invalid message and raise one alert."""
        rejected = as_rejected(envelope, self._clock.now(), str(error))
        message = rejected_message(rejected)
        if not self._store.commit(Change(handled=envelope.message_id, outbox=(message,), rejected=rejected)):
            return InboxResult(envelope.message_id, Handled.DUPLICATE)
        self._relay.send((message,))
        return InboxResult(envelope.message_id, Handled.REJECTED, problem=str(error))
