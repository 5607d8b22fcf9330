"""The ledger of what each destination was sent, and the health of each destination: rate, pauses, failures, fallback."""

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
"""How long an attempt belongs to the process that began it. Every notifier gives up sooner (`Timeouts.whole`)."""

FIRST_PAUSE = timedelta(seconds=10)
"""The pause after a first failure; each further failure doubles it."""

LONGEST_PAUSE = timedelta(minutes=15)
"""The longest pause before another attempt while a destination may recover by itself."""

DOWN_RETRY_INTERVAL = timedelta(hours=1)
"""The pause between two attempts while a destination is down."""

FAILURES_UNTIL_DOWN = 5
"""Failures in a row until a destination counts as down; with the pauses between them that takes about five minutes."""

SELF_TEST_INTERVAL = timedelta(hours=24)
"""A destination that has accepted nothing for this time is sent a test."""

COLLAPSE_ABOVE = 4
"""More incidents than this at the same time go to a destination as one digest; chats accept a burst of as many notices."""

DELIVERY_RETENTION = timedelta(days=90)
"""How long a row is retained after its recovery was sent."""

LOG_LENGTH = 20
"""Sent notices that a row of the ledger remembers."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How fast a destination accepts notices: a *burst* at the same time, then one *every* interval."""

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
    """The health of a destination, shared by all instances.

    Args:
        paced_until: Up to when the rate limit is used up; at most one burst ahead of now.
        try_at: It is not tried before this time, because it asked for a pause or failed.
        failures: In a row.
        down_since: Since when notices go to its fallback; None while it works.
        why: The last error; empty while it works.
        accepted_at: When it last accepted anything.
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
        """True while notices go to its fallback."""
        return self.down_since is not None

    def free_at(self, limit: RateLimit | None, now: datetime) -> datetime:
        """When the next notice may be sent: *now*, or later."""
        within_limit = now if limit is None or self.paced_until is None else self.paced_until - limit.every * (limit.burst - 1)
        return max(now, within_limit, self.try_at or now)

    def used(self, limit: RateLimit | None, now: datetime) -> "DestinationHealth":
        """The health with one notice counted against the rate limit."""
        return self if limit is None else replace(self, paced_until=max(now, self.paced_until or now) + limit.every)

    def accepted(self, now: datetime) -> "DestinationHealth":
        """The health after the destination accepted a notice."""
        return replace(self, try_at=None, failures=0, down_since=None, why="", accepted_at=now)

    def refused(self, why: str, *, permanent: bool, retry_after: float | None, now: datetime) -> "DestinationHealth":
        """The health after a failure.

        Args:
            permanent: True when another attempt would fail, too, until the destination is fixed.
            retry_after: Seconds that the destination asked to wait.
        """
        failures = self.failures + 1
        down = permanent or self.is_down or failures >= FAILURES_UNTIL_DOWN
        pause = DOWN_RETRY_INTERVAL if down else min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
        # Capped: a server may ask for days, and its alerts should not wait that long.
        requested = timedelta(seconds=min(retry_after or 0.0, DOWN_RETRY_INTERVAL.total_seconds()))
        return replace(
            self,
            try_at=now + max(pause if not retry_after or down else timedelta(), requested),
            failures=failures,
            down_since=(self.down_since or now) if down else None,
            why=why,
        )


def destination_trouble(
    before: DestinationHealth, after: DestinationHealth, now: datetime, fallback: str | None
) -> Trouble | None:
    """The alert when a destination goes down, and the recovery when it works again; None while nothing changes."""
    if before.is_down == after.is_down:
        return None
    down = after if after.is_down else before
    assert down.down_since is not None
    effect = f"Its alerts go to {fallback} instead." if fallback else "Its alerts wait: it has no fallback."
    return Trouble(
        key=f"destination/{down.destination}/{down.down_since.isoformat()}/{'down' if after.is_down else 'works'}",
        cause=TroubleCause.DESTINATION_DOWN,
        subject=down.destination,
        severity=AlertSeverity.CRITICAL,
        state=AlertState.FIRING if after.is_down else AlertState.RECOVERED,
        detail=f"destination {down.destination} accepts no alerts: {down.why}" if after.is_down else "it accepts alerts again",
        effect=effect if after.is_down else "",
        next=("phasegate alerts test",) if after.is_down else (),
        since=down.down_since,
        at=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A notice that was accepted.

    Args:
        by: The destination that accepted it: the one it was for, or a fallback.
        attempts: How many were needed.
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
    """An attempt that began and whose outcome is not stored yet.

    Args:
        until: When its lease ends: up to then it belongs to the process that began it.
        by: The destination that it is sent to.
    """

    reason: NotifyReason
    at: datetime
    until: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A row of the ledger: what a destination was sent about an incident, and what it must still be sent.

    Args:
        board: The key of the incident's board.
        told: What the destination knows; None when it was never notified.
        withheld: True when it was muted since it opened, by a silence or by an upstream that reports it, and never sent.
        gathered_for: The digest that it waits for.
        attempt: The attempt that is under way, or was when its process died.
        attempts: Failed attempts to send the notice that is due now.
        maybe_sent: True when one of them may have arrived.
        error: Of the last failed attempt.
        status: The HTTP or SMTP status of the last attempt.
        parked: True when neither the destination nor a fallback accepts it; it is tried again when one may.
        log: The last accepted notices, newest last.
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
        """True while a notice is due that was not accepted yet."""
        return self.attempt is not None or self.attempts > 0 or self.parked

    def is_claimed(self, now: datetime) -> bool:
        """True while an attempt belongs to a process that may still be sending."""
        return self.attempt is not None and now < self.attempt.until

    def claimed(self, reason: NotifyReason, by: str, now: datetime) -> "Delivery":
        """The row with an attempt begun."""
        # An attempt without an outcome is one whose process died: its notice may have arrived.
        attempt = Attempt(reason=reason, at=now, until=now + LEASE, by=by)
        return replace(self, attempt=attempt, maybe_sent=self.maybe_sent or self.attempt is not None)

    def delivered(self, told: NotificationState, sent: Sent) -> "Delivery":
        """The row after its notice was accepted."""
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
        """The key of the notice that is due now: the same in every attempt, so that a receiver recognises a repeat."""
        times = self.told.times if self.told is not None and self.told.opened_at == incident.opened_at else 0
        return f"{self.key}/{incident.opened_at:%Y%m%dT%H%M%S}/{times + 1}/{reason}"
