"""Mails to a real server with TLS and a login."""

import re
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest
import trustme
from phasegate.adapters.channels.smtp import Mailer
from phasegate.core.alerts.notice import short_hash
from phasegate.core.pipeline.model import Mail
from phasegate.errors import NotifyError

from tests.adapters.channels.conftest import SHORT_TIMEOUTS, Store, notice
from tests.canaries import canary, holds
from tests.receivers import USER, Mailbox, mail_server, relay, silent_server

TO = ("data@example.com", "on-call@example.com")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    assert not made.problems


@pytest.fixture(params=[True, False], ids=["tls", "starttls"])
def port(request: pytest.FixtureRequest, trusted: trustme.CA, mailbox: Mailbox) -> Iterator[int]:
    with mail_server(trusted, mailbox, implicit_tls=request.param) as port:
        yield port


def mailer(port: int, store: Store, *, implicit_tls: bool, host: str = "localhost") -> Mailer:
    server = Mail(host=host, port=port, user=USER, password="secret://smtp", from_="gates@example.com")  # noqa: S106
    return Mailer(server, to=TO, secrets=store.secrets, timeouts=SHORT_TIMEOUTS, implicit_tls=implicit_tls)


@pytest.fixture
def mails(request: pytest.FixtureRequest, port: int, store: Store) -> Mailer:
    return mailer(port, store, implicit_tls="starttls" not in request.node.name)


def error_of(made: Mailer) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        made.notify(notice())
    assert not holds("".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()))
    assert caught.value.__context__ is None
    return caught.value


def test_a_mail_arrives_with_both_parts(mails: Mailer, mailbox: Mailbox) -> None:
    receipt = mails.notify(notice())
    (mail,) = mailbox.mails
    assert mailbox.recipients == [list(TO)]
    assert (receipt.status, receipt.message_id) == (250, mail["Message-ID"])
    assert mail["Subject"] == "CRITICAL: [shop] raw of 2026-03-02: held"
    assert mail["From"] == "phasegate <gates@example.com>"
    assert mail["To"] == ", ".join(TO)
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert "table raw.orders has 3 rows" in part.get_content()
        assert "phasegate explain raw 2026-03-02 --pipeline shop" in part.get_content()
    assert all(len(line) < 1000 for line in mailbox.raw[0].splitlines())


def test_a_repeat_has_the_same_message_id_and_an_incident_one_thread(mails: Mailer, mailbox: Mailbox) -> None:
    mails.notify(notice())
    mails.notify(notice(possible_duplicate=True))
    mails.notify(notice(key="another"))
    first, repeat, later = mailbox.mails
    assert first["Message-ID"] == repeat["Message-ID"] == f"<{short_hash(notice().key)}@example.com>" != later["Message-ID"]
    assert first["References"] == later["References"] == f"<{short_hash(notice().thread)}@example.com>"
    assert "This may be a repeat" in repeat.get_body(("plain",)).get_content()


def test_a_wrong_password_is_not_retryable_and_not_shown(mails: Mailer, mailbox: Mailbox) -> None:
    mailbox.password = "another"  # noqa: S105
    error = error_of(mails)
    assert (error.retryable, error.status) == (False, 535)
    assert "no such password: <secret>" in str(error)


def test_a_replaced_password_is_read_again(mails: Mailer, mailbox: Mailbox, store: Store) -> None:
    mails.notify(notice())
    mailbox.password = store.values["smtp"] = canary("smtp-newer")
    mails.notify(notice())
    assert len(mailbox.mails) == 2
    assert list(dict.fromkeys(mailbox.passwords)) == [canary("smtp"), canary("smtp-newer")]


@pytest.mark.parametrize(
    ("answer", "again"), [("451 try later", True), ("421 shutting down", True), ("552 too big", False), ("554 spam", False)]
)
def test_the_answer_to_the_mail_decides_whether_to_retry(mails: Mailer, mailbox: Mailbox, answer: str, again: bool) -> None:
    mailbox.answers = [answer]
    error = error_of(mails)
    assert (error.retryable, error.status, error.maybe_sent) == (again, int(answer[:3]), False)


def test_only_a_refusal_of_all_recipients_is_an_error(
    mails: Mailer, mailbox: Mailbox, capsys: pytest.CaptureFixture[str]
) -> None:
    mailbox.refused = {TO[0]: "550 unknown"}
    mails.notify(notice())
    assert mailbox.recipients == [[TO[1]]]
    assert '"event": "recipient_refused", ' in capsys.readouterr().out
    mailbox.refused[TO[1]] = "450 mailbox busy"
    error = error_of(mails)
    assert (error.retryable, error.status) == (True, 450), "one of them may take it later"
    mailbox.refused[TO[1]] = "550 unknown"
    assert not error_of(mails).retryable


def test_a_server_that_hangs_after_the_mail_may_have_accepted_it(mails: Mailer, mailbox: Mailbox) -> None:
    mailbox.hang = 3
    began = monotonic()
    error = error_of(mails)
    assert (error.retryable, error.status, error.maybe_sent) == (True, None, True)
    assert monotonic() - began < SHORT_TIMEOUTS.whole + 2


@pytest.mark.parametrize("implicit_tls", [True, False])
def test_a_silent_server_times_out(store: Store, implicit_tls: bool) -> None:
    with silent_server() as port:
        error = error_of(mailer(port, store, implicit_tls=implicit_tls))
    assert (error.retryable, error.maybe_sent) == (True, False)


def test_an_unreachable_server_is_retryable(store: Store) -> None:
    with silent_server() as port:
        pass
    error = error_of(mailer(port, store, implicit_tls=True))
    assert (error.retryable, error.status, error.maybe_sent) == (True, None, False)


def test_nothing_is_sent_to_a_server_with_an_untrusted_certificate(
    mails: Mailer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = error_of(mails)
    assert error.retryable
    assert "certificate is not trusted" in str(error)
    assert mailbox.passwords == []


def test_no_password_goes_to_a_server_without_tls(store: Store, mailbox: Mailbox) -> None:
    from aiosmtpd.controller import Controller

    from tests.serving import free_port

    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        error = error_of(mailer(controller.port, store, implicit_tls=False))
    finally:
        controller.stop()
    assert not error.retryable
    assert "offers no TLS" in str(error)
    assert mailbox.mails == []


def test_a_long_subject_is_not_folded(mails: Mailer, mailbox: Mailbox) -> None:
    long = "[flights] features of 2013-02-09: held: ran before its upstream, " + "x" * 100
    mails.notify(notice(subject=long))
    assert mailbox.mails[0]["Subject"] == f"CRITICAL: {long}"
    assert f"Subject: CRITICAL: {long}\r\n".encode() in mailbox.raw[0]


@contextmanager
def scripted_server(*answers: str) -> Iterator[tuple[int, list[str]]]:
    """The port of a server without TLS that greets, then answers each line as scripted and hangs up; and the lines it got."""
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.write(b"220 ready\r\n")
                stream.flush()
                for answer in answers:
                    lines.append(stream.readline().decode().strip())
                    stream.write(answer.encode() + b"\r\n")
                    stream.flush()

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield listening.getsockname()[1], lines
        thread.join(5)


@pytest.mark.parametrize(
    ("answer", "again"),
    [("421 go away, [127.0.0.1]", True), ("504 need a full name", False), ("550 no", False), ("450 4.7.1 greylisted", True)],
)
def test_a_refused_greeting_is_told_in_the_words_of_the_server(store: Store, answer: str, again: bool) -> None:
    with scripted_server(answer) as (port, lines):
        error = error_of(mailer(port, store, implicit_tls=False))
    assert lines == ["ehlo example.com"]
    assert str(error) == f'answered {answer[:3]} to the EHLO: "{answer[4:]}"'
    assert (error.status, error.retryable, error.maybe_sent) == (int(answer[:3]), again, False)


@pytest.mark.parametrize(
    ("ways", "problem"),
    [
        ("AUTH XOAUTH2", "no login with a password, only XOAUTH2"),
        ("AUTH OAUTHBEARER XOAUTH2", "no login with a password, only OAUTHBEARER, XOAUTH2"),
        ("8BITMIME", "no login with a password"),
    ],
)
def test_a_server_that_takes_no_password_is_no_server_that_is_down(
    trusted: trustme.CA, store: Store, ways: str, problem: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            with context.wrap_socket(connection, server_side=True) as secured, secured.makefile("rwb") as stream:
                stream.write(b"220 ready\r\n")
                stream.flush()
                stream.readline()
                stream.write(f"250-mail.example.com\r\n250 {ways}\r\n".encode())
                stream.flush()
                stream.readline()

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        error = error_of(mailer(listening.getsockname()[1], store, implicit_tls=True))
        thread.join(5)
    assert not error.retryable
    assert str(error) == f"the server offers {problem}; nothing was sent to it"


@pytest.mark.parametrize("text", ["Bestellungen für " + "Köln, " * 30, "売上" * 60, "a" * 90 + "é", "🙂" * 40])
def test_encoded_words_have_75_characters_at_most(mails: Mailer, mailbox: Mailbox, text: str) -> None:
    mails.notify(notice(subject=text))
    assert str(mailbox.mails[0]["Subject"]) == f"CRITICAL: {text.strip()}"
    head = mailbox.raw[0].partition(b"\r\n\r\n")[0]
    words = re.findall(rb"=\?\S+\?=", head)
    assert words
    assert all(len(word) <= 75 for word in words)
    assert all(len(line) <= 78 for line in head.splitlines() if b"=?" in line)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_relay_on_this_machine_needs_neither_tls_nor_a_login(host: str, mailbox: Mailbox, store: Store) -> None:
    with relay(mailbox) as port:
        server = Mail(host=host, port=port, from_="gates@example.com", hello="gates.example.com")
        assert Mailer(server, to=TO, secrets=store.secrets, timeouts=SHORT_TIMEOUTS).notify(notice()).status == 250
    assert mailbox.recipients == [list(TO)]
    assert mailbox.greetings == ["gates.example.com"]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"host": "smtp.example.com"}, "a user name in user"),
        ({"host": "10.0.0.1"}, "a user name in user"),
        ({"host": "localhost.example.com"}, "a user name in user"),
        ({"host": "smtp.example.com", "user": "gates"}, "a password like secret://smtp-password"),
        ({"host": "localhost", "user": "gates"}, "a password like secret://smtp-password"),
        ({"host": "localhost", "password": "secret://smtp"}, "a user name in user"),
    ],
)
def test_every_other_server_needs_a_login(given: dict[str, str], missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        Mail(**given, from_="gates@example.com")  # type: ignore[arg-type]
