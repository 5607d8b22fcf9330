"""The alert desk before real servers that are in trouble: what it must tell arrives, arrives elsewhere, or waits and is told of."""

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
from tests.flow.test_desk import Office
from tests.receivers import USER, Post, Receiver, Reply, mail_server

IMPATIENT = Timeouts(connect=2, silence=0.4, body=0.2, whole=1.2)


class Street:
    """A desk, a chat with a mail server as its fallback, both real."""

    def __init__(self, folder: Path, chat: Receiver, post: Post, port: int) -> None:
        self.office = Office(folder)
        self.chat = chat
        self.post = post
        known = {"chat": chat.address, "smtp-password": canary("smtp")}
        secrets = RememberedSecrets(lambda name: known[name])
        alerts = self.office.pipeline.alerts
        doors: dict[str, Notifier] = dict(self.office.doors)
        doors["shop/chat"] = notifier(
            "chat",
            alerts.destinations["chat"],
            alerts=alerts,
            secrets=secrets,
            clock=self.office.clock,
            folder=folder,
            timeouts=IMPATIENT,
        )
        server = Mail(host="localhost", port=port, user=USER, password="secret://smtp-password", from_="gates@example.com")  # noqa: S106
        doors["shop/mail"] = Mailer(server, to=["a@example.com"], secrets=secrets, timeouts=IMPATIENT)
        self.office.doors = doors  # type: ignore[assignment]
        self.office.alerts = self.office.made()

    @property
    def chatted(self) -> list[str]:
        """The subjects that the chat was sent, in order, self-tests left aside; a refused one stands there, too."""
        said = [posted.object["text"].splitlines()[0] for posted in self.chat.posted]
        return [line.partition(": ")[2] for line in said if "[phasegate] test of" not in line]

    @property
    def mailed(self) -> list[str]:
        """The subjects that were mailed."""
        return [str(mail["Subject"]).partition(": ")[2] for mail in self.post.mails if "test of" not in str(mail["Subject"])]


@pytest.fixture
def street(tmp_path: Path, trusted: trustme.CA) -> Iterator[Street]:
    chat, post = Receiver(trusted, usual=Reply(200, b"ok")), Post()
    with mail_server(trusted, post, implicit_tls=False) as port:
        yield Street(tmp_path, chat, post, port)
    chat.close()
    assert chat.problems == post.problems == []


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
def test_what_may_come_back_is_told_in_its_place(street: Street, answers: list[Reply], sent: int) -> None:
    street.chat.answers = list(answers)
    street.office.alerts.handle(street.office.alert())
    street.office.pass_time(timedelta(minutes=5))
    assert street.chatted == [HELD] * sent
    assert street.mailed == []
    assert not [row for row in street.office.alerts.ledger.deliveries() if row.parked or row.error]
    repeats = ["may have reached you before" in posted.body.decode() for posted in street.chat.posted[:sent]]
    assert repeats == [False, *[answers[0].act in ("hang", "reset", "slow_head")] * (sent - 1)]


def test_a_pause_that_is_asked_for_is_kept(street: Street) -> None:
    street.chat.answers = [Reply(429, b"", {"Retry-After": "240"})]
    street.office.alerts.handle(street.office.alert())
    street.office.pass_time(timedelta(minutes=3))
    assert len(street.chatted) == 1
    street.office.pass_time(timedelta(minutes=2))
    assert len(street.chatted) == 2


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
def test_what_is_gone_is_told_at_its_fallback_and_is_an_incident(street: Street, gone: Reply) -> None:
    street.chat.usual = gone
    street.office.alerts.handle(street.office.alert())
    street.office.pass_time(timedelta(minutes=5))
    assert sorted(street.mailed) == sorted([HELD, DOWN])
    assert "destination_down" in {incident.cause for incident in street.office.alerts.incidents.still_open()}
    street.chat.usual = Reply(200, b"ok")
    street.office.pass_time(timedelta(hours=2))
    assert {incident.cause for incident in street.office.alerts.incidents.still_open()} == {"checks_failed"}, (
        "it works again, and says so"
    )


def test_what_stays_silent_is_told_at_its_fallback(street: Street) -> None:
    street.chat.usual = Reply(act="reset")
    street.office.alerts.handle(street.office.alert())
    street.office.pass_time(timedelta(minutes=20))
    assert sorted(street.mailed) == sorted([HELD, DOWN])


def test_what_nobody_takes_is_kept_and_told_when_somebody_does(street: Street) -> None:
    street.chat.usual = Reply(404, b"no_service")
    street.post.password = "another"  # noqa: S105
    street.office.alerts.handle(street.office.alert())
    street.office.pass_time(timedelta(minutes=5))
    assert street.mailed == []
    assert [
        row.destination for row in street.office.alerts.ledger.deliveries() if row.parked and row.cause == "checks_failed"
    ] == ["shop/chat"]
    down = {
        incident.subject for incident in street.office.alerts.incidents.still_open() if incident.cause == "destination_down"
    }
    assert down >= {"shop/chat", "shop/mail"}
    street.post.password = canary("smtp")
    street.office.pass_time(timedelta(hours=2), timedelta(minutes=5))
    assert HELD in street.mailed


def test_no_secret_is_kept_in_the_state(street: Street) -> None:
    """What a server says of itself may hold the address; the state, which is searched after this test, keeps none."""
    street.chat.usual = Reply(403, f"no such hook: {street.chat.address}".encode())
    street.post.password = "another"  # noqa: S105
    street.office.alerts.handle(street.office.alert())
    street.office.pass_time(timedelta(minutes=5))
    assert any("<secret>" in line.why for line in street.office.alerts.destinations.health())
