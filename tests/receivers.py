"""Real servers that notifiers send to: HTTPS that answers like each chat, and SMTP with TLS and a login."""

import asyncio
import json
import logging
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from jsonschema import Draft202012Validator

from tests.canaries import canary, holds
from tests.serving import free_port

USER = "phasegate"


@dataclass(frozen=True)
class Reply:
    """How a request is answered.

    Args:
        act: `answer`, `hang` (no answer), `reset` (the connection is reset), `slow_body` and `slow_head` (a byte now and then,
            for ever).
    """

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    act: str = "answer"


@dataclass(frozen=True)
class Posted:
    """A request that was received.

    Args:
        accepted: Whether the answer says so.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    accepted: bool = True

    @property
    def object(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """An HTTPS server that answers as configured, and remembers what was posted.

    Args:
        usual: Its answer when no other is configured.
        schema: Bodies that do not follow it are refused, as by the real server.
        refusal: How it refuses them.
    """

    def __init__(
        self, authority: trustme.CA, *, usual: Reply, schema: Mapping[str, Any] | None = None, refusal: Reply = Reply(400)
    ) -> None:
        self.answers: list[Reply] = []
        self.posted: list[Posted] = []
        self.problems: list[str] = []
        self.path = canary("hook")
        self.usual = usual
        self.refusal = refusal
        self._validator = Draft202012Validator(schema) if schema else None
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        # The handshake happens with the first read, in the thread of the connection, so that it blocks no other.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens; a secret."""
        return f"https://localhost:{self.port}/services/{self.path}?key={canary('key')}"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if holds(body) or any(holds(value) for value in request.headers.values()):
            self.problems.append("a body or header holds a secret")
        reply = self.answers.pop(0) if self.answers else self.usual
        if self.path not in request.path:
            reply = Reply(404, b"no_service")
        elif reply.status < 300 and self._validator:
            problems = [f"{error.json_path}: {error.message[:300]}" for error in self._validator.iter_errors(json.loads(body))]
            self.problems += problems
            reply = self.refusal if problems else reply
        accepted = reply.status < 300 and reply.act in ("answer", "slow_body")
        self.posted.append(Posted(request.path, dict(request.headers.items()), body, accepted))
        with suppress(OSError):
            self._act(request, reply)

    def _act(self, request: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.act == "hang":
            self._over.wait(20)
            return
        if reply.act == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close_connection = True
            socket.socket.shutdown(request.connection, socket.SHUT_RD)
            socket.socket.close(request.connection)
            return
        if reply.act == "slow_head":
            for byte in b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 10_000:
                request.wfile.write(bytes([byte]))
                if self._over.wait(0.1):
                    return
        request.send_response(reply.status)
        for name, value in reply.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(reply.body) if reply.act == "answer" else 100_000))
        request.end_headers()
        if reply.act == "answer":
            request.wfile.write(reply.body)
            return
        while not self._over.wait(0.1):
            request.wfile.write(b"x")


class Mailbox:
    """What an SMTP server accepted, and how it answers."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.passwords: list[str] = []
        self.greetings: list[str] = []
        self.problems: list[str] = []
        self.password = canary("smtp")
        self.refused: dict[str, str] = {}
        self.answers: list[str] = []
        self.hang = 0.0

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.greetings.append(hostname)
        session.host_name = hostname
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await asyncio.sleep(self.hang)
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        if holds(envelope.content):
            self.problems.append("a mail holds a secret")
        self.raw.append(envelope.content)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"

    def check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.passwords.append(data.password.decode())
        good = data.login == USER.encode() and data.password == self.password.encode()
        # Some servers repeat the password.
        return AuthResult(
            success=good, handled=False, message=None if good else f"535 no such password: {data.password.decode()}"
        )


@contextmanager
def mail_server(authority: trustme.CA, mailbox: Mailbox, *, implicit_tls: bool) -> Iterator[int]:
    """The port of an SMTP server that requires TLS and a login."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    port = free_port()
    tls: Mapping[str, Any] = {"ssl_context": context} if implicit_tls else {"tls_context": context, "require_starttls": True}
    logging.getLogger("mail.log").disabled = True  # the server's own log, which holds passwords
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # aiosmtpd warns of a login without STARTTLS, even under implicit TLS
        controller = Controller(
            mailbox,
            hostname="127.0.0.1",
            port=port,
            authenticator=mailbox.check,
            auth_required=True,
            auth_require_tls=not implicit_tls,
            **tls,
        )
        controller.start()
        try:
            yield port
        finally:
            controller.stop()


@contextmanager
def relay(mailbox: Mailbox) -> Iterator[int]:
    """The port of an SMTP server without TLS and without a login, as it runs on many machines."""
    port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []
        over = threading.Event()

        def take() -> None:
            with suppress(OSError):
                while not over.is_set():
                    held.append(listening.accept()[0])

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            with suppress(OSError):
                socket.create_connection(listening.getsockname(), timeout=1).close()
            thread.join(2)
            for each in held:
                each.close()
