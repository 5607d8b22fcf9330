"""Links that let whoever holds one acknowledge one opening of one incident, until a time."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LASTS = timedelta(days=3)
"""How long a link works; the next message about the incident brings a new one."""

_LONGEST = 2_000
_PURPOSE = b"phasegate/acknowledge/1\n"
# One key signs nothing else, so that no other signature of it is ever a link.


@dataclass(frozen=True, slots=True)
class Grant:
    """What a link allows.

    Args:
        incident: The incident's key.
        opened_at: Of the opening that it is about; for a later one it is worth nothing.
    """

    incident: str
    opened_at: datetime
    until: datetime


class InvalidLink(ValueError):
    """A link that allows nothing: forged, cut, or too old."""


def seal(grant: Grant, key: bytes) -> str:
    """The grant as text that stands in an address, and that nobody can make without the key."""
    fields = [grant.incident, grant.opened_at.isoformat(), int(grant.until.timestamp())]
    text = _encode(json.dumps(fields, separators=(",", ":")).encode())
    return f"{text}.{_encode(_signature(text, key))}"


def unseal(token: str, key: bytes, now: datetime) -> Grant:
    """What a link allows.

    Raises:
        InvalidLink: It was not made with the key, or its time is over.
    """
    text, _, signature = token[:_LONGEST].partition(".")
    # Compared before anything of it is read; as bytes, because a text that is not ASCII can't be.
    if not hmac.compare_digest(_encode(_signature(text, key)).encode(), signature.encode(errors="replace")):
        raise InvalidLink("this link was not made by phasegate, or a part of it is missing")
    incident, opened_at, until = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    grant = Grant(incident, datetime.fromisoformat(opened_at), datetime.fromtimestamp(until, UTC))
    if now >= grant.until:
        raise InvalidLink(f"this link has expired on {grant.until:%Y-%m-%d at %H:%M} UTC; the newest message has a newer one")
    return grant


def _signature(text: str, key: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + text.encode(errors="replace"), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
