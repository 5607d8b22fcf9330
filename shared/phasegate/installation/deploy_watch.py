"""Failed deployments and drift become incidents: the newest word about each counts, in whatever order words come."""

from collections.abc import Mapping

from phasegate.core.gates.completion import Envelope
from phasegate.installation.deployment import (
    Deployment,
    DeploymentMessage,
    Installation,
    SubjectState,
    newer_run,
    overlapping,
    read_message,
    take,
)
from phasegate.messaging.bodies import trouble_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, Records, StateStore
from phasegate.serialization import from_object, to_object

KIND = "deployment"
"""Records of this kind: by subject, the newest that is known of it; by `RUN`, the last deployment that began."""

RUN = "run"


class DeployWatch:
    """Watches the deployments of an installation, and whether it stays as it was deployed.

    Args:
        records: The same store as *store*, read.
    """

    def __init__(self, installation: Installation, *, store: StateStore, records: Records, relay: Relay, clock: Clock) -> None:
        self._installation = installation
        self._store = store
        self._records = records
        self._relay = relay
        self._clock = clock
        self._intake = Inbox(store, relay, clock)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Take in one message as an HTTP request brings it; when this returns, its effect is stored.

        Raises:
            AdapterError: The effect is not stored; the message must come again.
        """
        return self._intake.receive(headers, body, self._handle)

    def _handle(self, envelope: Envelope) -> InboxResult:
        said = read_message(envelope, self._installation, now=self._clock.now())
        if said.passed_over:
            return InboxResult(envelope.message_id, Handled.PASSED_OVER, detail=said.passed_over)
        return until_written(lambda: self._note(envelope.message_id, said), "deployments: others kept writing first")

    def _note(self, message_id: str, said: DeploymentMessage) -> InboxResult:
        keys = [word.subject for word in said.words]
        known = self._records.find(KIND, [*keys, RUN])
        last = from_object(Deployment, known[RUN].body) if RUN in known else None
        if overlapping(said, last):
            return InboxResult(message_id, Handled.PASSED_OVER, detail="a deployment was under way when it compared")
        records, outbox, told = [], [], []
        if said.run is not None and (run := newer_run(last, said.run)) is not None:
            records.append(_after(known, RUN, run))
        for word in said.words:
            standing = from_object(SubjectState, known[word.subject].body) if word.subject in known else None
            if (taken := take(word, standing)) is not None:
                after, trouble = taken
                records.append(_after(known, word.subject, after))
                outbox += [trouble_message(trouble)] if trouble else []
                told.append(f"{word.subject}: {word.wrong or 'well'}")
        if not records:
            return InboxResult(message_id, Handled.DUPLICATE)
        self._store.commit(Change(records=tuple(records), outbox=tuple(outbox)))
        self._relay.send(outbox)
        return InboxResult(message_id, Handled.DECIDED, detail="; ".join(told))


def _after(known: Mapping[str, Record], key: str, value: Deployment | SubjectState) -> Record:
    return Record(KIND, key, to_object(value), known[key].version if key in known else 0)
