"""Store messages that could not be delivered, and alert people."""

import flask
import functions_framework
from phasegate.app.http import handle_dead_letter
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def dead_letter(request: flask.Request) -> tuple[str, int]:
    """Answer one message of a dead-letter topic, as Pub/Sub pushes it."""
    return handle_dead_letter(app, request)
