"""Incidents: one open problem, however many messages and run dates it has caused; and troubles that concern no gate."""

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
"""How severities compare."""

FLAP_WINDOW = timedelta(hours=1)
"""What opens again so soon after it has recovered comes and goes."""

AUTO_CLOSE_AFTER = timedelta(hours=24)
"""What has no end of its own, such as a warning at a release, is closed when it was not said again for so long."""

INCIDENT_RETENTION = timedelta(days=30)
"""How long what is over is remembered."""

MOST_MEMBERS = 500
"""Members of an incident that are kept; with evidence, a fifth of them. A document of Firestore holds 1 MiB."""

_EVIDENCE = 10
_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that people should know of and that is not a gate: a rejected message, a failed deployment, drift.

    Args:
        key: Identifies this change; the same when it is said again.
        subject: What is in trouble: `messages`, a build trigger, a resource. One incident per cause and subject.
        about: What of the subject is in trouble: resources, a kind of rejection. That there is more of it is told.
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
        check_kinds: The kinds of those checks; empty in what an older version stored.
        since: When it began.
        at: When the alert that spoke of it last was decided.
        over_at: When it recovered, or went on under another cause; None while it lasts.
        ended: What was found when it recovered.
        became: The cause under which it goes on; empty when it recovered.
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
    ended: str = ""
    became: str = ""
    repeats: int = 0
    check_kinds: tuple[str, ...] = ()

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
        passing: True for what no alert ever ends: a warning at a release, a rejected message. It is closed when all is quiet.
        again: How often it was opened again soon after it had recovered; 0 for one that does not come and go.
        members: By name; those that are over stay a while, so that an alert that comes late changes nothing.
        speaks_for: Late followers that are told in its message, not on their own: phase and run dates. Derived, never stored.
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
        if not self.open_members:
            return IncidentState.RECOVERED
        return IncidentState.ACKNOWLEDGED if self.acknowledged else IncidentState.FIRING

    @property
    def severity(self) -> AlertSeverity:
        """The highest of the members that last; once recovered, of those that it had."""
        members = self.open_members or self.current
        return max((member.severity for member in members), key=RANK.__getitem__, default=AlertSeverity.INFO)

    @property
    def since(self) -> datetime:
        """When the first of its members began."""
        return min((member.since for member in self.current), default=self.opened_at)

    @property
    def recovered_at(self) -> datetime | None:
        """When the last of its members recovered; None while any lasts."""
        over = [member.over_at for member in self.members.values() if member.over_at is not None]
        return None if self.open_members else max(over, default=None)

    @property
    def repeats(self) -> int:
        """How often its members were said again."""
        return sum(member.repeats for member in self.current)

    @property
    def is_superseded(self) -> bool:
        """True when it is over only because its members go on under other causes."""
        return not self.open_members and all(member.became for member in self.current)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All incidents of one subject, by cause: kept together, because a gate that is held is no longer overdue."""

    pipeline: str
    subject: str
    incidents: Mapping[str, Incident] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its identity as text: flights/raw."""
        return f"{self.pipeline or 'phasegate'}/{self.subject}"

    @property
    def is_live(self) -> bool:
        """True while any of its incidents is."""
        return any(incident.open_members for incident in self.incidents.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentUpdate:
    """What an alert says, as it came from the alert topic.

    Args:
        passing: True when no alert will ever say that it is over.
        over: True when it says that it is.
        member: Its `at` is when it was decided.
    """

    pipeline: str
    subject: str
    cause: str
    passing: bool
    over: bool
    member: Member


def read_alert(body: Mapping[str, Any]) -> IncidentUpdate:
    """What an alert says; long texts are cut.

    Raises:
        MessageError: It is no alert.
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
            next=tuple(str(line) for line in body.get("next", ()))[:_EVIDENCE],
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
        raise MessageError(f"no alert: {exc!r}"[:_LONGEST]) from exc


def _recovers(cause: str, gate: str) -> bool:
    """Whether a later alert will say that it is over."""
    if cause in CAUSES:
        return CAUSES[cause].recovers
    # From a newer version: a remark at a release has no end of its own, and would otherwise stay open for ever.
    return gate != GateState.OPEN


def _few(lines: tuple[object, ...]) -> tuple[str, ...]:
    if len(lines) <= _EVIDENCE:
        return tuple(map(_cut, lines))
    return (*map(_cut, lines[: _EVIDENCE - 1]), f"and {len(lines) - _EVIDENCE + 1} more")


def _cut(text: object) -> str:
    return str(text)[:_LONGEST]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time with its zone, not {text}")
    return moment


def fold(board: Board, said: IncidentUpdate) -> Board:
    """The board with an alert taken in; the same one when it says nothing new: a duplicate, or older than what is known."""
    if said.passing:
        return _repeat(board, said)
    name, at = said.member.name, said.member.at
    open_members = [incident for incident in board.incidents.values() if not incident.passing]
    known = [incident.members[name] for incident in open_members if name in incident.members]
    if any(member.at > at or member.key == said.member.key for member in known):
        return board
    changed = {
        incident.cause: _end(incident, name, said)
        for incident in open_members
        if (said.over or incident.cause != said.cause) and name in incident.members and incident.members[name].lasts
    }
    board = replace(board, incidents={**board.incidents, **changed})
    if not said.over:
        return _put(board, _with(board.incidents.get(said.cause), said))
    if said.cause in changed:
        return board
    # Its end has come before its beginning: what is told of it is told now, and the beginning will be too old.
    member = replace(said.member, over_at=at, ended=said.member.detail)
    own = board.incidents.get(said.cause) or _opened(said, said.member.since, 0, {})
    return _put(board, replace(own, members={**own.members, name: member}))


def _end(incident: Incident, name: str, said: IncidentUpdate) -> Incident:
    """The incident without a member: it recovered, or goes on under another cause."""
    at = said.member.at
    member = replace(incident.members[name], key=said.member.key, at=at, over_at=at)
    told = replace(member, ended=said.member.detail) if said.over else replace(member, became=said.cause)
    return replace(incident, members={**incident.members, name: told})


def _with(incident: Incident | None, said: IncidentUpdate) -> Incident:
    """The incident with a member, which may open it, or open it again."""
    name, at = said.member.name, said.member.at
    if incident is None:
        return _opened(said, at, 0, {name: said.member})
    if not incident.open_members:
        ended = incident.recovered_at
        again = incident.again + 1 if ended is not None and at - ended < FLAP_WINDOW else 0
        return _opened(said, at, again, {**incident.members, name: said.member})
    known = incident.members.get(name)
    if known is None or not known.lasts:
        return replace(incident, members={**incident.members, name: said.member})
    member = replace(said.member, since=known.since, repeats=known.repeats + 1)
    after = replace(incident, members={**incident.members, name: member})
    # Whoever took it on took on something smaller.
    return replace(after, acknowledged=None) if RANK[after.severity] > RANK[incident.severity] else after


def _repeat(board: Board, said: IncidentUpdate) -> Board:
    own = board.incidents.get(said.cause)
    known = own.members.get(said.member.name) if own else None
    if known is not None and (known.at > said.member.at or known.key == said.member.key):
        return board
    return _put(board, _with(own, said))


def _opened(said: IncidentUpdate, at: datetime, again: int, members: Mapping[str, Member]) -> Incident:
    return Incident(
        pipeline=said.pipeline,
        subject=said.subject,
        cause=said.cause,
        opened_at=at,
        members=members,
        passing=said.passing,
        again=again,
    )


def _put(board: Board, incident: Incident) -> Board:
    return replace(board, incidents={**board.incidents, incident.cause: _within_limits(incident)})


def _within_limits(incident: Incident) -> Incident:
    """What fits into a document: the newest members, and of fewer the evidence."""
    if len(incident.members) <= MOST_MEMBERS // 5:
        return incident
    order = sorted(incident.members.values(), key=lambda member: (member.lasts, member.at), reverse=True)
    bare = [replace(member, evidence=(), next=()) for member in order[MOST_MEMBERS // 5 : MOST_MEMBERS]]
    kept = (*order[: MOST_MEMBERS // 5], *bare)
    return replace(incident, members={member.name: member for member in kept})


def tidy(board: Board, now: datetime) -> Board:
    """The board without what is over for long, and with what nobody has said again for long closed."""
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
    members = {name: replace(m, over_at=now) if m.lasts else m for name, m in incident.members.items()}
    return replace(incident, members=members)


def next_tidying(board: Board) -> datetime | None:
    """When the board should be tidied next; None when nothing in it ends by itself."""
    ends = [m.at + AUTO_CLOSE_AFTER for incident in board.incidents.values() if incident.passing for m in incident.open_members]
    return max(ends, default=None)
