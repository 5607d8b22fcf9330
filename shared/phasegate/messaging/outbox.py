"""The last step of the sentence: what was committed is sent."""

from collections.abc import Sequence
from datetime import timedelta

from phasegate.errors import PublishError
from phasegate.ports import Clock, Outbox, Outgoing, Pending, Publisher

MAX_RETRY_SECONDS = 3_600
"""Seconds between two attempts to send what the bus does not take."""

PARKED_RETRY_INTERVAL = timedelta(hours=1)
"""After this time what the bus refused for good is tried again; a person may have mended the topic."""

MAX_SEND_TIME = timedelta(seconds=30)
"""After this time nothing more is begun to be sent; the next tick goes on."""


class Relay:
    """Hands the outbox to the bus, and notes what became of each entry."""

    def __init__(self, outbox: Outbox, publisher: Publisher, clock: Clock) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock

    def send(self, messages: Sequence[Outgoing]) -> int:
        """Send what was just committed; gives how many the bus took. The others are left to `send_pending`."""
        return self._send([Pending(message) for message in messages])

    def send_pending(self, limit: int = 1_000) -> int:
        """Send what a crash or a silent bus has left unsent; gives how many entries the bus took."""
        return self._send(self._outbox.pending(self._clock.now(), limit))

    def send_parked(self, topic: str) -> int:
        """Try again what the bus refused for good on a topic; gives how many entries it took now."""
        return self._send([entry for entry in self._outbox.parked() if entry.message.topic == topic])

    def _send(self, entries: Sequence[Pending]) -> int:
        taken = []
        silent: set[str] = set()
        started = self._clock.now()
        for entry in entries:
            if entry.message.topic in silent or self._clock.now() - started > MAX_SEND_TIME:
                continue  # a bus that does not answer takes seconds to say so; what is left keeps its place in the order
            try:
                self._publisher.publish(entry.message)
            except PublishError as error:
                # What may still be taken is never given up; what the bus refuses for good is parked, and tried by the clock.
                wait = timedelta(seconds=min(2 ** (entry.attempts + 1), MAX_RETRY_SECONDS))
                again = self._clock.now() + wait if error.retryable else None
                self._outbox.failed(entry.message.key, str(error), again)
                if error.retryable:
                    silent.add(entry.message.topic)
            else:
                taken.append(entry.message.key)
        if taken:
            self._outbox.sent(taken, self._clock.now())
        return len(taken)
