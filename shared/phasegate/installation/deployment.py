"""Deployments and drift: reads messages of Cloud Build and of the drift check, and decides what they change."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble
from phasegate.core.gates.completion import Envelope, parse_time
from phasegate.core.gates.gate import AlertState
from phasegate.errors import MessageError

INFRASTRUCTURE = "infrastructure"
"""The subject of drift."""

COMPARISON = "drift-check"
"""The subject of a drift check that fails."""

MAX_CLOCK_AHEAD = timedelta(minutes=10)
"""How far ahead of ours a sender's clock may be. A report dated later would win over every report until then."""

MAX_DEPLOYMENT_TIME = timedelta(hours=2)
"""A deployment with no reported end counts as ended after this time; its build may wait, and then take an hour."""

_FAILED = {
    "FAILURE": "failed",
    "INTERNAL_ERROR": "was stopped by an error of Cloud Build",
    "TIMEOUT": "timed out",
    "CANCELLED": "was cancelled",
    "EXPIRED": "expired in the queue",
}
_STATUSES = {"STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING", "SUCCESS", *_FAILED}
# The end of a trigger's name, and the effect of a failure.
_BUILDS = {
    "deploy": "The previous deployment keeps running; if this build had started to apply, part of it is already changed.",
    "drift": "Until it works again, manual changes go unnoticed.",
}
# What Terraform would do, and what that says about a resource.
_ACTIONS = {
    "create": "is missing",
    "update": "differs",
    "delete": "is left over",
    "replace": "differs and must be replaced",
    "forget": "is left over",
    "import": "is not in the state",
    "move": "has another address in the state",
}
_MAX_TEXT = 280


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation; a project may hold several."""

    project: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectReport:
    """The state of one subject, from one message.

    Args:
        subject: A build trigger, `INFRASTRUCTURE` or `COMPARISON`.
        id: Of the build or drift check that reported it.
        at: When this was the state.
        problem: What is wrong, one sentence without a full stop; empty when nothing is.
        recovery: The sentence for when nothing is wrong any more.
    """

    subject: str
    cause: TroubleCause
    id: str
    at: datetime
    problem: str = ""
    about: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    effect: str = ""
    next: tuple[str, ...] = ()
    recovery: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment.

    Args:
        ended: None while it runs, or when its end was not reported.
    """

    id: str
    began: datetime
    ended: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """True when it was running at that moment."""
        return self.began <= moment <= (self.ended or self.began + MAX_DEPLOYMENT_TIME)


@dataclass(frozen=True, slots=True)
class DeploymentMessage:
    """The content of one message.

    Args:
        reports: On ended builds and on drift checks; none for a build that has not ended.
        run: The deployment that the message is about.
        ignored: Why the message does not matter here; empty when it does.
    """

    reports: tuple[SubjectReport, ...] = ()
    run: Deployment | None = None
    ignored: str = ""


@dataclass(frozen=True, slots=True)
class SubjectState:
    """The newest state of a subject.

    Args:
        since: Since when its incident is open; None while there is none.
    """

    id: str
    at: datetime
    since: datetime | None = None


def read_message(envelope: Envelope, installation: Installation, *, now: datetime) -> DeploymentMessage:
    """The content of a message of Cloud Build or of the drift check.

    Raises:
        MessageError: It is neither, or it is malformed.

    Source: Cloud Build "Subscribe to build notifications" and the REST resource `projects.builds`; schemas/drift.schema.json.
    """
    try:
        body = json.loads(envelope.data)
    except (ValueError, RecursionError) as exc:
        raise MessageError("neither a build nor a drift report: the body is not JSON") from exc
    if not isinstance(body, dict):
        raise MessageError("neither a build nor a drift report: the body is not a JSON object")
    try:
        if "outcome" in body:
            return _read_drift(body, installation, now + MAX_CLOCK_AHEAD)
        if "status" in body and "id" in body:
            return _read_build(body, installation, now + MAX_CLOCK_AHEAD)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        raise MessageError(f"malformed build or drift report: {exc!r}"[:_MAX_TEXT]) from exc
    raise MessageError("neither a build nor a drift report: it has no outcome, and no id and status")


def _read_build(body: Mapping[str, Any], installation: Installation, latest: datetime) -> DeploymentMessage:
    status, build = _one_of(body["status"], _STATUSES), _text(body["id"])
    kind = _kind(body, installation)
    if kind is None:
        return DeploymentMessage(ignored=f"build {build} does not belong to {installation.prefix}")
    began = _time(body["startTime"], latest) if body.get("startTime") else None
    has_ended = status == "SUCCESS" or status in _FAILED
    # A build that expired or was cancelled in the queue never began, and may have no end either.
    ended = _time(body.get("finishTime") or body["createTime"], latest) if has_ended else None
    run = Deployment(build, began, ended) if began is not None and kind == "deploy" else None
    if ended is None:
        return DeploymentMessage(run=run, ignored="" if run else f"build {build} has not ended")
    subject = f"{installation.prefix}-{kind}"
    success = SubjectReport(
        subject=subject, cause=TroubleCause.BUILD_FAILED, id=build, at=ended, recovery=f"build {_short_id(build)} succeeded"
    )
    if status == "SUCCESS":
        return DeploymentMessage((success,), run)
    step = next((_text(step.get("id", "")) for step in body.get("steps", ()) if step.get("status") in _FAILED), "")
    commit = _text(body.get("substitutions", {}).get("COMMIT_SHA", ""))
    details = [_text(body.get("failureInfo", {}).get("detail", "")), _text(body.get("statusDetail", ""))]
    facts = {"step": step, "commit": commit, "build": build, "says": next(filter(None, details), "")}
    failure = replace(
        success,
        problem=f"build {_short_id(build)} {_FAILED[status]}{f' in step {step}' if step else ''}",
        about=(step,) if step else (),
        evidence=tuple(f"{name}: {value}" for name, value in facts.items() if value),
        effect=_BUILDS[kind],
        next=(_log_command(build, installation, _region(body)),),
    )
    return DeploymentMessage((failure,), run)


def _kind(body: Mapping[str, Any], installation: Installation) -> str | None:
    """Which of the two builds of an installation it is; None for any other build of the project."""
    substitutions = body.get("substitutions", {})
    name = substitutions.get("TRIGGER_NAME")
    for kind in _BUILDS:
        if name == f"{installation.prefix}-{kind}":
            return kind
        # A build that was submitted manually has no trigger, but it has the tag from its file.
        if name is None and substitutions.get("_PREFIX") == installation.prefix and f"phasegate-{kind}" in body.get("tags", ()):
            return kind
    return None


def _region(body: Mapping[str, Any]) -> str:
    name = re.fullmatch(r"projects/[^/]+/locations/([a-z0-9-]+)/builds/.+", str(body.get("name", "")))
    return name[1] if name else "global"


def _log_command(build: str, installation: Installation, region: str) -> str:
    where = [f"--region={region}"] if region else []
    return shlex.join(["gcloud", "builds", "log", build, *where, f"--project={installation.project}"])


def _read_drift(body: Mapping[str, Any], installation: Installation, latest: datetime) -> DeploymentMessage:
    outcome = _one_of(body["outcome"], {"clean", "drifted", "failed"})
    at, build, commit = _time(body["at"], latest), _text(body["build"]), _text(body["commit"])
    changes = [_read_change(change) for change in _list(body["changes"])]
    more, errors = _count(body["omitted"]), [_text(line) for line in _list(body["errors"])]
    if outcome == "drifted" and not changes and not more:
        raise ValueError("drifted, but no change is named")
    name = build or at.isoformat()
    compared = SubjectReport(
        subject=COMPARISON, cause=TroubleCause.NOT_COMPARED, id=name, at=at, recovery="the drift check works again"
    )
    where = [f"build: {build}"] if build else []
    against = [f"compared with commit {commit}"] if commit else []
    make = [f"PROJECT={shlex.quote(installation.project)}", f"PREFIX={shlex.quote(installation.prefix)}"]
    if outcome == "failed":
        return DeploymentMessage(
            (
                replace(
                    compared,
                    problem=f"the plan failed: {errors[0] if errors else 'Terraform gave no reason'}"[:_MAX_TEXT],
                    evidence=(*errors[1:], *against, *where),
                    effect=_BUILDS["drift"],
                    next=(" ".join(["make", "plan", *make]),),
                ),
            )
        )
    infrastructure = SubjectReport(
        subject=INFRASTRUCTURE, cause=TroubleCause.DRIFT, id=name, at=at, recovery="everything is as deployed"
    )
    if outcome == "clean":
        return DeploymentMessage((infrastructure, compared))
    number = len(changes) + more
    first = ", ".join(changes[:3]) + (f", and {number - 3} more" if number > 3 else "")
    drifted = replace(
        infrastructure,
        problem=f"{number} {'resource is' if number == 1 else 'resources are'} not as deployed: {first}"[:_MAX_TEXT],
        about=tuple(changes),
        evidence=(*changes[:8], *(f"and {number - 8} more" for _ in range(number > 8)), *against, *where)[:10],
        effect="Messages, gates or alerts may be lost until this is fixed.",
        next=(" ".join(["make", "plan", *make]), " ".join(["make", "deploy", *make])),
    )
    return DeploymentMessage((drifted, compared))


def _read_change(change: Mapping[str, Any]) -> str:
    """A change in one line: the resource, and the arguments that differ."""
    address, action = _text(change["address"]), _one_of(change["action"], _ACTIONS.keys())
    arguments = [_text(path) for path in _list(change["arguments"])]
    more = _count(change["omitted"])
    if not address:
        raise ValueError("a change without a resource")
    named = ", ".join(arguments) + (f" and {more} more" if more else "")
    return f"{address} {_ACTIONS[action]}{f' ({named})' if named else ''}"[:_MAX_TEXT]


def overlaps(message: DeploymentMessage, run: Deployment | None) -> bool:
    """True for a drift check that ran during a deployment: it saw only a part of the changes, so its result means nothing."""
    return run is not None and any(report.subject == INFRASTRUCTURE and run.covers(report.at) for report in message.reports)


def newer_run(stored: Deployment | None, run: Deployment) -> Deployment | None:
    """The deployment to store; None when the message brings nothing new about it."""
    if stored is None or run.began > stored.began:
        return run
    # Messages come in any order: only the end of the stored deployment adds to it.
    return run if stored.id == run.id and stored.ended is None and run.ended is not None else None


def apply_report(report: SubjectReport, stored: SubjectState | None) -> tuple[SubjectState, Trouble | None] | None:
    """A subject's state after a report, and the alert about it, if any; None when the report is old, or a duplicate."""
    # Two reports of one moment are ordered by their ids, so that all processes keep the same one.
    if stored is not None and (stored.at, stored.id) >= (report.at, report.id):
        return None
    since = stored.since if stored is not None else None
    if report.problem:
        after = SubjectState(report.id, report.at, since or report.at)
        return after, _trouble(report, AlertState.FIRING, report.problem, after.since or report.at)
    ended = None if since is None else _trouble(report, AlertState.RECOVERED, report.recovery, since)
    return SubjectState(report.id, report.at), ended


def _trouble(report: SubjectReport, state: AlertState, detail: str, since: datetime) -> Trouble:
    return Trouble(
        key=f"{report.cause}/{report.subject}/{report.id}",
        cause=report.cause,
        subject=report.subject,
        state=state,
        detail=detail,
        about=report.about,
        evidence=report.evidence,
        effect=report.effect,
        next=report.next,
        since=since,
        at=report.at,
    )


def _short_id(build: str) -> str:
    return build[:8]


def _one_of(value: object, allowed: Set[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"expected one of {', '.join(sorted(allowed))}, got {value!r:.80}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r:.80}")
    return value[:_MAX_TEXT]


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r:.80}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a whole number, got {value!r:.80}")
    return value


def _time(value: object, latest: datetime) -> datetime:
    moment = parse_time(value)
    if moment > latest:
        raise ValueError(f"{moment} is in the future")
    return moment
