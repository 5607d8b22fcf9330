"""`report`: a job reports the result of its run, on success and on failure. For the pipeline's own code."""

import json
import operator
import os
import re
import traceback
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
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
"""Characters of a job's error that are reported."""


class Run:
    """What a job reports about its run, filled in while it runs.

    Args:
        run_id: For the job's own logs and tables.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.rows: int | None = None
        """How many rows it wrote for the run date; compared with the table, never trusted."""
        self._status = Status.DONE
        self._why: str | None = None

    @property
    def status(self) -> Status:
        """The result, unless an exception ends the run."""
        return self._status

    @property
    def why(self) -> str | None:
        """What is missing, or what went wrong."""
        return self._why

    def nothing(self) -> None:
        """Report that there was nothing to do for the run date."""
        self._status, self._why = Status.NOTHING, None

    def partial(self, why: str) -> None:
        """Report that the run is done, but something is missing; checks of the tables decide whether that matters."""
        self._status, self._why = Status.PARTIAL, why

    def failed(self, why: str) -> None:
        """Report a failure without an exception: the job goes on, or this reports the run of another program."""
        self._status, self._why = Status.FAILED, why


def report(
    phase: str,
    *,
    run_date: date | str,
    producer: str | None = None,
    pipeline: str | None = None,
    run_id: object = None,
    attempt: object = None,
    started_at: datetime | str | float | None = None,
    correlation_id: object = None,
    traceparent: str | None = None,
    topic: str | None = None,
    strict: bool = False,
    publisher: Publisher | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] = os.environ,
) -> "Reporter":
    """A block that publishes the completion message of its run when it ends, on success and on failure.

        with phasegate.report("raw", producer="flights_loader", run_date=day) as run:
            run.rows = load(day)

    An exception, including KeyboardInterrupt and `sys.exit` with anything but 0, makes the run a failure and is raised on.

    The message goes to `PHASEGATE_BUS`. `pubsub:PROJECT`: to the phase's completion topic. `local:`: to the monitor on this
    machine, in this process, as `phasegate complete` does; close your connection to a DuckDB file before the block ends, or
    the file can't be measured. With pipeline files (`PHASEGATE_PIPELINES`) names are checked, and the message has the
    pipeline's own field names. Without them `pipeline` is needed, and the message has phasegate's field names.

    Wrong arguments and settings raise before the block begins. After that, a bus that is down does not fail the job: the
    tables are filled, and a rerun would not fix the bus. The message is not lost, either: it is retried for some seconds, then
    logged in full as `completion_not_published`, to be published later, and without it the gate becomes overdue.

    Args:
        run_date: A date, or its text in the form YYYY-MM-DD.
        producer: Not needed when the phase has only one.
        pipeline: Not needed when there is only one pipeline file.
        run_id: Text, a number, a UUID; random, when left out.
        attempt: Any kind of whole number; from `PHASEGATE_ATTEMPT`, or `CLOUD_RUN_TASK_ATTEMPT` plus 1, when left out.
        started_at: When the run began, if that was before the block: a time, its text, or seconds since 1970. Without a time
            zone it is the pipeline's local time, which only the pipeline file knows.
        correlation_id: As run_id; from `PHASEGATE_CORRELATION_ID`, when left out.
        traceparent: The trace to continue, in W3C form; from `TRACEPARENT`, when left out.
        topic: Without the prefix; `<pipeline>-<phase>-complete`, when left out.
        strict: Raise when the message could not be published. A job that failed raises its own exception instead.
        publisher: Used instead of the bus that the settings name.

    Raises:
        ConfigError: The monitor would reject the message, or something is missing. Nothing was done yet.
        PublishError: With *strict*, at the end of the block.
    """
    wiring = Wiring(Settings.resolve({}, environ, Path.cwd()), clock=clock)
    declared = _declared(wiring, pipeline)
    template = Report(
        producer or "",
        Status.DONE,
        wiring.clock.now(),
        _identifier("run_id", run_id) or str(uuid.uuid4()),
        _attempt(environ) if attempt is None else _whole("attempt", attempt),
        _moment(started_at, declared),
        correlation_id=_identifier("correlation_id", correlation_id) or environ.get("PHASEGATE_CORRELATION_ID") or None,
        traceparent=read_traceparent(traceparent or environ.get("TRACEPARENT")),
    )
    run = RunKey(declared.name if declared else pipeline or "", phase, run_day(run_date))
    names = declared.messages if declared else Messages()
    accepted = _accepted(declared, run, template, names) if declared else run
    to = topic or complete_topic(accepted.pipeline, accepted.phase)
    return Reporter(run, template, names, to, publisher or _publisher(wiring), wiring.clock, strict=strict)


class Reporter:
    """The block of `report`."""

    def __init__(
        self, run: RunKey, template: Report, names: Messages, topic: str, publisher: Publisher, clock: Clock, *, strict: bool
    ) -> None:
        self._run = run
        self._template = template
        self._names = names
        self._topic = topic
        self._publisher = publisher
        self._clock = clock
        self._strict = strict

    def __enter__(self) -> Run:
        self._current = Run(self._template.run_id or "")
        self._began = self._template.started_at or self._clock.now()
        return self._current

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        fault = None if _is_success(error) else error
        message = completion_message(self._topic, self._run, self._report(fault), self._names)
        try:
            _send(self._publisher, message)
        except BaseException as failure:
            # Even an interrupt must not lose the message, and an error of the bus must not fail the job.
            _log_unpublished(message, failure)
            if not isinstance(failure, Exception):
                raise
            if self._strict and fault is None:
                raise PublishError(f"{message.key} was not published: {_described(failure)}", retryable=False) from failure

    def _report(self, fault: BaseException | None) -> Report:
        run, template = self._current, self._template
        return Report(
            template.producer,
            Status.FAILED if fault else run.status,
            template.received_at,
            template.run_id,
            template.attempt,
            self._began,
            self._clock.now(),
            _row_count(run.rows),
            template.correlation_id,
            _described(fault) if fault else None if run.why is None else _shortened(run.why),
            template.traceparent,
        )


@retrying
def _send(publisher: Publisher, message: Outgoing) -> None:
    publisher.publish(message)


def _log_unpublished(message: Outgoing, failure: BaseException) -> None:
    """Log everything that is needed to publish the message manually."""
    log(
        "completion_not_published",
        severity="CRITICAL",
        error=_described(failure),
        key=message.key,
        topic=message.topic,
        completion=message.body,
        attributes=message.attributes,
    )


def _is_success(error: BaseException | None) -> bool:
    return error is None or (isinstance(error, SystemExit) and error.code in (None, 0))


def _described(error: BaseException) -> str:
    # Unlike str(), this also handles an exception whose own text raises.
    return _shortened(traceback.format_exception_only(error)[0])


_SECRETS = re.compile(
    r"""(://[^/\s:@]*:(?=[^/\s@]+@)|bearer\s+|[?&]key=|(?:password|passwd|pwd)["']?\s*[=:]\s*["']?|"""
    r"""(?:secret|token|api[_-]?key|signature)=)[^\s@&;,"']+""",
    re.IGNORECASE,
)


def _shortened(text: object) -> str:
    """One line without secrets: errors often quote a URL or a parameter with its password."""
    line = " ".join(_SECRETS.sub(r"\1<secret>", str(text)).split())
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"


def _row_count(rows: Any) -> int | None:
    """The number of rows as a plain integer, from any kind of whole number; else None, with a warning in the log."""
    if rows is None:
        return None
    try:
        return _whole("rows", rows)
    except ConfigError:
        # It would make the monitor reject the whole message, and the table is counted anyway.
        log("rows_not_reported", severity="WARNING", expected="a whole number ≥ 0", got=repr(rows))
        return None


def _whole(name: str, value: Any) -> int:
    """A plain integer from any kind of whole number: of numpy, a Decimal, text, a float without a fraction.

    Raises:
        ConfigError: It is none, or negative.
    """
    try:
        number = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        try:
            number = int(value)
            if number != value:
                number = -1
        except (TypeError, ValueError, ArithmeticError):
            number = -1
    if number < 0 or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number ≥ 0, got {value!r}")
    return number


def _identifier(name: str, value: object) -> str | None:
    """An id as text: of text, a number, a UUID.

    Raises:
        ConfigError: It is bytes, or a collection.
    """
    if isinstance(value, bytes | bytearray | Collection) and not isinstance(value, str):
        raise ConfigError(f"{name}: expected text or a number, got {value!r}")
    return None if value is None else str(value)


def run_day(value: date | str) -> date:
    """A run date, from a date or its text.

    Raises:
        ConfigError: It is not a date, or it is a time.
    """
    if isinstance(value, datetime):
        raise ConfigError(f"run_date: expected a date, got the time {value}; its date depends on the time zone")
    if isinstance(value, date):
        return value
    try:
        return parse_day(str(value))
    except ValueError as wrong:
        raise ConfigError(f'run_date: expected {wrong}, got "{value}"') from None


def _moment(value: Any, pipeline: Pipeline | None) -> datetime | None:
    """A time in UTC, from a time, its text, or seconds since 1970.

    Raises:
        ConfigError: It is none of these, or its time zone is not known.
    """
    if value is None:
        return None
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
        else:
            moment = datetime.fromtimestamp(float(value), UTC)
        if moment.tzinfo is None:
            if pipeline is None:
                raise ConfigError(f"started_at: expected a time with its time zone, got {moment}")
            moment = moment.replace(tzinfo=pipeline.zone)
        return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        expected = "a time, its text, or seconds since 1970"
        raise ConfigError(f"started_at: expected {expected}, got {value!r}") from None


def _attempt(environ: Mapping[str, str]) -> int | None:
    # Cloud Run counts a task's retries from 0. Source: "Container runtime contract", environment of jobs.
    for name, first in (("PHASEGATE_ATTEMPT", 0), ("CLOUD_RUN_TASK_ATTEMPT", 1)):
        if text := environ.get(name):
            if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
                raise ConfigError(f'{name}: expected a whole number ≥ 0, got "{text}"')
            return int(text) + first
    return None


def _declared(wiring: Wiring, name: str | None) -> Pipeline | None:
    """The named pipeline, or the only one, from its file; None without files."""
    declared = {pipeline.name: pipeline for pipeline in wiring.pipelines} if wiring.settings.has("pipelines") else {}
    if name is None and len(declared) == 1:
        return next(iter(declared.values()))
    if name is None:
        which = f"one of {', '.join(declared)}" if declared else "its name, or PHASEGATE_PIPELINES"
        raise ConfigError(f"pipeline: expected {which}, got nothing")
    if declared and name not in declared:
        raise ConfigError(f'unknown pipeline "{name}"; known pipelines: {", ".join(declared)}')
    return declared.get(name)


def _accepted(pipeline: Pipeline, run: RunKey, template: Report, names: Messages) -> RunKey:
    """The run as the monitor will read it. What it would reject raises now, not at the end of the job."""
    body = completion_message("", run, template, names).body
    try:
        return parse_completion(Envelope("", json.dumps(body).encode(), {}), [pipeline], now=template.received_at).run
    except MessageError as error:
        raise ConfigError(str(error)) from error


def _publisher(wiring: Wiring) -> Publisher:
    if wiring.settings.bus.scheme != "local":
        return wiring.publisher
    wiring.settings.require("pipelines", "warehouse", "state")
    return InProcessBus(wiring)


class InProcessBus:
    """The bus `local:` of a job: hands its completion to the monitor in this process, as `phasegate complete` does."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def publish(self, message: Outgoing) -> str:
        """See `Publisher.publish`; a message that the monitor rejects was not accepted."""
        # The key as the message id makes a retry after an error the same message.
        envelope = Envelope(f"report-{message.key}", json.dumps(message.body).encode(), message.attributes)
        try:
            result = self._wiring.monitor.handle(envelope)
            self._wiring.monitor.relay()
        except AdapterError as error:
            raise PublishError(str(error), retryable=error.retryable) from error
        if result.handled is Handled.REJECTED:
            raise PublishError(result.problem, retryable=False)
        gate = result.decision.gate if result.decision else None
        log("reported", run_key=str(gate.run) if gate else None, gate=gate and gate.state, message_id=result.message_id)
        return result.message_id
