"""The HTTP entry points: one function for each Cloud Function; the local server uses the same."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from phasegate.app.wiring import Wiring
from phasegate.errors import AdapterError, bug_trace
from phasegate.logs import log
from phasegate.messaging.inbox import Handled, InboxResult

# A process serves one entry point; it imports what the others need for types only.
if TYPE_CHECKING:
    from phasegate.alerts.ack_page import Page
    from phasegate.gates.preflight_http import Response

Answer = tuple[str, int]
"""Body and status."""

Receive = Callable[[Mapping[str, str], bytes], InboxResult]
"""Handles one message, from the headers and the body of a request."""


class Headers(Protocol):
    """What is needed of a request's headers."""

    def items(self) -> Iterable[tuple[str, str]]: ...  # noqa: D102


class Request(Protocol):
    """What is needed of a Flask request."""

    @property
    def method(self) -> str: ...  # noqa: D102

    @property
    def headers(self) -> Headers: ...  # noqa: D102

    def get_data(self) -> bytes: ...  # noqa: D102


class PreflightQuery(Request, Protocol):
    """What is needed of a Flask request for a preflight answer."""

    @property
    def query_string(self) -> bytes: ...  # noqa: D102


class LinkVisit(Request, Protocol):
    """What is needed of a Flask request that follows a link from an alert."""

    @property
    def args(self) -> Mapping[str, str]: ...  # noqa: D102


def handle_completion(wiring: Wiring, request: Request) -> Answer:
    """Answer one delivered completion message; see `_handle_message`."""
    # The attribute is read in the handler, so that a failure while it is made is logged like any other.
    return _handle_message(wiring, "phase_monitor", request, lambda headers, body: wiring.monitor.receive(headers, body))


def handle_deployment(wiring: Wiring, request: Request) -> Answer:
    """Answer one message of Cloud Build or of the drift check; see `_handle_message`."""
    return _handle_message(wiring, "deploy_watch", request, lambda headers, body: wiring.deploy_watch.receive(headers, body))


def handle_dead_letter(wiring: Wiring, request: Request) -> Answer:
    """Answer one message that could not be delivered; see `_handle_message`."""
    return _handle_message(wiring, "dead_letter", request, lambda headers, body: wiring.dead_letters.receive(headers, body))


def handle_alert(wiring: Wiring, request: Request) -> Answer:
    """Answer one delivered alert; see `_handle_message`."""
    return _handle_message(wiring, "alert_dispatch", request, lambda headers, body: wiring.alerts.receive(headers, body))


def handle_preflight(wiring: Wiring, request: PreflightQuery) -> "Response":
    """Answer whether a phase may start; see `respond`."""
    from phasegate.gates.preflight_http import respond, unanswered

    try:
        answer = respond(wiring.preflight_checks, wiring.clock, request.method, request.query_string, request.get_data())
    except AdapterError as error:
        return unanswered(error)
    _record_heartbeat(wiring, "preflight", answer[1])
    return answer


def handle_acknowledgement(wiring: Wiring, request: LinkVisit) -> "Page":
    """Answer a browser that follows the link in an alert.

    Raises:
        ConfigError: The signing key is missing.
        AdapterError: The acknowledgement is not stored.
    """
    if wiring.ack_page is None:
        return "Links are switched off here: PHASEGATE_ACKNOWLEDGE_URL and PHASEGATE_LINK_KEY are not set.", 404, {}
    answer = wiring.ack_page.answer(wiring.alerts.incidents, request.method, request.args.get("token", ""), request.get_data())
    _record_heartbeat(wiring, "acknowledge", answer[1])
    return answer


def handle_tick(wiring: Wiring, request: Request) -> Answer:
    """Answer one tick of the scheduler. Its content is ignored, and a second tick does no harm.

    A tick that failed is answered like one that did not: the next one, a minute later, repeats what failed. Delivered again and
    again, failed ticks would pile up on a system in trouble. Its heartbeat is missing, and that raises the alert.
    """
    if request.method != "POST":
        return "Send ticks with POST.", 405
    try:
        ticked = wiring.tick.run()
    except Exception as error:  # noqa: BLE001 (a bug is no reason to deliver the tick again, either)
        log("tick_failed", severity="ERROR", error=str(error), trace=bug_trace(error))
        return "", 204
    cost = ticked.cost
    log(
        "ticked",
        looked_at=len(ticked.decisions),
        sent=ticked.sent,
        queries=cost.queries,
        bytes_billed=cost.bytes_billed,
        cost_usd=cost.usd,
    )
    return "", 204


def _handle_message(wiring: Wiring, function: str, request: Request, receive: Receive) -> Answer:
    """Answer one delivered message: 204 once its effect is stored; an error otherwise, so that it is delivered again.

    Raises:
        AdapterError: The effect is not stored.
    """
    if request.method != "POST":
        return "Send messages with POST.", 405
    try:
        result = receive(dict(request.headers.items()), request.get_data())
    except AdapterError as error:
        log("not_handled", severity="ERROR", error=str(error), retryable=error.retryable)
        raise  # a 500: Pub/Sub delivers the message again; an answer below 300 would acknowledge it
    _log_result(result)
    _record_heartbeat(wiring, function, 204)
    return "", 204


def _log_result(result: InboxResult) -> None:
    decision = result.decision
    cost = decision.verdict.cost if decision and decision.verdict else None
    log(
        str(result.handled),
        severity="WARNING" if result.handled in (Handled.REJECTED, Handled.STORED) else "INFO",
        run_key=str(decision.gate.run) if decision else None,
        gate=decision.gate.state if decision else None,
        reason=decision.reason if decision else None,
        decision=decision.signal.decision_id if decision and decision.signal else None,
        detail=result.detail or None,
        queries=cost.queries if cost else None,
        bytes_billed=cost.bytes_billed if cost else None,
        cost_usd=cost.usd if cost else None,
        message_id=result.message_id,
        problem=result.problem or None,
    )


def _record_heartbeat(wiring: Wiring, function: str, status: int) -> None:
    """Record a heartbeat only for handled requests; anyone can send bad ones."""
    if status < 400:
        wiring.heartbeats.record(function, wiring.clock.now())
