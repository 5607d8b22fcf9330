"""Secrets: read by reference, cached, never shown."""

import base64
import copy
import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3
from phasegate.adapters.channels import secret_problems
from phasegate.adapters.secrets import Read, RememberedSecrets, SecretManager, environment, folder
from phasegate.app.pipeline_file import load
from phasegate.core.secret import Secret
from phasegate.errors import ConfigError, SecretError

from tests.canaries import canary, holds

SECRET = Secret(canary("password"))


@pytest.mark.parametrize(
    "shown",
    [
        lambda: str(SECRET),
        lambda: repr(SECRET),
        lambda: f"{SECRET} {SECRET!r} {SECRET!s:>20}",
        lambda: f"{[SECRET]} {({'a': SECRET},)}",
        lambda: "%s %r" % (SECRET, SECRET),  # noqa: UP031
        lambda: json.dumps({"a": SECRET}, default=str),
        lambda: str(ValueError(SECRET)),
        lambda: repr(vars(type("Held", (), {"secret": SECRET}))),
    ],
)
def test_a_secret_is_not_shown(shown) -> None:
    assert not holds(shown())


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_a_secret_is_neither_pickled_nor_copied(way) -> None:
    with pytest.raises(TypeError) as caught:
        way(SECRET)
    assert not holds(str(caught.value))


def test_equal_secrets_compare_equal_and_are_hidden_in_texts() -> None:
    assert SECRET == Secret(canary("password")) != Secret("x")
    assert canary("password") != SECRET
    assert not hasattr(SECRET, "__dict__")
    hook = Secret(f"https://host.example/{canary('path')}?key={canary('key')}")
    said = hook.redact(f"no {canary('key')} at https://host.example/{canary('path')}?key={canary('key')}, /{canary('path')}")
    assert said == "no <secret> at <secret>, /<secret>"
    assert Secret("ok").redact("ok, not okay") == "<secret>, not <secret>ay"


class Place:
    """A place of secrets, and how to put one there."""

    def __init__(self, read: Read, put, hint: str) -> None:
        self.secrets = RememberedSecrets(read)
        self.put = put
        self.hint = hint


PLACES = ("env", "folder", "secretmanager")
"""Places of secrets, by scheme; each NAME has a fixture `NAME_place` that is empty."""


@pytest.fixture
def env_place() -> Place:
    environ: dict[str, str] = {}
    return Place(
        environment(environ),
        lambda value: environ.update({"PHASEGATE_SECRET_CHAT_WEBHOOK": value}),
        "set PHASEGATE_SECRET_CHAT_WEBHOOK",
    )


@pytest.fixture
def folder_place(tmp_path: Path) -> Place:
    path = tmp_path / "secrets" / "chat-webhook"
    path.parent.mkdir()
    return Place(folder(path.parent), path.write_text, f"put it into the file {path}")


@pytest.fixture
def secretmanager_place(manager: "Manager") -> Place:
    return Place(
        SecretManager("my-project", http=urllib3.PoolManager(), endpoint=manager.address),
        lambda value: manager.values.update({"chat-webhook": value}),
        "`gcloud secrets versions add chat-webhook --project my-project --data-file=-`",
    )


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the places, empty."""
    made: Place = request.getfixturevalue(f"{request.param}_place")
    return made


class Manager:
    """Secret Manager's REST API, for reading one secret."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.answer: tuple[int, bytes] | None = None
        self.paths: list[str] = []
        manager = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                manager.paths.append(self.path)
                status, body = manager.answer or manager.found(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def found(self, path: str) -> tuple[int, bytes]:
        prefix, suffix = "/v1/projects/my-project/secrets/", "/versions/latest:access"
        name = path.removeprefix(prefix).removesuffix(suffix)
        if path != f"{prefix}{name}{suffix}" or name not in self.values:
            return 404, b'{"error": {"code": 404, "status": "NOT_FOUND"}}'
        data = base64.b64encode(self.values[name].encode()).decode()
        named = f"projects/1/secrets/{name}/versions/3"
        return 200, json.dumps({"name": named, "payload": {"data": data, "dataCrc32c": "1"}}).encode()


@pytest.fixture
def manager() -> Iterator[Manager]:
    made = Manager()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_secret_is_cached_until_a_fresh_one_is_requested(place: Place) -> None:
    place.put(canary("first") + "\n")
    assert place.secrets.get("secret://chat-webhook") == Secret(canary("first"))
    place.put(canary("second"))
    assert place.secrets.get("secret://chat-webhook") == Secret(canary("first"))
    assert place.secrets.get("secret://chat-webhook", fresh=True) == Secret(canary("second"))
    assert place.secrets.get("secret://chat-webhook") == Secret(canary("second"))


def test_the_error_for_a_missing_or_empty_secret_says_how_to_set_it(place: Place) -> None:
    with pytest.raises(ConfigError) as caught:
        place.secrets.get("secret://chat-webhook")
    assert place.hint in str(caught.value)
    assert "secret://chat-webhook" in str(caught.value)
    place.put("\n")
    with pytest.raises(ConfigError, match="secret://chat-webhook is empty"):
        place.secrets.get("secret://chat-webhook")


@pytest.mark.parametrize(
    ("status", "body", "error", "again"),
    [
        (403, b"{}", ConfigError, None),
        (400, b'{"error": {"status": "FAILED_PRECONDITION"}}', ConfigError, None),
        (401, b"{}", SecretError, False),
        (429, b"{}", SecretError, True),
        (503, b"{}", SecretError, True),
        (200, canary("no json").encode(), SecretError, False),
        (200, b'{"payload": {"data": "' + canary("no base64").encode() + b'"}}', SecretError, False),
        (200, b'{"payload": {"data": "/w=="}}', SecretError, False),
    ],
)
def test_an_answer_of_secret_manager_is_never_quoted(manager, status, body, error, again) -> None:
    manager.answer = (status, body)
    read = SecretManager("my-project", http=urllib3.PoolManager(), endpoint=manager.address)
    with pytest.raises(error) as caught:
        read("chat-webhook")
    assert getattr(caught.value, "retryable", None) == again
    assert not holds(str(caught.value))
    assert caught.value.__context__ is None


def test_an_unreachable_secret_manager_is_a_retryable_error(manager) -> None:
    manager.server.server_close()
    read = SecretManager("my-project", http=urllib3.PoolManager(), endpoint=manager.address)
    with pytest.raises(SecretError) as caught:
        read("chat-webhook")
    assert caught.value.retryable


FILE = """\
pipeline: shop
calendar: {from: 2026-01-01}
phases:
  raw: {outputs: {raw.orders: {date: day}}}
alerts:
  destinations:
    chat: {kind: slack, webhook: secret://chat}
    pager: {kind: webhook, webhook: secret://pager, signing_key: secret://pager-key}
    boss: {kind: email, to: [boss@example.com]}
    screen: {kind: console}
  routes: [{to: [chat, pager, boss]}]
  mail: {host: smtp.example.com, user: gates, password: secret://smtp, from: gates@example.com}
"""


def test_missing_secrets_are_reported_at_the_start_by_destination(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(FILE)
    shop = load(tmp_path / "shop.yaml")
    environ = {"PHASEGATE_SECRET_PAGER": f"http://{canary('no tls')}/", "PHASEGATE_SECRET_SMTP": canary("smtp")}
    told = [str(problem) for problem in secret_problems([shop], RememberedSecrets(environment(environ)))]
    assert told == [
        "shop: alerts.destinations.chat.webhook: secret://chat is missing: set PHASEGATE_SECRET_CHAT",
        "shop: alerts.destinations.pager.webhook: expected secret://pager to hold an address that begins with https://"
        " (http:// is only for this machine)",
        "shop: alerts.destinations.pager.signing_key: secret://pager-key is missing: set PHASEGATE_SECRET_PAGER_KEY",
    ]
    environ |= {
        "PHASEGATE_SECRET_CHAT": f"https://hooks.example.com/{canary('hook')}",
        "PHASEGATE_SECRET_PAGER": f"https://pager.example.com/{canary('hook')}",
        "PHASEGATE_SECRET_PAGER_KEY": canary("key"),
    }
    assert not list(secret_problems([shop], RememberedSecrets(environment(environ))))
