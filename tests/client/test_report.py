"""`phasegate.report` reports every result of a job and never fails it; `phasegate.retrying` retries transient errors."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import phasegate
import pytest
import stamina
from google.api_core import exceptions as google_errors
from google.auth.exceptions import RefreshError, TransportError
from phasegate.adapters.google_errors import is_retryable
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.pipeline_file import load
from phasegate.client.report import LONGEST_ERROR, Reporter
from phasegate.client.retrying import is_transient
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Completion, Envelope, RunKey, Status, parse_completion
from phasegate.errors import ConfigError, PublishError, StateError
from phasegate.ports import Outgoing
from phasegate.testing import ManualClock

NOW = datetime(2026, 3, 3, 5, tzinfo=UTC)
DAY = date(2026, 3, 2)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

FILE = """
pipeline: shop
calendar: {from: 2026-01-01}
phases:
  raw:
    aliases: [phase_1]
    producers: {orders: {aliases: [Orders], fills: raw.orders}, prices: {}}
    outputs: {raw.orders: {date: d}}
  clean:
    after: [raw]
    outputs: {clean.orders: {date: d}}
"""
FOREIGN = """
messages:
  producer: processor_name
  run_date: game_date
  rows: record_count
  run_id: execution_id
  finished: timestamp
  error: error_message
  status: {done: [success], partial: [partial], failed: [failed], nothing: [no_data, skipped]}
"""


@dataclass
class Bus:
    """Accepts messages after it has refused some."""

    refusals: list[BaseException] = field(default_factory=list)
    taken: list[Outgoing] = field(default_factory=list)
    asked: int = 0

    def publish(self, message: Outgoing) -> str:
        self.asked += 1
        if self.refusals:
            raise self.refusals.pop(0)
        json.dumps(message.body)
        self.taken.append(message)
        return str(self.asked)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """The usual number of attempts, without the pauses."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine with one pipeline file."""
    return {"PHASEGATE_PIPELINES": str(written(tmp_path / "shop.yaml", FILE))}


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def job(bus: Bus, clock: ManualClock, environ: Mapping[str, str], phase: str = "raw", **given: Any) -> Reporter:
    """The block around a job that fills raw.orders."""
    given = {"producer": "orders", "run_date": DAY, **given}
    return phasegate.report(phase, publisher=bus, clock=clock, environ=environ, **given)


def understood(message: Outgoing, environ: Mapping[str, str]) -> Completion:
    """A message as the monitor reads it."""
    envelope = Envelope("m", json.dumps(message.body).encode(), message.attributes)
    return parse_completion(envelope, [load(Path(environ["PHASEGATE_PIPELINES"]))], now=NOW + timedelta(hours=1))


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_success_is_reported(bus, clock, environ):
    with job(bus, clock, environ, run_id="r1", attempt=2, correlation_id="c1", traceparent=TRACE) as run:
        clock.advance(timedelta(minutes=20))
        run.rows = 930
    (message,) = bus.taken
    assert message.topic == "shop-raw-complete"
    assert message.body == {
        "pipeline": "shop",
        "phase": "raw",
        "producer": "orders",
        "run_date": "2026-03-02",
        "status": "done",
        "run_id": "r1",
        "attempt": 2,
        "started_at": "2026-03-03T05:00:00+00:00",
        "finished_at": "2026-03-03T05:20:00+00:00",
        "rows": 930,
        "correlation_id": "c1",
        "traceparent": TRACE,
    }
    assert message.attributes == {
        "pipeline": "shop",
        "phase": "raw",
        "producer": "orders",
        "run_date": "2026-03-02",
        "status": "done",
        "traceparent": TRACE,
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such column"), "ValueError: no such column"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit("no input"), "SystemExit: no input"),
        (google_errors.NotFound("raw.orders"), "google.api_core.exceptions.NotFound: 404 raw.orders"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ConnectionError("postgres://me:s3cr:et@host:5432/db refused"), "ConnectionError: postgres://me:<secret>@host:5432/db refused"),
        (OSError("https://host:8080/x?key=abc&day=1"), "OSError: https://host:8080/x?key=<secret>&day=1"),
        (OSError('{"password": "abc", "user": "me"}'), 'OSError: {"password": "<secret>", "user": "me"}'),
        (OSError("Authorization: Bearer abc.def"), "OSError: Authorization: Bearer <secret>"),
        (KeyError("token"), "KeyError: 'token'"),
    ],
)  # fmt: skip
def test_failure_is_reported_and_raised_on(error, text, bus, clock, environ):
    with pytest.raises(type(error)) as caught, job(bus, clock, environ):
        raise error
    assert caught.value is error
    report = understood(bus.taken[0], environ).report
    assert (report.status, report.error) == (Status.FAILED, text)


def test_an_exception_whose_text_raises_is_reported_too(bus, clock, environ):
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(Mute), job(bus, clock, environ):
        raise Mute
    assert "Mute" in bus.taken[0].body["error"]


def test_a_long_error_is_cut(bus, clock, environ):
    with pytest.raises(ValueError, match="x"), job(bus, clock, environ):
        raise ValueError("x" * 5_000)
    assert len(bus.taken[0].body["error"]) == LONGEST_ERROR


@pytest.mark.parametrize("code", [None, 0])
def test_sys_exit_with_0_is_a_success(code, bus, clock, environ):
    with pytest.raises(SystemExit), job(bus, clock, environ):
        sys.exit(code)
    assert understood(bus.taken[0], environ).report.status is Status.DONE


@pytest.mark.parametrize(
    ("say", "status", "why"),
    [
        (lambda run: run.nothing(), Status.NOTHING, None),
        (lambda run: run.partial("two of\nthree files"), Status.PARTIAL, "two of three files"),
        (lambda run: run.failed("dbt ended with 1"), Status.FAILED, "dbt ended with 1"),
    ],
)
def test_a_job_can_report_other_results(say, status, why, bus, clock, environ):
    with job(bus, clock, environ) as run:
        say(run)
        assert (run.status, str(run.why).split()) == (status, str(why).split())
    report = understood(bus.taken[0], environ).report
    assert (report.status, report.error) == (status, why)


@pytest.mark.parametrize("status", ["nothing", "partial", "failed", "done"])
def test_a_message_has_the_field_names_of_its_pipeline(status, bus, clock, tmp_path):
    environ = {"PHASEGATE_PIPELINES": str(written(tmp_path / "games.yaml", FILE + FOREIGN))}
    with job(bus, clock, environ, phase="phase_1", producer="Orders") as run:
        run.rows = 5
        if status != "done":
            getattr(run, status)(*([] if status == "nothing" else ["why"]))
    (message,) = bus.taken
    words = {"done": "success", "nothing": "no_data"}
    assert message.topic == "shop-raw-complete"
    assert message.body["status"] == words.get(status, status)
    assert (message.body["processor_name"], message.body["game_date"], message.body["record_count"]) == (
        "Orders",
        "2026-03-02",
        5,
    )
    assert message.attributes["processor_name"] == "Orders"
    found = understood(message, environ)
    assert (found.run, found.report.producer) == (RunKey("shop", "raw", DAY), "orders")
    assert found.report.status == status


def test_without_a_pipeline_file_its_name_is_enough(bus, clock, tmp_path):
    with (
        chdir(tmp_path),
        phasegate.report("raw", pipeline="shop", run_date="2026-03-02", publisher=bus, clock=clock, environ={}),
    ):
        pass
    (message,) = bus.taken
    assert message.topic == "shop-raw-complete"
    assert (message.body["pipeline"], message.body["phase"], message.body["run_date"]) == ("shop", "raw", "2026-03-02")
    assert "producer" not in message.body


def test_missing_arguments_come_from_the_environment(bus, clock, environ):
    environ |= {"CLOUD_RUN_TASK_ATTEMPT": "1", "PHASEGATE_CORRELATION_ID": "c7", "TRACEPARENT": TRACE}
    with job(bus, clock, environ) as run:
        assert len(run.run_id) == 36
    with job(bus, clock, environ | {"PHASEGATE_ATTEMPT": "5", "TRACEPARENT": "nonsense"}):
        pass
    first, second = (understood(message, environ).report for message in bus.taken)
    assert (first.attempt, first.correlation_id, first.traceparent) == (2, "c7", TRACE)
    assert (second.attempt, second.traceparent) == (5, None)
    assert first.run_id != second.run_id


def test_a_run_may_begin_before_the_block_and_use_another_topic(bus, clock, environ):
    with job(bus, clock, environ, started_at=NOW - timedelta(hours=2), topic="orders-done"):
        pass
    assert bus.taken[0].topic == "orders-done"
    assert understood(bus.taken[0], environ).report.started_at == NOW - timedelta(hours=2)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"phase": "rwa"}, 'unknown phase "rwa" in pipeline "shop"; known phases: raw, clean'),
        ({"producer": "ordres"}, 'unknown producer "ordres" of phase raw; known producers: orders, prices'),
        ({"producer": None}, "no producer given; phase raw has orders, prices"),
        ({"run_date": "TODAY"}, 'run_date: expected a date like 2013-02-08, got "TODAY"'),
        ({"run_date": NOW}, "run_date: expected a date, got the time 2026-03-03 05:00:00+00:00; its date depends on the time zone"),
        ({"run_date": date(2027, 1, 1)}, "run_date 2027-01-01 is too far in the future; the latest accepted date is 2026-03-10"),
        ({"run_date": None}, 'run_date: expected a date like 2013-02-08, got "None"'),
        ({"started_at": "soon"}, "started_at: expected a time, its text, or seconds since 1970, got 'soon'"),
        ({"started_at": NOW.timestamp() * 1e6}, "started_at: expected a time, its text, or seconds since 1970, got 1772514000000000.0"),
        ({"started_at": DAY}, "started_at: expected a time, its text, or seconds since 1970, got datetime.date(2026, 3, 2)"),
        ({"attempt": -1}, "attempt must be a whole number ≥ 0, got -1"),
        ({"attempt": 1.5}, "attempt must be a whole number ≥ 0, got 1.5"),
        ({"attempt": True}, "attempt must be a whole number ≥ 0, got True"),
        ({"attempt": float("nan")}, "attempt must be a whole number ≥ 0, got nan"),
        ({"run_id": b"r1"}, "run_id: expected text or a number, got b'r1'"),
        ({"correlation_id": ["c"]}, "correlation_id: expected text or a number, got ['c']"),
        ({"pipeline": "shp"}, 'unknown pipeline "shp"; known pipelines: shop'),
    ],
)  # fmt: skip
def test_an_argument_that_the_monitor_would_reject_raises_before_the_job_begins(given, problem, bus, clock, environ):
    with pytest.raises(ConfigError) as caught:
        job(bus, clock, environ, **given)
    assert str(caught.value) == problem


def test_missing_or_wrong_settings_raise_before_the_job_begins(bus, clock, environ, tmp_path):
    with pytest.raises(ConfigError, match="PHASEGATE_ATTEMPT: expected a whole number"):
        job(bus, clock, environ | {"PHASEGATE_ATTEMPT": "two"})
    with chdir(tmp_path):
        with pytest.raises(ConfigError, match="pipeline: expected its name, or PHASEGATE_PIPELINES, got nothing"):
            job(bus, clock, {})
        with pytest.raises(ConfigError, match="state: expected a value, got nothing"):
            phasegate.report("clean", run_date=DAY, clock=clock, environ=environ)


ID = UUID("8c8f5f5e-0f5e-4d5e-9c5e-0f5e8c8f5f5e")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (17, "17"),
        (0, "0"),
        (np.int64(17), "17"),
        (np.str_("r"), "r"),
        (ID, str(ID)),
        (Decimal("17"), "17"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_any_id_that_a_job_has_is_reported_as_text(given, text, bus, clock, environ):
    with job(bus, clock, environ, run_id=given, correlation_id=given) as run:
        assert run.run_id == text
    report = understood(bus.taken[0], environ).report
    assert (report.run_id, report.correlation_id) == (text, text)


@pytest.mark.parametrize("attempt", [2, np.int8(2), np.float64(2), Decimal("2.0"), Fraction(4, 2), "2"])
def test_any_whole_number_is_an_attempt(attempt, bus, clock, environ):
    with job(bus, clock, environ, attempt=attempt):
        pass
    assert understood(bus.taken[0], environ).report.attempt == 2


@pytest.mark.parametrize(
    "given",
    [
        datetime(2026, 3, 3, 3),
        "2026-03-03T03:00",
        "2026-03-03T02:00:00Z",
        datetime(2026, 3, 3, 2, tzinfo=UTC).timestamp(),
        np.float64(datetime(2026, 3, 3, 2, tzinfo=UTC).timestamp()),
    ],
)
def test_a_start_without_a_zone_is_the_local_time_of_the_pipeline(given, bus, clock, tmp_path):
    file = written(tmp_path / "shop.yaml", FILE + "timezone: Europe/Berlin\n")
    with job(bus, clock, {"PHASEGATE_PIPELINES": str(file)}, started_at=given):
        pass
    assert bus.taken[0].body["started_at"] == "2026-03-03T02:00:00+00:00"


def test_without_the_pipeline_file_a_start_needs_its_zone(bus, clock, tmp_path):
    with chdir(tmp_path), pytest.raises(ConfigError, match="started_at: expected a time with its time zone, got 2026-03-03"):
        job(bus, clock, {}, pipeline="shop", started_at=datetime(2026, 3, 3))


@pytest.mark.parametrize("rows", [np.int64(930), 930, 930.0, Decimal(930)])
def test_any_kind_of_integer_is_a_number_of_rows(rows, bus, clock, environ):
    with job(bus, clock, environ) as run:
        run.rows = rows
    assert understood(bus.taken[0], environ).report.rows == 930


@pytest.mark.parametrize("rows", [-1, 0.5, "many"])
def test_a_wrong_number_of_rows_loses_neither_the_job_nor_the_message(rows, bus, clock, environ, capsys):
    with job(bus, clock, environ) as run:
        run.rows = rows
    assert "rows" not in bus.taken[0].body
    assert [line["event"] for line in logged(capsys)] == ["rows_not_reported"]


def test_a_transient_error_of_the_bus_is_retried(clock, environ, capsys):
    bus = Bus([PublishError("silent", retryable=True), ConnectionResetError()])
    with job(bus, clock, environ):
        pass
    assert (bus.asked, len(bus.taken)) == (3, 1)
    assert not logged(capsys)


REFUSALS = [
    [PublishError("silent", retryable=True) for _ in range(9)],
    [PublishError("no permission", retryable=False)],
    [ValueError("a client that is broken")],
]


@pytest.mark.parametrize(("refusals", "asked"), [*zip(REFUSALS, [5, 1, 1], strict=True)])
def test_an_unpublished_message_is_logged_in_full_and_does_not_fail_the_job(refusals, asked, clock, environ, capsys):
    bus = Bus([*refusals])
    with job(bus, clock, environ) as run:
        run.partial("a long story " * 300)
    assert bus.asked == asked
    (line,) = logged(capsys)
    assert (line["event"], line["severity"], line["topic"]) == ("completion_not_published", "CRITICAL", "shop-raw-complete")
    again = Outgoing(line["key"], line["topic"], line["completion"], line["attributes"])
    assert understood(again, environ).report.status is Status.PARTIAL


def test_strict_raises_when_the_message_could_not_be_published(clock, environ):
    bus = Bus([PublishError("no permission", retryable=False)])
    told = r"^shop/raw/2026-03-02/orders/r1/.* was not published: .*no permission$"
    with pytest.raises(PublishError, match=told), job(bus, clock, environ, run_id="r1", strict=True):
        pass


def test_a_job_that_failed_raises_its_own_exception_even_when_strict(clock, environ, capsys):
    bus = Bus([PublishError("no permission", retryable=False)])
    with pytest.raises(ZeroDivisionError), job(bus, clock, environ, strict=True):
        _ = 1 / 0
    (line,) = logged(capsys)
    assert line["completion"]["error"] == "ZeroDivisionError: division by zero"


def test_an_interrupt_while_publishing_loses_no_message(clock, environ, capsys):
    with pytest.raises(KeyboardInterrupt), job(Bus([KeyboardInterrupt()]), clock, environ):
        pass
    assert logged(capsys)[0]["completion"]["status"] == "done"


def test_the_cloud_bus_is_taken_from_the_settings_without_being_called(clock, environ):
    """Credentials and network are needed at the end of the job, not at its start."""
    environ |= {"PHASEGATE_BUS": "pubsub:my-project"}
    assert phasegate.report("clean", run_date=DAY, clock=clock, environ=environ)


def here(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    """The environment of a machine that is its own monitor."""
    folder = tmp_path / "tables" / "clean"
    folder.mkdir(parents=True)
    written(folder / "orders.csv", "d,id\n2026-03-02,1\n")
    written(tmp_path / "here.yaml", FILE.replace("    after: [raw]\n", ""))
    return environ | {
        "PHASEGATE_PIPELINES": str(tmp_path / "here.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }


def test_on_one_machine_the_monitor_judges_immediately(tmp_path, clock, environ, capsys):
    """A job that restarts with the same run id is another run."""
    environ = here(tmp_path, environ)
    given = {"run_date": DAY, "run_id": "r1", "clock": clock, "environ": environ}
    with pytest.raises(ZeroDivisionError), phasegate.report("clean", **given):
        _ = 1 / 0
    clock.advance(timedelta(minutes=1))
    with phasegate.report("clean", traceparent=TRACE, **given):
        pass
    assert [(line["run_key"], line["gate"]) for line in logged(capsys)] == [
        ("shop/clean/2026-03-02", "held"),
        ("shop/clean/2026-03-02", "open"),
    ]
    gate = SQLiteStore(str(tmp_path / "state.sqlite")).load("shop", Span(DAY, DAY))[DAY]["clean"]
    assert (gate.generation, gate.reports["clean"].traceparent) == (1, TRACE)


def test_on_one_machine_a_broken_monitor_does_not_fail_the_job(tmp_path, clock, environ, capsys):
    environ = here(tmp_path, environ) | {"PHASEGATE_STATE": f"sqlite:{tmp_path}"}
    with phasegate.report("clean", run_date=DAY, clock=clock, environ=environ):
        pass
    assert [line["event"] for line in logged(capsys)] == ["completion_not_published"]


class Flaky:
    """A function that fails a number of times first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, value: int = 1) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return value


def test_transient_errors_are_retried():
    flaky = Flaky(ConnectionError(), StateError("busy", retryable=True), google_errors.ServiceUnavailable("later"))

    @phasegate.retrying
    def fetch(value: int) -> int:
        """Fetch."""
        return flaky(value)

    assert (fetch(7), flaky.calls, fetch.__name__, fetch.__doc__) == (7, 4, "fetch", "Fetch.")


def test_an_async_function_is_retried():
    flaky = Flaky(TimeoutError(), LookupError())

    @phasegate.retrying(also=(LookupError,), timeout=5)
    async def fetch(value: int) -> int:
        await asyncio.sleep(0)
        return flaky(value)

    assert (asyncio.run(fetch(7)), flaky.calls) == (7, 3)


def test_the_last_error_is_raised_unchanged():
    errors = [ConnectionError(str(n)) for n in range(5)]
    flaky = Flaky(*errors)
    with pytest.raises(ConnectionError, match="2") as caught:
        phasegate.retrying(attempts=3)(flaky.__call__)()
    assert (caught.value, flaky.calls) == (errors[2], 3)


@pytest.mark.parametrize(
    "error", [ValueError(), PermissionError(), StateError("gone", retryable=False), google_errors.NotFound("x")]
)
def test_other_errors_are_raised_at_once(error):
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        phasegate.retrying(flaky.__call__)()
    assert flaky.calls == 1


GOOGLE = [
    kind for kind in vars(google_errors).values() if isinstance(kind, type) and issubclass(kind, google_errors.GoogleAPIError)
]


@pytest.mark.parametrize("kind", [*GOOGLE, TransportError, RefreshError])
def test_googles_errors_by_name_are_those_of_the_adapters(kind):
    error = kind("x", None) if issubclass(kind, google_errors.RetryError) else kind("x")
    assert is_transient(error) == is_retryable(error)


def test_importing_phasegate_is_fast():
    """It loads neither pydantic nor stamina."""
    code = "import phasegate, sys; print(len([m for m in sys.modules if m.split('.')[0] in ('pydantic', 'stamina', 'yaml')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "0\n"
    with pytest.raises(AttributeError, match="no attribute 'reprot'"):
        _ = phasegate.reprot
