"""What was decided and does not get out: told once per topic, tried again, and told once when it is over."""

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
"""Records of this kind, by topic, are live while it takes nothing; `since` in the body, and when what is parked was `tried`."""

TRIED = 3
"""Attempts after which people are told: when it was decided, and by two ticks."""

_FAR = timedelta(days=36_500)
_LOOKED_AT = 200


class StuckMessages:
    """Tells people of what can't be sent, on the topic of alerts; that this one is silent can only be logged."""

    def __init__(self, store: State, outbox: Outbox, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._outbox = outbox
        self._relay = relay
        self._clock = clock

    def check(self) -> None:
        """Compare what is stuck with what people know."""
        now = self._clock.now()
        # First, so that nothing that another tick tells meanwhile is taken to be over.
        known = {record.key: record for record in self._store.live(KIND)}
        tried = [entry for entry in self._outbox.pending(now + _FAR, _LOOKED_AT) if entry.attempts >= TRIED]
        stuck: dict[str, list[Pending]] = {}
        for entry in (*self._outbox.parked(), *tried):
            stuck.setdefault(entry.message.topic, []).append(entry)
        for topic, entries in stuck.items():
            log("unsent", severity="ERROR", topic=topic, messages=len(entries), error=entries[0].error)
        fresh = [topic for topic in stuck if topic not in known]
        ended = self._store.find(KIND, fresh) if fresh else {}
        for topic in fresh:
            record = ended.get(topic, Record(KIND, topic, {}, expires=now))
            if record.expires is not None:  # otherwise another tick has just told it
                body = {"since": now.isoformat(), "tried": now.isoformat()}
                self._tell(replace(record, body=body, expires=None), _firing(topic, stuck[topic], now))
        for topic in known.keys() & stuck.keys():
            if now - datetime.fromisoformat(known[topic].body["tried"]) >= PARKED_RETRY_INTERVAL:
                self._try_again(known[topic], now)
        for topic in known.keys() - stuck.keys():
            since = datetime.fromisoformat(known[topic].body["since"])
            self._tell(replace(known[topic], expires=now + timedelta(days=1)), _over(topic, since, now))

    def _tell(self, record: Record, trouble: Trouble) -> None:
        # On the topic of alerts itself nothing can be told while it lasts, and what was held up tells enough afterwards.
        messages = (trouble_message(trouble),) if record.key != ALERTS else ()
        with suppress(Conflict):  # another tick has just told it
            self._store.commit(Change(records=(record,), outbox=messages))
            self._relay.send(messages)

    def _try_again(self, record: Record, now: datetime) -> None:
        with suppress(Conflict):  # another tick is at it
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
        effect="It is recorded and sent as soon as the topic takes it; until then nobody who waits for it hears of it.",
        since=now,
        at=now,
    )


def _over(topic: str, since: datetime, now: datetime) -> Trouble:
    return Trouble(
        key=f"{KIND}/{topic}/{now.isoformat()}",
        cause=TroubleCause.UNSENT,
        subject=topic,
        detail=f"everything was sent to {topic}",
        state=AlertState.RECOVERED,
        since=since,
        at=now,
    )
