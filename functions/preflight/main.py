"""Answer whether a phase may start."""

import flask
import functions_framework
from phasegate.app.http import handle_preflight
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def preflight(request: flask.Request) -> tuple[str, int, dict[str, str]]:
    """Go or no-go with reasons, as JSON."""
    return handle_preflight(app, request)
