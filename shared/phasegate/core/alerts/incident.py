"""Incidents: one open problem, however many alerts and run dates it causes; and troubles that concern no gate."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from phasegate.core.alerts.causes import CAUSES, TroubleCause
from phasegate.core.gates.gate import AlertState, GateState
from phasegate.core.pipeline.model import AlertSeverity
from phasegate.errors import MessageError

RANK = {AlertSeverity.INFO: 0, AlertSeverity.WARNING: 1, AlertSeverity.CRITICAL: 2}
"""The order of severities."""

FLAP_WINDOW = timedelta(hours=1)
"""An incident that opens again within this time of its recovery is flapping."""

AUTO_CLOSE_AFTER = timedelta(hours=24)
"""What no alert will end, such as a warning at a release, closes when it has not been repeated for this time."""

INCIDENT_RETENTION = timedelta(days=30)
"""How long a recovered incident is retained."""

MAX_MEMBERS = 500
"""Members of an incident that are stored; only a fifth of them with evidence. A Firestore document holds 1 MiB."""

_MAX_EVIDENCE = 10
_MAX_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A problem that is not about a gate: a rejected message, a failed deployment, drift.

    Args:
        key: Identifies this change; the same when it is sent again.
        subject: What is affected: `messages`, a build trigger, a resource. One incident per cause and subject.
        about: What of the subject is affected: resources, a kind of rejection. When more is added, people are notified.
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
    """Why a destination is notified; or that there is nothing to send."""

    FIRST = "first"
    NEW_MEMBER = "new_member"
    WORSE = "worse"
    REMINDER = "reminder"
    ESCALATION = "escalation"
    RECOVERED = "recovered"
    NOTHING = "nothing"


class IncidentState(StrEnum):
    """The state of an incident."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One part of an incident: a run date whose gate has the problem, or what a trouble is about.

    Args:
        name: The run date, YYYY-MM-DD; for a trouble, which part of its subject, or empty.
        key: Of the newest alert about it.
        gate: The state of the gate then; empty for a trouble.
        about: The checks, producers or phases that the cause is about.
        check_kinds: The kinds of those checks; empty in what an older version stored.
        since: When it began.
        at: When the newest alert about it was decided.
        over_at: When it recovered, or continued under another cause; None while it is open.
        ended: What was found when it recovered.
        became: The cause under which it continues; empty when it recovered.
        repeats: How often it was repeated since it began.
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
    ended: str = ""
    became: str = ""
    repeats: int = 0
    check_kinds: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True while it has not recovered."""
        return self.over_at is None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who owns an incident."""

    by: str
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One open problem.

    Its identity is pipeline, subject and cause; run dates are members.

    Args:
        pipeline: Empty for a trouble, which belongs to no pipeline.
        subject: The phase; for a trouble, what is affected.
        opened_at: When it was last opened. It tells one opening from the next: notices and links are about one of them.
        passing: True for what no alert will end: a warning at a release, a rejected message. It closes after a quiet day.
        again: How often it reopened soon after a recovery; 0 for an incident that is not flapping.
        members: By name. Recovered ones are retained for a while, so that an alert that arrives late is recognised as old.
        speaks_for: Late followers that its notices report instead of alerts of their own: phase and run dates. Derived from the
            other incidents, never stored.
    """

    pipeline: str
    subject: str
    cause: str
    opened_at: datetime
    members: Mapping[str, Member]
    passing: bool = False
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
    def open_members(self) -> tuple[Member, ...]:
        """The members that have not recovered, by name."""
        return tuple(self.members[name] for name in sorted(self.members) if self.members[name].is_open)

    @property
    def current(self) -> tuple[Member, ...]:
        """The members of this opening, recovered or not, by name."""
        members = (self.members[name] for name in sorted(self.members))
        return tuple(member for member in members if member.over_at is None or member.over_at >= self.opened_at)

    @property
    def state(self) -> IncidentState:
        """Its state."""
        if not self.open_members:
            return IncidentState.RECOVERED
        return IncidentState.ACKNOWLEDGED if self.acknowledged else IncidentState.FIRING

    @property
    def severity(self) -> AlertSeverity:
        """The highest of its open members; once it recovered, of those that it had."""
        members = self.open_members or self.current
        return max((member.severity for member in members), key=RANK.__getitem__, default=AlertSeverity.INFO)

    @property
    def since(self) -> datetime:
        """When the first of its members began."""
        return min((member.since for member in self.current), default=self.opened_at)

    @property
    def recovered_at(self) -> datetime | None:
        """When the last of its members recovered; None while any is open."""
        over = [member.over_at for member in self.members.values() if member.over_at is not None]
        return None if self.open_members else max(over, default=None)

    @property
    def repeats(self) -> int:
        """How often its members were repeated."""
        return sum(member.repeats for member in self.current)

    @property
    def is_superseded(self) -> bool:
        """True when it ended only because its members continue under other causes."""
        return not self.open_members and all(member.became for member in self.current)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All incidents of one subject, by cause.

    They are stored together, because one ends when another begins: a gate that is held is no longer overdue.
    """

    pipeline: str
    subject: str
    incidents: Mapping[str, Incident] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its identity as text: flights/raw."""
        return f"{self.pipeline or 'phasegate'}/{self.subject}"

    @property
    def is_live(self) -> bool:
        """True while any of its incidents is open."""
        return any(incident.open_members for incident in self.incidents.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentUpdate:
    """An alert as it came from the alert topic.

    Args:
        passing: True when no later alert will end it.
        over: True when it is a recovery.
        member: Its `at` is when the alert was decided.
    """

    pipeline: str
    subject: str
    cause: str
    passing: bool
    over: bool
    member: Member


def read_alert(body: Mapping[str, Any]) -> IncidentUpdate:
    """Read an alert message; long texts are cut.

    Raises:
        MessageError: It is not an alert.
    """
    try:
        cause = str(body["cause"])
        is_gate = "run_date" in body
        about = tuple(_cut(text) for text in body.get("about", ()))[:50]
        passing = not _recovers(cause, str(body["gate"]) if is_gate else "")
        member = Member(
            name=str(body["run_date"]) if is_gate else ", ".join(about) if passing else "",
            key=str(body["key"]),
            severity=AlertSeverity(body["severity"]),
            detail=_cut(body["detail"]),
            since=_moment(body["since"]),
            at=_moment(body["at"]),
            gate=str(body.get("gate", "")),
            about=about,
            check_kinds=tuple(_cut(kind) for kind in body.get("check_kinds", ()))[:50],
            evidence=_few(tuple(body["evidence"])),
            effect=_cut(body["effect"]),
            next=tuple(str(line) for line in body.get("next", ()))[:_MAX_EVIDENCE],
        )
        return IncidentUpdate(
            pipeline=str(body["pipeline"]) if is_gate else "",
            subject=str(body["phase"] if is_gate else body["subject"]),
            cause=cause,
            passing=passing and body["state"] == AlertState.FIRING,
            over=AlertState(body["state"]) is AlertState.RECOVERED,
            member=member,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise MessageError(f"not an alert: {exc!r}"[:_MAX_LENGTH]) from exc


def _recovers(cause: str, gate: str) -> bool:
    """Whether a later alert will say that it is over."""
    if cause in CAUSES:
        return CAUSES[cause].recovers
    # From a newer version: a remark at a release has no end of its own, and would otherwise stay open for ever.
    return gate != GateState.OPEN


def _few(lines: tuple[object, ...]) -> tuple[str, ...]:
    if len(lines) <= _MAX_EVIDENCE:
        return tuple(map(_cut, lines))
    return (*map(_cut, lines[: _MAX_EVIDENCE - 1]), f"and {len(lines) - _MAX_EVIDENCE + 1} more")


def _cut(text: object) -> str:
    return str(text)[:_MAX_LENGTH]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:  # compared with others, it would fail far from here
        raise ValueError(f"expected a time with a zone, got {text}")
    return moment


def fold(board: Board, update: IncidentUpdate) -> Board:
    """The board with an alert folded in; the same object when the alert is a duplicate, or older than what is known.

    Alerts arrive in any order and more than once. What counts is when each was decided (`at`): for every member the newest
    alert wins, so any order ends in the same board.
    """
    if update.passing:
        return _repeat(board, update)
    name, at = update.member.name, update.member.at
    recoverable = [incident for incident in board.incidents.values() if not incident.passing]
    stored = [incident.members[name] for incident in recoverable if name in incident.members]
    if any(member.at > at or member.key == update.member.key for member in stored):
        return board
    # A run date has one problem at a time: whatever else was open for it ends here, by recovery or because the cause changed.
    ended = {
        incident.cause: _end(incident, name, update)
        for incident in recoverable
        if (update.over or incident.cause != update.cause) and name in incident.members and incident.members[name].is_open
    }
    board = replace(board, incidents={**board.incidents, **ended})
    if not update.over:
        return _put(board, _with(board.incidents.get(update.cause), update))
    if update.cause in ended:
        return board
    # The recovery overtook its alert. Store the member as recovered, so that the alert is recognised as old when it comes.
    member = replace(update.member, over_at=at, ended=update.member.detail)
    own = board.incidents.get(update.cause) or _opened(update, update.member.since, 0, {})
    return _put(board, replace(own, members={**own.members, name: member}))


def _end(incident: Incident, name: str, update: IncidentUpdate) -> Incident:
    """The incident with a member ended: it recovered, or continues under another cause."""
    at = update.member.at
    member = replace(incident.members[name], key=update.member.key, at=at, over_at=at)
    ended = replace(member, ended=update.member.detail) if update.over else replace(member, became=update.cause)
    return replace(incident, members={**incident.members, name: ended})


def _with(incident: Incident | None, update: IncidentUpdate) -> Incident:
    """The incident with a member added, which may open it, or open it again."""
    name, at = update.member.name, update.member.at
    if incident is None:
        return _opened(update, at, 0, {name: update.member})
    if not incident.open_members:
        recovered_at = incident.recovered_at
        again = incident.again + 1 if recovered_at is not None and at - recovered_at < FLAP_WINDOW else 0
        return _opened(update, at, again, {**incident.members, name: update.member})
    stored = incident.members.get(name)
    if stored is None or not stored.is_open:
        return replace(incident, members={**incident.members, name: update.member})
    member = replace(update.member, since=stored.since, repeats=stored.repeats + 1)
    after = replace(incident, members={**incident.members, name: member})
    # Who acknowledged it, acknowledged something less severe.
    return replace(after, acknowledged=None) if RANK[after.severity] > RANK[incident.severity] else after


def _repeat(board: Board, update: IncidentUpdate) -> Board:
    own = board.incidents.get(update.cause)
    stored = own.members.get(update.member.name) if own else None
    if stored is not None and (stored.at > update.member.at or stored.key == update.member.key):
        return board
    return _put(board, _with(own, update))


def _opened(update: IncidentUpdate, at: datetime, again: int, members: Mapping[str, Member]) -> Incident:
    return Incident(
        pipeline=update.pipeline,
        subject=update.subject,
        cause=update.cause,
        opened_at=at,
        members=members,
        passing=update.passing,
        again=again,
    )


def _put(board: Board, incident: Incident) -> Board:
    return replace(board, incidents={**board.incidents, incident.cause: _within_limits(incident)})


def _within_limits(incident: Incident) -> Incident:
    """What fits into one document: the newest members, and evidence for fewer of them."""
    if len(incident.members) <= MAX_MEMBERS // 5:
        return incident
    order = sorted(incident.members.values(), key=lambda member: (member.is_open, member.at), reverse=True)
    bare = [replace(member, evidence=(), next=()) for member in order[MAX_MEMBERS // 5 : MAX_MEMBERS]]
    members = (*order[: MAX_MEMBERS // 5], *bare)
    return replace(incident, members={member.name: member for member in members})


def tidy(board: Board, now: datetime) -> Board:
    """The board without what recovered long ago; what no alert ends is closed once it has been quiet for long."""
    incidents = {}
    for cause, incident in board.incidents.items():
        closed = _closed(incident, now) if incident.passing else incident
        members = {name: m for name, m in closed.members.items() if m.over_at is None or now - m.over_at < INCIDENT_RETENTION}
        if members:
            incidents[cause] = replace(closed, members=members)
    return replace(board, incidents=incidents)


def _closed(incident: Incident, now: datetime) -> Incident:
    if any(now - member.at < AUTO_CLOSE_AFTER for member in incident.open_members):
        return incident
    members = {name: replace(m, over_at=now) if m.is_open else m for name, m in incident.members.items()}
    return replace(incident, members=members)


def next_tidying(board: Board) -> datetime | None:
    """When the board should be tidied next; None when it has nothing that closes by itself."""
    ends = [m.at + AUTO_CLOSE_AFTER for incident in board.incidents.values() if incident.passing for m in incident.open_members]
    return max(ends, default=None)
