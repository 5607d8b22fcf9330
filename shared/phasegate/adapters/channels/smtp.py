"""Mails over SMTP: with TLS and after a login, except to a relay on this machine."""

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage

from phasegate.adapters.channels.chat import read_secret
from phasegate.adapters.channels.http import tls, within
from phasegate.adapters.channels.mail import as_sent, render
from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.alerts.notice import Notice, clean
from phasegate.core.pipeline.model import Mail
from phasegate.core.secret import Secret
from phasegate.errors import NotifyError
from phasegate.logs import log
from phasegate.ports import Receipt, Secrets

IMPLICIT_TLS_PORT = 465
"""The port on which TLS starts with the first byte; on any other port STARTTLS comes first. Source: RFC 8314."""


class Mailer:
    """Sends notices as mails.

    Args:
        implicit_tls: True for TLS from the first byte, False for STARTTLS; by the server's port, when None.
    """

    def __init__(
        self,
        server: Mail,
        *,
        to: Sequence[str],
        secrets: Secrets,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        implicit_tls: bool | None = None,
    ) -> None:
        self._server = server
        self._to = tuple(to)
        self._secrets = secrets
        self._timeouts = timeouts
        is_tls_port = server.port == IMPLICIT_TLS_PORT and not server.is_plain
        self._implicit_tls = is_tls_port if implicit_tls is None else implicit_tls

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        mail = render(notice, sender=self._server.from_, to=self._to)
        reference = self._server.password
        password = None if reference is None else read_secret(self._secrets, reference)
        problem = self._send(mail, password)
        if reference is not None and problem is not None and problem.status in _LOGIN_REFUSED:
            # Only with another password: repeated wrong logins lock accounts.
            newer = read_secret(self._secrets, reference, fresh=True)
            problem = self._send(mail, newer) if newer != password else problem
        if problem is not None:
            raise problem
        return Receipt(250, str(mail["Message-ID"]))

    def _send(self, mail: EmailMessage, password: Secret | None) -> NotifyError | None:
        """Send a mail; the error if that failed. It is returned, not raised, so that no error of the client is its context."""
        session = _SmtpSession(self._server, password, self._timeouts, implicit_tls=self._implicit_tls)
        try:
            within(self._timeouts.whole, lambda: session.run(self._server.from_, self._to, as_sent(mail)))
        except smtplib.SMTPNotSupportedError as exc:
            return NotifyError(f"the server offers {exc}; nothing was sent to it", retryable=False)
        except smtplib.SMTPResponseException as exc:
            answer = exc.smtp_error.decode(errors="replace") if isinstance(exc.smtp_error, bytes) else str(exc.smtp_error)
            quote = clean(password.redact(answer) if password else answer, 160)  # some servers repeat the password
            # 535 is a wrong password; a 4xx at the login only says that the password could not be checked now.
            return NotifyError(
                f'answered {exc.smtp_code} to the {session.stage}: "{quote}"',
                retryable=exc.smtp_code < 500,
                status=exc.smtp_code,
            )
        except ssl.SSLCertVerificationError as exc:
            problem = f"its certificate is not trusted ({clean(exc.verify_message, 100)})"
        except ssl.SSLError:
            problem = "TLS failed"
        except TimeoutError:
            problem = "no answer in time"
        except (OSError, smtplib.SMTPException):
            problem = "it cannot be reached, or closed the connection"
        except UnicodeError:
            return NotifyError("the user name or password has characters that a login cannot carry", retryable=False)
        else:
            return None
        finally:
            session.end()
        return NotifyError(f"{problem} (at the {session.stage})", retryable=True, maybe_sent=session.has_sent)


_LOGINS = frozenset({"CRAM-MD5", "LOGIN", "PLAIN"})
"""Ways to log in with a password, as servers name them."""

_LOGIN_REFUSED = frozenset({534, 535})
"""Answers to a wrong password."""


class _SmtpSession:
    """One connection to a server, and how far it got."""

    def __init__(self, server: Mail, password: Secret | None, timeouts: Timeouts, *, implicit_tls: bool) -> None:
        self._server = server
        self._password = password
        self._timeouts = timeouts
        self._implicit_tls = implicit_tls
        self._smtp: smtplib.SMTP | None = None
        self.stage = "connection"
        self.has_sent = False

    def run(self, sender: str, to: Sequence[str], mail: bytes) -> None:
        # smtplib would look up this machine's name, which can take longer than everything else. Relays refuse a bare address.
        own_name, timeout = self._server.hello or sender.rpartition("@")[2], self._timeouts.connect
        if self._implicit_tls:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self._server.host, self._server.port, local_hostname=own_name, timeout=timeout, context=tls()
            )
        else:
            smtp = smtplib.SMTP(self._server.host, self._server.port, local_hostname=own_name, timeout=timeout)
        self._smtp = smtp
        if smtp.sock is not None:
            smtp.sock.settimeout(self._timeouts.silence)
        self._greet(smtp)
        if self._password is not None:
            self._log_in(smtp, self._password)
        self.stage = "sender"
        _check(smtp.mail(sender))
        self.stage = "recipients"
        answers = {address: smtp.rcpt(address) for address in to}
        refused = {address: answer for address, answer in answers.items() if answer[0] not in (250, 251)}
        if len(refused) == len(to):
            _check(min(refused.values()))  # a 4xx, if there is one: then a retry makes sense
        self.stage = "mail itself"
        # From here on the server may have accepted the mail, even if its answer never comes.
        self.has_sent = True
        _check(smtp.data(mail))
        for address, (code, _) in refused.items():
            log("recipient_refused", severity="WARNING", address=address, status=code)

    def _log_in(self, smtp: smtplib.SMTP, password: Secret) -> None:
        if not self._implicit_tls:
            self.stage = "STARTTLS"
            if not smtp.has_extn("starttls"):
                raise smtplib.SMTPNotSupportedError("no TLS")
            smtp.starttls(context=tls())
            self._greet(smtp)
        self.stage = "login"
        ways = smtp.esmtp_features.get("auth", "").upper().split()
        if not _LOGINS.intersection(ways):
            only = f", only {', '.join(clean(way, 30) for way in ways)}" if ways else ""
            raise smtplib.SMTPNotSupportedError(f"no login with a password{only}")
        smtp.login(self._server.user, password.reveal())

    def _greet(self, smtp: smtplib.SMTP) -> None:
        # Not left to smtplib: it follows a refused EHLO with HELO, and loses the server's words.
        self.stage = "EHLO"
        code, text = smtp.ehlo()
        if code != 250:
            raise smtplib.SMTPResponseException(code, text)

    def end(self) -> None:
        """Close the connection, and wake a thread that still reads from it."""
        if self._smtp is None or self._smtp.sock is None:
            return
        with suppress(OSError, smtplib.SMTPException):
            if self._smtp.sock is not None:
                self._smtp.sock.shutdown(2)
            self._smtp.close()


def _check(answer: tuple[int, bytes]) -> None:
    code, text = answer
    if code not in (250, 251):
        raise smtplib.SMTPResponseException(code, text)
