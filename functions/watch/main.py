"""Once a minute: notice overdue phases, request reruns, send what is still in the outbox."""

import flask
import functions_framework
from phasegate.app.http import handle_tick
from phasegate.app.wiring import Wiring

# A wrong setting stops the new revision, not the first event. A missing secret does not: gates must not wait for a chat.
app = Wiring.from_env()


@functions_framework.http
def watch(request: flask.Request) -> tuple[str, int]:
    """Answer one tick of Cloud Scheduler, as Pub/Sub pushes it."""
    return handle_tick(app, request)
