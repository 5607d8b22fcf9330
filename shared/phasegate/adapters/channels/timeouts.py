"""How long phasegate waits for a destination."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an exchange may take, in seconds.

    Args:
        connect: To reach the host and agree on TLS.
        silence: Without a single byte.
        body: For an answer's body, once its status is known.
        whole: In all, however slowly bytes still come. It must stay below `delivery.LEASE`: after that time another process may
            send the same notice.
    """

    connect: float = 5.0
    silence: float = 10.0
    body: float = 5.0
    whole: float = 30.0


DEFAULT_TIMEOUTS = Timeouts()
