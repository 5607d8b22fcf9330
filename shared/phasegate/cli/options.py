"""Options that commands share, and what they make of them."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from phasegate.app.settings import DESCRIPTIONS, Settings
from phasegate.app.wiring import DIGEST, Wiring
from phasegate.core.field_syntax import parse_day, parse_duration
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.logs import silent
from phasegate.ports import Clock

F = TypeVar("F", bound=Callable[..., Any])


def located(*names: str) -> Callable[[F], F]:
    """Options that say where things are; each also has an environment variable, PHASEGATE_NAME."""

    def add(function: F) -> F:
        for name in reversed(names):
            function = click.option(f"--{name}", metavar="WHERE", help=DESCRIPTIONS[name].replace("`", ""))(function)
        return function

    return add


pipeline_option = click.option(
    "--pipeline", "pipeline_name", metavar="NAME", help="Which pipeline; not needed when there is one."
)

by_option = click.option("--by", metavar="WHO", help="Who does it: the login name, when left out; never in the cloud.")


def wired(**options: str | None) -> Wiring:
    """The wiring that options, environment and defaults make together."""
    # `main` hands its clock down as the context's object, so that a test can set the time.
    clock: Clock | None = click.get_current_context().obj
    return Wiring(Settings.resolve(options, os.environ, Path()), clock=clock, log=silent, digest=os.environ.get(DIGEST, ""))


def chosen(wiring: Wiring, name: str | None) -> Pipeline:
    """The pipeline that is meant.

    Raises:
        ConfigError: There is none of that name, or several and none was named.
    """
    known = {pipeline.name: pipeline for pipeline in wiring.pipelines}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    names = ", ".join(known)
    if name is None:
        raise ConfigError(f"there are several pipelines; say which with --pipeline ({names})")
    if name not in known:
        raise ConfigError(f'unknown pipeline "{name}"; known pipelines: {names}')
    return known[name]


def moment(text: str | None, option: str, default: datetime) -> datetime:
    """A time given as an option, or *default*."""
    if text is None:
        return default
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f'{option}: expected a time like 2013-02-09T05:20:00Z, got "{text}"') from None
    return given if given.tzinfo else given.replace(tzinfo=default.tzinfo)


def end(text: str, pipeline: Pipeline, now: datetime) -> datetime:
    """When something ends that a person begins now: after `24h`, with the day `2013-02-09`, or at `2013-02-09T12:00`.

    Raises:
        ConfigError: It is none of these.
    """
    try:
        return now + parse_duration(text)
    except ValueError:
        pass
    try:
        day = parse_day(text) + timedelta(days=1)
        return datetime.combine(day, time(), pipeline.zone).astimezone(UTC)
    except ValueError:
        pass
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f'--until: expected a span like 24h, a last day like 2013-02-09 or a time like 2013-02-09T12:00, got "{text}"'
        ) from None
    return (given if given.tzinfo else given.replace(tzinfo=pipeline.zone)).astimezone(UTC)
