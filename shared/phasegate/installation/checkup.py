"""Once a day a tick runs the doctor, and what is wrong becomes an incident."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from phasegate.core.installation.checkup import SOON, Checked, advice, check_up
from phasegate.core.installation.finding import Finding, Health
from phasegate.errors import Conflict
from phasegate.logs import log
from phasegate.messaging.bodies import trouble_message
from phasegate.messaging.outbox import Relay
from phasegate.ports import Change, Clock, Record, State
from phasegate.serialization import from_object, to_object

KIND = "checkup"
"""The one record of this kind holds the result of the last checkup."""

KEY = "doctor"


class Checkup:
    """Runs the doctor when a checkup is due.

    Args:
        examine: Checks the whole installation.
        advise: Whether anybody wants to be told of what is not wrong.
    """

    def __init__(
        self, examine: Callable[[], Sequence[Finding]], store: State, relay: Relay, clock: Clock, *, advise: bool = True
    ) -> None:
        self._examine = examine
        self._store = store
        self._relay = relay
        self._clock = clock
        self._advise = advise

    def check(self) -> None:
        """Run the doctor if a checkup is due, and raise or end the incident."""
        now = self._clock.now()
        record = self._store.find(KIND, [KEY]).get(KEY)
        if record is None:
            # New grants take minutes to work, so the first checkup waits for a while after the first tick.
            self._store_first(Record(KIND, KEY, to_object(Checked(now + SOON))))
            return
        last = from_object(Checked, record.body)
        if now < last.next:
            return
        findings = self._examine()
        for finding in findings:
            if finding.health is not Health.OK:
                fields = {"subject": finding.subject, "said": finding.message, "mend": finding.fix or None}
                log("not_as_it_must_be", severity="WARNING", health=str(finding.health), **fields)
        after, trouble = check_up(last, findings, now)
        advised = advice(last, findings, now) if self._advise else ()
        after = replace(after, advised=(*last.advised, *(each.subject for each in advised)))
        messages = tuple(map(trouble_message, (*((trouble,) if trouble else ()), *advised)))
        with suppress(Conflict):  # another tick ran a checkup at the same time, and reports it
            self._store.commit(Change(records=(Record(KIND, KEY, to_object(after), record.version),), outbox=messages))
            self._relay.send(messages)

    def _store_first(self, record: Record) -> None:
        with suppress(Conflict):  # another tick was the first
            self._store.commit(Change(records=(record,)))
