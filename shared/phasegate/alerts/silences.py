"""Silences: a person mutes matching alerts until a given time."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from phasegate.alerts.records import DELIVERY, DUE_RECORDS_PER_TICK, SILENCE, readable
from phasegate.core.alerts.incident import INCIDENT_RETENTION
from phasegate.core.alerts.routing import Silence
from phasegate.errors import ConfigError, Conflict
from phasegate.ports import Change, Clock, Record, State
from phasegate.serialization import from_object, to_object


class Silences:
    """Adds, lists and ends silences."""

    def __init__(self, store: State, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, silence: Silence) -> None:
        """Mute what matches until the silence ends; a recovery is still sent where the incident was reported before."""
        self._store.commit(Change(records=(Record(SILENCE, silence.id, to_object(silence), due=silence.until),)))

    def active(self) -> Sequence[Silence]:
        """The silences that have not ended."""
        now = self._clock.now()
        return [silence for silence, _ in readable(Silence, self._store.live(SILENCE)) if now < silence.until]

    def end(self, silence_id: str) -> Silence:
        """End a silence now; the next tick sends what it muted and is still open.

        Raises:
            ConfigError: There is no silence with that id.
        """
        now = self._clock.now()
        record = self._store.find(SILENCE, [silence_id]).get(silence_id)
        if record is None:
            raise ConfigError(f'unknown silence "{silence_id}"')
        ended = replace(from_object(Silence, record.body), until=now)
        # In the same commit: a muted row is due when the silence was planned to end, and nothing else would wake it before.
        muted = (row for row in self._store.live(DELIVERY) if row.body.get("withheld"))
        woken = tuple(replace(row, due=now) for row in muted)
        expired = replace(record, body=to_object(ended), due=None, expires=now + INCIDENT_RETENTION)
        self._store.commit(Change(records=(expired, *woken)))
        return ended

    def expire(self, now: datetime) -> None:
        """Let the records of silences that have ended be deleted after a while."""
        for record in self._store.due(SILENCE, now, DUE_RECORDS_PER_TICK):
            with suppress(Conflict):  # another process does the same
                self._store.commit(Change(records=(replace(record, due=None, expires=now + INCIDENT_RETENTION),)))
