"""Real servers on this machine, and a notice to send to them."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from phasegate.adapters.channels.timeouts import Timeouts
from phasegate.adapters.secrets import RememberedSecrets
from phasegate.core.alerts.notice import Commands, Facts, Link, Links, Listing, Notice, Paragraph, Tone

from tests.canaries import canary
from tests.receivers import Receiver, Reply

SCHEMAS = Path(__file__).parent / "schemas"
AT = datetime(2026, 3, 3, 6, tzinfo=UTC)
SHORT_TIMEOUTS = Timeouts(connect=2, silence=0.5, body=0.3, whole=1.5)

# What each channel answers when it accepts a message, and when it refuses one.
USUAL = {
    "slack": Reply(200, b"ok"),
    "google_chat": Reply(200, b'{"name": "spaces/AAA/messages/BBB.CCC", "text": ""}'),
    "teams": Reply(202, b""),
    "webhook": Reply(204, b""),
}
REFUSALS = {
    "slack": Reply(400, b"invalid_blocks"),
    "google_chat": Reply(
        400, b'{"error": {"code": 400, "message": "Invalid JSON payload received.", "status": "INVALID_ARGUMENT"}}'
    ),
    "teams": Reply(400, b'{"error": {"code": "TriggerInputSchemaMismatch", "message": "The input body does not match."}}'),
    "webhook": Reply(422, b"no"),
}
MESSAGE_IDS = {"google_chat": "spaces/AAA/messages/BBB.CCC"}
"""The ids in those answers, of the chats that give any."""
KINDS = tuple(USUAL)


def schema(kind: str) -> dict[str, object]:
    if kind == "webhook":
        from phasegate.schemas import schema as message

        return message("notice")
    found: dict[str, object] = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    return found


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """So that the search for secrets sees the debug logs of every library, too."""
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def receiver(request: pytest.FixtureRequest, trusted: trustme.CA) -> Iterator[Receiver]:
    """A server that answers like the kind of channel under test."""
    kind = request.getfixturevalue("kind")
    server = Receiver(trusted, usual=USUAL[kind], schema=schema(kind), refusal=REFUSALS[kind])
    yield server
    server.close()
    assert not server.problems, "a body did not follow its schema, or held a secret"


class Store:
    """Secrets that can be replaced."""

    def __init__(self, **values: str) -> None:
        self.values = {name.replace("_", "-"): value for name, value in values.items()}
        self.secrets = RememberedSecrets(self._read)
        self.reads: list[str] = []

    def _read(self, name: str) -> str:
        self.reads.append(name)
        return self.values[name]


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    """The secrets of the channel under test."""
    address = request.getfixturevalue("receiver").address if "receiver" in request.fixturenames else ""
    return Store(hook=address, key=canary("signing"), smtp=canary("smtp"))


def notice(**fields: object) -> Notice:
    """A notice like those about incidents."""
    usual: dict[str, object] = {
        "key": "shop/raw/2026-03-02/checks_failed@shop/chat/20260303T060000/1/first",
        "thread": "shop/raw/checks_failed/2026-03-03T06:00:00+00:00",
        "tone": Tone.CRITICAL,
        "subject": "[shop] raw of 2026-03-02: held",
        "lead": "table raw.orders has 3 rows, expected at least 9,500.",
        "blocks": (
            Facts((("Effect", "clean of 2026-03-02 is not started"), ("Since", "2026-03-03 06:00 UTC (0 min)"))),
            Listing("Evidence", ("raw.orders.row_count: 3 rows", "raw.orders.key: 2 surplus rows")),
            Commands("Next", ("phasegate explain raw 2026-03-02 --pipeline shop",)),
            Links((Link("Acknowledge", "https://gates.example.com/ack?token=a.b"),)),
            Paragraph("Incident shop/raw/checks_failed"),
        ),
        "at": AT,
        "data": {"incident": "shop/raw/checks_failed", "members": []},
    }
    return Notice(**{**usual, **fields})  # type: ignore[arg-type]
