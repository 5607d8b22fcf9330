"""Messages that can't be sent: one alert per topic, retries, and one recovery."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble
from phasegate.core.gates.gate import AlertState
from phasegate.core.pipeline.model import AlertSeverity
from phasegate.errors import Conflict
from phasegate.logs import log
from phasegate.messaging.bodies import ALERTS, trouble_message
from phasegate.messaging.outbox import PARKED_RETRY_INTERVAL, Relay
from phasegate.ports import Change, Clock, Outbox, Pending, Record, State

KIND = "unsent"
"""Records of this kind are live while a topic accepts nothing: `since` when, and when parked messages were last `tried`."""

ALERT_AFTER = 3
"""Failed attempts after which a message raises an alert: one right after the decision, and two by ticks."""

_FAR_AHEAD = timedelta(days=36_500)
_MAX_READ = 200


class StuckMessages:
    """Raises an alert for each topic whose messages can't be sent; for the topic of alerts itself it only writes to the log."""

    def __init__(self, store: State, outbox: Outbox, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._outbox = outbox
        self._relay = relay
        self._clock = clock

    def check(self) -> None:
        """Open, retry and end incidents, by comparing the outbox with the stored records."""
        now = self._clock.now()
        # The records are read before the outbox. The other way round, a topic that another tick has just found stuck would
        # have a record and no messages, and would count as recovered.
        open_topics = {record.key: record for record in self._store.live(KIND)}
        retried = [entry for entry in self._outbox.pending(now + _FAR_AHEAD, _MAX_READ) if entry.attempts >= ALERT_AFTER]
        stuck: dict[str, list[Pending]] = {}
        for entry in (*self._outbox.parked(), *retried):
            stuck.setdefault(entry.message.topic, []).append(entry)
        for topic, entries in stuck.items():
            log("unsent", severity="ERROR", topic=topic, messages=len(entries), error=entries[0].error)
        new_topics = [topic for topic in stuck if topic not in open_topics]
        # An ended incident still has its record for a day; a new one is written over it, at its version.
        ended = self._store.find(KIND, new_topics) if new_topics else {}
        for topic in new_topics:
            record = ended.get(topic, Record(KIND, topic, {}, expires=now))
            if record.expires is not None:  # otherwise another tick has just opened it
                body = {"since": now.isoformat(), "tried": now.isoformat()}
                self._alert(replace(record, body=body, expires=None), _firing(topic, stuck[topic], now))
        for topic in open_topics.keys() & stuck.keys():
            if now - datetime.fromisoformat(open_topics[topic].body["tried"]) >= PARKED_RETRY_INTERVAL:
                self._retry(open_topics[topic], now)
        for topic in open_topics.keys() - stuck.keys():
            since = datetime.fromisoformat(open_topics[topic].body["since"])
            self._alert(replace(open_topics[topic], expires=now + timedelta(days=1)), _recovered(topic, since, now))

    def _alert(self, record: Record, trouble: Trouble) -> None:
        # An alert about the topic of alerts would be stuck, too; after the outage the alerts that it held up say enough.
        messages = (trouble_message(trouble),) if record.key != ALERTS else ()
        with suppress(Conflict):  # another tick has just done it
            self._store.commit(Change(records=(record,), outbox=messages))
            self._relay.send(messages)

    def _retry(self, record: Record, now: datetime) -> None:
        # The commit comes first: of two ticks only the one that wins it sends.
        with suppress(Conflict):  # another tick is sending
            self._store.commit(Change(records=(replace(record, body={**record.body, "tried": now.isoformat()}),)))
            self._relay.send_parked(record.key)


def _firing(topic: str, entries: Sequence[Pending], now: datetime) -> Trouble:
    first = entries[0]
    more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
    return Trouble(
        key=f"{KIND}/{topic}/{now.isoformat()}",
        cause=TroubleCause.UNSENT,
        subject=topic,
        severity=AlertSeverity.CRITICAL,
        detail=f"{first.message.key}{more} can't be sent to {topic}: {first.error}",
        evidence=tuple(entry.message.key for entry in entries[:10]),
        effect="Subscribers get nothing. The messages are stored and will be sent once the topic accepts them.",
        since=now,
        at=now,
    )


def _recovered(topic: str, since: datetime, now: datetime) -> Trouble:
    return Trouble(
        key=f"{KIND}/{topic}/{now.isoformat()}",
        cause=TroubleCause.UNSENT,
        subject=topic,
        detail=f"all messages to {topic} were sent",
        state=AlertState.RECOVERED,
        since=since,
        at=now,
    )
