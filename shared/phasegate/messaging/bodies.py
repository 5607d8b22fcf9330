"""Outgoing messages: completions, go-signals, rerun requests, decisions and alerts.

`schemas/` has the JSON Schema of each; a test checks every message that is written here against it.
"""

import re
from collections.abc import Mapping
from typing import Any

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble
from phasegate.core.checks.base import CheckResult
from phasegate.core.gates.completion import TRACEPARENT, Report, RunKey, completion_fields
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import Alert, GoSignal
from phasegate.core.gates.rerun_requests import RerunRequest
from phasegate.core.pipeline.model import AlertSeverity, Messages
from phasegate.ports import Event, Outgoing, Rejected

PREFIX = "phasegate"
"""The default prefix of every resource name in the cloud; several installations in one project have different ones."""

ALERTS = "alerts"
"""The topic of all alerts."""

EVENTS = "events"
"""The topic of all decisions, as rows for analysis."""

REPLAY = "phasegate replay"
"""The command that lists messages without effect and handles them again."""


def go_topic(pipeline: str, phase: str) -> str:
    """The topic of a phase's go-signals."""
    return f"{pipeline}-{phase}-go"


def complete_topic(pipeline: str, phase: str) -> str:
    """The topic to which the producers of a phase report."""
    return f"{pipeline}-{phase}-complete"


def retry_topic(pipeline: str, phase: str) -> str:
    """The topic of a phase's rerun requests."""
    return f"{pipeline}-{phase}-retry"


def retry_message(request: RerunRequest) -> Outgoing:
    """A rerun request."""
    run = request.run
    body = {
        "key": request.key,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "run_date": str(run.run_date),
        "producer": request.producer,
        "attempt": request.attempt,
        "why": request.why,
        "not_before": request.not_before.isoformat(),
    }
    attributes = {name: str(body[name]) for name in ("key", "pipeline", "phase", "run_date", "producer")}
    return Outgoing(request.key, retry_topic(run.pipeline, run.phase), body, attributes)


def completion_message(topic: str, run: RunKey, report: Report, names: Messages) -> Outgoing:
    """A producer's report, in the pipeline's field names.

    The attributes repeat what a subscription may filter on, under the names of the body.
    """
    body = completion_fields(run, report, names)
    repeated = (names.pipeline, names.phase, names.producer, names.run_date, names.status_field, TRACEPARENT)
    # The end is a part of the key, because a restarted job may keep its run id.
    ended = report.finished_at.isoformat() if report.finished_at else report.status
    key = f"{run}/{report.producer or run.phase}/{report.run_id}/{ended}"
    return Outgoing(key, topic, body, {name: str(body[name]) for name in repeated if name in body})


def event_message(event: Event, decision: Decision) -> Outgoing:
    """A decision and the results of its checks, as one row of the history; `schemas/history.bigquery.json` is its table."""
    run, verdict = event.run, decision.verdict
    cost = verdict.cost if verdict else None
    # The version in the key makes a row that is delivered twice recognisable.
    key = f"{run}/v{decision.gate.version + 1}"
    optional = {
        "decision_id": decision.signal.decision_id if decision.signal else None,
        "verdict": verdict.verdict if verdict else None,
        "score": verdict.score if verdict else None,
        "queries": cost.queries if cost else None,
        "bytes_billed": cost.bytes_billed if cost else None,
        "cost_usd": cost.usd if cost else None,
        "act": event.act or None,
    }
    body = {
        "key": key,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "run_date": str(run.run_date),
        "decided_at": event.at.isoformat(),
        "rule": event.rule,
        "state": event.state,
        "reason": event.reason,
        "detail": event.detail,
        "generation": event.generation,
        "trigger": event.trigger,
        # A subscription that writes to a table stores null for an absent column.
        **{name: value for name, value in optional.items() if value is not None},
        "checks": [_check(result) for result in verdict.results] if verdict else [],
    }
    return Outgoing(key, EVENTS, body, {"pipeline": run.pipeline, "phase": run.phase, "state": event.state})


def _check(result: CheckResult) -> Mapping[str, Any]:
    return {
        "name": result.name,
        "kind": result.kind,
        "table": result.table,
        "severity": result.severity,
        "mode": result.mode,
        "weight": result.weight,
        "outcome": result.outcome,
        **({"measured": result.measured} if isinstance(result.measured, int | float) else {}),
        "expected": result.expected,
        "message": result.message,
    }


def signal_message(signal: GoSignal) -> Outgoing:
    """A go-signal. Its key is the decision id, by which consumers recognise a duplicate."""
    run = signal.run
    body = {**signal.extra, **signal.fields}
    attributes = {
        "decision_id": signal.decision_id,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "run_date": str(run.run_date),
        "degraded": str(signal.degraded).lower(),
    }
    if signal.traceparent is not None:
        attributes[TRACEPARENT] = signal.traceparent
    return Outgoing(signal.decision_id, go_topic(run.pipeline, run.phase), body, attributes)


def alert_message(alert: Alert) -> Outgoing:
    """An alert about a gate."""
    run = alert.run
    body: Mapping[str, Any] = {
        "key": alert.key,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "run_date": str(run.run_date),
        "severity": alert.severity,
        "state": alert.state,
        "cause": alert.cause,
        "about": list(alert.about),
        "check_kinds": list(alert.check_kinds),
        "gate": alert.gate,
        "detail": alert.detail,
        "evidence": list(alert.evidence),
        "effect": alert.effect,
        "since": alert.since.isoformat(),
        "at": alert.at.isoformat(),
    }
    return Outgoing(alert.key, ALERTS, body, _labels(alert.key, run.pipeline, alert.severity, alert.state))


def rejected_message(rejected: Rejected) -> Outgoing:
    """An alert about a message that was rejected."""
    trouble = Trouble(
        key=f"rejected/{rejected.message_id}",
        cause=TroubleCause.MESSAGE_REJECTED,
        subject="messages",
        # Reasons that differ only in numbers are one reason, and one incident.
        about=(re.sub(r"\d+", "#", rejected.reason)[:200],),
        detail=f"a message was rejected: {rejected.reason}",
        evidence=(rejected.data[:500],),
        effect="It counts for no gate; it is stored and can be replayed.",
        next=(REPLAY,),
        since=rejected.at,
        at=rejected.at,
    )
    return trouble_message(trouble)


def undelivered_message(letter: Rejected) -> Outgoing:
    """An alert about a dead letter. All dead letters of one subscription are one incident."""
    trouble = Trouble(
        key=f"undelivered/{letter.message_id}",
        cause=TroubleCause.MESSAGE_UNDELIVERED,
        subject=letter.source or "messages",
        detail=f"a message could not be delivered: {letter.reason}",
        severity=AlertSeverity.CRITICAL,
        evidence=(letter.data[:500],),
        effect="It had no effect; it is stored and can be replayed once the cause is fixed.",
        next=(REPLAY,),
        since=letter.at,
        at=letter.at,
    )
    return trouble_message(trouble)


def trouble_message(trouble: Trouble) -> Outgoing:
    """An alert about anything but a gate."""
    body: Mapping[str, Any] = {
        "key": trouble.key,
        "severity": trouble.severity,
        "state": trouble.state,
        "cause": trouble.cause,
        "subject": trouble.subject,
        "about": list(trouble.about),
        "detail": trouble.detail,
        "evidence": list(trouble.evidence),
        "effect": trouble.effect,
        "next": list(trouble.next),
        "since": trouble.since.isoformat(),
        "at": trouble.at.isoformat(),
    }
    return Outgoing(trouble.key, ALERTS, body, _labels(trouble.key, "", trouble.severity, trouble.state))


def _labels(key: str, pipeline: str, severity: str, state: str) -> dict[str, str]:
    return {"key": key, "pipeline": pipeline, "severity": severity, "state": state}
