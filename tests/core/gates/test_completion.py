"""Every envelope that a message may arrive in, every way to be invalid, and the completion that is parsed from it."""

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phasegate.app.pipeline_file import load
from phasegate.core.gates.completion import (
    LONGEST_TEXT,
    Completion,
    Envelope,
    Report,
    RunKey,
    Status,
    encode_completion,
    parse_completion,
    read_envelope,
)
from phasegate.core.pipeline.model import Calendar, Messages, Output, Phase, Pipeline, Producer, StatusWords
from phasegate.errors import IgnoredSender, MessageError, UnknownPhase

NOW = datetime(2013, 2, 9, 12, tzinfo=UTC)
DAY = date(2013, 2, 8)


def pipeline(name: str = "flights", messages: Messages | None = None, **phases: Phase) -> Pipeline:
    """A pipeline in New York: raw has two producers, features reports for itself."""
    declared = phases or {
        "raw": Phase(
            aliases=("landing",),
            producers={"flights_loader": Producer(aliases=("FlightsLoader", "raw.flights")), "weather": Producer()},
            outputs={"raw.flights": Output(date="d")},
        ),
        "features": Phase(aliases=("feature_store",), after=("raw",), outputs={"an.features": Output(date="d")}),
    }
    calendar = Calendar(from_=date(2013, 1, 1))
    return Pipeline(
        pipeline=name, timezone="America/New_York", calendar=calendar, messages=messages or Messages(), phases=declared
    )


FLIGHTS = pipeline()
FOREIGN = pipeline(
    messages=Messages(
        producer="processor_name",
        run_date="flight_date",
        rows="record_count",
        status=StatusWords(done=("success", "partial"), failed=("failed",), nothing=("no_data", "skipped")),
    )
)


def parsed(fields: dict[str, Any] | bytes, *pipelines: Pipeline, attributes: dict[str, str] | None = None) -> Completion:
    """The completion in a message with these fields."""
    data = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return parse_completion(Envelope("m1", data, attributes or {}), pipelines or (FLIGHTS,), now=NOW)


def valid(**fields: Any) -> dict[str, Any]:
    """The fields of a valid message of the features phase, with changes; None leaves a field out."""
    good = {"pipeline": "flights", "phase": "features", "run_date": "2013-02-08", "status": "done", **fields}
    return {name: value for name, value in good.items() if value is not None}


def wrapped(**message: Any) -> bytes:
    """The body of a Pub/Sub push request."""
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


BODY = b'{"phase": "raw"}'
CODED = base64.b64encode(BODY).decode()
PUBLISHED = datetime(2013, 2, 9, 5, 20, 0, 123456, tzinfo=UTC)
CE_HEADERS = {"ce-id": "m7", "ce-type": "google.cloud.pubsub.topic.v1.messagePublished", "Content-Type": "application/json"}
STRUCTURED = json.dumps(
    {
        "specversion": "1.0",
        "id": "m7",
        "type": "t",
        "data": {"message": {"data": CODED, "messageId": "m7"}, "subscription": "s"},
    }
).encode()


@pytest.mark.parametrize(
    ("headers", "body", "envelope"),
    [
        pytest.param(CE_HEADERS, wrapped(data=CODED, messageId="m7"), Envelope("m7", BODY, {}), id="Eventarc, binary"),
        pytest.param(
            {"Content-Type": "application/cloudevents+json"}, STRUCTURED, Envelope("m7", BODY, {}), id="Eventarc, structured"
        ),
        pytest.param(
            {},
            wrapped(data=CODED, message_id="m7", attributes={"a": "b"}, publish_time="2013-02-09T05:20:00.123456789Z"),
            Envelope("m7", BODY, {"a": "b"}, PUBLISHED),
            id="wrapped, nine decimals of a second",
        ),
        pytest.param(
            {}, wrapped(messageId="m7", attributes={"phase": "raw"}), Envelope("m7", b"", {"phase": "raw"}), id="no data key"
        ),
        pytest.param(
            {},
            wrapped(data="", messageId="m7", attributes={"phase": "raw"}),
            Envelope("m7", b"", {"phase": "raw"}),
            id="no data",
        ),
        pytest.param({}, wrapped(data=CODED, messageId="m7", attributes=None), Envelope("m7", BODY, {}), id="null attributes"),
        pytest.param({}, wrapped(data=CODED, messageId=7), Envelope("7", BODY, {}), id="an id that is a number"),
        pytest.param(
            {
                "X-Goog-PubSub-Message-Id": "m7",
                "X-Goog-PubSub-Publish-Time": "2013-02-09T05:20:00.123456Z",
                "X-Goog-PubSub-Subscription-Name": "s",
                "Content-Type": "application/json",
                "Host": "h",
                "User-Agent": "u",
                "Accept-Encoding": "gzip",
                "Producer": "weather",
            },
            BODY,
            Envelope("m7", BODY, {"producer": "weather"}, PUBLISHED),
            id="unwrapped",
        ),
        pytest.param(
            {"x-goog-pubsub-message-id": "m7", "phase": "raw", "accepted_rows": "5"},
            b"",
            Envelope("m7", b"", {"phase": "raw", "accepted_rows": "5"}),
            id="unwrapped, attributes only",
        ),
        pytest.param(
            {}, wrapped(data=CODED, messageId="m7", publishTime="yesterday"), Envelope("m7", BODY, {}), id="a time that is none"
        ),
        pytest.param(
            {},
            wrapped(data=CODED, messageId="m7", publishTime="0001-01-01T00:00:00+05:00"),
            Envelope("m7", BODY, {}),
            id="a time before the first year",
        ),
    ],
)
def test_an_envelope_is_parsed(headers, body, envelope):
    assert read_envelope(headers, body) == envelope


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, wrapped(data=CODED)),
        ({}, wrapped(attributes={"phase": "raw", "run_date": "2013-02-08"})),
        ({"host": "h"}, BODY),
        ({"phase": "raw"}, b""),
    ],
)
def test_the_same_words_sent_again_without_an_id_are_another_message(headers, body):
    moments = [NOW, NOW, NOW + timedelta(seconds=1), NOW + timedelta(days=90)]
    ids = [read_envelope(headers, body, received_at=moment).message_id for moment in moments]
    assert ids[0] == ids[1] == read_envelope({**headers, "date": "later"}, body, received_at=NOW).message_id
    assert len(set(ids)) == 3
    assert all(each.startswith("content-") for each in ids)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, wrapped(data=CODED, publishTime="2013-02-09T05:00:00Z")),
        ({}, wrapped(attributes={"phase": "raw"}, publish_time="2013-02-09T05:00:00Z")),
        ({"x-goog-pubsub-publish-time": "2013-02-09T05:00:00Z"}, BODY),
    ],
)
def test_without_an_id_the_publish_time_makes_a_redelivery_recognisable(headers, body):
    first, again = (read_envelope(headers, body, received_at=NOW + timedelta(minutes=m)) for m in (0, 9))
    assert first.message_id == again.message_id
    assert read_envelope({}, wrapped(data=CODED), received_at=NOW).message_id != first.message_id


def test_messages_with_different_content_get_different_ids():
    bodies = [
        wrapped(data=CODED),
        wrapped(data=""),
        wrapped(attributes={"phase": "raw"}),
        wrapped(attributes={"phase": "x"}),
        b"x",
    ]
    assert len({read_envelope({}, body).message_id for body in bodies}) == len(bodies)


@pytest.mark.parametrize(
    ("headers", "body", "problem"),
    [
        ({}, wrapped(data="é"), "a Pub/Sub message whose data is not base64"),
        ({}, wrapped(data="\ud800"), "a Pub/Sub message whose data is not base64"),
        ({}, wrapped(data="a"), "a Pub/Sub message whose data is not base64"),
        ({}, wrapped(data="e30=!"), "a Pub/Sub message whose data is not base64"),
        ({}, wrapped(data=5), "a Pub/Sub message whose data is not text or whose attributes are not a mapping"),
        (
            {},
            wrapped(data=CODED, attributes=[1]),
            "a Pub/Sub message whose data is not text or whose attributes are not a mapping",
        ),
        (CE_HEADERS, b'{"hello": "world"}', "a CloudEvent without a Pub/Sub message in it"),
        (CE_HEADERS, b"not JSON", "a CloudEvent without a Pub/Sub message in it"),
    ],
)
def test_an_invalid_envelope_is_refused(headers, body, problem):
    with pytest.raises(MessageError) as caught:
        read_envelope(headers, body)
    assert str(caught.value) == problem


def nested(depth: int) -> bytes:
    """Lists in lists."""
    return b"[" * depth + b"]" * depth


HOSTILE = [
    b"",
    b" \n",
    b"\x00\xff garbage",
    b"\xff\xfe{\x00}\x00",
    b"{",
    b"null",
    b"5",
    b'"text"',
    b"[1, 2]",
    b"x" * 1_000_000,
    b'{"phase": "' + b"x" * 1_000_000 + b'"}',
    b"9" * 5_000,
    b'{"phase": "features", "rows": ' + b"9" * 5_000 + b"}",
    b'{"run_date": NaN, "rows": Infinity, "status": -Infinity}',
    b'{"phase": "\\ud800", "producer": "\\ud800"}',
    b'{"phase": "features", "run_date": "2013-02-08", "status": "done", "run_id": "\\ud800\\u0000", "error": "\\udfff"}',
    b'{"phase": "features", "run_date": "\\u0000", "status": "done"}',
    b'{"phase": {"a": 1}, "producer": ["x"], "run_date": {}, "status": [], "rows": {}}',
    b'{"message": 5}',
    b'{"message": {"data": "e30=", "attributes": {"\\ud800": "\\ud800"}, "messageId": "\\ud800"}}',
    b'{"message": {"data": [], "attributes": "x"}}',
    b'{"message": {"messageId": {"a": []}, "publishTime": 5, "attributes": {"phase": ["features"], "x": null}}}',
    b'{"specversion": 1, "data": {"message": {"data": "%%%"}}}',
    b'{"specversion": "1.0", "data": "text"}',
]
HOSTILE += [nested(depth) for depth in (*range(900, 1_000), 100_000)]
HOSTILE += [b'{"phase": "features", "run_id": ' + nested(depth) + b"}" for depth in range(900, 1_000)]
HOSTILE += [b'{"pipeline": ' + nested(depth) + b"}" for depth in range(900, 1_000)]
HOSTILE += [
    b'{"message": {"messageId": ' + nested(d) + b', "attributes": {"a": ' + nested(d) + b"}}}" for d in range(900, 1_000)
]


def received(headers: dict[str, str], body: bytes, *pipelines: Pipeline) -> Completion | None:
    """Read a request as the monitor does. Every text in it must be one that a store can hold."""
    try:
        envelope = read_envelope(headers, body)
        json.dumps([envelope.message_id, dict(envelope.attributes)], ensure_ascii=False).encode()
        completion = parse_completion(envelope, pipelines or (FLIGHTS,), now=NOW)
    except MessageError as error:
        text = str(error)
        assert text.isprintable(), "one line, and nothing that a terminal or a store stumbles over"
        return None
    json.dumps([completion.report.producer, completion.report.run_id, completion.report.error], ensure_ascii=False).encode()
    return completion


def test_hostile_requests_are_parsed_or_refused():
    """No input raises any other error."""
    for body in HOSTILE:
        received({}, body)
        received({}, body, FLIGHTS, pipeline("trains"))
        received({}, wrapped(data=base64.b64encode(body).decode(), messageId="m"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "pipeline",
    "phase",
    "producer",
    "run_date",
    "status",
    "run_id",
    "attempt",
    "started_at",
    "finished_at",
    "rows",
    "error",
]
LIKELY = st.sampled_from(
    ["flights", "features", "raw", "weather", "2013-02-08", "done", "failed", "2013-02-08T05:00:00Z", 5, "5"]
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, LIKELY | JSON))
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "data": JSON | FIELDS.map(lambda fields: base64.b64encode(json.dumps(fields).encode()).decode()),
        "attributes": JSON | FIELDS,
        "messageId": JSON,
        "publishTime": JSON | st.datetimes().map(str),
    },
)
BODIES = (
    st.binary()
    | (JSON | FIELDS).map(lambda value: json.dumps(value).encode())
    | MESSAGE.map(lambda message: json.dumps({"message": message}).encode())
    | MESSAGE.map(lambda message: json.dumps({"specversion": "1.0", "data": {"message": message}}).encode())
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(["ce-id", "phase", "x-goog-pubsub-message-id", "status"]), st.text(max_size=9)), BODIES)
@example({}, b'{"message": {"data": "\xc3\xa9"}}')
def test_any_request_is_parsed_or_refused(headers, body):
    received(headers, body)


def test_a_message_with_our_field_names_is_parsed():
    fields = valid(
        run_id="r1",
        attempt=2,
        started_at="2013-02-09T05:00:00Z",
        finished_at="2013-02-09T00:20:00-05:00",
        rows=930,
        correlation_id="c1",
    )
    report = Report(
        "features",
        Status.DONE,
        NOW,
        "r1",
        2,
        datetime(2013, 2, 9, 5, tzinfo=UTC),
        datetime(2013, 2, 9, 5, 20, tzinfo=UTC),
        930,
        "c1",
    )
    assert parsed(fields) == Completion(RunKey("flights", "features", DAY), report)


def test_a_message_with_foreign_field_names_is_parsed():
    fields = {"processor_name": "FlightsLoader", "flight_date": "2013-02-08", "status": "success", "record_count": "930"}
    completion = parsed(fields, FOREIGN)
    assert completion.run == RunKey("flights", "raw", DAY)
    assert (completion.report.producer, completion.report.status, completion.report.rows) == (
        "flights_loader",
        Status.DONE,
        930,
    )


@pytest.mark.parametrize(
    ("word", "status"),
    [("success", Status.DONE), ("partial", Status.DONE), ("failed", Status.FAILED), ("skipped", Status.NOTHING)],
)
def test_a_foreign_status_word_means_what_the_pipeline_file_says(word, status):
    """A word that is declared for one status no longer means the status that has it by default."""
    fields = {"processor_name": "weather", "flight_date": "2013-02-08", "status": word}
    assert parsed(fields, FOREIGN).report.status is status


@pytest.mark.parametrize(
    ("fields", "phase", "producer"),
    [
        (valid(), "features", "features"),
        (valid(phase="feature_store"), "features", "features"),
        (valid(phase=None, producer="features"), "features", "features"),
        (valid(phase=None, producer="raw.flights"), "raw", "flights_loader"),
        (valid(phase="landing", producer="weather"), "raw", "weather"),
        (valid(pipeline=None), "features", "features"),
        (valid(phase="", producer="weather"), "raw", "weather"),
    ],
)
def test_the_sender_is_identified_by_name_or_alias(fields, phase, producer):
    completion = parsed(fields)
    assert (completion.run.phase, completion.report.producer) == (phase, producer)


def test_a_producer_may_be_its_own_alias():
    raw = Phase(producers={"loader": Producer(aliases=("loader",))}, outputs={"raw.flights": Output(date="d")})
    assert parsed(valid(phase=None, producer="loader"), pipeline(raw=raw)).run.phase == "raw"


def test_a_message_may_consist_of_attributes_alone():
    """An empty attribute is ignored, like an empty field."""
    attributes = {"phase": "features", "run_date": "2013-02-08", "status": "done", "rows": "", "attempt": "3", "run_id": ""}
    report = parsed(b"", attributes=attributes).report
    assert (report.rows, report.attempt, report.run_id) == (None, 3, None)


def test_a_body_field_wins_over_an_attribute():
    completion = parsed(valid(status="done"), attributes={"status": "failed", "run_id": "r9"})
    assert (completion.report.status, completion.report.run_id) == (Status.DONE, "r9")


TRAINS = pipeline("trains", arrivals=Phase(outputs={"raw.trains": Output(date="d")}))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (valid(), "flights"),
        (valid(pipeline="trains", phase="arrivals"), "trains"),
        (valid(pipeline=None, phase=None, producer="arrivals"), "trains"),
        (valid(pipeline=None, phase=None, producer="FlightsLoader"), "flights"),
    ],
)
def test_the_pipeline_is_named_or_identified_by_the_producer(fields, name):
    assert parsed(fields, FLIGHTS, TRAINS).run.pipeline == name


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (valid(run_date=None), "no run_date given"),
        (valid(run_date="TODAY"), 'run_date must be a date like 2013-02-08, got "TODAY"'),
        (valid(run_date="20130208"), 'run_date must be a date like 2013-02-08, got "20130208"'),
        (valid(run_date="2013-02-30"), 'run_date must be a date like 2013-02-08, got "2013-02-30"'),
        (valid(run_date="2013-02-08T00:00:00Z"), 'run_date must be a date like 2013-02-08, got "2013-02-08T00:00:00Z"'),
        (valid(run_date="٢٠١٣-٠٢-٠٨"), "run_date must be a date like 2013-02-08, got " + json.dumps("٢٠١٣-٠٢-٠٨")),
        (valid(run_date=20130208), "run_date must be a date like 2013-02-08, got 20130208"),
        (valid(run_date="2013-02-17"), "run_date 2013-02-17 is too far in the future; the latest accepted date is 2013-02-16"),
        (valid(run_date="0001-01-01"), "run_date 0001-01-01 is too far in the past; the earliest accepted date is 1900-01-01"),
        (valid(status=None), "status must be one of done, partial, failed, nothing, got null"),
        (valid(status="DONE"), 'status must be one of done, partial, failed, nothing, got "DONE"'),
        (valid(status=["done"]), 'status must be one of done, partial, failed, nothing, got ["done"]'),
        (valid(phase=None), "neither phase nor producer is given"),
        (valid(phase="raw"), "no producer given; phase raw has flights_loader, weather"),
        (valid(pipeline="trains"), 'unknown pipeline "trains"; known pipelines: flights'),
        (valid(pipeline=5), "unknown pipeline 5; known pipelines: flights"),
        (valid(rows=-1), "rows must be a whole number ≥ 0, got -1"),
        (valid(rows=1.5), "rows must be a whole number ≥ 0, got 1.5"),
        (valid(rows=True), "rows must be a whole number ≥ 0, got true"),
        (valid(rows="many"), 'rows must be a whole number ≥ 0, got "many"'),
        (valid(rows=float("nan")), "rows must be a whole number ≥ 0, got NaN"),
        (valid(rows=10**15), "rows must be a whole number ≥ 0, got 1000000000000000"),
        (valid(started_at="soon"), 'started_at must be a time like 2013-02-09T05:20:00Z, got "soon"'),
        (valid(finished_at=1360387200), "finished_at must be a time like 2013-02-09T05:20:00Z, got 1360387200"),
        (
            valid(started_at="0001-01-01T00:00:00+05:00"),
            'started_at must be a time like 2013-02-09T05:20:00Z, got "0001-01-01T00:00:00+05:00"',
        ),
        (b"", "an empty message"),
        (b"[]", "a body that is not a JSON object: []"),
        (b"done\n", 'a body that is not JSON: "done\\n"'),
    ],
)
def test_an_invalid_completion_is_refused_in_one_line(fields, problem):
    with pytest.raises(MessageError) as caught:
        parsed(fields)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (valid(phase="enrch"), 'unknown phase "enrch" in pipeline "flights"; known phases: raw, features'),
        (valid(phase="a\nb\x1b"), 'unknown phase "a\\nb\\u001b" in pipeline "flights"; known phases: raw, features'),
        (valid(producer="x"), 'unknown producer "x" of phase features; known producers: features'),
        (valid(phase=None, producer="x"), 'unknown producer "x"; known producers: flights_loader, weather, features'),
    ],
)
def test_an_unknown_sender_is_refused_with_a_list_of_known_ones(fields, problem):
    with pytest.raises(UnknownPhase) as caught:
        parsed(fields)
    assert str(caught.value) == problem


def test_with_several_pipelines_an_unknown_one_is_refused_with_a_list_of_known_ones():
    for fields, problem in [
        (valid(pipeline="buses"), 'unknown pipeline "buses"; known pipelines: flights, trains'),
        (valid(pipeline=None), "no pipeline named, and the producer does not identify one; known pipelines: flights, trains"),
    ]:
        with pytest.raises(MessageError) as caught:
            parsed(fields, FLIGHTS, TRAINS)
        assert str(caught.value) == problem


def test_a_producer_of_two_phases_must_name_the_phase():
    phases = {
        name: Phase(producers={"loader": Producer()}, outputs={f"raw.{name}": Output(date="d")}) for name in ("early", "late")
    }
    with pytest.raises(MessageError, match=r'^"loader" reports for early, late; the message must name the phase$'):
        parsed(valid(phase=None, producer="loader"), pipeline(**phases))
    assert parsed(valid(phase="late", producer="loader"), pipeline(**phases)).run.phase == "late"


def test_the_latest_date_is_a_week_ahead_in_the_zone_of_the_pipeline():
    """At 03:00 UTC it is still the day before in New York."""
    envelope = Envelope("m", json.dumps(valid(run_date="2013-02-16")).encode(), {})
    assert parse_completion(envelope, [FLIGHTS], now=NOW).run.run_date == date(2013, 2, 16)
    with pytest.raises(MessageError, match="too far in the future"):
        parse_completion(envelope, [FLIGHTS], now=datetime(2013, 2, 9, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2013-02-09T00:20:00", datetime(2013, 2, 9, 5, 20, tzinfo=UTC)),
        ("2013-02-09 00:20", datetime(2013, 2, 9, 5, 20, tzinfo=UTC)),
        ("2012-07-09 00:20", datetime(2012, 7, 9, 4, 20, tzinfo=UTC)),
        ("2013-02-09T05:20:00.123456789Z", PUBLISHED),
        ("2013-02-09T06:20:00+01:00", datetime(2013, 2, 9, 5, 20, tzinfo=UTC)),
        (" 2013-02-09T05:20:00Z ", datetime(2013, 2, 9, 5, 20, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_the_local_time_of_the_pipeline(text, moment):
    report = parsed(valid(started_at=text, finished_at=text)).report
    assert report.started_at == report.finished_at == moment


def test_a_time_in_the_future_is_refused():
    """A report from the year 9999 would stay the newest forever. Up to a day is allowed for wrong clocks and zones."""
    assert parsed(valid(finished_at="2013-02-10T11:00:00Z")).report.finished_at is not None
    with pytest.raises(MessageError, match=r"^finished_at 9999-01-01 00:00:00\+00:00 is in the future$"):
        parsed(valid(finished_at="9999-01-01T00:00:00Z"))


def test_long_texts_are_cut():
    report = parsed(valid(error="x" * 5_000)).report
    assert report.error == "x" * LONGEST_TEXT


def test_a_report_without_times_is_as_old_as_its_message():
    """An older message that is delivered late is not the newest. A publish time ahead of our clock is capped."""
    envelope = Envelope("m", json.dumps(valid()).encode(), {}, NOW - timedelta(minutes=5))
    assert parse_completion(envelope, [FLIGHTS], now=NOW).report.received_at == NOW - timedelta(minutes=5)
    ahead = replace(envelope, published_at=NOW + timedelta(days=9))
    assert parse_completion(ahead, [FLIGHTS], now=NOW).report.received_at == NOW


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
TIME = st.datetimes(
    datetime(2000, 1, 1),
    datetime(2013, 2, 9),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=9, minutes=30))]),
)
COUNT = st.integers(0, 10**15 - 1)
REPORTS = st.builds(
    Report,
    producer=st.sampled_from(["flights_loader", "weather"]),
    status=st.sampled_from([Status.DONE, Status.FAILED]),
    received_at=st.just(NOW),
    run_id=st.none() | TEXT,
    attempt=st.none() | COUNT,
    started_at=st.none() | TIME,
    finished_at=st.none() | TIME,
    rows=st.none() | COUNT,
    correlation_id=st.none() | TEXT,
    error=st.none() | TEXT,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([FLIGHTS, FOREIGN]), st.dates(date(2000, 1, 1), DAY), REPORTS)
def test_an_encoded_completion_parses_to_the_same_report(declared, day, report):
    fields = encode_completion(declared, "raw", day, report)
    assert parsed(dict(fields), declared) == Completion(RunKey("flights", "raw", day), report)


def test_of_two_reports_of_one_start_without_an_end_the_later_counts() -> None:
    """A job that reports when it starts and again when it has failed or is done, but never says when it ended."""
    start = datetime(2026, 3, 3, 5, tzinfo=UTC)
    failed = Report("a", Status.FAILED, start + timedelta(minutes=5), started_at=start)
    done = Report("a", Status.DONE, start + timedelta(minutes=30), started_at=start)
    assert done.order > failed.order


def test_a_report_from_a_clock_that_is_ahead_is_no_newer_than_its_arrival() -> None:
    now = datetime(2026, 3, 3, 5, tzinfo=UTC)
    ahead = Report("a", Status.DONE, now, finished_at=now + timedelta(hours=20))
    honest = Report("a", Status.DONE, now + timedelta(hours=1), finished_at=now + timedelta(minutes=59))
    assert honest.order > ahead.order


# -- messages as another system writes them -------------------------------------------------------------------------------------

NBA = """\
pipeline: nba
timezone: America/New_York
calendar: {from: 2026-01-01}
messages:
  producer: [processor, processor_name]
  run_date: [game_date, target_date]
  duration: took
  ignore: [heartbeat, "test-*"]
phases:
  raw:
    aliases: [phase_2]
    producers:
      box: {aliases: [BoxScores, "Async*Processor"]}
      odds: {aliases: ["Odds*", AsyncOddsProcessor]}
    outputs: {raw.box: {date: d}}
  clean:
    aliases: [phase_2]
    after: [raw]
    producers: {cleaner: {aliases: [Cleaner]}}
    outputs: {clean.box: {date: d}}
"""


@pytest.fixture
def foreign(tmp_path):
    (tmp_path / "nba.yaml").write_text(NBA)
    return load(tmp_path / "nba.yaml")


def heard(pipeline, **fields):
    body = {"processor": "BoxScores", "game_date": "2026-03-02", "status": "done", **fields}
    data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    return parse_completion(Envelope("m", data, {}), [pipeline], now=NOON)


NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "run"),
    [
        ({}, "nba/raw/2026-03-02"),
        ({"game_date": None, "target_date": "2026-03-01"}, "nba/raw/2026-03-01"),
        ({"target_date": "2026-03-02"}, "nba/raw/2026-03-02"),
        ({"game_date": "", "target_date": "2026-03-01"}, "nba/raw/2026-03-01"),
        ({"processor": None, "processor_name": "Cleaner"}, "nba/clean/2026-03-02"),
        ({"phase": "phase_2"}, "nba/raw/2026-03-02"),
        ({"phase": "phase_2", "processor": "Cleaner"}, "nba/clean/2026-03-02"),
    ],
)
def test_one_thing_may_have_several_names(foreign, fields, run):
    assert str(heard(foreign, **fields).run) == run


@pytest.mark.parametrize(
    ("sender", "producer"),
    [
        ("AsyncBoxProcessor", "box"),
        ("AsyncProcessor", "box"),
        ("AsyncOddsProcessor", "odds"),  # an exact name comes first
        ("OddsLines", "odds"),
    ],
)
def test_an_alias_may_be_a_pattern(foreign, sender, producer):
    assert heard(foreign, processor=sender).report.producer == producer


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"target_date": "2026-03-01"}, 'game_date and target_date differ: "2026-03-02", "2026-03-01"'),
        ({"processor": "asyncBoxProcessor"}, 'unknown producer "asyncBoxProcessor"; known producers: box, odds, cleaner'),
        ({"processor": None, "phase": "phase_2"}, '"phase_2" is raw or clean; the message must name its processor'),
        ({"processor": "Cleaner", "phase": "raw"}, 'unknown producer "Cleaner" of phase raw; known producers: box, odds'),
        ({"took": -5}, "took must be seconds, or a time like 90s, 5m or 2h, up to 30 days, got -5"),
        ({"took": "a while"}, 'took must be seconds, or a time like 90s, 5m or 2h, up to 30 days, got "a while"'),
        ({"took": 1e9}, "took must be seconds, or a time like 90s, 5m or 2h, up to 30 days, got 1000000000.0"),
        ({"took": True}, "took must be seconds, or a time like 90s, 5m or 2h, up to 30 days, got true"),
    ],
)
def test_what_stays_unclear_is_refused(foreign, fields, problem):
    with pytest.raises(MessageError, match=f"^{re.escape(problem)}"):
        heard(foreign, **fields)


@pytest.mark.parametrize(
    ("took", "seconds"), [(90, 90), (90.5, 90.5), ("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), (0, 0)]
)
def test_a_duration_gives_the_start(foreign, took, seconds):
    end = datetime(2026, 3, 3, 5, tzinfo=UTC)
    report = heard(foreign, took=took, finished_at=end.isoformat()).report
    assert report.started_at == end - timedelta(seconds=seconds)
    assert heard(foreign, took=took).report.started_at == NOON - timedelta(seconds=seconds), "without an end it is just over"
    given = heard(foreign, took=took, started_at="2026-03-03T04:00:00Z").report
    assert given.started_at == datetime(2026, 3, 3, 4, tzinfo=UTC), "a start that is given counts"


@pytest.mark.parametrize("sender", ["heartbeat", "test-7", "test-"])
def test_a_sender_that_is_nobodys_is_ignored(foreign, sender):
    with pytest.raises(IgnoredSender):
        heard(foreign, processor=sender)
    with pytest.raises(IgnoredSender):
        heard(foreign, processor=sender, game_date="someday", status="who knows")
