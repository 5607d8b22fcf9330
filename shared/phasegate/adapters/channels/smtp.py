"""Sends mails over SMTP: with TLS, after a login, never over port 25."""

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage

from phasegate.adapters.channels.chat import secret
from phasegate.adapters.channels.http import tls, within
from phasegate.adapters.channels.mail import render, written
from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.alerts.notice import Notice, clean
from phasegate.core.pipeline.model import Mail
from phasegate.core.secret import Secret
from phasegate.errors import NotifyError
from phasegate.logs import log
from phasegate.ports import Receipt, Secrets

TLS_FROM_THE_FIRST_BYTE = 465


class Mailer:
    """Sends notices as mails.

    Args:
        from_the_first_byte: Whether TLS begins at once, or by STARTTLS; as is usual for the server's port, when None.
    """

    def __init__(
        self,
        server: Mail,
        *,
        to: Sequence[str],
        secrets: Secrets,
        patience: Timeouts = DEFAULT_TIMEOUTS,
        from_the_first_byte: bool | None = None,
    ) -> None:
        self._server = server
        self._to = tuple(to)
        self._secrets = secrets
        self._patience = patience
        usual = server.port == TLS_FROM_THE_FIRST_BYTE
        self._from_the_first_byte = usual if from_the_first_byte is None else from_the_first_byte

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        mail = render(notice, sender=self._server.from_, to=self._to)
        password = secret(self._secrets, self._server.password)
        problem = self._send(mail, password)
        if problem is not None and problem.status in _REPLACED:
            newer = secret(self._secrets, self._server.password, fresh=True)
            problem = self._send(mail, newer) if newer != password else problem
        if problem is not None:
            raise problem
        return Receipt(250, str(mail["Message-ID"]))

    def _send(self, mail: EmailMessage, password: Secret) -> NotifyError | None:
        """Send a mail, or say why not; an error is given back, not raised, so that none of the client's is its context."""
        talk = _SmtpSession(self._server, password, self._patience, from_the_first_byte=self._from_the_first_byte)
        try:
            within(self._patience.whole, lambda: talk.run(self._server.from_, self._to, written(mail)))
        except smtplib.SMTPNotSupportedError:
            return NotifyError("the server offers no TLS or no login; nothing was sent to it", retryable=False)
        except smtplib.SMTPResponseException as exc:
            said = exc.smtp_error.decode(errors="replace") if isinstance(exc.smtp_error, bytes) else str(exc.smtp_error)
            told = clean(password.redact(said), 160)
            # A wrong password is answered by 535; while it is looked up in vain, by a 4xx.
            return NotifyError(
                f'answered {exc.smtp_code} {talk.stage}: "{told}"', retryable=exc.smtp_code < 500, status=exc.smtp_code
            )
        except ssl.SSLCertVerificationError as exc:
            problem = f"its certificate is not trusted ({clean(exc.verify_message, 100)})"
        except ssl.SSLError:
            problem = "no TLS with it"
        except TimeoutError:
            problem = "no answer in time"
        except (OSError, smtplib.SMTPException):
            problem = "it can't be reached, or the connection ended"
        except UnicodeError:
            return NotifyError("its user name or password holds signs that a login can't carry", retryable=False)
        else:
            return None
        finally:
            talk.end()
        return NotifyError(f"{problem} {talk.stage}", retryable=True, maybe_sent=talk.has_sent)


_REPLACED = frozenset({534, 535})
"""Answers to a password that is not the right one."""


class _SmtpSession:
    """One connection to a server, and how far it came."""

    def __init__(self, server: Mail, password: Secret, patience: Timeouts, *, from_the_first_byte: bool) -> None:
        self._server = server
        self._password = password
        self._patience = patience
        self._from_the_first_byte = from_the_first_byte
        self._smtp: smtplib.SMTP | None = None
        self.stage = "to the connection"
        self.has_sent = False

    def run(self, sender: str, to: Sequence[str], mail: bytes) -> None:
        # Its own name is given, because to look one up may take long.
        me, patience = "[127.0.0.1]", self._patience.connect
        if self._from_the_first_byte:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self._server.host, self._server.port, local_hostname=me, timeout=patience, context=tls()
            )
        else:
            smtp = smtplib.SMTP(self._server.host, self._server.port, local_hostname=me, timeout=patience)
        self._smtp = smtp
        if smtp.sock is not None:
            smtp.sock.settimeout(self._patience.silence)
        if not self._from_the_first_byte:
            self.stage = "to STARTTLS"
            smtp.starttls(context=tls())
        self.stage = "to the login"
        smtp.login(self._server.user, self._password.reveal())
        self.stage = "to the sender"
        _agreed(smtp.mail(sender))
        self.stage = "to the recipients"
        answers = {address: smtp.rcpt(address) for address in to}
        refused = {address: answer for address, answer in answers.items() if answer[0] not in (250, 251)}
        if len(refused) == len(to):
            _agreed(min(refused.values()))  # one that may be taken later, if there is one
        self.stage = "to the mail itself"
        self.has_sent = True
        _agreed(smtp.data(mail))
        for address, (code, _) in refused.items():
            log("recipient_refused", severity="WARNING", address=address, status=code)

    def end(self) -> None:
        """Close the connection, and wake whoever still reads from it."""
        if self._smtp is None or self._smtp.sock is None:
            return
        with suppress(OSError, smtplib.SMTPException):
            if self._smtp.sock is not None:
                self._smtp.sock.shutdown(2)
            self._smtp.close()


def _agreed(answer: tuple[int, bytes]) -> None:
    code, said = answer
    if code not in (250, 251):
        raise smtplib.SMTPResponseException(code, said)
