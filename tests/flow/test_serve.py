"""`phasegate serve` as a process: it takes completions, ticks, and stops on a signal."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.serve import SERVE_DIED, STOP_SECONDS, serve
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.cli.main import exit_code
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import GateState, Reason
from phasegate.errors import ServeError
from phasegate.gates.heartbeat import last_heartbeats
from phasegate.gates.watching import WATCHED_SINCE
from phasegate.ports import Change, Record

PIPELINE = """
pipeline: tiny
calendar: {from: 2026-01-01}
phases:
  raw:
    due: 00:00 +1d
    outputs:
      raw.rows: {date: d}
"""
LOADED, SILENT = date(2026, 1, 1), datetime.now(UTC).date() - timedelta(days=1)
DONE = {"phase": "raw", "run_date": str(LOADED), "status": "done", "rows": 1, "finished_at": "2026-01-02T00:00:00Z"}


@dataclass
class Served:
    """A running `phasegate serve`."""

    process: subprocess.Popen[bytes]
    log: Path
    address: str = ""

    def events(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def wait(self, event: str) -> dict[str, str]:
        for _ in range(600):
            if found := [line for line in self.events() if line["event"] == event]:
                return found[-1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def post(self, path: str, body: bytes, **headers: str) -> int:
        request = urllib.request.Request(self.address + path, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(PIPELINE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    (tmp_path / "tables/raw/rows.csv").write_text(f"d,n\n{LOADED},1\n")
    store(tmp_path).commit(Change(records=(Record(WATCHED_SINCE, "tiny", {"run_date": str(SILENT)}),)))
    return tmp_path


def store(folder: Path) -> SQLiteStore:
    return SQLiteStore(str(folder / "state.sqlite"))


@contextmanager
def served(folder: Path, name: str = "log", **more: str) -> Iterator[Served]:
    """A server that listens and has ticked once."""
    environ = more | {
        "PHASEGATE_PIPELINES": str(folder / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{folder / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{folder / 'state.sqlite'}",
    }
    command = [str(Path(sys.executable).parent / "phasegate"), "serve", "--port", "0"]
    with (folder / name).open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=log, stderr=log)
    found = Served(process, folder / name)
    try:
        found.address = found.wait("serving")["address"]
        found.wait("ticked")
        yield found
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def stop(one: Served, number: signal.Signals) -> int:
    one.process.send_signal(number)
    return one.process.wait(60)


def test_it_judges_completions_and_notices_overdue_phases(folder: Path) -> None:
    with served(folder) as one:
        assert one.address.startswith("http://127.0.0.1:")
        assert one.post("", json.dumps(DONE).encode()) == 204
        assert one.post("tick", b"") == 204
        assert one.wait("decided")["gate"] == "open"
        assert stop(one, signal.SIGTERM) == 0
    gates = store(folder).load("tiny", Span(LOADED, SILENT))
    assert gates[LOADED]["raw"].state is GateState.OPEN
    assert (gates[SILENT]["raw"].state, gates[SILENT]["raw"].reason) == (GateState.OVERDUE, Reason.NOTHING_HEARD)
    assert store(folder).pending(datetime.now(UTC), 9) == []
    assert datetime.now(UTC) - last_heartbeats(store(folder))["watch"] < timedelta(minutes=5)
    assert [line["event"] for line in one.events()][-2:] == ["stopping", "stopped"]


def test_two_servers_on_one_state_do_what_one_does(folder: Path) -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(served(folder, f"log{n}")) for n in range(2)]
        posts = [Thread(target=one.post, args=(path, json.dumps(DONE).encode())) for one in both for path in ("", "tick") * 2]
        for post in posts:
            post.start()
        for post in posts:
            post.join()
        assert [stop(one, signal.SIGINT) for one in both] == [0, 0]
    assert len(store(folder).history(RunKey("tiny", "raw", LOADED))) == 1
    assert len(store(folder).history(RunKey("tiny", "raw", SILENT))) == 1
    alerts = [one.log.read_text().count("CRITICAL:") for one in both]
    assert sum(alerts) <= 2, "sent at least once, under one key"


def test_bad_requests_are_answered_and_harm_nothing(folder: Path) -> None:
    with served(folder) as one:
        assert one.post("", b"no json") == 204, "stored as rejected, and not redelivered"
        assert one.post("elsewhere", b"{}") == 404
        assert one.post("", b"", **{"Content-Length": "99999999999"}) == 413
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(one.address, timeout=60)
        host, port = one.address.removeprefix("http://").strip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            assert one.post("", json.dumps(DONE).encode()) == 204, "a client that stalls blocks no other"
            assert stop(one, signal.SIGTERM) == 0, "nor the stop"
    assert len(store(folder).rejected(9)) == 1


def test_a_stop_does_not_wait_for_a_client_that_drips(folder: Path) -> None:
    with served(folder) as one:
        host, port = one.address.removeprefix("http://").strip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
            ended = Event()

            def drip() -> None:
                with suppress(OSError):
                    while not ended.wait(1):
                        slow.sendall(b" ")

            Thread(target=drip, daemon=True).start()
            began = time.monotonic()
            assert stop(one, signal.SIGTERM) == 0
            ended.set()
        assert time.monotonic() - began < STOP_SECONDS + 5
        assert one.events()[-1]["detail"] == "it did not end within 9 seconds of the stop"


def test_a_server_whose_log_is_read_by_nobody_works_and_stops(folder: Path) -> None:
    environ = {
        "PHASEGATE_PIPELINES": str(folder / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{folder / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{folder / 'state.sqlite'}",
    }
    command = [str(Path(sys.executable).parent / "phasegate"), "serve", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env={**os.environ, **environ}, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = json.loads(process.stdout.readline())["address"]
        process.stdout.close()
        process.stderr.close()
        one = Served(process, folder / "log", address)
        assert one.post("", json.dumps(DONE).encode()) == 204
        assert one.post("tick", b"") == 204
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, 141)
    assert store(folder).load("tiny", Span(LOADED, LOADED))[LOADED]["raw"].state is GateState.OPEN
    assert datetime.now(UTC) - last_heartbeats(store(folder))["watch"] < timedelta(minutes=5)


def test_systemd_is_told_of_the_start_of_each_tick_and_of_the_stop(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(60)
        with served(folder, NOTIFY_SOCKET=str(folder / "notify")) as one:
            assert {manager.recv(99) for _ in range(2)} == {b"READY=1", b"WATCHDOG=1"}
            assert stop(one, signal.SIGTERM) == 0
            assert manager.recv(99) == b"STOPPING=1"


def test_a_clock_that_dies_ends_the_process(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Dying:
        def run(self) -> None:
            raise SystemExit

    class Broken(Wiring):
        tick = Dying()  # type: ignore[assignment]

    settings = {
        "pipelines": str(folder / "tiny.yaml"),
        "warehouse": f"duckdb:{folder / 'tables'}",
        "state": f"sqlite:{folder / 'state.sqlite'}",
    }
    with pytest.raises(
        ServeError, match="the thread tick of serve has ended; see the log, and let a supervisor restart"
    ) as error:
        serve(Broken(Settings.resolve(settings, {}, Path())), "127.0.0.1", 0)
    assert exit_code(error.value) == SERVE_DIED
    assert '"path": "tick"' in capsys.readouterr().out


def test_a_port_in_use_is_a_wrong_option(folder: Path) -> None:
    with served(folder) as one:
        port = one.address.rpartition(":")[2].strip("/")
        environ = {"PHASEGATE_PIPELINES": str(folder / "tiny.yaml"), "PHASEGATE_WAREHOUSE": f"duckdb:{folder / 'tables'}"}
        command = [str(Path(sys.executable).parent / "phasegate"), "serve", "--port", port, "--state", "sqlite::memory:"]
        done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr
