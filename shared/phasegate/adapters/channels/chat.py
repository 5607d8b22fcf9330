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

REFUSED_CARD = frozenset({400, 413, 422})
"""What a chat answers to a body that it does not take; another body may do."""

REPLACED = frozenset({401, 403, 404})
"""What it answers to an address that is no longer the right one; the secret may have a newer version."""

MAYBE_TAKEN = frozenset({502, 504})
"""A gateway's word that it has lost sight of the request: it may have been taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """How a kind of chat wants its messages.

    Args:
        card: The notice as the chat's own card.
        text: The notice as the simplest message that the chat takes.
        size: Of a payload, in the unit of *budget*.
        query: What is added to the address.
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
    # Half a pair of UTF-16 can't be written as UTF-8; escaped, it is JSON all the same.
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


class ChatNotifier:
    """Posts notices as cards to the webhook of a chat."""

    def __init__(self, channel: Channel, *, webhook: str, secrets: Secrets, patience: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self._channel = channel
        self._door = WebhookPost(webhook, secrets, patience, query=channel.query)

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        channel = self._channel
        card = fit(notice, channel.card, channel.size, channel.budget)
        answer = self._door.post(encoded(card))
        plain = answer.status in REFUSED_CARD
        if plain:
            answer = self._door.post(encoded(fit(notice, channel.text, channel.size, channel.budget)))
        self._door.accept(answer)
        return Receipt(answer.status, clean(channel.message_id(answer), 200), plain)


Headers: TypeAlias = Callable[[Secret | None], Mapping[str, str]]
"""Makes the headers of an attempt, given the key of the door."""


class WebhookPost:
    """An address that is a secret, perhaps with a key: asked for when they are needed, and again when they are refused."""

    def __init__(
        self, reference: str, secrets: Secrets, patience: Timeouts, *, query: str = "", key: str | None = None
    ) -> None:
        self._reference = reference
        self._key = key
        self._secrets = secrets
        self._patience = patience
        self._query = query

    def post(self, body: bytes, headers: Headers = lambda _: {}) -> Answer:
        """What it answers; the newest versions of its secrets have then been tried.

        Raises:
            NotifyError: It gave no answer, or lacks a secret.
        """
        known = self._known(fresh=False)
        answer = self._post(known, body, headers)
        if answer.status in REPLACED and (newer := self._known(fresh=True)) != known:
            answer = self._post(newer, body, headers)
        return answer

    def _known(self, *, fresh: bool) -> tuple[Secret, Secret | None]:
        address = secret(self._secrets, self._reference, fresh=fresh)
        return address, None if self._key is None else secret(self._secrets, self._key, fresh=fresh)

    def _post(self, known: tuple[Secret, Secret | None], body: bytes, headers: Headers) -> Answer:
        address, key = known
        try:
            return post(address, body, headers(key), told=self._reference, query=self._query, patience=self._patience)
        except ConfigError as error:
            problem = str(error)
        raise NotifyError(problem, retryable=False)

    def accept(self, answer: Answer) -> None:
        """Make sure that what was sent has arrived.

        Raises:
            NotifyError: It has not; says what the answer means.
        """
        if answer.is_taken:
            return
        status, asked = answer.status, answer.retry_after
        again = status in (408, 425, 429) or status >= 500
        said = answer.body.decode(errors="replace")
        for each in self._known(fresh=False):
            said = each.redact(said) if each else said
        words = f': "{clean(said, 160)}"' if clean(said) else ""
        raise NotifyError(
            f"answered {status} ({_meaning(status)}){words}",
            retryable=again,
            status=status,
            retry_after=asked if again else None,
            maybe_sent=status in MAYBE_TAKEN,
        )


def _meaning(status: int) -> str:
    match status:
        case 429:
            return "too many messages"
        case 401 | 403:
            return "its address or key is not the right one"
        case 404 | 410:
            return "its address is gone"
        case _ if status in REFUSED_CARD:
            return "it takes not even plain text"
        case _ if 300 <= status < 400:
            return "it points elsewhere, which is not followed"
        case _ if status >= 500:
            return "it is in trouble itself"
        case _:
            return "refused"


def secret(secrets: Secrets, reference: str, *, fresh: bool = False) -> Secret:
    """A secret for a channel that needs it now.

    Raises:
        NotifyError: It can't be had; one that is missing will be missing until somebody sets it.
    """
    try:
        return secrets.get(reference, fresh=fresh)
    except ConfigError as error:
        problem = NotifyError(str(error), retryable=False)
    except SecretError as error:
        problem = NotifyError(str(error), retryable=error.retryable)
    raise problem
