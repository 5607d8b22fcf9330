"""Destinations: their health, their fallbacks, and self-tests that find a broken one before an alert needs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from phasegate.alerts.records import CONFLICT, DESTINATION, readable, updated
from phasegate.core.alerts.delivery import (
    LOCAL_KINDS,
    RATE_LIMITS,
    SELF_TEST_INTERVAL,
    DestinationHealth,
    RateLimit,
    destination_trouble,
)
from phasegate.core.alerts.notice import Notice
from phasegate.core.alerts.wording import compose_test
from phasegate.core.pipeline.model import Destination, Pipeline
from phasegate.errors import NotifyError
from phasegate.messaging.bodies import trouble_message
from phasegate.messaging.outbox import Relay
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Notifier, Receipt, Record, State


@dataclass(frozen=True, slots=True)
class TestResult:
    """What came of a test notice.

    Args:
        problem: Why the destination did not accept it; empty when it did.
    """

    destination: str
    status: int | None
    problem: str


class Destinations:
    """The destinations of all pipelines by name (`flights/team`), with a health record that all instances share.

    Args:
        notifiers: By name, one for each destination.
        leaves: What this process has no secret for is left to others, and says nothing about the destination.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        notifiers: Mapping[str, Notifier],
        store: State,
        relay: Relay,
        clock: Clock,
        leaves: bool = False,
    ) -> None:
        self._leaves = leaves
        self._destinations: Mapping[str, Destination] = {
            f"{pipeline.name}/{name}": destination
            for pipeline in pipelines
            for name, destination in pipeline.alerts.destinations.items()
        }
        self._notifiers = notifiers
        self._store = store
        self._relay = relay
        self._clock = clock

    @property
    def names(self) -> Sequence[str]:
        """All of them, in the order of the pipeline files."""
        return list(self._destinations)

    def health(self) -> Sequence[DestinationHealth]:
        """The health of each."""
        return [health for health, _ in self.load(self.names).values()]

    def load(self, names: Sequence[str]) -> dict[str, tuple[DestinationHealth, Record]]:
        """The health of some, with the records that hold it; of one that was never used, new ones."""
        records = self._store.find(DESTINATION, names)
        known = {record.key: health for health, record in readable(DestinationHealth, records.values())}
        # Health that cannot be read is found out again.
        return {
            name: (known.get(name, DestinationHealth(destination=name)), records.get(name, Record(DESTINATION, name, {})))
            for name in names
        }

    def rate_limit(self, name: str) -> RateLimit | None:
        """How fast notices may be sent to it; None for no limit."""
        return RATE_LIMITS[self._destinations[name].kind]

    def chain(self, name: str) -> list[str]:
        """The destination and its fallbacks, in the order in which they are tried."""
        pipeline = name.partition("/")[0]
        chain = [name]
        # Two destinations may name each other as fallback.
        while (fallback := self._destinations[chain[-1]].fallback) is not None and f"{pipeline}/{fallback}" not in chain:
            chain.append(f"{pipeline}/{fallback}")
        return chain

    def next_attempt(self, name: str, now: datetime) -> datetime:
        """When the destination or one of its fallbacks may be tried again."""
        chain = self.load(self.chain(name)).values()
        return min((health.try_at for health, _ in chain if health.try_at), default=now)

    def notify(self, name: str, notice: Notice) -> Receipt:
        """Send a notice, once.

        Raises:
            NotifyError: It was not accepted.
        """
        return self._notifiers[name].notify(notice)

    def is_left(self, error: NotifyError) -> bool:
        """True when a failed attempt says nothing about the destination: this process lacks its secret, and others have it."""
        return self._leaves and error.lacks_secret

    def accepted(self, name: str, now: datetime) -> None:
        """Record that a destination accepted a notice."""
        self._update(name, lambda health: health.accepted(now))

    def refused(self, name: str, error: NotifyError, now: datetime) -> DestinationHealth:
        """Record that a destination did not accept a notice; its health afterwards says whether the fallback is next."""
        why, permanent, retry_after = str(error), not error.retryable, error.retry_after
        return self._update(name, lambda health: health.refused(why, permanent=permanent, retry_after=retry_after, now=now))

    def _update(self, name: str, change: Callable[[DestinationHealth], DestinationHealth]) -> DestinationHealth:
        """Change the health of a destination, and raise an alert when it went down, or end it when it works again."""

        def commit() -> DestinationHealth:
            now = self._clock.now()
            health, record = self.load([name])[name]
            after = change(health)
            if after == health:
                return after
            trouble = destination_trouble(health, after, now, self._destinations[name].fallback)
            # In one commit with the health: of many instances that fail at the same time, one writes the change and its alert.
            outbox = (trouble_message(trouble),) if trouble else ()
            due = after.try_at if after.is_down else (after.accepted_at or now) + SELF_TEST_INTERVAL
            self._store.commit(Change(records=(updated(record, after, due=due),), outbox=outbox))
            self._relay.send(outbox)
            return after

        return until_written(commit, CONFLICT)

    def test(self) -> Sequence[TestResult]:
        """Send a test to every destination."""
        return [self._test(name, self._clock.now()) for name in self._notifiers]

    def test_idle(self, now: datetime) -> None:
        """Test each destination that has accepted nothing for a day, or that is down and may work again."""
        for name, (health, record) in self.load(list(self._notifiers)).items():
            due = record.due is None or record.due <= now
            if due and self._destinations[name].kind not in LOCAL_KINDS and (health.try_at is None or health.try_at <= now):
                self._test(name, now)

    def _test(self, name: str, now: datetime) -> TestResult:
        try:
            receipt = self.notify(name, compose_test(name, key=f"test/{name}/{now.isoformat()}", now=now))
        except NotifyError as error:
            if not self.is_left(error):
                self.refused(name, error, now)
            return TestResult(name, error.status, str(error))
        self.accepted(name, now)
        return TestResult(name, receipt.status, "")
