"""Once a day the clock lets the doctor look, and people are told what is wrong."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from phasegate.core.installation.checkup import SOON, Checked, check_up
from phasegate.core.installation.finding import Finding, Health
from phasegate.errors import Conflict
from phasegate.logs import log
from phasegate.messaging.bodies import trouble_message
from phasegate.messaging.outbox import Relay
from phasegate.ports import Change, Clock, Record, State
from phasegate.serialization import from_object, to_object

KIND = "checkup"
"""The one record of this kind holds what was found last."""

KEY = "doctor"


class Checkup:
    """Lets the doctor look when it is time.

    Args:
        examine: Looks at everything.
    """

    def __init__(self, examine: Callable[[], Sequence[Finding]], store: State, relay: Relay, clock: Clock) -> None:
        self._examine = examine
        self._store = store
        self._relay = relay
        self._clock = clock

    def check(self) -> None:
        """Look, if it is time; the first time is a while after the first tick, when grants count and everything has begun."""
        now = self._clock.now()
        record = self._store.find(KIND, [KEY]).get(KEY)
        if record is None:
            self._keep(Record(KIND, KEY, to_object(Checked(now + SOON))))
            return
        known = from_object(Checked, record.body)
        if now < known.next:
            return
        findings = self._examine()
        for finding in findings:
            if finding.health is not Health.OK:
                message = {"subject": finding.subject, "said": finding.message, "mend": finding.fix or None}
                log("not_as_it_must_be", severity="WARNING", health=str(finding.health), **message)
        after, trouble = check_up(known, findings, now)
        messages = (trouble_message(trouble),) if trouble else ()
        with suppress(Conflict):  # another tick has looked at the same time
            self._store.commit(Change(records=(Record(KIND, KEY, to_object(after), record.version),), outbox=messages))
            self._relay.send(messages)

    def _keep(self, record: Record) -> None:
        with suppress(Conflict):
            self._store.commit(Change(records=(record,)))
