"""What a notifier makes of what a server answers, against real servers; for each kind of chat, and for webhooks."""

import hashlib
import hmac
import traceback
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic

import pytest
from phasegate.adapters.channels import notifier
from phasegate.adapters.channels.webhook import signature
from phasegate.core.alerts.notice import REPEAT, short_hash
from phasegate.core.pipeline.model import Alerts, Destination, DestinationKind
from phasegate.core.secret import Secret
from phasegate.errors import NotifyError
from phasegate.ports import Notifier, Receipt
from phasegate.testing import ManualClock

from tests.adapters.channels.conftest import AT, IMPATIENT, KINDS, REFUSALS, USUAL, Store, notice
from tests.canaries import canary, holds
from tests.receivers import Receiver, Reply

CHATS = tuple(kind for kind in KINDS if kind != "webhook")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_chat = pytest.mark.parametrize("kind", CHATS)


def door(kind: str, store: Store) -> Notifier:
    key = "secret://key" if kind == "webhook" else None
    destination = Destination(kind=DestinationKind(kind), webhook="secret://hook", signing_key=key)
    return notifier(
        "door", destination, alerts=Alerts(), secrets=store.secrets, clock=ManualClock(AT), folder=Path(), timeouts=IMPATIENT
    )


def refused(kind: str, store: Store) -> NotifyError:
    """The error of a notice that is not taken; nothing of it, not even a local variable of its frames, is a secret."""
    with pytest.raises(NotifyError) as caught:
        door(kind, store).notify(notice())
    error = caught.value
    ours = error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)  # this test knows the secret
    told = "".join(traceback.TracebackException.from_exception(ours, capture_locals=True).format())
    assert not holds(told)
    assert error.__context__ is None, "no client's error hangs on it"
    assert "localhost" not in str(error)
    return error


@every_kind
def test_a_notice_is_taken_and_named(kind: str, receiver: Receiver, store: Store) -> None:
    receipt = door(kind, store).notify(notice())
    name = "spaces/AAA/messages/BBB.CCC" if kind == "google_chat" else ""
    assert receipt == Receipt(USUAL[kind].status, name)
    (posted,) = receiver.posted
    assert "table raw.orders has 3 rows" in posted.body.decode()
    assert posted.headers["Content-Type"] == "application/json"


@every_kind
def test_too_many_messages_name_the_seconds_to_wait(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(429, b"rate_limited", {"Retry-After": "7"})]
    error = refused(kind, store)
    assert (error.retryable, error.status, error.retry_after, error.maybe_sent) == (True, 429, 7.0, False)
    assert len(receiver.posted) == 1, "and it is not tried again here: the ledger does that"


@every_kind
def test_the_date_to_wait_for_counts_by_the_clock_of_the_server(kind: str, receiver: Receiver, store: Store) -> None:
    # Python's server sends a Date of its own first; the last one counts here.
    wrong_year = AT.replace(year=2001)
    headers = {"Date": format_datetime(wrong_year, usegmt=True)}
    headers["Retry-After"] = format_datetime(wrong_year + timedelta(seconds=90), usegmt=True)
    receiver.answers = [Reply(503, b"", headers)]
    error = refused(kind, store)
    assert (error.retryable, error.status, error.retry_after) == (True, 503, 90.0)


@pytest.mark.parametrize("said", ["", "soon", "-5", "1e9", "٣", "Mon, 99 Foo"])
@pytest.mark.parametrize("kind", ["slack"])
def test_a_time_to_wait_that_makes_no_sense_is_none(kind: str, said: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(429, b"", {"Retry-After": said.encode().decode("latin-1")})]
    error = refused(kind, store)
    assert (error.retryable, error.retry_after) == (True, None)


@every_kind
@pytest.mark.parametrize(("status", "maybe"), [(500, False), (502, True), (503, False), (504, True), (408, False)])
def test_a_server_in_trouble_may_be_tried_again(kind: str, status: int, maybe: bool, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(status, b"rollup_error")]
    error = refused(kind, store)
    assert (error.retryable, error.status, error.retry_after, error.maybe_sent) == (True, status, None, maybe)
    assert "rollup_error" in str(error)


@every_kind
@pytest.mark.parametrize("act", ["hang", "reset", "slow_head"])
def test_without_an_answer_it_may_have_arrived(kind: str, act: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(act=act)]
    began = monotonic()
    error = refused(kind, store)
    assert (error.retryable, error.status, error.maybe_sent) == (True, None, True)
    assert monotonic() - began < IMPATIENT.whole + 2


@every_kind
def test_a_body_that_never_ends_does_not_hide_that_the_notice_was_taken(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(200, act="slow_body")]
    began = monotonic()
    assert door(kind, store).notify(notice()) == Receipt(200)
    assert monotonic() - began < IMPATIENT.whole + 2


@every_kind
@pytest.mark.parametrize(
    ("status", "body"), [(404, b"no_service"), (410, b"channel_is_archived"), (403, b"action_prohibited"), (401, b"")]
)
def test_an_address_that_is_gone_is_refused_for_good(
    kind: str, status: int, body: bytes, receiver: Receiver, store: Store
) -> None:
    receiver.answers = [Reply(status, body)] * 2
    error = refused(kind, store)
    assert (error.retryable, error.status) == (False, status)
    assert len(receiver.posted) == 1, "the address is the newest, and is not tried twice"


@every_kind
def test_a_redirect_is_not_followed(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(302, b"", {"Location": receiver.address})]
    error = refused(kind, store)
    assert (error.retryable, error.status, len(receiver.posted)) == (False, 302, 1)


@every_chat
def test_plain_text_takes_the_place_of_a_card_that_is_refused(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [REFUSALS[kind]]
    receipt = door(kind, store).notify(notice(possible_duplicate=True))
    assert (receipt.status, receipt.plain) == (USUAL[kind].status, True)
    card, text = (posted.body.decode() for posted in receiver.posted)
    for words in ("table raw.orders has 3 rows", "phasegate explain raw 2026-03-02", REPEAT):
        assert words in card
        assert words in text
    assert len(text) < len(card)


@every_kind
def test_what_refuses_even_plain_text_is_refused_for_good(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [REFUSALS[kind]] * 2
    error = refused(kind, store)
    assert (error.retryable, error.status) == (False, REFUSALS[kind].status)
    assert len(receiver.posted) == (1 if kind == "webhook" else 2)


@every_kind
def test_a_secret_that_was_replaced_is_read_anew(kind: str, receiver: Receiver, store: Store) -> None:
    made = door(kind, store)
    made.notify(notice())
    receiver.path = canary("newer")
    store.known["hook"] = receiver.address
    assert made.notify(notice()).status == USUAL[kind].status
    made.notify(notice())
    assert store.reads.count("hook") == 2, "once at first, once when it was refused"


@every_kind
def test_a_server_that_repeats_the_secret_tells_nobody(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(403, f"no key {canary('key')} at {receiver.address}".encode())] * 2
    assert "no key <secret> at <secret>" in str(refused(kind, store))


@every_kind
def test_a_host_that_is_not_there_has_got_nothing(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.close()
    error = refused(kind, store)
    assert (error.retryable, error.status, error.maybe_sent) == (True, None, False)


@every_kind
def test_nothing_is_said_to_a_server_whose_certificate_is_not_trusted(
    kind: str, receiver: Receiver, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = refused(kind, store)
    assert (error.retryable, error.maybe_sent, receiver.posted) == (True, False, [])
    assert "certificate is not trusted" in str(error)


@every_kind
@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:1/x",
        "localhost",
        "https://",
        "https://a b/",
        "https://user@host/",
        "https://x/\r\nHost: y",
        "https://[/",
        "https://x:0/",
    ],
)
def test_only_a_whole_https_address_is_posted_to(kind: str, address: str, store: Store) -> None:
    store.known["hook"] = address + "#" + canary("address")
    error = refused(kind, store)
    assert not error.retryable
    assert str(error) == "secret://hook holds no address that begins with https://"


@pytest.mark.parametrize("kind", ["webhook"])
def test_a_webhook_is_signed(kind: str, receiver: Receiver, store: Store) -> None:
    door(kind, store).notify(notice())
    (posted,) = receiver.posted
    assert posted.headers["X-Phasegate-Timestamp"] == str(int(AT.timestamp()))
    signed = posted.headers["X-Phasegate-Timestamp"].encode() + b"." + posted.body
    mine = hmac.new(canary("signing").encode(), signed, hashlib.sha256).hexdigest()
    assert posted.headers["X-Phasegate-Signature"] == f"v1={mine}"
    assert posted.headers["X-Phasegate-Key"] == posted.object["key"] == short_hash(notice().key)


@pytest.mark.parametrize("kind", ["webhook"])
def test_a_signing_key_that_was_replaced_is_read_anew(kind: str, receiver: Receiver, store: Store) -> None:
    made = door(kind, store)
    made.notify(notice())
    store.known["key"] = canary("signing-newer")
    receiver.answers = [Reply(401, b"wrong signature")]
    made.notify(notice())
    old, new = (posted.headers["X-Phasegate-Signature"] for posted in receiver.posted[1:])
    assert old != new
    assert new == f"v1={signature(Secret(canary('signing-newer')), str(int(AT.timestamp())), receiver.posted[2].body)}"


@pytest.mark.parametrize("kind", ["google_chat"])
def test_an_incident_has_a_thread_in_google_chat(kind: str, receiver: Receiver, store: Store) -> None:
    made = door(kind, store)
    made.notify(notice())
    made.notify(notice(key="another"))
    made.notify(notice(thread="another"))
    first, second, other = (posted.object["thread"]["threadKey"] for posted in receiver.posted)
    assert first == second != other
    assert receiver.posted[0].path.endswith(f"?key={canary('key')}&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD")


@every_kind
def test_a_server_that_checks_bodies_takes_every_notice(kind: str, receiver: Receiver, store: Store) -> None:
    """The widest, the emptiest, and one with everything twice."""
    made = door(kind, store)
    for each in (notice(lead="", blocks=()), notice(), notice(blocks=notice().blocks * 30)):
        assert not made.notify(each).plain
    assert len(receiver.posted) == 3
