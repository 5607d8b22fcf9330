"""Options that commands share, and the values they stand for."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, TypeVar

import click

from phasegate.app.settings import DESCRIPTIONS, Settings
from phasegate.app.wiring import DIGEST, Wiring
from phasegate.core.field_syntax import parse_day, parse_duration
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.ports import Clock

F = TypeVar("F", bound=Callable[..., Any])


def example(command: str) -> str:
    """The end of a command's help: something to run."""
    # \b keeps it on one line, or it could not be pasted.
    return f"\b\nExample: {command}"


def location_options(*names: str) -> Callable[[F], F]:
    """Options that say where things are; each also has an environment variable, PHASEGATE_NAME."""

    def add(function: F) -> F:
        for name in reversed(names):
            function = click.option(f"--{name}", metavar="WHERE", help=DESCRIPTIONS[name].replace("`", ""))(function)
        return function

    return add


pipeline_option = click.option(
    "--pipeline", "pipeline_name", metavar="NAME", help="Which pipeline; optional when there is only one."
)

by_option = click.option(
    "--by",
    metavar="WHO",
    help="Your name; by default the login name. In the cloud your credentials identify you, and --by is refused.",
)

phases_option = click.option("--phase", "phases", metavar="PHASE", multiple=True, help="Only this phase; can be repeated.")

dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")

format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Output format."
)

text_format_option = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)

UNTIL = "24h, a last day like 2013-02-09, or a time like 2013-02-09T12:00."
"""Help for `--until`: what `parse_until` takes."""


def wired(**options: str | None) -> Wiring:
    """The wiring that options, environment and defaults make together."""
    return _wired(options, reads_only=False)


def wired_to_read(**options: str | None) -> Wiring:
    """The same for a command that stores nothing: a state store that is missing is an error, and is not created."""
    return _wired(options, reads_only=True)


def _wired(options: Mapping[str, str | None], *, reads_only: bool) -> Wiring:
    # `main` hands its clock down as the context's object, so that a test can set the time.
    clock: Clock | None = click.get_current_context().obj
    settings = Settings.resolve(options, os.environ, Path())
    digest = os.environ.get(DIGEST, "")
    return Wiring(settings, clock=clock, log=_log, digest=digest, reads_only=reads_only, one_shot=True)


def _log(event: str, *, severity: str = "INFO", **fields: object) -> None:  # noqa: ARG001 (a `Log`)
    """What of the log a person must know who called a command: an alert that this process could not send."""
    if event == "notice_left":
        from phasegate.cli.output.text import visible

        reason = visible(str(fields["error"]))
        click.echo(f"note: the alert for {fields['destination']} is left to the process that ticks: {reason}", err=True)


def choose_phases(pipeline: Pipeline, names: Sequence[str]) -> Sequence[str]:
    """The named phases, or all of a pipeline's.

    Raises:
        UnknownPhase: It has no phase of this name. That is refused before anything is measured, and billed.
    """
    for name in names:
        pipeline.phase(name)
    return names or tuple(pipeline.phases)


def choose_pipeline(wiring: Wiring, name: str | None) -> Pipeline:
    """The pipeline of that name, or the only one.

    Raises:
        ConfigError: There is none of that name, or there are several and none was named.
    """
    pipelines = {pipeline.name: pipeline for pipeline in wiring.pipelines}
    if name is None and len(pipelines) == 1:
        return next(iter(pipelines.values()))
    names = ", ".join(pipelines)
    if name is None:
        raise ConfigError(f"there are several pipelines; choose one with --pipeline ({names})")
    if name not in pipelines:
        raise ConfigError(f'unknown pipeline "{name}"; known pipelines: {names}')
    return pipelines[name]


def parse_time(text: str | None, option: str, default: datetime) -> datetime:
    """A time given as an option, or *default*; without a time zone it is in that of *default*.

    Raises:
        ConfigError: It is no time.
    """
    if text is None:
        return default
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f'{option}: expected a time like 2013-02-09T05:20:00Z, got "{text}"') from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=default.tzinfo)


def parse_until(text: str, pipeline: Pipeline, now: datetime) -> datetime:
    """When something that begins now is to end: after `24h`, with the day `2013-02-09`, or at `2013-02-09T12:00`.

    Days and times without a time zone are the pipeline's.

    Raises:
        ConfigError: It is none of these.
    """
    try:
        return now + parse_duration(text)
    except ValueError:
        pass
    try:
        # The whole of the day, in the zone in which it was given: so it can be shown as it was given.
        return datetime.combine(parse_day(text), time.max, pipeline.zone)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f'--until: expected a span like 24h, a last day like 2013-02-09 or a time like 2013-02-09T12:00, got "{text}"'
        ) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=pipeline.zone)).astimezone(UTC)
