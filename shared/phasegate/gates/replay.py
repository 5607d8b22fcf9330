"""Messages that had no effect, because they made no sense or could not be delivered: kept, shown, put through again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from phasegate.core.gates.completion import Completion, Envelope, parse_completion, read_object
from phasegate.errors import Conflict, MessageError
from phasegate.gates.monitor import Monitor
from phasegate.messaging.bodies import ALERTS, EVENTS
from phasegate.messaging.dead_letters import FORWARDED
from phasegate.messaging.inbox import MAX_STORED
from phasegate.ports import Change, Clock, Outgoing, Record, Rejected, State

REPLAYED = "replayed"
"""Records of this kind, by message id: that the message need not be listed again, and what became of it."""

REMEMBERED = timedelta(days=100)
"""How long that is known: longer than any store keeps the message itself."""

MAX_MESSAGES = 1_000
"""So many kept messages are looked at, the newest ones."""


AGAIN = {"alerts": ALERTS, "events": EVENTS, "drift": "drift"}
"""By the last word of the subscription that gave it up: the topic to which a message that is no completion is sent again."""

PASSED = {
    "ticks": "a tick; the next one has done what it did not",
    "builds": "word of a build; how things stand is told by the next one",
}
"""The same, for what is of no use any more."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a kept message, or would become of it.

    Args:
        settled: It need not be listed again; False for one that stays, because it still makes no sense.
    """

    message: Rejected
    settled: bool
    result: str


class Replay:
    """Puts kept messages through again. Doing it twice, or two doing it at once, changes nothing more."""

    def __init__(self, monitor: Monitor, *, store: State, clock: Clock) -> None:
        self._monitor = monitor
        self._store = store
        self._clock = clock

    def replay(self, message: Rejected, *, dry_run: bool = False) -> Replayed:
        """Put one message through again, parsed before anything is written.

        Args:
            dry_run: Say what it would do, and do nothing.

        Raises:
            AdapterError: It is not through; it stays as it was.
        """
        kind = message.source.rpartition("-")[2]
        try:
            if kind in PASSED:
                return self._settled(message, f"not needed: {PASSED[kind]}", dry_run)
            if kind in AGAIN:
                return self._send(message, AGAIN[kind], dry_run)
            return self._handle(message, dry_run)
        except MessageError as error:
            cut = "it is longer than what is kept of a message, and " if len(message.data) >= MAX_STORED else ""
            return Replayed(message, settled=False, result=f"stays: {cut}still makes no sense: {error}")

    def _handle(self, message: Rejected, dry_run: bool) -> Replayed:
        envelope = Envelope(_id(message), message.data.encode(), message.attributes, _published(message))
        completion = parse_completion(envelope, tuple(self._monitor.pipelines.values()), now=self._clock.now())
        if dry_run:
            return Replayed(message, settled=True, result=f"would count: {_told(completion)}")
        decision = self._monitor.handle(envelope).decision
        if decision is None:
            return self._settled(message, f"nothing new: it, or a newer run, was known: {_told(completion)}", dry_run)
        state = f"{decision.gate.run} is {decision.gate.state}: {decision.detail}"
        return self._settled(message, f"{_told(completion)}; {state}", dry_run)

    def _send(self, message: Rejected, topic: str, dry_run: bool) -> Replayed:
        body = read_object(message.data.encode())
        if dry_run:
            return Replayed(message, settled=True, result=f"would be sent to {topic} again")
        attributes = {name: value for name, value in message.attributes.items() if not name.startswith(FORWARDED)}
        again = Outgoing(_id(message), topic, body, attributes)
        sent = self._store.commit(Change(handled=_id(message), outbox=(again,)))
        self._monitor.relay()
        return self._settled(message, f"sent to {topic} again" if sent else f"nothing new: was sent to {topic} again", dry_run)

    def _settled(self, message: Rejected, result: str, dry_run: bool) -> Replayed:
        if not dry_run:
            now = self._clock.now()
            mark = Record(REPLAYED, message.message_id, {"at": now.isoformat(), "said": result}, expires=now + REMEMBERED)
            with suppress(Conflict):  # somebody else has just replayed it
                self._store.commit(Change(records=(mark,)))
        return Replayed(message, settled=True, result=result)


def retained_messages(store: State, limit: int = MAX_MESSAGES, since: datetime | None = None) -> Sequence[Rejected]:
    """The messages that have had no effect so far, newest first."""
    found = [message for message in store.rejected(limit) if since is None or message.at >= since]
    settled = store.find(REPLAYED, [message.message_id for message in found])
    return [message for message in found if message.message_id not in settled]


def _id(message: Rejected) -> str:
    return f"replay/{message.message_id}"


def _published(message: Rejected) -> datetime:
    """When it was first said, as near as is known: a report without times of its own must not look newer than it is."""
    first = message.attributes.get(f"{FORWARDED}SourceTopicPublishTime", "") if message.source else ""
    with suppress(ValueError):
        moment = datetime.fromisoformat(first)
        if moment.tzinfo is not None:
            return moment
    return message.published_at or message.at


def _told(completion: Completion) -> str:
    return f"{completion.report.producer} reports {completion.report.status} for {completion.run}"
