"""Sending: a ledger of what each destination was sent and must still be sent, and the sender that works from it.

The ledger has one row for each incident and destination. What is due is not stored as a task: it follows from comparing the
incident as it is with what the row says the destination knows. So a repeat, a late alert or a crash between two steps adds
nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from phasegate.alerts.destinations import Destinations
from phasegate.alerts.records import CONFLICT, DELIVERY, DUE_RECORDS_PER_TICK, Boards, readable, updated
from phasegate.alerts.silences import Silences
from phasegate.core.alerts.delivery import COLLAPSE_ABOVE, DELIVERY_RETENTION, LEASE, Delivery, DestinationHealth, Sent
from phasegate.core.alerts.incident import Incident, IncidentState, NotifyReason
from phasegate.core.alerts.notice import Link, Notice
from phasegate.core.alerts.routing import (
    NotificationState,
    NotifyContext,
    NotifyDecision,
    Target,
    Topology,
    after_notice,
    decide_notice,
    new_members,
    targets,
)
from phasegate.core.alerts.wording import compose, compose_digest
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import Conflict, NotifyError
from phasegate.logs import Log
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Receipt, Record, State
from phasegate.serialization import from_object


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the ledger, the incident it is about, and what to do about it now."""

    delivery: Delivery
    record: Record
    incident: Incident
    target: Target
    decision: NotifyDecision

    @property
    def is_new(self) -> bool:
        """True when it was never stored."""
        return not self.record.version

    @property
    def has_notice(self) -> bool:
        """True when the destination must be notified now."""
        return self.decision.reason is not NotifyReason.NOTHING

    def due(self, now: datetime) -> datetime | None:
        """When a tick should handle the row; None when only a change of the incident matters."""
        return now if self.has_notice else self.decision.again

    def as_record(self, now: datetime) -> Record:
        """The row as it should be stored; one that has nothing left to send expires."""
        due = self.due(now)
        expires = now + DELIVERY_RETENTION if due is None and self.incident.state is IncidentState.RECOVERED else None
        return updated(self.record, self.delivery, due=due, expires=expires)

    def as_committed(self) -> "Row":
        """The row after a commit of it: a commit raises the version by one."""
        return replace(self, record=replace(self.record, version=self.record.version + 1))


class Ledger:
    """The deliveries of all incidents: which destination must be notified now, and why."""

    def __init__(self, pipelines: Sequence[Pipeline], *, store: State, silences: Silences, destinations: Destinations) -> None:
        self._pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._store = store
        self._silences = silences
        self._destinations = destinations

    def deliveries(self) -> Sequence[Delivery]:
        """The rows about open incidents, and those with something left to send."""
        return [delivery for delivery, _ in readable(Delivery, self._store.live(DELIVERY))]

    def due(self, now: datetime) -> Sequence[tuple[Delivery, Record]]:
        """The rows that a tick should handle now."""
        return list(readable(Delivery, self._store.due(DELIVERY, now, DUE_RECORDS_PER_TICK)))

    def review(self, due: Sequence[tuple[Delivery, Record]], boards: Boards, now: datetime) -> Sequence[Row]:
        """Decide again about rows that are due; put off those with nothing to send, return the others."""
        rows = self._decide(due, boards, now)
        for row in rows:
            # One commit for each: a row that another process just changed must not hold back the others.
            if not row.has_notice and not row.delivery.is_claimed(now):
                with suppress(Conflict):  # another process handles it
                    self._store.commit(Change(records=(row.as_record(now),)))
        return [row for row in rows if row.has_notice]

    def rows_of(self, incidents: Sequence[Incident], boards: Boards, now: datetime) -> Sequence[Row]:
        """The rows of some incidents for all destinations; new ones for destinations that were never notified of them."""
        pairs: list[tuple[Delivery, Record]] = []
        for incident in incidents:
            board_key = incident.key.rpartition("/")[0]
            routed = targets(incident, self._pipelines.values())
            # Also those that no route names any more: a destination that knows of an incident is notified of its recovery.
            blank = [Delivery(board=board_key, cause=incident.cause, destination=name) for name in self._destinations.names]
            stored = self._store.find(DELIVERY, [delivery.key for delivery in blank])
            for delivery in blank:
                if delivery.key in stored:
                    pairs.extend(readable(Delivery, [stored[delivery.key]]))
                elif delivery.destination in routed:
                    pairs.append((delivery, Record(DELIVERY, delivery.key, {})))
        return self._decide(pairs, boards, now)

    def _decide(self, pairs: Sequence[tuple[Delivery, Record]], boards: Boards, now: datetime) -> Sequence[Row]:
        if not pairs:
            return []
        topology = Topology(self._pipelines, {key: board for key, (board, _) in boards.items()})
        silences = self._silences.active()
        rows = []
        for delivery, record in pairs:
            board = boards[delivery.board][0] if delivery.board in boards else None
            incident = board.incidents.get(delivery.cause) if board else None
            if incident is None or delivery.destination not in self._destinations.names:
                self._expire(record, now)
                continue
            target = self._target(incident, delivery)
            context = NotifyContext(
                silences=silences,
                muted_until=topology.muted_until(incident, now),
                gathered_for=delivery.gathered_for,
                was_withheld=delivery.withheld,
            )
            decision = decide_notice(incident, delivery.told, target, context, now=now)
            rows.append(Row(_planned(delivery, decision, target), record, topology.with_followers(incident), target, decision))
        return rows

    def _expire(self, record: Record, now: datetime) -> None:
        """Let a row be deleted whose incident was forgotten, or whose destination is no longer in the pipeline file."""
        if record.version:
            with suppress(Conflict):
                self._store.commit(Change(records=(replace(record, due=None, expires=now + DELIVERY_RETENTION),)))

    def _target(self, incident: Incident, delivery: Delivery) -> Target:
        """How the route wants the destination notified; one that no route names any more is notified only of what it knows."""
        routed = targets(incident, self._pipelines.values()).get(delivery.destination)
        if routed is not None:
            return routed
        pipeline = self._pipelines[delivery.destination.partition("/")[0]]
        return Target(destination=delivery.destination, zone=pipeline.zone, direct=delivery.told is not None)

    def read(self, row: Row) -> tuple[Delivery, Record]:
        """The row as it is stored now."""
        record = self._store.find(DELIVERY, [row.delivery.key])[row.delivery.key]
        return from_object(Delivery, record.body), record

    def reload(self, rows: Sequence[Row]) -> list[Row]:
        """Rows as they are stored now, with the decisions that they have."""
        stored = [self.read(row) for row in rows]
        return [replace(row, delivery=delivery, record=record) for row, (delivery, record) in zip(rows, stored, strict=True)]


def _planned(delivery: Delivery, decision: NotifyDecision, target: Target) -> Delivery:
    """The row with what a decision leaves in it: the digest it waits for, and whether it is muted."""
    sends = decision.reason is not NotifyReason.NOTHING
    digest_at = decision.again if target.digest and not sends and not decision.withheld else None
    unknown = delivery.told is None or delivery.told.over
    return replace(
        delivery,
        gathered_for=delivery.gathered_for if sends else digest_at,
        withheld=unknown and (decision.withheld or (delivery.withheld and not sends)),
    )


class Sender:
    """Sends what the ledger says is due, at least once, and records the outcome.

    Args:
        links: Where to acknowledge an incident and to read more.
    """

    def __init__(
        self,
        ledger: Ledger,
        destinations: Destinations,
        *,
        store: State,
        clock: Clock,
        links: Callable[[Incident, datetime], Sequence[Link]] | None,
        log: Log,
    ) -> None:
        self._ledger = ledger
        self._destinations = destinations
        self._store = store
        self._clock = clock
        self._links = links
        self._log = log

    def deliver(self, rows: Sequence[Row]) -> None:
        """Send the notices of some rows, destination by destination; too many for one destination become one digest."""
        now = self._clock.now()
        by_destination: dict[str, list[Row]] = {}
        for row in rows:
            if not row.delivery.is_claimed(now):
                by_destination.setdefault(row.delivery.destination, []).append(row)
        for destination, its_rows in by_destination.items():
            digest = [row for row in its_rows if row.target.digest is not None]
            single = [row for row in its_rows if row.target.digest is None]
            bundles = [single] if len(single) > COLLAPSE_ABOVE else [[row] for row in single]
            for bundle in ([digest] if digest else []) + bundles:
                self._send(destination, bundle)

    def _send(self, destination: str, rows: Sequence[Row]) -> None:
        """Send one notice to a destination, or to the fallback of one that is down; if nobody accepts it, park its rows."""
        for carrier in self._destinations.chain(destination):
            now = self._clock.now()
            health, record = self._destinations.load([carrier])[carrier]
            if health.is_down and health.try_at is not None and now < health.try_at:
                continue
            limit = self._destinations.rate_limit(carrier)
            free_at = health.free_at(limit, now)
            if free_at > now:
                self._postpone(rows, free_at)
                return
            paced = (updated(record, health.used(limit, now), due=record.due),) if limit else ()
            claimed = self._claim(rows, carrier, paced, now)
            if claimed is None:
                self._postpone(rows, now)
                return
            try:
                receipt = self._destinations.notify(carrier, self._notice(claimed, now))
            except NotifyError as error:
                if self._destinations.is_left(error):
                    self._leave(rows, carrier, error)
                    return
                if not self._failed(claimed, carrier, error).is_down:
                    return
                rows = self._ledger.reload(claimed)
            else:
                self._delivered(claimed, carrier, receipt)
                return
        self._park(rows)

    def _claim(self, rows: Sequence[Row], carrier: str, paced: tuple[Record, ...], now: datetime) -> Sequence[Row] | None:
        """Commit that an attempt begins, before the destination sees anything; None when another process wrote first.

        The rows are due again when the lease ends: if this process dies, a tick tries again, and says that the notice may be a
        repeat. The use of the rate limit is in the same commit, so that two instances never take the same slot.
        """
        claimed = [replace(row, delivery=row.delivery.claimed(row.decision.reason, carrier, now)) for row in rows]
        leased = (updated(row.record, row.delivery, due=now + LEASE) for row in claimed)
        try:
            self._store.commit(Change(records=(*leased, *paced)))
        except Conflict:
            return None
        return claimed

    def _notice(self, rows: Sequence[Row], now: datetime) -> Notice:
        """The notice about a row; of several rows, their digest."""
        notices = [self._single(row, now) for row in rows]
        if len(notices) == 1:
            return notices[0]
        destination = rows[0].delivery.destination
        digest = compose_digest(
            notices,
            title=f"[{destination.partition('/')[0]}] {len(notices)} incidents",
            key=f"{notices[0].key}/and-{len(notices) - 1}",
            thread=f"{destination}/digest",
            now=now,
        )
        return replace(digest, possible_duplicate=any(row.delivery.maybe_sent for row in rows))

    def _single(self, row: Row, now: datetime) -> Notice:
        notice = compose(
            row.incident,
            row.decision.reason,
            now=now,
            key=row.delivery.notice_key(row.incident, row.decision.reason),
            new=new_members(row.incident, row.delivery.told),
            links=self._links(row.incident, now) if self._links else (),
        )
        return replace(notice, possible_duplicate=row.delivery.maybe_sent)

    def _delivered(self, rows: Sequence[Row], carrier: str, receipt: Receipt) -> None:
        now = self._clock.now()
        for row in rows:
            told = after_notice(row.incident, row.delivery.told, row.decision.reason, now)

            def commit(row: Row = row, told: NotificationState = told) -> None:
                delivery, record = self._ledger.read(row)
                sent = Sent(
                    reason=row.decision.reason,
                    at=now,
                    by=carrier,
                    attempts=delivery.attempts + 1,
                    status=receipt.status,
                    message_id=receipt.message_id,
                )
                # Without silences and quiet hours: they only put off, and the tick that finds the row due checks them.
                next_decision = decide_notice(row.incident, told, row.target, NotifyContext(), now=now)
                # The claim raised the version by one. If it is higher, the incident changed while the notice was on its way.
                changed = record.version != row.record.version + 1
                due = now if changed or next_decision.reason is not NotifyReason.NOTHING else next_decision.again
                ended = due is None and row.incident.state is IncidentState.RECOVERED
                expires = now + DELIVERY_RETENTION if ended else None
                after = delivery.delivered(told, sent)
                self._store.commit(Change(records=(updated(record, after, due=due, expires=expires),)))

            # The notice is out. If its outcome were not stored, a tick would send it again, so insist where others write, too.
            until_written(commit, CONFLICT)
            self._log(
                "notice_sent",
                incident=row.incident.key,
                reason=row.decision.reason,
                destination=carrier,
                status=receipt.status,
            )
        self._destinations.accepted(carrier, now)

    def _failed(self, rows: Sequence[Row], carrier: str, error: NotifyError) -> DestinationHealth:
        """Record a failed attempt; gives the health of the destination afterwards."""
        now = self._clock.now()
        health = self._destinations.refused(carrier, error, now)
        # Down: the fallback is next, in this process, or in the next tick if this process dies before.
        due = now if health.is_down else health.try_at or now
        for row in rows:

            def commit(row: Row = row) -> None:
                delivery, record = self._ledger.read(row)
                failed = delivery.failed(str(error), error.status, maybe_sent=error.maybe_sent)
                self._store.commit(Change(records=(updated(record, failed, due=due),)))

            until_written(commit, CONFLICT)
        self._log(
            "notice_refused",
            severity="WARNING",
            destination=carrier,
            status=error.status,
            error=str(error),
            down=health.is_down,
        )
        return health

    def _leave(self, rows: Sequence[Row], carrier: str, error: NotifyError) -> None:
        """Undo the claims, so that the next tick of a process that has the secret sends it."""
        now = self._clock.now()
        for row in rows:

            def commit(row: Row = row) -> None:
                _, record = self._ledger.read(row)
                self._store.commit(Change(records=(updated(record, row.delivery, due=now),)))

            until_written(commit, CONFLICT)
        self._log("notice_left", severity="WARNING", destination=carrier, error=str(error))

    def _park(self, rows: Sequence[Row]) -> None:
        """Neither the destination nor a fallback accepts it: keep it until one may be tried again."""
        now = self._clock.now()
        for row in rows:
            again = self._destinations.next_attempt(row.delivery.destination, now)

            def commit(row: Row = row, again: datetime = again) -> None:
                delivery, record = self._ledger.read(row)
                self._store.commit(Change(records=(updated(record, replace(delivery, parked=True), due=again),)))

            until_written(commit, CONFLICT)
            self._log("notice_parked", severity="ERROR", incident=row.incident.key, destination=row.delivery.destination)

    def _postpone(self, rows: Sequence[Row], until: datetime) -> None:
        """Let a later tick send it; one that another process has claimed is left to that process."""
        for row in rows:
            with suppress(Conflict):
                delivery, record = self._ledger.read(row)
                if not delivery.is_claimed(self._clock.now()):
                    self._store.commit(Change(records=(replace(record, due=until),)))
