"""Which errors of Google's clients are retryable. See `README.md` in this folder."""

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError

GoogleError = (exceptions.GoogleAPIError, GoogleAuthError)
"""Every error that a Google client raises when it is used correctly."""

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
"""Errors of the service or the network. DeadlineExceeded and ResourceExhausted are subclasses of two of them."""


def is_retryable(error: Exception) -> bool:
    """True when the same request may succeed later without any fix."""
    return isinstance(error, RETRYABLE) or (isinstance(error, GoogleAuthError) and error.retryable)
