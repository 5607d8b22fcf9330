"""Google Cloud's answers, as facts: Pub/Sub from its emulator, the other APIs as their references document them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from google.api_core.exceptions import ServiceUnavailable
from google.auth.exceptions import DefaultCredentialsError
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, SubscriberClient
from phasegate.adapters.google_platform import HOSTS, GooglePlatform
from phasegate.core.installation.finding import Health
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline
from phasegate.errors import PlatformError
from phasegate.installation.deployment import Installation
from phasegate.installation.doctor import Doctor
from phasegate.installation.platform import Function, Job, Resource, ResourceKind, Subscription
from phasegate.testing import ManualClock

from tests.installation.test_examination import NOW

PARENT = "projects/some-project"
HERE = f"{PARENT}/locations/europe-west1"


@dataclass
class Cloud:
    """Gives a scripted answer by path; 404 for any other."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def platform(self) -> GooglePlatform:
        hosts = {name: f"{self.address}/{name}" for name in HOSTS}
        return GooglePlatform("some-project", "acme", session=requests.Session, hosts=hosts)

    def answer(self, path: str) -> tuple[int, Any]:
        self.asked.append(path)
        address = urlsplit(path)
        token = parse_qs(address.query).get("pageToken", [""])[0]
        found = self.answers.get(address.path + (f"#{token}" if token else ""), (404, {"error": {"message": "not found"}}))
        return found if isinstance(found, tuple) else (200, found)


@contextmanager
def serving(cloud: Cloud) -> Iterator[Cloud]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = cloud.answer(self.path)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(raw)

        def do_HEAD(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cloud.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with serving(Cloud()) as found:
        yield found


FUNCTION = {
    "name": f"{HERE}/functions/acme-watch",
    "state": "ACTIVE",
    "labels": {"digest": "0123"},
    "serviceConfig": {
        "service": f"{HERE}/services/acme-watch",
        "timeoutSeconds": 540,
        "environmentVariables": {"PHASEGATE_BUS": "pubsub:some-project/acme"},
        "ingressSettings": "ALLOW_INTERNAL_ONLY",
        "serviceAccountEmail": "acme-watch@some-project.iam.gserviceaccount.com",
        "uri": "https://acme-watch-xyz-ew.a.run.app",
        "revision": "acme-watch-00007-abc",
    },
}


def test_functions_come_from_all_pages_with_the_revision_that_serves_requests(cloud: Cloud) -> None:
    listing = f"/functions/{PARENT}/locations/-/functions"
    other = {**FUNCTION, "name": f"{HERE}/functions/somebody-elses"}
    cloud.answers = {
        listing: {"functions": [other], "nextPageToken": "2"},
        f"{listing}#2": {"functions": [FUNCTION]},
        f"/run/{HERE}/services/acme-watch": {
            "latestReadyRevision": f"{HERE}/services/acme-watch/revisions/acme-watch-00008-xyz"
        },
    }
    assert cloud.platform().functions() == {
        "acme-watch": Function(
            region="europe-west1",
            state="ACTIVE",
            digest="0123",
            environment={"PHASEGATE_BUS": "pubsub:some-project/acme"},
            account="acme-watch@some-project.iam.gserviceaccount.com",
            timeout_seconds=540,
            ingress="ALLOW_INTERNAL_ONLY",
            uri="https://acme-watch-xyz-ew.a.run.app",
            retries=None,
            revision="acme-watch-00007-abc",
            serving="acme-watch-00008-xyz",
        )
    }


@pytest.mark.parametrize(
    ("policy", "retries"), [("RETRY_POLICY_RETRY", True), ("RETRY_POLICY_DO_NOT_RETRY", False), (None, False)]
)
def test_a_trigger_retries_only_when_its_policy_says_so(cloud: Cloud, policy: str | None, retries: bool) -> None:
    trigger = {"eventType": "x", **({"retryPolicy": policy} if policy else {})}
    cloud.answers = {f"/functions/{PARENT}/locations/-/functions": {"functions": [{**FUNCTION, "eventTrigger": trigger}]}}
    assert cloud.platform().functions()["acme-watch"].retries is retries


def test_jobs_are_read_with_their_state_and_last_error(cloud: Cloud) -> None:
    target = {"topicName": f"{PARENT}/topics/acme-ticks", "data": "e30="}
    tick = {
        "name": f"{HERE}/jobs/acme-tick",
        "schedule": "* * * * *",
        "timeZone": "Etc/UTC",
        "state": "ENABLED",
        "pubsubTarget": target,
    }
    cloud.answers = {
        f"/scheduler/{HERE}/jobs": {
            "jobs": [tick, {**tick, "name": f"{HERE}/jobs/acme-drift", "state": "PAUSED", "status": {"code": 7}}, {**tick, "name": "x/jobs/other"}]
        }
    }  # fmt: skip
    well = Job(region="europe-west1", enabled=True, schedule="* * * * *", zone="Etc/UTC", topic=f"{PARENT}/topics/acme-ticks")
    ill = Job(**{**{name: getattr(well, name) for name in well.__slots__}, "enabled": False, "failed": "code 7"})
    assert cloud.platform().jobs("europe-west1") == {"acme-tick": well, "acme-drift": ill}


def test_a_secret_counts_only_with_an_enabled_version(cloud: Cloud) -> None:
    cloud.answers = {
        f"/secrets/{PARENT}/secrets/chat/versions": {"versions": [{"name": "…/versions/3", "state": "ENABLED"}]},
        f"/secrets/{PARENT}/secrets/empty/versions": {},
    }
    platform = cloud.platform()
    assert [platform.has_secret(name) for name in ("chat", "empty", "gone")] == [True, False, False]
    assert "filter=state%3AENABLED" in cloud.asked[0]


def test_grants_on_services_and_secrets_are_read(cloud: Cloud) -> None:
    bindings = [
        {"role": "roles/run.invoker", "members": ["allUsers"]},
        {"role": "roles/run.invoker", "members": ["user:a@example.com"], "condition": {"expression": "true"}},
        {"role": "roles/viewer"},
    ]
    cloud.answers = {
        f"/run/{HERE}/services/acme-watch:getIamPolicy": {"bindings": bindings},
        f"/secrets/{PARENT}/secrets/chat:getIamPolicy": {"etag": "x"},
    }
    platform = cloud.platform()
    assert platform.grants(Resource(ResourceKind.SERVICE, "acme-watch", "europe-west1")) == {
        "roles/run.invoker": frozenset({"allUsers", "user:a@example.com"}),
        "roles/viewer": frozenset(),
    }
    assert platform.grants(Resource(ResourceKind.SECRET, "chat")) == {}
    assert platform.grants(Resource(ResourceKind.SECRET, "gone")) == {}


def test_the_platforms_time_is_the_date_header_of_an_answer(cloud: Cloud) -> None:
    assert abs(cloud.platform().now() - datetime.now(UTC)) < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("answer", "message", "retryable"),
    [
        ((403, {"error": {"message": "Permission 'x' denied\nmore"}}), "403 Permission 'x' denied", False),
        ((429, {}), "429 Too Many Requests", True),
        ((503, b"<html>"), "503 Service Unavailable", True),
        ((200, b"<html>"), "no answer", True),
        ({"functions": [{"labels": 7}]}, "an unexpected answer", False),
        ({"functions": [], "unreachable": ["us-east1"]}, "no answer from us-east1", True),
    ],
)
def test_a_refused_request_is_an_error_with_its_reason(cloud: Cloud, answer: Any, message: str, retryable: bool) -> None:
    cloud.answers = {f"/functions/{PARENT}/locations/-/functions": answer}
    with pytest.raises(PlatformError) as caught:
        cloud.platform().functions()
    assert message in str(caught.value)
    assert caught.value.retryable is retryable


def test_missing_credentials_or_network_are_errors() -> None:
    looked = []

    def none() -> requests.Session:
        looked.append(1)
        raise DefaultCredentialsError("see https://example.com/secret")  # type: ignore[no-untyped-call]

    platform = GooglePlatform("some-project", "acme", session=none, hosts={**HOSTS, "clock": "http://127.0.0.1:1"})
    with pytest.raises(PlatformError, match=r"no credentials for Google Cloud \(DefaultCredentialsError\)$"):
        platform.functions()
    with pytest.raises(PlatformError, match="no credentials"):
        platform.has_secret("chat")
    assert len(looked) == 1, "looking for them takes seconds"
    with pytest.raises(PlatformError, match="the platform's clock: no answer"):
        platform.now()


PIPELINE = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=datetime(2026, 1, 1, tzinfo=UTC).date()),
    phases={"raw": Phase(outputs={"raw.orders": Output(date="day")})},
)


@pytest.fixture
def pubsub(pubsub_emulator: str, project: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project in the emulator with the topics of an installation, and one subscription with default settings."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    publisher, subscriber = PublisherClient(), SubscriberClient()
    for name in ("acme-shop-raw-complete", "acme-shop-raw-dead", "acme-ticks", "acme-dead", "other"):
        publisher.create_topic(name=f"projects/{project}/topics/{name}")
    subscriptions = f"projects/{project}/subscriptions"
    push = {
        "push_endpoint": "http://127.0.0.1:1/watch",
        "oidc_token": {"service_account_email": f"acme-push@{project}.iam.gserviceaccount.com", "audience": "http://127.0.0.1:1/watch"},
    }  # fmt: skip
    subscriber.create_subscription(
        {
            "name": f"{subscriptions}/acme-ticks",
            "topic": f"projects/{project}/topics/acme-ticks",
            "ack_deadline_seconds": 600,
            "expiration_policy": {},
            "message_retention_duration": Duration(seconds=604_800),
            "retry_policy": {"minimum_backoff": Duration(seconds=10), "maximum_backoff": Duration(seconds=600)},
            "dead_letter_policy": {"dead_letter_topic": f"projects/{project}/topics/acme-dead", "max_delivery_attempts": 20},
            "push_config": push,
        }
    )
    subscriber.create_subscription(
        name=f"{subscriptions}/acme-shop-raw-complete", topic=f"projects/{project}/topics/acme-shop-raw-complete"
    )
    subscriber.create_subscription(name=f"{subscriptions}/somebody-elses", topic=f"projects/{project}/topics/other")
    return project


def test_real_subscriptions_are_read_in_full(pubsub: str) -> None:
    found = GooglePlatform(pubsub, "acme").subscriptions()
    assert found.keys() == {"acme-ticks", "acme-shop-raw-complete"}
    assert found["acme-ticks"] == Subscription(
        topic=f"projects/{pubsub}/topics/acme-ticks",
        ack_seconds=600,
        never_expires=True,
        retention_seconds=604_800.0,
        endpoint="http://127.0.0.1:1/watch",
        audience="http://127.0.0.1:1/watch",
        account=f"acme-push@{pubsub}.iam.gserviceaccount.com",
        min_backoff=10.0,
        max_backoff=600.0,
        dead_letter_topic=f"projects/{pubsub}/topics/acme-dead",
        attempts=20,
    )
    careless = found["acme-shop-raw-complete"]
    assert (careless.ack_seconds, careless.min_backoff, careless.dead_letter_topic, careless.endpoint) == (10, None, "", "")


def test_the_doctor_finds_the_faults_of_a_real_subscription_and_what_it_could_not_read(pubsub: str) -> None:
    def nobody() -> requests.Session:
        raise DefaultCredentialsError("none")  # type: ignore[no-untyped-call]

    def no_tables() -> Any:
        raise PlatformError("no warehouse here", retryable=False)

    doctor = Doctor(
        [PIPELINE],
        Installation(pubsub, "acme"),
        platform=GooglePlatform(pubsub, "acme", session=nobody, hosts={**HOSTS, "clock": "http://127.0.0.1:1"}),
        tables=no_tables,
        records=no_tables,
        secrets=no_tables,
        clock=ManualClock(NOW),
        zones=("the package tzdata", "2025.2"),
    )
    findings = doctor.examine()
    by_subject: dict[str, list[str]] = {}
    for each in findings:
        by_subject.setdefault(each.subject, []).append(each.message if each.health is Health.WRONG else str(each.health))
    assert by_subject["subscription acme-ticks"] == ["ok"]
    careless = by_subject["subscription acme-shop-raw-complete"]
    assert careless[0] == "its ack deadline is 10 s, not 600 s: messages that take longer are delivered twice"
    assert "it redelivers immediately, not after 10 s to 600 s" in careless
    assert any(message.startswith("it dead-letters messages never") for message in careless)
    assert "it has no push endpoint" in careless
    assert by_subject["subscription acme-shop-raw-dead"] == ["it does not exist: messages sent there are lost"]
    unseen = {each.subject for each in findings if each.health is Health.NOT_CHECKED}
    assert {"functions", "scheduler", "grants on subscription acme-ticks", "clock", "heartbeat", "table raw.orders"} <= unseen


def test_a_broker_that_does_not_answer_is_a_retryable_error() -> None:
    class Silent:
        def list_subscriptions(self, **_: object) -> None:
            raise ServiceUnavailable("no answer")

    platform = GooglePlatform("some-project", "acme", connect=Silent)  # type: ignore[arg-type]
    with pytest.raises(PlatformError, match="Pub/Sub: 503 no answer") as caught:
        platform.subscriptions()
    assert caught.value.retryable


def test_a_platform_that_hangs_is_given_up_after_two_minutes() -> None:
    """Each request takes a minute; after two minutes the rest is skipped, and reported as not checked."""
    clock = ManualClock(NOW)
    asked = []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            def ask(*_: object) -> None:
                asked.append(name)
                clock.advance(timedelta(minutes=1))
                raise PlatformError("no answer", retryable=True)

            return ask

    doctor = Doctor(
        [PIPELINE],
        Installation("some-project", "acme"),
        platform=Slow(),  # type: ignore[arg-type]
        tables=Slow,  # type: ignore[arg-type]
        records=Slow,  # type: ignore[arg-type]
        secrets=Slow,  # type: ignore[arg-type]
        clock=clock,
        zones=("the package tzdata", "2025.2"),
    )
    findings = doctor.examine()
    assert len(asked) <= 3
    unseen = [each for each in findings if each.health is Health.NOT_CHECKED]
    assert {each.message for each in unseen} >= {"no answer", "skipped: the examination had already taken 120 s"}
    ok = {each.subject for each in findings if each.health is Health.OK}
    assert ok <= {"calendar of shop", "time zones (UTC)"}
