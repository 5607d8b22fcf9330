"""The schedule: when a phase is due on a date, and which gates a tick must recheck."""

import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import FAR_FUTURE, RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, Reason, is_live, is_released, may_start
from phasegate.core.pipeline.model import Pipeline

RECENT = timedelta(days=7)
"""Every tick checks the run dates that fell due within this time."""

LONGEST_OUTAGE = timedelta(days=60)
"""After a longer outage of the scheduler, a tick goes no further back than this for phases that never reported."""

GATES_PER_TICK = 100
"""Gates that one tick rechecks; the rest, and older ones, get a turn once an hour."""

OLDER_GATES_PER_TICK = 200
"""Gates before the window that one tick loads, newest first."""

CLOCK_STOPPED_AFTER = timedelta(minutes=5)
"""Without a tick for this long, the scheduler counts as stopped."""

MAX_QUERY_GAP = timedelta(days=7)
"""Dates no further apart than this are measured by one query."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when a phase must have been released on a date.

    Args:
        at: The time that counts, in UTC.
        planned: The time from the pipeline file alone.
        late: The upstream phase whose late release moved it; empty when it is as planned.
    """

    at: datetime
    planned: datetime
    late: str = ""


def deadline(pipeline: Pipeline, phase: str, run_date: date, day: GatesByPhase) -> Deadline | None:
    """When a phase is due, given what was released and reported; None when it has no due time.

    A due time relative to another phase counts from that phase's release, or from a later release of an input. A time of day
    moves by as much as the upstream was late, so that a phase is never late because it could not start. A run whose first
    report comes after that, such as a backfill, is due `late_by` after its first report.
    """
    due = _due_after_inputs(pipeline, phase, run_date, day)
    first = day[phase].first_report_at if phase in day else None
    if due is None or first is None or first <= due.at:
        return due
    return replace(due, at=first + pipeline.phase(phase).late_by, late="")


def _due_after_inputs(pipeline: Pipeline, phase: str, run_date: date, day: GatesByPhase) -> Deadline | None:
    """When a phase is due, given what was released."""
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
        # Until the other inputs are released, too, the planned time is a lower bound.
        blocked = not all(is_released(pipeline, name, day) for name in inputs)
        return Deadline(max(at, planned) if blocked else at, planned, last if at > planned else "")
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


def settles_at(pipeline: Pipeline, gate: Gate) -> datetime | None:
    """When a re-run is over although some needed producers have not reported again; None when none of that is going on."""
    if not gate.is_open or not gate.rerun or not still_missing(pipeline, gate):
        return None
    return max(gate.reports[name].received_at for name in gate.rerun) + pipeline.phase(gate.run.phase).settle


def still_missing(pipeline: Pipeline, gate: Gate) -> tuple[str, ...]:
    """The needed producers that have not reported since the current release."""
    needed = pipeline.needed_producers(gate.run.phase, gate.run.run_date)
    return tuple(name for name in needed if name not in gate.rerun)


def first_watched(pipeline: Pipeline, now: datetime, phases: Iterable[str] | None = None) -> date:
    """The first run date for which missing reports raise alerts, when the first tick is now: none of its phases is due yet.

    Args:
        phases: Those that are watched from now on; all of them, when left out.
    """
    first, begin = pipeline.today(now), tuple(pipeline.phases if phases is None else phases)
    while first > pipeline.today(now) - RECENT and not _was_due(pipeline, begin, first - timedelta(days=1), now):
        first -= timedelta(days=1)
    return first


def _was_due(pipeline: Pipeline, phases: Iterable[str], day: date, now: datetime) -> bool:
    return any((due := pipeline.due(phase, day)) is not None and due <= now for phase in phases)


def window(pipeline: Pipeline, now: datetime, last: datetime | None) -> Span:
    """The run dates whose gates a tick loads and checks.

    Args:
        last: When the last tick was done; the window also covers what fell due since.
    """
    # A phase that is due n days after its run date still concerns dates that are n days older.
    slack = timedelta(days=max((phase.due.days for phase in pipeline.phases.values() if phase.due), default=0))
    # The last tick lies in the future when the clock was set back.
    since = max(min(last or now, now), now - LONGEST_OUTAGE)
    return Span(pipeline.today(since) - RECENT - slack, pipeline.today(now) + FAR_FUTURE)


def needs_recheck(pipeline: Pipeline, gate: Gate, day: GatesByPhase, now: datetime) -> bool:
    """True when a gate may change without a message: it is due, has reports, may be fixed by now, or is still unproven."""
    if gate.unreadable:
        return False
    if gate.orphaned:
        return True  # its phase is in the file again
    if not gate.awaits_clock:
        return _is_late_again(pipeline, gate, day, now)
    if gate.state is GateState.ACCEPTED:
        # A report since then may be enough once the phase is due, as with a quorum. Once an hour: most gaps just stay.
        may_close = gate.gap is not None and any(r.received_at > gate.gap.at for r in gate.reports.values())
        return gate.gap is None or not is_live(gate.gap, now) or (may_close and is_its_turn(gate.run, now))
    if gate.hold is not None and is_live(gate.hold, now):
        return False
    if gate.reason in (Reason.HELD_BY_HAND, Reason.PAUSED):
        return True
    if gate.is_open:
        return _open_needs_recheck(pipeline, gate, now)
    if gate.reports:
        return True
    due = deadline(pipeline, gate.run.phase, gate.run.run_date, day)
    return due is not None and (now >= due.at or gate.state is not GateState.WAITING)


def _open_needs_recheck(pipeline: Pipeline, gate: Gate, now: datetime) -> bool:
    """True when an open gate's re-run is over, its override has ended, or something is still to be verified."""
    settled = settles_at(pipeline, gate)
    if settled is not None:
        return now >= settled
    return gate.alert is not None or gate.unproven or bool(gate.missing) or _override_ended(gate, now)


def _override_ended(gate: Gate, now: datetime) -> bool:
    return any(not is_live(override, now) for override in gate.overrides)


def _is_late_again(pipeline: Pipeline, gate: Gate, day: GatesByPhase, now: datetime) -> bool:
    """True when an open gate is stale, its phase may start, and its usual time since the upstream's release has passed."""
    is_stale = any(name in day and day[name].generation > used for name, used in gate.consumed.items())
    if not is_stale or not gate.is_open or not may_start(pipeline, gate.run.phase, gate.run.run_date, day):
        return False
    due = deadline(pipeline, gate.run.phase, gate.run.run_date, day)
    return due is not None and now >= due.at


def gates_to_recheck(
    pipeline: Pipeline,
    days: Mapping[date, GatesByPhase],
    span: Span,
    now: datetime,
    *,
    since: date | Mapping[str, date],
    older: Iterable[Gate] = (),
    paused: Container[str] = (),
) -> tuple[RunKey, ...]:
    """The gates that a tick rechecks: newest run dates first, phases in their order.

    Args:
        days: The stored gates of *span*.
        since: Before this run date only stored gates count; nothing was monitored then. By phase, where phases differ.
        older: Stored gates before the span.
        paused: Phases to skip.
    """
    # Nothing is due before its date has begun, so of future dates only gates with a report can need a recheck.
    starts = since if isinstance(since, Mapping) else dict.fromkeys(pipeline.phases, since)
    watched = {phase: Span(start, pipeline.today(now)) for phase, start in starts.items()}
    dates = ((day, days.get(day, {})) for day in reversed(span.days()))
    due = (run for day, gates in dates for run in _of_date(pipeline, day, gates, now, watched))
    recent = [run for run in due if run.phase not in paused]
    known = [g for g in older if g.run.phase in pipeline.phases and g.run.phase not in paused]
    old = [gate for gate in known if needs_recheck(pipeline, gate, {gate.run.phase: gate}, now)]
    timed = [gate.run for gate in old if _has_come(pipeline, gate, now)]
    # A backlog is spread over the hour, so that no tick takes longer than a minute.
    backlog = (*recent[GATES_PER_TICK:], *(gate.run for gate in old))
    turns = [run for run in backlog if is_its_turn(run, now) and run not in timed]
    return (*recent[:GATES_PER_TICK], *timed[:GATES_PER_TICK], *turns)


def _has_come(pipeline: Pipeline, gate: Gate, now: datetime) -> bool:
    """True when a time that an older gate waits for has come: for a rerun request, its due time, or the end of something."""
    if gate.is_open:
        settled = settles_at(pipeline, gate)
        return (settled is not None and now >= settled) or (gate.alert is None and _override_ended(gate, now))
    due = deadline(pipeline, gate.run.phase, gate.run.run_date, {gate.run.phase: gate})
    is_due = gate.state is GateState.WAITING and due is not None and now >= due.at
    return is_due or bool(gate.retries and gate.retries.next_at and now >= gate.retries.next_at)


def _of_date(
    pipeline: Pipeline, day: date, gates: GatesByPhase, now: datetime, watched: Mapping[str, Span]
) -> Iterable[RunKey]:
    for phase in pipeline.phases if pipeline.calendar.has_run(day) else ():
        if phase not in gates and day not in watched[phase]:
            continue
        gate = gates.get(phase, Gate(RunKey(pipeline.name, phase, day)))
        # A date without a run may still get one: the table that announces it may have been loaded late.
        may_run = gate.state is GateState.OFF and pipeline.runs(phase, day) and is_its_turn(gate.run, now)
        if may_run or needs_recheck(pipeline, gate, gates, now):
            yield gate.run


def is_its_turn(run: RunKey, now: datetime) -> bool:
    """True in one minute of each hour: always the same one for a gate, and evenly spread over many gates."""
    # Not hash(): that differs from process to process.
    return zlib.crc32(str(run).encode()) % 60 == int(now.timestamp() // 60) % 60


def group_nearby_dates(runs: Sequence[RunKey]) -> tuple[tuple[RunKey, ...], ...]:
    """The gates in groups whose dates lie close together, each measured by one query per table; newest first."""
    groups: list[list[RunKey]] = []
    for run in sorted(runs, key=lambda run: run.run_date, reverse=True):
        if groups and groups[-1][-1].run_date - run.run_date <= MAX_QUERY_GAP:
            groups[-1].append(run)
        else:
            groups.append([run])
    return tuple(map(tuple, groups))
