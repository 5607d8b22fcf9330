"""What chats and webhooks have in common: a card within a budget, plain text where it is refused, and what an answer means."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from phasegate.adapters.channels.http import Answer, post
from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.alerts.notice import Notice, clean, fit
from phasegate.core.secret import Secret
from phasegate.errors import ConfigError, NotifyError, SecretError
from phasegate.ports import Receipt, Secrets

Payload: TypeAlias = Mapping[str, Any]

BODY_REFUSED = frozenset({400, 413, 422})
"""Statuses for a body that a chat does not accept; it may accept another one."""

ADDRESS_REFUSED = frozenset({401, 403, 404})
"""Statuses for an address that is not valid, or no longer; the secret may have a newer version."""

MAYBE_ACCEPTED = frozenset({502, 504})
"""Statuses of a gateway that lost track of the request: the chat behind it may have accepted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """How a kind of chat wants its messages.

    Args:
        card: The notice as the chat's own card.
        text: The notice as the simplest message that the chat accepts.
        size: Of a payload, in the unit of *budget*.
        query: Added to the address.
        message_id: The id in an answer; empty where there is none.
    """

    card: Callable[[Notice], Payload]
    text: Callable[[Notice], Payload]
    size: Callable[[Payload], int]
    budget: int
    query: str = ""
    message_id: Callable[[Answer], str] = field(default=lambda _: "")


def encoded(payload: Payload) -> bytes:
    """A payload as it is sent."""
    # Half of a UTF-16 pair has no UTF-8 form; as an escape it is still valid JSON.
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


class ChatNotifier:
    """Posts notices as cards to the webhook of a chat."""

    def __init__(self, channel: Channel, *, webhook: str, secrets: Secrets, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self._channel = channel
        self._post = WebhookPost(webhook, secrets, timeouts, query=channel.query)

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        channel = self._channel
        card = fit(notice, channel.card, channel.size, channel.budget)
        answer = self._post.send(encoded(card))
        plain = answer.status in BODY_REFUSED
        if plain:
            # Nobody has seen the card, so plain text is no repeat: send it now instead of after a pause.
            answer = self._post.send(encoded(fit(notice, channel.text, channel.size, channel.budget)))
        self._post.check(answer)
        return Receipt(answer.status, clean(channel.message_id(answer), 200), plain)


Headers: TypeAlias = Callable[[Secret | None], Mapping[str, str]]
"""Makes the headers of an attempt, given the signing key."""


class WebhookPost:
    """Posts to an address that is a secret, perhaps with a signing key.

    Secrets are read when they are needed, and again when they are refused: so they can be replaced without a deployment.
    """

    def __init__(
        self, reference: str, secrets: Secrets, timeouts: Timeouts, *, query: str = "", key: str | None = None
    ) -> None:
        self._reference = reference
        self._key = key
        self._secrets = secrets
        self._timeouts = timeouts
        self._query = query

    def send(self, body: bytes, headers: Headers = lambda _: {}) -> Answer:
        """Post a body, and give the answer; where the secrets were refused, their newest versions were tried.

        Raises:
            NotifyError: There was no answer, or a secret is missing.
        """
        current = self._read(fresh=False)
        answer = self._send(current, body, headers)
        # Only with another secret: the same one again would be refused again.
        if answer.status in ADDRESS_REFUSED and (newer := self._read(fresh=True)) != current:
            answer = self._send(newer, body, headers)
        return answer

    def _read(self, *, fresh: bool) -> tuple[Secret, Secret | None]:
        address = read_secret(self._secrets, self._reference, fresh=fresh)
        return address, None if self._key is None else read_secret(self._secrets, self._key, fresh=fresh)

    def _send(self, secrets: tuple[Secret, Secret | None], body: bytes, headers: Headers) -> Answer:
        address, key = secrets
        try:
            return post(address, body, headers(key), name=self._reference, query=self._query, timeouts=self._timeouts)
        except ConfigError as error:
            problem = str(error)
        # Raised outside of `except`, so that no error that knows the address becomes its context.
        raise NotifyError(problem, retryable=False)

    def check(self, answer: Answer) -> None:
        """Make sure that what was sent was accepted.

        Raises:
            NotifyError: It was not; says what the answer means.
        """
        if answer.is_accepted:
            return
        status, retry_after = answer.status, answer.retry_after
        retryable = status in (408, 425, 429) or status >= 500
        text = answer.body.decode(errors="replace")
        for secret in self._read(fresh=False):  # some servers repeat the address or the key
            text = secret.redact(text) if secret else text
        quote = f': "{clean(text, 160)}"' if clean(text) else ""
        raise NotifyError(
            f"answered {status} ({_meaning(status)}){quote}",
            retryable=retryable,
            status=status,
            retry_after=retry_after if retryable else None,
            maybe_sent=status in MAYBE_ACCEPTED,
        )


def _meaning(status: int) -> str:
    match status:
        case 429:
            return "too many messages"
        case 401 | 403:
            return "the address or key is wrong"
        case 404 | 410:
            return "the address no longer exists"
        case _ if status in BODY_REFUSED:
            return "it refuses even plain text"
        case _ if 300 <= status < 400:
            return "it redirects, which is not followed"
        case _ if status >= 500:
            return "the server has a problem"
        case _:
            return "refused"


def read_secret(secrets: Secrets, reference: str, *, fresh: bool = False) -> Secret:
    """A secret that a channel needs now.

    Raises:
        NotifyError: It can't be read; one that does not exist is not worth a retry until somebody sets it.
    """
    try:
        return secrets.get(reference, fresh=fresh)
    except ConfigError as error:
        problem = NotifyError(str(error), retryable=False, lacks_secret=True)
    except SecretError as error:
        problem = NotifyError(str(error), retryable=error.retryable)
    raise problem  # outside of `except`, so that it has no context
