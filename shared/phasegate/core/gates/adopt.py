"""Adopting a date whose run nobody reported to phasegate: its tables alone say what becomes of the gate."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.decide import Case, gate_verdict
from phasegate.core.gates.gate import AcceptedGap, Gate, GatesByPhase, GateState, Reason
from phasegate.core.gates.verdict import PhaseVerdict, Verdict
from phasegate.core.pipeline.model import Pipeline

PHASEGATE = "phasegate"
"""Who adopts an input that a follower needs, when nobody has adopted the history."""


def adopted(
    pipeline: Pipeline, run: RunKey, verdict: PhaseVerdict, day: GatesByPhase, *, by: str, now: datetime
) -> Gate | None:
    """The gate that a past date gets from what its tables hold: open, off, or a known gap that a person must end.

    No go-signal and no alert belongs to it. It has no time of release, because nobody knows when that was.

    Args:
        verdict: What the tables hold.
        day: The gates of the date that exist; its inputs among them are what it was built on.
        by: Who adopts it.

    Returns:
        None where the tables say nothing certain: they could not be measured, or the phase is not due yet.
    """
    case = Case(pipeline, Gate(run), day, verdict, pipeline.due(run.phase, run.run_date), now)
    judged = gate_verdict(case) or verdict

    def gate(state: GateState, reason: Reason, detail: str, **fields: Any) -> Gate:
        evidence = {name: getattr(judged, name) for name in ("verdict", "score", "results", "rows")}
        return Gate(run, state=state, reason=reason, detail=detail, since=now, **evidence, **fields)

    match judged.verdict:
        case Verdict.UNVERIFIED | Verdict.NOT_DUE:
            return None
        case Verdict.OFF:
            return gate(GateState.OFF, Reason.NOT_EXPECTED, judged.reason)
        case Verdict.FAIL:
            why = f"known when the history was adopted: {failing(judged)}"
            gap = AcceptedGap(by, why, now, None)
            judged = gate_verdict(replace(case, gate=replace(case.gate, gap=gap))) or judged  # as a validation says from now on
            return gate(GateState.ACCEPTED, Reason.GAP_ACCEPTED, f"{by} accepted the gap: {why}", gap=gap)
    bare = replace(case, verdict=replace(verdict, reason=""))  # which may be what was made of the verdict already
    missing = tuple(table for table in bare.missing if "." in table) if bare.has_quorum else ()
    return gate(
        GateState.OPEN,
        Reason.ADOPTED,
        f"adopted by {by}: {judged.reason or 'its tables pass'}",
        generation=1,
        # An input without a gate is adopted later, or released for the first time: as generation 1 in either case.
        consumed={name: day[name].generation if name in day else 1 for name in case.inputs},
        fingerprint=judged.fingerprint,
        degraded=bool(missing),
        missing=missing,
    )


def unproven_input(run: RunKey, verdict: PhaseVerdict) -> Gate:
    """What a follower sees of an input whose tables fail or could not be measured; it is never stored."""
    if verdict.verdict is Verdict.FAIL:
        return Gate(run, state=GateState.HELD, reason=Reason.CHECKS_FAILED, detail=failing(verdict))
    return Gate(run, state=GateState.UNVERIFIED, reason=Reason.NOT_MEASURED, detail=unmeasured(verdict))


def adoption_hint(pipeline: str, since: date) -> str:
    """What is not watched of a history that nobody has adopted, and how to adopt it."""
    return f"{not_watched(pipeline, since)}. To take over what their tables hold: {adopt_command(pipeline)}"


def not_watched(pipeline: str, since: date) -> str:
    """What is not watched of a history that nobody has adopted, without a full stop."""
    return f"run dates of {pipeline} before {since} are not watched: nothing is reported about them until a job reports one"


def adopt_command(pipeline: str) -> str:
    """The command that adopts the history of a pipeline."""
    return f"phasegate adopt --pipeline {pipeline}"


def failing(verdict: PhaseVerdict) -> str:
    """The first of the failing checks that hold a gate, in words."""
    messages = [result.message for output in verdict.outputs for result in output.blocking()]
    return messages[0] + (f" (and {len(messages) - 1} more)" if len(messages) > 1 else "")


def unmeasured(verdict: PhaseVerdict) -> str:
    """Why a verdict is unverified, in words."""
    results = [result.message for output in verdict.outputs for result in output.unmeasured()]
    return verdict.reason or results[0]
