"""Alert dispatch with real servers that fail: a notice arrives, arrives at the fallback, or is parked and alerted about."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from phasegate.adapters.channels import notifier
from phasegate.adapters.channels.smtp import Mailer
from phasegate.adapters.channels.timeouts import Timeouts
from phasegate.adapters.secrets import RememberedSecrets
from phasegate.core.pipeline.model import Mail
from phasegate.ports import Notifier

from tests.canaries import canary
from tests.flow.test_alerts import World
from tests.receivers import USER, Mailbox, Receiver, Reply, mail_server

SHORT_TIMEOUTS = Timeouts(connect=2, silence=0.4, body=0.2, whole=1.2)


class Servers:
    """Alert dispatch with a chat and a mail server as its fallback, both real."""

    def __init__(self, folder: Path, chat: Receiver, mailbox: Mailbox, port: int) -> None:
        self.world = World(folder)
        self.chat = chat
        self.mailbox = mailbox
        values = {"chat": chat.address, "smtp-password": canary("smtp")}
        secrets = RememberedSecrets(lambda name: values[name])
        alerts = self.world.pipeline.alerts
        destinations: dict[str, Notifier] = dict(self.world.destinations)
        destinations["shop/chat"] = notifier(
            "chat",
            alerts.destinations["chat"],
            alerts=alerts,
            secrets=secrets,
            clock=self.world.clock,
            folder=folder,
            timeouts=SHORT_TIMEOUTS,
        )
        server = Mail(host="localhost", port=port, user=USER, password="secret://smtp-password", from_="gates@example.com")  # noqa: S106
        destinations["shop/mail"] = Mailer(server, to=["a@example.com"], secrets=secrets, timeouts=SHORT_TIMEOUTS)
        self.world.destinations = destinations  # type: ignore[assignment]
        self.world.alerts = self.world.dispatch()

    @property
    def chatted(self) -> list[str]:
        """The subjects that the chat was sent, in order, refused ones included, without self-tests."""
        headlines = [posted.object["text"].splitlines()[0] for posted in self.chat.posted]
        return [line.partition(": ")[2] for line in headlines if "[phasegate] test of" not in line]

    @property
    def mailed(self) -> list[str]:
        """The subjects that were mailed."""
        return [str(mail["Subject"]).partition(": ")[2] for mail in self.mailbox.mails if "test of" not in str(mail["Subject"])]


@pytest.fixture
def servers(tmp_path: Path, trusted: trustme.CA) -> Iterator[Servers]:
    chat, mailbox = Receiver(trusted, usual=Reply(200, b"ok")), Mailbox()
    with mail_server(trusted, mailbox, implicit_tls=False) as port:
        yield Servers(tmp_path, chat, mailbox, port)
    chat.close()
    assert chat.problems == mailbox.problems == []


HELD = "[shop] raw of 2026-03-01: held"
DOWN = "[phasegate] shop/chat: not accepting alerts"


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        ([Reply(429, b"", {"Retry-After": "120"})], 2),
        ([Reply(500, b"rollup_error")], 2),
        ([Reply(act="hang")], 2),
        ([Reply(act="reset")], 2),
        ([Reply(act="slow_head")], 2),
        ([Reply(200, act="slow_body")], 1),
        ([Reply(400, b"invalid_blocks")], 2),
    ],
    ids=["429", "500", "hang", "reset", "slow head", "slow body", "400 card"],
)
def test_a_temporary_failure_is_retried_at_the_same_destination(servers: Servers, answers: list[Reply], sent: int) -> None:
    servers.chat.answers = list(answers)
    servers.world.alerts.handle(servers.world.alert())
    servers.world.pass_time(timedelta(minutes=5))
    assert servers.chatted == [HELD] * sent
    assert servers.mailed == []
    assert not [row for row in servers.world.alerts.ledger.deliveries() if row.parked or row.error]
    repeats = ["This may be a repeat" in posted.body.decode() for posted in servers.chat.posted[:sent]]
    assert repeats == [False, *[answers[0].act in ("hang", "reset", "slow_head")] * (sent - 1)]


def test_retry_after_is_respected(servers: Servers) -> None:
    servers.chat.answers = [Reply(429, b"", {"Retry-After": "240"})]
    servers.world.alerts.handle(servers.world.alert())
    servers.world.pass_time(timedelta(minutes=3))
    assert len(servers.chatted) == 1
    servers.world.pass_time(timedelta(minutes=2))
    assert len(servers.chatted) == 2


@pytest.mark.parametrize(
    "gone",
    [
        Reply(404, b"no_service"),
        Reply(410, b"channel_is_archived"),
        Reply(403, b"invalid_token"),
        Reply(302, b""),
        Reply(400, b"no"),
    ],
    ids=lambda reply: str(reply.status),
)
def test_a_permanent_failure_goes_to_the_fallback_and_becomes_an_incident(servers: Servers, gone: Reply) -> None:
    servers.chat.usual = gone
    servers.world.alerts.handle(servers.world.alert())
    servers.world.pass_time(timedelta(minutes=5))
    assert sorted(servers.mailed) == sorted([HELD, DOWN])
    assert "destination_down" in {incident.cause for incident in servers.world.alerts.incidents.still_open()}
    servers.chat.usual = Reply(200, b"ok")
    servers.world.pass_time(timedelta(hours=2))
    assert {incident.cause for incident in servers.world.alerts.incidents.still_open()} == {"checks_failed"}, (
        "its recovery closed the incident"
    )


def test_a_destination_that_keeps_failing_is_replaced_by_its_fallback(servers: Servers) -> None:
    servers.chat.usual = Reply(act="reset")
    servers.world.alerts.handle(servers.world.alert())
    servers.world.pass_time(timedelta(minutes=20))
    assert sorted(servers.mailed) == sorted([HELD, DOWN])


def test_a_notice_that_nobody_accepts_is_parked_and_sent_later(servers: Servers) -> None:
    servers.chat.usual = Reply(404, b"no_service")
    servers.mailbox.password = "another"  # noqa: S105
    servers.world.alerts.handle(servers.world.alert())
    servers.world.pass_time(timedelta(minutes=5))
    assert servers.mailed == []
    assert [
        row.destination for row in servers.world.alerts.ledger.deliveries() if row.parked and row.cause == "checks_failed"
    ] == ["shop/chat"]
    down = {
        incident.subject for incident in servers.world.alerts.incidents.still_open() if incident.cause == "destination_down"
    }
    assert down >= {"shop/chat", "shop/mail"}
    servers.mailbox.password = canary("smtp")
    servers.world.pass_time(timedelta(hours=2), timedelta(minutes=5))
    assert HELD in servers.mailed


def test_no_secret_is_stored_in_the_state(servers: Servers) -> None:
    """A server's answer may repeat the address. The state is searched for secrets after this test."""
    servers.chat.usual = Reply(403, f"no such hook: {servers.chat.address}".encode())
    servers.mailbox.password = "another"  # noqa: S105
    servers.world.alerts.handle(servers.world.alert())
    servers.world.pass_time(timedelta(minutes=5))
    assert any("<secret>" in line.why for line in servers.world.alerts.destinations.health())
