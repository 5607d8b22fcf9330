"""What the clock has to do: when a phase is due on a date, and which gates want to be looked at now."""

import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import FAR_FUTURE, RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, Reason, is_live, is_released, may_start
from phasegate.core.pipeline.model import Pipeline

RECENT = timedelta(days=7)
"""Run dates that fell due within this time are looked at by every tick."""

LONGEST_OUTAGE = timedelta(days=60)
"""A clock that stood still for longer does not go further back for what nobody reported."""

GATES_PER_TICK = 100
"""Gates that one tick looks at; what is left, and what is older, has its turn once an hour."""

OLDER_GATES_PER_TICK = 200
"""Older gates that are still of interest to the clock; the newest of them."""

CLOCK_STOPPED_AFTER = timedelta(minutes=5)
"""A clock that has not ticked for so long stands still."""

MAX_QUERY_GAP = timedelta(days=7)
"""Dates no further apart are measured by one query."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when a phase must have been released on a date.

    Args:
        at: The time that counts, in UTC.
        planned: What the pipeline file alone says.
        late: The upstream phase whose late release moved it; empty when it stands as planned.
    """

    at: datetime
    planned: datetime
    late: str = ""


def deadline(pipeline: Pipeline, phase: str, run_date: date, day: GatesByPhase) -> Deadline | None:
    """When a phase is due, given what was released; None when it has no due time.

    A time relative to another phase counts from that one's release, or from that of an input that came after it. A time of day
    moves by as much as the upstream was late, so that a phase is never late for what it could not begin.
    """
    planned = pipeline.due(phase, run_date)
    due = pipeline.phase(phase).due
    if planned is None or due is None:
        return None
    inputs = pipeline.inputs(phase, run_date)
    if due.after is not None and due.after_release is not None:
        opened = {name: at for name in (due.after, *inputs) if name in day and (at := day[name].opened_at)}
        if due.after not in opened:
            return Deadline(planned, planned)
        last = max(opened, key=opened.__getitem__)
        at = opened[last] + due.after_release
        shut = not all(is_released(pipeline, name, day) for name in inputs)
        return Deadline(max(at, planned) if shut else at, planned, last if at > planned else "")
    late = {name: _lateness(pipeline, name, run_date, day) for name in inputs}
    worst = max(late, key=lambda name: late[name], default="")
    by = late.get(worst, timedelta())
    return Deadline(planned + by, planned, worst if by else "")


def _lateness(pipeline: Pipeline, phase: str, run_date: date, day: GatesByPhase) -> timedelta:
    """By how much a phase was released late; one without a due time is as late as its own upstream."""
    gate, planned = day.get(phase), pipeline.due(phase, run_date)
    if gate is None or gate.opened_at is None:
        return timedelta()
    if planned is not None:
        return max(gate.opened_at - planned, timedelta())
    inputs = pipeline.inputs(phase, run_date)
    return max((_lateness(pipeline, name, run_date, day) for name in inputs), default=timedelta())


def first_watched(pipeline: Pipeline, now: datetime) -> date:
    """The first run date whose silence counts for a clock that begins to tick now: none of its phases was due before."""
    found = pipeline.today(now)
    while found > pipeline.today(now) - RECENT and not _was_due(pipeline, found - timedelta(days=1), now):
        found -= timedelta(days=1)
    return found


def _was_due(pipeline: Pipeline, day: date, now: datetime) -> bool:
    return any((due := pipeline.due(phase, day)) is not None and due <= now for phase in pipeline.phases)


def window(pipeline: Pipeline, now: datetime, last: datetime | None) -> Span:
    """The run dates that a tick looks at as a whole.

    Args:
        last: When the last tick was done; what fell due since is made up for.
    """
    slack = timedelta(days=max((phase.due.days for phase in pipeline.phases.values() if phase.due), default=0))
    since = max(min(last or now, now), now - LONGEST_OUTAGE)
    return Span(pipeline.today(since) - RECENT - slack, pipeline.today(now) + FAR_FUTURE)


def needs_recheck(pipeline: Pipeline, gate: Gate, day: GatesByPhase, now: datetime) -> bool:
    """True when a look without a message may change a gate: it is due, was heard of, waits for repair, or must be proven."""
    if not gate.awaits_clock:
        return _is_late_again(pipeline, gate, day, now)
    if gate.state is GateState.ACCEPTED:
        return gate.gap is None or not is_live(gate.gap, now)
    if gate.hold is not None and is_live(gate.hold, now):
        return False
    if gate.reason in (Reason.HELD_BY_HAND, Reason.PAUSED):
        return True
    if gate.is_open or gate.reports:
        return True
    due = deadline(pipeline, gate.run.phase, gate.run.run_date, day)
    return due is not None and (now >= due.at or gate.state is not GateState.WAITING)


def _is_late_again(pipeline: Pipeline, gate: Gate, day: GatesByPhase, now: datetime) -> bool:
    """True when an open gate is stale, could run again, and has not for as long as it has after its upstream."""
    again = any(name in day and day[name].generation > used for name, used in gate.consumed.items())
    if not again or not gate.is_open or not may_start(pipeline, gate.run.phase, gate.run.run_date, day):
        return False
    due = deadline(pipeline, gate.run.phase, gate.run.run_date, day)
    return due is not None and now >= due.at


def gates_to_recheck(
    pipeline: Pipeline,
    days: Mapping[date, GatesByPhase],
    span: Span,
    now: datetime,
    *,
    since: date,
    older: Iterable[Gate] = (),
    paused: Container[str] = (),
) -> tuple[RunKey, ...]:
    """The gates that a tick looks at: newest run dates first, phases in their order.

    Args:
        days: The gates of *span* that are known.
        since: Before this run date only gates that are known count; nobody was watching then.
        older: Known gates before the span.
        paused: Phases that are left alone.
    """
    # Nothing is due before its date has begun: of the days to come only gates that were heard of can want a look.
    silent = Span(since, pipeline.today(now))
    dates = ((day, days.get(day, {})) for day in reversed(span.days()))
    looked = (run for day, gates in dates for run in _of_date(pipeline, day, gates, now, known=day not in silent))
    found = [run for run in looked if run.phase not in paused]
    old = [g for g in older if g.run.phase not in paused and needs_recheck(pipeline, g, {g.run.phase: g}, now)]
    asked = [gate.run for gate in old if gate.retries and gate.retries.next_at and now >= gate.retries.next_at]
    turns = [
        run for run in (*found[GATES_PER_TICK:], *(gate.run for gate in old)) if is_its_turn(run, now) and run not in asked
    ]
    return (*found[:GATES_PER_TICK], *asked[:GATES_PER_TICK], *turns)


def _of_date(pipeline: Pipeline, day: date, gates: GatesByPhase, now: datetime, *, known: bool) -> Iterable[RunKey]:
    for phase in pipeline.phases if pipeline.calendar.has_run(day) else ():
        if known and phase not in gates:
            continue
        gate = gates.get(phase, Gate(RunKey(pipeline.name, phase, day)))
        # What was counted as a date without a run may yet become one, when the table that announces it is late.
        unsure = gate.state is GateState.OFF and pipeline.runs(phase, day) and is_its_turn(gate.run, now)
        if unsure or needs_recheck(pipeline, gate, gates, now):
            yield gate.run


def is_its_turn(run: RunKey, now: datetime) -> bool:
    """True in one minute of each hour, always the same one for a gate, and spread evenly over many gates."""
    return zlib.crc32(str(run).encode()) % 60 == int(now.timestamp() // 60) % 60


def group_nearby_dates(runs: Sequence[RunKey]) -> tuple[tuple[RunKey, ...], ...]:
    """The gates in groups whose dates lie close together, to be measured by one query per table; newest first."""
    found: list[list[RunKey]] = []
    for run in sorted(runs, key=lambda run: run.run_date, reverse=True):
        if found and found[-1][-1].run_date - run.run_date <= MAX_QUERY_GAP:
            found[-1].append(run)
        else:
            found.append([run])
    return tuple(map(tuple, found))
