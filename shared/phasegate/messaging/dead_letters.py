"""Handles messages that Pub/Sub gave up on: stores them, raises an alert, acknowledges them."""

from collections.abc import Mapping

from phasegate.core.gates.completion import Envelope
from phasegate.messaging.bodies import undelivered_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult, as_rejected
from phasegate.messaging.outbox import Relay
from phasegate.ports import Change, Clock, State

FORWARDED = "CloudPubSubDeadLetter"
"""Prefix of the attributes that Pub/Sub adds to a dead letter.

Source: Pub/Sub, "Handle message failures", "Attributes of forwarded messages"."""


class DeadLetters:
    """Stores dead letters, raises an alert for each, and acknowledges them."""

    def __init__(self, store: State, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock
        self._inbox = Inbox(store, relay, clock)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Handle one dead letter, as an HTTP request brings it.

        Raises:
            AdapterError: It is not stored; it must be delivered again.
        """
        return self._inbox.receive(headers, body, self._store_letter)

    def _store_letter(self, envelope: Envelope) -> InboxResult:
        attributes = envelope.attributes
        source = attributes.get(f"{FORWARDED}SourceSubscription", "").rpartition("/")[2][:255]
        deliveries, reason = attributes.get(f"{FORWARDED}SourceDeliveryCount", ""), "given up"
        if source:
            reason = f"given up by {source}" + (f" after {deliveries} attempts" if deliveries.isdecimal() else "")
        letter = as_rejected(envelope, self._clock.now(), reason, source)
        message = undelivered_message(letter)
        # A marker of its own: the other functions mark the messages they handle by their plain ids.
        if not self._store.commit(Change(handled=f"dead/{letter.message_id}", outbox=(message,), rejected=letter)):
            return InboxResult(letter.message_id, Handled.DUPLICATE)
        self._relay.send((message,))
        return InboxResult(letter.message_id, Handled.STORED, detail=reason)
