"""What people read about an incident: which words, in which order. Each channel decides how they look."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from phasegate.core.alerts.causes import CHECK_CAUSES, cause_text
from phasegate.core.alerts.incident import RANK, Incident, IncidentState, Member, NotifyReason
from phasegate.core.alerts.notice import Commands, Facts, Link, Links, Listing, Notice, Paragraph, Tone
from phasegate.core.gates.gate import Reason


def compose(
    incident: Incident, reason: NotifyReason, *, now: datetime, key: str, new: Sequence[str] = (), links: Sequence[Link] = ()
) -> Notice:
    """A notice about an incident: what and where, effect, probable cause, evidence, next steps, links, ids.

    Args:
        reason: Why it is sent.
        key: Identifies the notice.
        new: Members that were not reported before.
        links: Where to acknowledge it and to read more.
    """
    over = incident.state is IncidentState.RECOVERED or reason is NotifyReason.RECOVERED
    members = newest_first(incident, tuple(map(_as_it_ended, incident.current)) if over else incident.open_members)
    worst = max(members, key=lambda member: RANK[member.severity], default=None)
    facts = [
        ("Effect", " ".join(_unique(member.effect for member in members))),
        ("Also late", "" if over else _followers(incident)),
        ("Probable cause", "" if over else _probable_cause(incident)),
        ("Since", f"{_minute(incident.since)} ({_span(now - incident.since)})" if not over else ""),
        ("Open from", f"{_minute(incident.since)} to {_minute(incident.recovered_at or now)}" if over else ""),
        ("Why you got this", _why(incident, reason, new, now)),
        ("Acknowledged by", _owner(incident)),
    ]
    return Notice(
        key=key,
        thread=f"{incident.key}/{incident.opened_at.isoformat()}",
        tone=Tone.RECOVERED if over else Tone(incident.severity),
        subject=_subject(incident, reason, members, over=over, now=now),
        lead=f"{worst.detail}." if worst and worst.detail else "",
        blocks=(
            Facts(tuple((name, value) for name, value in facts if value)),
            _evidence(incident, members, worst),
            Commands("Next", () if over else tuple(_next(incident, members))),
            Links(tuple(links)),
            Paragraph(f"Incident {incident.key}"),
        ),
        at=now,
        data={"reason": reason, **for_machines(incident)},
    )


def newest_first(incident: Incident, members: Sequence[Member]) -> Sequence[Member]:
    """Members in the order in which people read them: the newest run date is the one that they can still do something about."""
    return tuple(reversed(members)) if incident.phase else members


def _as_it_ended(member: Member) -> Member:
    ended = f"continues as: {cause_text(member.became).title}" if member.became else member.ended
    return replace(member, detail=ended or member.detail, effect="", evidence=())


def _subject(incident: Incident, reason: NotifyReason, members: Sequence[Member], *, over: bool, now: datetime) -> str:
    title = cause_text(incident.cause).title
    if over:
        title = f"recovered after {_span((incident.recovered_at or now) - incident.since)} (was: {title})"
    elif reason is NotifyReason.REMINDER:
        title = f"{title} (still open)"
    elif reason is NotifyReason.ESCALATION:
        title = f"{title} (not acknowledged)"
    elif incident.again:
        title = f"{title} (again)"
    names = [member.name for member in members if member.name]
    if len(names) > 1:
        count = f"{len(names)} dates, {names[-1]} to {names[0]}" if incident.phase else f"{len(names)} cases"
        where = f"{incident.subject}, {count}"
    else:
        where = f"{incident.subject} of {names[0]}" if names and incident.phase else incident.subject
    return f"[{incident.pipeline or 'phasegate'}] {where}: {title}"


def _evidence(incident: Incident, members: Sequence[Member], worst: Member | None) -> Listing:
    """What was expected and what was found; of several members, what tells them apart, or else their names."""
    if len(members) == 1 and worst is not None:
        return Listing("Evidence", tuple(line for line in worst.evidence if line != worst.detail))
    title = "Affected dates" if incident.phase else "Affected cases"
    details = {member.name: member.detail for member in members}
    if len(set(details.values())) == 1:
        details = {member.name: member.evidence[0] if member.evidence else member.detail for member in members}
    if len(set(details.values())) == 1:
        return Listing(title, tuple(details))
    return Listing(title, tuple(f"{name}: {detail}" for name, detail in details.items()))


def _why(incident: Incident, reason: NotifyReason, new: Sequence[str], now: datetime) -> str:
    reopened = f"it reopened {incident.again} times" if incident.again > 1 else ""
    match reason:
        case NotifyReason.NEW_MEMBER:
            more = f" and {len(new) - 5} more" if len(new) > 5 else ""
            return f"{', '.join(new[:5])}{more} {'is' if len(new) == 1 else 'are'} new" if new else "it grew"
        case NotifyReason.WORSE:
            return f"it got worse and is now {incident.severity}"
        case NotifyReason.REMINDER:
            return reopened or f"it is still open after {_span(now - incident.since)}"
        case NotifyReason.ESCALATION:
            return f"nobody has acknowledged it for {_span(now - incident.opened_at)}"
        case NotifyReason.FIRST | NotifyReason.RECOVERED | NotifyReason.NOTHING:
            return reopened
        case _:
            assert_never(reason)


def _owner(incident: Incident) -> str:
    ack = incident.acknowledged
    return "" if ack is None else f"{ack.by}, {_minute(ack.at)}{f': {ack.note}' if ack.note else ''}"


def _followers(incident: Incident) -> str:
    newest = {phase: sorted(dates, reverse=True) for phase, dates in incident.speaks_for.items()}
    late = (f"{phase} ({', '.join(dates[:3])}{' …' if len(dates) > 3 else ''})" for phase, dates in newest.items())
    listed = ", ".join(late)
    return f"{listed}; no separate alerts" if listed else ""


def _probable_cause(incident: Incident) -> str:
    if probable := cause_text(incident.cause).probable:
        return probable
    kinds = _unique(kind for member in incident.open_members for kind in _check_kinds(incident, member))
    return " Or: ".join(_unique(CHECK_CAUSES.get(kind, "") for kind in kinds))


def _check_kinds(incident: Incident, member: Member) -> Iterable[str]:
    if member.check_kinds or incident.cause != Reason.CHECKS_FAILED:
        return member.check_kinds
    # Stored by an older version, without the kinds. A check without a name of its own has its kind in its name.
    return (part for name in member.about for part in name.split("."))


def _next(incident: Incident, members: Sequence[Member]) -> Iterator[str]:
    """Commands that help; names in them are quoted for a shell, because people paste them."""
    yield from _unique(line for member in members for line in member.next)
    if incident.phase is None or not members:
        return
    phase, pipeline = shlex.quote(incident.phase), shlex.quote(incident.pipeline)
    yield f"phasegate explain {phase} {shlex.quote(members[0].name)} --pipeline {pipeline}"
    if len(members) > 1:
        dates = shlex.quote(f"{members[-1].name}..{members[0].name}")
        yield f"phasegate validate {dates} --phase {phase} --pipeline {pipeline}"


def for_machines(incident: Incident) -> Mapping[str, Any]:
    """An incident for machines; of long lists the beginning, and how long they are."""
    members = incident.current
    return {
        "incident": incident.key,
        "pipeline": incident.pipeline or None,
        "subject": incident.subject,
        "cause": incident.cause,
        "state": incident.state,
        "severity": incident.severity,
        "since": incident.since.isoformat(),
        "recovered_at": incident.recovered_at.isoformat() if incident.recovered_at else None,
        "acknowledged_by": incident.acknowledged.by if incident.acknowledged else None,
        "member_count": len(members),
        "members": [_member(member) for member in members[:100]],
        "followers": {phase: list(dates[:100]) for phase, dates in incident.speaks_for.items()},
    }


def _member(member: Member) -> Mapping[str, Any]:
    return {
        "name": member.name,
        "severity": member.severity,
        "gate": member.gate or None,
        "since": member.since.isoformat(),
        "over_at": member.over_at.isoformat() if member.over_at else None,
    }


def compose_digest(notices: Sequence[Notice], *, title: str, key: str, thread: str, now: datetime) -> Notice:
    """Many notices as one: a daily digest, or what piled up for a destination.

    Args:
        notices: At least one.
        title: The subject line.
    """
    worst = min((notice.tone for notice in notices), key=tuple(Tone).index)
    ordered = sorted(notices, key=lambda notice: tuple(Tone).index(notice.tone))
    counts = [(tone, sum(notice.tone is tone for notice in notices)) for tone in Tone]
    return Notice(
        key=key,
        thread=thread,
        tone=worst,
        subject=title,
        lead=", ".join(f"{count} {tone}" for tone, count in counts if count) + ".",
        blocks=(
            Listing("Incidents", tuple(f"{notice.tone.upper()} {notice.subject}. {notice.lead}" for notice in ordered)),
            Commands("Next", ("phasegate alerts",)),
        ),
        at=now,
        data={"notices": [{"key": notice.key, "tone": notice.tone, **notice.data} for notice in ordered[:50]]},
    )


def compose_test(destination: str, *, key: str, now: datetime) -> Notice:
    """The notice that tests a destination."""
    return Notice(
        key=key,
        thread="phasegate/self-test",
        tone=Tone.INFO,
        subject=f"[phasegate] test of {destination}",
        lead="This is a test: alerts reach you here. Nothing is wrong, and there is nothing to do.",
        blocks=(Facts((("Sent", _minute(now)),)),),
        at=now,
        data={"test": destination},
    )


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(span: timedelta) -> str:
    minutes = max(int(span.total_seconds() // 60), 0)
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days {hours % 24} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"
