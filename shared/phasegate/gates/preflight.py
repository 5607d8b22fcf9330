"""Whether a phase may start: what is asked, where the answer is read, and the claim that goes with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from phasegate.core.checks.base import Answers
from phasegate.core.field_syntax import Span, parse_day, parse_duration
from phasegate.core.gates.completion import EARLIEST, FAR_FUTURE, RunKey
from phasegate.core.gates.gate import GatesByPhase
from phasegate.core.gates.preflight import Claim, Clearance, PointOutcome, PreflightCase, PreflightPoint, Topic, preflight
from phasegate.core.gates.verdict import needed
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError, Problem, WarehouseError
from phasegate.gates.heartbeat import clock_stopped_message
from phasegate.gates.measurement import run_queries
from phasegate.gates.pauses import paused
from phasegate.gates.rerun_requests import BREAKER, BUDGET
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, State, Warehouse

CLAIM = "claim"
"""Records of this kind, by gate: `claims` in the body is who said that they run it, each until when."""

LEASE = timedelta(hours=2)
"""How long a claim holds, unless told."""

LONGEST_LEASE = timedelta(days=7)
LONGEST_OWNER = 200

FIELDS = ("phase", "date", "pipeline", "producer", "claim", "lease")
"""What can be asked with."""


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """A phase that wants to start.

    Args:
        producer: Which of its jobs; empty for all of them.
        owner: Who wants to claim the run; empty when it is only asked.
    """

    run: RunKey
    producer: str = ""
    owner: str = ""
    lease: timedelta = LEASE


def read_request(fields: Mapping[str, Any], pipelines: Sequence[Pipeline], now: datetime) -> PreflightRequest:
    """What is asked, from named texts: of a command, a query or a JSON body.

    Raises:
        ConfigError: Something is missing, unknown or wrong; carries every problem.
    """
    problems = [Problem("", f'unknown field "{_shown(name)}"', hint=_known(FIELDS)) for name in fields if name not in FIELDS]
    given = {}
    for name in FIELDS:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            problems.append(Problem(name, "expected text", _shown(value)))
        elif value:
            given[name] = value
        elif name in ("phase", "date"):
            problems.append(
                Problem(name, "expected a phase" if name == "phase" else "expected a date like 2013-02-08", "nothing")
            )
    pipeline = _pipeline(given.get("pipeline"), pipelines, problems)
    if pipeline is None:
        raise ConfigError(problems=problems)
    day = _day(given["date"], pipeline, now, problems) if "date" in given else None
    phase, producer = given.get("phase", ""), given.get("producer", "")
    if phase in pipeline.phases:
        declared = pipeline.producers(phase)
        if producer and producer not in declared:
            problems.append(Problem("producer", f"expected one of {', '.join(declared)}", f'"{_shown(producer)}"'))
    elif phase:
        problems.append(Problem("phase", f"expected one of {', '.join(pipeline.phases)}", f'"{_shown(phase)}"'))
    owner = given.get("claim", "")
    if len(owner) > LONGEST_OWNER or not owner.isprintable():
        problems.append(
            Problem("claim", f"expected a name of at most {LONGEST_OWNER} printable characters", f'"{_shown(owner)}"')
        )
    lease = _lease(given, problems)
    if problems or day is None:
        raise ConfigError(problems=problems)
    return PreflightRequest(RunKey(pipeline.name, phase, day), producer, owner, lease)


def _pipeline(name: str | None, pipelines: Sequence[Pipeline], problems: list[Problem]) -> Pipeline | None:
    known = {pipeline.name: pipeline for pipeline in pipelines}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    problems.append(
        Problem("pipeline", f"expected one of {', '.join(known)}", "nothing" if name is None else f'"{_shown(name)}"')
    )
    return None


def _day(text: str, pipeline: Pipeline, now: datetime, problems: list[Problem]) -> date | None:
    latest = pipeline.today(now) + FAR_FUTURE
    try:
        day = parse_day(text)
    except ValueError as wrong:
        problems.append(Problem("date", f"expected {wrong}", f'"{_shown(text)}"'))
        return None
    if not EARLIEST <= day <= latest:
        problems.append(Problem("date", f"expected a date from {EARLIEST} to {latest}", str(day)))
    return day


def _lease(given: Mapping[str, str], problems: list[Problem]) -> timedelta:
    text = given.get("lease")
    if text is None:
        return LEASE
    if "claim" not in given:
        problems.append(Problem("lease", "expected claim beside it", "nothing"))
    try:
        lease = parse_duration(text)
    except ValueError as wrong:
        problems.append(Problem("lease", f"expected {wrong}", f'"{_shown(text)}"'))
        return LEASE
    if not timedelta() < lease <= LONGEST_LEASE:
        problems.append(Problem("lease", "expected at most 7d, and more than nothing", text))
    return lease


def _shown(value: object) -> str:
    text = str(value)[:80]
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _known(names: Sequence[str]) -> str:
    return f"known: {', '.join(names)}"


class PreflightChecks:
    """Answers whether a phase may start. Reads only, unless the run is claimed."""

    def __init__(self, pipelines: Sequence[Pipeline], *, warehouse: Warehouse, store: State, clock: Clock) -> None:
        self.pipelines = tuple(pipelines)
        self._by_name = {pipeline.name: pipeline for pipeline in pipelines}
        self._warehouse = warehouse
        self._store = store
        self._clock = clock

    def ask(self, wish: PreflightRequest) -> Clearance:
        """The answer; with an owner, a *go* claims the run in one commit with what the answer rests on.

        Raises:
            StateError: The state store did not answer. That is no *go*.
        """
        pipeline, run = self._by_name[wish.run.pipeline], wish.run
        begun = self._clock.now()
        needs = pipeline.needs(run.phase, run.run_date, begun)
        asked = needed(pipeline, needs)
        answers: Answers | str
        try:
            answers = run_queries(self._warehouse, pipeline, asked, Span(run.run_date, run.run_date)) if asked else Answers(())
        except (WarehouseError, ConfigError) as error:
            answers = str(error)

        def take() -> Clearance:
            record, start = self._start(wish, pipeline)
            start = replace(start, answers=answers, needs=needs)
            clearance = preflight(start)
            if not wish.owner or not clearance.go:
                return clearance
            claim = Claim(wish.owner, wish.producer, start.now, start.now + wish.lease)
            kept = [each for each in start.running if (each.owner, each.producer) != (claim.owner, claim.producer)]
            read = (run.phase, *pipeline.inputs(run.phase, run.run_date))
            related_versions = {start.day[phase].run: start.day[phase].version for phase in read if phase in start.day}
            self._store.commit(Change(related_versions=related_versions, records=(_record(record, (*kept, claim)),)))
            return replace(clearance, claim=claim)

        return until_written(take, f"{run}: it kept moving while it was looked at")

    def release_claim(self, wish: PreflightRequest) -> bool:
        """End the claims of an owner on a run; False when there was none."""

        def take() -> bool:
            record = self._claims(wish.run)
            claims = _read(record)
            left = tuple(claim for claim in claims if claim.owner != wish.owner)
            if left == claims:
                return False
            self._store.commit(Change(records=(_record(record, left),)))
            return True

        return until_written(take, f"{wish.run}: its claims kept moving")

    def _claims(self, run: RunKey) -> Record:
        return self._store.find(CLAIM, [str(run)]).get(str(run), Record(CLAIM, str(run), {"claims": []}))

    def _start(self, wish: PreflightRequest, pipeline: Pipeline) -> tuple[Record, PreflightCase]:
        """The claims as they are stored, and everything but what the tables say."""
        run, phase = wish.run, f"{wish.run.pipeline}/{wish.run.phase}"
        back = pipeline.phase(run.phase).look_back or timedelta()
        # Claims before gates: whoever ends a claim by a report is then seen in the gate.
        record = self._claims(run)
        days: Mapping[date, GatesByPhase] = self._store.load(pipeline.name, Span(run.run_date - back, run.run_date))
        now = self._clock.now()
        today = f"{phase}/{pipeline.today(now)}"
        budget = self._store.find(BUDGET, [today]).get(today)
        breaker = self._store.find(BREAKER, [phase]).get(phase)
        is_open = breaker is not None and breaker.expires is None
        start = PreflightCase(
            pipeline,
            run,
            now,
            days,
            answers="",
            owner=wish.owner,
            producer=wish.producer,
            claims=_read(record),
            requests_today=budget.body["used"] if budget else 0,
            trial=date.fromisoformat(breaker.body["run_date"]) if breaker and is_open else None,
            pause=paused(self._store, pipeline.name, run.phase, now),
            clock=clock_stopped_message(self._store, now),
        )
        return record, start


def _read(record: Record) -> tuple[Claim, ...]:
    return tuple(map(_claimed, record.body["claims"]))


def _claimed(body: Mapping[str, str]) -> Claim:
    at, until = (datetime.fromisoformat(body[name]) for name in ("at", "until"))
    return Claim(body["owner"], body["producer"], at, until)


def _record(record: Record, claims: Sequence[Claim]) -> Record:
    body = {"claims": [_claim(claim) for claim in claims]}
    last = max((claim.until for claim in claims), default=None)
    return replace(record, body=body, expires=last or record.expires)


def _claim(claim: Claim) -> Mapping[str, str]:
    return {"owner": claim.owner, "producer": claim.producer, "at": claim.at.isoformat(), "until": claim.until.isoformat()}


def clearance_body(clearance: Clearance) -> Mapping[str, Any]:
    """The answer as a JSON object."""
    run = clearance.run
    return {
        "go": clearance.go,
        "pipeline": run.pipeline,
        "phase": run.phase,
        "date": str(run.run_date),
        "at": clearance.at.isoformat(),
        "reasons": [_point(point) for point in clearance.points],
        "claim": _claim(clearance.claim) if clearance.claim else None,
    }


def _point(point: PreflightPoint) -> Mapping[str, Any]:
    return {
        "topic": point.topic,
        "word": point.outcome,
        "detail": point.detail,
        "cure": point.cure or None,
        "next": list(point.next),
    }


def read_clearance(body: Mapping[str, Any]) -> Clearance:
    """The answer that `clearance_body` wrote.

    Raises:
        KeyError, TypeError, ValueError: It is none, or contradicts itself.
    """
    run = RunKey(str(body["pipeline"]), str(body["phase"]), parse_day(body["date"]))
    points = tuple(
        PreflightPoint(
            Topic(each["topic"]), PointOutcome(each["word"]), str(each["detail"]), str(each["cure"] or ""), tuple(each["next"])
        )
        for each in body["reasons"]
    )
    found = Clearance(run, datetime.fromisoformat(body["at"]), points, _claimed(body["claim"]) if body["claim"] else None)
    if body["go"] is not found.go or not points:
        raise ValueError(f"go is {body['go']!r}, and the reasons say otherwise")
    return found
