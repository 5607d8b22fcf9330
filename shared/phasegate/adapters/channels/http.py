"""One POST to an address that is a secret.

It uses the standard library, because that logs nothing: httpx logs every address, urllib3 those with malformed answers, and
anybody who has the address of a chat's webhook can write into the chat.
"""

import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.alerts.notice import clean
from phasegate.core.field_syntax import is_loopback
from phasegate.core.secret import Secret
from phasegate.errors import ConfigError, NotifyError

MAX_ANSWER_BYTES = 64 * 1024
"""Bytes of an answer's body that are read; the rest is ignored."""

AN_ADDRESS = "an address that begins with https:// (http:// is only for this machine)"
"""What a secret of a webhook must hold."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        headers: By lower-case name.
        body: Its beginning; empty where it did not come in time. The status alone decides.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # it may repeat the address
    body: bytes = field(default=b"", repr=False)

    @property
    def is_accepted(self) -> bool:
        """True when what was sent has arrived."""
        return 200 <= self.status < 300

    @property
    def object(self) -> Mapping[str, Any]:
        """The body as a JSON object; an empty one where it is something else."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait that the answer asks for, whether it names a number or a date."""
        header = self.headers.get("retry-after", "").strip()
        if header.isascii() and header.isdigit():
            return float(header[:9])
        try:
            until = _utc(header)
        except ValueError:
            return None
        try:
            # By the server's own clock: its date and ours may be far apart.
            since = _utc(self.headers.get("date", ""))
        except ValueError:
            since = datetime.now(UTC)
        return max((until - since).total_seconds(), 0.0)


def _utc(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def post(
    address: Secret,
    body: bytes,
    headers: Mapping[str, str],
    *,
    name: str,
    query: str = "",
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Answer:
    """Post a body once, and give the answer, whatever its status; a redirect is an answer, too, and is not followed.

    Args:
        name: What the address is called in errors.
        query: Added to the query of the address.

    Raises:
        ConfigError: It is not such an address as `is_address` wants.
        NotifyError: There was no answer.
    """
    # Errors are raised here: no error of the client is their context, and no local variable holds the address as text.
    if not is_address(address):
        raise ConfigError(f"{name} does not contain {AN_ADDRESS}")
    answer, problem, has_sent = _exchange(address, body, headers, query, timeouts)
    if answer is None:
        raise NotifyError(problem, retryable=True, maybe_sent=has_sent)
    return answer


def is_address(address: Secret) -> bool:
    """True when it is a whole https address, without spaces, control characters or a user name; http on this machine only."""
    text = address.reveal()
    try:
        parts = urlsplit(text)
        return bool(
            re.fullmatch(r"[!-~]+", text)
            and parts.hostname
            and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)))
            and parts.port != 0
            and parts.username is None
        )
    except ValueError:
        return False


def _exchange(
    address: Secret, body: bytes, headers: Mapping[str, str], query: str, timeouts: Timeouts
) -> tuple[Answer | None, str, bool]:
    """The answer, or None; why there is none; and whether the body may have arrived."""
    parts = urlsplit(address.reveal())
    target = f"{parts.path or '/'}?{'&'.join(part for part in (parts.query, query) if part)}".removesuffix("?")
    host, port, patience = parts.hostname or "", parts.port, timeouts.connect
    is_plain = parts.scheme == "http"
    connection = (
        HTTPConnection(host, port, timeout=patience)
        if is_plain
        else HTTPSConnection(host, port, timeout=patience, context=tls())
    )
    exchange = _Exchange(connection, timeouts)
    try:
        within(timeouts.whole, lambda: exchange.run(target, body, headers))
    except TimeoutError:
        problem = "no answer in time"
    except ssl.SSLCertVerificationError as exc:
        problem = f"its certificate is not trusted ({clean(exc.verify_message, 100)})"
    except ssl.SSLError:
        problem = "TLS failed"
    except ConnectionError:
        problem = "the connection was refused, or closed before the answer"
    except OSError:
        problem = "it cannot be reached"
    except HTTPException:
        problem = "its answer is not HTTP"
    else:
        problem = ""
    finally:
        # Read before the connection is closed: closing it wakes a thread that may still write an answer cut short.
        answer = exchange.answer
        exchange.end()
    return answer, problem, exchange.has_sent


class _Exchange:
    """One request, and its answer as far as it came."""

    def __init__(self, connection: HTTPConnection, timeouts: Timeouts) -> None:
        self._connection = connection
        self._timeouts = timeouts
        self.has_sent = False
        self.answer: Answer | None = None

    def run(self, target: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._connection.connect()
        self._connection.sock.settimeout(self._timeouts.silence)
        # From here on nobody can know whether the server has read the body.
        self.has_sent = True
        self._connection.request("POST", target, body, {"Content-Type": "application/json", **headers})
        response = self._connection.getresponse()
        headers_in = {name.lower(): value for name, value in response.getheaders()}
        # Before the body: a body that never ends must not hide that the notice was accepted.
        self.answer = Answer(response.status, headers_in)
        self.answer = Answer(response.status, headers_in, self._read(response))

    def _read(self, response: HTTPResponse) -> bytes:
        read, until = b"", monotonic() + self._timeouts.body
        with suppress(OSError, HTTPException):
            while (room := MAX_ANSWER_BYTES - len(read)) and monotonic() < until and (more := response.read1(room)):
                read += more
        return read

    def end(self) -> None:
        """Close the connection, and wake a thread that still reads from it."""
        if (sock := self._connection.sock) is not None:
            with suppress(OSError):
                sock.shutdown(2)
        self._connection.close()


def tls() -> ssl.SSLContext:
    """TLS that trusts the authorities of the system, or those in `SSL_CERT_FILE`."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, if it ends in time; otherwise the call goes on in a thread that nobody waits for.

    A socket's timeout counts silence only: a peer that sends a byte now and then could hold a caller for hours.

    Raises:
        TimeoutError: It did not end in time.
    """
    ended: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            ended.put((call(), None))
        except BaseException as exc:  # noqa: BLE001 - raised again in the caller's thread
            ended.put((None, exc))

    Thread(target=run, daemon=True).start()
    try:
        value, problem = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if problem is not None:
        raise problem
    return value  # type: ignore[return-value]
