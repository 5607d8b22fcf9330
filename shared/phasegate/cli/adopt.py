"""`phasegate adopt`: take over the history of a pipeline."""

import time
from datetime import date, timedelta

import click

from phasegate.cli.options import (
    by_option,
    choose_phases,
    choose_pipeline,
    dry_run_option,
    example,
    location_options,
    phases_option,
    pipeline_option,
    wired,
)
from phasegate.cli.validate import bar, validation_format_option, write
from phasegate.core.field_syntax import Span
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.gates.adoption import Adopted, Adoption, adopt
from phasegate.gates.backfill import parse_range

_SHOWN = 5
"""Gates that the summary names; it counts the others."""


@click.command(epilog=example("phasegate adopt 2013-01-01..2013-03-31 --dry-run"))
@click.argument("dates", required=False)
@pipeline_option
@phases_option
@by_option
@dry_run_option
@validation_format_option
@location_options("pipelines", "warehouse", "state")
def command(
    dates: str | None,
    pipeline_name: str | None,
    phases: tuple[str, ...],
    by: str | None,
    dry_run: bool,
    form: str,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Take over past dates as their tables are.

    DATES is a date, or FIRST..LAST, both included; by default the whole calendar up to yesterday. Each table is queried once. A
    gate whose tables pass is recorded as open (adopted), one whose tables fail as a known gap, which lasts until you end it
    with phasegate end-gap. No go-signal and no alert goes out. Gates that exist stay as they are, so the command can be
    repeated and resumed. Prints the report of phasegate validate.

    Exits with 3 when a date could not be measured; it is left as it was.
    """
    started = time.perf_counter()
    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = choose_pipeline(wiring, pipeline_name)
    now = wiring.clock.now()
    span = _history(pipeline, pipeline.today(now)) if dates is None else parse_range(dates, pipeline, now=now)
    chosen = choose_phases(pipeline, phases)
    with bar(span) as progress:
        adoption = adopt(
            pipeline,
            chosen,
            span,
            warehouse=wiring.warehouse,
            known=wiring.stored_gates(pipeline.name, span),
            store=None if dry_run else wiring.store,
            now=now,
            by=wiring.actor(by),
            progress=progress,
        )
    write(adoption.validation, form, time.perf_counter() - started)
    click.echo(_summary(adoption, dry_run=dry_run), err=True)
    return 3 if adoption.count(Adopted.UNVERIFIED) else 0


def _history(pipeline: Pipeline, today: date) -> Span:
    """Every date of the calendar before today.

    Raises:
        ConfigError: There is none.
    """
    first, last = pipeline.calendar.from_, today - timedelta(days=1)
    last = min(last, pipeline.calendar.to or last)
    if last < first:
        raise ConfigError(f"pipeline {pipeline.name} has no run date before today; its calendar begins on {first}")
    return Span(first, last)


def _summary(adoption: Adoption, *, dry_run: bool) -> str:
    """What was recorded, and the gates that were not."""
    opened, gaps, off = (adoption.count(outcome) for outcome in (Adopted.OPEN, Adopted.GAP, Adopted.OFF))
    counts = f"{opened:,} gates open, {gaps:,} known gap{'' if gaps == 1 else 's'}, {off:,} off"
    lines = [f"{'would adopt' if dry_run else 'adopted'}: {counts}"]
    for outcome in (Adopted.GAP, Adopted.KNOWN, Adopted.UNVERIFIED, Adopted.NOT_DUE):
        if runs := adoption.of(outcome):
            names = ", ".join(f"{run.phase} {run.run_date}" for run in runs[:_SHOWN])
            more = f" and {len(runs) - _SHOWN:,} more" if len(runs) > _SHOWN else ""
            lines.append(f"{outcome}: {names}{more}")
    if adoption.count(Adopted.GAP):
        lines.append("end a known gap with: phasegate end-gap PHASE DATES")
    if dry_run:
        lines.append("nothing was changed")
    return "\n".join(lines)
