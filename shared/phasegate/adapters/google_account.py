"""Who acts in the cloud: the owner of the credentials."""

from collections.abc import Callable
from typing import Any

import google.auth
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from phasegate.errors import AdapterError, ConfigError

USERINFO = "https://openidconnect.googleapis.com/v1/userinfo"
"""Gives the owner of an access token. Source: `userinfo_endpoint` of https://accounts.google.com/.well-known/openid-configuration."""

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")

Session = Callable[[Credentials], Any]
"""Makes an HTTP session that signs its requests with credentials."""


def account(credentials: Credentials | None = None, session: Session = AuthorizedSession) -> str:
    """The email address of the person or service account that owns the credentials.

    Args:
        credentials: The application default ones, when left out.

    Raises:
        ConfigError: There are no credentials, or they have no owner.
        AdapterError: Google did not answer.
    """
    try:
        if credentials is None:
            credentials, _ = google.auth.default(scopes=_SCOPES)
        email = getattr(credentials, "service_account_email", None) or getattr(credentials, "account", None)
        # A machine's own account is called "default" until its metadata server is asked.
        if email and email != "default":
            return str(email)
        answer = session(credentials).get(USERINFO, timeout=30)
    except DefaultCredentialsError as exc:
        raise ConfigError(f"no credentials that identify you: {exc}") from exc
    except (GoogleAuthError, OSError) as exc:  # errors of `requests` are OSErrors
        raise AdapterError(f"Google did not say who owns the credentials: {type(exc).__name__}", retryable=True) from exc
    if answer.status_code != 200 or not answer.json().get("email"):
        raise ConfigError("the credentials have no known owner; run gcloud auth application-default login")
    return str(answer.json()["email"])
