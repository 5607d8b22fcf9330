"""The page behind the link in a message: who opens it sees the incident, who presses its button takes it on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from urllib.parse import parse_qs

from phasegate.alerts.incidents import Incidents
from phasegate.core.alerts.ack_link import LASTS, Grant, InvalidLink, seal, unseal
from phasegate.core.alerts.incident import Incident
from phasegate.core.alerts.notice import Link, clean
from phasegate.core.secret import Secret
from phasegate.errors import ConfigError
from phasegate.ports import Clock

Page = tuple[str, int, Mapping[str, str]]

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_LONGEST_NAME = 80
_LONGEST_FORM = 10_000


class AckPage:
    """Answers for links. Opening one changes nothing: mail scanners and link previews open every link they see.

    Args:
        address: Where the page is.
        key: Signs the links.
    """

    def __init__(self, address: str, key: Callable[[], Secret], clock: Clock) -> None:
        self._address = address
        self._key = key
        self._clock = clock

    def links(self, incident: Incident, now: datetime) -> Sequence[Link]:
        """The link that a message about an incident carries; none once it is over, or somebody looks after it."""
        if not incident.open_members or incident.acknowledged:
            return ()
        token = seal(Grant(incident.key, incident.opened_at, now + LASTS), self._secret)
        return (Link("Acknowledge", f"{self._address}?token={token}"),)

    def answer(self, incidents: Incidents, method: str, token: str, form: bytes) -> Page:
        """The page for a request.

        Args:
            token: The link's, from its address.
            form: The body of a POST, as a form writes it.
        """
        try:
            grant = unseal(token, self._secret, self._clock.now())
        except InvalidLink as refused:
            return _page("This link does nothing", escape(str(refused)), 403)
        open_members = {incident.key: incident for incident in incidents.still_open()}
        incident = open_members.get(grant.incident)
        if incident is None or incident.opened_at != grant.opened_at:
            return _page("It is over", f"{escape(clean(grant.incident))} has recovered; there is nothing to take on.", 410)
        if method in ("GET", "HEAD"):
            return _page(escape(clean(incident.key)), _shown(incident), 200)
        if method != "POST":
            return _page("Not like this", "Open the link, and press its button.", 405)
        fields = parse_qs(form[:_LONGEST_FORM].decode(errors="replace"))
        by = clean(fields.get("by", [""])[0], _LONGEST_NAME)
        if not by:
            return _page("Who are you?", _shown(incident), 400)
        try:
            incidents.acknowledge(incident.key, by=f"{by} (by link)", opened_at=grant.opened_at)
        except ConfigError:  # it has just recovered
            return _page("It is over", f"{escape(clean(grant.incident))} has recovered; there is nothing to take on.", 410)
        return _page("Thank you", f"{escape(clean(incident.key))} is acknowledged by {escape(by)}.", 200)

    @property
    def _secret(self) -> bytes:
        return self._key().reveal().encode()


_FORM = """<form method="post">
<label>Your name <input name="by" required maxlength="80"></label> <button>Acknowledge</button></form>
<p>No escalation then, and reminders once a day, until it has recovered or become worse.</p>"""


def _shown(incident: Incident) -> str:
    details = "".join(f"<li>{escape(member.name)} {escape(clean(member.detail, 300))}" for member in incident.open_members[:20])
    word = incident.acknowledged
    return f"<ul>{details}</ul>{f'<p>Acknowledged by {escape(clean(word.by))}.</p>' if word else _FORM}"


def _page(title: str, body: str, status: int) -> Page:
    style = "<style>body{font:16px system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}</style>"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{style}'
    return f"{head}<h1>{title}</h1>{body}\n", status, _HEADERS
