"""`phasegate validate`: judge past run dates."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from phasegate.cli.options import (
    choose_phases,
    choose_pipeline,
    example,
    location_options,
    phases_option,
    pipeline_option,
    wired,
)
from phasegate.core.field_syntax import Span
from phasegate.core.gates.verdict import Verdict
from phasegate.gates.backfill import Validation, parse_range, validate
from phasegate.gates.measurement import Progress

_BAR_FROM = 31
"""Number of dates from which a progress bar is shown."""

validation_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="Output format.",
)


@click.command(epilog=example("phasegate validate 2013-02-01..2013-02-28 --format json"))
@click.argument("dates")
@pipeline_option
@phases_option
@validation_format_option
@click.option("--strict", is_flag=True, help="Exit with 4 when there are warnings: results that are acceptable, but amber.")
@location_options("pipelines", "warehouse", "state")
def command(
    dates: str,
    pipeline_name: str | None,
    phases: tuple[str, ...],
    form: str,
    strict: bool,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Validate past dates with the same rules as the gates.

    DATES is a date, or FIRST..LAST, both included. Each table is queried once, however long the range is. Nothing is written.
    The worst problems come first, grouped by cause.

    Exits with 1 when a date fails, with 3 when one could not be measured.
    """
    started = time.perf_counter()
    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = choose_pipeline(wiring, pipeline_name)
    now = wiring.clock.now()
    span = parse_range(dates, pipeline, now=now)
    chosen = choose_phases(pipeline, phases)
    with bar(span) as progress:
        validation = validate(
            pipeline,
            chosen,
            span,
            warehouse=wiring.warehouse,
            now=now,
            known=wiring.stored_gates(pipeline.name, span),
            progress=progress,
        )
    write(validation, form, time.perf_counter() - started)
    if wiring.missing_state:
        click.echo(f"note: no state at {wiring.missing_state}, so no override and no accepted gap counts here", err=True)
    return _exit_code(validation, strict=strict)


def _exit_code(validation: Validation, *, strict: bool) -> int:
    summary = validation.summary
    # A certain failure outweighs what could not be measured.
    if summary[Verdict.FAIL]:
        return 1
    if summary[Verdict.UNVERIFIED]:
        return 3
    return 4 if strict and summary[Verdict.ACCEPTABLE] else 0


def write(validation: Validation, form: str, seconds: float) -> None:
    """Print a validation to standard output in one of the formats."""
    if form == "table":
        from phasegate.cli.output.validation import print_validation

        print_validation(validation, seconds)
        return
    from phasegate.cli import formats

    pieces = {"json": formats.as_json, "jsonl": formats.as_json_lines, "csv": formats.as_csv}[form]
    for piece in pieces(validation, seconds):
        sys.stdout.write(piece)


@contextmanager
def bar(span: Span) -> Iterator[Progress | None]:
    """A progress bar on standard error, for a long range and in a terminal only."""
    if len(span.days()) < _BAR_FROM or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TextColumn("tables  {task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda table, done, total: bar.update(task, description=table, completed=done, total=total)
