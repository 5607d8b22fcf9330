"""Everything in one process: completions over HTTP, and a tick every minute."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from phasegate.app.http import handle_completion, handle_tick
from phasegate.app.systemd import notify
from phasegate.app.wiring import Wiring
from phasegate.errors import ConfigError, PhasegateError, ServeError, bug_trace
from phasegate.logs import log

TICK_PATH = "/tick"
"""Ticks are posted here, completions to `/`."""

TICK_SECONDS = 60.0
"""Seconds from one tick to the next."""

STOP_SECONDS = 9.0
"""Seconds that a stop waits for work in progress. Source: `docker stop` kills after 10 seconds, Kubernetes after 30."""

SERVE_DIED = 3
"""The exit code when a part of serve has ended by itself."""

MAX_BODY_BYTES = 10 * 2**20
"""Source: Pub/Sub, "Quotas and limits": a message has at most 10 MB."""

CLIENT_TIMEOUT = 10.0
"""Seconds that a client may pause within a request."""


class Server(ThreadingHTTPServer):
    """An HTTP server with a thread for each request. It listens once it is made; closing it waits for all threads."""

    # Daemon threads would die in the middle of a request when the process stops.
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, wiring: Wiring, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConfigError: The address or port is not available.
        """
        self.wiring = wiring
        try:
            super().__init__((host, port), _Handler)
        except OSError as exc:
            raise ConfigError(f"can't listen on {host}:{port}: {exc.strerror or exc}; choose another --port") from exc

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that hung up; failures of ours were logged and answered before."""

    @property
    def address(self) -> str:
        """The URL that takes completions."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"


class _Request:
    """A request as the HTTP entry points read it."""

    def __init__(self, method: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.headers = headers
        self._body = body

    def get_data(self) -> bytes:
        return self._body


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = CLIENT_TIMEOUT
    server_version, sys_version = "phasegate", ""

    def do_GET(self) -> None:
        self._handle("GET", b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._answer("Content-Length is missing or not a number.", 411)
        elif len(length) > len(str(MAX_BODY_BYTES)) or int(length) > MAX_BODY_BYTES:
            self._answer("The body is too large.", 413)
        elif len(body := self.rfile.read(int(length))) < int(length):
            self._answer("The body is shorter than Content-Length.", 400)
        else:
            self._handle("POST", body)

    def _handle(self, method: str, body: bytes) -> None:
        handle = {"/": handle_completion, TICK_PATH: handle_tick}.get(self.path.partition("?")[0])
        if handle is None:
            self._answer(f"Not found. Post completions to / and ticks to {TICK_PATH}.", 404)
            return
        try:
            text, status = handle(self.server.wiring, _Request(method, dict(self.headers.items()), body))
        except PhasegateError as error:
            text, status = f"Try again: {error}", 503  # the entry point has logged it
        except Exception as error:  # noqa: BLE001 (a bug in one request must not stop the others)
            log("failed", severity="ERROR", path=self.path, error=repr(error), trace=bug_trace(error))
            text, status = "This is a bug in phasegate; see its log.", 500
        self._answer(text, status)

    def _answer(self, text: str, status: int) -> None:
        data = text.encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """No access log: the entry points log what each request led to."""


def serve(wiring: Wiring, host: str, port: int) -> None:
    """Take completions and tick until SIGTERM or SIGINT; requests and ticks in progress are finished first.

    A stop waits for them no longer than `STOP_SECONDS`, and then ends the process: all that is stored is whole, and the next
    start goes on with it.

    Raises:
        ConfigError: The address or port is not available, or a setting or pipeline file is wrong.
        ServeError: The clock or the HTTP server ended although nobody stopped them.
    """
    stop = threading.Event()
    wiring.settings.require("pipelines", "warehouse", "state", "bus")
    _ = wiring.tick, wiring.heartbeats  # made before any thread needs them, so that a wrong setting stops the start
    server = Server(wiring, host, port)
    died: list[str] = []

    def until_it_ends(name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 (a thread that is gone is noticed by nobody else)
            log("failed", severity="ERROR", path=name, error=repr(error), trace=bug_trace(error))
        finally:
            if not stop.is_set():
                died.append(name)
                stop.set()

    with _stopped_by_signals(stop):
        runs = {"tick": lambda: _tick_until(stop, wiring), "http": server.serve_forever}
        threads = [threading.Thread(target=until_it_ends, args=each, name=each[0]) for each in runs.items()]
        for thread in threads:
            thread.start()
        log("serving", address=server.address, pipelines=", ".join(pipeline.name for pipeline in wiring.pipelines))
        notify("READY=1")
        stop.wait()
        log("stopping")
        notify("STOPPING=1")
        closing = threading.Thread(target=_close, args=(server, threads), name="stop", daemon=True)
        closing.start()
        closing.join(STOP_SECONDS)
        if closing.is_alive():
            log("work_given_up", severity="WARNING", detail=f"it did not end within {STOP_SECONDS:.0f} seconds of the stop")
            os._exit(SERVE_DIED if died else 0)  # a thread in a query or a slow request would keep Python from ending
    log("stopped")
    if died:
        raise ServeError(f"the thread {died[0]} of serve has ended; see the log, and let a supervisor restart the process")


def _close(server: Server, threads: Sequence[threading.Thread]) -> None:
    server.shutdown()
    server.server_close()  # waits for the requests in progress
    for thread in threads:
        thread.join()


def _tick_until(stop: threading.Event, wiring: Wiring) -> None:
    """Tick every minute until *stop* is set. The next tick makes up for one that failed, and is on time after a slow one."""
    request = _Request("POST", {}, b"")
    while True:
        began = time.monotonic()
        handle_tick(wiring, request)
        notify("WATCHDOG=1")
        if stop.wait(max(began + TICK_SECONDS - time.monotonic(), 1.0)):
            return


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
