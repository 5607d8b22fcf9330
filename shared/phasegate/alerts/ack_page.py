"""The page behind the link in an alert: opening it shows the incident, its button acknowledges it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from urllib.parse import parse_qs

from phasegate.alerts.incidents import Incidents
from phasegate.core.alerts.ack_link import LINK_LIFETIME, Grant, InvalidLink, seal, unseal
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
_MAX_NAME = 80
_MAX_FORM_BYTES = 10_000


class AckPage:
    """Makes the links, and answers requests for them.

    Opening a link changes nothing, because mail scanners and link previews open every link they see; only the button does.

    Args:
        address: The URL of the page.
        key: Signs the links.
    """

    def __init__(self, address: str, key: Callable[[], Secret], clock: Clock) -> None:
        self._address = address
        self._key = key
        self._clock = clock

    def links(self, incident: Incident, now: datetime) -> Sequence[Link]:
        """The link for a notice about an incident; none once it has recovered or somebody has acknowledged it."""
        if not incident.open_members or incident.acknowledged:
            return ()
        token = seal(Grant(incident.key, incident.opened_at, now + LINK_LIFETIME), self._secret)
        return (Link("Acknowledge", f"{self._address}?token={token}"),)

    def answer(self, incidents: Incidents, method: str, token: str, form: bytes) -> Page:
        """The page for a request.

        Args:
            token: From the address of the link.
            form: The body of a POST, as a form writes it.
        """
        try:
            grant = unseal(token, self._secret, self._clock.now())
        except InvalidLink as error:
            return _page("This link is not valid", escape(str(error)), 403)
        incident = {incident.key: incident for incident in incidents.still_open()}.get(grant.incident)
        if incident is None or incident.opened_at != grant.opened_at:
            return _recovered(grant)
        if method in ("GET", "HEAD"):
            return _page(escape(clean(incident.key)), _content(incident), 200)
        if method != "POST":
            return _page("Method not allowed", "Open the link and press its button.", 405)
        fields = parse_qs(form[:_MAX_FORM_BYTES].decode(errors="replace"))
        by = clean(fields.get("by", [""])[0], _MAX_NAME)
        if not by:
            return _page("Please enter your name", _content(incident), 400)
        try:
            # With the time of its opening: it may recover and open again between the look above and this commit.
            incidents.acknowledge(incident.key, by=f"{by} (by link)", opened_at=grant.opened_at)
        except ConfigError:
            return _recovered(grant)
        return _page("Thank you", f"{escape(clean(incident.key))} is acknowledged by {escape(by)}.", 200)

    @property
    def _secret(self) -> bytes:
        return self._key().reveal().encode()


_FORM = """<form method="post">
<label>Your name <input name="by" required maxlength="80"></label> <button>Acknowledge</button></form>
<p>It then no longer escalates, and reminders come once a day, until it recovers or gets worse.</p>"""


def _recovered(grant: Grant) -> Page:
    about = escape(clean(grant.incident))
    return _page("Already recovered", f"{about} has recovered. If it is open again, the newest alert has a new link.", 410)


def _content(incident: Incident) -> str:
    details = "".join(
        f"<li>{escape(member.name)} {escape(clean(member.detail, 300))}</li>" for member in incident.open_members[:20]
    )
    ack = incident.acknowledged
    return f"<ul>{details}</ul>{f'<p>Acknowledged by {escape(clean(ack.by))}.</p>' if ack else _FORM}"


def _page(title: str, body: str, status: int) -> Page:
    style = "<style>body{font:16px system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}</style>"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{style}'
    return f"{head}<h1>{title}</h1>{body}\n", status, _HEADERS
