"""`report`: a job says what became of its run, whatever became of it. For the pipeline's own code."""

import json
import operator
import os
import re
import traceback
import uuid
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.client.retrying import retrying
from phasegate.core.field_syntax import parse_day
from phasegate.core.gates.completion import Envelope, Report, RunKey, Status, parse_completion, read_traceparent
from phasegate.core.pipeline.model import Messages, Pipeline
from phasegate.errors import AdapterError, ConfigError, MessageError, PublishError
from phasegate.logs import log
from phasegate.messaging.bodies import complete_topic, completion_message
from phasegate.messaging.inbox import Handled
from phasegate.ports import Clock, Outgoing, Publisher

LONGEST_ERROR = 500
"""Characters kept of what a job failed with."""


class Run:
    """What a job says of its run while it goes on.

    Args:
        run_id: To be written to logs and tables.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.rows: int | None = None
        """How many rows it wrote for the run date; compared with the table, never trusted."""
        self._status = Status.DONE
        self._why: str | None = None

    @property
    def status(self) -> Status:
        """How it ends, unless an exception ends it."""
        return self._status

    @property
    def why(self) -> str | None:
        """What is missing, or went wrong."""
        return self._why

    def nothing(self) -> None:
        """There was nothing to do for the run date."""
        self._status, self._why = Status.NOTHING, None

    def partial(self, why: str) -> None:
        """It is done, and something is missing; the tables tell whether that is bad."""
        self._status, self._why = Status.PARTIAL, why

    def failed(self, why: str) -> None:
        """It failed, and no exception says so: the job runs on, or somebody else's run is reported."""
        self._status, self._why = Status.FAILED, why


def report(
    phase: str,
    *,
    run_date: date | str,
    producer: str | None = None,
    pipeline: str | None = None,
    run_id: str | None = None,
    attempt: int | None = None,
    started_at: datetime | None = None,
    correlation_id: str | None = None,
    traceparent: str | None = None,
    topic: str | None = None,
    strict: bool = False,
    publisher: Publisher | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] = os.environ,
) -> "Reporter":
    """A block that publishes its run's completion message when it ends, on success and on failure.

        with phasegate.report("raw", producer="flights_loader", run_date=day) as run:
            run.rows = load(day)

    An exception makes it a failure, KeyboardInterrupt and `sys.exit` with anything but 0 included, and goes on as it was.

    The message goes to `PHASEGATE_BUS`. `pubsub:PROJECT`: to the phase's completion topic. `local:`: to the monitor of this
    machine, in this process, as `phasegate complete` does; close your connection to a DuckDB file before the block ends, or
    it can't be measured. When there are pipeline files (`PHASEGATE_PIPELINES`), names are checked and the message is written
    in the pipeline's own field names; else `pipeline` is needed, and the message is in phasegate's.

    Wrong arguments and settings are found before the block begins. After that, reporting does not fail the job: the tables
    are filled, and running it again because a bus was silent would do harm and mend nothing. It is not swallowed, either: it
    is tried again for some seconds, then the whole message is logged as one line, `completion_not_published`, to be published
    again, and the gate, which has heard nothing, is overdue when it is due.

    Args:
        run_date: A date, or its text in the form YYYY-MM-DD.
        producer: Not needed when the phase has one.
        pipeline: Not needed when there is one pipeline file.
        run_id: A random one, when left out.
        attempt: From `PHASEGATE_ATTEMPT`, or `CLOUD_RUN_TASK_ATTEMPT` plus 1, when left out.
        started_at: When the run began, if that was before the block.
        correlation_id: From `PHASEGATE_CORRELATION_ID`, when left out.
        traceparent: The trace to be carried on, in W3C form; from `TRACEPARENT`, when left out.
        topic: Without the prefix of all topics; `<pipeline>-<phase>-complete`, when left out.
        strict: Raise when the message could not be published. A job that failed anyway raises its own exception.
        publisher: Instead of the bus that the settings name.

    Raises:
        ConfigError: Something is wrong that the monitor would reject, or not enough is said. Nothing was done yet.
        PublishError: With *strict*, at the end of the block.
    """
    wiring = Wiring(Settings.resolve({}, environ, Path.cwd()), clock=clock)
    declared = _declared(wiring, pipeline)
    said = Report(
        producer or "",
        Status.DONE,
        wiring.clock.now(),
        run_id or str(uuid.uuid4()),
        _attempt(environ) if attempt is None else attempt,
        _zoned(started_at),
        correlation_id=correlation_id or environ.get("PHASEGATE_CORRELATION_ID") or None,
        traceparent=read_traceparent(traceparent or environ.get("TRACEPARENT")),
    )
    run = RunKey(declared.name if declared else pipeline or "", phase, run_day(run_date))
    names = declared.messages if declared else Messages()
    known = _accepted(declared, run, said, names) if declared else run
    to = topic or complete_topic(known.pipeline, known.phase)
    return Reporter(run, said, names, to, publisher or _publisher(wiring), wiring.clock, strict=strict)


class Reporter:
    """The block of `report`."""

    def __init__(
        self, run: RunKey, said: Report, names: Messages, topic: str, publisher: Publisher, clock: Clock, *, strict: bool
    ) -> None:
        self._run = run
        self._said = said
        self._names = names
        self._topic = topic
        self._publisher = publisher
        self._clock = clock
        self._strict = strict

    def __enter__(self) -> Run:
        self._told = Run(self._said.run_id or "")
        self._began = self._said.started_at or self._clock.now()
        return self._told

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        fault = None if _is_good_end(error) else error
        message = completion_message(self._topic, self._run, self._report(fault), self._names)
        try:
            _send(self._publisher, message)
        except BaseException as failure:
            # Whatever it is, an interrupt too: the message must not be lost, and the job must not end because of it.
            _tell(message, failure)
            if not isinstance(failure, Exception):
                raise
            if self._strict and fault is None:
                raise PublishError(f"{message.key} was not published: {_described(failure)}", retryable=False) from failure

    def _report(self, fault: BaseException | None) -> Report:
        told, said = self._told, self._said
        return Report(
            said.producer,
            Status.FAILED if fault else told.status,
            said.received_at,
            said.run_id,
            said.attempt,
            self._began,
            self._clock.now(),
            _counted(told.rows),
            said.correlation_id,
            _described(fault) if fault else None if told.why is None else _shortened(told.why),
            said.traceparent,
        )


@retrying
def _send(publisher: Publisher, message: Outgoing) -> None:
    publisher.publish(message)


def _tell(message: Outgoing, failure: BaseException) -> None:
    """Log everything that is needed to publish the message by hand."""
    log(
        "completion_not_published",
        severity="CRITICAL",
        error=_described(failure),
        key=message.key,
        topic=message.topic,
        completion=message.body,
        attributes=message.attributes,
    )


def _is_good_end(error: BaseException | None) -> bool:
    return error is None or (isinstance(error, SystemExit) and error.code in (None, 0))


def _described(error: BaseException) -> str:
    # Unlike str(), this stands an exception that can't be written as text.
    return _shortened(traceback.format_exception_only(error)[0])


_SECRETS = re.compile(
    r"""(://[^/\s:@]*:(?=[^/\s@]+@)|bearer\s+|[?&]key=|(?:password|passwd|pwd)["']?\s*[=:]\s*["']?|"""
    r"""(?:secret|token|api[_-]?key|signature)=)[^\s@&;,"']+""",
    re.IGNORECASE,
)


def _shortened(text: object) -> str:
    """One line that may be shown: an address or a parameter often stands in an error with what opens it."""
    line = " ".join(_SECRETS.sub(r"\1<secret>", str(text)).split())
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"


def _counted(rows: Any) -> int | None:
    """The number of rows as JSON writes it, whatever kind of integer it is; what is no count is left out, and said."""
    if rows is None:
        return None
    try:
        count = operator.index(rows)
    except TypeError:
        count = -1
    if count >= 0:
        return count
    # It would make the monitor reject the whole message; the table is counted anyway.
    log("rows_not_reported", severity="WARNING", expected="a whole number ≥ 0", got=repr(rows))
    return None


def run_day(value: date | str) -> date:
    """A run date as a job gives it.

    Raises:
        ConfigError: It is no date, or a time.
    """
    if isinstance(value, str):
        try:
            return parse_day(value)
        except ValueError as wrong:
            raise ConfigError(f'run_date: expected {wrong}, got "{value}"') from None
    if isinstance(value, datetime):
        raise ConfigError(f"run_date: expected a date, got the time {value}; which date that is depends on the zone")
    return value


def _zoned(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise ConfigError(f"started_at: expected a time with its zone, got {moment}")
    return moment


def _attempt(environ: Mapping[str, str]) -> int | None:
    # Cloud Run counts the times that a task was tried again, from 0. Source: "Container runtime contract", environment of jobs.
    for name, first in (("PHASEGATE_ATTEMPT", 0), ("CLOUD_RUN_TASK_ATTEMPT", 1)):
        if text := environ.get(name):
            if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
                raise ConfigError(f'{name}: expected a whole number ≥ 0, got "{text}"')
            return int(text) + first
    return None


def _declared(wiring: Wiring, name: str | None) -> Pipeline | None:
    """The pipeline that is meant, from its file; None when there are no files."""
    known = {pipeline.name: pipeline for pipeline in wiring.pipelines} if wiring.settings.has("pipelines") else {}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        which = f"one of {', '.join(known)}" if known else "its name, or PHASEGATE_PIPELINES"
        raise ConfigError(f"pipeline: expected {which}, got nothing")
    if known and name not in known:
        raise ConfigError(f'unknown pipeline "{name}"; known pipelines: {", ".join(known)}')
    return known.get(name)


def _accepted(pipeline: Pipeline, run: RunKey, said: Report, names: Messages) -> RunKey:
    """The run as the monitor will understand it; what it would reject is told now, and not at the end of the job."""
    body = completion_message("", run, said, names).body
    try:
        return parse_completion(Envelope("", json.dumps(body).encode(), {}), [pipeline], now=said.received_at).run
    except MessageError as error:
        raise ConfigError(str(error)) from error


def _publisher(wiring: Wiring) -> Publisher:
    if wiring.settings.bus.scheme != "local":
        return wiring.publisher
    wiring.settings.require("pipelines", "warehouse", "state")
    return ThisMachine(wiring)


class ThisMachine:
    """The bus `local:` of a job: hands its completion to this machine's monitor, as `phasegate complete` does."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def publish(self, message: Outgoing) -> str:
        """See `Publisher.publish`; a message that the monitor rejects was not taken."""
        # The key, so that a second attempt after an error is seen as the same message.
        envelope = Envelope(f"report-{message.key}", json.dumps(message.body).encode(), message.attributes)
        try:
            outcome = self._wiring.monitor.handle(envelope)
            self._wiring.monitor.relay()
        except AdapterError as error:
            raise PublishError(str(error), retryable=error.retryable) from error
        if outcome.handled is Handled.REJECTED:
            raise PublishError(outcome.problem, retryable=False)
        gate = outcome.decision.gate if outcome.decision else None
        log("reported", run_key=str(gate.run) if gate else None, gate=gate and gate.state, message_id=outcome.message_id)
        return outcome.message_id
