"""Reads an installation on Google Cloud: Pub/Sub through its client, the rest with a few REST requests.

Client libraries for functions, Cloud Run, the scheduler and secrets would add 60 ms each to a cold start, for a request a day.
Only resources whose names start with the installation's prefix are read.

Source: REST references of cloudfunctions v2, run v2, cloudscheduler v1, secretmanager v1.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from time import monotonic
from typing import Any

import google.auth
import requests
from google.api_core.exceptions import NotFound
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1 import Subscription as PubSubSubscription

from phasegate.adapters.google_errors import GoogleError, is_retryable
from phasegate.errors import PlatformError
from phasegate.installation.platform import Function, Grants, Job, Resource, ResourceKind, Subscription

TIMEOUT = 20.0
"""Seconds after which a request fails."""

RETRY_CREDENTIALS_AFTER = 60.0
"""Seconds before missing credentials are looked for again."""

HOSTS: Mapping[str, str] = {
    "functions": "https://cloudfunctions.googleapis.com/v2",
    "run": "https://run.googleapis.com/v2",
    "scheduler": "https://cloudscheduler.googleapis.com/v1",
    "secrets": "https://secretmanager.googleapis.com/v1",
    "clock": "https://www.googleapis.com/generate_204",
}
"""Base URLs of the APIs."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def _authorized() -> requests.Session:
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    session: requests.Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return session


class GooglePlatform:
    """Reads the resources of one installation; changes nothing.

    Args:
        prefix: Their names start with it.
        session: Makes the session for REST requests; called once, on first use.
        connect: Makes the Pub/Sub client; called once, on first use.
    """

    def __init__(
        self,
        project: str,
        prefix: str,
        *,
        session: Callable[[], requests.Session] = _authorized,
        connect: Callable[[], SubscriberClient] = SubscriberClient,
        hosts: Mapping[str, str] = HOSTS,
    ) -> None:
        self._project = project
        self._prefix = prefix
        self._open_session = session
        self._connect = connect
        self._hosts = hosts
        self._made: dict[str, Any] = {}
        self._refused: dict[str, tuple[GoogleAuthError, float]] = {}
        self._making = Lock()

    def subscriptions(self) -> Mapping[str, Subscription]:
        """See `Platform.subscriptions`."""
        with _translated("Pub/Sub"):
            listed = self._pubsub().list_subscriptions(project=f"projects/{self._project}", timeout=TIMEOUT)
            return {name: _subscription(subscription) for subscription in listed for name in self._own(subscription.name)}

    def functions(self) -> Mapping[str, Function]:
        """See `Platform.functions`."""
        functions = {}
        with _translated("functions"):
            for listed in self._all("functions", f"projects/{self._project}/locations/-/functions", "functions"):
                for name in self._own(listed["name"]):
                    region = _part(listed["name"], "locations")
                    service = self._get("run", f"projects/{self._project}/locations/{region}/services/{name}") or {}
                    functions[name] = _function(listed, region, _last(service.get("latestReadyRevision", "")))
        return functions

    def jobs(self, region: str) -> Mapping[str, Job]:
        """See `Platform.jobs`."""
        with _translated("scheduler"):
            listed = self._all("scheduler", f"projects/{self._project}/locations/{region}/jobs", "jobs")
            return {name: _job(job, region) for job in listed for name in self._own(job["name"])}

    def has_secret(self, name: str) -> bool:
        """See `Platform.has_secret`."""
        page = self._get("secrets", f"projects/{self._project}/secrets/{name}/versions", filter="state:ENABLED", pageSize="1")
        return bool(page and page.get("versions"))

    def grants(self, resource: Resource) -> Grants:
        """See `Platform.grants`."""
        kind, name = resource.kind, resource.name
        if kind in (ResourceKind.TOPIC, ResourceKind.SUBSCRIPTION):
            with _translated("Pub/Sub"):
                try:
                    request = {"resource": f"projects/{self._project}/{kind}/{name}"}
                    policy = self._pubsub().get_iam_policy(request, timeout=TIMEOUT)
                except NotFound:
                    return {}
                return _by_role((binding.role, binding.members) for binding in policy.bindings)
        host = "run" if kind is ResourceKind.SERVICE else "secrets"
        where = f"locations/{resource.region}/services" if kind is ResourceKind.SERVICE else "secrets"
        answer = self._get(host, f"projects/{self._project}/{where}/{name}:getIamPolicy") or {}
        return _by_role((binding["role"], binding.get("members", ())) for binding in answer.get("bindings", ()))

    def now(self) -> datetime:
        """See `Platform.now`. Asked without a token: a wrong clock here would get none."""
        with _translated("the platform's clock"):
            answer = requests.head(self._hosts["clock"], timeout=TIMEOUT)
            try:
                return parsedate_to_datetime(answer.headers.get("Date", ""))
            except ValueError:
                raise PlatformError(f"{self._hosts['clock']} sent no time", retryable=True) from None

    def _own(self, name: str) -> Iterator[str]:
        """The last part of a name, if the resource belongs to the installation."""
        last = _last(name)
        if last.startswith(f"{self._prefix}-"):
            yield last

    def _all(self, host: str, path: str, field: str) -> Iterator[Mapping[str, Any]]:
        token = ""
        while True:
            page = self._get(host, path, **({"pageToken": token} if token else {})) or {}
            if page.get("unreachable"):
                raise PlatformError(f"{path}: no answer from {', '.join(page['unreachable'])}", retryable=True)
            yield from page.get(field, ())
            if not (token := page.get("nextPageToken", "")):
                return

    def _get(self, host: str, path: str, **query: str) -> Mapping[str, Any] | None:
        """What an API answers; None for 404."""
        with _translated(path):
            answer = self._session().get(f"{self._hosts[host]}/{path}", params=query, timeout=TIMEOUT)
            if answer.status_code == 404:
                return None
            if answer.status_code >= 400:
                status = answer.status_code
                raise PlatformError(f"{path}: {status} {_error_message(answer)}", retryable=status == 429 or status >= 500)
            body: Mapping[str, Any] = answer.json()
            return body

    def _session(self) -> requests.Session:
        session: requests.Session = self._once("session", self._open_session)
        return session

    def _pubsub(self) -> SubscriberClient:
        client: SubscriberClient = self._once("pubsub", self._connect)
        return client

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        with self._making:
            if name not in self._made:
                refused, until = self._refused.get(name, (None, 0.0))
                if refused is not None and monotonic() < until:
                    raise refused
                try:
                    self._made[name] = make()
                except GoogleAuthError as exc:
                    # Looking for missing credentials takes seconds, and without this every request would do it again.
                    self._refused[name] = exc, monotonic() + RETRY_CREDENTIALS_AFTER
                    raise
            return self._made[name]


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as exc:
        # Only the type: the library's message holds a URL, or quotes the answer of a token server.
        raise PlatformError(
            f"{what}: no credentials for Google Cloud ({type(exc).__name__})", retryable=is_retryable(exc)
        ) from exc
    except GoogleError as exc:
        message = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise PlatformError(f"{what}: {message}", retryable=is_retryable(exc)) from exc
    except requests.RequestException as exc:
        raise PlatformError(f"{what}: no answer ({type(exc).__name__})", retryable=True) from exc
    except (KeyError, TypeError, AttributeError) as exc:
        raise PlatformError(f"{what}: an unexpected answer ({exc!r})", retryable=False) from exc


def _error_message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["message"]).splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return answer.reason


def _subscription(listed: PubSubSubscription) -> Subscription:
    push, retry, dead = listed.push_config, listed.retry_policy, listed.dead_letter_policy
    waits = "retry_policy" in listed
    return Subscription(
        topic=listed.topic,
        ack_seconds=listed.ack_deadline_seconds,
        # "Never" is an expiration policy without a TTL; no policy at all means 31 days.
        never_expires="expiration_policy" in listed and not listed.expiration_policy.ttl,
        retention_seconds=listed.message_retention_duration.total_seconds(),
        endpoint=push.push_endpoint,
        audience=push.oidc_token.audience,
        account=push.oidc_token.service_account_email,
        table=listed.bigquery_config.table.replace(":", "."),
        min_backoff=retry.minimum_backoff.total_seconds() if waits else None,
        max_backoff=retry.maximum_backoff.total_seconds() if waits else None,
        dead_letter_topic=dead.dead_letter_topic,
        attempts=dead.max_delivery_attempts,
        ordered=listed.enable_message_ordering,
        filter=listed.filter,
    )


def _function(listed: Mapping[str, Any], region: str, serving: str) -> Function:
    service, trigger = listed.get("serviceConfig", {}), listed.get("eventTrigger")
    return Function(
        region=region,
        state=listed.get("state", "UNKNOWN"),
        digest=listed.get("labels", {}).get("digest", ""),
        environment=service.get("environmentVariables", {}),
        account=service.get("serviceAccountEmail", ""),
        timeout_seconds=int(service.get("timeoutSeconds", 0)),
        ingress=service.get("ingressSettings", ""),
        uri=service.get("uri", ""),
        retries=None if trigger is None else trigger.get("retryPolicy") == "RETRY_POLICY_RETRY",
        revision=_last(service.get("revision", "")),
        serving=serving,
    )


def _job(listed: Mapping[str, Any], region: str) -> Job:
    status = listed.get("status", {})
    failed = status.get("message") or f"code {status['code']}" if status.get("code") else ""
    return Job(
        region=region,
        enabled=listed.get("state") == "ENABLED",
        schedule=listed.get("schedule", ""),
        zone=listed.get("timeZone", ""),
        topic=listed.get("pubsubTarget", {}).get("topicName", ""),
        failed=failed,
    )


def _by_role(bindings: Any) -> Grants:
    grants: dict[str, frozenset[str]] = {}
    # With conditions, a role has several bindings.
    for role, members in bindings:
        grants[role] = grants.get(role, frozenset()) | frozenset(members)
    return grants


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _part(name: str, after: str) -> str:
    part = re.search(rf"(?:^|/){after}/([^/]+)", name)
    return part[1] if part else ""
