"""Rerun requests: when, to whom, how often, and when a rerun cannot help."""

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
"""Kinds of checks that a rerun may fix, because missing or old data may have arrived. Others would fail again."""

NOT_RETRIED = frozenset({Reason.UPSTREAM_SHUT, Reason.PAUSED, Reason.HELD_BY_HAND, Reason.RAN_BEFORE_UPSTREAM})
"""Reasons that keep a gate closed although its phase has not failed."""

Random = Callable[[], float]
"""A random number from 0 to below 1."""


@dataclass(frozen=True, slots=True)
class RerunRequest:
    """A request to a producer to run again for a run date.

    Args:
        attempt: Which attempt this will be; the run before any request was the first.
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
    """What to do now about rerunning a phase.

    Args:
        retries: The state to store in the gate.
        ask: The producers to send a request to.
        given_up: The last attempt has just failed.
    """

    retries: Retries | None
    ask: tuple[str, ...] = ()
    given_up: bool = False


def delay(policy: Retry, requests: int, chance: Random) -> timedelta:
    """The wait before the next request: random, up to a bound that doubles with each request (full jitter).

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter": of all kinds of jitter it spreads clients best.
    """
    # The exponent is limited because a timedelta overflows at about 2 ** 46 seconds.
    bound: timedelta = min(policy.at_most, policy.first * 2 ** min(requests, 30))
    return chance() * bound


def next_retry_step(pipeline: Pipeline, gate: Gate, day: GatesByPhase, now: datetime, chance: Random) -> RetryStep:
    """What to do about rerunning the phase of a gate that was just decided.

    After a failure comes a wait, then a request, then its answer; a request without an answer within the longest wait failed.
    Attempts are counted over the life of the gate: a later problem does not start again from zero.
    """
    policy, retries = pipeline.phase(gate.run.phase).retry, gate.retries or Retries()
    if policy is None:
        return RetryStep(gate.retries)
    ask = producers_to_rerun(pipeline, gate, day)
    if not ask or retries.given_up:
        return RetryStep(gate.retries and replace(retries, next_at=None))
    answered = retries.asked_at is None or any(report.received_at > retries.asked_at for report in gate.reports.values())
    # Not scheduled yet, or the last request has just been answered with another failure.
    if retries.next_at is None or answered > retries.answered:
        if retries.asked >= policy.attempts:
            return RetryStep(replace(retries, next_at=None, answered=answered, given_up=True), given_up=True)
        return RetryStep(replace(retries, next_at=now + delay(policy, retries.asked, chance), answered=answered))
    if now < retries.next_at:
        return RetryStep(retries)
    if retries.asked >= policy.attempts:
        return RetryStep(replace(retries, next_at=None, given_up=True), given_up=True)
    requests = retries.asked + 1
    timeout = policy.at_most + (delay(policy, requests, chance) if requests < policy.attempts else timedelta())
    return RetryStep(Retries(requests, asked_at=now, next_at=now + timeout, answered=False), ask)


def postponed(before: Retries, until: datetime) -> RetryStep:
    """The step of a gate whose request must wait for the budget or the breaker."""
    return RetryStep(replace(before, next_at=until))


def producers_to_rerun(pipeline: Pipeline, gate: Gate, day: GatesByPhase) -> tuple[str, ...]:
    """The producers whose rerun may open a gate; none when a rerun would not help."""
    if gate.state not in (GateState.HELD, GateState.OVERDUE):
        return ()
    declared = pipeline.producers(gate.run.phase)
    producers = {name: declared[name] for name in pipeline.needed_producers(gate.run.phase, gate.run.run_date)}
    unreported = tuple(name for name in producers if name not in gate.reports)
    match gate.reason:
        case Reason.PRODUCER_FAILED:
            return tuple(n for n in producers if n in gate.reports and gate.reports[n].status is Status.FAILED)
        case Reason.NOTHING_HEARD | Reason.NOT_STARTED | Reason.PRODUCERS_MISSING:
            return unreported
        case Reason.NO_MESSAGE:  # rows that pass need a report, not a rerun
            return unreported if gate.verdict is Verdict.FAIL else ()
        case Reason.CHECKS_FAILED:
            tables = _fixable_tables(gate)
            return tuple(n for n, p in producers.items() if p.fills in tables) or (tuple(producers) if tables else ())
        case Reason.RAN_BEFORE_UPSTREAM:
            return tuple(producers) if may_start(pipeline, gate.run.phase, gate.run.run_date, day) else ()
        case _:
            return ()


def _fixable_tables(gate: Gate) -> frozenset[str]:
    """The tables whose failures a rerun may fix; none when one failure of the gate would remain in any case."""
    binding = [r for r in gate.results if r.severity is Severity.BLOCK and r.mode is Mode.ENFORCE]
    failed = [r for r in binding if r.outcome is Outcome.FAILED]
    is_fixable = all(r.kind in RETRYABLE_KINDS for r in failed)
    return frozenset(r.table for r in failed) if is_fixable else frozenset()


def retries_exhausted(gate: Gate, now: datetime) -> Alert | None:
    """The alert that the last attempt has failed; None when no alert has fired for the gate."""
    fired, retries = gate.alert, gate.retries
    if fired is None or retries is None:
        return None
    detail = f"retries exhausted after {retries.asked} rerun request{'' if retries.asked == 1 else 's'}: {gate.detail}"
    key = f"{gate.run}/v{gate.version + 1}/{Reason.RETRIES_SPENT}"
    return replace(fired, key=key, cause=Reason.RETRIES_SPENT, detail=detail, since=now, at=now)


def streak(gates: Iterable[Gate]) -> tuple[date, ...]:
    """The run dates on which a phase has failed in a row, newest first; dates without a failure or a release are skipped.

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
