"""Whose the credentials are: what they say themselves, else what Google says of them."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from phasegate.adapters.google_account import USERINFO, account
from phasegate.errors import AdapterError, ConfigError


class Credentials(AnonymousCredentials):
    """Credentials that name their account as those of a service account, a machine, or a person do."""

    def __init__(self, **named: str) -> None:
        super().__init__()
        for name, value in named.items():
            setattr(self, name, value)


class Google:
    """A session that answers every request so."""

    def __init__(self, status: int, body: Any = None, error: Exception | None = None) -> None:
        self.status, self.body, self.error = status, body, error
        self.asked: list[str] = []

    def __call__(self, credentials: Credentials) -> "Google":
        return self

    def get(self, url: str, timeout: float) -> SimpleNamespace:
        self.asked.append(url)
        if self.error:
            raise self.error
        return SimpleNamespace(status_code=self.status, json=lambda: self.body)


@pytest.mark.parametrize("named", [{"service_account_email": "a@p.iam.gserviceaccount.com"}, {"account": "ann@example.com"}])
def test_credentials_that_name_their_account_are_believed(named: dict[str, str]) -> None:
    google = Google(500)
    assert account(Credentials(**named), google) in named.values()
    assert google.asked == []


@pytest.mark.parametrize("named", [{}, {"account": ""}, {"service_account_email": "default"}])
def test_google_is_asked_about_others(named: dict[str, str]) -> None:
    google = Google(200, {"sub": "1", "email": "ann@example.com"})
    assert account(Credentials(**named), google) == "ann@example.com"
    assert google.asked == [USERINFO]


@pytest.mark.parametrize("google", [Google(401, {}), Google(200, {"sub": "1"})])
def test_credentials_of_nobody_say_what_to_do(google: Google) -> None:
    with pytest.raises(ConfigError, match="gcloud auth application-default login"):
        account(Credentials(), google)


@pytest.mark.parametrize("error", [RefreshError("token ya29.secret is expired"), ConnectionError("away")])
def test_a_silent_google_is_no_answer_and_tells_no_secret(error: Exception) -> None:
    with pytest.raises(AdapterError) as raised:
        account(Credentials(), Google(200, error=error))
    assert "secret" not in str(raised.value)


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(ConfigError, match="no credentials to tell who acts"):
        account()
