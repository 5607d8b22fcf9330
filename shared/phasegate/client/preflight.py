"""`preflight`: a job asks whether it may start. For the pipeline's own code."""

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
"""The address of the function that answers; without it, this process looks itself."""


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
    """Go on when the phase may start; raise when it may not, or when that can't be found out.

        phasegate.preflight("features", run_date=day)

    Args:
        run_date: A date, or its text in the form YYYY-MM-DD.
        pipeline: Not needed when there is one.
        producer: Which of the phase's jobs this is; all of them, when left out.
        claim: A name for this run, the same when it is tried again: nobody else may start until it has reported.
        lease: How long a claim holds when no report ends it, like `90m`; 2 h, when left out.

    Raises:
        NotNow: Something stands in the way; the message tells all of it, with what would help.
        ConfigError: The question makes no sense.
        AdapterError: State or function did not answer, after it was tried for some seconds.
    """
    named = {"pipeline": pipeline, "producer": producer, "claim": claim, "lease": lease}
    fields = {"phase": phase, "date": str(run_day(run_date)), **{name: value for name, value in named.items() if value}}
    wiring = Wiring(Settings.resolve({}, environ, Path.cwd()), clock=clock)
    if address := environ.get(PREFLIGHT):
        found = _asked(wiring, address, fields)
    else:
        wiring.settings.require("pipelines", "warehouse", "state")
        found = wiring.preflight_checks.ask(read_request(fields, wiring.pipelines, wiring.clock.now()))
    if not found.go:
        objections = "; ".join(f"{each.detail}{f' ({each.cure})' if each.cure else ''}" for each in found.objections)
        raise NotNow(f"{found.run} must not start now: {objections}", found)
    return found


def _asked(wiring: Wiring, address: str, fields: Mapping[str, str]) -> Clearance:
    """The function's answer, if it is one, and to this question."""
    service = wiring.preflight_service(address)

    @retrying
    def ask() -> Mapping[str, Any]:
        return service.ask(fields)

    body = ask()
    try:
        found = read_clearance(body)
    except (KeyError, TypeError, ValueError) as exc:
        raise AdapterError(f"what {address} answers is no answer of a pre-flight: {exc!r}"[:300], retryable=False) from exc
    run = found.run
    if (run.phase, str(run.run_date)) != (fields["phase"], fields["date"]) or fields.get(
        "pipeline", run.pipeline
    ) != run.pipeline:
        raise AdapterError(f"{address} answers for {run}, which nobody asked about", retryable=False)
    return found
