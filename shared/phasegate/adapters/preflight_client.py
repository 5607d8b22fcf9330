"""The pre-flight function, asked over HTTP by a job.

Over the standard library: a job may run without any of Google's libraries, and then asks an address that needs no token.
"""

import json
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from phasegate.errors import AdapterError, ConfigError

LONGEST_ANSWER = 1_000_000
"""Bytes of an answer that are read."""

WITHIN = 70.0
"""Seconds that an answer may take; the function itself stops after 60."""

Token = Callable[[str], str | None]
"""Gives an identity token for an audience; None where there is none to be had."""


class _Stay(HTTPRedirectHandler):
    """A redirect is not followed: the token is for the address that was asked, and a POST would become a GET."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = build_opener(_Stay)


def google_token(audience: str) -> str | None:
    """The identity token of the account that this job runs as."""
    try:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request as Transport
        from google.oauth2.id_token import fetch_id_token
    except ImportError:
        return None
    try:
        return str(fetch_id_token(Transport(), audience))  # type: ignore[no-untyped-call]
    except GoogleAuthError:
        return None  # whether one is needed, the function says


class PreflightClient:
    """Asks the function whether a phase may start.

    Args:
        address: Of the function, `https://…`; without https, no token is sent.
    """

    def __init__(self, address: str, *, token: Token = google_token, within: float = WITHIN) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ConfigError(f'PHASEGATE_PREFLIGHT: expected an address like https://preflight.example.com, got "{address}"')
        self._address = address
        self._audience = f"{parts.scheme}://{parts.netloc}"
        self._token = token if parts.scheme == "https" else None
        self._within = within

    def ask(self, fields: Mapping[str, str]) -> Mapping[str, Any]:
        """The answer to a question. Asking twice is harmless: the same owner may claim again.

        Raises:
            ConfigError: The question makes no sense to the function.
            AdapterError: There is no answer, or none of a pre-flight. That is no *go*.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token and (token := self._token(self._audience)):
            headers["Authorization"] = f"Bearer {token}"
        request = Request(self._address, json.dumps(fields).encode(), headers, method="POST")  # noqa: S310
        try:
            with _OPENER.open(request, timeout=self._within) as answer:
                return self._read(answer.status, answer.read(LONGEST_ANSWER))
        except HTTPError as exc:
            with exc:
                return self._read(exc.code, exc.read(LONGEST_ANSWER))
        except (URLError, HTTPException, OSError) as exc:
            reason = exc.reason if isinstance(exc, URLError) else exc
            raise AdapterError(f"the pre-flight at {self._address} does not answer: {reason}", retryable=True) from exc

    def _read(self, status: int, body: bytes) -> Mapping[str, Any]:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        said = str(found["error"])[:1_000] if isinstance(found, dict) and "error" in found else f"status {status}"
        if status == 200 and isinstance(found, dict):
            return found
        if status == 400 and isinstance(found, dict):
            raise ConfigError(said)
        hint = "; whoever asks needs roles/run.invoker on the function" if status in (401, 403) else ""
        retryable = status == 429 or status >= 500
        raise AdapterError(f"the pre-flight at {self._address} gives no answer: {said}{hint}", retryable=retryable)
