"""`retrying`: what fails for a moment is tried again. For the pipeline's own code, and for the sending of its reports."""

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
"""How often something is tried, unless told."""

TIMEOUT = 45.0
"""Seconds after which nothing is tried again, unless told."""

# By name, because the pipeline's own code may well run without Google's libraries.
_OF_GOOGLE = {
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
"""With these the service, or the way to it, was at fault; DeadlineExceeded and ResourceExhausted are kinds of two of them."""


def is_transient(error: BaseException) -> bool:
    """True when the same call may succeed a moment later without anybody doing anything.

    >>> is_transient(ConnectionResetError()), is_transient(TimeoutError()), is_transient(FileNotFoundError())
    (True, True, False)
    """
    if isinstance(error, AdapterError):
        return error.retryable
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ in _OF_GOOGLE.get(kind.__module__, ()) for kind in type(error).__mro__)


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
    """A function that is called again when it fails for a moment; the wait doubles from 0.1 s to 5 s, with up to 1 s of jitter.

    The last error goes through as it is, and at once when it is none that passes: a `ValueError`, a missing permission. What
    is called again must be harmless to do twice. Works for plain and for `async` functions.

        @phasegate.retrying
        def fetch(day): ...

        @phasegate.retrying(attempts=3, timeout=20, also=(requests.ConnectionError,))
        async def fetch(day): ...

    Args:
        attempts: Calls in all, the first included.
        timeout: Seconds from the first call after which it is not called again; a call that runs is not interrupted.
        also: Further errors that pass.
    """

    def passes(error: Exception) -> bool:
        return isinstance(error, also) or is_transient(error)

    def wrap(wrapped: Callable[P, T]) -> Callable[P, T]:
        return stamina.retry(on=passes, attempts=attempts, timeout=timeout)(wrapped)

    return wrap if function is None else wrap(function)
