"""Alert dispatch: an alert or a tick comes in, and what is due goes out to people.

Both end in the same place: the ledger decides what each destination must be sent, and the sender sends it. So a tick sends
what a crash left unsent.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from phasegate.alerts.destinations import Destinations
from phasegate.alerts.incidents import Incidents
from phasegate.alerts.sending import Ledger, Sender
from phasegate.alerts.silences import Silences
from phasegate.core.alerts.incident import Incident, read_alert
from phasegate.core.alerts.notice import Link
from phasegate.core.gates.completion import Envelope, read_object
from phasegate.core.pipeline.model import Pipeline
from phasegate.logs import Log, log
from phasegate.messaging.inbox import Handled, Inbox, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.ports import Clock, Notifier, Outgoing, State


class AlertDispatch:
    """Brings incidents to people: once each, and again only for a reason.

    Args:
        notifiers: By pipeline and destination: `flights/team`.
        links: Where to acknowledge an incident and to read more.
        leaves: See `Destinations`.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        notifiers: Mapping[str, Notifier],
        store: State,
        relay: Relay,
        clock: Clock,
        links: Callable[[Incident, datetime], Sequence[Link]] | None = None,
        log: Log = log,
        leaves: bool = False,
    ) -> None:
        self._inbox = Inbox(store, relay, clock)
        self._clock = clock
        self.silences = Silences(store, clock)
        self.destinations = Destinations(pipelines, notifiers=notifiers, store=store, relay=relay, clock=clock, leaves=leaves)
        self.ledger = Ledger(pipelines, store=store, silences=self.silences, destinations=self.destinations)
        self.incidents = Incidents(pipelines, store=store, clock=clock, ledger=self.ledger)
        self._sender = Sender(self.ledger, self.destinations, store=store, clock=clock, links=links, log=log)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Take in one message from an HTTP request; one that is not an alert is recorded, alerted about once, and acknowledged.

        Raises:
            AdapterError: The effect is not stored; the message must come again.
        """
        return self._inbox.receive(headers, body, self._handle)

    def take(self, message: Outgoing) -> InboxResult:
        """Take in one message from the bus inside this process; see `receive`."""
        return self._inbox.take(Envelope(message.key, json.dumps(message.body).encode(), message.attributes), self._handle)

    def _handle(self, envelope: Envelope) -> InboxResult:
        alert = read_object(envelope.data)
        self.handle(alert)
        return InboxResult(envelope.message_id, Handled.DECIDED, detail=str(alert["key"]))

    def handle(self, body: Mapping[str, Any]) -> None:
        """Take in an alert; when this returns, what must be sent is recorded, and sent as far as destinations accepted it.

        Raises:
            MessageError: It is not an alert.
            AdapterError: The effect is not stored; the message must come again.
        """
        self._sender.deliver(self.incidents.take_in(read_alert(body)))

    def tick(self) -> None:
        """Do everything that is due: retries, reminders, escalations, digests, ends of silences, self-tests."""
        now = self._clock.now()
        self.incidents.tidy(now)
        self.silences.expire(now)
        due = self.ledger.due(now)
        boards = self.incidents.boards(delivery.board for delivery, _ in due)
        self._sender.deliver(self.ledger.review(due, boards, now))
        # Last: a destination that has just accepted a notice needs no test.
        self.destinations.test_idle(now)
