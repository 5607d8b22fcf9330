"""Turn failed deployments and drift into incidents, and end them."""

import flask
import functions_framework
from phasegate.app.http import handle_deployment
from phasegate.app.wiring import Wiring

app = Wiring.from_env()  # a wrong setting stops the new revision, not the first event


@functions_framework.http
def deploy_watch(request: flask.Request) -> tuple[str, int]:
    """Answer one notification of Cloud Build, or one result of the drift check, as Pub/Sub pushes it."""
    return handle_deployment(app, request)
