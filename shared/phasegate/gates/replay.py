"""Messages without effect, because they were invalid or could not be delivered: stored, listed, reprocessed."""

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
"""Records of this kind, by message id: the message is no longer listed; `said` in the body is the result."""

RECORD_LIFE = timedelta(days=100)
"""How long that record lives: longer than any store retains the message itself."""

MAX_MESSAGES = 1_000
"""Retained messages that are read, newest first."""


RESENT_TO = {"alerts": ALERTS, "events": EVENTS, "drift": "drift"}
"""By the last word of the subscription that dead-lettered a message: where it is resent to, unless it is a completion."""

OBSOLETE = {
    "ticks": "a tick; later ticks have done its work",
    "builds": "a build notification; the next one reports the current state",
}
"""The same, for messages that are no longer needed."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a retained message, or would become of it.

    Args:
        settled: It need not be listed again; False for one that is still invalid.
        result: The outcome, for people.
    """

    message: Rejected
    settled: bool
    result: str


class Replay:
    """Reprocesses retained messages. Doing it twice, or two people doing it at the same time, is harmless."""

    def __init__(self, monitor: Monitor, *, store: State, clock: Clock) -> None:
        self._monitor = monitor
        self._store = store
        self._clock = clock

    def replay(self, message: Rejected, *, dry_run: bool = False) -> Replayed:
        """Reprocess one message. It is parsed before anything is written.

        Args:
            dry_run: Give the result without doing anything.

        Raises:
            AdapterError: It was not reprocessed, and stays listed.
        """
        kind = message.source.rpartition("-")[2]
        try:
            if kind in OBSOLETE:
                return self._settled(message, f"not needed: {OBSOLETE[kind]}", dry_run)
            if kind in RESENT_TO:
                return self._send(message, RESENT_TO[kind], dry_run)
            return self._handle(message, dry_run)
        except MessageError as error:
            cut = " (only the start of the message was stored)" if len(message.data) >= MAX_STORED else ""
            return Replayed(message, settled=False, result=f"stays listed, still invalid{cut}: {error}")

    def _handle(self, message: Rejected, dry_run: bool) -> Replayed:
        # A new id, because the store has already marked the original one as handled when it rejected the message.
        envelope = Envelope(_id(message), message.data.encode(), message.attributes, _published(message))
        completion = parse_completion(envelope, tuple(self._monitor.pipelines.values()), now=self._clock.now())
        if dry_run:
            return Replayed(message, settled=True, result=f"would be handled: {_summary(completion)}")
        decision = self._monitor.handle(envelope).decision
        if decision is None:
            result = f"nothing new, because it or a newer run was handled before: {_summary(completion)}"
            return self._settled(message, result, dry_run)
        state = f"{decision.gate.run} is {decision.gate.state}: {decision.detail}"
        return self._settled(message, f"{_summary(completion)}; {state}", dry_run)

    def _send(self, message: Rejected, topic: str, dry_run: bool) -> Replayed:
        body = read_object(message.data.encode())
        if dry_run:
            return Replayed(message, settled=True, result=f"would be resent to {topic}")
        attributes = {name: value for name, value in message.attributes.items() if not name.startswith(FORWARDED)}
        outgoing = Outgoing(_id(message), topic, body, attributes)
        # The id is derived from the message, so a second replay finds it handled and sends nothing.
        committed = self._store.commit(Change(handled=_id(message), outbox=(outgoing,)))
        self._monitor.relay()
        return self._settled(message, f"resent to {topic}" if committed else f"nothing new: already resent to {topic}", dry_run)

    def _settled(self, message: Rejected, result: str, dry_run: bool) -> Replayed:
        if not dry_run:
            now = self._clock.now()
            mark = Record(REPLAYED, message.message_id, {"at": now.isoformat(), "said": result}, expires=now + RECORD_LIFE)
            with suppress(Conflict):  # somebody else has just replayed it
                self._store.commit(Change(records=(mark,)))
        return Replayed(message, settled=True, result=result)


def retained_messages(store: State, limit: int = MAX_MESSAGES, since: datetime | None = None) -> Sequence[Rejected]:
    """The messages that have had no effect so far, newest first."""
    rejected = [message for message in store.rejected(limit) if since is None or message.at >= since]
    settled = store.find(REPLAYED, [message.message_id for message in rejected])
    return [message for message in rejected if message.message_id not in settled]


def _id(message: Rejected) -> str:
    return f"replay/{message.message_id}"


def _published(message: Rejected) -> datetime:
    """When it was first published, as far as known: a report without times of its own must not look newer than it is."""
    first = message.attributes.get(f"{FORWARDED}SourceTopicPublishTime", "") if message.source else ""
    with suppress(ValueError):
        moment = datetime.fromisoformat(first)
        if moment.tzinfo is not None:
            return moment
    return message.published_at or message.at


def _summary(completion: Completion) -> str:
    return f"{completion.report.producer} reports {completion.report.status} for {completion.run}"
