"""Sends the messages that were committed to the outbox."""

from collections.abc import Sequence
from datetime import datetime, timedelta

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
        return self._send([Pending(message) for message in messages], {})

    def send_pending(self, limit: int = 1_000) -> int:
        """Send what a crash or an outage of the bus left in the outbox; gives how many entries the bus accepted.

        Args:
            limit: Entries that are read at once. All that are due are sent, for as long as `MAX_SEND_TIME` allows.
        """
        accepted, started = 0, self._clock.now()
        failing: dict[str, datetime] = {}
        while True:
            entries = self._outbox.pending(started, limit)
            accepted += self._send(entries, failing)
            if len(entries) < limit or self._clock.now() - started > MAX_SEND_TIME:
                return accepted

    def send_parked(self, topic: str) -> int:
        """Try the parked messages of a topic again; gives how many entries the bus accepted."""
        return self._send([entry for entry in self._outbox.parked() if entry.message.topic == topic], {})

    def _send(self, entries: Sequence[Pending], failing: dict[str, datetime]) -> int:
        """Send some entries.

        Args:
            failing: Topics that fail, and when they are tried again; those found here are added.
        """
        accepted: list[str] = []
        waiting: dict[str, list[str]] = {}
        started = self._clock.now()
        for entry in entries:
            topic = entry.message.topic
            if topic in failing:
                # A bus that is down takes seconds to fail. The rest of the topic waits, so that its order is kept.
                waiting.setdefault(topic, []).append(entry.message.key)
                continue
            if self._clock.now() - started > MAX_SEND_TIME:
                continue
            try:
                self._publisher.publish(entry.message)
            except PublishError as error:
                # Without a time for the next attempt the entry is parked: only `send_parked` tries it again.
                backoff = timedelta(seconds=min(2 ** (entry.attempts + 1), MAX_RETRY_SECONDS))
                again = self._clock.now() + backoff if error.retryable else None
                self._outbox.mark_failed(entry.message.key, str(error), again)
                if again is not None:
                    failing[topic] = again
            else:
                accepted.append(entry.message.key)
        # A crash before this sends the messages again: delivery is at least once, and consumers see the key.
        if accepted:
            self._outbox.mark_sent(accepted, self._clock.now())
        # Put off, too: otherwise the backlog of a dead topic would be all that a tick ever reads.
        for topic, keys in waiting.items():
            self._outbox.postpone(keys, failing[topic])
        return len(accepted)
