"""One alert sent to real servers, by a process that is killed at a chosen step: SIGKILL, as when a machine dies.

A step is the moment before or after a call to the store or to a destination. Settings are those of any function. Each line of
standard input starts a run: the alert, the minutes since it was raised, and the step at which to die; with step 0 it survives and
ticks for eight minutes. Each line of standard output is the exit code of a run. A run is a process of its own, forked from one
that has imported everything; its output goes to the file that the argument names.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from phasegate.app.wiring import Wiring
from phasegate.ports import Notifier
from phasegate.testing import Crashing, ManualClock

TICKS = 8


class Steps:
    """Counts down, then kills the process."""

    def __init__(self, left: int) -> None:
        self.left = left

    def step(self) -> None:
        """Take one step."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class CountingWiring(Wiring):
    """The usual wiring, with the counter around store and destinations."""

    steps = Steps(0)

    @cached_property
    def store(self) -> Any:  # type: ignore[override]
        """A store that counts steps."""
        return Crashing(super().store, self.steps)  # type: ignore[arg-type]

    @cached_property
    def notifiers(self) -> Mapping[str, Notifier]:  # type: ignore[override]
        """Destinations that count steps."""
        return {name: Crashing(each, self.steps) for name, each in super().notifiers.items()}  # type: ignore[arg-type]


def run(alert: Mapping[str, Any], minutes: int, at: int) -> None:
    """Take in the alert, then tick."""
    CountingWiring.steps.left = at
    app = CountingWiring.from_env()
    clock = ManualClock(datetime.fromisoformat(alert["at"]) + timedelta(minutes=minutes))
    app._clock = clock
    app.alerts.handle(alert)
    for _ in range(0 if at else TICKS):
        clock.advance(timedelta(minutes=1))
        app.alerts.tick()


def main(log: str) -> None:
    """One run after the other."""
    answers = os.fdopen(os.dup(1), "w")
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    assert CountingWiring.from_env().notifiers
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(*json.loads(line))
                code = 0
            except Exception:  # noqa: BLE001 - it is logged, and the next run starts
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
