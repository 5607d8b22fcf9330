"""The doctor's daily round: when to look again, and what of it people are told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble
from phasegate.core.gates.gate import AlertState
from phasegate.core.installation.finding import Finding, Health

DAILY = timedelta(days=1)
"""While all is well."""

SOON = timedelta(hours=1)
"""After the first tick, and while something is wrong or can't be looked at."""

BLIND = timedelta(days=1)
"""What could not be looked at for so long is told."""

SUBJECT = "installation"


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found last.

    Args:
        next: When to look again.
        since: Since when people know that something is wrong; None while they know of nothing.
        wrong: What was told, by subject and what was said.
        blind: Since when something can't be looked at; None while everything can.
    """

    next: datetime
    since: datetime | None = None
    wrong: tuple[str, ...] = ()
    blind: datetime | None = None


def check_up(known: Checked, findings: Sequence[Finding], now: datetime) -> tuple[Checked, Trouble | None]:
    """What to remember, and what to tell.

    What is no longer seen to be wrong because it can't be looked at has not recovered. The heartbeat is left out: whoever looks
    here has just ticked.
    """
    seen = [finding for finding in findings if finding.subject != "heartbeat"]
    unseen = [finding for finding in seen if finding.health is Health.NOT_CHECKED]
    blind = (known.blind or now) if unseen else None
    ill = [finding for finding in seen if finding.health is Health.WRONG]
    if blind is not None and now - blind >= BLIND:
        ill += unseen
    wrong = tuple(f"{finding.subject}: {finding.message}" for finding in ill)
    again = now + (SOON if ill or unseen else DAILY)
    if not ill:
        if known.since is None or unseen:
            return Checked(again, known.since, known.wrong, blind), None
        return Checked(again), _trouble((), (), known.since, now)
    since = known.since or now
    if set(map(_gist, wrong)) == set(map(_gist, known.wrong)):
        return Checked(again, since, wrong, blind), None
    return Checked(again, since, wrong, blind), _trouble(wrong, [finding.fix for finding in ill], since, now)


def _gist(message: str) -> str:
    """What is told without its figures: that a clock is two seconds later than an hour ago is nothing new."""
    return re.sub(r"\d+", "0", message)


def _trouble(wrong: Sequence[str], mends: Sequence[str], since: datetime, now: datetime) -> Trouble:
    number = len(wrong)
    things = "1 thing is" if number == 1 else f"{number} things are"
    ill = f"{things} not as the pipeline files and the platform demand; {wrong[0]}" if wrong else ""
    return Trouble(
        key=f"{TroubleCause.MISCONFIGURED}/{SUBJECT}/{now.isoformat()}",
        cause=TroubleCause.MISCONFIGURED,
        subject=SUBJECT,
        state=AlertState.FIRING if wrong else AlertState.RECOVERED,
        detail=ill or "everything is as it must be",
        about=tuple(wrong),
        evidence=tuple(wrong[:10]),
        effect="Messages, gates or alerts may go missing because of it." if wrong else "",
        next=("phasegate doctor", *dict.fromkeys(fix for fix in mends if fix))[:10] if wrong else (),
        since=since,
        at=now,
    )
