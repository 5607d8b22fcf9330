"""Incoming messages: the envelopes they arrive in, and the completion they carry.

A message is accepted as it is or rejected with a reason; nothing in it is guessed.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from phasegate.core.field_syntax import parse_day, parse_duration
from phasegate.core.pipeline.model import Messages, Pipeline
from phasegate.errors import IgnoredSender, MessageError, UnknownPhase

LONGEST_RUN = timedelta(days=30)
"""A run that is said to have lasted longer is a mistake."""

FAR_FUTURE = timedelta(days=7)
"""A run date further in the future than this is a mistake."""

EARLIEST = date(1900, 1, 1)
"""A run date before this is a mistake; near the year 1 a due time can't be computed."""

EARLIEST_TIME = datetime.min.replace(tzinfo=UTC)

AHEAD = timedelta(days=1)
"""A time further in the future than this is a mistake. Less may be a wrong clock, or a local time written without its zone."""

LONGEST_TEXT = 1_000
"""Characters stored of any text of a message."""


TRACEPARENT = "traceparent"
"""The attribute or field that carries a trace; the same in every pipeline."""


class Status(StrEnum):
    """How a producer's run ended, as it reports it."""

    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class RunKey:
    """Identifies a gate: one per pipeline, phase and run date."""

    pipeline: str
    phase: str
    run_date: date

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.phase}/{self.run_date}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A delivered message, independent of its format.

    Args:
        message_id: The broker's id; the same when the message is delivered again. Without one, it is made of the content and
            the time at which the message was published, or else received: reports with the same words are separate reports.
        published_at: When the broker accepted it; None when the envelope does not say.
    """

    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A producer's report about one run, as the gate stores it."""

    producer: str
    status: Status
    received_at: datetime
    run_id: str | None = None
    attempt: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    rows: int | None = None
    correlation_id: str | None = None
    error: str | None = None
    traceparent: str | None = None

    @property
    def order(self) -> tuple[datetime, int, datetime, str, str]:
        """Sorts reports by age, whatever order they arrive in: the greater, the newer."""
        # A run has ended when its report came, whatever the clock of its machine says.
        ended = min(self.finished_at or self.started_at or self.received_at, self.received_at)
        # Of reports without an end the later one counts; one with an end is the same however often it is delivered.
        received = EARLIEST_TIME if self.finished_at else self.received_at
        return (ended, self.attempt or 0, received, self.run_id or "", self.status)

    @property
    def began(self) -> datetime:
        """The latest time at which the run can have started."""
        return self.started_at or self.finished_at or self.received_at


@dataclass(frozen=True, slots=True)
class Completion:
    """A producer's report about a phase and run date."""

    run: RunKey
    report: Report


def read_envelope(headers: Mapping[str, str], body: bytes, *, received_at: datetime | None = None) -> Envelope:
    """The message inside an HTTP request.

    Accepts the Eventarc CloudEvent (binary and structured), the Pub/Sub push request (wrapped), and the unwrapped push, whose
    body is the message itself and whose metadata are headers. Attributes without data are a message, too.

    Raises:
        MessageError: The body is none of these.

    Source: Pub/Sub "Receive push messages", "Payload unwrapping"; CloudEvents 1.0 HTTP binding.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    parsed = _json_or_none(body)
    if isinstance(parsed, dict) and "specversion" in parsed and isinstance(parsed.get("data"), dict):
        parsed = parsed["data"]
    if isinstance(parsed, dict) and isinstance(parsed.get("message"), dict):
        return _wrapped(parsed["message"], received_at)
    if "ce-id" in lower:
        raise MessageError("a CloudEvent without a Pub/Sub message in it")
    attributes = {_as_text(name): _as_text(value) for name, value in lower.items() if not _is_transport(name)}
    published_at = _time_or_none(lower.get("x-goog-pubsub-publish-time"))
    message_id = lower.get("x-goog-pubsub-message-id") or content_id(
        body, attributes if not body else {}, at=published_at or received_at
    )
    return Envelope(_as_text(message_id), body, attributes, published_at)


def _wrapped(message: Mapping[str, Any], received_at: datetime | None) -> Envelope:
    raw = message.get("data") or ""
    attributes = message.get("attributes") or {}
    if not isinstance(raw, str) or not isinstance(attributes, dict):
        raise MessageError("a Pub/Sub message whose data is not text or whose attributes are not a mapping")
    try:
        data = base64.b64decode(raw, validate=True)
    except ValueError as exc:  # binascii.Error, or a text that is not ASCII
        raise MessageError("a Pub/Sub message whose data is not base64") from exc
    texts = {_as_text(name): _as_text(value) for name, value in attributes.items()}
    published_at = _time_or_none(message.get("publishTime") or message.get("publish_time"))
    message_id = (
        message.get("messageId") or message.get("message_id") or content_id(data, texts, at=published_at or received_at)
    )
    return Envelope(_as_text(message_id), data, texts, published_at)


# In an unwrapped push the attributes are headers, among those that HTTP, the load balancer and the platform add.
_TRANSPORT = re.compile(
    r"(x-|ce-|sec-|proxy-|cf-|content-|accept(-|$)|access-|if-|cache-|(host|connection|user-agent|authorization|from|forwarded|via"
    r"|traceparent|tracestate|transfer-encoding|te|upgrade|cookie|date|expect|referer|origin|pragma|function-execution-id)$)"
)


def _is_transport(header: str) -> bool:
    return _TRANSPORT.match(header) is not None


def content_id(data: bytes, attributes: Mapping[str, str] | None = None, *, at: datetime | None = None) -> str:
    """An id for a message without one.

    A job that runs again reports the same words again, so the content alone must not make a message a duplicate.

    Args:
        at: When the message was published; when it was received, if the envelope does not say.
    """
    when = at.isoformat() if at else ""
    return "content-" + hashlib.sha256(data + repr((sorted((attributes or {}).items()), when)).encode()).hexdigest()[:32]


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # a body of nested brackets exhausts the parser's stack
        return None


def _time_or_none(text: object) -> datetime | None:
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        return None


def parse_time(text: object, zone: tzinfo = UTC) -> datetime:
    """A time as messages write it, in UTC.

    Args:
        zone: Of a time that is written without one.

    Raises:
        ValueError: The text is not a time.
        OverflowError: A `datetime` cannot hold it.
    """
    if not isinstance(text, str):
        raise ValueError("not text")
    # Pub/Sub writes up to nine decimals of a second; Python reads six.
    moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.strip()))
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def parse_completion(envelope: Envelope, pipelines: Sequence[Pipeline], *, now: datetime) -> Completion:
    """The completion that a message carries, with the field names that its pipeline declares under `messages:`.

    Raises:
        IgnoredSender: Its sender is nobody's here.
        MessageError: The message is invalid: it names no known pipeline, phase, producer or status, or its run date is missing,
            is not written YYYY-MM-DD, or is more than `FAR_FUTURE` ahead.
    """
    fields = _fields(envelope)
    pipeline = _pipeline_of(fields, pipelines)
    names = pipeline.messages
    phase, producer = _sender(fields, pipeline)
    run_date = _run_date(given(fields, names.run_date), names.run_date, latest=pipeline.today(now) + FAR_FUTURE)
    latest = now + AHEAD
    received_at = min(envelope.published_at or now, now)
    finished_at = _moment(given(fields, names.finished), names.finished, latest=latest, zone=pipeline.zone)
    started_at = _moment(given(fields, names.started), names.started, latest=latest, zone=pipeline.zone)
    if started_at is None and names.duration is not None:
        lasted = _duration(given(fields, names.duration), names.duration)
        started_at = None if lasted is None else (finished_at or received_at) - lasted
    report = Report(
        producer=producer,
        status=_status(given(fields, names.status_field), names),
        # A report without times of its own is as old as its message, because the broker may deliver in any order.
        received_at=received_at,
        run_id=_text(given(fields, names.run_id)),
        attempt=_whole(given(fields, names.attempt), names.attempt),
        started_at=started_at,
        finished_at=finished_at,
        rows=_whole(given(fields, names.rows), names.rows),
        correlation_id=_text(given(fields, names.correlation_id)),
        error=_text(given(fields, names.error)),
        traceparent=read_traceparent(fields.get(TRACEPARENT)),
    )
    return Completion(RunKey(pipeline.name, phase, run_date), report)


def given(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field that may have several names; None when it is not given.

    Raises:
        MessageError: It is given under two names, with different values.
    """
    first, *others = [each for each in (name, *getattr(name, "others", ())) if each in fields] or [name]
    for other in others:
        if fields[other] != fields[first]:
            raise MessageError(f"{first} and {other} differ: {_shown(fields[first])}, {_shown(fields[other])}")
    return fields.get(first)


def _duration(value: object, name: str) -> timedelta | None:
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if seconds is None and isinstance(value, str):
            seconds = float(value) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII) else None
        lasted = timedelta(seconds=seconds) if seconds is not None else parse_duration(value if isinstance(value, str) else "")
    except (ValueError, OverflowError):
        lasted = timedelta(days=-1)
    if not timedelta() <= lasted <= LONGEST_RUN:
        raise MessageError(f"{name} must be seconds, or a time like 90s, 5m or 2h, up to 30 days, got {_shown(value)}")
    return lasted


def _fields(envelope: Envelope) -> Mapping[str, Any]:
    if not envelope.data.strip():
        if not envelope.attributes:
            raise MessageError("an empty message")
        return _non_empty(envelope.attributes)
    return {**_non_empty(envelope.attributes), **_non_empty(read_object(envelope.data))}


def read_object(data: bytes) -> Mapping[str, Any]:
    """The JSON object in a message's data.

    Raises:
        MessageError: The data is not a JSON object.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise MessageError(f"a body that is not JSON: {_shown(data[:60].decode(errors='replace'))}") from exc
    if not isinstance(body, dict):
        raise MessageError(f"a body that is not a JSON object: {_shown(body)}")
    return body


def _non_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True, default=str)
    except RecursionError:
        return "something nested too deeply"
    return text if len(text) <= 80 else text[:77] + '…"'


def _pipeline_of(fields: Mapping[str, Any], pipelines: Sequence[Pipeline]) -> Pipeline:
    known = ", ".join(pipeline.name for pipeline in pipelines)
    # Each pipeline may use another field for its name, so each is asked whether the message names it.
    for pipeline in pipelines:
        named = given(fields, pipeline.messages.pipeline)
        if named == pipeline.name:
            return pipeline
    if len(pipelines) == 1 and given(fields, pipelines[0].messages.pipeline) is None:
        return pipelines[0]
    named = next((value for p in pipelines if (value := given(fields, p.messages.pipeline)) is not None), None)
    if named is not None:
        raise MessageError(f"unknown pipeline {_shown(named)}; known pipelines: {known}")
    names = [(p, _text(given(fields, p.messages.producer)) or "") for p in pipelines]
    senders = [p for p, name in names if p.reporters(name)]
    if not senders and any(p.ignores(name) for p, name in names):
        raise IgnoredSender(f"its sender {_shown(names[0][1])} is ignored")
    if len(senders) != 1:
        raise MessageError(f"no pipeline named, and the producer does not identify one; known pipelines: {known}")
    return senders[0]


def _sender(fields: Mapping[str, Any], pipeline: Pipeline) -> tuple[str, str]:
    """The phase and the canonical producer name of a message's sender."""
    names = pipeline.messages
    named, producer = _text(given(fields, names.phase)), _text(given(fields, names.producer))
    if producer is not None and pipeline.ignores(producer):
        raise IgnoredSender(f"its sender {_shown(producer)} is ignored")
    phases = tuple(pipeline.phases)
    if named is not None:
        try:
            phases = pipeline.phases_called(named)
        except UnknownPhase:
            known = ", ".join(pipeline.phases)
            raise UnknownPhase(f'unknown phase {_shown(named)} in pipeline "{pipeline.name}"; known phases: {known}') from None
    if producer is None:
        if named is None:
            raise MessageError(f"neither {names.phase} nor {names.producer} is given")
        declared = [(phase, name) for phase in phases for name in pipeline.producers(phase)]
        if len(phases) > 1:
            raise MessageError(f"{_shown(named)} is {' or '.join(phases)}; the message must name its {names.producer}")
        if len(declared) != 1:
            raise MessageError(f"no {names.producer} given; phase {phases[0]} has {', '.join(name for _, name in declared)}")
        return declared[0]
    senders = [pair for pair in dict.fromkeys(pipeline.reporters(producer)) if pair[0] in phases]
    if not senders:
        known = ", ".join(dict.fromkeys(name for phase in phases for name in pipeline.producers(phase)))
        of = f" of phase {' or '.join(phases)}" if named is not None else ""
        raise UnknownPhase(f"unknown producer {_shown(producer)}{of}; known producers: {known}")
    if len(senders) > 1:
        if len({phase for phase, _ in senders}) == 1:
            several, hint = [f"{name} of {phase}" for phase, name in senders], "make the aliases differ"
        else:
            several, hint = [phase for phase, _ in senders], "the message must name the phase"
        raise MessageError(f"{_shown(producer)} reports for {', '.join(several)}; {hint}")
    return senders[0]


def _run_date(value: object, name: str, *, latest: date) -> date:
    if value is None:
        raise MessageError(f"no {name} given")
    try:
        day = parse_day(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None:
        raise MessageError(f"{name} must be a date like 2013-02-08, got {_shown(value)}")
    if day < EARLIEST:
        raise MessageError(f"{name} {day} is too far in the past; the earliest accepted date is {EARLIEST}")
    if day > latest:
        raise MessageError(f"{name} {day} is too far in the future; the latest accepted date is {latest}")
    return day


def _status(value: object, names: Messages) -> Status:
    words: dict[str, Status] = {}
    for status in Status:  # the first wins: `done: [success, partial]` takes "partial" from the status that has it by default
        for word in getattr(names.status, status.value):
            words.setdefault(word, status)
    if not isinstance(value, str) or value not in words:
        raise MessageError(f"{names.status_field} must be one of {', '.join(words)}, got {_shown(value)}")
    return words[value]


def _text(value: object) -> str | None:
    return None if value is None or value == "" else _as_text(value)[:LONGEST_TEXT]


def _as_text(value: object) -> str:
    """A value as text that can be stored and sent: half of a surrogate pair is replaced."""
    try:
        return str(value).encode(errors="replace").decode()
    except RecursionError:
        raise MessageError("a field that is nested too deeply") from None


def _whole(value: object, name: str) -> int | None:
    if value is None:
        return None
    # 15 digits, because a float holds no more exactly.
    if isinstance(value, str) and re.fullmatch(r"\d{1,15}", value, re.ASCII):
        return int(value)
    if isinstance(value, float) and value.is_integer():  # in JSON 930.0 is the number 930; data frames write it so
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    raise MessageError(f"{name} must be a whole number ≥ 0, got {_shown(value)}")


def _moment(value: object, name: str, *, latest: datetime, zone: tzinfo) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parse_time(value, zone)
    except (ValueError, OverflowError):
        raise MessageError(f"{name} must be a time like 2013-02-09T05:20:00Z, got {_shown(value)}") from None
    if moment > latest:
        raise MessageError(f"{name} {moment} is in the future")
    return moment


_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def read_traceparent(value: object) -> str | None:
    """A trace context to pass on; None for anything invalid, which loses the trace but never the message.

    Source: W3C "Trace Context", section 3.2.
    """
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def encode_completion(pipeline: Pipeline, phase: str, run_date: date, report: Report) -> Mapping[str, Any]:
    """The completion message that `parse_completion` reads as this report, with the pipeline's own field names."""
    return completion_fields(RunKey(pipeline.name, phase, run_date), report, pipeline.messages)


def completion_fields(run: RunKey, report: Report, names: Messages) -> Mapping[str, Any]:
    """The completion message of a report, with the given field names; without a producer when the report has none."""
    words = getattr(names.status, report.status.value)
    body = {
        names.pipeline: run.pipeline,
        names.phase: run.phase,
        names.producer: report.producer or None,
        names.run_date: str(run.run_date),
        names.status_field: words[0] if words else report.status.value,
        names.run_id: report.run_id,
        names.attempt: report.attempt,
        names.started: report.started_at.isoformat() if report.started_at else None,
        names.finished: report.finished_at.isoformat() if report.finished_at else None,
        names.rows: report.rows,
        names.correlation_id: report.correlation_id,
        names.error: report.error,
        TRACEPARENT: report.traceparent,
    }
    return {name: value for name, value in body.items() if value is not None}
