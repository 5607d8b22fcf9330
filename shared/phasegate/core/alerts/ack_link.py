"""Signed links: whoever has one can acknowledge one opening of one incident until a given time."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LINK_LIFETIME = timedelta(days=3)
"""How long a link works; the next notice about the incident has a new one."""

_MAX_LENGTH = 2_000
# Part of what is signed, so that a signature made with the same key for another purpose is never a valid link.
_PURPOSE = b"phasegate/acknowledge/1\n"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a link allows.

    Args:
        incident: The incident's key.
        opened_at: Of the opening that it is about; it is not valid for a later one.
    """

    incident: str
    opened_at: datetime
    until: datetime


class InvalidLink(ValueError):
    """A link that allows nothing: forged, cut off, or expired."""


def seal(grant: Grant, key: bytes) -> str:
    """The grant as text for a URL, signed with the key."""
    fields = [grant.incident, grant.opened_at.isoformat(), int(grant.until.timestamp())]
    text = _encode(json.dumps(fields, separators=(",", ":")).encode())
    return f"{text}.{_encode(_signature(text, key))}"


def unseal(token: str, key: bytes, now: datetime) -> Grant:
    """What a link allows.

    Raises:
        InvalidLink: It was not signed with the key, or has expired.
    """
    text, _, signature = token[:_MAX_LENGTH].partition(".")
    # Check the signature before anything is decoded. As bytes: compare_digest refuses text that is not ASCII.
    if not hmac.compare_digest(_encode(_signature(text, key)).encode(), signature.encode(errors="replace")):
        raise InvalidLink("this link was not made by phasegate, or part of it is missing")
    incident, opened_at, until = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    grant = Grant(incident, datetime.fromisoformat(opened_at), datetime.fromtimestamp(until, UTC))
    if now >= grant.until:
        raise InvalidLink(f"this link expired on {grant.until:%Y-%m-%d at %H:%M} UTC; the newest alert has a new one")
    return grant


def _signature(text: str, key: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + text.encode(errors="replace"), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
