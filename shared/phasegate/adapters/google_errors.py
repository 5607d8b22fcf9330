"""What an error of a Google client means: whether the same request may succeed later. See `README.md` beside this file."""

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError

GoogleError = (exceptions.GoogleAPIError, GoogleAuthError)
"""Every error that a Google client raises when it was used rightly."""

RETRYABLE = (
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.TooManyRequests,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.BadGateway,
    exceptions.ServiceUnavailable,
    exceptions.GatewayTimeout,
    exceptions.RetryError,
    TransportError,
)
"""With these the service, or the way to it, was at fault; DeadlineExceeded and ResourceExhausted are kinds of two of them."""


def is_retryable(error: Exception) -> bool:
    """True when the same request may succeed later without anybody doing anything."""
    return isinstance(error, RETRYABLE) or (isinstance(error, GoogleAuthError) and error.retryable)
