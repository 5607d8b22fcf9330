"""Messages out through Pub/Sub."""

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

WITHIN = 10.0
"""Seconds after which a message that the broker has not taken counts as not taken."""

_BLIP = Retry(
    predicate=if_exception_type(GatewayTimeout, InternalServerError, ServiceUnavailable), initial=0.1, maximum=1.0, timeout=3.0
)
"""A connection that broke while nobody used it is made anew. Longer silence is the outbox's to wait out: a relay of many
entries must not stand before each of them."""


class PubSubPublisher:
    """Publishes to the topics of one project; safe for several threads.

    One message is one request, which ends with the broker's id or an error. The batching publisher of the library is not
    used: nothing here is sent without being waited for, so a batch would only delay it, and with an ordering key it goes on
    trying for ever behind a caller that has given up.

    Args:
        project: The project that has the topics.
        prefix: Stands before every topic's logical name, as Terraform names them: `<prefix>-<topic>`.
        connect: Makes the library's client; called once, on first use, so that nothing is connected before a fork.
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
            taken = self._client().publish(topic=topic, messages=[_pubsub(message)], retry=_BLIP, timeout=WITHIN)
        return str(taken.message_ids[0])

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
    """The gate, for alerts: a recovery that overtakes its alarm would leave the incident open for ever.

    Go-signals need no order: they carry their generation, and consumers do each decision id once. An ordering key would make
    one release that a consumer refuses stand before all later ones.
    """
    body = message.body
    if message.topic != ALERTS or not {"pipeline", "phase", "run_date"} <= body.keys():
        return ""
    return f"{body['pipeline']}/{body['phase']}/{body['run_date']}"
