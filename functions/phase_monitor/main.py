"""Judge a finished phase and open, or hold, the gate to the next one."""

import flask
import functions_framework
from phasegate.app.http import handle_completion
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def phase_monitor(request: flask.Request) -> tuple[str, int]:
    """Answer one Pub/Sub push or Eventarc event."""
    return handle_completion(app, request)
