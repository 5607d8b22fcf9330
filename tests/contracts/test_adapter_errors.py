"""Every row of the error table in the adapters' README."""

import importlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.cloud.firestore import Client
from phasegate import errors
from phasegate.adapters import google_errors
from phasegate.adapters.pubsub import PubSubPublisher
from phasegate.adapters.state.firestore import FirestoreStore
from phasegate.core.field_syntax import Span
from phasegate.ports import Change, Outgoing

README = Path(google_errors.__file__).with_name("README.md")
NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = Span(date(2026, 3, 2), date(2026, 3, 2))
MESSAGE = Outgoing("k", "alerts", {})


class Failing:
    """A client whose every call raises one error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: object, **__: object) -> Any:
            raise self._error

        return call


class FailingClient(Client):
    """Firestore's client over a service whose every request raises one error."""

    def __init__(self, error: Exception) -> None:
        super().__init__("p", credentials=AnonymousCredentials())
        self._failing = Failing(error)

    @property
    def _firestore_api(self) -> Any:
        return self._failing


def store(error: Exception) -> FirestoreStore:
    return FirestoreStore("p", "(default)", client=FailingClient(error))


CALLS: dict[tuple[str, str], Callable[[Exception], object]] = {
    ("firestore", "reads"): lambda error: store(error).load("shop", DAY),
    ("firestore", "marks as sent"): lambda error: store(error).mark_sent(["a", "b"], NOW),
    ("firestore", "commits"): lambda error: store(error).commit(Change(outbox=(MESSAGE,))),
    ("pubsub", "publishes"): lambda error: PubSubPublisher("p", connect=lambda: Failing(error)).publish(MESSAGE),
}


def made(name: str) -> Exception:
    """A client's error, by its name in the table."""
    module, _, kind = name.rpartition(".")
    found = getattr(importlib.import_module(module) if module else exceptions, kind)
    error: Exception = found("a reason", None) if kind == "RetryError" else found("a reason")
    return error


def rows() -> Iterator[tuple[str, str, str, str, bool]]:
    for line in README.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[4] in ("yes", "no"):
            for call in cells[1].split(", "):
                for name in re.findall(r"`([^`]+)`", cells[2]):
                    yield cells[0], call, name, cells[3].strip("`"), cells[4] == "yes"


@pytest.mark.parametrize(("adapter", "call", "name", "becomes", "retryable"), tuple(rows()))
def test_a_clients_error_becomes_what_the_table_says(adapter: str, call: str, name: str, becomes: str, retryable: bool) -> None:
    error = made(name)
    with pytest.raises(errors.AdapterError, match=r"a reason|kept changing") as caught:
        CALLS[adapter, call](error)
    assert (type(caught.value).__name__, caught.value.retryable) == (becomes, retryable)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(("adapter", "call"), [("firestore", "reads"), ("firestore", "commits"), ("pubsub", "publishes")])
def test_the_table_names_every_code(adapter: str, call: str) -> None:
    found = [made(name) for *row, name, _, _ in rows() if row == [adapter, call]]
    named = {error.grpc_status_code for error in found if isinstance(error, exceptions.GoogleAPICallError)}
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    assert named == {kind.grpc_status_code for kind in kinds if getattr(kind, "grpc_status_code", None)}


def test_a_credential_error_with_the_retryable_flag_is_retryable() -> None:
    assert google_errors.is_retryable(RefreshError("busy", retryable=True))
    assert not google_errors.is_retryable(RefreshError("revoked"))
