"""`phasegate validate`: judge past run dates."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from phasegate.cli.options import chosen, located, pipeline_option, wired
from phasegate.core.gates.verdict import Verdict
from phasegate.gates.backfill import Validation, parse_range, validate
from phasegate.gates.measurement import Progress

_LONG = 31
"""Dates from which a bar shows the progress."""


@click.command(epilog="Example: phasegate validate 2013-02-01..2013-02-28 --format json")
@click.argument("dates")
@pipeline_option
@click.option("--phase", "phases", metavar="PHASE", multiple=True, help="Only this phase; may be given again.")
@click.option("--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True)
@click.option("--strict", is_flag=True, help="Exit with 4 when something is amber.")
@located("pipelines", "warehouse", "state")
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
    """Judge DATES (one date, or FIRST..LAST with both included) by the rules of the gates.

    Every table is asked once, however long the range. Nothing is written. The worst comes first, grouped by cause.
    """
    started = time.perf_counter()
    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = chosen(wiring, pipeline_name)
    now = wiring.clock.now()
    span = parse_range(dates, pipeline, now=now)
    for phase in phases:
        pipeline.phase(phase)
    with _bar(len(span.days()) >= _LONG) as progress:
        found = validate(
            pipeline,
            phases or tuple(pipeline.phases),
            span,
            warehouse=wiring.warehouse,
            now=now,
            known=wiring.stored_gates(pipeline.name, span),
            progress=progress,
        )
    _print(found, form, time.perf_counter() - started)
    return _code(found, strict=strict)


def _code(found: Validation, *, strict: bool) -> int:
    summary = found.summary
    if summary[Verdict.FAIL]:
        return 1
    if summary[Verdict.UNVERIFIED]:
        return 3
    return 4 if strict and summary[Verdict.ACCEPTABLE] else 0


def _print(found: Validation, form: str, seconds: float) -> None:
    if form == "table":
        from phasegate.cli.output.validation import print_validation

        print_validation(found, seconds)
        return
    from phasegate.cli import formats

    write = {"json": formats.as_json, "jsonl": formats.as_json_lines, "csv": formats.as_csv}[form]
    for piece in write(found, seconds):
        sys.stdout.write(piece)


@contextmanager
def _bar(wanted: bool) -> Iterator[Progress | None]:
    """A progress bar on standard error, when a person watches and it may take a while."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TextColumn("tables  {task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda table, done, total: bar.update(task, description=table, completed=done, total=total)
