"""Publishes messages to Pub/Sub."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

from google.api_core.exceptions import GatewayTimeout, InternalServerError, ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.pubsub_v1 import PublisherClient, PubsubMessage

from phasegate.adapters.google_errors import GoogleError, is_retryable
from phasegate.errors import PublishError
from phasegate.messaging.bodies import ALERTS, PREFIX
from phasegate.ports import Outgoing

TIMEOUT = 10.0
"""Seconds after which a message that the broker has not accepted counts as failed."""

_RECONNECT = Retry(
    predicate=if_exception_type(GatewayTimeout, InternalServerError, ServiceUnavailable), initial=0.1, maximum=1.0, timeout=3.0
)
"""Reconnects when an idle connection broke. Longer outages are left to the outbox: many entries must not each wait for one."""


class PubSubPublisher:
    """Publishes to the topics of one project; safe for several threads.

    One message is one request, which ends with the broker's id or an error. The library's batching publisher is not used:
    every message is waited for, so a batch would only delay it. With an ordering key it would also retry forever, after
    the caller has given up.

    Args:
        project: The project of the topics.
        prefix: Of every topic's name, as Terraform creates them: `<prefix>-<topic>`.
        connect: Makes the library's client; called once, on first use, because a connection must not be made before a fork.
    """

    def __init__(self, project: str, *, prefix: str = PREFIX, connect: Callable[[], PublisherClient] = PublisherClient) -> None:
        self._project = project
        self._prefix = prefix
        self._connect = connect
        self._made: PublisherClient | None = None
        self._making = Lock()

    def publish(self, message: Outgoing) -> str:
        """See `Publisher.publish`.

        The body is JSON. Attributes are the message's own and `key`; `traceparent` is among them when the message has one.
        """
        topic = f"projects/{self._project}/topics/{self._prefix}-{message.topic}"
        with _translated(topic):
            answer = self._client().publish(topic=topic, messages=[_pubsub(message)], retry=_RECONNECT, timeout=TIMEOUT)
        return str(answer.message_ids[0])

    def _client(self) -> PublisherClient:
        with self._making:
            if self._made is None:
                self._made = self._connect()
            return self._made


@contextmanager
def _translated(topic: str) -> Iterator[None]:
    try:
        yield
    except GoogleError as exc:
        raise PublishError(f"{topic}: {exc}", retryable=is_retryable(exc)) from exc


def _pubsub(message: Outgoing) -> PubsubMessage:
    return PubsubMessage(
        data=json.dumps(message.body, ensure_ascii=False).encode(),
        attributes=_attributes(message),
        ordering_key=_ordering_key(message),
    )


def _attributes(message: Outgoing) -> Mapping[str, str]:
    trace = message.body.get("traceparent")
    traced = {"traceparent": trace} if isinstance(trace, str) else {}
    return {**traced, **message.attributes, "key": message.key}


def _ordering_key(message: Outgoing) -> str:
    """The gate, for alerts: a recovery that arrives before its alert would leave the incident open forever.

    Go-signals need no order: they carry their generation, and consumers handle each decision id once. With an ordering key, a
    release that a consumer refuses would block all later ones.
    """
    body = message.body
    if message.topic != ALERTS or not {"pipeline", "phase", "run_date"} <= body.keys():
        return ""
    return f"{body['pipeline']}/{body['phase']}/{body['run_date']}"
