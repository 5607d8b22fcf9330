"""`retrying`: retries transient errors. For the pipeline's own code, and for sending its reports."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

from phasegate.errors import AdapterError

try:
    import stamina
except ImportError as exc:
    raise ImportError("phasegate.report and phasegate.retrying need stamina: pip install 'phasegate[report]'") from exc

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5
"""The default number of calls."""

TIMEOUT = 45.0
"""The default number of seconds after which nothing is retried."""

# By name, because the pipeline's own code may run without Google's libraries.
_GOOGLE_ERRORS = {
    "google.api_core.exceptions": frozenset(
        {
            "Aborted",
            "BadGateway",
            "Cancelled",
            "GatewayTimeout",
            "InternalServerError",
            "RetryError",
            "ServiceUnavailable",
            "TooManyRequests",
            "Unknown",
        }
    ),
    "google.auth.exceptions": frozenset({"TransportError"}),
}
"""Errors of the service or the network. DeadlineExceeded and ResourceExhausted are subclasses of two of them."""


def is_transient(error: BaseException) -> bool:
    """True when the same call may succeed a moment later.

    >>> is_transient(ConnectionResetError()), is_transient(TimeoutError()), is_transient(FileNotFoundError())
    (True, True, False)
    """
    if isinstance(error, AdapterError):
        return error.retryable
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ in _GOOGLE_ERRORS.get(kind.__module__, ()) for kind in type(error).__mro__)


@overload
def retrying(function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def retrying(
    *, attempts: int = ..., timeout: float | None = ..., also: tuple[type[Exception], ...] = ...
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def retrying(
    function: Callable[P, T] | None = None,
    /,
    *,
    attempts: int = ATTEMPTS,
    timeout: float | None = TIMEOUT,
    also: tuple[type[Exception], ...] = (),
) -> Callable[P, T] | Callable[[Callable[P, T]], Callable[P, T]]:
    """Retries a function on transient errors; the wait doubles from 0.1 s to 5 s, with up to 1 s of jitter.

    The last error is raised unchanged. An error that is not transient, such as a `ValueError` or a missing permission, is
    raised at once. The function must be harmless to call twice. Works for plain and `async` functions.

        @phasegate.retrying
        def fetch(day): ...

        @phasegate.retrying(attempts=3, timeout=20, also=(requests.ConnectionError,))
        async def fetch(day): ...

    Args:
        attempts: Calls in all, the first included.
        timeout: Seconds from the first call after which it is not called again; a running call is not interrupted.
        also: Further errors to retry.
    """

    def is_retried(error: Exception) -> bool:
        return isinstance(error, also) or is_transient(error)

    def wrap(wrapped: Callable[P, T]) -> Callable[P, T]:
        return stamina.retry(on=is_retried, attempts=attempts, timeout=timeout)(wrapped)

    return wrap if function is None else wrap(function)
