"""Whom to notify of an incident, when and why: routes, reminders, escalation, digests, quiet hours, silences, topology.

What is due follows from a comparison, not from events: the incident as it is now, and what a destination was last told. So an
alert that arrives twice, late or out of order, or a process that dies between two steps, cannot add or lose a notice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from phasegate.core.alerts.incident import RANK, Board, Incident, IncidentState, Member, NotifyReason
from phasegate.core.gates.gate import Reason
from phasegate.core.pipeline.model import AlertSeverity, Pipeline, Route

GROUP_WAIT = timedelta(minutes=1)
"""How long new members of a reported incident are collected before the next notice; the time doubles with each notice."""

MAX_GROUP_WAIT = timedelta(hours=1)
"""The longest that new members are collected."""

SLOWEST_REMINDER = timedelta(hours=24)
"""The longest interval between reminders, unless the route sets a longer one; the shortest once somebody acknowledged."""

CAUSED_BY_UPSTREAM = frozenset({Reason.UPSTREAM_SHUT, Reason.RAN_BEFORE_UPSTREAM})
"""Causes that an upstream's own alert reports: the follower waits for it, or ran without waiting."""

UPSTREAM_GRACE = timedelta(minutes=2)
"""How long the alert of a late follower waits: for the alert of its upstream, or for its own recovery after its upstream's."""

FLAP_SETTLE = timedelta(minutes=15)
"""A flapping incident counts as recovered once it has stayed so for this time."""

FLAPS_UNTIL_SETTLING = 2
"""An incident is flapping when it reopened soon after its recovery this many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A destination of an incident, and when its route wants it notified.

    Args:
        destination: Pipeline and name: flights/team.
        direct: True when it is notified immediately; False when only by an escalation.
        remind: The first interval between reminders; None for no reminders.
        escalate: The time without acknowledgement after which it is notified by an escalation.
        digest: The local time of day at which everything is sent as one notice.
        quiet: The local hours in which only critical incidents are sent.
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
    """A person's decision to mute what matches until a given time; a field that is None matches everything.

    Args:
        subject: A phase, or the subject of a trouble.
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
        """True when it mutes the incident, as long as it is active."""
        pairs = ((self.pipeline, incident.pipeline), (self.subject, incident.subject), (self.cause, incident.cause))
        return all(wanted in (None, actual) for wanted, actual in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationState:
    """What a destination knows of an incident.

    Args:
        opened_at: Of the opening that it was notified of.
        at: When it was last notified.
        over: True when it was notified of the recovery.
        members: The members that it was notified of, and since when each had its problem then.
        about: What those were about.
        times: Notices about this opening.
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
        reason: Why it is notified now; NOTHING, when it is not.
        again: When to decide again; None when only a change of the incident matters.
        withheld: True when only a silence, or an upstream that reports it, keeps it from being notified.
    """

    reason: NotifyReason
    again: datetime | None = None
    withheld: bool = False


NOTHING_TO_SEND = NotifyDecision(NotifyReason.NOTHING)
"""Nothing to send, and nothing to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyContext:
    """What else the decision depends on.

    Args:
        silences: All that may be active; the decision checks which match.
        muted_until: Until when, at least, an upstream reports the incident; None when none does.
        gathered_for: The digest that it already waits for.
        was_withheld: True when it was muted since it opened, and never sent.
    """

    silences: Sequence[Silence] = ()
    muted_until: datetime | None = None
    gathered_for: datetime | None = None
    was_withheld: bool = False


def targets(incident: Incident, pipelines: Iterable[Pipeline]) -> Mapping[str, Target]:
    """The destinations of an incident by name; where several routes name one, the first of them decides.

    An incident of no pipeline goes to the destinations of all pipelines; where two are the same place, to one of them.
    """
    by_name: dict[str, Target] = {}
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
                if key not in by_name:
                    place = pipeline.alerts.destinations[name]
                    if place in places:
                        continue
                    places.append(place)
                    by_name[key] = _target(key, pipeline, route, direct=direct)
                elif not direct and route.escalate and by_name[key].escalate is None:
                    by_name[key] = replace(by_name[key], escalate=route.escalate.after)
    return by_name


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
    incident: Incident, told: NotificationState | None, target: Target, context: NotifyContext, *, now: datetime
) -> NotifyDecision:
    """Whether and why a destination is notified of an incident now, and when to decide again.

    Args:
        told: What the destination knows; None when it was never notified.
    """
    # A flapping incident is not news each time that it opens, so what the destination knows of earlier openings still counts.
    unaware = told is None or told.over or (told.opened_at != incident.opened_at and not incident.again)
    if incident.state is IncidentState.RECOVERED and told is not None and told.over and told.opened_at == incident.opened_at:
        return NOTHING_TO_SEND
    if incident.state is IncidentState.RECOVERED:
        decision = _recovery(incident, None if unaware else told, target, context, now)
    elif unaware:
        decision = _opening(incident, target, now)
    else:
        assert told is not None
        decision = _change(incident, told, target, now)
    if decision.reason is NotifyReason.NOTHING:
        return decision
    return _put_off(incident, decision, target, context, now)


def _recovery(
    incident: Incident, told: NotificationState | None, target: Target, context: NotifyContext, now: datetime
) -> NotifyDecision:
    """A recovery is sent once, even where the alert itself was not sent in time; but not where it was muted."""
    muted = context.was_withheld or not target.direct or incident.is_superseded or incident.cause == Reason.UPSTREAM_SHUT
    if told is None and muted:
        return NOTHING_TO_SEND
    if incident.passing:
        return NotifyDecision(NotifyReason.FIRST) if told is None else NOTHING_TO_SEND
    if incident.is_superseded:
        return NOTHING_TO_SEND
    settled = (incident.recovered_at or now) + FLAP_SETTLE
    if incident.again >= FLAPS_UNTIL_SETTLING and now < settled:
        return NotifyDecision(NotifyReason.NOTHING, settled)
    return NotifyDecision(NotifyReason.RECOVERED)


def _opening(incident: Incident, target: Target, now: datetime) -> NotifyDecision:
    """An incident that the destination does not know of: sent immediately, or when it escalates."""
    if target.direct:
        return NotifyDecision(NotifyReason.FIRST)
    escalates_at = incident.opened_at + (target.escalate or timedelta())
    if incident.acknowledged or incident.passing:
        return NOTHING_TO_SEND
    if now >= escalates_at:
        return NotifyDecision(NotifyReason.ESCALATION)
    return NotifyDecision(NotifyReason.NOTHING, escalates_at)


def _change(incident: Incident, told: NotificationState, target: Target, now: datetime) -> NotifyDecision:
    """What changed since the destination was last notified, the most severe change first; otherwise what is due by time."""
    if RANK[incident.severity] > RANK[told.severity]:
        return NotifyDecision(NotifyReason.WORSE)
    planned: list[tuple[datetime, NotifyReason]] = []
    collected = told.at + min(GROUP_WAIT * 2 ** min(told.times - 1, 10), MAX_GROUP_WAIT)
    if new_members(incident, told):
        planned.append((collected, NotifyReason.NEW_MEMBER))
    elif any(name not in told.about for member in incident.open_members for name in member.about):
        planned.append((collected, NotifyReason.WORSE))
    if target.escalate is not None and not (told.escalated or incident.acknowledged or incident.passing):
        planned.append((incident.opened_at + target.escalate, NotifyReason.ESCALATION))
    if target.remind is not None and (not incident.passing or incident.repeats > told.repeats):
        planned.append((told.at + _reminder_interval(target.remind, told.reminders, incident), NotifyReason.REMINDER))
    for at, reason in planned:
        if now >= at:
            return NotifyDecision(reason)
    return NotifyDecision(NotifyReason.NOTHING, min((at for at, _ in planned), default=None))


def _reminder_interval(remind: timedelta, reminders: int, incident: Incident) -> timedelta:
    interval: timedelta = min(remind * 2 ** min(reminders, 10), max(remind, SLOWEST_REMINDER))
    return max(interval, SLOWEST_REMINDER) if incident.acknowledged else interval


def _put_off(
    incident: Incident, decision: NotifyDecision, target: Target, context: NotifyContext, now: datetime
) -> NotifyDecision:
    """The decision, unless a silence, an upstream, quiet hours or a digest puts it off."""
    # Silences let a recovery through: people who know of the problem should not keep looking for it.
    if decision.reason is not NotifyReason.RECOVERED:
        if ends := [silence.until for silence in context.silences if silence.matches(incident) and now < silence.until]:
            return NotifyDecision(NotifyReason.NOTHING, max(ends), withheld=True)
        if context.muted_until is not None and now < context.muted_until:
            return NotifyDecision(NotifyReason.NOTHING, context.muted_until, withheld=True)
    if target.quiet is not None and incident.severity is not AlertSeverity.CRITICAL:
        ends_at = quiet_until(target.quiet, target.zone, now)
        if ends_at is not None:
            return NotifyDecision(NotifyReason.NOTHING, ends_at)
    if target.digest is not None:
        if context.gathered_for is None:
            return NotifyDecision(NotifyReason.NOTHING, next_time(target.digest, target.zone, now))
        if now < context.gathered_for:
            return NotifyDecision(NotifyReason.NOTHING, context.gathered_for)
    return decision


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
    """What a destination knows once it was notified of the incident as it is now."""
    same_opening = told is not None and not told.over and reason is not NotifyReason.FIRST
    before = told if same_opening else None
    members = incident.open_members
    about = dict.fromkeys((*(before.about if before else ()), *(name for member in members for name in member.about)))
    return NotificationState(
        opened_at=incident.opened_at,
        at=now,
        over=incident.state is IncidentState.RECOVERED,
        severity=incident.severity,
        members={member.name: member.since for member in members},
        about=tuple(about)[-200:],
        times=before.times + 1 if before else 1,
        reminders=(before.reminders if before else 0) + (reason is NotifyReason.REMINDER),
        escalated=bool(before and before.escalated) or reason is NotifyReason.ESCALATION,
        repeats=incident.repeats,
    )


def new_members(incident: Incident, told: NotificationState | None) -> tuple[str, ...]:
    """The open members that a destination does not know of, or that came back; not those of a flapping incident."""
    reported = told.members if told is not None and not told.over else {}
    flaps = incident.again >= FLAPS_UNTIL_SETTLING
    return tuple(
        member.name
        for member in incident.open_members
        if reported.get(member.name) != member.since and not (flaps and member.name in reported)
    )


@dataclass(frozen=True, slots=True)
class Topology:
    """How the order of the phases connects their incidents: a held phase reports the followers that are late because of it.

    Args:
        boards: By key.
    """

    pipelines: Mapping[str, Pipeline]
    boards: Mapping[str, Board] = field(default_factory=dict)

    def muted_until(self, incident: Incident, now: datetime) -> datetime | None:
        """Until when, at least, an upstream reports an incident; None when none does."""
        if incident.cause not in CAUSED_BY_UPSTREAM or incident.pipeline not in self.pipelines:
            return None
        ends = [self._member_muted_until(incident, member, now) for member in incident.open_members]
        # If no upstream reports one of several run dates, the incident is sent, with all of its dates.
        return None if None in ends else min((end for end in ends if end is not None), default=None)

    def _member_muted_until(self, incident: Incident, member: Member, now: datetime) -> datetime | None:
        newest, grace = member.since, UPSTREAM_GRACE
        for upstream in member.about:
            board = self.boards.get(f"{incident.pipeline}/{upstream}")
            for other in board.incidents.values() if board else ():
                cause = other.members.get(member.name)
                if cause is None or other.passing:
                    continue
                if cause.is_open:
                    return now + UPSTREAM_GRACE
                newest = max(newest, cause.over_at or member.since)
                if incident.cause == Reason.RAN_BEFORE_UPSTREAM and newest > member.since:
                    # The upstream's go-signal has just started it again, and it takes as long as a late run may.
                    grace = max(grace, self.pipelines[incident.pipeline].phase(incident.subject).late_by)
        # No upstream has a problem now. Its alert may still be on its way, or the follower's own recovery: wait for both.
        return newest + grace if now < newest + grace else None

    def with_followers(self, incident: Incident) -> Incident:
        """The incident with the late followers that it reports, directly and through others."""
        pipeline = self.pipelines.get(incident.pipeline)
        if pipeline is None or incident.cause == Reason.UPSTREAM_SHUT:
            return incident
        late: dict[str, dict[str, None]] = {}
        for member in incident.open_members:
            for phase in self._late_behind(pipeline, incident.subject, member.name):
                late.setdefault(phase, {})[member.name] = None
        return replace(incident, speaks_for={phase: tuple(names) for phase, names in late.items()})

    def _late_behind(self, pipeline: Pipeline, phase: str, name: str) -> tuple[str, ...]:
        """The phases that wait for a phase on a run date, in the order of the pipeline."""
        waiting = {}
        for other in pipeline.phases:
            board = self.boards.get(f"{pipeline.name}/{other}")
            for own in board.incidents.values() if board else ():
                member = own.members.get(name)
                if own.cause in CAUSED_BY_UPSTREAM and member is not None and member.is_open:
                    waiting[other] = member.about
        late = {phase}
        while more := {other for other, upstreams in waiting.items() if late.intersection(upstreams)} - late:
            late |= more
        return tuple(other for other in pipeline.phases if other in late and other != phase)
