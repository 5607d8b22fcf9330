"""Rerun requests: how many a day's budget and the circuit breaker of a phase let through."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble
from phasegate.core.field_syntax import Span
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import AlertState, Gate, GatesByPhase, Retries
from phasegate.core.gates.rerun_requests import (
    Random,
    RerunRequest,
    RetryStep,
    next_retry_step,
    postponed,
    retries_exhausted,
    streak,
)
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import Conflict
from phasegate.messaging.bodies import trouble_message
from phasegate.ports import Change, Record, Records, StateStore

BUDGET = "retry_budget"
"""Records of this kind, by pipeline, phase and local day: `used` in the body counts the rerun requests."""

BREAKER = "breaker"
"""Records of this kind, by pipeline and phase: while live, reruns are requested only for `run_date` in the body."""


@dataclass(frozen=True, slots=True)
class RerunPlan:
    """Rerun requests, and the budget record that pays for them."""

    requests: tuple[RerunRequest, ...] = ()
    records: tuple[Record, ...] = ()


class RerunRequests:
    """Adds rerun requests to decisions.

    Args:
        records: Read only; what a plan spends is committed together with the decision.
    """

    def __init__(self, records: Records, chance: Random) -> None:
        self._records = records
        self._chance = chance

    def plan(self, pipeline: Pipeline, decision: Decision, day: GatesByPhase, now: datetime) -> tuple[Decision, RerunPlan]:
        """The decision with its next retry step, and the requests to commit with it."""
        step, plan = next_retry_step(pipeline, decision.gate, day, now, self._chance), RerunPlan()
        # Breaker and budget are read only when a request is due: most decisions need neither.
        if step.ask:
            step, plan = self._within_limits(pipeline, decision.gate, step, now)
        gate = replace(decision.gate, retries=step.retries)
        exhausted = retries_exhausted(gate, now) if step.given_up else None
        producers = ", ".join(request.producer for request in plan.requests)
        detail = f"{decision.detail}; rerun of {producers} requested" if producers else decision.detail
        alerts = (*decision.alerts, *([exhausted] if exhausted else []))
        return replace(decision, gate=gate, detail=detail, alerts=alerts), plan

    def _within_limits(self, pipeline: Pipeline, gate: Gate, step: RetryStep, now: datetime) -> tuple[RetryStep, RerunPlan]:
        """The requests that the phase's breaker and today's budget let through; what they stop is postponed."""
        phase, before = f"{pipeline.name}/{gate.run.phase}", gate.retries or Retries()
        policy = pipeline.phase(gate.run.phase).retry
        assert policy is not None, "only a phase with a policy has a step that asks"
        assert step.retries is not None
        breaker = self._records.find(BREAKER, [phase]).get(phase)
        if breaker and breaker.expires is None and breaker.body["run_date"] != str(gate.run.run_date):
            return postponed(before, now + policy.at_most), RerunPlan()
        key = f"{phase}/{pipeline.today(now)}"
        budget = self._records.find(BUDGET, [key]).get(key, Record(BUDGET, key, {"used": 0}))
        producers = step.ask[: max(policy.budget_per_day - budget.body["used"], 0)]
        if not producers:
            tomorrow = datetime.combine(pipeline.today(now) + timedelta(days=1), time(), pipeline.zone)
            return postponed(before, tomorrow.astimezone(UTC) + self._chance() * policy.at_most), RerunPlan()
        # The budget keeps the version that was read: of two instances that spend the same rest, one gets a conflict.
        spent = replace(budget, body={"used": budget.body["used"] + len(producers)}, expires=now + timedelta(days=2))
        attempt = step.retries.asked + 1
        return step, RerunPlan(tuple(RerunRequest(gate.run, name, attempt, gate.detail, now) for name in producers), (spent,))


class Breakers:
    """Opens and closes the circuit breakers: a phase that fails date after date is asked to rerun its newest date only.

    Args:
        records: The same store as *store*.
    """

    def __init__(self, store: StateStore, records: Records) -> None:
        self._store = store
        self._records = records

    def update(self, pipeline: Pipeline, days: Mapping[date, GatesByPhase], now: datetime) -> None:
        """Open breakers, move them to the newest failed date, and close them once that date is released."""
        policies = {phase: declared.retry for phase, declared in pipeline.phases.items() if declared.retry}
        stored = self._records.find(BREAKER, [f"{pipeline.name}/{phase}" for phase in policies]) if policies else {}
        for phase, policy in policies.items():
            subject = f"{pipeline.name}/{phase}"
            breaker = stored.get(subject, Record(BREAKER, subject, {}, expires=now))
            failed = streak(gates[phase] for gates in days.values() if phase in gates)
            trial = date.fromisoformat(breaker.body["run_date"]) if breaker.expires is None else None
            if trial is None and len(failed) >= policy.breaker_after:
                body = {"run_date": str(failed[0]), "since": now.isoformat()}
                self._write(replace(breaker, body=body, expires=None), _suspended(subject, failed, now, now))
            elif trial is not None and self._is_settled(pipeline, phase, trial, days):
                since = datetime.fromisoformat(breaker.body["since"])
                self._write(replace(breaker, expires=now + timedelta(days=1)), _suspended(subject, (), since, now))
            elif trial is not None and failed and failed[0] > trial:
                self._write(replace(breaker, body={**breaker.body, "run_date": str(failed[0])}))

    def _is_settled(self, pipeline: Pipeline, phase: str, trial: date, days: Mapping[date, GatesByPhase]) -> bool:
        gates = days[trial] if trial in days else self._store.load(pipeline.name, Span(trial, trial)).get(trial, {})
        return phase in gates and not gates[phase].is_unsettled

    def _write(self, breaker: Record, *alerts: Trouble) -> None:
        with suppress(Conflict):  # another tick has just done the same
            self._store.commit(Change(records=(breaker,), outbox=tuple(map(trouble_message, alerts))))


def _suspended(subject: str, failed: Sequence[date], since: datetime, now: datetime) -> Trouble:
    """The alert that reruns of a phase are suspended for all but one date; its recovery, when no failed dates are given."""
    text = f"{subject} failed on {len(failed)} run dates in a row: {', '.join(map(str, failed))}"
    return Trouble(
        key=f"breaker/{subject}/{now.isoformat()}",
        cause=TroubleCause.RETRIES_SUSPENDED,
        subject=subject,
        detail=text if failed else f"{subject} is released again; reruns of its other run dates are requested again",
        effect="Reruns are requested only for the newest of them until it is released." if failed else "",
        state=AlertState.FIRING if failed else AlertState.RECOVERED,
        since=since,
        at=now,
    )
