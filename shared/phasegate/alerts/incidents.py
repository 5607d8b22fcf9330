"""Incidents: fold each alert into the incident it belongs to, list what is open, acknowledge."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from phasegate.alerts.records import CONFLICT, DUE_RECORDS_PER_TICK, INCIDENT, Boards, readable, updated
from phasegate.alerts.sending import Ledger, Row
from phasegate.core.alerts.incident import (
    INCIDENT_RETENTION,
    Acknowledgement,
    Board,
    Incident,
    IncidentUpdate,
    fold,
    next_tidying,
    tidy,
)
from phasegate.core.alerts.routing import Topology
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError, Conflict
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, State
from phasegate.serialization import from_object, to_object


class Incidents:
    """The incidents of all pipelines, one board for each phase or other subject."""

    def __init__(self, pipelines: Sequence[Pipeline], *, store: State, clock: Clock, ledger: Ledger) -> None:
        self._pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._store = store
        self._clock = clock
        self._ledger = ledger

    def take_in(self, update: IncidentUpdate) -> Sequence[Row]:
        """Fold an alert into its incident, and commit that together with what each destination must be sent because of it.

        Returns:
            The deliveries that are due now; none for an alert that says nothing new.
        """
        return until_written(lambda: self._fold(update), CONFLICT)

    def _fold(self, update: IncidentUpdate) -> Sequence[Row]:
        now = self._clock.now()
        empty = Board(pipeline=update.pipeline, subject=update.subject)
        boards = self.boards([empty.key])
        before, record = boards.get(empty.key, (empty, Record(INCIDENT, empty.key, {})))
        board = fold(before, update)
        if board == before:
            return ()
        board = tidy(board, now)
        changed = [i for cause, i in board.incidents.items() if before.incidents.get(cause) != i]
        rows = self._ledger.rows_of(changed, {**boards, board.key: (board, record)}, now)
        # The board and its rows in one commit: a crash after it leaves due rows, which the next tick sends. If another process
        # changed the board or took one of the rows meanwhile, nothing is written, and all of this is decided again.
        touched = [row for row in rows if row.is_new or row.due(now) != row.record.due]
        expires = None if board.is_live else now + INCIDENT_RETENTION
        written = updated(record, board, due=next_tidying(board), expires=expires)
        self._store.commit(Change(records=(written, *(row.as_record(now) for row in touched))))
        return [row.as_committed() for row in touched if row.has_notice]

    def still_open(self) -> Sequence[Incident]:
        """The incidents that have not recovered, newest first, each with the late followers that its notices report."""
        boards = [board for board, _ in readable(Board, self._store.live(INCIDENT))]
        topology = Topology(self._pipelines, {board.key: board for board in boards})
        incidents = [topology.with_followers(i) for board in boards for i in board.incidents.values() if i.open_members]
        return sorted(incidents, key=lambda incident: incident.opened_at, reverse=True)

    def acknowledge(self, key: str, *, by: str, note: str = "", opened_at: datetime | None = None) -> Incident:
        """Record who owns an incident: it no longer escalates, and reminders come once a day.

        Args:
            opened_at: Of the opening that is meant; the newest, when left out.

        Raises:
            ConfigError: No open incident has that key.
        """

        def commit() -> Incident:
            board_key, _, cause = key.rpartition("/")
            record = self._store.find(INCIDENT, [board_key]).get(board_key)
            board = from_object(Board, record.body) if record else None
            incident = board.incidents.get(cause) if board else None
            ended = incident is None or not incident.open_members or opened_at not in (None, incident.opened_at)
            if record is None or board is None or incident is None or ended:
                keys = ", ".join(incident.key for incident in self.still_open()) or "none is open"
                raise ConfigError(f'unknown incident "{key}"; open incidents: {keys}')
            after = replace(incident, acknowledged=Acknowledgement(by, self._clock.now(), note))
            body = to_object(replace(board, incidents={**board.incidents, cause: after}))
            self._store.commit(Change(records=(replace(record, body=body),)))
            return after

        return until_written(commit, CONFLICT)

    def boards(self, keys: Iterable[str]) -> Boards:
        """Boards by key, with those of every other phase of their pipelines: an upstream's decides what a follower reports."""
        keys = dict.fromkeys(keys)
        for pipeline in {key.partition("/")[0] for key in keys} & self._pipelines.keys():
            keys.update(dict.fromkeys(f"{pipeline}/{phase}" for phase in self._pipelines[pipeline].phases))
        records = self._store.find(INCIDENT, list(keys)) if keys else {}
        return {record.key: (board, record) for board, record in readable(Board, records.values())}

    def tidy(self, now: datetime) -> None:
        """Close what no alert will ever end and has been quiet for long; forget what ended long ago."""
        for stored, record in readable(Board, self._store.due(INCIDENT, now, DUE_RECORDS_PER_TICK)):
            board = tidy(stored, now)
            expires = None if board.is_live else now + INCIDENT_RETENTION
            with suppress(Conflict):  # an alert came meanwhile, and its commit has tidied the board
                self._store.commit(Change(records=(updated(record, board, due=next_tidying(board), expires=expires),)))
