"""Secrets by reference: a pipeline file says `secret://NAME`; the environment, a folder or Secret Manager has what is meant."""

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
"""Gives the secret of a name; raises ConfigError when there is none, SecretError when that could not be found out."""

_PREFIX = "secret://"
_SECONDS = 10.0


class RememberedSecrets:
    """Secrets that are read once, and again when whoever uses one was refused."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[str, Secret] = {}
        self._reading = Lock()

    def get(self, reference: str, *, fresh: bool = False) -> Secret:
        """See `Secrets.get`."""
        with self._reading:
            if fresh or reference not in self._known:
                # A line break at the end comes from the editor or `echo` that wrote it.
                text = self._read(reference.removeprefix(_PREFIX)).strip("\r\n")
                if not text:
                    raise ConfigError(f"{reference} is empty")
                self._known[reference] = Secret(text)
            return self._known[reference]


def variable(name: str) -> str:
    """The environment variable that holds a secret.

    >>> variable("chat-webhook")
    'PHASEGATE_SECRET_CHAT_WEBHOOK'
    """
    return f"PHASEGATE_SECRET_{name.upper().replace('-', '_')}"


def environment(environ: Mapping[str, str]) -> Read:
    """Secrets in variables of the environment."""

    def read(name: str) -> str:
        if variable(name) not in environ:
            raise ConfigError(f"{_PREFIX}{name} is not known: set {variable(name)}")
        return environ[variable(name)]

    return read


def folder(path: Path) -> Read:
    """Secrets as files of a folder, each named as it is referred to."""

    def read(name: str) -> str:
        try:
            return (path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"{_PREFIX}{name} is not known: put it into the file {path / name}") from None
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{_PREFIX}{name}: the file {path / name} can't be read ({type(exc).__name__})") from None

    return read


class SecretManager:
    """Secrets in Google's Secret Manager, each in its newest version.

    One REST call; Google's own client would bring gRPC and generated code for it into every start of a function.

    Args:
        http: Sends requests that carry credentials, like `google.auth.transport.urllib3.AuthorizedHttp`; made from the
            surroundings when it is first needed, if left out.
    """

    def __init__(self, project: str, *, http: Any = None, endpoint: str = "https://secretmanager.googleapis.com") -> None:
        self._project = project
        self._http = http
        self._endpoint = endpoint

    def __call__(self, name: str) -> str:
        """The secret of a name."""
        path = f"projects/{self._project}/secrets/{quote(name, safe='')}/versions/latest:access"
        status, body = self._get(f"{self._endpoint}/v1/{path}")
        told = f"{_PREFIX}{name} in Secret Manager of {self._project}"
        match status:
            case 200:
                try:
                    return base64.b64decode(json.loads(body)["payload"]["data"], validate=True).decode()
                except (ValueError, KeyError, TypeError, binascii.Error):
                    # Nothing of the answer is repeated, here or as a cause: it may be the secret.
                    problem = SecretError(f"{told}: the answer makes no sense, or the secret is no text", retryable=False)
                raise problem
            case 400 | 404:
                add = f"gcloud secrets versions add {name} --project {self._project} --data-file=-"
                raise ConfigError(f"{told}: there is no version that can be read; add one with `{add}`")
            case 403:
                raise ConfigError(f"{told}: not allowed; grant roles/secretmanager.secretAccessor to this account")
            case _:
                raise SecretError(f"{told}: answered {status}", retryable=status in (408, 429) or status >= 500)

    def _get(self, url: str) -> tuple[int, bytes]:
        import google.auth
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.urllib3 import AuthorizedHttp
        from urllib3.exceptions import HTTPError

        try:
            if self._http is None:
                credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
                self._http = AuthorizedHttp(credentials)  # type: ignore[no-untyped-call]
            answer = self._http.request("GET", url, timeout=_SECONDS, retries=False)
        except (GoogleAuthError, HTTPError, OSError) as exc:
            again = isinstance(exc, (TransportError, HTTPError, OSError)) or getattr(exc, "retryable", False)
            raise SecretError(f"Secret Manager could not be asked ({type(exc).__name__})", retryable=again) from exc
        return answer.status, answer.data
