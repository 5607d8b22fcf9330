"""Everything in one process: completions over HTTP, and a clock that ticks every minute."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from phasegate.app.wiring import Wiring
from phasegate.errors import ConfigError, PhasegateError
from phasegate.logs import log

TICK = "/tick"
"""Where a tick is posted; completions are posted to `/`."""

EVERY = 60.0
"""Seconds between two ticks."""

LARGEST = 10 * 2**20
"""Bytes of a body. Source: Pub/Sub, "Quotas and limits": a message has at most 10 MB."""

CLIENT_TIMEOUT = 10.0
"""Seconds for which a client may say nothing; so long may a stop take."""


class Server(ThreadingHTTPServer):
    """Listens as soon as it is made; a thread per request, all of which are waited for at the end."""

    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, wiring: Wiring, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConfigError: Nobody can listen there.
        """
        self.wiring = wiring
        try:
            super().__init__((host, port), _Handler)
        except OSError as exc:
            raise ConfigError(f"can't listen on {host}:{port}: {exc.strerror or exc}; choose another --port") from exc

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is no fault; what failed here was logged and answered before."""

    @property
    def address(self) -> str:
        """Where completions are posted."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"


class _Request:
    """What the wiring needs of a request."""

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
        self._take("GET", b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self._answer("The body's length is not said.", 411)
        elif len(length) > len(str(LARGEST)) or int(length) > LARGEST:
            self._answer("The body is too large.", 413)
        elif len(body := self.rfile.read(int(length))) < int(length):
            self._answer("The body is shorter than was said.", 400)
        else:
            self._take("POST", body)

    def _take(self, method: str, body: bytes) -> None:
        wiring = self.server.wiring
        take = {"/": wiring.handle_pubsub, TICK: wiring.handle_tick}.get(self.path.partition("?")[0])
        if take is None:
            self._answer("There is nothing here.", 404)
            return
        try:
            text, status = take(_Request(method, dict(self.headers.items()), body))
        except PhasegateError as error:
            text, status = f"Try again: {error}", 503  # what went wrong is in the log already
        except Exception as error:  # noqa: BLE001 (one request must not take the others with it)
            log("failed", severity="ERROR", path=self.path, error=repr(error))
            text, status = "This is a fault of phasegate; see its log.", 500
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
        """What a request led to is logged where it is known; that there was one is of no interest."""


def serve(wiring: Wiring, host: str, port: int) -> None:
    """Take completions and tick until SIGTERM or SIGINT; what has begun by then is brought to its end.

    Raises:
        ConfigError: Nobody can listen there; a setting or the pipeline file is wrong.
    """
    stop = threading.Event()
    wiring.settings.require("pipelines", "warehouse", "state", "bus")
    _ = wiring.tick, wiring.heartbeats  # what is wrong with them is said now, and not by every thread
    server = Server(wiring, host, port)
    with _stopped_by_signals(stop):
        ticking = threading.Thread(target=_tick, args=(wiring, stop), name="tick")
        listening = threading.Thread(target=server.serve_forever, name="http")
        ticking.start()
        listening.start()
        log("serving", address=server.address, pipelines=", ".join(pipeline.name for pipeline in wiring.pipelines))
        stop.wait()
        log("stopping")
        server.shutdown()
        server.server_close()  # waits for the requests that have begun
        listening.join()
        ticking.join()
    log("stopped")


def _tick(wiring: Wiring, stop: threading.Event) -> None:
    """Tick until told to stop; a tick that fails is told, and made up for by the next."""
    request = _Request("POST", {}, b"")
    while True:
        try:
            wiring.handle_tick(request)
        except PhasegateError:
            pass  # in the log already
        except Exception as error:  # noqa: BLE001 (the clock must go on)
            log("tick_failed", severity="ERROR", error=repr(error))
        if stop.wait(EVERY):
            return


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
