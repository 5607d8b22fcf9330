"""The page behind the link in an alert: its button acknowledges the incident."""

from collections.abc import Mapping

import flask
import functions_framework
from phasegate.app.http import handle_acknowledgement
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def acknowledge(request: flask.Request) -> tuple[str, int, Mapping[str, str]]:
    """Answer a browser."""
    return handle_acknowledgement(app, request)
