"""Troubles that concern no gate; told, reminded of and recovered from as those of a gate are."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from phasegate.core.gate import AlertState
from phasegate.core.pipeline import AlertSeverity


class TroubleCause(StrEnum):
    """What can be wrong beside the gates."""

    MESSAGE_REJECTED = "message_rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that people should know of and that is not a gate: a rejected message, a failed deployment, drift.

    Args:
        key: Identifies this change; the same when it is said again.
        subject: What is in trouble: `messages`, a build trigger, a resource. One incident per cause and subject.
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
    severity: AlertSeverity = AlertSeverity.WARNING
    state: AlertState = AlertState.FIRING
    evidence: tuple[str, ...] = ()
    effect: str = ""
    next: tuple[str, ...] = ()
