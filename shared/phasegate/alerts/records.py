"""The records that hold the state of alerts: a kind for each, and how one is written again."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from phasegate.core.alerts.incident import Board
from phasegate.logs import log
from phasegate.ports import Record
from phasegate.serialization import from_object, to_object

T = TypeVar("T")

INCIDENT, DELIVERY, DESTINATION, SILENCE = "incident", "delivery", "destination", "silence"
"""The kinds of records. An `incident` record is a `Board`: all incidents of one subject."""

DUE_RECORDS_PER_TICK = 500
"""Due records of a kind that one tick handles; the next tick takes the rest."""

CONFLICT = "alerts: other processes kept writing first"
"""The error when a change could not be committed after many attempts."""

Boards: TypeAlias = Mapping[str, tuple[Board, Record]]
"""Boards by key, each with the record it was read from."""


def readable(kind: type[T], records: Iterable[Record]) -> Iterator[tuple[T, Record]]:
    """Records with the values that they hold; one that cannot be read is logged and left out, so that it harms only itself."""
    for record in records:
        try:
            yield from_object(kind, record.body), record
        except ValueError:  # damaged, or of a newer version
            log("unreadable_record", severity="ERROR", kind=record.kind, key=record.key)


def updated(record: Record, value: Any, *, due: datetime | None, expires: datetime | None = None) -> Record:
    """The record with another value, to be committed at the version that was read."""
    return Record(record.kind, record.key, to_object(value), record.version, due, expires)
