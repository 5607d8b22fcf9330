"""Monitoring the monitor: each function records when it last did its work, so that others can report when it stopped."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from phasegate.core.gates.schedule import CLOCK_STOPPED_AFTER
from phasegate.errors import AdapterError, Conflict
from phasegate.logs import log
from phasegate.ports import Change, Record, Records, StateStore

KIND = "heartbeat"
"""Records of this kind: the key is the function's name, `at` in the body is when it last did its work."""

WATCH = "watch"
"""The function that must record a heartbeat every minute; the others only do so when a message comes."""

EVERY = timedelta(seconds=50)
"""A heartbeat is written no more often than this: a bit less than a minute, so that every tick writes one."""


class Heartbeats:
    """Records heartbeats; the log line `heartbeat` feeds a metric.

    Args:
        store: Where they are written; *records* is the same store, for reading.
    """

    def __init__(self, store: StateStore, records: Records) -> None:
        self._store = store
        self._records = records
        self._written: dict[str, datetime] = {}

    def record(self, name: str, now: datetime) -> None:
        """Record that a function has done its work; written at most once in `EVERY`.

        An error is only logged: the work itself is done, and a missing heartbeat is noticed.
        """
        # Remembered in the process: reading the store before each message would cost more than the heartbeat.
        last = self._written.get(name)
        if last is not None and timedelta() <= now - last < EVERY:
            return
        try:
            record = self._records.find(KIND, [name]).get(name, Record(KIND, name, {}))
            self._store.commit(Change(records=(Record(KIND, name, {"at": now.isoformat()}, record.version),)))
        except Conflict:
            pass  # another instance has just written the same
        except AdapterError as error:
            log("heartbeat_not_written", severity="WARNING", function=name, error=str(error))
            return
        self._written[name] = now
        log("heartbeat", function=name)


def last_heartbeats(records: Records, names: Sequence[str] = (WATCH,)) -> Mapping[str, datetime]:
    """When functions last did their work; those that never did, or whose record is damaged, are absent."""
    beats: dict[str, datetime] = {}
    for name, record in records.find(KIND, names).items():
        with suppress(KeyError, TypeError, ValueError):
            beats[name] = datetime.fromisoformat(record.body["at"])
    return beats


def clock_stopped_message(records: Records, now: datetime) -> str:
    """A warning that the scheduler is not running, as a sentence without a full stop; empty while it is."""
    last = last_heartbeats(records).get(WATCH)
    if last is None:
        return "the scheduler has never run here, so overdue phases go unnoticed (run phasegate serve or the function watch)"
    if last - now > CLOCK_STOPPED_AFTER:
        return f"the scheduler's last run is recorded for {last:%Y-%m-%d %H:%M} UTC, which is still to come: a clock was wrong"
    if now - last <= CLOCK_STOPPED_AFTER:
        return ""
    return f"the scheduler has not run since {last:%Y-%m-%d %H:%M} UTC, so overdue phases go unnoticed"
