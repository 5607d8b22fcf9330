"""State in a SQLite file: gates, handled messages, outbox and history in one commit; and the history for analysis."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from phasegate.adapters.state.reading import read_gate
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase
from phasegate.errors import Conflict, StateError
from phasegate.ports import Change, Event, Outgoing, Pending, Record, Rejected
from phasegate.schemas import history_table
from phasegate.serialization import from_json, to_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS gate (
    pipeline TEXT, run_date TEXT, phase TEXT, version INTEGER NOT NULL, body TEXT NOT NULL, restless INTEGER NOT NULL,
    PRIMARY KEY (pipeline, run_date, phase)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS restless ON gate (pipeline, run_date) WHERE restless;
CREATE TABLE IF NOT EXISTS handled (message_id TEXT PRIMARY KEY, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, message TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
    next_at TEXT NOT NULL DEFAULT '', sent_at TEXT, parked INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS unsent ON outbox (next_at) WHERE sent_at IS NULL AND NOT parked;
CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_run ON event (run, seq);
CREATE TABLE IF NOT EXISTS record (
    kind TEXT, key TEXT, version INTEGER NOT NULL, body TEXT NOT NULL, due TEXT, expires TEXT, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS record_due ON record (kind, due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS rejected (seq INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
"""
_KINDS = {"INTEGER": "INTEGER", "FLOAT": "REAL"}
"""SQLite's names for types of BigQuery; every other type is text."""

_PENDING = """
SELECT message, attempts, error FROM outbox WHERE sent_at IS NULL AND NOT parked AND next_at <= ? ORDER BY seq LIMIT ?
"""
_GATE = "SELECT pipeline, phase, run_date, version, body FROM gate"
_RECORD = "SELECT kind, key, body, version, due, expires FROM record WHERE kind = ?"
_PARKED = "SELECT message, attempts, error FROM outbox WHERE sent_at IS NULL AND parked ORDER BY seq"


_PATIENCE_SECONDS = 30
"""How long to wait for other processes."""


class _SQLiteFile:
    """A SQLite file; safe for several threads and processes. Reading works where nothing can be written.

    Args:
        path: The file, created with its folder when missing; `:memory:` keeps everything in this object.
        schema: Statements that are harmless to repeat.
        must_exist: Raise instead of creating the file.
    """

    def __init__(self, path: str, schema: str, *, must_exist: bool = False) -> None:
        self._path = path
        self._memory: sqlite3.Connection | None = None
        self._turn = threading.Lock()  # in memory all threads share one connection, and so one transaction
        self._read_only = False
        if path == ":memory:":
            self._memory = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._memory.executescript(schema)
            return
        if Path(path).exists():
            self._read_only = not all(os.access(each, os.W_OK) for each in (Path(path), Path(path).resolve().parent))
        elif must_exist:
            raise StateError(f"no state at {path}; check the path, or start phasegate serve, which creates it", retryable=False)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StateError(f"no state at {path}: {exc.strerror}", retryable=False) from exc
        if not self._read_only:
            self._prepare(schema)

    def _prepare(self, schema: str) -> None:
        """Create what is missing. SQLite does not wait when two processes change the mode of a new file, so this does."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                with self._connected() as connection:
                    # With a write-ahead log readers don't wait for a writer, nor a writer for readers.
                    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                        connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(schema)
            except StateError as error:
                if not error.retryable or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for this call only: threads share none, and a fork inherits none."""
        try:
            if self._memory is not None:
                with self._turn:
                    yield self._memory
                return
            connection = self._open_read_only() if self._read_only else self._open(self._path)
            try:
                # With NORMAL, the default of some builds in WAL mode, a power cut may lose the last commits.
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as exc:
            retryable = isinstance(exc, sqlite3.OperationalError) and "lock" in str(exc)
            raise StateError(f"state at {self._path}: {exc}", retryable=retryable) from exc

    def _open(self, path: str, *, uri: bool = False) -> sqlite3.Connection:
        # Without an isolation level Python opens no transactions of its own.
        return sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None, uri=uri)

    def _open_read_only(self) -> sqlite3.Connection:
        address = Path(self._path).absolute().as_uri()
        connection = self._open(f"{address}?mode=ro", uri=True)
        try:
            connection.execute("SELECT COUNT(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            connection.close()
            # The write-ahead log needs a file next to it, which can't be created here. An empty log has nothing to tell.
            log = Path(f"{self._path}-wal")
            if log.exists() and log.stat().st_size:
                raise
            return self._open(f"{address}?immutable=1", uri=True)
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._read_only:
            raise StateError(f"state at {self._path}: it can be read, but not written", retryable=False)
        with self._connected() as connection:
            # IMMEDIATE takes the write lock before the first read. A transaction that upgrades later fails at once with
            # "database is locked" when another wrote since its read, however long the timeout is.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already, and a failing ROLLBACK would hide that error
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


class SQLiteStore(_SQLiteFile):
    """State store, records and outbox in one SQLite file; arguments as in `_SQLiteFile`."""

    def __init__(self, path: str, *, must_exist: bool = False) -> None:
        super().__init__(path, _SCHEMA, must_exist=must_exist)

    def load(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        """See `StateStore.load`."""
        days: dict[date, dict[str, Gate]] = {}
        with self._connected() as connection:
            rows = connection.execute(
                f"{_GATE} WHERE pipeline = ? AND run_date BETWEEN ? AND ?", (pipeline, str(span.first), str(span.last))
            ).fetchall()
        for row in rows:
            gate = _gate(*row)
            days.setdefault(gate.run.run_date, {})[gate.run.phase] = gate
        return days

    def awaiting_clock(self, pipeline: str, before: date, limit: int) -> Sequence[Gate]:
        """See `StateStore.awaiting_clock`."""
        query = f"{_GATE} WHERE restless AND pipeline = ? AND run_date < ? ORDER BY run_date DESC LIMIT ?"
        with self._connected() as connection:
            rows = connection.execute(query, (pipeline, str(before), limit)).fetchall()
        return [_gate(*row) for row in rows]

    def latest(self, pipeline: str) -> date | None:
        """See `StateStore.latest`."""
        with self._connected() as connection:
            (newest,) = connection.execute("SELECT MAX(run_date) FROM gate WHERE pipeline = ?", (pipeline,)).fetchone()
        return None if newest is None else date.fromisoformat(newest)

    def commit(self, change: Change) -> bool:
        """See `StateStore.commit`."""
        with self._writing() as connection:
            # The marker comes first: a duplicate must give False even where the versions have moved on since.
            if change.handled is not None:
                inserted = connection.execute("INSERT OR IGNORE INTO handled (message_id) VALUES (?)", (change.handled,))
                if inserted.rowcount == 0:
                    return False
            for run, version in change.related_versions.items():
                if _version(connection, run) != version:
                    raise Conflict(f"{run} changed since it was read")
            if change.gate is not None:
                _store_gate(connection, change.gate)
            for record in change.records:
                _store_record(connection, record)
            for message in change.outbox:
                connection.execute("INSERT INTO outbox (key, message) VALUES (?, ?)", (message.key, to_json(message)))
            if change.event is not None:
                _store_event(connection, change.event)
            if change.rejected is not None:
                values = (change.rejected.message_id, to_json(change.rejected))
                connection.execute("INSERT OR IGNORE INTO rejected (message_id, body) VALUES (?, ?)", values)
        return True

    def add(self, new: Sequence[tuple[Gate, Event]]) -> Sequence[RunKey]:
        """See `StateStore.add`."""
        with self._writing() as connection:
            added = [(gate, event) for gate, event in new if _version(connection, gate.run) == 0]
            for gate, event in added:
                _store_gate(connection, replace(gate, version=0))
                _store_event(connection, event)
        return [gate.run for gate, _ in added]

    def history(self, run: RunKey) -> Sequence[Event]:
        """See `StateStore.history`."""
        with self._connected() as connection:
            rows = connection.execute("SELECT body FROM event WHERE run = ? ORDER BY seq", (str(run),)).fetchall()
        return [from_json(Event, body) for (body,) in rows]

    def rejected(self, limit: int) -> Sequence[Rejected]:
        """See `StateStore.rejected`."""
        with self._connected() as connection:
            rows = connection.execute("SELECT body FROM rejected ORDER BY seq DESC LIMIT ?", (limit,)).fetchall()
        return [from_json(Rejected, body) for (body,) in rows]

    def find(self, kind: str, keys: Sequence[str]) -> Mapping[str, Record]:
        """See `Records.find`."""
        with self._connected() as connection:
            rows = [connection.execute(f"{_RECORD} AND key = ?", (kind, key)).fetchone() for key in keys]
        return {row[1]: _record(*row) for row in rows if row}

    def live(self, kind: str) -> Sequence[Record]:
        """See `Records.live`."""
        with self._connected() as connection:
            rows = connection.execute(f"{_RECORD} AND expires IS NULL ORDER BY key", (kind,)).fetchall()
        return [_record(*row) for row in rows]

    def due(self, kind: str, now: datetime, limit: int) -> Sequence[Record]:
        """See `Records.due`."""
        with self._connected() as connection:
            rows = connection.execute(f"{_RECORD} AND due <= ? ORDER BY due LIMIT ?", (kind, _stamp(now), limit)).fetchall()
        return [_record(*row) for row in rows]

    def pending(self, now: datetime, limit: int) -> Sequence[Pending]:
        """See `Outbox.pending`."""
        return self._entries(_PENDING, (_stamp(now), limit))

    def parked(self) -> Sequence[Pending]:
        """See `Outbox.parked`."""
        return self._entries(_PARKED, ())

    def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        """See `Outbox.mark_sent`."""
        with self._writing() as connection:
            connection.executemany("UPDATE outbox SET sent_at = ? WHERE key = ?", [(_stamp(now), key) for key in keys])

    def mark_failed(self, key: str, error: str, again: datetime | None) -> None:
        """See `Outbox.mark_failed`."""
        # An entry that another process has sent meanwhile stays sent.
        values = (error, _stamp(again) if again else "", again is None, key)
        with self._writing() as connection:
            connection.execute(
                "UPDATE outbox SET attempts = attempts + 1, error = ?, next_at = ?, parked = ?"
                " WHERE key = ? AND sent_at IS NULL",
                values,
            )

    def postpone(self, keys: Sequence[str], again: datetime) -> None:
        """See `Outbox.postpone`."""
        with self._writing() as connection:
            values = [(_stamp(again), key) for key in keys]
            connection.executemany("UPDATE outbox SET next_at = ? WHERE key = ? AND sent_at IS NULL AND NOT parked", values)

    def _entries(self, query: str, values: tuple[Any, ...]) -> Sequence[Pending]:
        with self._connected() as connection:
            rows = connection.execute(query, values).fetchall()
        return [Pending(_message(message), attempts, error) for message, attempts, error in rows]


class SQLiteHistory(_SQLiteFile):
    """The history as a table `history`, with the columns that it has in BigQuery; lists are stored as JSON.

    Args:
        path: Its own file, or that of the state.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, "CREATE TABLE IF NOT EXISTS history (key TEXT PRIMARY KEY) WITHOUT ROWID")
        columns = {column["name"]: _KINDS.get(column["type"], "TEXT") for column in history_table()["columns"]}
        with self._writing() as connection:
            # A file from an older version lacks the columns that were added since.
            existing = {name for _, name, *_ in connection.execute("PRAGMA table_info(history)")}
            for name, kind in columns.items():
                if name not in existing:
                    connection.execute(f"ALTER TABLE history ADD COLUMN {name} {kind}")
        marks = ", ".join("?" for _ in columns)
        self._columns = tuple(columns)
        self._insert = f"INSERT OR IGNORE INTO history ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608

    def add(self, message: Outgoing) -> None:
        """Add the row of an event, once: an existing row stays as it is."""
        values = [message.body.get(name) for name in self._columns]
        with self._writing() as connection:
            connection.execute(self._insert, [json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in values])


def _message(text: str) -> Outgoing:
    return Outgoing(**json.loads(text))


def _stamp(moment: datetime) -> str:
    # Compared as text, so in one zone.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _record(kind: str, key: str, body: str, version: int, due: str | None, expires: str | None) -> Record:
    return Record(kind, key, json.loads(body), version, _moment(due), _moment(expires))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _store_record(connection: sqlite3.Connection, record: Record) -> None:
    """Write a record over the version that was read; any other stored version is a conflict."""
    row = connection.execute("SELECT version FROM record WHERE kind = ? AND key = ?", (record.kind, record.key)).fetchone()
    if (row[0] if row else 0) != record.version:
        raise Conflict(f"{record.kind} {record.key} changed since it was read")
    times = (_stamp(moment) if moment else None for moment in (record.due, record.expires))
    values = (record.kind, record.key, record.version + 1, json.dumps(record.body), *times)
    connection.execute(
        "INSERT OR REPLACE INTO record (kind, key, version, body, due, expires) VALUES (?, ?, ?, ?, ?, ?)", values
    )


def _gate(pipeline: str, phase: str, run_date: str, version: int, body: str) -> Gate:
    return read_gate(RunKey(pipeline, phase, date.fromisoformat(run_date)), version, body)


def _version(connection: sqlite3.Connection, run: RunKey) -> int:
    key = (run.pipeline, str(run.run_date), run.phase)
    row = connection.execute("SELECT version FROM gate WHERE pipeline = ? AND run_date = ? AND phase = ?", key).fetchone()
    return row[0] if row else 0


def _store_event(connection: sqlite3.Connection, event: Event) -> None:
    connection.execute("INSERT INTO event (run, body) VALUES (?, ?)", (str(event.run), to_json(event)))


def _store_gate(connection: sqlite3.Connection, gate: Gate) -> None:
    """Write a gate over the version that was read; any other stored version is a conflict."""
    run = gate.run
    if _version(connection, run) != gate.version:
        raise Conflict(f"{run} changed since it was read")
    stored = replace(gate, version=gate.version + 1)
    values = (run.pipeline, str(run.run_date), run.phase, stored.version, to_json(stored), stored.awaits_clock)
    connection.execute(
        "INSERT OR REPLACE INTO gate (pipeline, run_date, phase, version, body, restless) VALUES (?, ?, ?, ?, ?, ?)", values
    )
