"""Causes of alerts: how each reads, what usually lies behind it, and whether an alert will end it.

A new cause is a member of `Reason` or `TroubleCause` and an entry in `CAUSES`; a new kind of check has an entry in
`CHECK_CAUSES`. Tests name what is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from phasegate.core.gates.gate import Reason


class TroubleCause(StrEnum):
    """What can be wrong apart from the gates."""

    MESSAGE_REJECTED = "message_rejected"
    MESSAGE_UNDELIVERED = "message_undelivered"
    DESTINATION_DOWN = "destination_down"
    RETRIES_SUSPENDED = "retries_suspended"
    UNSENT = "unsent"
    BUILD_FAILED = "build_failed"
    DRIFT = "drift"
    NOT_COMPARED = "not_compared"
    NOT_ADOPTED = "not_adopted"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class CauseText:
    """How a cause reads in an alert, and how its incident ends.

    Args:
        title: The end of the subject line, after what is affected: "held".
        probable: What usually lies behind it; empty where the kinds of the checks say it, or the detail says enough.
        recovers: True when a later alert says that it is over. The incident of any other cause closes after a quiet day.
    """

    title: str
    probable: str = ""
    recovers: bool = True


_NOT_TRANSIENT = "The problem is not transient: it is in the source, the code or the configuration."

CAUSES: Mapping[str, CauseText] = MappingProxyType(
    {
        Reason.CHECKS_FAILED: CauseText("held"),
        Reason.RAN_BEFORE_UPSTREAM: CauseText(
            "held: ran before its upstream",
            "Something other than the upstream's go-signal started it: a schedule, or a person.",
        ),
        Reason.PRODUCER_FAILED: CauseText("held: a producer failed", "The job itself failed; see its own log."),
        Reason.PRODUCERS_MISSING: CauseText(
            "overdue", "A producer did not run, is still running, or could not report that it is done."
        ),
        Reason.NOTHING_HEARD: CauseText(
            "overdue: no report received", "The job did not run, or could not report: there is no message about this date."
        ),
        Reason.NO_MESSAGE: CauseText(
            "overdue: rows found, but no completion message",
            "The job ran and wrote its rows, but could not report that it is done.",
        ),
        Reason.NOT_STARTED: CauseText(
            "overdue: not started after its upstream",
            "The upstream's go-signal did not reach the job, or the job could not report.",
        ),
        Reason.UPSTREAM_SHUT: CauseText(
            "overdue: upstream not released", "Its upstream is late; it can run once that is released."
        ),
        Reason.NOT_MEASURED: CauseText(
            "unverified: could not be measured", "The warehouse did not answer, or a table or column is missing."
        ),
        Reason.LATE_FAILURE: CauseText(
            "got worse after its release", "The tables were changed after the release: by a late load, a repair or a clean-up."
        ),
        Reason.NOT_RUN_AGAIN: CauseText(
            "stale: not rerun after its upstream", "The upstream's new go-signal did not reach it, or was ignored."
        ),
        Reason.RETRIES_SPENT: CauseText("retries exhausted", _NOT_TRANSIENT),
        Reason.UNEXPECTED: CauseText(
            "off, but it ran",
            "The calendar or the schedule is wrong, or the job runs on dates without a run.",
            recovers=False,
        ),
        Reason.PASSED: CauseText("released with warnings", recovers=False),
        Reason.QUORUM: CauseText("released without some outputs", recovers=False),
        Reason.OVERRIDDEN: CauseText("released by an override", recovers=False),
        Reason.OBSERVED: CauseText("released regardless of its checks (observe mode)", recovers=False),
        TroubleCause.MESSAGE_REJECTED: CauseText(
            "a message was rejected",
            "The producer does not write the agreed format, or a name or date in the message is wrong.",
            recovers=False,
        ),
        TroubleCause.MESSAGE_UNDELIVERED: CauseText(
            "a message could not be delivered",
            "The function that handles it failed at every attempt; see its log.",
            recovers=False,
        ),
        TroubleCause.DESTINATION_DOWN: CauseText(
            "not accepting alerts", "Its address or password was replaced, its server is down, or it was removed."
        ),
        TroubleCause.RETRIES_SUSPENDED: CauseText("reruns suspended", _NOT_TRANSIENT),
        TroubleCause.UNSENT: CauseText(
            "messages cannot be sent", "The topic was deleted, or the function may no longer publish to it."
        ),
        TroubleCause.BUILD_FAILED: CauseText("build failed"),
        TroubleCause.DRIFT: CauseText(
            "differs from what was deployed", "Somebody, or another program, changed it outside the deployment."
        ),
        TroubleCause.NOT_COMPARED: CauseText(
            "could not be compared with what was deployed",
            "The drift check's account lost a permission, the Terraform state is locked or unreachable, or an API is down.",
        ),
        TroubleCause.NOT_ADOPTED: CauseText(
            "not adopted", "phasegate was started on a pipeline that already ran.", recovers=False
        ),
        TroubleCause.MISCONFIGURED: CauseText("misconfigured"),
    }
)
"""Every cause that an alert can have."""

NEVER_ALERTED = frozenset(
    {
        Reason.NOT_EXPECTED,
        Reason.PAUSED,
        Reason.HELD_BY_HAND,
        Reason.GAP_ACCEPTED,
        Reason.ADOPTED,
        Reason.DATA_CHANGED,
        Reason.NOTHING_NEW,
        Reason.SETTLING,
        Reason.UPSTREAM_SETTLING,
    }
)
"""Reasons that raise no alert: people decided them, or nothing is wrong."""

CHECK_CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "row_count": "A file or partition was loaded in part, or more than once.",
        "unique": "The same rows were loaded more than once.",
        "not_null": "A source stopped filling a column, or a join found no match.",
        "accepted_values": "A source uses a value that it has not used before.",
        "in_range": "A source changed a unit, or sends a placeholder such as 0 or 9999 for missing values.",
        "matches": "A source changed the format of a value.",
        "invariant": "The source sent values that contradict each other, or a transformation has a bug.",
        "references": "Rows of an earlier run were left behind, or the table that they refer to is incomplete.",
        "coverage": "Some of what the upstream announced was not processed.",
        "fresh": "The run read old input, or did not write all of its output.",
        "aggregate": "Rows are missing or doubled, a unit changed, or the day really was unusual.",
        "distinct": "A column became constant because a default replaced its data, or part of the data is missing.",
        "schema": "A column was renamed, dropped or given another type.",
        "sql": "The data breaks the rule in your query; run it to see the rows.",
    }
)
"""What usually lies behind a failed check, by its kind."""


def cause_text(cause: str) -> CauseText:
    """How a cause reads; one that this version does not know by its name."""
    return CAUSES.get(cause) or CauseText(cause.replace("_", " "))
