"""Keep what could not be delivered, and tell people."""

import flask
import functions_framework
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def dead_letter(request: flask.Request) -> tuple[str, int]:
    """Answer one message of a dead-letter topic, as Pub/Sub pushes it."""
    return app.handle_dead_letter(request)
