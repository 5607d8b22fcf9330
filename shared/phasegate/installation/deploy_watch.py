"""Turns failed deployments and drift into incidents. The newest report on each counts, in whatever order reports arrive."""

from collections.abc import Mapping

from phasegate.core.gates.completion import Envelope
from phasegate.installation.deployment import (
    Deployment,
    DeploymentMessage,
    Installation,
    SubjectState,
    apply_report,
    newer_run,
    overlaps,
    read_message,
)
from phasegate.messaging.bodies import trouble_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, Records, StateStore
from phasegate.serialization import from_object, to_object

KIND = "deployment"
"""Records of this kind hold the newest state of each subject, and under `RUN` the deployment that started last."""

RUN = "run"


class DeployWatch:
    """Watches the deployments and the drift of an installation.

    Args:
        records: The same store as *store*, read.
    """

    def __init__(self, installation: Installation, *, store: StateStore, records: Records, relay: Relay, clock: Clock) -> None:
        self._installation = installation
        self._store = store
        self._records = records
        self._relay = relay
        self._clock = clock
        self._inbox = Inbox(store, relay, clock)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Handle one message, as an HTTP request brings it. When this returns, its effect is stored.

        Raises:
            AdapterError: The effect is not stored; the message must be delivered again.
        """
        return self._inbox.receive(headers, body, self._handle)

    def _handle(self, envelope: Envelope) -> InboxResult:
        message = read_message(envelope, self._installation, now=self._clock.now())
        if message.ignored:
            return InboxResult(envelope.message_id, Handled.IGNORED, detail=message.ignored)
        return until_written(
            lambda: self._apply(envelope.message_id, message), "deployments: other processes kept writing first"
        )

    def _apply(self, message_id: str, message: DeploymentMessage) -> InboxResult:
        keys = [report.subject for report in message.reports]
        stored = self._records.find(KIND, [*keys, RUN])
        last_run = from_object(Deployment, stored[RUN].body) if RUN in stored else None
        if overlaps(message, last_run):
            return InboxResult(message_id, Handled.IGNORED, detail="a deployment was running during this check")
        records, outbox, details = [], [], []
        if message.run is not None and (run := newer_run(last_run, message.run)) is not None:
            records.append(_record(stored, RUN, run))
        for report in message.reports:
            state = from_object(SubjectState, stored[report.subject].body) if report.subject in stored else None
            if (applied := apply_report(report, state)) is not None:
                after, trouble = applied
                records.append(_record(stored, report.subject, after))
                outbox += [trouble_message(trouble)] if trouble else []
                details.append(f"{report.subject}: {report.problem or 'ok'}")
        # No message id is stored: a report that is not newer than the stored state is a duplicate, or too late.
        if not records:
            return InboxResult(message_id, Handled.DUPLICATE)
        self._store.commit(Change(records=tuple(records), outbox=tuple(outbox)))
        self._relay.send(outbox)
        return InboxResult(message_id, Handled.DECIDED, detail="; ".join(details))


def _record(stored: Mapping[str, Record], key: str, value: Deployment | SubjectState) -> Record:
    return Record(KIND, key, to_object(value), stored[key].version if key in stored else 0)
