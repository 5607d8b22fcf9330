"""The phase monitor, killed at a chosen step of the work on each run date, with SIGKILL, as when a machine dies.

A step is the moment before or after a call to warehouse, store, outbox or bus. `KILLS/<run date>` grows by a byte with each
step and survives the process; at the size given in `KILLS/<run date>.at` the process dies, once.
"""

import base64
import json
import os
import re
import signal
import threading
from functools import cached_property
from pathlib import Path

import flask
import functions_framework
from phasegate.app.http import handle_completion
from phasegate.app.wiring import Wiring
from phasegate.gates.monitor import Monitor
from phasegate.testing import Crashing

KILLS = Path(os.environ["KILLS"])


class Steps(threading.local):
    """Counts the steps of the run date that the thread works on."""

    day = ""

    def step(self) -> None:
        """Take one step; die if it is the chosen one."""
        path = KILLS / self.day
        with path.open("ab") as counted:
            counted.write(b".")
            size = counted.tell()
        at = KILLS / f"{self.day}.at"
        if at.exists() and size == int(at.read_text()):
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Wiring):
    """The product's wiring, with each port behind the counter."""

    steps = Steps()

    @cached_property
    def monitor(self) -> Monitor:  # type: ignore[override]
        """The monitor over ports that may die."""
        warehouse, store, publisher = (Crashing(port, self.steps) for port in (self.warehouse, self.store, self.publisher))  # type: ignore[arg-type]
        return Monitor(self.pipelines, warehouse=warehouse, store=store, outbox=store, publisher=publisher, clock=self.clock)


app = Mortal.from_env()


@functions_framework.http
def phase_monitor(request: flask.Request) -> tuple[str, int]:
    """Note the run date, then answer one Pub/Sub push as the product does."""
    data = json.loads(request.get_data() or b"{}").get("message", {}).get("data", "")
    found = re.search(rb"\d{4}-\d\d-\d\d", base64.b64decode(data))
    app.steps.day = found[0].decode() if found else "other"
    return handle_completion(app, request)
