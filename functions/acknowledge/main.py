"""The page behind the link in a message: who presses its button looks after the incident."""

from collections.abc import Mapping

import flask
import functions_framework
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def acknowledge(request: flask.Request) -> tuple[str, int, Mapping[str, str]]:
    """Answer a browser."""
    return app.handle_acknowledgement(request)
