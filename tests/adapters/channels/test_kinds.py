"""Every kind of destination is known wherever it has to be; what is missing is named."""

from pathlib import Path

import pytest
from phasegate.adapters.channels import notifier
from phasegate.adapters.channels.chat import ChatNotifier
from phasegate.core.alerts.delivery import LOCAL_KINDS, RATE_LIMITS
from phasegate.core.pipeline.model import Alerts, Destination, DestinationKind, Mail
from phasegate.ports import Notifier
from phasegate.testing import ManualClock

from tests.adapters.channels import test_hostile
from tests.adapters.channels.conftest import AT, REFUSALS, SCHEMAS, USUAL, Store

MAIL = Mail(host="localhost", user="gates", password="secret://smtp", from_="gates@example.com")  # noqa: S106
every_kind = pytest.mark.parametrize("kind", DestinationKind)


def destination(kind: DestinationKind) -> Destination:
    """A destination with the one key that its kind needs."""
    for keys in ({}, {"webhook": "secret://hook"}, {"to": ("a@example.com",)}):
        try:
            return Destination(kind=kind, **keys)  # type: ignore[arg-type]
        except ValueError:
            continue
        except KeyError:
            pytest.fail(f"add DestinationKind.{kind.name} to the table of keys below Destination in core/pipeline/model.py")
    pytest.fail(f"{kind} needs a key that this test does not know: add it here")


def notifier_of(kind: DestinationKind) -> Notifier:
    try:
        return notifier(
            "team",
            destination(kind),
            alerts=Alerts(mail=MAIL),
            secrets=Store().secrets,
            clock=ManualClock(AT),
            folder=Path("mails"),
        )
    except AssertionError as error:
        pytest.fail(f"add a case for DestinationKind.{kind.name} to notifier in adapters/channels/__init__.py: {error}")


@every_kind
def test_every_kind_has_a_notifier(kind: DestinationKind) -> None:
    assert notifier_of(kind)


@every_kind
def test_every_kind_has_a_rate_limit(kind: DestinationKind) -> None:
    assert kind in RATE_LIMITS, f"add DestinationKind.{kind.name} to RATE_LIMITS in core/alerts/delivery.py; None for no limit"
    assert (RATE_LIMITS[kind] is None) == (kind in LOCAL_KINDS), "every server limits how fast it accepts notices"


@every_kind
def test_every_kind_with_a_webhook_is_tested_against_a_server(kind: DestinationKind) -> None:
    if destination(kind).webhook is not None:
        assert kind in USUAL, f'add "{kind}" to USUAL in tests/adapters/channels/conftest.py: how it accepts a message'
        assert kind in REFUSALS, f'add "{kind}" to REFUSALS in tests/adapters/channels/conftest.py: how it refuses one'


@every_kind
def test_every_chat_has_a_schema_and_golden_files(kind: DestinationKind) -> None:
    if isinstance(notifier_of(kind), ChatNotifier):
        assert (SCHEMAS / f"{kind}.schema.json").exists(), f"add tests/adapters/channels/schemas/{kind}.schema.json"
        assert kind in test_hostile.CHANNELS, f'add "{kind}" to CHANNELS in tests/adapters/channels/test_hostile.py'


@every_kind
def test_every_chat_is_tested_against_markup(kind: DestinationKind) -> None:
    """How a chat reads markup is different in each, so no general test can show that hostile text pings nobody."""
    if isinstance(notifier_of(kind), ChatNotifier):
        name = f"test_{kind}_reads_no_markup"
        assert hasattr(test_hostile, name), f"add {name} to tests/adapters/channels/test_hostile.py"
