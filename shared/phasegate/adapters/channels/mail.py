"""Notices as mails: HTML, and the same as plain text."""

import re
from collections.abc import Iterator, Sequence
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from html import escape
from pathlib import Path

from phasegate.core.alerts.notice import (
    REPEAT,
    Block,
    Commands,
    Facts,
    Links,
    Listing,
    Notice,
    Paragraph,
    Tone,
    fit,
    plain,
    short_hash,
)
from phasegate.errors import NotifyError
from phasegate.ports import Receipt

BUDGET = 90_000
"""Bytes of the HTML. Source: Gmail clips a mail after 102 KB."""


def render(notice: Notice, *, sender: str, to: Sequence[str]) -> EmailMessage:
    """The notice as a mail. A repeat has the same Message-ID; the notices of an incident form one thread."""
    domain = sender.rpartition("@")[2]
    thread = f"<{short_hash(notice.thread)}@{domain}>"
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = subject(notice)
    mail["From"] = formataddr(("phasegate", sender))
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(notice.at)
    mail["Message-ID"] = f"<{short_hash(notice.key)}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"  # so that no out-of-office reply answers it
    mail["X-Phasegate-Key"] = short_hash(notice.key)
    if notice.tone is Tone.CRITICAL:
        mail["Importance"] = "high"
    mail.set_content(fit(notice, plain, len, BUDGET), cte="quoted-printable")
    mail.add_alternative(fit(notice, html, lambda page: len(page.encode()), BUDGET), subtype="html", cte="quoted-printable")
    mail.set_boundary(f"part-{short_hash(notice.key)}")  # a random one would make each repeat another mail
    return mail


def as_sent(mail: EmailMessage) -> bytes:
    """The mail as it is sent."""
    # The usual limit of 78 characters would fold a long subject and put a space into it; RFC 5322 allows 998.
    raw = mail.as_bytes(policy=mail.policy.clone(max_line_length=998))
    text = str(mail["Subject"])
    if text.isascii():
        return raw
    # An encoded word has at most 75 characters, and the line breaks between two of them are no part of the text. RFC 2047.
    words = Header(text, "utf-8", header_name="Subject", maxlinelen=75).encode(linesep="\r\n")
    return re.sub(rb"(?m)^Subject:.*\r\n([ \t].*\r\n)*", lambda _: f"Subject: {words}\r\n".encode(), raw, count=1)


def subject(notice: Notice) -> str:
    """The subject line."""
    return f"{notice.tone.upper()}: {notice.subject}"


_COLOURS = {Tone.CRITICAL: "#b3261e", Tone.WARNING: "#9a5b00", Tone.INFO: "#1a5fb4", Tone.RECOVERED: "#1b7340"}
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
_BUTTON = "display:inline-block;margin:0 8px 8px 0;padding:8px 14px;background:#1a5fb4;color:#fff;text-decoration:none"
_BOX = "margin:0;padding:10px 12px;background:#f1f3f4"


def html(notice: Notice) -> str:
    """The notice as a page; each element has its own style, because mail programs drop style sheets."""
    body = "\n".join(part for block in notice.blocks for part in _block(block))
    lead = f'<p style="margin:0 0 16px;font-size:17px">{escape(notice.lead)}</p>' if notice.lead else ""
    repeat = f'<p style="margin:16px 0 0;color:#5f6368"><i>{escape(REPEAT)}</i></p>' if notice.possible_duplicate else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light"><title>{escape(subject(notice))}</title></head>
<body style="margin:0;background:#f1f3f4;color:#202124;{_FONT};font-size:15px;line-height:1.5">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center" style="padding:16px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:680px;background:#ffffff">
<tr><td style="background:{_COLOURS[notice.tone]};color:#ffffff;padding:14px 24px">
<div style="font-size:13px;font-weight:bold;letter-spacing:1px">{notice.tone.upper()}</div>
<div style="font-size:19px;font-weight:bold;overflow-wrap:anywhere">{escape(notice.subject)}</div></td></tr>
<tr><td style="padding:20px 24px;overflow-wrap:anywhere">
{lead}
{body}
{repeat}
</td></tr></table>
</td></tr></table>
</body></html>
"""


_TITLE = '<p style="margin:16px 0 4px;font-weight:bold">'


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield f'<p style="margin:16px 0 0;color:#5f6368;font-size:13px">{escape(text)}</p>'
        case Facts(pairs):
            yield '<table cellpadding="0" cellspacing="0" style="width:100%;border-collapse:collapse">'
            for name, value in pairs:
                yield (
                    f'<tr><th scope="row" style="width:130px;padding:5px 12px 5px 0;text-align:left;vertical-align:top;'
                    f'color:#5f6368;font-weight:normal">{escape(name)}</th>'
                    f'<td style="padding:5px 0;vertical-align:top">{escape(value)}</td></tr>'
                )
            yield "</table>"
        case Listing(title, items):
            yield f"{_TITLE}{escape(title)}</p>"
            yield '<ul style="margin:0;padding-left:20px">'
            yield from (f"<li>{escape(item)}</li>" for item in items)
            yield "</ul>"
        case Commands(title, lines):
            yield f"{_TITLE}{escape(title)}</p>"
            style = f"{_MONO};{_BOX};font-size:13px;white-space:pre-wrap;overflow-wrap:anywhere"
            shown = "\n".join(escape(line) for line in lines)
            yield f'<pre style="{style}">{shown}</pre>'
        case Links(links):
            yield '<p style="margin:16px 0 0">'
            yield from (f'<a href="{escape(link.address)}" style="{_BUTTON}">{escape(link.label)}</a>' for link in links)
            yield "</p>"


class MailFolder:
    """Writes notices as `.eml` files, one per notice; a repeat overwrites its file."""

    def __init__(self, folder: Path, *, to: Sequence[str], sender: str = "phasegate@localhost") -> None:
        self._folder = folder
        self._to = to
        self._sender = sender

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        mail = render(notice, sender=self._sender, to=self._to)
        readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in notice.key)
        name = f"{readable[:100]}-{short_hash(notice.key)[:8]}.eml"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(as_sent(mail))
        except OSError as exc:
            raise NotifyError(f"cannot write a mail file to {self._folder}: {exc.strerror}", retryable=True) from exc
        return Receipt(message_id=name)
