"""The preflight check over HTTP: the request is in the query string or a JSON body, and the answer is JSON, errors included."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from phasegate.errors import AdapterError, ConfigError, Problem
from phasegate.gates.preflight import PreflightChecks, clearance_body, read_request
from phasegate.logs import log
from phasegate.ports import Clock

LONGEST_BODY = 10_000
"""Bytes of a request; no real one is longer."""

Response = tuple[str, int, dict[str, str]]
"""Body, status and headers."""


def respond(checks: PreflightChecks, clock: Clock, method: str, query: bytes, body: bytes) -> Response:
    """Answer a request: 200 with go or no-go, 400 for an invalid request, 503 when the state cannot be read.

    Everything but a go, errors included, has `"go": false`. GET only reads; a claim needs POST.
    """
    if method not in ("GET", "HEAD", "POST"):
        return _error(405, "ask with GET, or POST to claim", {"Allow": "GET, HEAD, POST"})
    try:
        request = read_request(_fields(method, query, body), checks.pipelines, clock.now())
        # A proxy or a crawler may repeat a GET at any time, so it must not write.
        if request.owner and method != "POST":
            raise ConfigError(problems=[Problem("claim", "expected POST, because a claim is stored", method)])
        clearance = checks.ask(request)
    except ConfigError as error:
        return _error(400, str(error))
    except AdapterError as error:
        return unanswered(error)
    log(
        "preflight",
        run_key=str(clearance.run),
        go=clearance.go,
        objections="; ".join(f"{point.topic}: {point.detail}" for point in clearance.objections) or None,
        claim=clearance.claim.owner if clearance.claim else None,
    )
    return _json(200, clearance_body(clearance))


def unanswered(error: AdapterError) -> Response:
    """The response when the state store or the warehouse could not be reached."""
    log("preflight_failed", severity="ERROR", error=str(error), retryable=error.retryable)
    return _error(503, f"could not be checked: {error}", {"Retry-After": "10"} if error.retryable else {})


def _fields(method: str, query: bytes, body: bytes) -> Mapping[str, Any]:
    """The fields of the query and the body; a field that is given twice is an error, never guessed."""
    if len(query) > LONGEST_BODY or len(body) > LONGEST_BODY:
        raise ConfigError(f"expected at most {LONGEST_BODY:,} bytes")
    try:
        pairs: list[tuple[str, Any]] = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict"
        )
        posted = json.loads(body) if method == "POST" and body.strip() else {}
    except (ValueError, RecursionError):
        raise ConfigError("expected a query like phase=features&date=2013-02-09, or a JSON object with such fields") from None
    if not isinstance(posted, dict):
        raise ConfigError("expected a JSON object")
    pairs += posted.items()
    names = [name for name, _ in pairs]
    if repeated := sorted({ascii(name) for name in names if names.count(name) > 1}):
        raise ConfigError(f"given more than once: {', '.join(repeated)}")
    return dict(pairs)


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json(status, {"go": False, "error": text}, headers)


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # ASCII, so that half of a surrogate pair in a request causes no error in the response.
    return json.dumps(body) + "\n", status, {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})}
