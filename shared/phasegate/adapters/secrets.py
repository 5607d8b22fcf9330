"""Secrets by reference: a pipeline file has `secret://NAME`; the value is in the environment, a folder or Secret Manager."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from phasegate.core.secret import Secret
from phasegate.errors import ConfigError, SecretError

Read = Callable[[str], str]
"""Gives the secret of a name; raises ConfigError when there is none, SecretError when the place does not answer."""

_PREFIX = "secret://"
_TIMEOUT = 10.0


class RememberedSecrets:
    """Caches secrets; one is read again when a destination refused it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._cached: dict[str, Secret] = {}
        self._reading = Lock()

    def get(self, reference: str, *, fresh: bool = False) -> Secret:
        """See `Secrets.get`."""
        with self._reading:
            if fresh or reference not in self._cached:
                # Editors and `echo` add a line break at the end.
                text = self._read(reference.removeprefix(_PREFIX)).strip("\r\n")
                if not text:
                    raise ConfigError(f"{reference} is empty")
                self._cached[reference] = Secret(text)
            return self._cached[reference]


def variable(name: str) -> str:
    """The environment variable that holds a secret.

    >>> variable("chat-webhook")
    'PHASEGATE_SECRET_CHAT_WEBHOOK'
    """
    return f"PHASEGATE_SECRET_{name.upper().replace('-', '_')}"


def environment(environ: Mapping[str, str]) -> Read:
    """Reads secrets from environment variables."""

    def read(name: str) -> str:
        if variable(name) not in environ:
            raise ConfigError(f"{_PREFIX}{name} is missing: set {variable(name)}")
        return environ[variable(name)]

    return read


def folder(path: Path) -> Read:
    """Reads secrets from the files of a folder, one file per secret."""

    def read(name: str) -> str:
        try:
            return (path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"{_PREFIX}{name} is missing: put it into the file {path / name}") from None
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{_PREFIX}{name}: the file {path / name} can't be read ({type(exc).__name__})") from None

    return read


class SecretManager:
    """Reads secrets from Google's Secret Manager, each in its newest version.

    This is one REST call; Google's client would add gRPC and generated code to every cold start.

    Args:
        http: Sends requests with credentials, like `google.auth.transport.urllib3.AuthorizedHttp`; made from the default
            credentials on first use, when left out.
    """

    def __init__(self, project: str, *, http: Any = None, endpoint: str = "https://secretmanager.googleapis.com") -> None:
        self._project = project
        self._http = http
        self._endpoint = endpoint

    def __call__(self, name: str) -> str:
        """The newest version of a secret."""
        path = f"projects/{self._project}/secrets/{quote(name, safe='')}/versions/latest:access"
        status, body = self._get(f"{self._endpoint}/v1/{path}")
        subject = f"{_PREFIX}{name} in Secret Manager of {self._project}"
        match status:
            case 200:
                try:
                    return base64.b64decode(json.loads(body)["payload"]["data"], validate=True).decode()
                except (ValueError, KeyError, TypeError, binascii.Error):
                    # Raised outside this block, without a cause: the answer, which may hold the secret, must not be quoted.
                    problem = SecretError(f"{subject}: the answer is malformed, or the secret is not text", retryable=False)
                raise problem
            case 400 | 404:
                add = f"gcloud secrets versions add {name} --project {self._project} --data-file=-"
                raise ConfigError(f"{subject}: it has no enabled version; add one with `{add}`")
            case 403:
                raise ConfigError(f"{subject}: not allowed; grant roles/secretmanager.secretAccessor to this account")
            case _:
                raise SecretError(f"{subject}: answered {status}", retryable=status in (408, 429) or status >= 500)

    def _get(self, url: str) -> tuple[int, bytes]:
        import google.auth
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.urllib3 import AuthorizedHttp
        from urllib3.exceptions import HTTPError

        try:
            if self._http is None:
                credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
                self._http = AuthorizedHttp(credentials)  # type: ignore[no-untyped-call]
            answer = self._http.request("GET", url, timeout=_TIMEOUT, retries=False)
        except (GoogleAuthError, HTTPError, OSError) as exc:
            retryable = isinstance(exc, (TransportError, HTTPError, OSError)) or getattr(exc, "retryable", False)
            raise SecretError(f"Secret Manager did not answer ({type(exc).__name__})", retryable=retryable) from exc
        return answer.status, answer.data
