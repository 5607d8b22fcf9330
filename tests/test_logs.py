"""Log lines as Cloud Logging reads them, and which ones call for a person: what is filtered by severity finds those and no others."""

import ast
import errno
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from phasegate.adapters.local import Console
from phasegate.app.http import handle_completion, handle_dead_letter, handle_preflight, handle_tick
from phasegate.app.wiring import Wiring
from phasegate.core.alerts.wording import compose_test
from phasegate.errors import AdapterError, NotifyError, StateError
from phasegate.gates.heartbeat import Heartbeats
from phasegate.logs import MAX_VALUE_LENGTH, log, silent

SOURCE = Path(__file__).parents[1] / "shared/phasegate"

CALLS_FOR_A_PERSON = {
    # Nothing else will say that this went wrong: the job's message is lost unless somebody publishes it.
    "completion_not_published": "CRITICAL",
    # Work was not done. It is tried again, by Pub/Sub or by the next tick.
    "failed": "ERROR",
    "not_handled": "ERROR",
    "notice_parked": "ERROR",
    "preflight_failed": "ERROR",
    "tick_failed": "ERROR",
    "unsent": "ERROR",
    "step_failed": "ERROR",
    "gate_not_judged": "ERROR",
    "unreadable_gate": "ERROR",
    "unreadable_record": "ERROR",
    # Work was done, and something in it or around it is not as it should be.
    "heartbeat_not_written": "WARNING",
    "history_not_adopted": "WARNING",
    "notice_left": "WARNING",
    "nobody_is_told": "WARNING",
    "not_as_it_must_be": "WARNING",
    "notice_refused": "WARNING",
    "recipient_refused": "WARNING",
    "rows_not_reported": "WARNING",
    "secrets_not_checked": "WARNING",
    "work_given_up": "WARNING",
}
"""By event. Every other line is INFO, but for a message that was rejected or kept; see the tests below."""


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_one_json_object_with_the_names_of_cloud_logging(capsys: pytest.CaptureFixture[str]) -> None:
    log("ticked", run_date=date(2026, 3, 2), rows=3, note="zwölf\nRunden", nothing=None)
    text = capsys.readouterr().out
    (line,) = lines(text)
    at = datetime.fromisoformat(line.pop("time"))
    assert line == {"severity": "INFO", "event": "ticked", "run_date": "2026-03-02", "rows": 3, "note": "zwölf\nRunden"}
    assert at.tzinfo is UTC
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert "zwölf" in text, "readable where it is shown as it is"


@pytest.mark.parametrize("severity", ["INFO", "WARNING", "ERROR", "CRITICAL"])
def test_the_severity_is_the_one_that_was_given(severity: str, capsys: pytest.CaptureFixture[str]) -> None:
    log("it", severity=severity)
    assert lines(capsys.readouterr().out)[0]["severity"] == severity


@pytest.mark.parametrize(
    ("length", "logged"), [(MAX_VALUE_LENGTH, "x" * MAX_VALUE_LENGTH), (MAX_VALUE_LENGTH + 1, "x" * MAX_VALUE_LENGTH + "…")]
)
def test_a_long_value_is_cut(length: int, logged: str, capsys: pytest.CaptureFixture[str]) -> None:
    log("it", error="x" * length)
    assert lines(capsys.readouterr().out)[0]["error"] == logged


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(), ValueError("I/O operation on closed file.")],
)
def test_a_line_that_cannot_be_written_stops_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    log("ticked", rows=3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115, PTH123 (closing it raises)
    monkeypatch.setattr(sys, "stdout", full)
    for _ in range(3):
        log("ticked", text="x" * 10_000)
    with suppress(OSError):
        full.close()


def test_half_a_surrogate_pair_is_logged_as_its_escape(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    log("rejected", detail=json.loads('"a \\ud800 b"'))
    (line,) = capsysbinary.readouterr().out.splitlines()
    assert json.loads(line)["detail"] == "a \ud800 b"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "can't write to the console: No space left on device"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "can't write to the console: Broken pipe"),
        (ValueError("I/O operation on closed file."), "can't write to the console: I/O operation on closed file."),
    ],
)
def test_a_console_that_takes_nothing_is_a_destination_that_failed(error: Exception, said: str) -> None:
    notice = compose_test("shop/screen", key="k", now=datetime.now(UTC))
    with pytest.raises(NotifyError) as raised:
        Console(Broken(error)).notify(notice)
    assert (str(raised.value), raised.value.retryable) == (said, True)


def test_a_command_keeps_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    silent("tick_failed", severity="ERROR", error="x")
    assert capsys.readouterr() == ("", "")


def calls() -> Iterator[tuple[str, str]]:
    """Event and severity of every line that is logged under a fixed name; one with two severities comes twice."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in ("log", "_log"):
                continue
            given = next((word.value for word in node.keywords if word.arg == "severity"), ast.Constant("INFO"))
            if isinstance(node.args[0], ast.Constant):
                for severity in ast.walk(given):
                    if isinstance(severity, ast.Constant):
                        yield str(node.args[0].value), str(severity.value)


def test_these_lines_call_for_a_person_and_no_others() -> None:
    found = set(calls())
    assert len({event for event, _ in found}) > 20, "lines are no longer found where they are logged"
    assert {(event, severity) for event, severity in found if severity != "INFO"} == set(CALLS_FOR_A_PERSON.items())
    assert not {event for event, severity in found if severity == "INFO"} & set(CALLS_FOR_A_PERSON)


@dataclass
class Request:
    """A request as the functions framework hands it over."""

    body: bytes = b""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    query_string: bytes = b""

    def get_data(self) -> bytes:
        return self.body


PIPELINE = """
pipeline: shop
calendar: {from: 2026-01-01}
phases:
  raw: {outputs: {raw.orders: {date: day}}}
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where an installation is that alerts nobody."""
    (tmp_path / "shop.yaml").write_text(PIPELINE)
    with duckdb.connect(str(tmp_path / "tables.duckdb")) as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders AS SELECT DATE '2026-03-02' AS day")
    return {
        "PHASEGATE_PIPELINES": str(tmp_path / "shop.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'tables.duckdb'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }


def logged(capsys: pytest.CaptureFixture[str], event: str) -> list[str]:
    """The severities of the lines of an event."""
    return [line["severity"] for line in lines(capsys.readouterr().out) if line["event"] == event]


def test_a_start_without_routes_is_a_warning(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Wiring.from_env(environ)
    assert [(line["event"], line["severity"]) for line in lines(capsys.readouterr().out)] == [
        ("nobody_is_told", "WARNING"),
        ("started", "INFO"),
    ]


@pytest.mark.parametrize(
    ("body", "event", "severity"),
    [
        (b'{"phase": "raw", "run_date": "2026-03-02", "status": "done"}', "decided", "INFO"),
        (b'{"phase": "rwa", "run_date": "2026-03-02"}', "rejected", "WARNING"),
    ],
)
def test_a_rejected_message_is_a_warning(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], body: bytes, event: str, severity: str
) -> None:
    handle_completion(Wiring.from_env(environ), Request(body))
    assert logged(capsys, event) == [severity]


def test_an_undelivered_message_is_a_warning(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    body = {"message": {"data": "e30=", "messageId": "m-1"}, "subscription": "projects/p/subscriptions/phasegate-dead"}
    handle_dead_letter(Wiring.from_env(environ), Request(json.dumps(body).encode()))
    assert logged(capsys, "kept") == ["WARNING"]


def test_a_message_that_was_not_handled_is_an_error(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "state.sqlite").mkdir()
    wiring = Wiring.from_env(environ)
    with pytest.raises(AdapterError):
        handle_completion(wiring, Request(b'{"phase": "raw", "run_date": "2026-03-02"}'))
    assert logged(capsys, "not_handled") == ["ERROR"]


def test_a_tick_that_failed_is_an_error_and_is_not_delivered_again(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "state.sqlite").mkdir()
    assert handle_tick(Wiring.from_env(environ), Request()) == ("", 204)
    assert logged(capsys, "tick_failed") == ["ERROR"]


def test_a_bug_in_a_tick_is_logged_with_its_traceback(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    wiring = Wiring.from_env(environ)

    def broken(*_: object) -> bool:
        raise KeyError("of_a_newer_version")

    wiring.store.commit = broken  # type: ignore[method-assign]
    assert handle_tick(wiring, Request()) == ("", 204)
    steps = {line["step"]: line["trace"] for line in lines(capsys.readouterr().out) if line["event"] == "step_failed"}
    assert "shop" in steps
    assert all("in broken" in trace and "KeyError: 'of_a_newer_version'" in trace for trace in steps.values())


def test_a_preflight_without_an_answer_is_an_error(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "state.sqlite").mkdir()
    request = Request(method="GET", query_string=b"phase=raw&date=2026-03-02")
    assert handle_preflight(Wiring.from_env(environ), request)[1] == 503
    assert logged(capsys, "preflight_failed") == ["ERROR"]


def test_a_heartbeat_that_is_not_written_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    class Down:
        def find(self, kind: str, keys: object) -> object:
            raise StateError("the store is down", retryable=True)

    Heartbeats(Down(), Down()).record("watch", datetime.now(UTC))  # type: ignore[arg-type]
    assert logged(capsys, "heartbeat_not_written") == ["WARNING"]
