"""The schemas of the messages: every message that is sent matches its schema, and every matching message is read."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.checks.base import Mode, Outcome, Severity
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Due
from phasegate.core.gates.actions import PutHold
from phasegate.core.gates.completion import Envelope, Report, RunKey, Status, encode_completion, parse_completion
from phasegate.core.gates.gate import DERIVED, AlertState, GateState, GoSignal, Reason
from phasegate.core.gates.verdict import Verdict
from phasegate.core.pipeline.model import (
    SIGNAL_FIELDS,
    AlertSeverity,
    Calendar,
    GateMode,
    Output,
    Phase,
    Pipeline,
    Producer,
    Quorum,
)
from phasegate.errors import MessageError
from phasegate.gates.monitor import Monitor
from phasegate.messaging.bodies import ALERTS, EVENTS
from phasegate.ports import Outgoing
from phasegate.schemas import NAMES, history_table, schema
from phasegate.testing import ManualClock, ScriptedWarehouse

DAY = date(2026, 3, 2)
MORNING = datetime(2026, 3, 3, 5, tzinfo=UTC)
DUE = datetime(2026, 3, 3, 8, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TABLES = ("raw.orders", "clean.orders", "report.sales", "report.extra")

formats = FormatChecker(["date"])


@formats.checks("date-time", raises=ValueError)
def is_time(value: object) -> bool:
    """A valid time; the library checks this format only with another package."""
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


VALIDATORS = {name: Draft202012Validator(schema(name), format_checker=formats) for name in NAMES}


def output() -> Output:
    return Output(date="d", checks=(RowCount(at_least=10),))


SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=date(2026, 1, 1)),
    phases={
        "raw": Phase(
            aliases=("phase_1",),
            producers={"orders": Producer(aliases=("Orders",), fills="raw.orders"), "prices": Producer()},
            due=Due(at=time(8), days=1),
            signal={"analysis_date": "$run_date", "trigger_source": "orchestrator", "parts": "$missing", "none": "$nothing", "phase": "x"},
            outputs={"raw.orders": output()},
        ),
        "clean": Phase(after=("raw",), outputs={"clean.orders": output()}),
        "report": Phase(
            after=("clean",),
            due=Due(at=time(8), days=1),
            quorum=Quorum(at_least=1, of=2),
            outputs={"report.sales": output(), "report.extra": output()},
        ),
        "watched": Phase(mode=GateMode.OBSERVE, outputs={"watched.all": output()}),
    },
)  # fmt: skip


class Bus:
    """Stores messages after a round trip through JSON."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []

    def publish(self, message: Outgoing) -> str:
        self.taken.append(Outgoing(message.key, message.topic, json.loads(json.dumps(message.body)), message.attributes))
        return str(len(self.taken))


class Played:
    """A day of the shop with every event that gives a message."""

    def __init__(self) -> None:
        self.bus, self.clock, self.store, self.warehouse = (
            Bus(),
            ManualClock(MORNING),
            SQLiteStore(":memory:"),
            ScriptedWarehouse(),
        )
        self.monitor = Monitor(
            [SHOP], warehouse=self.warehouse, store=self.store, outbox=self.store, publisher=self.bus, clock=self.clock
        )
        self.completions: list[dict[str, Any]] = []
        self.said = 0

    def fill(self, rows: int, *tables: str) -> None:
        self.warehouse.numbers.update({(table, DAY): rows for table in tables})

    def tell(self, phase: str, status: Status = Status.DONE, **given: Any) -> None:
        now = self.clock.advance(timedelta(minutes=1))
        self.said += 1
        report = Report(given.pop("producer", phase), status, now, f"r{self.said}", 1, now, now, **given)
        body = dict(encode_completion(SHOP, phase, DAY, report))
        self.completions.append(body)
        self.monitor.handle(Envelope(f"m{self.said}", json.dumps(body).encode(), {}))

    def play(self) -> "Played":
        self.tell("raw", Status.FAILED, producer="orders", error="disk full")
        self.fill(20, "raw.orders")
        self.tell("raw", producer="orders", rows=19)
        self.tell("raw", Status.PARTIAL, producer="prices", correlation_id="c1", traceparent=TRACE)
        self.tell("clean")
        self.fill(20, "clean.orders")
        self.tell("clean")
        self.fill(30, "clean.orders")
        self.tell("clean")
        self.fill(0, "clean.orders")
        self.tell("clean")
        self.warehouse.down = "the warehouse does not answer"
        self.tell("watched", Status.NOTHING)
        self.clock.set(DUE - timedelta(minutes=2))
        self.tell("report")
        self.clock.set(DUE)
        self.monitor.recheck(SHOP, [RunKey("shop", "report", DAY)], {})
        self.warehouse.down = ""
        self.fill(20, "report.sales", "clean.orders")
        self.tell("clean")
        self.tell("report")
        self.monitor.handle(Envelope("m-odd", b"\xff{not json", {"origin": "somewhere"}))
        self.monitor.recheck(SHOP, [RunKey("shop", "clean", DAY)], {})
        self.monitor.recheck(SHOP, [RunKey("shop", "raw", DAY + timedelta(days=40))], {})
        self.monitor.act(RunKey("shop", "clean", DAY), PutHold("a reload", DUE + timedelta(days=1)), "ann")
        return self


@pytest.fixture(scope="module")
def sent() -> dict[str, list[dict[str, Any]]]:
    """Every message of the day, by the name of its schema."""
    played = Played().play()
    taken = played.bus.taken
    return {
        "completion": played.completions,
        "go-signal": [dict(message.body) for message in taken if message.topic.endswith("-go")],
        "alert": [dict(message.body) for message in taken if message.topic == ALERTS],
        "event": [dict(message.body) for message in taken if message.topic == EVENTS],
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_valid(name):
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"].endswith("/draft/2020-12/schema")
    assert found["$id"] == f"urn:phasegate:{name}"
    assert all("description" in each for each in found["properties"].values())


def test_an_unknown_message_has_no_schema():
    with pytest.raises(KeyError):
        schema("../messages")


@pytest.mark.parametrize("name", ["completion", "go-signal", "alert", "event"])
def test_every_message_that_is_sent_matches_its_schema(name, sent):
    """And every field of a schema is in some message."""
    assert sent[name]
    for body in sent[name]:
        VALIDATORS[name].validate(body)
    told = {field for body in sent[name] for field in body}
    assert schema(name)["properties"].keys() - told == set()


@pytest.mark.parametrize("name", ["completion", "alert", "event", "retry-request"])
def test_our_own_formats_allow_no_other_fields(name):
    assert schema(name)["additionalProperties"] is False


def test_the_messages_cover_all_kinds_of_signals_and_alerts(sent):
    """Otherwise the tests above would check too little."""
    signals, alerts = sent["go-signal"], sent["alert"]
    assert {signal["degraded"] for signal in signals} == {True, False}
    assert {signal["generation"] for signal in signals} >= {1, 2}
    assert None in [signal["score"] for signal in signals]
    causes = {alert["cause"] for alert in alerts}
    assert causes >= {
        "producer_failed",
        "checks_failed",
        "late_failure",
        "quorum",
        "observed",
        "not_measured",
        "message_rejected",
    }
    assert {alert["state"] for alert in alerts} == {"firing", "recovered"}
    assert {event["state"] for event in sent["event"]} >= {"waiting", "held", "open", "unverified"}


def test_enumerations_are_those_of_the_code():
    alert, event = schema("alert")["properties"], schema("event")["properties"]
    states = {str(state) for state in GateState} - DERIVED
    reasons = {str(reason) for reason in Reason}
    assert set(event["state"]["enum"]) == set(alert["gate"]["enum"]) == states
    assert set(event["reason"]["enum"]) == reasons
    assert set(alert["cause"]["enum"]) == reasons | {str(cause) for cause in TroubleCause}
    assert set(alert["severity"]["enum"]) == {str(severity) for severity in AlertSeverity}
    assert set(alert["state"]["enum"]) == {str(state) for state in AlertState}
    assert set(schema("completion")["properties"]["status"]["enum"]) == {str(status) for status in Status}
    said = {str(verdict) for verdict in Verdict} - {"accepted", "not_due"}  # those are said of dates, without a gate's message
    assert set(event["verdict"]["enum"]) == said
    check = event["checks"]["items"]["properties"]
    assert set(check["severity"]["enum"]) == {str(severity) for severity in Severity}
    assert set(check["mode"]["enum"]) == {str(mode) for mode in Mode}
    assert set(check["outcome"]["enum"]) == {str(outcome) for outcome in Outcome}


def test_an_event_has_the_results_and_the_cost(sent):
    """A decision without a measurement has neither checks nor cost."""
    first, second, *_ = sent["event"]
    assert (first["key"], first["reason"], first["checks"]) == ("shop/raw/2026-03-02/v1", "producer_failed", [])
    assert not {"verdict", "score", "queries", "bytes_billed", "cost_usd", "decision_id"} & first.keys()
    assert second["key"] == "shop/raw/2026-03-02/v2"
    opened = next(event for event in sent["event"] if event["key"] == "shop/raw/2026-03-02/v3")
    assert (opened["decision_id"], opened["verdict"], opened["score"]) == ("shop/raw/2026-03-02/g1", "pass", 100.0)
    assert (opened["queries"], opened["bytes_billed"], opened["cost_usd"]) == (1, 0, 0.0)
    assert opened["checks"] == [
        {
            "name": "raw.orders.row_count",
            "kind": "row_count",
            "table": "raw.orders",
            "severity": "block",
            "mode": "enforce",
            "weight": 1.0,
            "outcome": "passed",
            "measured": 20,
            "expected": "at least 10",
            "message": "table raw.orders has 20 rows",
        }
    ]


KINDS: dict[str, Callable[[Any], bool]] = {
    "STRING": lambda value: isinstance(value, str),
    "INTEGER": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "FLOAT": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
    "DATE": lambda value: str(date.fromisoformat(value)) == value,
    "TIMESTAMP": lambda value: datetime.fromisoformat(value).tzinfo is not None,
}
"""The JSON that a subscription with the table's schema accepts for each type of column."""


def misfits(row: dict[str, Any], columns: list[dict[str, Any]]) -> Iterator[str]:
    """Why Pub/Sub would not write a message into a table.

    Source: Pub/Sub "BigQuery subscriptions", "Use table schema": names are the same, a column that is absent from the message
    is nullable, dates and times are texts in BigQuery's own form, nothing is in the message that is not in the table.
    """
    yield from (f"{name} is no column" for name in row.keys() - {column["name"] for column in columns})
    for column in columns:
        name, value = column["name"], row.get(column["name"])
        if column["mode"] == "REPEATED":
            assert column["type"] == "RECORD"
            yield from (why for each in value or () for why in misfits(each, column["fields"]))
        elif name not in row:
            yield from [f"{name} is absent"] if column["mode"] == "REQUIRED" else []
        elif value is None or not KINDS[column["type"]](value):
            yield f"{name} is {value!r}"


def test_every_event_is_a_row_of_the_history(sent):
    """And every column is filled by some event, in the order of the JSON Schema."""
    columns = history_table()["columns"]
    for body in sent["event"]:
        assert list(misfits(body, columns)) == []
    assert [column["name"] for column in columns] == list(schema("event")["properties"])
    checks = schema("event")["properties"]["checks"]["items"]
    assert [column["name"] for column in columns[-1]["fields"]] == list(checks["properties"])
    assert {check for body in sent["event"] for row in body["checks"] for check in row} == checks["properties"].keys()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"score": None}, "score is None"),
        ({"note": "x"}, "note is no column"),
        ({"decided_at": "2026-03-03T05:01:00"}, "decided_at is '2026-03-03T05:01:00'"),
        ({"generation": 1.5}, "generation is 1.5"),
        ({"checks": [{"name": "rows"}]}, "kind is absent"),
    ],
)
def test_a_row_that_the_table_would_refuse_is_found(sent, change, why):
    assert why in misfits(sent["event"][0] | change, history_table()["columns"])


def test_the_table_declares_modes_partition_and_clustering():
    """Terraform plans a change for a missing mode; a required column can't be added to an existing table."""
    table = history_table()
    columns = {column["name"]: column for column in table["columns"]}
    assert all(
        list(column)[:4] == ["name", "type", "mode", "description"]
        for column in (*columns.values(), *table["columns"][-1]["fields"])
    )
    assert columns[table["partition"]["field"]]["type"] == "TIMESTAMP"
    assert set(table["clustering"]) <= columns.keys()
    required = [name for name, column in columns.items() if column["mode"] == "REQUIRED"]
    assert required == [name for name in schema("event")["required"] if name != "checks"]


def test_every_field_of_a_signal_can_be_copied_and_none_replaced(sent):
    """`signal:` in the pipeline file adds fields, and never changes those of phasegate."""
    (raw,) = [signal for signal in sent["go-signal"] if signal["phase"] == "raw"]
    assert {name: raw[name] for name in ("analysis_date", "trigger_source", "parts", "none")} == {
        "analysis_date": "2026-03-02",
        "trigger_source": "orchestrator",
        "parts": [],
        "none": None,
    }
    assert {field.name for field in fields(GoSignal)} - raw.keys() == {"run", "extra"}
    assert {*SIGNAL_FIELDS} == schema("go-signal")["properties"].keys()
    assert {*SIGNAL_FIELDS} == raw.keys() - SHOP.phases["raw"].signal.keys() | {"phase"}


def test_the_trace_of_the_last_report_is_copied():
    """To the body and to an attribute; a run of another phase has its own."""
    signals = {message.key: message for message in Played().play().bus.taken if message.topic.endswith("-go")}
    raw, clean = signals["shop/raw/2026-03-02/g1"], signals["shop/clean/2026-03-02/g1"]
    assert (raw.body["traceparent"], raw.attributes["traceparent"], raw.body["correlation_id"]) == (TRACE, TRACE, "c1")
    assert "traceparent" not in {*clean.body, *clean.attributes}


def said(**changes: Any) -> dict[str, Any]:
    body = {"pipeline": "shop", "phase": "clean", "run_date": "2026-03-02", "status": "done", **changes}
    return {name: value for name, value in body.items() if value is not None}


def taken_in(body: dict[str, Any], attributes: dict[str, str] | None = None) -> Report:
    return parse_completion(Envelope("m", json.dumps(body).encode(), attributes or {}), [SHOP], now=DUE).report


@pytest.mark.parametrize(
    "body",
    [
        said(),
        said(pipeline=None),
        said(phase=None, producer="Orders"),
        said(phase="phase_1", producer="prices"),
        *(said(status=str(status)) for status in Status),
        said(run_date="2026-03-10"),
        said(run_date="2024-02-29"),
        said(rows=0, attempt=0),
        said(rows=10**15 - 1),
        said(rows=930.0),
        said(started_at="2026-03-03T05:00:00Z", finished_at="2026-03-03T05:20:00.123456789+05:30"),
        said(run_id="", correlation_id="", error=""),
        said(run_id="x" * 5_000, error="«ü»\n\x00"),
        said(traceparent=TRACE),
    ],
)
def test_a_completion_that_matches_its_schema_is_read(body):
    VALIDATORS["completion"].validate(body)
    taken_in(body)


REFUSED = [
    said(phase=None),
    said(status=None),
    said(status="success"),
    said(run_date=None),
    said(run_date="TODAY"),
    said(run_date="2026-02-30"),
    said(run_date="20260302"),
    said(rows=-1),
    said(rows=0.5),
    said(rows=True),
    said(rows=10**15),
    said(attempt="two"),
    said(started_at="soon"),
    said(started_at="2026-02-30T05:00:00Z"),
    said(started_at="2026-03-03T24:61:00Z"),
    said(finished_at=1772514000),
]


@pytest.mark.parametrize("body", REFUSED)
def test_a_completion_that_is_rejected_does_not_match_the_schema(body):
    with pytest.raises(MessageError):
        taken_in(body)
    with pytest.raises(ValidationError):
        VALIDATORS["completion"].validate(body)


@pytest.mark.parametrize(
    "body", [said(note="x"), said(started_at="2026-03-03 05:00"), said(rows="930"), said(run_id=17), said(traceparent="x")]
)
def test_the_schema_is_stricter_than_the_reader(body):
    """A field that is never read is usually a typing mistake."""
    taken_in(body)
    with pytest.raises(ValidationError):
        VALIDATORS["completion"].validate(body)


@pytest.mark.parametrize(
    ("trace", "kept"),
    [
        (TRACE, TRACE),
        (TRACE.replace("00-4", "01-4"), TRACE.replace("00-4", "01-4")),
        (TRACE.upper(), None),
        (TRACE.replace("00-4", "ff-4"), None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", None),
        (TRACE + "-x", None),
        (TRACE + "\n", None),
        ("", None),
    ],
)
def test_a_trace_is_copied_or_ignored(trace, kept):
    """As an attribute or in the body; an invalid trace never rejects the message."""
    assert taken_in(said(), {"traceparent": trace}).traceparent == kept
    assert taken_in(said(traceparent=trace)).traceparent == kept
    assert taken_in(said(traceparent=5)).traceparent is None


REQUEST = {
    "key": "shop/raw/2026-03-02/orders/retry-2",
    "pipeline": "shop",
    "phase": "raw",
    "run_date": "2026-03-02",
    "producer": "orders",
    "attempt": 2,
    "why": "table raw.orders has 448 rows, 0.5 × the 896 expected",
    "not_before": "2026-03-03T05:02:00+00:00",
}


def test_a_rerun_request_has_its_producer_reason_and_time():
    VALIDATORS["retry-request"].validate(REQUEST)
    for name in REQUEST:
        with pytest.raises(ValidationError):
            VALIDATORS["retry-request"].validate({key: value for key, value in REQUEST.items() if key != name})
    with pytest.raises(ValidationError):
        VALIDATORS["retry-request"].validate(REQUEST | {"attempt": 1})


def test_the_alert_about_a_rejected_message_names_no_gate(sent):
    (rejected,) = [alert for alert in sent["alert"] if alert["cause"] == "message_rejected"]
    held = next(alert for alert in sent["alert"] if alert["cause"] != "message_rejected")
    for wrong in (rejected | {"phase": "raw"}, {name: value for name, value in held.items() if name != "phase"}):
        with pytest.raises(ValidationError):
            VALIDATORS["alert"].validate(wrong)
