"""Watching the watcher: each function notes when it last did its work, and others say so when that is long ago."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from phasegate.core.gates.schedule import CLOCK_STOPPED_AFTER
from phasegate.errors import AdapterError, Conflict
from phasegate.logs import log
from phasegate.ports import Change, Record, Records, StateStore

KIND = "heartbeat"
"""Records of this kind: the key is the function's name, `at` in the body is when it last did its work."""

WATCH = "watch"
"""The one function that must beat every minute; the others work when a message comes."""

EVERY = timedelta(seconds=50)
"""A heartbeat is written no more often: less than a minute, so that every tick leaves one."""


class Heartbeats:
    """Notes heartbeats; the log line `heartbeat` feeds a metric.

    Args:
        store: Where they are written; *records* is the same store, read.
    """

    def __init__(self, store: StateStore, records: Records) -> None:
        self._store = store
        self._records = records
        self._written: dict[str, datetime] = {}

    def record(self, name: str, now: datetime) -> None:
        """A function has done its work; written once in `EVERY`, and by one of those that do so at once.

        What cannot be written is only logged: the work is done, and a heartbeat that stays away is seen.
        """
        last = self._written.get(name)
        if last is not None and timedelta() <= now - last < EVERY:
            return
        try:
            record = self._records.find(KIND, [name]).get(name, Record(KIND, name, {}))
            self._store.commit(Change(records=(Record(KIND, name, {"at": now.isoformat()}, record.version),)))
        except Conflict:
            pass  # another instance has just said the same
        except AdapterError as error:
            log("heartbeat_not_written", severity="WARNING", function=name, error=str(error))
            return
        self._written[name] = now
        log("heartbeat", function=name)


def last_heartbeats(records: Records, names: Sequence[str] = (WATCH,)) -> Mapping[str, datetime]:
    """When functions last did their work; those that never did are absent."""
    found = records.find(KIND, names)
    return {name: datetime.fromisoformat(record.body["at"]) for name, record in found.items()}


def clock_stopped_message(records: Records, now: datetime) -> str:
    """That nobody watches the clock, as a sentence without a full stop; empty while it ticks."""
    last = last_heartbeats(records).get(WATCH)
    if last is None:
        return "the clock has never ticked here: silence is noticed by nobody (phasegate serve, or the function watch)"
    if now - last <= CLOCK_STOPPED_AFTER:
        return ""
    return f"the clock has not ticked since {last:%Y-%m-%d %H:%M} UTC: silence is noticed by nobody"
