"""What goes out, as messages: completions, go-signals, alerts, and the complaint about a message that made no sense.

`schemas/` says what stands in each; a test holds every message that is written here against it.
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
"""Stands before every name in the cloud, unless the settings say another, so that several installations fit into a project."""

ALERTS = "alerts"
"""The topic of all alerts."""

EVENTS = "events"
"""The topic of all decisions, as rows for analysis."""


REPLAY = "phasegate replay"
"""The command that lists messages that had no effect, and puts them through again."""


def go_topic(pipeline: str, phase: str) -> str:
    """The topic on which the release of a phase is announced."""
    return f"{pipeline}-{phase}-go"


def complete_topic(pipeline: str, phase: str) -> str:
    """The topic on which the producers of a phase report."""
    return f"{pipeline}-{phase}-complete"


def retry_topic(pipeline: str, phase: str) -> str:
    """The topic on which the producers of a phase are asked to run again."""
    return f"{pipeline}-{phase}-retry"


def retry_message(request: RerunRequest) -> Outgoing:
    """A request to run again."""
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
    told = ("key", "pipeline", "phase", "run_date", "producer")
    attributes = {name: str(body[name]) for name in told}
    return Outgoing(request.key, retry_topic(run.pipeline, run.phase), body, attributes)


def completion_message(topic: str, run: RunKey, report: Report, names: Messages) -> Outgoing:
    """A producer's report, in given field names.

    The key tells runs apart by when they ended, too: a job that is started again may keep its run id. The attributes repeat,
    under the names of the body, what a subscription may want to filter on.
    """
    body = completion_fields(run, report, names)
    told = (names.pipeline, names.phase, names.producer, names.run_date, names.status_field, TRACEPARENT)
    ended = report.finished_at.isoformat() if report.finished_at else report.status
    key = f"{run}/{report.producer or run.phase}/{report.run_id}/{ended}"
    return Outgoing(key, topic, body, {name: str(body[name]) for name in told if name in body})


def event_message(event: Event, decision: Decision) -> Outgoing:
    """A decision and the results of its checks, as one row of the history; `schemas/history.bigquery.json` is its table.

    The key tells one version of a gate from the next, so a row that comes twice is seen. What is not known is left out: a
    subscription that writes into a table takes a column that is absent for null.
    """
    run, verdict = event.run, decision.verdict
    cost = verdict.cost if verdict else None
    key = f"{run}/v{decision.gate.version + 1}"
    known = {
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
        **{name: value for name, value in known.items() if value is not None},
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
    """A go-signal; its key is the decision id, on which consumers de-duplicate."""
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
        # What differs only in its numbers is rejected for one reason.
        about=(re.sub(r"\d+", "#", rejected.reason)[:200],),
        detail=f"a message was rejected: {rejected.reason}",
        evidence=(rejected.data[:500],),
        effect="It counts for no gate; it is kept and can be replayed.",
        next=(REPLAY,),
        since=rejected.at,
        at=rejected.at,
    )
    return trouble_message(trouble)


def undelivered_message(kept: Rejected) -> Outgoing:
    """An alert about a message that could not be delivered; one incident for all that one subscription gives up."""
    trouble = Trouble(
        key=f"undelivered/{kept.message_id}",
        cause=TroubleCause.MESSAGE_UNDELIVERED,
        subject=kept.source or "messages",
        detail=f"a message could not be delivered: {kept.reason}",
        severity=AlertSeverity.CRITICAL,
        evidence=(kept.data[:500],),
        effect="It has had no effect; it is kept and can be replayed once the cause is mended.",
        next=(REPLAY,),
        since=kept.at,
        at=kept.at,
    )
    return trouble_message(trouble)


def trouble_message(trouble: Trouble) -> Outgoing:
    """An alert about something else than a gate."""
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
