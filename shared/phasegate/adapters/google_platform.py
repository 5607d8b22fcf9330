"""What Google Cloud says of an installation: Pub/Sub by its client, the rest by a few REST requests.

A client library for each of functions, Cloud Run, the scheduler and secrets would cost a cold start 60 ms each, for one request
a day. Of names, only those that begin with the installation's prefix are taken.

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

WITHIN = 20.0
"""Seconds after which a request counts as unanswered."""

REFUSED_FOR = 60.0
"""Seconds for which credentials that were not found are not looked for again."""

HOSTS: Mapping[str, str] = {
    "functions": "https://cloudfunctions.googleapis.com/v2",
    "run": "https://run.googleapis.com/v2",
    "scheduler": "https://cloudscheduler.googleapis.com/v1",
    "secrets": "https://secretmanager.googleapis.com/v1",
    "clock": "https://www.googleapis.com/generate_204",
}
"""Where each is asked."""

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def _authorized() -> requests.Session:
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    session: requests.Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return session


class GooglePlatform:
    """Looks at the resources of one installation; changes nothing.

    Args:
        prefix: What their names begin with.
        session: Makes what REST requests are sent by; called once, on first use.
        connect: Makes the client of Pub/Sub; called once, on first use.
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
            found = self._pubsub().list_subscriptions(project=f"projects/{self._project}", timeout=WITHIN)
            return {name: _subscription(each) for each in found for name in self._own(each.name)}

    def functions(self) -> Mapping[str, Function]:
        """See `Platform.functions`."""
        found = {}
        with _translated("functions"):
            for each in self._all("functions", f"projects/{self._project}/locations/-/functions", "functions"):
                for name in self._own(each["name"]):
                    region = _part(each["name"], "locations")
                    service = self._get("run", f"projects/{self._project}/locations/{region}/services/{name}") or {}
                    found[name] = _function(each, region, _last(service.get("latestReadyRevision", "")))
        return found

    def jobs(self, region: str) -> Mapping[str, Job]:
        """See `Platform.jobs`."""
        with _translated("scheduler"):
            found = self._all("scheduler", f"projects/{self._project}/locations/{region}/jobs", "jobs")
            return {name: _job(each, region) for each in found for name in self._own(each["name"])}

    def has_secret(self, name: str) -> bool:
        """See `Platform.has_secret`."""
        found = self._get("secrets", f"projects/{self._project}/secrets/{name}/versions", filter="state:ENABLED", pageSize="1")
        return bool(found and found.get("versions"))

    def grants(self, resource: Resource) -> Grants:
        """See `Platform.grants`."""
        kind, name = resource.kind, resource.name
        if kind in (ResourceKind.TOPIC, ResourceKind.SUBSCRIPTION):
            with _translated("Pub/Sub"):
                try:
                    asked = {"resource": f"projects/{self._project}/{kind}/{name}"}
                    policy = self._pubsub().get_iam_policy(asked, timeout=WITHIN)
                except NotFound:
                    return {}
                return _by_role((binding.role, binding.members) for binding in policy.bindings)
        host = "run" if kind is ResourceKind.SERVICE else "secrets"
        where = f"locations/{resource.region}/services" if kind is ResourceKind.SERVICE else "secrets"
        found = self._get(host, f"projects/{self._project}/{where}/{name}:getIamPolicy") or {}
        return _by_role((binding["role"], binding.get("members", ())) for binding in found.get("bindings", ()))

    def now(self) -> datetime:
        """See `Platform.now`. It is asked without a token: with a wrong clock there would be none."""
        with _translated("the platform's clock"):
            answer = requests.head(self._hosts["clock"], timeout=WITHIN)
            try:
                return parsedate_to_datetime(answer.headers.get("Date", ""))
            except ValueError:
                raise PlatformError(f"{self._hosts['clock']} does not tell the time", retryable=True) from None

    def _own(self, name: str) -> Iterator[str]:
        """The last part of a name, if it is one of the installation's."""
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
        """What an API answers; None when there is no such thing."""
        with _translated(path):
            answer = self._session().get(f"{self._hosts[host]}/{path}", params=query, timeout=WITHIN)
            if answer.status_code == 404:
                return None
            if answer.status_code >= 400:
                status = answer.status_code
                raise PlatformError(f"{path}: {status} {_said(answer)}", retryable=status == 429 or status >= 500)
            found: Mapping[str, Any] = answer.json()
            return found

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
                    # Looking for credentials that are not there takes seconds, and everything that is asked would do it anew.
                    self._refused[name] = exc, monotonic() + REFUSED_FOR
                    raise
            return self._made[name]


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except GoogleAuthError as exc:
        # What the library says ends in an address, or quotes what a token server answered.
        raise PlatformError(
            f"{what}: no credentials for Google Cloud ({type(exc).__name__})", retryable=is_retryable(exc)
        ) from exc
    except GoogleError as exc:
        said = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise PlatformError(f"{what}: {said}", retryable=is_retryable(exc)) from exc
    except requests.RequestException as exc:
        raise PlatformError(f"{what}: no answer ({type(exc).__name__})", retryable=True) from exc
    except (KeyError, TypeError, AttributeError) as exc:
        raise PlatformError(f"{what}: an answer that makes no sense ({exc!r})", retryable=False) from exc


def _said(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["message"]).splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return answer.reason


def _subscription(found: PubSubSubscription) -> Subscription:
    push, retry, dead = found.push_config, found.retry_policy, found.dead_letter_policy
    waits = "retry_policy" in found
    return Subscription(
        topic=found.topic,
        ack_seconds=found.ack_deadline_seconds,
        # Never is an expiration policy without a time; no policy at all means 31 days.
        never_expires="expiration_policy" in found and not found.expiration_policy.ttl,
        kept_seconds=found.message_retention_duration.total_seconds(),
        endpoint=push.push_endpoint,
        audience=push.oidc_token.audience,
        account=push.oidc_token.service_account_email,
        table=found.bigquery_config.table.replace(":", "."),
        least_wait=retry.minimum_backoff.total_seconds() if waits else None,
        longest_wait=retry.maximum_backoff.total_seconds() if waits else None,
        dead_topic=dead.dead_letter_topic,
        attempts=dead.max_delivery_attempts,
        ordered=found.enable_message_ordering,
        filtered=found.filter,
    )


def _function(found: Mapping[str, Any], region: str, serving: str) -> Function:
    service, trigger = found.get("serviceConfig", {}), found.get("eventTrigger")
    return Function(
        region=region,
        state=found.get("state", "UNKNOWN"),
        digest=found.get("labels", {}).get("digest", ""),
        environment=service.get("environmentVariables", {}),
        account=service.get("serviceAccountEmail", ""),
        timeout_seconds=int(service.get("timeoutSeconds", 0)),
        ingress=service.get("ingressSettings", ""),
        uri=service.get("uri", ""),
        retries=None if trigger is None else trigger.get("retryPolicy") == "RETRY_POLICY_RETRY",
        revision=_last(service.get("revision", "")),
        serving=serving,
    )


def _job(found: Mapping[str, Any], region: str) -> Job:
    status = found.get("status", {})
    failed = status.get("message") or f"code {status['code']}" if status.get("code") else ""
    return Job(
        region=region,
        enabled=found.get("state") == "ENABLED",
        schedule=found.get("schedule", ""),
        zone=found.get("timeZone", ""),
        topic=found.get("pubsubTarget", {}).get("topicName", ""),
        failed=failed,
    )


def _by_role(bindings: Any) -> Grants:
    found: dict[str, frozenset[str]] = {}
    for role, members in bindings:
        found[role] = found.get(role, frozenset()) | frozenset(members)
    return found


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _part(name: str, after: str) -> str:
    found = re.search(rf"(?:^|/){after}/([^/]+)", name)
    return found[1] if found else ""
