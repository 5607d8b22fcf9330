"""Who acts in the cloud: the account that the credentials are for."""

from collections.abc import Callable
from typing import Any

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from phasegate.errors import AdapterError, ConfigError

USERINFO = "https://openidconnect.googleapis.com/v1/userinfo"
"""Tells whose access token it is. Source: `userinfo_endpoint` of https://accounts.google.com/.well-known/openid-configuration."""

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")

Session = Callable[[Credentials], Any]
"""Makes an HTTP session that signs its requests with credentials."""


def account(credentials: Credentials | None = None, session: Session = AuthorizedSession) -> str:
    """The mail address of the person or service account that the credentials are for.

    Args:
        credentials: The application default ones, when left out.

    Raises:
        ConfigError: There are no credentials, or they don't say whose they are.
        AdapterError: Google did not answer.
    """
    try:
        if credentials is None:
            credentials, _ = google.auth.default(scopes=_SCOPES)
        known = getattr(credentials, "service_account_email", None) or getattr(credentials, "account", None)
        # A machine's own account is called "default" until its metadata server was asked.
        if known and known != "default":
            return str(known)
        answer = session(credentials).get(USERINFO, timeout=30)
    except DefaultCredentialsError as exc:
        raise ConfigError(f"no credentials say who acts: {exc}") from exc
    except (GoogleAuthError, OSError) as exc:  # errors of requests are kinds of OSError
        raise AdapterError(f"Google did not say whose the credentials are: {type(exc).__name__}", retryable=True) from exc
    if answer.status_code != 200 or not answer.json().get("email"):
        raise ConfigError("the credentials don't say whose they are; run gcloud auth application-default login")
    return str(answer.json()["email"])
