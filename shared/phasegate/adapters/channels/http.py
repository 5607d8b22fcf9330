"""One POST to an address that is a secret.

Over the standard library, because it logs nothing: httpx writes every address into the log, urllib3 those whose answers are
malformed, and whoever has the address of a chat's webhook may write into the chat.
"""

import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.alerts.notice import clean
from phasegate.core.secret import Secret
from phasegate.errors import ConfigError, NotifyError

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body that are read."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        headers: By lower-case name.
        body: Its beginning; empty where it did not come in time. Whoever sees the status knows enough.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # it may repeat the address
    body: bytes = field(default=b"", repr=False)

    @property
    def is_taken(self) -> bool:
        """True when what was sent has arrived."""
        return 200 <= self.status < 300

    @property
    def object(self) -> Mapping[str, Any]:
        """The body as a JSON object; an empty one where it is something else."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait that the answer asks for, whether it names them or a date."""
        said = self.headers.get("retry-after", "").strip()
        if said.isascii() and said.isdigit():
            return float(said[:9])
        try:
            until = _utc(said)
        except ValueError:
            return None
        try:
            since = _utc(self.headers.get("date", ""))  # by its own clock, which may be wrong
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
    told: str,
    query: str = "",
    patience: Timeouts = DEFAULT_TIMEOUTS,
) -> Answer:
    """Post a body, once, and give the answer, whatever it says; a redirect is an answer, too, and is not followed.

    Args:
        told: What the address is called in errors.
        query: Added to that of the address.

    Raises:
        ConfigError: The address is none.
        NotifyError: No answer came.
    """
    # Errors are raised here, where no client's error is their context and no variable holds the address.
    if not is_address(address):
        raise ConfigError(f"{told} holds no address that begins with https://")
    answer, problem, has_sent = _exchange(address, body, headers, query, patience)
    if answer is None:
        raise NotifyError(problem, retryable=True, maybe_sent=has_sent)
    return answer


def is_address(address: Secret) -> bool:
    """True when it is a whole https address, of signs that may stand in one."""
    text = address.reveal()
    try:
        parts = urlsplit(text)
        return bool(
            re.fullmatch(r"[!-~]+", text)
            and parts.scheme == "https"
            and parts.hostname
            and parts.port != 0
            and parts.username is None
        )
    except ValueError:
        return False


def _exchange(
    address: Secret, body: bytes, headers: Mapping[str, str], query: str, patience: Timeouts
) -> tuple[Answer | None, str, bool]:
    """The answer; without one, why, and whether the body may have arrived."""
    parts = urlsplit(address.reveal())
    target = f"{parts.path or '/'}?{'&'.join(part for part in (parts.query, query) if part)}".removesuffix("?")
    exchange = _Exchange(HTTPSConnection(parts.hostname or "", parts.port, timeout=patience.connect, context=tls()), patience)
    try:
        within(patience.whole, lambda: exchange.run(target, body, headers))
    except TimeoutError:
        problem = "no answer in time"
    except ssl.SSLCertVerificationError as exc:
        problem = f"its certificate is not trusted ({clean(exc.verify_message, 100)})"
    except ssl.SSLError:
        problem = "no TLS with it"
    except ConnectionError:
        problem = "the connection was refused or ended before the answer"
    except OSError:
        problem = "it can't be reached"
    except HTTPException:
        problem = "its answer is no HTTP"
    else:
        problem = ""
    finally:
        answer = exchange.answer  # what comes to light when the connection is torn down is no answer any more
        exchange.end()
    return answer, problem, exchange.has_sent


class _Exchange:
    """One request and its answer, as far as it came."""

    def __init__(self, connection: HTTPSConnection, patience: Timeouts) -> None:
        self._connection = connection
        self._patience = patience
        self.has_sent = False
        self.answer: Answer | None = None

    def run(self, target: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._connection.connect()
        self._connection.sock.settimeout(self._patience.silence)
        self.has_sent = True
        self._connection.request("POST", target, body, {"Content-Type": "application/json", **headers})
        response = self._connection.getresponse()
        known = {name.lower(): value for name, value in response.getheaders()}
        self.answer = Answer(response.status, known)
        self.answer = Answer(response.status, known, self._read(response))

    def _read(self, response: HTTPResponse) -> bytes:
        read, until = b"", monotonic() + self._patience.body
        with suppress(OSError, HTTPException):
            while len(read) < LONGEST_ANSWER and monotonic() < until and (more := response.read1(LONGEST_ANSWER - len(read))):
                read += more
        return read

    def end(self) -> None:
        """Close the connection, and wake whoever still reads from it."""
        if (sock := self._connection.sock) is not None:
            with suppress(OSError):
                sock.shutdown(2)
        self._connection.close()


def tls() -> ssl.SSLContext:
    """TLS that trusts whom the system trusts (`SSL_CERT_FILE` names others)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives, if it ends in time; otherwise it goes on in a thread of its own, for which nobody waits.

    Time limits of sockets count silence only: a peer that sends a byte now and then holds a caller for hours.

    Raises:
        TimeoutError: It has not ended.
    """
    ended: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            ended.put((call(), None))
        except BaseException as exc:  # noqa: BLE001 - it is raised where the caller waits
            ended.put((None, exc))

    Thread(target=run, daemon=True).start()
    try:
        value, problem = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if problem is not None:
        raise problem
    return value  # type: ignore[return-value]
