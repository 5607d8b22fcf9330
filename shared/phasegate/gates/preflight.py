"""The preflight check with the world attached: read the request, measure the inputs, answer, and claim the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from phasegate.core.checks.base import Answers
from phasegate.core.field_syntax import Span, parse_day, parse_duration
from phasegate.core.gates.completion import EARLIEST, FAR_FUTURE, RunKey
from phasegate.core.gates.gate import GatesByPhase
from phasegate.core.gates.preflight import Claim, Clearance, PointOutcome, PreflightCase, PreflightPoint, Topic, preflight
from phasegate.core.gates.verdict import preflight_queries
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError, Problem, WarehouseError
from phasegate.gates.adoption import unheard_inputs
from phasegate.gates.heartbeat import clock_stopped_message
from phasegate.gates.measurement import run_queries
from phasegate.gates.pauses import paused
from phasegate.gates.rerun_requests import BREAKER, BUDGET
from phasegate.gates.watching import Watches
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, State, Warehouse

CLAIM = "claim"
"""Records of this kind, by gate: `claims` in the body is who runs it, each until when."""

LEASE = timedelta(hours=2)
"""How long a claim lasts unless the request says otherwise."""

LONGEST_LEASE = timedelta(days=7)
LONGEST_OWNER = 200

FIELDS = ("phase", "date", "pipeline", "producer", "claim", "lease")
"""The fields of a request."""


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """A phase that wants to start.

    Args:
        producer: Which of its jobs; empty for all of them.
        owner: Who wants to claim the run; empty to ask without claiming.
    """

    run: RunKey
    producer: str = ""
    owner: str = ""
    lease: timedelta = LEASE


def read_request(fields: Mapping[str, Any], pipelines: Sequence[Pipeline], now: datetime) -> PreflightRequest:
    """The request in the named fields of a command, a query string or a JSON body.

    Raises:
        ConfigError: A field is missing, unknown or wrong; carries every problem.
    """
    problems = [Problem("", f'unknown field "{_shown(name)}"', hint=_known(FIELDS)) for name in fields if name not in FIELDS]
    texts = {}
    for name in FIELDS:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            problems.append(Problem(name, "expected text", _shown(value)))
        elif value:
            texts[name] = value
        elif name in ("phase", "date"):
            problems.append(
                Problem(name, "expected a phase" if name == "phase" else "expected a date like 2013-02-08", "nothing")
            )
    pipeline = _pipeline(texts.get("pipeline"), pipelines, problems)
    if pipeline is None:
        raise ConfigError(problems=problems)
    day = _day(texts["date"], pipeline, now, problems) if "date" in texts else None
    phase, producer = texts.get("phase", ""), texts.get("producer", "")
    if phase in pipeline.phases:
        declared = pipeline.producers(phase)
        if producer and producer not in declared:
            problems.append(Problem("producer", f"expected one of {', '.join(declared)}", f'"{_shown(producer)}"'))
    elif phase:
        problems.append(Problem("phase", f"expected one of {', '.join(pipeline.phases)}", f'"{_shown(phase)}"'))
    owner = texts.get("claim", "")
    if len(owner) > LONGEST_OWNER or not owner.isprintable():
        problems.append(
            Problem("claim", f"expected a name of at most {LONGEST_OWNER} printable characters", f'"{_shown(owner)}"')
        )
    lease = _lease(texts, problems)
    if problems or day is None:
        raise ConfigError(problems=problems)
    return PreflightRequest(RunKey(pipeline.name, phase, day), producer, owner, lease)


def _pipeline(name: str | None, pipelines: Sequence[Pipeline], problems: list[Problem]) -> Pipeline | None:
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    if name is None and len(by_name) == 1:
        return next(iter(by_name.values()))
    if name in by_name:
        return by_name[name]
    problems.append(
        Problem("pipeline", f"expected one of {', '.join(by_name)}", "nothing" if name is None else f'"{_shown(name)}"')
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


def _lease(texts: Mapping[str, str], problems: list[Problem]) -> timedelta:
    text = texts.get("lease")
    if text is None:
        return LEASE
    if "claim" not in texts:
        problems.append(Problem("lease", "expected a claim with it", "nothing"))
    try:
        lease = parse_duration(text)
    except ValueError as wrong:
        problems.append(Problem("lease", f"expected {wrong}", f'"{_shown(text)}"'))
        return LEASE
    if not timedelta() < lease <= LONGEST_LEASE:
        problems.append(Problem("lease", "expected more than 0 and at most 7d", text))
    return lease


def _shown(value: object) -> str:
    text = str(value)[:80]
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _known(names: Sequence[str]) -> str:
    return f"known: {', '.join(names)}"


class PreflightChecks:
    """Answers whether a phase may start. Writes nothing unless the run is claimed."""

    def __init__(self, pipelines: Sequence[Pipeline], *, warehouse: Warehouse, store: State, clock: Clock) -> None:
        self.pipelines = tuple(pipelines)
        self._by_name = {pipeline.name: pipeline for pipeline in pipelines}
        self._warehouse = warehouse
        self._store = store
        self._clock = clock
        self._watches = Watches(store, clock)

    def ask(self, request: PreflightRequest) -> Clearance:
        """The answer. When the request has an owner, a *go* also claims the run.

        Raises:
            StateError: The state store did not answer. That is not a *go*.
        """
        pipeline, run = self._by_name[request.run.pipeline], request.run
        now = self._clock.now()
        needs = pipeline.needs(run.phase, run.run_date, now)
        planned = preflight_queries(pipeline, needs)
        answers: Answers | str
        # Measured once and outside of the loop: a conflict changes the gates and claims, not what the tables hold.
        try:
            day = Span(run.run_date, run.run_date)
            answers = run_queries(self._warehouse, pipeline, planned, day, now=now) if planned else Answers(())
        except (WarehouseError, ConfigError) as error:
            answers = str(error)
        unheard = self._unheard_inputs(run, pipeline)

        def answer_and_claim() -> Clearance:
            record, start = self._load(request, pipeline)
            day = {**unheard, **start.day}
            start = replace(start, answers=answers, needs=needs, days={**start.days, run.run_date: day})
            clearance = preflight(start)
            if not request.owner or not clearance.go:
                return clearance
            claim = Claim(request.owner, request.producer, start.now, start.now + request.lease)
            others = [other for other in start.running if (other.owner, other.producer) != (claim.owner, claim.producer)]
            # The claims and the gates that the answer depends on must still be at the versions that were read, or two jobs that
            # ask at the same time would both get a go.
            phases = (run.phase, *pipeline.inputs(run.phase, run.run_date))
            gates = {start.day[phase].run: start.day[phase].version for phase in phases if phase in start.day}
            self._store.commit(Change(related_versions=gates, records=(_record(record, (*others, claim)),)))
            return replace(clearance, claim=claim)

        return until_written(answer_and_claim, f"{run}: its gates or claims kept changing while they were read")

    def _unheard_inputs(self, run: RunKey, pipeline: Pipeline) -> GatesByPhase:
        """What the tables say of inputs that were done before phasegate watched; nothing is stored."""
        inputs = pipeline.inputs(run.phase, run.run_date)
        if not any(self._watches.may_have_missed(pipeline, replace(run, phase=name)) for name in inputs):
            return {}
        day = self._store.load(pipeline.name, Span(run.run_date, run.run_date)).get(run.run_date, {})
        return unheard_inputs(pipeline, run, day, warehouse=self._warehouse, now=self._clock.now())

    def release_claim(self, request: PreflightRequest) -> bool:
        """End an owner's claims on a run; False when there was none."""

        def write() -> bool:
            record = self._claims(request.run)
            claims = _read(record)
            others = tuple(claim for claim in claims if claim.owner != request.owner)
            if others == claims:
                return False
            self._store.commit(Change(records=(_record(record, others),)))
            return True

        return until_written(write, f"{request.run}: its claims kept changing")

    def _claims(self, run: RunKey) -> Record:
        return self._store.find(CLAIM, [str(run)]).get(str(run), Record(CLAIM, str(run), {"claims": []}))

    def _load(self, request: PreflightRequest, pipeline: Pipeline) -> tuple[Record, PreflightCase]:
        """The claims as they are stored, and everything that the answer depends on but the tables."""
        run, phase = request.run, f"{request.run.pipeline}/{request.run.phase}"
        back = pipeline.phase(run.phase).look_back or timedelta()
        # Claims before gates: a report that ends a claim in between is then seen in the gate.
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
            owner=request.owner,
            producer=request.producer,
            claims=_read(record),
            requests_today=budget.body["used"] if budget else 0,
            trial=date.fromisoformat(breaker.body["run_date"]) if breaker and is_open else None,
            pause=paused(self._store, pipeline.name, run.phase, now),
            clock=clock_stopped_message(self._store, now),
        )
        return record, start


def _read(record: Record) -> tuple[Claim, ...]:
    return tuple(map(_read_claim, record.body["claims"]))


def _read_claim(body: Mapping[str, str]) -> Claim:
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
        "status": clearance.status,
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
        KeyError, TypeError, ValueError: The object is something else, or contradicts itself.
    """
    run = RunKey(str(body["pipeline"]), str(body["phase"]), parse_day(body["date"]))
    points = tuple(
        PreflightPoint(
            Topic(point["topic"]),
            PointOutcome(point["word"]),
            str(point["detail"]),
            str(point["cure"] or ""),
            tuple(point["next"]),
        )
        for point in body["reasons"]
    )
    clearance = Clearance(
        run, datetime.fromisoformat(body["at"]), points, _read_claim(body["claim"]) if body["claim"] else None
    )
    if body["go"] is not clearance.go or not points:
        raise ValueError(f"go is {body['go']!r}, but the reasons say otherwise")
    return clearance
