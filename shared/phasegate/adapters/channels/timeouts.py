"""How long destinations are waited for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an exchange may take, in seconds.

    Args:
        connect: To reach the host and agree on TLS.
        silence: Without a single byte.
        body: For an answer's body, once its status is known.
        whole: In all, however slowly something still comes; below `delivery.LEASE`, as a notifier promises.
    """

    connect: float = 5.0
    silence: float = 10.0
    body: float = 5.0
    whole: float = 30.0


DEFAULT_TIMEOUTS = Timeouts()
