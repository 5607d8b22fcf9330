"""Everything in one process: completions over HTTP, and a tick every minute."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from phasegate.app.http import handle_completion, handle_tick
from phasegate.app.wiring import Wiring
from phasegate.errors import ConfigError, PhasegateError
from phasegate.logs import log

TICK_PATH = "/tick"
"""Ticks are posted here, completions to `/`."""

TICK_SECONDS = 60.0
"""Seconds between two ticks."""

MAX_BODY_BYTES = 10 * 2**20
"""Source: Pub/Sub, "Quotas and limits": a message has at most 10 MB."""

CLIENT_TIMEOUT = 10.0
"""Seconds that a client may pause within a request. A stop waits as long for a client that sends nothing more."""


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
            log("failed", severity="ERROR", path=self.path, error=repr(error))
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

    Raises:
        ConfigError: The address or port is not available, or a setting or pipeline file is wrong.
    """
    stop = threading.Event()
    wiring.settings.require("pipelines", "warehouse", "state", "bus")
    _ = wiring.tick, wiring.heartbeats  # made before any thread needs them, so that a wrong setting stops the start
    server = Server(wiring, host, port)
    with _stopped_by_signals(stop):
        ticking = threading.Thread(target=_tick_until, args=(stop, wiring), name="tick")
        listening = threading.Thread(target=server.serve_forever, name="http")
        ticking.start()
        listening.start()
        log("serving", address=server.address, pipelines=", ".join(pipeline.name for pipeline in wiring.pipelines))
        stop.wait()
        log("stopping")
        server.shutdown()
        server.server_close()  # waits for the requests in progress
        listening.join()
        ticking.join()
    log("stopped")


def _tick_until(stop: threading.Event, wiring: Wiring) -> None:
    """Tick every minute until *stop* is set. The next tick makes up for one that failed."""
    request = _Request("POST", {}, b"")
    while True:
        try:
            handle_tick(wiring, request)
        except PhasegateError:
            pass  # handle_tick has logged it
        except Exception as error:  # noqa: BLE001 (a bug in one tick must not stop the next)
            log("tick_failed", severity="ERROR", error=repr(error))
        if stop.wait(TICK_SECONDS):
            return


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
