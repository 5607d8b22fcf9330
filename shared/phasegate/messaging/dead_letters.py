"""Take in what Pub/Sub gave up delivering: keep it, raise an alert, acknowledge it."""

from collections.abc import Mapping

from phasegate.core.gates.completion import Envelope
from phasegate.messaging.bodies import undelivered_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult, as_rejected
from phasegate.messaging.outbox import Relay
from phasegate.ports import Change, Clock, State

FORWARDED = "CloudPubSubDeadLetter"
"""What the names of the attributes begin with that Pub/Sub adds when it gives a message up.

Source: Pub/Sub, "Handle message failures", "Attributes of forwarded messages"."""


class DeadLetters:
    """Takes in what Pub/Sub has given up delivering: it is kept, told, and acknowledged."""

    def __init__(self, store: State, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock
        self._intake = Inbox(store, relay, clock)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Take in one message as an HTTP request brings it.

        Raises:
            AdapterError: It is not kept; it must come again.
        """
        return self._intake.receive(headers, body, self._keep)

    def _keep(self, envelope: Envelope) -> InboxResult:
        told = envelope.attributes
        source = told.get(f"{FORWARDED}SourceSubscription", "").rpartition("/")[2][:255]
        times, reason = told.get(f"{FORWARDED}SourceDeliveryCount", ""), "given up"
        if source:
            reason = f"given up by {source}" + (f" after {times} attempts" if times.isdecimal() else "")
        kept = as_rejected(envelope, self._clock.now(), reason, source)
        message = undelivered_message(kept)
        if not self._store.commit(Change(handled=f"dead/{kept.message_id}", outbox=(message,), rejected=kept)):
            return InboxResult(kept.message_id, Handled.DUPLICATE)
        self._relay.send((message,))
        return InboxResult(kept.message_id, Handled.STORED, detail=reason)
