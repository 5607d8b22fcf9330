"""The alert desk: an alert comes in; fold it into its incident, decide whom to tell, record both, tell, and record the outcome.

An alert and the tick end in the same function: whatever a row of the ledger must still be told, whoever finds it due.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from phasegate.core.alerts.delivery import (
    COLLAPSE_ABOVE,
    DELIVERY_RETENTION,
    LOCAL_KINDS,
    RATE_LIMITS,
    SELF_TEST_INTERVAL,
    Delivery,
    DestinationHealth,
    Sent,
    destination_trouble,
)
from phasegate.core.alerts.incident import (
    INCIDENT_RETENTION,
    Acknowledgement,
    Board,
    Incident,
    IncidentState,
    NotifyReason,
    fold,
    next_tidying,
    read_alert,
    tidy,
)
from phasegate.core.alerts.notice import Link, Notice
from phasegate.core.alerts.routing import (
    NotifyContext,
    NotifyDecision,
    Silence,
    Target,
    Topology,
    after_notice,
    decide_notice,
    new_members,
    targets,
)
from phasegate.core.alerts.wording import compose, compose_digest, compose_test
from phasegate.core.gates.completion import Envelope, read_object
from phasegate.core.pipeline.model import Destination, Pipeline
from phasegate.errors import ConfigError, Conflict, NotifyError
from phasegate.logs import Log, log
from phasegate.messaging.bodies import trouble_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Notifier, Outgoing, Record, State
from phasegate.serialization import from_object, to_object

DUE_ROWS_PER_TICK = 500
"""Due rows that one tick looks at."""

BOARD, ROW, LINE, SILENCE = "incident", "delivery", "destination", "silence"
"""The kinds of the desk's records."""

_OTHERS_FIRST = "the alert desk: others kept writing first"


@dataclass(frozen=True, slots=True)
class TestResult:
    """How a destination took a test.

    Args:
        problem: Why it did not take it; empty when it did.
    """

    destination: str
    status: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the ledger beside the incident that it is about, and what to do about it now."""

    delivery: Delivery
    record: Record
    incident: Incident
    target: Target
    say: NotifyDecision


class AlertDesk:
    """Brings incidents to people: once each, and again only for a reason.

    Args:
        notifiers: By pipeline and destination: `flights/team`.
        links: Where to acknowledge an incident and to read more.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        notifiers: Mapping[str, Notifier],
        store: State,
        relay: Relay,
        clock: Clock,
        links: Callable[[Incident, datetime], Sequence[Link]] | None = None,
        log: Log = log,
    ) -> None:
        self._pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._destinations: Mapping[str, Destination] = {
            f"{pipeline.name}/{name}": destination
            for pipeline in pipelines
            for name, destination in pipeline.alerts.destinations.items()
        }
        self._notifiers = notifiers
        self._store = store
        self._intake = Inbox(store, relay, clock)
        self._relay = relay
        self._clock = clock
        self._links = links
        self._log = log

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Take in one message as an HTTP request brings it; what is no alert is recorded, told once, and acknowledged.

        Raises:
            AdapterError: The effect is not stored; the message must come again.
        """
        return self._intake.receive(headers, body, self._handle)

    def take(self, message: Outgoing) -> InboxResult:
        """Take in one message as the bus inside this process brings it; see `receive`."""
        return self._intake.take(Envelope(message.key, json.dumps(message.body).encode(), message.attributes), self._handle)

    def _handle(self, envelope: Envelope) -> InboxResult:
        alert = read_object(envelope.data)
        self.handle(alert)
        return InboxResult(envelope.message_id, Handled.DECIDED, detail=str(alert["key"]))

    def handle(self, body: Mapping[str, Any]) -> None:
        """Take in an alert; when this returns, what must be said is recorded, and said as far as destinations took it.

        Raises:
            MessageError: It is no alert.
            AdapterError: The effect is not stored; the message must come again.
        """
        said = read_alert(body)
        key = Board(pipeline=said.pipeline, subject=said.subject).key

        def take() -> Sequence[_Row]:
            now = self._clock.now()
            boards = self._boards([key])
            known, record = boards.get(key, (Board(pipeline=said.pipeline, subject=said.subject), Record(BOARD, key, {})))
            board = fold(known, said)
            if board == known:
                return ()
            board = tidy(board, now)
            changed = [i for cause, i in board.incidents.items() if known.incidents.get(cause) != i]
            boards[key] = (board, record)
            rows = self._rows_of(changed, boards, now)
            touched = [row for row in rows if not row.record.version or _wants(row, now) != row.record.due]
            due, expires = next_tidying(board), None if board.is_live else now + INCIDENT_RETENTION
            kept = Record(BOARD, key, to_object(board), record.version, due, expires)
            self._store.commit(Change(records=(kept, *(_kept(row, now) for row in touched))))
            return [_at_version(row) for row in touched if row.say.reason is not NotifyReason.NOTHING]

        self._deliver(until_written(take, _OTHERS_FIRST))

    def tick(self) -> None:
        """Everything that is due: retries, reminders, escalations, digests, ends of silences, self-tests."""
        now = self._clock.now()
        self._tidy(now)
        records = self._store.due(ROW, now, DUE_ROWS_PER_TICK)
        found = [(from_object(Delivery, record.body), record) for record in records]
        boards = self._boards([delivery.board for delivery, _ in found])
        rows = self._rows(found, boards, now)
        for row in rows:
            if row.say.reason is NotifyReason.NOTHING and not row.delivery.is_claimed(now):
                with suppress(Conflict):  # somebody else is at it
                    self._store.commit(Change(records=(_kept(row, now),)))
        self._deliver([row for row in rows if row.say.reason is not NotifyReason.NOTHING])
        self._test_silent(now)

    def test(self) -> Sequence[TestResult]:
        """Send a test to every destination, and say how each took it."""
        return [self._test(name, self._clock.now()) for name in self._notifiers]

    def incidents(self) -> Sequence[Incident]:
        """The incidents that last, the newest first, each with the followers that it speaks for."""
        boards = [from_object(Board, record.body) for record in self._store.live(BOARD)]
        topology = Topology(self._pipelines, {board.key: board for board in boards})
        open_members = [topology.speaking(i) for board in boards for i in board.incidents.values() if i.open_members]
        return sorted(open_members, key=lambda incident: incident.opened_at, reverse=True)

    def deliveries(self) -> Sequence[Delivery]:
        """The rows of the ledger about incidents that last, or that must still be told."""
        return [from_object(Delivery, record.body) for record in self._store.live(ROW)]

    def lines(self) -> Sequence[DestinationHealth]:
        """How each destination is doing."""
        found = self._lines(list(self._destinations))
        return [line for line, _ in found.values()]

    def acknowledge(self, key: str, *, by: str, note: str = "", opened_at: datetime | None = None) -> Incident:
        """Note that somebody looks after an incident: no more escalation, and reminders once a day.

        Args:
            opened_at: Of the opening that is meant; the newest, when left out.

        Raises:
            ConfigError: No incident of that key lasts.
        """
        board_key, _, cause = key.rpartition("/")

        def take() -> Incident:
            now = self._clock.now()
            found = self._store.find(BOARD, [board_key]).get(board_key)
            board = from_object(Board, found.body) if found else None
            incident = board.incidents.get(cause) if board else None
            over = incident is None or not incident.open_members or opened_at not in (None, incident.opened_at)
            if found is None or board is None or incident is None or over:
                known = ", ".join(incident.key for incident in self.incidents()) or "none lasts"
                raise ConfigError(f'unknown incident "{key}"; known incidents: {known}')
            after = replace(incident, acknowledged=Acknowledgement(by, now, note))
            body = to_object(replace(board, incidents={**board.incidents, cause: after}))
            self._store.commit(Change(records=(replace(found, body=body),)))
            return after

        return until_written(take, _OTHERS_FIRST)

    def silence(self, silence: Silence) -> None:
        """Tell nothing of what matches until the silence ends; recoveries of what was told are told."""
        self._store.commit(Change(records=(Record(SILENCE, silence.id, to_object(silence), due=silence.until),)))

    def silences(self) -> Sequence[Silence]:
        """The silences that last."""
        now = self._clock.now()
        found = (from_object(Silence, record.body) for record in self._store.live(SILENCE))
        return [silence for silence in found if now < silence.until]

    def end_silence(self, silence_id: str) -> Silence:
        """End a silence now; what it withheld is told by the next tick.

        Raises:
            ConfigError: There is none of that id.
        """
        now = self._clock.now()
        found = self._store.find(SILENCE, [silence_id]).get(silence_id)
        if found is None:
            raise ConfigError(f'unknown silence "{silence_id}"')
        ended = replace(from_object(Silence, found.body), until=now)
        rows = [record for record in self._store.live(ROW) if record.body.get("withheld")]
        woken = tuple(replace(record, due=now) for record in rows)
        self._store.commit(
            Change(records=(replace(found, body=to_object(ended), due=None, expires=now + INCIDENT_RETENTION), *woken))
        )
        return ended

    # What to say.

    def _boards(self, keys: Iterable[str]) -> dict[str, tuple[Board, Record]]:
        """Boards by key, and those of every phase of the pipelines that they belong to."""
        wanted = dict.fromkeys(keys)
        for pipeline in {key.partition("/")[0] for key in wanted} & self._pipelines.keys():
            wanted.update(dict.fromkeys(f"{pipeline}/{phase}" for phase in self._pipelines[pipeline].phases))
        found = self._store.find(BOARD, list(wanted)) if wanted else {}
        return {key: (from_object(Board, record.body), record) for key, record in found.items()}

    def _rows_of(self, incidents: Sequence[Incident], boards: Mapping[str, tuple[Board, Record]], now: datetime) -> list[_Row]:
        """A row for each destination of some incidents; new ones where they were not told of them yet."""
        pairs: list[tuple[Delivery, Record]] = []
        for incident in incidents:
            key = incident.key.rpartition("/")[0]
            wanted = targets(incident, self._pipelines.values())
            blank = [Delivery(board=key, cause=incident.cause, destination=name) for name in self._destinations]
            known = self._store.find(ROW, [row.key for row in blank])
            for row in blank:
                if row.key in known:
                    pairs.append((from_object(Delivery, known[row.key].body), known[row.key]))
                elif row.destination in wanted:
                    pairs.append((row, Record(ROW, row.key, {})))
        return self._rows(pairs, boards, now)

    def _rows(
        self, pairs: Sequence[tuple[Delivery, Record]], boards: Mapping[str, tuple[Board, Record]], now: datetime
    ) -> list[_Row]:
        if not pairs:
            return []
        topology = Topology(self._pipelines, {key: board for key, (board, _) in boards.items()})
        silences = self.silences()
        rows = []
        for delivery, record in pairs:
            board = boards[delivery.board][0] if delivery.board in boards else None
            incident = board.incidents.get(delivery.cause) if board else None
            if incident is None or delivery.destination not in self._destinations:
                # Forgotten after a long time, or no longer in the pipeline file: nobody is to be told.
                if record.version:
                    with suppress(Conflict):
                        self._store.commit(Change(records=(replace(record, due=None, expires=now + DELIVERY_RETENTION),)))
                continue
            wanted = targets(incident, self._pipelines.values())
            target = wanted.get(delivery.destination) or self._bare(delivery.destination, told=delivery.told is not None)
            around = NotifyContext(
                silences=silences,
                muted_until=topology.muted_until(incident, now),
                gathered_for=delivery.gathered_for,
                was_withheld=delivery.withheld,
            )
            say = decide_notice(incident, delivery.told, target, around, now=now)
            rows.append(_Row(_planned(delivery, say, target), record, topology.speaking(incident), target, say))
        return rows

    def _bare(self, destination: str, *, told: bool) -> Target:
        """How a destination is told that no route names any more: of what it knows already, and of nothing else."""
        pipeline = self._pipelines[destination.partition("/")[0]]
        return Target(destination=destination, zone=pipeline.zone, direct=told)

    # Saying it.

    def _deliver(self, rows: Sequence[_Row]) -> None:
        now = self._clock.now()
        by_destination: dict[str, list[_Row]] = {}
        for row in rows:
            if not row.delivery.is_claimed(now):
                by_destination.setdefault(row.delivery.destination, []).append(row)
        for destination, mine in by_destination.items():
            gathered = [row for row in mine if row.target.digest is not None]
            single = [row for row in mine if row.target.digest is None]
            bundles = [single] if len(single) > COLLAPSE_ABOVE else [[row] for row in single]
            for bundle in ([gathered] if gathered else []) + bundles:
                self._send(destination, bundle)

    def _send(self, destination: str, rows: Sequence[_Row]) -> None:
        """Tell a destination, or the fallback of one that is down; what nobody takes now waits in its rows."""
        for carrier in self._chain(destination):
            now = self._clock.now()
            line, record = self._lines([carrier])[carrier]
            if line.is_down and line.try_at is not None and now < line.try_at:
                continue
            pace = RATE_LIMITS.get(self._destinations[carrier].kind)
            free = line.free_at(pace, now)
            if free > now:
                self._postpone(rows, free)
                return
            claimed = [replace(row, delivery=row.delivery.claimed(row.say.reason, carrier, now)) for row in rows]
            held = [_record(ROW, row.delivery, row.record, due=now + _lease(row)) for row in claimed]
            paced = (_record(LINE, line.used(pace, now), record, due=record.due),) if pace else ()
            try:
                self._store.commit(Change(records=(*held, *paced)))
            except Conflict:
                self._postpone(rows, now)  # whoever wrote first tells it, or the next tick does
                return
            try:
                receipt = self._notifiers[carrier].notify(self._notice(claimed, now))
            except NotifyError as error:
                after = self._failed(claimed, carrier, error)
                rows = self._reload(claimed)
                if not after.is_down:
                    return
            else:
                self._delivered(claimed, carrier, receipt.status, receipt.message_id)
                return
        self._park(rows)

    def _notice(self, rows: Sequence[_Row], now: datetime) -> Notice:
        notices = [
            replace(
                compose(
                    row.incident,
                    row.say.reason,
                    now=now,
                    key=row.delivery.notice_key(row.incident, row.say.reason),
                    new=new_members(row.incident, row.delivery.told),
                    links=self._links(row.incident, now) if self._links else (),
                ),
                possible_duplicate=row.delivery.maybe_sent,
            )
            for row in rows
        ]
        if len(notices) == 1:
            return notices[0]
        destination = rows[0].delivery.destination
        title = f"[{destination.partition('/')[0]}] {len(notices)} incidents"
        whole = compose_digest(
            notices, title=title, key=f"{notices[0].key}/and-{len(notices) - 1}", thread=f"{destination}/digest", now=now
        )
        return replace(whole, possible_duplicate=any(row.delivery.maybe_sent for row in rows))

    def _delivered(self, rows: Sequence[_Row], carrier: str, status: int | None, message_id: str) -> None:
        now = self._clock.now()
        for row in rows:
            told = after_notice(row.incident, row.delivery.told, row.say.reason, now)

            def note(row: _Row = row, told: Any = told) -> None:
                fresh, record = self._row(row)
                sent = Sent(
                    reason=row.say.reason,
                    at=now,
                    by=carrier,
                    attempts=fresh.attempts + 1,
                    status=status,
                    message_id=message_id,
                )
                after = fresh.delivered(told, sent)
                # Silences and quiet hours only put off: the tick that finds the row due asks for them.
                say = decide_notice(row.incident, told, row.target, NotifyContext(), now=now)
                moved = record.version != row.record.version + 1  # the incident changed meanwhile
                due = now if moved or say.reason is not NotifyReason.NOTHING else say.again
                expires = now + DELIVERY_RETENTION if due is None and row.incident.state is IncidentState.RECOVERED else None
                self._store.commit(Change(records=(_record(ROW, after, record, due=due, expires=expires),)))

            until_written(note, _OTHERS_FIRST)
            self._log("notice_sent", incident=row.incident.key, reason=row.say.reason, destination=carrier, status=status)
        self._note(carrier, lambda line: line.accepted(now))

    def _failed(self, rows: Sequence[_Row], carrier: str, error: NotifyError) -> DestinationHealth:
        now = self._clock.now()
        after = self._note(
            carrier,
            lambda line: line.refused(str(error), for_good=not error.retryable, retry_after=error.retry_after, now=now),
        )
        for row in rows:

            def note(row: _Row = row) -> None:
                fresh, record = self._row(row)
                failed = fresh.failed(str(error), error.status, maybe_sent=error.maybe_sent)
                # The fallback is told next; should this process die, by whoever ticks next.
                due = now if after.is_down else after.try_at or now
                self._store.commit(Change(records=(_record(ROW, failed, record, due=due),)))

            until_written(note, _OTHERS_FIRST)
        self._log(
            "notice_refused", severity="WARNING", destination=carrier, status=error.status, error=str(error), down=after.is_down
        )
        return after

    def _park(self, rows: Sequence[_Row]) -> None:
        """Neither the destination nor a fallback takes it: it waits until one may be tried again."""
        now = self._clock.now()
        for row in rows:
            tries = [line.try_at for line, _ in self._lines(self._chain(row.delivery.destination)).values() if line.try_at]
            soonest = min(tries, default=now)

            def note(row: _Row = row, again: datetime = soonest) -> None:
                fresh, record = self._row(row)
                self._store.commit(Change(records=(_record(ROW, replace(fresh, parked=True), record, due=again),)))

            until_written(note, _OTHERS_FIRST)
            self._log("notice_parked", severity="ERROR", incident=row.incident.key, destination=row.delivery.destination)

    def _postpone(self, rows: Sequence[_Row], until: datetime) -> None:
        for row in rows:
            with suppress(Conflict):
                fresh, record = self._row(row)
                if not fresh.is_claimed(self._clock.now()):
                    self._store.commit(Change(records=(replace(record, due=until),)))

    def _row(self, row: _Row) -> tuple[Delivery, Record]:
        record = self._store.find(ROW, [row.delivery.key])[row.delivery.key]
        return from_object(Delivery, record.body), record

    def _reload(self, rows: Sequence[_Row]) -> list[_Row]:
        found = [self._row(row) for row in rows]
        return [replace(row, delivery=delivery, record=record) for row, (delivery, record) in zip(rows, found, strict=True)]

    # How destinations are doing.

    def _chain(self, destination: str) -> list[str]:
        """The destination, and what stands in for it, in turn."""
        pipeline = destination.partition("/")[0]
        chain = [destination]
        while (fallback := self._destinations[chain[-1]].fallback) is not None and f"{pipeline}/{fallback}" not in chain:
            chain.append(f"{pipeline}/{fallback}")
        return chain

    def _lines(self, names: Sequence[str]) -> dict[str, tuple[DestinationHealth, Record]]:
        found = self._store.find(LINE, names)
        return {
            name: (from_object(DestinationHealth, found[name].body), found[name])
            if name in found
            else (DestinationHealth(destination=name), Record(LINE, name, {}))
            for name in names
        }

    def _note(self, name: str, change: Callable[[DestinationHealth], DestinationHealth]) -> DestinationHealth:
        """Write down how a destination took something, and tell when it went down or works again."""

        def take() -> DestinationHealth:
            now = self._clock.now()
            line, record = self._lines([name])[name]
            after = change(line)
            if after == line:
                return after
            fallback = self._destinations[name].fallback
            trouble = destination_trouble(line, after, now, fallback)
            outbox = (trouble_message(trouble),) if trouble else ()
            due = after.try_at if after.is_down else (after.accepted_at or now) + SELF_TEST_INTERVAL
            self._store.commit(Change(records=(_record(LINE, after, record, due=due),), outbox=outbox))
            self._relay.send(outbox)
            return after

        return until_written(take, _OTHERS_FIRST)

    def _test(self, name: str, now: datetime) -> TestResult:
        notice = compose_test(name, key=f"test/{name}/{now.isoformat()}", now=now)
        try:
            receipt = self._notifiers[name].notify(notice)
        except NotifyError as error:
            why, retryable, retry_after = str(error), error.retryable, error.retry_after
            self._note(name, lambda line: line.refused(why, for_good=not retryable, retry_after=retry_after, now=now))
            return TestResult(name, error.status, why)
        self._note(name, lambda line: line.accepted(now))
        return TestResult(name, receipt.status, "")

    def _test_silent(self, now: datetime) -> None:
        """Try each destination that has taken nothing for a day, or that is down and may work again."""
        for name, (line, record) in self._lines(list(self._notifiers)).items():
            due = record.due is None or record.due <= now
            if due and self._destinations[name].kind not in LOCAL_KINDS and (line.try_at is None or line.try_at <= now):
                self._test(name, now)

    def _tidy(self, now: datetime) -> None:
        for record in self._store.due(BOARD, now, DUE_ROWS_PER_TICK):
            board = tidy(from_object(Board, record.body), now)
            expires = None if board.is_live else now + INCIDENT_RETENTION
            with suppress(Conflict):
                kept = replace(record, body=to_object(board), due=next_tidying(board), expires=expires)
                self._store.commit(Change(records=(kept,)))
        for record in self._store.due(SILENCE, now, DUE_ROWS_PER_TICK):
            with suppress(Conflict):
                self._store.commit(Change(records=(replace(record, due=None, expires=now + INCIDENT_RETENTION),)))


def _planned(delivery: Delivery, say: NotifyDecision, target: Target) -> Delivery:
    """The row with what the decision makes of it, beside what is said."""
    gathered = say.again if target.digest and say.reason is NotifyReason.NOTHING and not say.withheld else None
    never = delivery.told is None or delivery.told.over
    return replace(
        delivery,
        gathered_for=delivery.gathered_for if say.reason is not NotifyReason.NOTHING else gathered,
        withheld=never and (say.withheld or (delivery.withheld and say.reason is NotifyReason.NOTHING)),
    )


def _wants(row: _Row, now: datetime) -> datetime | None:
    return row.say.again if row.say.reason is NotifyReason.NOTHING else now


def _kept(row: _Row, now: datetime) -> Record:
    due = _wants(row, now)
    expires = now + DELIVERY_RETENTION if due is None and row.incident.state is IncidentState.RECOVERED else None
    return _record(ROW, row.delivery, row.record, due=due, expires=expires)


def _at_version(row: _Row) -> _Row:
    """The row as it was just committed."""
    return replace(row, record=replace(row.record, version=row.record.version + 1))


def _record(kind: str, value: Any, record: Record, *, due: datetime | None, expires: datetime | None = None) -> Record:
    return Record(kind, record.key, to_object(value), record.version, due, expires)


def _lease(row: _Row) -> timedelta:
    attempt = row.delivery.attempt
    return attempt.until - attempt.at if attempt else timedelta()
