"""The calendar's table of expected entities is an input that can fail: empty, cut short, or not loaded any more.

A dead schedule expects nothing, so every date would be off, and nobody would be told.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import groupby

from phasegate.core.checks.metrics import Newest, Unmeasured
from phasegate.core.field_syntax import Span
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import AdapterError, ConfigError
from phasegate.gates.measurement import run_queries
from phasegate.ports import Warehouse

LOOKED_BACK = timedelta(days=60)
"""How far back the usual gaps of a schedule are looked for."""


def schedule_faults(pipeline: Pipeline, warehouse: Warehouse, now: datetime) -> Sequence[str]:
    """What is wrong with a pipeline's table of expected entities, in sentences without a full stop; none without a table.

    Without `ahead` it is wrong when more run dates up to yesterday expect nothing than ever did in a row.
    """
    expected, today = pipeline.calendar.expected, pipeline.today(now)
    if expected is None:
        return ()
    name = expected.table or "the query of calendar.expected"
    span = Span(today - LOOKED_BACK, today + max(expected.ahead or timedelta(), timedelta(days=1)))
    query = expected.counting_query()
    loaded = None if expected.loaded_at is None else Newest(expected.loaded_at, zone=pipeline.timezone)
    if loaded is not None:
        query = replace(query, metrics=(*query.metrics, loaded))
    try:
        answers = run_queries(warehouse, pipeline, [query], span, now=now)
    except (AdapterError, ConfigError) as error:
        return (f"{name} could not be counted: {error}",)
    dates = [day for day in span.days() if pipeline.calendar.has_run(day)]
    for day in dates:
        if isinstance(unmeasured := answers.expects(day), Unmeasured):
            return (f"{name} could not be counted: {unmeasured.reason}",)
    known = [day for day in dates if answers.expects(day)]
    faults = [_ends(pipeline, name, dates, known, today)]
    if loaded is not None and expected.fresh is not None:
        seconds = [answers.number(query.source, loaded, day) for day in dates]
        newest = max((float(second) for second in seconds if second is not None), default=None)
        age = None if newest is None else timedelta(seconds=now.timestamp() - newest)
        if age is None or age > expected.fresh:
            said = "never" if age is None else f"{_hours(age)} ago"
            faults.append(f"{name} was last loaded {said}, expected within {_hours(expected.fresh)}")
    return tuple(filter(None, faults))


def _ends(pipeline: Pipeline, name: str, dates: Sequence[date], known: Sequence[date], today: date) -> str:
    """Why the schedule ends too early; empty when it does not."""
    expected = pipeline.calendar.expected
    assert expected is not None
    last = known[-1] if known else None
    shown = f"after {last}" if last else f"from {dates[0]} on" if dates else ""
    if expected.ahead is not None:
        wanted = [day for day in dates if day <= today + expected.ahead]
        if wanted and (last is None or last < wanted[-1]):
            return f"{name} expects nothing {shown}, expected it to be known up to {wanted[-1]}"
        return ""
    gap = sum(day < today for day in dates if last is None or day > last)
    before = [day in known for day in dates if last is not None and day <= last]
    longest = max((len(tuple(run)) for is_known, run in groupby(before) if not is_known), default=0)
    return f"{name} expects nothing {shown}: {gap} run dates in a row, at most {longest} before" if gap > longest + 1 else ""


def _hours(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
