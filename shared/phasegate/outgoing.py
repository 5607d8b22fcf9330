"""What goes out, as messages: go-signals, alerts, and the complaint about a message that made no sense."""

from collections.abc import Mapping
from typing import Any

from phasegate.core.gate import Alert, GoSignal
from phasegate.ports import Outgoing, Rejected

ALERTS = "alerts"
"""The topic of all alerts."""


def go_topic(pipeline: str, phase: str) -> str:
    """The topic on which the release of a phase is announced."""
    return f"{pipeline}-{phase}-go"


def signal_message(signal: GoSignal) -> Outgoing:
    """A go-signal; its key is the decision id, on which consumers de-duplicate."""
    run = signal.run
    body: Mapping[str, Any] = {
        **signal.extra,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "start": list(signal.start),
        "run_date": str(run.run_date),
        "generation": signal.generation,
        "decision_id": signal.decision_id,
        "degraded": signal.degraded,
        "missing": list(signal.missing),
        "upstream": list(signal.upstream),
        "score": signal.score,
        "correlation_id": signal.correlation_id,
        "at": signal.at.isoformat(),
    }
    attributes = {
        "decision_id": signal.decision_id,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "run_date": str(run.run_date),
        "degraded": str(signal.degraded).lower(),
    }
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
    key = f"rejected/{rejected.message_id}"
    body: Mapping[str, Any] = {
        "key": key,
        "severity": "warning",
        "state": "firing",
        "cause": "message_rejected",
        "detail": f"a message was rejected: {rejected.reason}",
        "evidence": [rejected.data[:500]],
        "effect": "It counts for no gate; it is kept and can be replayed.",
        "since": rejected.at.isoformat(),
        "at": rejected.at.isoformat(),
    }
    return Outgoing(key, ALERTS, body, _labels(key, "", "warning", "firing"))


def _labels(key: str, pipeline: str, severity: str, state: str) -> dict[str, str]:
    return {"key": key, "pipeline": pipeline, "severity": severity, "state": state}
