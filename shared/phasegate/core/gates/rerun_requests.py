"""Asking a phase to run again: when, whom, how often, and when that is no use."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from phasegate.core.checks.base import Mode, Outcome, Severity
from phasegate.core.checks.kinds import KINDS
from phasegate.core.gates.completion import RunKey, Status
from phasegate.core.gates.gate import Alert, Gate, GatesByPhase, GateState, Reason, Retries, may_start
from phasegate.core.gates.verdict import Verdict
from phasegate.core.pipeline.model import Pipeline, Retry

RETRYABLE_KINDS = frozenset(name for name, kind in KINDS.items() if kind.rerun_may_help)
"""Kinds of checks that another run may mend: what was missing or old may be there by then. Others fail again."""

NOT_RETRIED = frozenset({Reason.UPSTREAM_SHUT, Reason.PAUSED, Reason.HELD_BY_HAND, Reason.RAN_BEFORE_UPSTREAM})
"""Reasons for which a phase that is shut has not itself failed."""

Random = Callable[[], float]
"""A random number from 0 to below 1."""


@dataclass(frozen=True, slots=True)
class RerunRequest:
    """A producer is asked to run again for a run date.

    Args:
        attempt: Which attempt this will be; the run that nobody had to ask for was the first.
        why: What is wrong, in one sentence.
        not_before: When it may start.
    """

    run: RunKey
    producer: str
    attempt: int
    why: str
    not_before: datetime

    @property
    def key(self) -> str:
        """The same however often it is sent: flights/raw/2013-02-08/flights_loader/retry-2."""
        return f"{self.run}/{self.producer}/retry-{self.attempt}"


@dataclass(frozen=True, slots=True)
class RetryStep:
    """What the next look does about running again.

    Args:
        retries: What the gate then remembers.
        ask: The producers to ask now.
        given_up: The last attempt has failed just now.
    """

    retries: Retries | None
    ask: tuple[str, ...] = ()
    given_up: bool = False


def delay(policy: Retry, asked: int, chance: Random) -> timedelta:
    """The wait before the next request: anything up to a bound that doubles with each (full jitter).

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter": of all kinds of jitter it spreads clients best.
    """
    bound: timedelta = min(policy.at_most, policy.first * 2 ** min(asked, 30))
    return chance() * bound


def next_retry_step(pipeline: Pipeline, gate: Gate, day: GatesByPhase, now: datetime, chance: Random) -> RetryStep:
    """What to do about running again, for a gate as it was just decided.

    A failure is followed by a wait, a request, and the answer to it; a request that nobody answers within the longest wait has
    failed. Attempts are those of the gate, for good: one that is in trouble again later does not start anew.
    """
    policy, known = pipeline.phase(gate.run.phase).retry, gate.retries or Retries()
    if policy is None:
        return RetryStep(gate.retries)
    ask = to_ask(pipeline, gate, day)
    if not ask or known.given_up:
        return RetryStep(gate.retries and replace(known, next_at=None))
    answered = known.asked_at is None or any(report.received_at > known.asked_at for report in gate.reports.values())
    if known.next_at is None or answered > known.answered:
        if known.asked >= policy.attempts:
            return RetryStep(replace(known, next_at=None, answered=answered, given_up=True), given_up=True)
        return RetryStep(replace(known, next_at=now + delay(policy, known.asked, chance), answered=answered))
    if now < known.next_at:
        return RetryStep(known)
    if known.asked >= policy.attempts:
        return RetryStep(replace(known, next_at=None, given_up=True), given_up=True)
    asked = known.asked + 1
    patience = policy.at_most + (delay(policy, asked, chance) if asked < policy.attempts else timedelta())
    return RetryStep(Retries(asked, asked_at=now, next_at=now + patience, answered=False), ask)


def postponed(before: Retries, until: datetime) -> RetryStep:
    """The step of a gate whose request has to wait for something else than this gate."""
    return RetryStep(replace(before, next_at=until))


def to_ask(pipeline: Pipeline, gate: Gate, day: GatesByPhase) -> tuple[str, ...]:
    """The producers whose running again may open a gate; none when that would not help."""
    if gate.state not in (GateState.HELD, GateState.OVERDUE):
        return ()
    producers = {name: p for name, p in pipeline.producers(gate.run.phase).items() if not p.optional}
    silent = tuple(name for name in producers if name not in gate.reports)
    match gate.reason:
        case Reason.PRODUCER_FAILED:
            return tuple(n for n in producers if n in gate.reports and gate.reports[n].status is Status.FAILED)
        case Reason.NOTHING_HEARD | Reason.NOT_STARTED | Reason.PRODUCERS_MISSING:
            return silent
        case Reason.NO_MESSAGE:
            return silent if gate.verdict is Verdict.FAIL else ()
        case Reason.CHECKS_FAILED:
            tables = _mendable(gate)
            return tuple(n for n, p in producers.items() if p.fills in tables) or (tuple(producers) if tables else ())
        case Reason.RAN_BEFORE_UPSTREAM:
            return tuple(producers) if may_start(pipeline, gate.run.phase, gate.run.run_date, day) else ()
        case _:
            return ()


def _mendable(gate: Gate) -> frozenset[str]:
    """The tables whose failures another run may mend; none when one failure stays whatever runs."""
    bound = [r for r in gate.results if r.severity is Severity.BLOCK and r.mode is Mode.ENFORCE]
    failed = [r for r in bound if r.outcome is Outcome.FAILED]
    lasting = [r for r in failed if r.kind not in RETRYABLE_KINDS]
    return frozenset() if lasting else frozenset(r.table for r in failed)


def retries_exhausted(gate: Gate, now: datetime) -> Alert | None:
    """What people are told when the last attempt has failed."""
    fired, retries = gate.alert, gate.retries
    if fired is None or retries is None:
        return None
    times = "once" if retries.asked == 1 else f"{retries.asked} times"
    detail = f"asked {times} to run again, in vain; nobody asks again: {gate.detail}"
    key = f"{gate.run}/v{gate.version + 1}/{Reason.RETRIES_SPENT}"
    return replace(fired, key=key, cause=Reason.RETRIES_SPENT, detail=detail, since=now, at=now)


def streak(gates: Iterable[Gate]) -> tuple[date, ...]:
    """The run dates on which a phase has failed in a row, newest first; dates that say nothing about it are passed over.

    Args:
        gates: Of one phase, in any order.
    """
    failed: list[date] = []
    for gate in sorted(gates, key=lambda gate: gate.run.run_date, reverse=True):
        if gate.is_open:
            break
        if gate.state in (GateState.HELD, GateState.OVERDUE) and gate.reason not in NOT_RETRIED:
            failed.append(gate.run.run_date)
    return tuple(failed)
