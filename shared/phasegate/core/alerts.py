"""What people read about an alert: it comes as it travels on the alert topic, and leaves as a notice."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from phasegate.core.notice import Commands, Listing, Notice, Paragraph, Tone

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


def compose(alert: Mapping[str, Any]) -> Notice:
    """The notice for an alert: what and where, effect, evidence, and what to do next."""
    run = f"{alert['phase']} of {alert['run_date']}" if "phase" in alert else ""
    title = _TITLES.get(alert["cause"], str(alert["cause"]))
    recovered = alert["state"] == "recovered"
    if recovered:
        title = f"recovered after {_duration(alert)} (was {title})"
    evidence = tuple(line for line in alert["evidence"] if line != alert["detail"])
    command = f"phasegate explain {alert['phase']} {alert['run_date']} --pipeline {alert['pipeline']}" if run else ""
    blocks = (
        Paragraph(alert["effect"]),
        Listing("Evidence", evidence),
        Commands("Next", (command,) if command and not recovered else ()),
        Paragraph(f"since {_minute(alert['since'])} UTC, {alert['key']}"),
    )
    return Notice(
        key=str(alert["key"]),
        thread=str(alert["key"]),
        tone=Tone.RECOVERED if recovered else Tone(alert["severity"]),
        subject=f"[{alert.get('pipeline', 'phasegate')}] {run + ': ' if run else ''}{title}",
        lead=f"{alert['detail']}.",
        blocks=blocks,
        at=datetime.fromisoformat(alert["at"]),
    )


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _duration(alert: Mapping[str, Any]) -> str:
    span: timedelta = datetime.fromisoformat(alert["at"]) - datetime.fromisoformat(alert["since"])
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
