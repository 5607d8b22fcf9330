"""`preflight`: a job checks whether it may start. For the pipeline's own code."""

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.client.report import run_day
from phasegate.client.retrying import retrying
from phasegate.core.gates.preflight import Clearance, NotNow
from phasegate.errors import AdapterError
from phasegate.gates.preflight import read_clearance, read_request
from phasegate.ports import Clock

PREFLIGHT = "PHASEGATE_PREFLIGHT"
"""The URL of the function that answers; without it, this process reads the state and decides itself."""


def preflight(
    phase: str,
    *,
    run_date: date | str,
    pipeline: str | None = None,
    producer: str | None = None,
    claim: str | None = None,
    lease: str | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Clearance:
    """Return when the phase may start; raise when it may not, or when that can't be found out.

        phasegate.preflight("features", run_date=day)

    Args:
        run_date: A date, or its text in the form YYYY-MM-DD.
        pipeline: Not needed when there is only one.
        producer: Which of the phase's jobs this is; all of them, when left out.
        claim: A name for this run, the same on a retry. No other run may start until this one has reported.
        lease: How long a claim lasts without a report, like `90m`; 2 h, when left out.

    Raises:
        NotNow: Something blocks the start; the message lists all of it, with what would help.
        ConfigError: An argument or setting is wrong.
        AdapterError: The state store or the function did not answer within some seconds of retries.
    """
    optional = {"pipeline": pipeline, "producer": producer, "claim": claim, "lease": lease}
    fields = {"phase": phase, "date": str(run_day(run_date)), **{name: value for name, value in optional.items() if value}}
    wiring = Wiring(Settings.resolve({}, environ, Path.cwd()), clock=clock)
    if address := environ.get(PREFLIGHT):
        clearance = _from_function(wiring, address, fields)
    else:
        wiring.settings.require("pipelines", "warehouse", "state")
        clearance = wiring.preflight_checks.ask(read_request(fields, wiring.pipelines, wiring.clock.now()))
    if not clearance.go:
        objections = "; ".join(f"{point.detail}{f' ({point.cure})' if point.cure else ''}" for point in clearance.objections)
        raise NotNow(f"{clearance.run} must not start now: {objections}", clearance)
    return clearance


def _from_function(wiring: Wiring, address: str, fields: Mapping[str, str]) -> Clearance:
    """The function's answer, checked: a page of some proxy, or an answer about another run, must never count as a go."""
    service = wiring.preflight_service(address)

    # A retry of a claim is harmless: the same owner may claim again.
    @retrying
    def ask() -> Mapping[str, Any]:
        return service.ask(fields)

    body = ask()
    try:
        clearance = read_clearance(body)
    except (KeyError, TypeError, ValueError) as exc:
        raise AdapterError(f"{address} did not send a valid preflight answer: {exc!r}"[:300], retryable=False) from exc
    run = clearance.run
    if (run.phase, str(run.run_date)) != (fields["phase"], fields["date"]) or fields.get(
        "pipeline", run.pipeline
    ) != run.pipeline:
        raise AdapterError(f"{address} answered about {run}, not about the run in the request", retryable=False)
    return clearance
