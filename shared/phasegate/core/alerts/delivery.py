"""The ledger of what each destination was told, and how each destination is doing: pace, pauses, failures, fallback."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Incident, NotifyReason, Trouble
from phasegate.core.alerts.routing import NotificationState
from phasegate.core.gates.gate import AlertState
from phasegate.core.pipeline.model import AlertSeverity, DestinationKind

LEASE = timedelta(minutes=2)
"""For so long an attempt belongs to the process that began it. No notifier waits so long for its destination."""

FIRST_PAUSE = timedelta(seconds=10)
"""After a first failure; it doubles with each more."""

LONGEST_PAUSE = timedelta(minutes=15)
"""Between two attempts at a destination that may come back by itself."""

DOWN_RETRY_INTERVAL = timedelta(hours=1)
"""Between two attempts at a destination that is down."""

FAILURES_UNTIL_DOWN = 5
"""Failures in a row after which a destination that may come back counts as down: after five minutes or so."""

SELF_TEST_INTERVAL = timedelta(hours=24)
"""A destination that has taken nothing for so long is sent a test."""

COLLAPSE_ABOVE = 4
"""Of more incidents than this at once one destination is told in one notice; it is the burst that chats bear, too."""

DELIVERY_RETENTION = timedelta(days=90)
"""How long a row is kept after its incident is over and told."""

LOG_LENGTH = 20
"""Notices that a row of the ledger remembers."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How fast a destination may be told: one notice *every* so often, after a burst of so many."""

    every: timedelta
    burst: int = COLLAPSE_ABOVE


# Source: the channels' published limits: 1 message/s per channel (Slack) and per space (Google Chat), 4/s (Teams).
RATE_LIMITS: Mapping[DestinationKind, RateLimit | None] = MappingProxyType(
    {
        DestinationKind.SLACK: RateLimit(timedelta(seconds=1)),
        DestinationKind.GOOGLE_CHAT: RateLimit(timedelta(seconds=1)),
        DestinationKind.TEAMS: RateLimit(timedelta(seconds=0.25)),
        DestinationKind.EMAIL: RateLimit(timedelta(seconds=1)),
        DestinationKind.WEBHOOK: RateLimit(timedelta(seconds=0.1), 10),
        DestinationKind.CONSOLE: None,
        DestinationKind.EML: None,
    }
)
"""How fast each kind accepts notices; None for no limit."""

LOCAL_KINDS = frozenset({DestinationKind.CONSOLE, DestinationKind.EML})
"""Destinations on this machine, which need no self-test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationHealth:
    """How a destination is doing, shared by all instances.

    Args:
        paced_until: Up to when its pace is used up; it lies ahead of now by no more than the burst.
        try_at: Before this it is not tried: it asked for a pause, or it failed.
        failures: In a row.
        down_since: Since when its fallback is told instead; None while it works.
        accepted_at: When it last took anything.
    """

    destination: str
    paced_until: datetime | None = None
    try_at: datetime | None = None
    failures: int = 0
    down_since: datetime | None = None
    why: str = ""
    accepted_at: datetime | None = None

    @property
    def is_down(self) -> bool:
        """True while its fallback is told instead."""
        return self.down_since is not None

    def free_at(self, pace: RateLimit | None, now: datetime) -> datetime:
        """From when on it may be told something: *now*, or later."""
        paced = now if pace is None or self.paced_until is None else self.paced_until - pace.every * (pace.burst - 1)
        return max(now, paced, self.try_at or now)

    def used(self, pace: RateLimit | None, now: datetime) -> "DestinationHealth":
        """The line with one notice sent over it."""
        return self if pace is None else replace(self, paced_until=max(now, self.paced_until or now) + pace.every)

    def accepted(self, now: datetime) -> "DestinationHealth":
        """The line after a destination took a notice."""
        return replace(self, try_at=None, failures=0, down_since=None, why="", accepted_at=now)

    def refused(self, why: str, *, for_good: bool, retry_after: float | None, now: datetime) -> "DestinationHealth":
        """The line after a failure.

        Args:
            retry_after: Seconds that the destination asked to wait.
        """
        failures = self.failures + 1
        down = for_good or self.is_down or failures >= FAILURES_UNTIL_DOWN
        pause = DOWN_RETRY_INTERVAL if down else min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
        asked = timedelta(seconds=min(retry_after or 0.0, DOWN_RETRY_INTERVAL.total_seconds()))
        return replace(
            self,
            try_at=now + max(pause if not retry_after or down else timedelta(), asked),
            failures=failures,
            down_since=(self.down_since or now) if down else None,
            why=why,
        )


def destination_trouble(
    before: DestinationHealth, after: DestinationHealth, now: datetime, fallback: str | None
) -> Trouble | None:
    """What people should know when a destination went down, or works again."""
    if before.is_down == after.is_down:
        return None
    down = after if after.is_down else before
    assert down.down_since is not None
    instead = f"Its alerts go to {fallback} instead." if fallback else "Its alerts wait; they have no fallback."
    return Trouble(
        key=f"destination/{down.destination}/{down.down_since.isoformat()}/{'down' if after.is_down else 'works'}",
        cause=TroubleCause.DESTINATION_DOWN,
        subject=down.destination,
        severity=AlertSeverity.CRITICAL,
        state=AlertState.FIRING if after.is_down else AlertState.RECOVERED,
        detail=f"destination {down.destination} takes no alerts: {down.why}" if after.is_down else "it takes alerts again",
        effect=instead if after.is_down else "",
        next=("phasegate alerts test",) if after.is_down else (),
        since=down.down_since,
        at=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A notice that was taken.

    Args:
        by: The destination that took it: the one it was for, or a fallback.
        attempts: How many it took.
        status: The HTTP or SMTP status of the last.
        message_id: The destination's id for it.
    """

    reason: str
    at: datetime
    by: str
    attempts: int
    status: int | None = None
    message_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that has begun and of which nobody knows yet how it ended.

    Args:
        until: Up to when it belongs to the process that began it.
    """

    reason: NotifyReason
    at: datetime
    until: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row of the ledger: what a destination was told of an incident, and what it must still be told.

    Args:
        board: The key of the incident's board.
        withheld: True when it was silenced, or an upstream spoke for it, since it opened, and it was never told.
        gathered_for: The digest that it was put into.
        attempts: Failed attempts to say what must be said now.
        maybe_sent: True when one of them may have arrived.
        error: What the last one met.
        parked: True when neither the destination nor a fallback takes it; it is tried again when one may.
        log: The last notices that were taken, the newest last.
    """

    board: str
    cause: str
    destination: str
    told: NotificationState | None = None
    withheld: bool = False
    gathered_for: datetime | None = None
    attempt: Attempt | None = None
    attempts: int = 0
    maybe_sent: bool = False
    error: str = ""
    status: int | None = None
    parked: bool = False
    log: tuple[Sent, ...] = ()

    @property
    def key(self) -> str:
        """The incident's key and the destination."""
        return f"{self.board}/{self.cause}@{self.destination}"

    @property
    def is_pending(self) -> bool:
        """True while something must be said that was not taken yet."""
        return self.attempt is not None or self.attempts > 0 or self.parked

    def is_claimed(self, now: datetime) -> bool:
        """True while an attempt belongs to a process that may still be at it."""
        return self.attempt is not None and now < self.attempt.until

    def claimed(self, reason: NotifyReason, by: str, now: datetime) -> "Delivery":
        """The row with an attempt begun; one that an earlier process did not end may have arrived."""
        attempt = Attempt(reason=reason, at=now, until=now + LEASE, by=by)
        return replace(self, attempt=attempt, maybe_sent=self.maybe_sent or self.attempt is not None)

    def delivered(self, told: NotificationState, sent: Sent) -> "Delivery":
        """The row after its notice was taken."""
        return replace(
            self,
            told=told,
            withheld=False,
            gathered_for=None,
            attempt=None,
            attempts=0,
            maybe_sent=False,
            error="",
            status=sent.status,
            parked=False,
            log=(*self.log, sent)[-LOG_LENGTH:],
        )

    def failed(self, error: str, status: int | None, *, maybe_sent: bool) -> "Delivery":
        """The row after an attempt failed."""
        return replace(
            self,
            attempt=None,
            attempts=self.attempts + 1,
            maybe_sent=self.maybe_sent or maybe_sent,
            error=error,
            status=status,
        )

    def notice_key(self, incident: Incident, reason: NotifyReason) -> str:
        """The key of what is said now: the same in every attempt to say it."""
        known = self.told is not None and self.told.opened_at == incident.opened_at
        times = self.told.times if known and self.told is not None else 0
        return f"{self.key}/{incident.opened_at:%Y%m%dT%H%M%S}/{times + 1}/{reason}"
