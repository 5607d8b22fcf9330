"""State in Firestore: gates, handled messages, outbox and history in one commit.

| document | id: hash of | fields | retained |
|---|---|---|---|
| `gates/{id}` | pipeline/phase/run date | pipeline, run_date, phase, version, body, restless | forever |
| `gates/{id}/history/{id}` | its version and body | body, expires_at | 400 days |
| `handled/{id}` | message id | message_id, expires_at | 90 days |
| `outbox/{id}` | key | message, shard, created_at, place, attempts, error | |
| … while it waits | | next_at | until it is sent |
| … while it is parked | | parked | until the topic accepts it |
| … once it is sent | | sent_at, expires_at | 30 days |
| `records/{id}` | kind/key | kind, key, version, body, live, shard, due, expires_at | until it is finished |
| `rejected/{id}` | message id | body, shard, created_at, expires_at | 90 days |

**Compare and set.** A gate's `version` is ours, but Firestore's preconditions only compare a document's update time. So a
commit reads the documents it rests on (without a transaction, so without locks), compares versions, and writes one batch on the
condition that each document still has the update time just read, or still does not exist. When the batch is refused, the store
reads again: the message was handled meanwhile, a version changed (`Conflict`), or neither, and it tries again. Nothing is
cached between calls, so any number of processes may share the database. Update times cached by `load` would save one read, but
would need this path, too.

A related gate is written with the version it has. That changes nothing in it, but checks the condition. One that does not exist
yet is created at version 0, and `load` leaves it out.

**Round trips** of a handled message: `load` one read, `commit` one read and one write, `mark_sent` one write.

**Unknown outcome.** A commit is tried once. Without an answer it may or may not have been written. Ids follow from content, so
a redelivered message finds its own marker and changes nothing, and the tick sends what is left in the outbox.

**Rates.** A collection with an indexed field that only rises takes 500 writes a second. Automatic indexes are off; `INDEXES`
lists all there are. Times come after one of sixteen shards there, and only where they are queried: `next_at` is removed from a
sent entry, so the index holds unsent ones only. A run date enters the index once, when its gate is new.

Source: Firestore "Best practices", "Sharded timestamps", "Manage data retention with TTL policies"; the API's
`StructuredQuery.order_by` (which fields an index needs) and `WriteResult.update_time` (a write that changes nothing).
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias

from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition, NotFound
from google.api_core.retry import Retry, if_exception_type
from google.cloud.firestore import (
    DELETE_FIELD,
    SERVER_TIMESTAMP,
    Client,
    DocumentReference,
    DocumentSnapshot,
    FieldFilter,
    Query,
    WriteBatch,
)

from phasegate.adapters.google_errors import RETRYABLE, GoogleError, is_retryable
from phasegate.adapters.state.reading import read_gate
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase
from phasegate.errors import Conflict, StateError
from phasegate.ports import Change, Event, Outgoing, Pending, Record, Rejected
from phasegate.serialization import from_json, to_json

Snapshot: TypeAlias = DocumentSnapshot[DocumentReference]

GATES, HISTORY, HANDLED, OUTBOX, RECORDS, REJECTED = "gates", "history", "handled", "outbox", "records", "rejected"

INDEXES = (
    (GATES, ("pipeline", "ASCENDING"), ("run_date", "DESCENDING")),
    (GATES, ("pipeline", "ASCENDING"), ("restless", "ASCENDING"), ("run_date", "DESCENDING")),
    (OUTBOX, ("shard", "ASCENDING"), ("created_at", "ASCENDING"), ("place", "ASCENDING"), ("next_at", "ASCENDING")),
    (OUTBOX, ("parked", "ASCENDING"), ("created_at", "ASCENDING"), ("place", "ASCENDING")),
    (RECORDS, ("kind", "ASCENDING"), ("live", "ASCENDING"), ("key", "ASCENDING")),
    (RECORDS, ("kind", "ASCENDING"), ("shard", "ASCENDING"), ("due", "ASCENDING")),
    (REJECTED, ("shard", "ASCENDING"), ("created_at", "DESCENDING")),
)
"""Every index that the queries below need. The emulator works without, so only Terraform and its test notice a missing one."""

# Lifetimes only remove garbage: Firestore deletes up to a day late, and nothing relies on it.
HANDLED_KEPT = timedelta(days=90)
"""Longer than `SENT_KEPT`: a redelivered message without its marker would find the keys of its old outbox entries taken."""
SENT_KEPT = timedelta(days=30)
HISTORY_KEPT = timedelta(days=400)
REJECTED_KEPT = timedelta(days=90)

SHARDS = tuple("0123456789abcdef")
"""The first digit of a document's id."""

DUE_NOW = datetime(1970, 1, 1, tzinfo=UTC)
"""A new outbox entry is due at once, on any reader's clock."""

MAX_TRIES = 6
"""How often a refused batch is prepared again before the store gives up."""

BATCH = 500
"""Entries that one batch marks as sent."""


class FirestoreStore:
    """State store and outbox in one Firestore database; safe for several threads and processes.

    Args:
        database: `(default)`, or a database of this name.
        client: The library's; made from the environment when left out.
        within: Seconds that one request may take, with its retries.
    """

    def __init__(self, project: str, database: str, *, client: Client | None = None, within: float = 20.0) -> None:
        self._where = f"firestore:{project}/{database}"
        self._within = within
        # Explicit, because the library's default fails on an error in the middle of a result (python-firestore 596).
        self._again = Retry(predicate=if_exception_type(*RETRYABLE), initial=0.1, maximum=2.0, timeout=within)
        with self._translated():
            self._client = client or Client(project=project, database=database)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except GoogleError as exc:
            raise StateError(f"state at {self._where}: {exc}", retryable=is_retryable(exc)) from exc

    def load(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        """See `StateStore.load`."""
        days: dict[date, dict[str, Gate]] = {}
        query = self._gates(pipeline).where(filter=FieldFilter("run_date", ">=", str(span.first)))
        for document in self._query(query.where(filter=FieldFilter("run_date", "<=", str(span.last)))):
            if document.get("version"):
                gate = _read_gate(document)
                days.setdefault(gate.run.run_date, {})[gate.run.phase] = gate
        return days

    def awaiting_clock(self, pipeline: str, before: date, limit: int) -> Sequence[Gate]:
        """See `StateStore.awaiting_clock`."""
        query = self._gates(pipeline).where(filter=FieldFilter("restless", "==", True))
        documents = self._query(query.where(filter=FieldFilter("run_date", "<", str(before))).limit(limit))
        return [_read_gate(document) for document in documents]

    def latest(self, pipeline: str) -> date | None:
        """See `StateStore.latest`."""
        # A gate of version 0 does no harm here: it has the run date of the stored gate that it is related to.
        for newest in self._query(self._gates(pipeline).limit(1)):
            return date.fromisoformat(newest.get("run_date"))
        return None

    def _gates(self, pipeline: str) -> Query:
        gates = self._client.collection(GATES).where(filter=FieldFilter("pipeline", "==", pipeline))
        return gates.order_by("run_date", direction=Query.DESCENDING)

    def commit(self, change: Change) -> bool:
        """See `StateStore.commit`."""
        return self._write(lambda: self._prepare(change))

    def _write(self, prepare: Callable[[], WriteBatch | None]) -> bool:
        """Write the batch of *prepare*, prepared again when it is refused; False, with nothing written, when it gives None."""
        for attempt in range(MAX_TRIES):
            if attempt:
                # Without jitter, batches that were refused together would be refused together again.
                time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311
            with self._translated():
                batch = prepare()
                if batch is None:
                    return False
                try:
                    # No retry by the library: after a lost answer it would take its own write for another process's.
                    batch.commit(retry=None, timeout=self._within)
                except (Aborted, AlreadyExists, FailedPrecondition, NotFound) as exc:
                    refused = exc
                else:
                    return True
        if isinstance(refused, Aborted | FailedPrecondition):
            raise Conflict(f"state at {self._where}: what the change rests on kept changing") from refused
        raise StateError(f"state at {self._where}: {refused}", retryable=False) from refused

    def _prepare(self, change: Change) -> WriteBatch | None:
        """The change, on the condition that what it rests on does not change; None when its message was handled before."""
        versions = {self._gate(run).path: version for run, version in change.related_versions.items()}
        if change.gate is not None:
            versions[self._gate(change.gate.run).path] = change.gate.version
        versions |= {self._record(record.kind, record.key).path: record.version for record in change.records}
        marker = None if change.handled is None else self._document(HANDLED, change.handled)
        seen = self._read([*map(self._client.document, versions), *([marker] if marker else [])])
        # The marker comes first: a duplicate must give False even where the versions have moved on since.
        if marker and seen[marker.path].exists:
            return None
        if changed := [path for path, version in versions.items() if _version(seen[path]) != version]:
            raise Conflict(f"state at {self._where}: {', '.join(changed)} changed since it was read")
        batch = self._client.batch()
        if marker:
            batch.create(marker, {"message_id": change.handled, "expires_at": _now() + HANDLED_KEPT})
        for run, version in change.related_versions.items():
            _put(batch, seen[self._gate(run).path], _gate_key(run, version))
        if change.gate is not None:
            self._put_gate(batch, seen[self._gate(change.gate.run).path], change.gate)
        for record in change.records:
            document = self._record(record.kind, record.key)
            _put(batch, seen[document.path], _record_fields(record, document))
        self._append(batch, change)
        return batch

    def add(self, new: Sequence[tuple[Gate, Event]]) -> Sequence[RunKey]:
        """See `StateStore.add`."""
        added: list[RunKey] = []

        def prepare() -> WriteBatch | None:
            seen = self._read([self._gate(gate.run) for gate, _ in new])
            missing = [(gate, event) for gate, event in new if not _version(seen[self._gate(gate.run).path])]
            added[:] = [gate.run for gate, _ in missing]
            batch = self._client.batch()
            for gate, event in missing:
                self._put_gate(batch, seen[self._gate(gate.run).path], replace(gate, version=0))
                self._append_event(batch, event, "")
            return batch if missing else None

        self._write(prepare)
        return added

    def _put_gate(self, batch: WriteBatch, seen: Snapshot, gate: Gate) -> None:
        stored = replace(gate, version=gate.version + 1)
        fields = {**_gate_key(stored.run, stored.version), "body": to_json(stored), "restless": stored.awaits_clock}
        _put(batch, seen, fields)

    def _append_event(self, batch: WriteBatch, event: Event, version: int | str) -> None:
        body = to_json(event)
        # The version makes two alike decisions two entries, and a repeated commit one.
        line = self._gate(event.run).collection(HISTORY).document(_id(f"{version} {body}"))
        batch.set(line, {"body": body, "expires_at": _now() + HISTORY_KEPT})

    def _append(self, batch: WriteBatch, change: Change) -> None:
        """Add the new documents of a change: an entry of the history, entries of the outbox, a rejected message."""
        if change.event is not None:
            self._append_event(batch, change.event, change.gate.version if change.gate else "")
        for place, message in enumerate(change.outbox):
            entry = self._document(OUTBOX, message.key)
            fields = {"message": to_json(message), "place": place, "attempts": 0, "error": "", "next_at": DUE_NOW}
            batch.create(entry, {**fields, **_sharded(entry)})
        if change.rejected is not None:
            document = self._document(REJECTED, change.rejected.message_id)
            fields = {"body": to_json(change.rejected), "expires_at": _now() + REJECTED_KEPT}
            batch.set(document, {**fields, **_sharded(document)})

    def history(self, run: RunKey) -> Sequence[Event]:
        """See `StateStore.history`."""
        lines = sorted(self._query(self._gate(run).collection(HISTORY)), key=lambda line: line.create_time)
        return [from_json(Event, line.get("body")) for line in lines]

    def rejected(self, limit: int) -> Sequence[Rejected]:
        """See `StateStore.rejected`."""
        query = self._client.collection(REJECTED).where(filter=FieldFilter("shard", "in", SHARDS))
        documents = self._query(query.order_by("created_at", direction=Query.DESCENDING).limit(limit))
        return [from_json(Rejected, document.get("body")) for document in documents]

    def find(self, kind: str, keys: Sequence[str]) -> Mapping[str, Record]:
        """See `Records.find`."""
        with self._translated():
            references = [self._record(kind, key) for key in keys]
            documents = list(self._client.get_all(references, retry=self._again, timeout=self._within)) if references else []
        return {record.key: record for record in map(_read_record, (document for document in documents if document.exists))}

    def live(self, kind: str) -> Sequence[Record]:
        """See `Records.live`."""
        query = self._client.collection(RECORDS).where(filter=FieldFilter("kind", "==", kind))
        return [_read_record(one) for one in self._query(query.where(filter=FieldFilter("live", "==", True)).order_by("key"))]

    def due(self, kind: str, now: datetime, limit: int) -> Sequence[Record]:
        """See `Records.due`."""
        query = self._client.collection(RECORDS).where(filter=FieldFilter("kind", "==", kind))
        query = query.where(filter=FieldFilter("shard", "in", SHARDS)).where(filter=FieldFilter("due", "<=", now))
        return [_read_record(document) for document in self._query(query.order_by("due").limit(limit))]

    def pending(self, now: datetime, limit: int) -> Sequence[Pending]:
        """See `Outbox.pending`."""
        query = self._client.collection(OUTBOX).where(filter=FieldFilter("shard", "in", SHARDS))
        return self._entries(query.where(filter=FieldFilter("next_at", "<=", now)), limit)

    def parked(self) -> Sequence[Pending]:
        """See `Outbox.parked`."""
        return self._entries(self._client.collection(OUTBOX).where(filter=FieldFilter("parked", "==", True)))

    def _entries(self, query: Query, limit: int | None = None) -> Sequence[Pending]:
        query = query.order_by("created_at").order_by("place")
        entries = self._query(query if limit is None else query.limit(limit))
        # The server's timestamp is in milliseconds. A document's creation time is finer, and orders commits within one.
        entries.sort(key=lambda entry: (entry.create_time, entry.get("place")))
        return [_pending(entry) for entry in entries]

    def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        """See `Outbox.mark_sent`."""
        for start in range(0, len(keys), BATCH):
            self._mark(keys[start : start + BATCH], now)

    def postpone(self, keys: Sequence[str], again: datetime) -> None:
        """See `Outbox.postpone`."""
        for start in range(0, len(keys), BATCH):
            self._write(partial(self._postponed, keys[start : start + BATCH], again))

    def _postponed(self, keys: Sequence[str], again: datetime) -> WriteBatch | None:
        """Another time for the next attempt of those that were not sent or parked meanwhile; None when all were."""
        entries = self._read([self._document(OUTBOX, key) for key in keys]).values()
        waiting = [seen for seen in entries if seen.exists and not {"sent_at", "parked"} & (seen.to_dict() or {}).keys()]
        batch = self._client.batch()
        for seen in waiting:
            _put(batch, seen, {"next_at": again})
        return batch if waiting else None

    def _mark(self, keys: Sequence[str], now: datetime) -> None:
        batch = self._client.batch()
        sent = {"sent_at": now, "expires_at": now + SENT_KEPT, "next_at": DELETE_FIELD, "parked": DELETE_FIELD}
        for key in keys:
            batch.update(self._document(OUTBOX, key), sent)
        with self._translated():
            try:
                batch.commit(retry=self._again, timeout=self._within)
                return
            except NotFound:
                if len(keys) == 1:
                    return  # it was marked before, and has expired since
        # One missing entry fails the whole batch.
        for key in keys:
            self._mark([key], now)

    def mark_failed(self, key: str, error: str, again: datetime | None) -> None:
        """See `Outbox.mark_failed`."""
        self._write(lambda: self._failed_attempt(self._document(OUTBOX, key), error, again))

    def _failed_attempt(self, entry: DocumentReference, error: str, again: datetime | None) -> WriteBatch | None:
        """One more failed attempt; None when the entry was sent meanwhile, and stays sent."""
        seen = self._read([entry])[entry.path]
        fields = seen.to_dict() or {"sent_at": None}
        if "sent_at" in fields:
            return None
        due = {"next_at": again or DELETE_FIELD, "parked": True if again is None else DELETE_FIELD}
        batch = self._client.batch()
        _put(batch, seen, {"attempts": fields["attempts"] + 1, "error": error, **due})
        return batch

    def _read(self, references: Sequence[DocumentReference]) -> Mapping[str, Snapshot]:
        """Documents by path, without their bodies, in one request; missing ones are among them."""
        if not references:
            return {}
        fields = ("version", "attempts", "sent_at", "parked")
        snapshots = self._client.get_all(list(references), fields, retry=self._again, timeout=self._within)
        return {snapshot.reference.path: snapshot for snapshot in snapshots}

    def _query(self, query: Query) -> list[Snapshot]:
        with self._translated():
            return list(query.get(retry=self._again, timeout=self._within))

    def _document(self, collection: str, name: str) -> DocumentReference:
        return self._client.collection(collection).document(_id(name))

    def _gate(self, run: RunKey) -> DocumentReference:
        return self._document(GATES, str(run))

    def _record(self, kind: str, key: str) -> DocumentReference:
        return self._document(RECORDS, f"{kind}/{key}")


def _id(name: str) -> str:
    """A document's id: the same for the same name. A hash, because ids in order would concentrate writes on one server."""
    return sha256(name.encode()).hexdigest()[:32]


def _now() -> datetime:
    """The system's time; only the expiry of garbage depends on it."""
    return datetime.now(UTC)


def _gate_key(run: RunKey, version: int) -> Mapping[str, Any]:
    return {"pipeline": run.pipeline, "run_date": str(run.run_date), "phase": run.phase, "version": version}


def _read_gate(document: Snapshot) -> Gate:
    run = RunKey(document.get("pipeline"), document.get("phase"), date.fromisoformat(document.get("run_date")))
    return read_gate(run, document.get("version"), document.get("body"))


def _record_fields(record: Record, document: DocumentReference) -> Mapping[str, Any]:
    """The fields of a record. Times that it does not have are left out, so that no index holds them."""
    times = {name: moment for name, moment in (("due", record.due), ("expires_at", record.expires)) if moment is not None}
    removed = {} if record.version == 0 else {"due": DELETE_FIELD, "expires_at": DELETE_FIELD}
    fields = {"kind": record.kind, "key": record.key, "version": record.version + 1, "body": json.dumps(record.body)}
    return {**fields, "live": record.expires is None, "shard": document.id[0], **removed, **times}


def _read_record(document: Snapshot) -> Record:
    fields = document.to_dict() or {}
    times = (fields.get(name) and _plain(fields[name]) for name in ("due", "expires_at"))
    return Record(fields["kind"], fields["key"], json.loads(fields["body"]), fields["version"], *times)


def _plain(moment: datetime) -> datetime:
    """A plain datetime: the client's subclass compares and prints differently."""
    return datetime.fromtimestamp(moment.timestamp(), UTC).replace(microsecond=moment.microsecond)


def _sharded(reference: DocumentReference) -> Mapping[str, Any]:
    return {"shard": reference.id[0], "created_at": SERVER_TIMESTAMP}


def _version(snapshot: Snapshot) -> int:
    return int(snapshot.get("version")) if snapshot.exists else 0


def _put(batch: WriteBatch, seen: Snapshot, fields: Mapping[str, Any]) -> None:
    """Write fields on the condition that the document has not changed since it was seen."""
    if seen.exists:
        batch.update(seen.reference, dict(fields), option=Client.write_option(last_update_time=seen.update_time))
    else:
        batch.create(seen.reference, dict(fields))


def _pending(entry: Snapshot) -> Pending:
    return Pending(from_json(Outgoing, entry.get("message")), entry.get("attempts"), entry.get("error"))
