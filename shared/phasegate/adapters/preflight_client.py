"""A client of the preflight function, for jobs.

It needs only the standard library: a job may run without Google's libraries, and then calls a URL that needs no token.
"""

import json
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from phasegate.errors import AdapterError, ConfigError

MAX_ANSWER_BYTES = 1_000_000
"""How much of an answer is read."""

TIMEOUT = 70.0
"""Seconds that an answer may take; the function itself stops after 60."""

Token = Callable[[str], str | None]
"""Gives an identity token for an audience; None when there is none."""


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: the token is for the first address only, and a POST would become a GET."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = build_opener(_NoRedirect)


def google_token(audience: str) -> str | None:
    """An identity token of the account that this job runs as."""
    try:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request as Transport
        from google.oauth2.id_token import fetch_id_token
    except ImportError:
        return None
    try:
        return str(fetch_id_token(Transport(), audience))  # type: ignore[no-untyped-call]
    except GoogleAuthError:
        return None  # the function answers 401 if it needs one


class PreflightClient:
    """Asks the function whether a phase may start.

    Args:
        address: The function's URL, `https://…`; without https no token is sent.
    """

    def __init__(self, address: str, *, token: Token = google_token, within: float = TIMEOUT) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ConfigError(f'PHASEGATE_PREFLIGHT: expected an address like https://preflight.example.com, got "{address}"')
        self._address = address
        self._audience = f"{parts.scheme}://{parts.netloc}"
        self._token = token if parts.scheme == "https" else None
        self._within = within

    def ask(self, fields: Mapping[str, str]) -> Mapping[str, Any]:
        """The function's answer. Asking twice is harmless: the same owner may claim again.

        Raises:
            ConfigError: The function rejects the question as invalid.
            AdapterError: There is no answer, or it is not a valid preflight answer. That is never a *go*.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token and (token := self._token(self._audience)):
            headers["Authorization"] = f"Bearer {token}"
        request = Request(self._address, json.dumps(fields).encode(), headers, method="POST")  # noqa: S310
        try:
            with _OPENER.open(request, timeout=self._within) as answer:
                return self._read(answer.status, answer.read(MAX_ANSWER_BYTES))
        except HTTPError as exc:
            with exc:
                return self._read(exc.code, exc.read(MAX_ANSWER_BYTES))
        except (URLError, HTTPException, OSError) as exc:
            reason = exc.reason if isinstance(exc, URLError) else exc
            raise AdapterError(f"the preflight function at {self._address} does not answer: {reason}", retryable=True) from exc

    def _read(self, status: int, body: bytes) -> Mapping[str, Any]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        error = str(answer["error"])[:1_000] if isinstance(answer, dict) and "error" in answer else f"status {status}"
        if status == 200 and isinstance(answer, dict):
            return answer
        if status == 400 and isinstance(answer, dict):
            raise ConfigError(error)
        hint = "; the caller needs roles/run.invoker on the function" if status in (401, 403) else ""
        retryable = status == 429 or status >= 500
        raise AdapterError(
            f"the preflight function at {self._address} answered with an error: {error}{hint}", retryable=retryable
        )
