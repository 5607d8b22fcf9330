"""Once a minute: notice what was never said, ask again for what failed, send what was not sent."""

import flask
import functions_framework
from phasegate.app.wiring import Wiring

# A wrong setting stops the new revision, not the first event. A missing secret stops nothing: gates do not wait for a chat.
app = Wiring.from_env()


@functions_framework.http
def watch(request: flask.Request) -> tuple[str, int]:
    """Answer one tick of Cloud Scheduler, as Pub/Sub pushes it."""
    return app.handle_tick(request)
