"""The bus inside one process, the system's clock, and notices on the console."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import TextIO

from phasegate.core.notice import Notice, plain
from phasegate.errors import PhasegateError, PublishError
from phasegate.ports import Outgoing, Receipt

Handler = Callable[[Outgoing], object]


class LocalBus:
    """Hands each message to the topic's subscribers before `publish` returns, so that a crash leaves it in the outbox."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._published = count(1)

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Call *handler* with every message of a topic."""
        self._handlers.setdefault(topic, []).append(handler)

    def publish(self, message: Outgoing) -> str:
        """See `Publisher.publish`; an error of a subscriber is an error of the bus."""
        for handler in self._handlers.get(message.topic, ()):
            try:
                handler(message)
            except PhasegateError as error:
                raise PublishError(f"{message.topic}: {error}", retryable=True) from error
        return f"local-{next(self._published)}"


class SystemClock:
    """The system's time."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)


class Console:
    """Writes notices to a stream, standard error unless told."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        print(f"{notice.tone.upper()}: {notice.subject}\n{plain(notice)}", file=self._stream or sys.stderr)
        return Receipt()
