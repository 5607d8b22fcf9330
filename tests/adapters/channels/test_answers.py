"""What a notifier does with each answer of a server, against real servers; for each kind of chat, and for webhooks."""

import hashlib
import hmac
import json
import threading
import traceback
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
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

from tests.adapters.channels.conftest import AT, KINDS, MESSAGE_IDS, REFUSALS, SHORT_TIMEOUTS, USUAL, Store, notice
from tests.canaries import canary, holds
from tests.receivers import Receiver, Reply

CHATS = tuple(kind for kind in KINDS if kind != "webhook")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_chat = pytest.mark.parametrize("kind", CHATS)


def channel(kind: str, store: Store) -> Notifier:
    key = "secret://key" if kind == "webhook" else None
    destination = Destination(kind=DestinationKind(kind), webhook="secret://hook", signing_key=key)
    return notifier(
        "channel",
        destination,
        alerts=Alerts(),
        secrets=store.secrets,
        clock=ManualClock(AT),
        folder=Path(),
        timeouts=SHORT_TIMEOUTS,
    )


def error_of(kind: str, store: Store) -> NotifyError:
    """The error of a notice that is not accepted; no part of it, not even a local variable of its frames, holds a secret."""
    with pytest.raises(NotifyError) as caught:
        channel(kind, store).notify(notice())
    error = caught.value
    ours = error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)  # this test knows the secret
    shown = "".join(traceback.TracebackException.from_exception(ours, capture_locals=True).format())
    assert not holds(shown)
    assert error.__context__ is None, "no error of the client is its context"
    assert "localhost" not in str(error)
    return error


@every_kind
def test_a_notice_is_accepted_and_its_message_id_returned(kind: str, receiver: Receiver, store: Store) -> None:
    receipt = channel(kind, store).notify(notice())
    assert receipt == Receipt(USUAL[kind].status, MESSAGE_IDS.get(kind, "")), f'add "{kind}" to MESSAGE_IDS in conftest.py'
    (posted,) = receiver.posted
    assert "table raw.orders has 3 rows" in posted.body.decode()
    assert posted.headers["Content-Type"] == "application/json"


@every_kind
def test_429_gives_the_seconds_to_wait(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(429, b"rate_limited", {"Retry-After": "7"})]
    error = error_of(kind, store)
    assert (error.retryable, error.status, error.retry_after, error.maybe_sent) == (True, 429, 7.0, False)
    assert len(receiver.posted) == 1, "not tried again here: the ledger does that"


@every_kind
def test_a_retry_after_date_is_read_by_the_clock_of_the_server(kind: str, receiver: Receiver, store: Store) -> None:
    # Python's server sends a Date of its own first; the last one counts here.
    wrong_year = AT.replace(year=2001)
    headers = {"Date": format_datetime(wrong_year, usegmt=True)}
    headers["Retry-After"] = format_datetime(wrong_year + timedelta(seconds=90), usegmt=True)
    receiver.answers = [Reply(503, b"", headers)]
    error = error_of(kind, store)
    assert (error.retryable, error.status, error.retry_after) == (True, 503, 90.0)


@pytest.mark.parametrize("header", ["", "soon", "-5", "1e9", "٣", "Mon, 99 Foo"])
@pytest.mark.parametrize("kind", ["slack"])
def test_an_invalid_retry_after_is_ignored(kind: str, header: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(429, b"", {"Retry-After": header.encode().decode("latin-1")})]
    error = error_of(kind, store)
    assert (error.retryable, error.retry_after) == (True, None)


@every_kind
@pytest.mark.parametrize(("status", "maybe"), [(500, False), (502, True), (503, False), (504, True), (408, False)])
def test_a_server_error_is_retryable(kind: str, status: int, maybe: bool, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(status, b"rollup_error")]
    error = error_of(kind, store)
    assert (error.retryable, error.status, error.retry_after, error.maybe_sent) == (True, status, None, maybe)
    assert "rollup_error" in str(error)


@every_kind
@pytest.mark.parametrize("act", ["hang", "reset", "slow_head"])
def test_without_an_answer_the_notice_may_have_arrived(kind: str, act: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(act=act)]
    began = monotonic()
    error = error_of(kind, store)
    assert (error.retryable, error.status, error.maybe_sent) == (True, None, True)
    assert monotonic() - began < SHORT_TIMEOUTS.whole + 2


@every_kind
def test_an_answer_whose_body_never_ends_still_counts(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(200, act="slow_body")]
    began = monotonic()
    assert channel(kind, store).notify(notice()) == Receipt(200)
    assert monotonic() - began < SHORT_TIMEOUTS.whole + 2


@every_kind
@pytest.mark.parametrize(
    ("status", "body"), [(404, b"no_service"), (410, b"channel_is_archived"), (403, b"action_prohibited"), (401, b"")]
)
def test_an_invalid_address_is_not_retryable(kind: str, status: int, body: bytes, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(status, body)] * 2
    error = error_of(kind, store)
    assert (error.retryable, error.status) == (False, status)
    assert len(receiver.posted) == 1, "the address is the newest one, so it is not tried twice"


@every_kind
def test_a_redirect_is_not_followed(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(302, b"", {"Location": receiver.address})]
    error = error_of(kind, store)
    assert (error.retryable, error.status, len(receiver.posted)) == (False, 302, 1)


@every_chat
def test_a_refused_card_is_sent_as_plain_text(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [REFUSALS[kind]]
    receipt = channel(kind, store).notify(notice(possible_duplicate=True))
    assert (receipt.status, receipt.plain) == (USUAL[kind].status, True)
    card, text = (posted.body.decode() for posted in receiver.posted)
    for words in ("table raw.orders has 3 rows", "phasegate explain raw 2026-03-02", REPEAT):
        assert words in card
        assert words in text
    assert len(text) < len(card)


@every_kind
def test_a_refusal_of_plain_text_is_not_retryable(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [REFUSALS[kind]] * 2
    error = error_of(kind, store)
    assert (error.retryable, error.status) == (False, REFUSALS[kind].status)
    assert len(receiver.posted) == (1 if kind == "webhook" else 2)


@every_kind
def test_a_replaced_secret_is_read_again(kind: str, receiver: Receiver, store: Store) -> None:
    made = channel(kind, store)
    made.notify(notice())
    receiver.path = canary("newer")
    store.values["hook"] = receiver.address
    assert made.notify(notice()).status == USUAL[kind].status
    made.notify(notice())
    assert store.reads.count("hook") == 2, "once at first, once when it was refused"


@every_kind
def test_a_secret_that_the_server_repeats_is_redacted(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.answers = [Reply(403, f"no key {canary('key')} at {receiver.address}".encode())] * 2
    assert "no key <secret> at <secret>" in str(error_of(kind, store))


@every_kind
def test_an_unreachable_host_has_received_nothing(kind: str, receiver: Receiver, store: Store) -> None:
    receiver.close()
    error = error_of(kind, store)
    assert (error.retryable, error.status, error.maybe_sent) == (True, None, False)


@every_kind
def test_nothing_is_sent_to_a_server_with_an_untrusted_certificate(
    kind: str, receiver: Receiver, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = error_of(kind, store)
    assert (error.retryable, error.maybe_sent, receiver.posted) == (True, False, [])
    assert "certificate is not trusted" in str(error)


@every_kind
@pytest.mark.parametrize(
    "address",
    [
        "http://chat.example.com/x",
        "http://localhost.example.com/x",
        "http://localhost@example.com/x",
        "http://10.0.0.1/x",
        "ftp://localhost/x",
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
    store.values["hook"] = address + "#" + canary("address")
    error = error_of(kind, store)
    assert not error.retryable
    assert str(error) == (
        "secret://hook does not contain an address that begins with https:// (http:// is only for this machine)"
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3"])
def test_a_receiver_on_this_machine_needs_no_tls(host: str, store: Store) -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    store.values["hook"] = f"http://{host}:{server.server_address[1]}/gates"
    assert channel("webhook", store).notify(notice()).status == 204
    assert json.loads(bodies[0])["key"] == short_hash(notice().key)
    server.server_close()


@pytest.mark.parametrize("kind", ["webhook"])
def test_a_webhook_is_signed(kind: str, receiver: Receiver, store: Store) -> None:
    channel(kind, store).notify(notice())
    (posted,) = receiver.posted
    assert posted.headers["X-Phasegate-Timestamp"] == str(int(AT.timestamp()))
    signed = posted.headers["X-Phasegate-Timestamp"].encode() + b"." + posted.body
    expected = hmac.new(canary("signing").encode(), signed, hashlib.sha256).hexdigest()
    assert posted.headers["X-Phasegate-Signature"] == f"v1={expected}"
    assert posted.headers["X-Phasegate-Key"] == posted.object["key"] == short_hash(notice().key)


@pytest.mark.parametrize("kind", ["webhook"])
def test_a_replaced_signing_key_is_read_again(kind: str, receiver: Receiver, store: Store) -> None:
    made = channel(kind, store)
    made.notify(notice())
    store.values["key"] = canary("signing-newer")
    receiver.answers = [Reply(401, b"wrong signature")]
    made.notify(notice())
    old, new = (posted.headers["X-Phasegate-Signature"] for posted in receiver.posted[1:])
    assert old != new
    assert new == f"v1={signature(Secret(canary('signing-newer')), str(int(AT.timestamp())), receiver.posted[2].body)}"


@pytest.mark.parametrize("kind", ["google_chat"])
def test_an_incident_has_a_thread_in_google_chat(kind: str, receiver: Receiver, store: Store) -> None:
    made = channel(kind, store)
    made.notify(notice())
    made.notify(notice(key="another"))
    made.notify(notice(thread="another"))
    first, second, other = (posted.object["thread"]["threadKey"] for posted in receiver.posted)
    assert first == second != other
    assert receiver.posted[0].path.endswith(f"?key={canary('key')}&messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD")


@every_kind
def test_every_notice_follows_the_schema_of_its_channel(kind: str, receiver: Receiver, store: Store) -> None:
    """Also an empty one, and one with many blocks."""
    made = channel(kind, store)
    for each in (notice(lead="", blocks=()), notice(), notice(blocks=notice().blocks * 30)):
        assert not made.notify(each).plain
    assert len(receiver.posted) == 3
