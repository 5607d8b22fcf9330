"""The owner of credentials: from the credentials themselves, or else from Google."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from phasegate.adapters.google_account import USERINFO, account
from phasegate.errors import AdapterError, ConfigError


class Credentials(AnonymousCredentials):
    """Credentials that name their account like those of a service account, a machine or a person."""

    def __init__(self, **named: str) -> None:
        super().__init__()
        for name, value in named.items():
            setattr(self, name, value)


class Google:
    """A session that gives one answer to every request."""

    def __init__(self, status: int, body: Any = None, error: Exception | None = None) -> None:
        self.status, self.body, self.error = status, body, error
        self.requests: list[str] = []

    def __call__(self, credentials: Credentials) -> "Google":
        return self

    def get(self, url: str, timeout: float) -> SimpleNamespace:
        self.requests.append(url)
        if self.error:
            raise self.error
        return SimpleNamespace(status_code=self.status, json=lambda: self.body)


@pytest.mark.parametrize("named", [{"service_account_email": "a@p.iam.gserviceaccount.com"}, {"account": "ann@example.com"}])
def test_an_account_named_by_the_credentials_is_used(named: dict[str, str]) -> None:
    google = Google(500)
    assert account(Credentials(**named), google) in named.values()
    assert google.requests == []


@pytest.mark.parametrize("named", [{}, {"account": ""}, {"service_account_email": "default"}])
def test_google_is_asked_about_other_credentials(named: dict[str, str]) -> None:
    google = Google(200, {"sub": "1", "email": "ann@example.com"})
    assert account(Credentials(**named), google) == "ann@example.com"
    assert google.requests == [USERINFO]


@pytest.mark.parametrize("google", [Google(401, {}), Google(200, {"sub": "1"})])
def test_credentials_without_an_owner_are_an_error_with_a_fix(google: Google) -> None:
    with pytest.raises(ConfigError, match="gcloud auth application-default login"):
        account(Credentials(), google)


@pytest.mark.parametrize("error", [RefreshError("token ya29.secret is expired"), ConnectionError("away")])
def test_no_answer_of_google_is_an_error_without_secrets(error: Exception) -> None:
    with pytest.raises(AdapterError) as raised:
        account(Credentials(), Google(200, error=error))
    assert "secret" not in str(raised.value)


def test_missing_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(ConfigError, match="no credentials that identify you"):
        account()
