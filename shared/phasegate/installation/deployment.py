"""Deployments: what Cloud Build and the check for drift say of the infrastructure, and what of it people should know."""

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
"""What drifts."""

COMPARISON = "drift-check"
"""What may fail to say whether anything has drifted."""

AHEAD = timedelta(minutes=10)
"""How far a clock may go ahead of ours. What is dated later would outlast everything that is said until then."""

LONGEST_BUILD = timedelta(hours=2)
"""A deployment of which no end was heard for so long has ended; its build may take one hour, and wait for a while."""

_FAILED = {
    "FAILURE": "failed",
    "INTERNAL_ERROR": "was broken off by an error of Cloud Build",
    "TIMEOUT": "took too long and was stopped",
    "CANCELLED": "was cancelled",
    "EXPIRED": "was never begun: it waited too long",
}
_KNOWN = {"STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING", "SUCCESS", *_FAILED}
# The stem of a trigger's name, and what a failure means.
_BUILDS = {
    "deploy": "What was deployed before goes on running, in part if this build had begun to apply.",
    "drift": "Until it works again nobody sees whether something is changed by hand.",
}
# What it means that Terraform would do this.
_ACTIONS = {
    "create": "is gone",
    "update": "differs",
    "delete": "is left over",
    "replace": "differs, and would be made anew",
    "forget": "is left over",
    "import": "is not in the state",
    "move": "has another address in the state",
}
_LONGEST = 280


@dataclass(frozen=True, slots=True)
class Installation:
    """Which installation is watched; a project may hold several."""

    project: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectReport:
    """What a message says of one subject.

    Args:
        subject: A build trigger, `INFRASTRUCTURE` or `COMPARISON`.
        id: What said it: a build, or a comparison.
        at: When it was so.
        wrong: One sentence without a full stop; empty when all is well.
    """

    subject: str
    cause: TroubleCause
    id: str
    at: datetime
    wrong: str = ""
    about: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    effect: str = ""
    next: tuple[str, ...] = ()
    well: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment, as far as it is known.

    Args:
        ended: None while it runs.
    """

    id: str
    began: datetime
    ended: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        """True when a comparison made then has met a deployment half-way."""
        return self.began <= moment <= (self.ended or self.began + LONGEST_BUILD)


@dataclass(frozen=True, slots=True)
class DeploymentMessage:
    """What a message says.

    Args:
        words: Of builds that have ended, and of comparisons; none when it is about a build that has not ended.
        run: The deployment that it is about.
        passed_over: Why it says nothing that concerns us; empty otherwise.
    """

    words: tuple[SubjectReport, ...] = ()
    run: Deployment | None = None
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class SubjectState:
    """The newest that is known of a subject.

    Args:
        since: Since when it is in trouble; None while all is well.
    """

    id: str
    at: datetime
    since: datetime | None = None


def read_message(envelope: Envelope, installation: Installation, *, now: datetime) -> DeploymentMessage:
    """What a message of Cloud Build, or of the check for drift, says.

    Raises:
        MessageError: It is neither, or what it says makes no sense.

    Source: Cloud Build "Subscribe to build notifications" and the REST resource `projects.builds`; schemas/drift.schema.json.
    """
    try:
        body = json.loads(envelope.data)
    except (ValueError, RecursionError) as exc:
        raise MessageError("neither a build nor a drift report: the body is not JSON") from exc
    if not isinstance(body, dict):
        raise MessageError("neither a build nor a drift report: the body is no JSON object")
    try:
        if "outcome" in body:
            return _read_drift(body, installation, now + AHEAD)
        if "status" in body and "id" in body:
            return _read_build(body, installation, now + AHEAD)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        raise MessageError(f"a build or a drift report that makes no sense: {exc!r}"[:_LONGEST]) from exc
    raise MessageError("neither a build nor a drift report: it has no outcome, and no id with a status")


def _read_build(body: Mapping[str, Any], installation: Installation, latest: datetime) -> DeploymentMessage:
    status, build = _one_of(body["status"], _KNOWN), _text(body["id"])
    kind = _kind(body, installation)
    if kind is None:
        return DeploymentMessage(passed_over=f"build {build} is not one of {installation.prefix}'s")
    began = _time(body["startTime"], latest) if body.get("startTime") else None
    has_ended = status == "SUCCESS" or status in _FAILED
    # A build that expired or was cancelled in the queue never began, and may have no end either.
    ended = _time(body.get("finishTime") or body["createTime"], latest) if has_ended else None
    run = Deployment(build, began, ended) if began is not None and kind == "deploy" else None
    if ended is None:
        return DeploymentMessage(run=run, passed_over="" if run else f"build {build} has not ended")
    subject = f"{installation.prefix}-{kind}"
    good = SubjectReport(
        subject=subject, cause=TroubleCause.BUILD_FAILED, id=build, at=ended, well=f"build {_short_id(build)} succeeded"
    )
    if status == "SUCCESS":
        return DeploymentMessage((good,), run)
    step = next((_text(each.get("id", "")) for each in body.get("steps", ()) if each.get("status") in _FAILED), "")
    commit = _text(body.get("substitutions", {}).get("COMMIT_SHA", ""))
    told = [_text(body.get("failureInfo", {}).get("detail", "")), _text(body.get("statusDetail", ""))]
    facts = {"step": step, "commit": commit, "build": build, "says": next(filter(None, told), "")}
    bad = replace(
        good,
        wrong=f"build {_short_id(build)} {_FAILED[status]}{f' in step {step}' if step else ''}",
        about=(step,) if step else (),
        evidence=tuple(f"{name}: {value}" for name, value in facts.items() if value),
        effect=_BUILDS[kind],
        next=(_log(build, installation, _region(body)),),
    )
    return DeploymentMessage((bad,), run)


def _kind(body: Mapping[str, Any], installation: Installation) -> str | None:
    """Which of the two builds of an installation it is; None for any other build of the project, of which there are many."""
    given = body.get("substitutions", {})
    name = given.get("TRIGGER_NAME")
    for kind in _BUILDS:
        if name == f"{installation.prefix}-{kind}":
            return kind
        # One that was submitted by hand has no trigger, but the tag that stands in its file.
        if name is None and given.get("_PREFIX") == installation.prefix and f"phasegate-{kind}" in body.get("tags", ()):
            return kind
    return None


def _region(body: Mapping[str, Any]) -> str:
    found = re.fullmatch(r"projects/[^/]+/locations/([a-z0-9-]+)/builds/.+", str(body.get("name", "")))
    return found[1] if found else "global"


def _log(build: str, installation: Installation, region: str) -> str:
    where = [f"--region={region}"] if region else []
    return shlex.join(["gcloud", "builds", "log", build, *where, f"--project={installation.project}"])


def _read_drift(body: Mapping[str, Any], installation: Installation, latest: datetime) -> DeploymentMessage:
    outcome = _one_of(body["outcome"], {"clean", "drifted", "failed"})
    at, build, commit = _time(body["at"], latest), _text(body["build"]), _text(body["commit"])
    changes = [_read_change(change) for change in _list(body["changes"])]
    more, errors = _count(body["omitted"]), [_text(line) for line in _list(body["errors"])]
    if outcome == "drifted" and not changes and not more:
        raise ValueError("drifted, and nothing is named")
    name = build or at.isoformat()
    compared = SubjectReport(
        subject=COMPARISON, cause=TroubleCause.NOT_COMPARED, id=name, at=at, well="the comparison works again"
    )
    where = [f"build: {build}"] if build else []
    against = [f"compared with commit {commit}"] if commit else []
    make = [f"PROJECT={shlex.quote(installation.project)}", f"PREFIX={shlex.quote(installation.prefix)}"]
    if outcome == "failed":
        return DeploymentMessage(
            (
                replace(
                    compared,
                    wrong=f"the plan failed: {errors[0] if errors else 'Terraform did not say why'}"[:_LONGEST],
                    evidence=(*errors[1:], *against, *where),
                    effect=_BUILDS["drift"],
                    next=(" ".join(["make", "plan", *make]),),
                ),
            )
        )
    infrastructure = SubjectReport(
        subject=INFRASTRUCTURE, cause=TroubleCause.DRIFT, id=name, at=at, well="everything is as it was deployed"
    )
    if outcome == "clean":
        return DeploymentMessage((infrastructure, compared))
    number = len(changes) + more
    first = ", ".join(changes[:3]) + (f", and {number - 3} more" if number > 3 else "")
    drifted = replace(
        infrastructure,
        wrong=f"{number} {'resource is' if number == 1 else 'resources are'} not as deployed: {first}"[:_LONGEST],
        about=tuple(changes),
        evidence=(*changes[:8], *(f"and {number - 8} more" for _ in range(number > 8)), *against, *where)[:10],
        effect="Messages, gates or alerts may go missing because of it.",
        next=(" ".join(["make", "plan", *make]), " ".join(["make", "deploy", *make])),
    )
    return DeploymentMessage((drifted, compared))


def _read_change(change: Mapping[str, Any]) -> str:
    """A change as people read it: the resource, and the arguments of it that differ."""
    address, action = _text(change["address"]), _one_of(change["action"], _ACTIONS.keys())
    arguments = [_text(path) for path in _list(change["arguments"])]
    more = _count(change["omitted"])
    if not address:
        raise ValueError("a change without the resource that changed")
    named = ", ".join(arguments) + (f" and {more} more" if more else "")
    return f"{address} {_ACTIONS[action]}{f' ({named})' if named else ''}"[:_LONGEST]


def overlapping(said: DeploymentMessage, run: Deployment | None) -> bool:
    """True when a comparison met a deployment half-way: what it found says nothing."""
    return run is not None and any(word.subject == INFRASTRUCTURE and run.covers(word.at) for word in said.words)


def newer_run(known: Deployment | None, run: Deployment) -> Deployment | None:
    """The deployment to remember; None when the message tells nothing new of it."""
    if known is None or run.began > known.began:
        return run
    return run if known.id == run.id and known.ended is None and run.ended is not None else None


def take(word: SubjectReport, known: SubjectState | None) -> tuple[SubjectState, Trouble | None] | None:
    """Where a subject stands after a word about it, and what to tell; None when that is old, or known already."""
    if known is not None and (known.at, known.id) >= (word.at, word.id):
        return None
    since = known.since if known is not None else None
    if word.wrong:
        after = SubjectState(word.id, word.at, since or word.at)
        return after, _trouble(word, AlertState.FIRING, word.wrong, after.since or word.at)
    return SubjectState(word.id, word.at), None if since is None else _trouble(word, AlertState.RECOVERED, word.well, since)


def _trouble(word: SubjectReport, state: AlertState, detail: str, since: datetime) -> Trouble:
    return Trouble(
        key=f"{word.cause}/{word.subject}/{word.id}",
        cause=word.cause,
        subject=word.subject,
        state=state,
        detail=detail,
        about=word.about,
        evidence=word.evidence,
        effect=word.effect,
        next=word.next,
        since=since,
        at=word.at,
    )


def _short_id(build: str) -> str:
    return build[:8]


def _one_of(value: object, known: Set[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"one of {', '.join(sorted(known))}, not {value!r:.80}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text, not {value!r:.80}")
    return value[:_LONGEST]


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list, not {value!r:.80}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"a whole number, not {value!r:.80}")
    return value


def _time(value: object, latest: datetime) -> datetime:
    moment = parse_time(value)
    if moment > latest:
        raise ValueError(f"{moment} lies in the future")
    return moment
