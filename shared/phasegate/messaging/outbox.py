"""Sends the messages that were committed to the outbox."""

from collections.abc import Sequence
from datetime import timedelta

from phasegate.errors import PublishError
from phasegate.ports import Clock, Outbox, Outgoing, Pending, Publisher

MAX_RETRY_SECONDS = 3_600
"""The longest time between two attempts to send a message, in seconds."""

PARKED_RETRY_INTERVAL = timedelta(hours=1)
"""Time before parked messages are tried again: somebody may have fixed the topic."""

MAX_SEND_TIME = timedelta(seconds=30)
"""After this time a run sends no more; the next tick continues."""


class Relay:
    """Hands the outbox to the bus, and records the result of each attempt."""

    def __init__(self, outbox: Outbox, publisher: Publisher, clock: Clock) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock

    def send(self, messages: Sequence[Outgoing]) -> int:
        """Send what was just committed; gives how many the bus accepted. The tick sends the rest with `send_pending`."""
        return self._send([Pending(message) for message in messages])

    def send_pending(self, limit: int = 1_000) -> int:
        """Send what a crash or an outage of the bus left in the outbox; gives how many entries the bus accepted."""
        return self._send(self._outbox.pending(self._clock.now(), limit))

    def send_parked(self, topic: str) -> int:
        """Try the parked messages of a topic again; gives how many entries the bus accepted."""
        return self._send([entry for entry in self._outbox.parked() if entry.message.topic == topic])

    def _send(self, entries: Sequence[Pending]) -> int:
        accepted = []
        failing: set[str] = set()
        started = self._clock.now()
        for entry in entries:
            # A bus that is down takes seconds to fail. The rest of the topic waits, so that its order is kept.
            if entry.message.topic in failing or self._clock.now() - started > MAX_SEND_TIME:
                continue
            try:
                self._publisher.publish(entry.message)
            except PublishError as error:
                # Without a time for the next attempt the entry is parked: only `send_parked` tries it again.
                backoff = timedelta(seconds=min(2 ** (entry.attempts + 1), MAX_RETRY_SECONDS))
                again = self._clock.now() + backoff if error.retryable else None
                self._outbox.mark_failed(entry.message.key, str(error), again)
                if error.retryable:
                    failing.add(entry.message.topic)
            else:
                accepted.append(entry.message.key)
        # A crash before this sends the messages again: delivery is at least once, and consumers see the key.
        if accepted:
            self._outbox.mark_sent(accepted, self._clock.now())
        return len(accepted)
