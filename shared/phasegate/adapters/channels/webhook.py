"""Any receiver: a JSON object over HTTPS, signed. The format is described in `docs/alerts.md`."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from phasegate.adapters.channels.chat import Payload, WebhookPost, encoded
from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.alerts.notice import Notice, fit, headline, plain, short_hash, shorten
from phasegate.core.secret import Secret
from phasegate.ports import Clock, Receipt, Secrets

BUDGET = 256 * 1024
"""Bytes of a body."""

MAX_LENGTH = 500
"""Characters of a text, and items of a list, in the data for machines; the rest is cut."""


class Webhook:
    """Posts notices to an address of the user's.

    Args:
        key: The reference of the signing key; unsigned, when None.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str | None,
        secrets: Secrets,
        clock: Clock,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._post = WebhookPost(address, secrets, timeouts, key=key)
        self._clock = clock

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        body = encoded(fit(notice, payload, lambda rendered: len(encoded(rendered)), BUDGET))
        answer = self._post.send(body, lambda key: self._headers(notice, body, key))
        self._post.check(answer)
        return Receipt(answer.status)

    def _headers(self, notice: Notice, body: bytes, key: Secret | None) -> Mapping[str, str]:
        timestamp = str(int(self._clock.now().timestamp()))
        signed = {"X-Phasegate-Signature": f"v1={signature(key, timestamp, body)}"} if key else {}
        return {"X-Phasegate-Key": short_hash(notice.key), "X-Phasegate-Timestamp": timestamp, **signed}


def signature(key: Secret, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over the timestamp, a dot and the body, in hexadecimal digits."""
    # The timestamp is signed, too: otherwise an old body could be sent again with a new one.
    return hmac.new(key.reveal().encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def payload(notice: Notice) -> Payload:
    """The notice for people, as text, and for machines."""
    body = {
        "version": 1,
        "key": short_hash(notice.key),
        "thread": short_hash(notice.thread),
        "tone": notice.tone,
        "headline": headline(notice),
        "subject": notice.subject,
        "lead": notice.lead,
        "text": plain(notice),
        "at": notice.at.isoformat(),
        "possible_duplicate": notice.possible_duplicate,
        "data": _bounded(notice.data),
    }
    return body if len(encoded(body)) <= BUDGET else body | {"data": {}, "data_left_out": True}


def _bounded(value: Any) -> Any:
    match value:
        case str():
            return shorten(value, MAX_LENGTH)
        case Mapping():
            return {shorten(str(key), MAX_LENGTH): _bounded(item) for key, item in list(value.items())[:MAX_LENGTH]}
        case list() | tuple():
            return [_bounded(item) for item in value[:MAX_LENGTH]]
        case _:
            return value
