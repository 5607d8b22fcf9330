"""What people read: an alert, as it travels on the alert topic, composed into subject and text."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_TITLES = {
    "checks_failed": "held",
    "ran_before_upstream": "held: it ran before its upstream",
    "producer_failed": "held: a producer failed",
    "producers_missing": "overdue",
    "nothing_heard": "overdue: nothing was heard",
    "upstream_shut": "overdue: its upstream is not released",
    "not_measured": "could not be measured",
    "late_failure": "got worse after its release",
    "passed": "released with warnings",
    "quorum": "released without some outputs",
    "overridden": "released by a person",
    "observed": "released unjudged (observe mode)",
    "message_rejected": "a message was rejected",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert composed for people.

    Args:
        key: The alert's key; a notice sent twice has the same one.
        text: Plain text, lines of any length: what and where, effect, evidence, next action.
    """

    key: str
    severity: str
    subject: str
    text: str


def compose(alert: Mapping[str, Any]) -> Notice:
    """The notice for an alert: what and where, effect, evidence, and what to do next."""
    run = f"{alert['phase']} of {alert['run_date']}" if "phase" in alert else ""
    title = _TITLES.get(alert["cause"], str(alert["cause"]))
    recovered = alert["state"] == "recovered"
    if recovered:
        title = f"recovered after {_duration(alert)} (was {title})"
    subject = _one_line(f"[{alert.get('pipeline', 'phasegate')}] {run + ': ' if run else ''}{title}")
    lines = [f"{_one_line(alert['detail'])}.", _one_line(alert["effect"]), ""]
    evidence = [line for line in alert["evidence"] if line != alert["detail"]]
    lines += ["Evidence:", *(f"  - {_one_line(line)}" for line in evidence), ""] if evidence else []
    if run and not recovered:
        command = f"phasegate explain {alert['phase']} {alert['run_date']} --pipeline {alert['pipeline']}"
        lines += ["Next:", f"  {_one_line(command)}", ""]
    lines.append(_one_line(f"since {_minute(alert['since'])} UTC, {alert['key']}"))
    severity = "recovered" if recovered else str(alert["severity"])
    return Notice(str(alert["key"]), severity, subject, "\n".join(lines) + "\n")


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _duration(alert: Mapping[str, Any]) -> str:
    span: timedelta = datetime.fromisoformat(alert["at"]) - datetime.fromisoformat(alert["since"])
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _one_line(text: object) -> str:
    """Text of a message or a table, without what a terminal, a mail header or a reader's eye would take for an order."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
