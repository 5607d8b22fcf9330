"""The bus inside one process, the system's clock, and alerts on the console."""

import re
import sys
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import TextIO

from phasegate.core.alerts.notice import Notice, plain
from phasegate.errors import NotifyError, PhasegateError, PublishError
from phasegate.ports import Outgoing, Receipt

Handler = Callable[[Outgoing], object]


class LocalBus:
    """Calls the topic's subscribers before `publish` returns, so that after a crash the message is still in the outbox."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}
        self._published = count(1)

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Call *handler* with every message of a topic."""
        self._handlers.setdefault(topic, []).append(handler)

    def publish(self, message: Outgoing) -> str:
        """See `Publisher.publish`; an error of a subscriber counts as an error of the bus."""
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
    """Writes alerts to a stream; standard error by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        try:
            print(f"{notice.tone.upper()}: {notice.subject}\n{plain(notice)}", file=self._stream or sys.stderr, flush=True)
        except (OSError, ValueError) as exc:  # a full disk or a closed pipe; a closed stream
            raise NotifyError(f"can't write to the console: {getattr(exc, 'strerror', None) or exc}", retryable=True) from exc
        return Receipt()


def zone_rules() -> tuple[str, str]:
    """Where the time-zone rules come from, and their version, or empty without one.

    Like `zoneinfo`, this prefers the machine's own rules to those of the package.
    """
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "Etc/UTC").exists() or (folder / "UTC").exists():
            return str(folder), _version(folder)
    try:
        return "the package tzdata", metadata.version("tzdata")
    except metadata.PackageNotFoundError:
        return "nothing", ""


def _version(folder: Path) -> str:
    for name, pattern in (("tzdata.zi", r"# version (\S+)"), ("+VERSION", r"(\S+)")):
        try:
            with (folder / name).open(errors="replace") as file:
                version = re.match(pattern, file.readline())
        except OSError:
            continue
        if version:
            return version[1]
    return ""
