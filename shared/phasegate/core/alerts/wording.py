"""What people read about an incident: which words, in which order; how they look is a matter of the channel."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from phasegate.core.alerts.incident import RANK, Incident, IncidentState, Member, NotifyReason
from phasegate.core.alerts.notice import Block, Commands, Facts, Link, Links, Listing, Notice, Paragraph, Tone

_TITLES = {
    "checks_failed": "held",
    "ran_before_upstream": "held: it ran before its upstream",
    "producer_failed": "held: a producer failed",
    "producers_missing": "overdue",
    "nothing_heard": "overdue: nothing was heard",
    "no_message": "overdue: rows are there, and no message",
    "not_started": "overdue: not started after its upstream",
    "upstream_shut": "overdue: its upstream is not released",
    "not_measured": "could not be measured",
    "late_failure": "got worse after its release",
    "not_run_again": "stale: not run again after its upstream",
    "passed": "released with warnings",
    "quorum": "released without some outputs",
    "overridden": "released by a person",
    "observed": "released unjudged (observe mode)",
    "retries_spent": "asked to run again, in vain",
    "retries_suspended": "no longer asked to run again",
    "unsent": "messages are not sent",
    "message_rejected": "a message was rejected",
    "message_undelivered": "a message could not be delivered",
    "destination_down": "alerts are not taken",
    "build_failed": "the build failed",
    "drift": "it is not as it was deployed",
    "not_compared": "nobody knows whether it is as it was deployed",
    "misconfigured": "it is not as it must be",
}

_CAUSES = {
    "nothing_heard": "The job did not run, or could not report: nobody has said a word about this date.",
    "producers_missing": "A producer did not run, has not ended, or could not report.",
    "producer_failed": "The job itself failed; its own log says why.",
    "ran_before_upstream": "Something else than the upstream's go-signal started it: a schedule, or a person.",
    "upstream_shut": "Its upstream is late; it can run once that is released.",
    "not_measured": "The warehouse gave no answer, or a table or column is missing.",
    "late_failure": "The tables were changed after the release: by a late load, a repair or a clean-up.",
    "not_run_again": "Nothing has started it again: the new go-signal of its upstream did not reach it, or was passed over.",
    "message_rejected": "A producer writes something else than was agreed, or a name or date in it is wrong.",
    "message_undelivered": "The function that takes it has failed at every attempt; its log says why.",
    "destination_down": "Its address or password was replaced, its server is away, or it was removed.",
    "drift": "Somebody, or another program, has changed it by hand.",
    "not_compared": "The account of the check lost a right, the state is locked or away, or an API does not answer.",
}
# What usually lies behind a failed check, by the last word of its name.
_CAUSES_OF_CHECKS = {
    "row_count": "A file or partition was loaded in part, or more than once.",
    "key": "The same rows were loaded more than once.",
    "unique": "The same rows were loaded more than once.",
    "coverage": "Some of what the upstream announced was not processed.",
    "references": "Rows of another run are left over, or the table that they refer to is incomplete.",
    "fresh": "The run has read old input, or has not written all of its output.",
    "schema": "A column was renamed, dropped or given another type.",
    "not_null": "A source has stopped filling a column, or a join has found no partner.",
    "accepted_values": "A source uses a value that it has not used before.",
    "distinct": "A column has become constant: a default has taken the place of data.",
}


def compose(
    incident: Incident, reason: NotifyReason, *, now: datetime, key: str, new: Sequence[str] = (), links: Sequence[Link] = ()
) -> Notice:
    """What to say of an incident: what and where, effect, probable cause, evidence, next action, links, ids.

    Args:
        reason: Why it is said.
        key: Identifies what is said; the notice's.
        new: Members that were not told before.
        links: Where to acknowledge it and to read more.
    """
    over = incident.state is IncidentState.RECOVERED or reason is NotifyReason.RECOVERED
    members = tuple(map(_as_it_ended, incident.current)) if over else incident.open_members
    first = max(members, key=lambda member: RANK[member.severity], default=None)
    facts = [
        ("Effect", " ".join(_unique(member.effect for member in members))),
        ("Also late", "" if over else _followers(incident)),
        ("Probable cause", "" if over else _cause(incident)),
        ("Since", f"{_minute(incident.since)} ({_span(now - incident.since)})" if not over else ""),
        ("Lasted", f"{_minute(incident.since)} to {_minute(incident.recovered_at or now)}" if over else ""),
        ("Told because", _why(incident, reason, new, now)),
        ("Taken on by", _taken(incident)),
    ]
    return Notice(
        key=key,
        thread=f"{incident.key}/{incident.opened_at.isoformat()}",
        tone=Tone.RECOVERED if over else Tone(incident.severity),
        subject=_subject(incident, reason, members, over=over, now=now),
        lead=f"{first.detail}." if first and first.detail else "",
        blocks=(
            Facts(tuple((name, value) for name, value in facts if value)),
            *_evidence(members, first),
            Commands("Next", () if over else tuple(_next(incident, members))),
            Links(tuple(links)),
            Paragraph(f"Incident {incident.key}"),
        ),
        at=now,
        data={"reason": reason, **for_machines(incident)},
    )


def _as_it_ended(member: Member) -> Member:
    ended = f"it goes on as: {_title(member.became)}" if member.became else member.ended
    return replace(member, detail=ended or member.detail, effect="", evidence=())


def _title(cause: str) -> str:
    return _TITLES.get(cause, cause.replace("_", " "))


def _subject(incident: Incident, reason: NotifyReason, members: Sequence[Member], *, over: bool, now: datetime) -> str:
    title = _title(incident.cause)
    if over:
        title = f"recovered after {_span((incident.recovered_at or now) - incident.since)} (was {title})"
    elif reason is NotifyReason.REMINDER:
        title = f"still {title}"
    elif reason is NotifyReason.ESCALATION:
        title = f"nobody has acknowledged: {title}"
    elif incident.again:
        title = f"again {title}"
    names = [member.name for member in members if member.name]
    if len(names) > 1:
        count = f"{len(names)} dates, {names[0]} to {names[-1]}" if incident.phase else f"{len(names)} cases"
        where = f"{incident.subject}, {count}"
    else:
        where = f"{incident.subject} of {names[0]}" if names and incident.phase else incident.subject
    return f"[{incident.pipeline or 'phasegate'}] {where}: {title}"


def _evidence(members: Sequence[Member], first: Member | None) -> Iterator[Block]:
    if len(members) == 1 and first is not None:
        yield Listing("Evidence", tuple(line for line in first.evidence if line != first.detail))
        return
    details = {member.name: member.detail for member in members}
    if len(set(details.values())) == 1:  # what tells them apart, if anything does
        details = {member.name: member.evidence[0] if member.evidence else member.detail for member in members}
    if len(set(details.values())) == 1:
        yield Listing("The same for each of", tuple(details))
    else:
        yield Listing("One by one", tuple(f"{name}: {detail}" for name, detail in details.items()))


def _why(incident: Incident, reason: NotifyReason, new: Sequence[str], now: datetime) -> str:
    match reason:
        case NotifyReason.NEW_MEMBER:
            return f"new: {', '.join(new[:5])}{f' and {len(new) - 5} more' if len(new) > 5 else ''}" if new else "it has grown"
        case NotifyReason.WORSE:
            return f"it has become worse, and is {incident.severity} now"
        case NotifyReason.REMINDER:
            lasted = f"it has lasted for {_span(now - incident.since)}"
            return f"it has come back {incident.again} times" if incident.again > 1 else lasted
        case NotifyReason.ESCALATION:
            return f"nobody has acknowledged it for {_span(now - incident.opened_at)}"
        case _:
            return f"it has come back {incident.again} times" if incident.again > 1 else ""


def _taken(incident: Incident) -> str:
    word = incident.acknowledged
    return "" if word is None else f"{word.by}, {_minute(word.at)}{f': {word.note}' if word.note else ''}"


def _followers(incident: Incident) -> str:
    each = (f"{phase} ({', '.join(dates[:3])}{' …' if len(dates) > 3 else ''})" for phase, dates in incident.speaks_for.items())
    listed = ", ".join(each)
    return f"{listed}; told here, and not on their own" if listed else ""


def _cause(incident: Incident) -> str:
    if incident.cause != "checks_failed":
        return _CAUSES.get(incident.cause, "")
    kinds = _unique(name.rpartition(".")[2] for member in incident.open_members for name in member.about)
    return " Or: ".join(_unique(_CAUSES_OF_CHECKS[kind] for kind in kinds if kind in _CAUSES_OF_CHECKS))


def _next(incident: Incident, members: Sequence[Member]) -> Iterator[str]:
    """Commands that help; what stands in them is quoted for a shell."""
    yield from _unique(line for member in members for line in member.next)
    if incident.phase is None or not members:
        return
    phase, pipeline = shlex.quote(incident.phase), shlex.quote(incident.pipeline)
    yield f"phasegate explain {phase} {shlex.quote(members[0].name)} --pipeline {pipeline}"
    if len(members) > 1:
        dates = shlex.quote(f"{members[0].name}..{members[-1].name}")
        yield f"phasegate validate {dates} --phase {phase} --pipeline {pipeline}"


def for_machines(incident: Incident) -> Mapping[str, Any]:
    """An incident for machines; what may be long is cut, and its length is told."""
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
    """Many notices as one: a daily digest, or what has piled up for a destination.

    Args:
        notices: At least one.
        title: What they are, for the subject.
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
            Listing("What", tuple(f"{notice.tone.upper()} {notice.subject}. {notice.lead}" for notice in ordered)),
            Commands("Next", ("phasegate alerts",)),
        ),
        at=now,
        data={"notices": [{"key": notice.key, "tone": notice.tone, **notice.data} for notice in ordered[:50]]},
    )


def compose_test(destination: str, *, key: str, now: datetime) -> Notice:
    """The notice with which a destination is tried."""
    return Notice(
        key=key,
        thread="phasegate/self-test",
        tone=Tone.INFO,
        subject=f"[phasegate] test of {destination}",
        lead="Alerts reach you here. Nothing is wrong, and nothing need be done.",
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
