"""Whom to tell of an incident, when and why: routes, reminders, escalation, digests, quiet hours, silences, topology.

What to say is not decided from events but from a comparison: how the incident stands, and what a destination was last told.
So an alert that comes twice, late or out of order, or a process that dies between two steps, changes nothing of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from phasegate.core.alerts.incident import RANK, Board, Incident, IncidentState, NotifyReason
from phasegate.core.gates.gate import Reason
from phasegate.core.pipeline.model import AlertSeverity, Pipeline, Route

GROUP_WAIT = timedelta(minutes=1)
"""What joins an incident that was just told is gathered for so long; the time doubles with each notice."""

MAX_GROUP_WAIT = timedelta(hours=1)
"""The longest that anything new is gathered for."""

SLOWEST_REMINDER = timedelta(hours=24)
"""Reminders come no more seldom, unless the route says so; while somebody looks after the incident, no more often."""

UPSTREAM_GRACE = timedelta(minutes=2)
"""How long the lateness of a follower waits for the alert of its upstream, or for its own end after that of its upstream."""

FLAP_SETTLE = timedelta(minutes=15)
"""What comes and goes has recovered once it stays so for so long."""

FLAPS_UNTIL_SETTLING = 2
"""Times that an incident was opened again soon, from which on its recovery must settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A destination that an incident concerns, and how its route wants it told.

    Args:
        destination: Pipeline and name: flights/team.
        direct: True when it is told at once; False when it is told only by an escalation.
        escalate: After what time without acknowledgement it is told by an escalation.
        digest: The local time of the day at which everything is told at once.
        quiet: The local hours in which it is told of critical incidents only.
    """

    destination: str
    zone: ZoneInfo
    direct: bool = True
    remind: timedelta | None = None
    escalate: timedelta | None = None
    digest: time | None = None
    quiet: tuple[time, time] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A person's decision that what matches is not told until a time; what is None matches everything.

    Args:
        subject: A phase, or what else is in trouble.
    """

    id: str
    by: str
    why: str
    at: datetime
    until: datetime
    pipeline: str | None = None
    subject: str | None = None
    cause: str | None = None

    def matches(self, incident: Incident) -> bool:
        """True when it is about the incident."""
        pairs = ((self.pipeline, incident.pipeline), (self.subject, incident.subject), (self.cause, incident.cause))
        return all(wanted in (None, found) for wanted, found in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationState:
    """What a destination knows of an incident.

    Args:
        opened_at: Of the opening that it was told of.
        at: When it was last told.
        over: True when it was told of the recovery.
        members: The members that it was told of, and since when each was in trouble then.
        about: What those were about.
        times: Notices since it was first told of this opening.
        repeats: How often the incident had been repeated by then.
    """

    opened_at: datetime
    at: datetime
    over: bool
    severity: AlertSeverity
    members: Mapping[str, datetime]
    about: tuple[str, ...]
    times: int = 1
    reminders: int = 0
    escalated: bool = False
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class NotifyDecision:
    """What to do about a destination now.

    Args:
        reason: Why it is told now; nothing, when it is not.
        again: When to ask again by itself; None when only a change of the incident matters.
        withheld: True when it would have been told, were it not for a silence or an upstream that speaks for it.
    """

    reason: NotifyReason
    again: datetime | None = None
    withheld: bool = False


NOTHING_TO_SEND = NotifyDecision(NotifyReason.NOTHING)
"""Nothing to say, and nothing to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyContext:
    """What else bears on the decision.

    Args:
        silences: Those that are known; each is asked whether it matches and is not over.
        muted_until: Until when at least an upstream speaks for the incident; None when none does.
        gathered_for: The digest that it was put into earlier.
        was_withheld: True when it was withheld since it opened, and never told.
    """

    silences: Sequence[Silence] = ()
    muted_until: datetime | None = None
    gathered_for: datetime | None = None
    was_withheld: bool = False


def targets(incident: Incident, pipelines: Iterable[Pipeline]) -> Mapping[str, Target]:
    """The destinations of an incident by name; one that several routes name is told as the first of them says.

    An incident of no pipeline concerns the destinations of all; of those that are the same place, one is told.
    """
    found: dict[str, Target] = {}
    places = []
    for pipeline in pipelines:
        if incident.pipeline not in ("", pipeline.name):
            continue
        for route in pipeline.alerts.routes:
            if not _routes(route, incident):
                continue
            names = [(name, True) for name in route.to] + ([(route.escalate.to, False)] if route.escalate else [])
            for name, direct in names:
                key = f"{pipeline.name}/{name}"
                if key not in found:
                    place = pipeline.alerts.destinations[name]
                    if place in places:
                        continue
                    places.append(place)
                    found[key] = _target(key, pipeline, route, direct=direct)
                elif not direct and route.escalate and found[key].escalate is None:
                    found[key] = replace(found[key], escalate=route.escalate.after)
    return found


def _routes(route: Route, incident: Incident) -> bool:
    return (
        route.severity in (None, incident.severity)
        and route.phase in (None, incident.phase)
        and route.cause in (None, incident.cause)
    )


def _target(key: str, pipeline: Pipeline, route: Route, *, direct: bool) -> Target:
    escalate = None if direct or route.escalate is None else route.escalate.after
    return Target(
        destination=key,
        zone=pipeline.zone,
        direct=direct,
        remind=route.remind,
        escalate=escalate,
        digest=route.digest if direct else None,
        quiet=route.quiet,
    )


def decide_notice(
    incident: Incident, told: NotificationState | None, target: Target, around: NotifyContext, *, now: datetime
) -> NotifyDecision:
    """Whether and why a destination is told of an incident now, and when to ask again."""
    fresh = told is None or told.over or (told.opened_at != incident.opened_at and not incident.again)
    if incident.state is IncidentState.RECOVERED and told is not None and told.over and told.opened_at == incident.opened_at:
        return NOTHING_TO_SEND
    if incident.state is IncidentState.RECOVERED:
        say = _ended(incident, None if fresh else told, target, around, now)
    elif fresh:
        say = _unknown(incident, target, now)
    else:
        assert told is not None
        say = _known(incident, told, target, now)
    if say.reason is NotifyReason.NOTHING:
        return say
    return _held_back(incident, say, target, around, now)


def _ended(
    incident: Incident, told: NotificationState | None, target: Target, around: NotifyContext, now: datetime
) -> NotifyDecision:
    """A recovery: told once, also where the beginning was not told in time."""
    never = around.was_withheld or not target.direct or incident.is_superseded or incident.cause == Reason.UPSTREAM_SHUT
    if told is None and never:
        return NOTHING_TO_SEND
    if incident.passing:
        return NotifyDecision(NotifyReason.FIRST) if told is None else NOTHING_TO_SEND
    if incident.is_superseded:
        return NOTHING_TO_SEND
    ended = incident.recovered_at or now
    settled = ended + FLAP_SETTLE
    if incident.again >= FLAPS_UNTIL_SETTLING and now < settled:
        return NotifyDecision(NotifyReason.NOTHING, settled)
    return NotifyDecision(NotifyReason.RECOVERED)


def _unknown(incident: Incident, target: Target, now: datetime) -> NotifyDecision:
    if target.direct:
        return NotifyDecision(NotifyReason.FIRST)
    escalates = incident.opened_at + (target.escalate or timedelta())
    if incident.acknowledged or incident.passing:
        return NOTHING_TO_SEND
    return NotifyDecision(NotifyReason.ESCALATION) if now >= escalates else NotifyDecision(NotifyReason.NOTHING, escalates)


def _known(incident: Incident, told: NotificationState, target: Target, now: datetime) -> NotifyDecision:
    """What has changed since a destination was last told, the worst first; else what is due by the clock."""
    if RANK[incident.severity] > RANK[told.severity]:
        return NotifyDecision(NotifyReason.WORSE)
    planned: list[tuple[datetime, NotifyReason]] = []
    gathered = told.at + min(GROUP_WAIT * 2 ** min(told.times - 1, 10), MAX_GROUP_WAIT)
    if new_members(incident, told):
        planned.append((gathered, NotifyReason.NEW_MEMBER))
    elif any(name not in told.about for member in incident.open_members for name in member.about):
        planned.append((gathered, NotifyReason.WORSE))
    if target.escalate is not None and not (told.escalated or incident.acknowledged or incident.passing):
        planned.append((incident.opened_at + target.escalate, NotifyReason.ESCALATION))
    if target.remind is not None and (not incident.passing or incident.repeats > told.repeats):
        planned.append((told.at + _interval(target.remind, told.reminders, incident), NotifyReason.REMINDER))
    for at, reason in planned:
        if now >= at:
            return NotifyDecision(reason)
    return NotifyDecision(NotifyReason.NOTHING, min((at for at, _ in planned), default=None))


def _interval(remind: timedelta, reminders: int, incident: Incident) -> timedelta:
    rising: timedelta = min(remind * 2 ** min(reminders, 10), max(remind, SLOWEST_REMINDER))
    return max(rising, SLOWEST_REMINDER) if incident.acknowledged else rising


def _held_back(incident: Incident, say: NotifyDecision, target: Target, around: NotifyContext, now: datetime) -> NotifyDecision:
    """What silences, an upstream, quiet hours and digests make of what would be said."""
    if say.reason is not NotifyReason.RECOVERED:
        if ends := [silence.until for silence in around.silences if silence.matches(incident) and now < silence.until]:
            return NotifyDecision(NotifyReason.NOTHING, max(ends), withheld=True)
        if around.muted_until is not None and now < around.muted_until:
            return NotifyDecision(NotifyReason.NOTHING, around.muted_until, withheld=True)
    if target.quiet is not None and incident.severity is not AlertSeverity.CRITICAL:
        ends_at = quiet_until(target.quiet, target.zone, now)
        if ends_at is not None:
            return NotifyDecision(NotifyReason.NOTHING, ends_at)
    if target.digest is not None:
        if around.gathered_for is None:
            return NotifyDecision(NotifyReason.NOTHING, next_time(target.digest, target.zone, now))
        if now < around.gathered_for:
            return NotifyDecision(NotifyReason.NOTHING, around.gathered_for)
    return say


def next_time(clock: time, zone: ZoneInfo, now: datetime) -> datetime:
    """The next moment, in UTC, at which it is *clock* in a zone; never *now* itself."""
    local = now.astimezone(zone)
    utc = ZoneInfo("UTC")
    at = datetime.combine(local.date(), clock, zone).astimezone(utc)
    return at if at > now else datetime.combine(local.date() + timedelta(days=1), clock, zone).astimezone(utc)


def quiet_until(hours: tuple[time, time], zone: ZoneInfo, now: datetime) -> datetime | None:
    """When the quiet hours that *now* lies in end, in UTC; None outside of them."""
    first, last = hours
    clock = now.astimezone(zone).time()
    inside = first <= clock < last if first < last else clock >= first or clock < last
    return next_time(last, zone, now) if inside else None


def after_notice(incident: Incident, told: NotificationState | None, reason: NotifyReason, now: datetime) -> NotificationState:
    """What a destination knows once it was told of the incident as it stands."""
    same = told is not None and not told.over and reason is not NotifyReason.FIRST
    before = told if same else None
    open_members = incident.open_members
    about = dict.fromkeys((*(before.about if before else ()), *(name for member in open_members for name in member.about)))
    return NotificationState(
        opened_at=incident.opened_at,
        at=now,
        over=incident.state is IncidentState.RECOVERED,
        severity=incident.severity,
        members={member.name: member.since for member in open_members},
        about=tuple(about)[-200:],
        times=before.times + 1 if before else 1,
        reminders=(before.reminders if before else 0) + (reason is NotifyReason.REMINDER),
        escalated=bool(before and before.escalated) or reason is NotifyReason.ESCALATION,
        repeats=incident.repeats,
    )


def new_members(incident: Incident, told: NotificationState | None) -> tuple[str, ...]:
    """The members that a destination has not been told of, or that have come back; not what comes and goes all the time."""
    known = told.members if told is not None and not told.over else {}
    flaps = incident.again >= FLAPS_UNTIL_SETTLING
    return tuple(
        member.name
        for member in incident.open_members
        if known.get(member.name) != member.since and not (flaps and member.name in known)
    )


@dataclass(frozen=True, slots=True)
class Topology:
    """What the order of the phases makes of their incidents: a held phase speaks for the lateness of those that wait for it.

    Args:
        boards: By key.
    """

    pipelines: Mapping[str, Pipeline]
    boards: Mapping[str, Board] = field(default_factory=dict)

    def muted_until(self, incident: Incident, now: datetime) -> datetime | None:
        """Until when at least an upstream speaks for an incident, asked at *now*; None when none does."""
        if incident.cause != Reason.UPSTREAM_SHUT or incident.pipeline not in self.pipelines:
            return None
        waits = [self._waits(incident, member.name, member.about, member.since, now) for member in incident.open_members]
        # Of several run dates one that nobody speaks for is told, and the others with it.
        return None if None in waits else min((wait for wait in waits if wait is not None), default=None)

    def _waits(self, incident: Incident, name: str, about: tuple[str, ...], since: datetime, now: datetime) -> datetime | None:
        newest = since
        for upstream in about:
            board = self.boards.get(f"{incident.pipeline}/{upstream}")
            for other in board.incidents.values() if board else ():
                member = other.members.get(name)
                if member is None or other.passing:
                    continue
                if member.lasts:
                    return now + UPSTREAM_GRACE
                newest = max(newest, member.over_at or since)
        return newest + UPSTREAM_GRACE if now < newest + UPSTREAM_GRACE else None

    def speaking(self, incident: Incident) -> Incident:
        """The incident with the late followers that it speaks for, directly and through others."""
        pipeline = self.pipelines.get(incident.pipeline)
        if pipeline is None or incident.cause == Reason.UPSTREAM_SHUT:
            return incident
        found: dict[str, dict[str, None]] = {}
        for member in incident.open_members:
            for phase in self._late_behind(pipeline, incident.subject, member.name):
                found.setdefault(phase, {})[member.name] = None
        return replace(incident, speaks_for={phase: tuple(names) for phase, names in found.items()})

    def _late_behind(self, pipeline: Pipeline, phase: str, name: str) -> tuple[str, ...]:
        waiting = {}
        for other in pipeline.phases:
            board = self.boards.get(f"{pipeline.name}/{other}")
            own = board.incidents.get(Reason.UPSTREAM_SHUT) if board else None
            member = own.members.get(name) if own else None
            if member is not None and member.lasts:
                waiting[other] = member.about
        late = {phase}
        while more := {other for other, about in waiting.items() if late.intersection(about)} - late:
            late |= more
        return tuple(other for other in pipeline.phases if other in late and other != phase)
