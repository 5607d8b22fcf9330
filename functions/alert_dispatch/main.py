"""Send alerts to people: each problem once, and again only for a reason."""

import flask
import functions_framework
from phasegate.app.http import handle_alert
from phasegate.app.wiring import Wiring

app = Wiring.for_alerts()  # a wrong setting, or a destination without its secret, stops the new revision, not the first event


@functions_framework.http
def alert_dispatch(request: flask.Request) -> tuple[str, int]:
    """Answer one push of the alert topic."""
    return handle_alert(app, request)
