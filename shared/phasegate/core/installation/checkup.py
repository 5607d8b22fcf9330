"""The daily checkup: when the doctor runs next, and which of its findings raise an alert."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble
from phasegate.core.gates.gate import AlertState
from phasegate.core.installation.finding import Finding, Health
from phasegate.core.pipeline.model import AlertSeverity

DAILY = timedelta(days=1)
"""Time between two checkups while everything is fine."""

SOON = timedelta(hours=1)
"""Time to the next checkup after the first tick, and while something is wrong or could not be checked."""

BLIND_LIMIT = timedelta(days=1)
"""What could not be checked for this time raises an alert, too."""

SUBJECT = "installation"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of the last checkup.

    Args:
        next: When the next one is due.
        since: Since when the incident is open; None while there is none.
        wrong: What the incident reports, each as `subject: message`.
        blind: Since when something could not be checked; None while everything can.
        advised: Subjects of what is ok, but about which people were given advice.
    """

    next: datetime
    since: datetime | None = None
    wrong: tuple[str, ...] = ()
    blind: datetime | None = None
    advised: tuple[str, ...] = ()


def check_up(last: Checked, findings: Sequence[Finding], now: datetime) -> tuple[Checked, Trouble | None]:
    """The result to store, and the change to the incident, if any."""
    # A checkup runs in a tick, so its own heartbeat means nothing here.
    relevant = [finding for finding in findings if finding.subject != "heartbeat"]
    unchecked = [finding for finding in relevant if finding.health is Health.NOT_CHECKED]
    blind = (last.blind or now) if unchecked else None
    faults = [finding for finding in relevant if finding.health is Health.WRONG]
    if blind is not None and now - blind >= BLIND_LIMIT:
        faults += unchecked
    wrong = tuple(f"{finding.subject}: {finding.message}" for finding in faults)
    due = now + (SOON if faults or unchecked else DAILY)
    if not faults:
        # What was wrong and can't be checked now has not recovered: the incident stays open.
        if last.since is None or unchecked:
            return Checked(due, last.since, last.wrong, blind), None
        return Checked(due), _trouble((), (), last.since, now)
    since = last.since or now
    if set(map(_without_figures, wrong)) == set(map(_without_figures, last.wrong)):
        return Checked(due, since, wrong, blind), None
    return Checked(due, since, wrong, blind), _trouble(wrong, [finding.fix for finding in faults], since, now)


def advice(last: Checked, findings: Sequence[Finding], now: datetime) -> tuple[Trouble, ...]:
    """What to tell people once although nothing is wrong: the history of a pipeline is not adopted."""
    return tuple(
        Trouble(
            key=f"{TroubleCause.NOT_ADOPTED}/{finding.subject}",
            cause=TroubleCause.NOT_ADOPTED,
            subject=finding.subject,
            detail=finding.message,
            severity=AlertSeverity.INFO,
            next=(finding.fix,),
            since=now,
            at=now,
        )
        for finding in findings
        if finding.health is Health.OK and finding.fix and finding.subject not in last.advised
    )


def _without_figures(message: str) -> str:
    """A message without its numbers: a clock that is two seconds later than an hour ago is no news."""
    return re.sub(r"\d+", "0", message)


def _trouble(wrong: Sequence[str], fixes: Sequence[str], since: datetime, now: datetime) -> Trouble:
    problems = "1 problem" if len(wrong) == 1 else f"{len(wrong)} problems, first"
    detail = f"the doctor found {problems}: {wrong[0]}" if wrong else "the doctor finds no problems"
    return Trouble(
        key=f"{TroubleCause.MISCONFIGURED}/{SUBJECT}/{now.isoformat()}",
        cause=TroubleCause.MISCONFIGURED,
        subject=SUBJECT,
        state=AlertState.FIRING if wrong else AlertState.RECOVERED,
        detail=detail,
        about=tuple(wrong),
        evidence=tuple(wrong[:10]),
        effect="Messages, gates or alerts may be lost until this is fixed." if wrong else "",
        next=("phasegate doctor", *dict.fromkeys(fix for fix in fixes if fix))[:10] if wrong else (),
        since=since,
        at=now,
    )
