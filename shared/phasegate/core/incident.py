"""Incidents: one open problem, however many messages and run dates it has caused; and troubles that concern no gate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from phasegate.core.gate import AlertState
from phasegate.core.pipeline import AlertSeverity

RANK = {AlertSeverity.INFO: 0, AlertSeverity.WARNING: 1, AlertSeverity.CRITICAL: 2}
"""How severities compare."""


class TroubleCause(StrEnum):
    """What can be wrong beside the gates."""

    MESSAGE_REJECTED = "message_rejected"
    DESTINATION_DOWN = "destination_down"
    RETRIES_SUSPENDED = "retries_suspended"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that people should know of and that is not a gate: a rejected message, a failed deployment, drift.

    Args:
        key: Identifies this change; the same when it is said again.
        subject: What is in trouble: `messages`, a build trigger, a resource. One incident per cause and subject.
        about: What of the subject; each is a member of the incident, and a new one is told. Nothing, when the subject says all.
        detail: What is wrong, in one sentence without a full stop.
        effect: What suffers, in one sentence; empty for a recovery.
        next: Commands that help, to paste.
        since: When it began; for a recovery, when the firing alert began.
    """

    key: str
    cause: TroubleCause
    subject: str
    detail: str
    since: datetime
    at: datetime
    about: tuple[str, ...] = ()
    severity: AlertSeverity = AlertSeverity.WARNING
    state: AlertState = AlertState.FIRING
    evidence: tuple[str, ...] = ()
    effect: str = ""
    next: tuple[str, ...] = ()


class NotifyReason(StrEnum):
    """Why a destination is told something, or that it need not be."""

    FIRST = "first"
    NEW_MEMBER = "new_member"
    WORSE = "worse"
    REMINDER = "reminder"
    ESCALATION = "escalation"
    RECOVERED = "recovered"
    NOTHING = "nothing"


class IncidentState(StrEnum):
    """Where an incident stands."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What an incident holds: a run date whose gate is in trouble, or what a trouble is about.

    Args:
        name: The run date, YYYY-MM-DD; for a trouble what of its subject it is, or empty.
        key: Of the alert that spoke of it last.
        gate: Where the gate stood then; empty for a trouble.
        about: The checks, producers or phases that the cause is about.
        since: When it began.
        at: When the alert that spoke of it last was decided.
        over_at: When it recovered; None while it lasts.
        repeats: How often it was said again since it began.
    """

    name: str
    key: str
    severity: AlertSeverity
    detail: str
    since: datetime
    at: datetime
    gate: str = ""
    about: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    effect: str = ""
    next: tuple[str, ...] = ()
    over_at: datetime | None = None
    repeats: int = 0

    @property
    def lasts(self) -> bool:
        """True while it has not recovered."""
        return self.over_at is None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person's word that they look after an incident."""

    by: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One open problem.

    Its identity is pipeline, subject and cause; run dates are members.

    Args:
        pipeline: Empty for a trouble, which is of no pipeline.
        subject: The phase; for a trouble, what is in trouble.
        opened_at: When it was last opened; another value when it was opened again.
        again: How often it was opened again soon after it had recovered; 0 for one that does not come and go.
        members: By name; those that are over stay a while, so that an alert that comes late changes nothing.
        speaks_for: Late followers that are told in its message, not on their own: phase and run dates. Derived, never stored.
    """

    pipeline: str
    subject: str
    cause: str
    opened_at: datetime
    members: Mapping[str, Member]
    acknowledged: Acknowledgement | None = None
    again: int = 0
    speaks_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its identity as text: flights/raw/checks_failed."""
        return f"{self.pipeline or 'phasegate'}/{self.subject}/{self.cause}"

    @property
    def phase(self) -> str | None:
        """The phase whose gates it is about; None for a trouble."""
        return self.subject if self.pipeline else None

    @property
    def lasting(self) -> tuple[Member, ...]:
        """The members that have not recovered, in the order of their names."""
        return tuple(self.members[name] for name in sorted(self.members) if self.members[name].lasts)

    @property
    def current(self) -> tuple[Member, ...]:
        """The members of this opening, recovered or not, in the order of their names."""
        found = (self.members[name] for name in sorted(self.members))
        return tuple(member for member in found if member.over_at is None or member.over_at >= self.opened_at)

    @property
    def state(self) -> IncidentState:
        """Where it stands."""
        if not self.lasting:
            return IncidentState.RECOVERED
        return IncidentState.ACKNOWLEDGED if self.acknowledged else IncidentState.FIRING

    @property
    def severity(self) -> AlertSeverity:
        """The highest of the members that last; once recovered, of those that it had."""
        members = self.lasting or self.current
        return max((member.severity for member in members), key=RANK.__getitem__, default=AlertSeverity.INFO)

    @property
    def since(self) -> datetime:
        """When the first of its members began."""
        return min((member.since for member in self.current), default=self.opened_at)

    @property
    def recovered_at(self) -> datetime | None:
        """When the last of its members recovered; None while any lasts."""
        over = [member.over_at for member in self.members.values() if member.over_at is not None]
        return None if self.lasting else max(over, default=None)
