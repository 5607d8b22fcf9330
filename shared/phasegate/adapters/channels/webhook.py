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

LONGEST = 500
"""Characters of a text in the data for machines, and items of a list in it, that are kept."""


class Webhook:
    """Posts notices to an address of the user's.

    Args:
        key: Where the key is that signs; unsigned, when None.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str | None,
        secrets: Secrets,
        clock: Clock,
        patience: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._door = WebhookPost(address, secrets, patience, key=key)
        self._clock = clock

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        body = encoded(fit(notice, payload, lambda made: len(encoded(made)), BUDGET))
        answer = self._door.post(body, lambda key: self._headers(notice, body, key))
        self._door.accept(answer)
        return Receipt(answer.status)

    def _headers(self, notice: Notice, body: bytes, key: Secret | None) -> Mapping[str, str]:
        timestamp = str(int(self._clock.now().timestamp()))
        signed = {"X-Phasegate-Signature": f"v1={signature(key, timestamp, body)}"} if key else {}
        return {"X-Phasegate-Key": short_hash(notice.key), "X-Phasegate-Timestamp": timestamp, **signed}


def signature(key: Secret, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over the timestamp, a dot and the body, in hexadecimal digits."""
    return hmac.new(key.reveal().encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def payload(notice: Notice) -> Payload:
    """The notice for people, as text, and for machines."""
    made = {
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
    return made if len(encoded(made)) <= BUDGET else made | {"data": {}, "data_left_out": True}


def _bounded(value: Any) -> Any:
    match value:
        case str():
            return shorten(value, LONGEST)
        case Mapping():
            return {shorten(str(key), LONGEST): _bounded(each) for key, each in list(value.items())[:LONGEST]}
        case list() | tuple():
            return [_bounded(each) for each in value[:LONGEST]]
        case _:
            return value
