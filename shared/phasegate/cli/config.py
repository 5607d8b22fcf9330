"""`phasegate config`: check pipeline files, print their schema, show settings."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phasegate.app.settings import Settings
from phasegate.cli.options import example, location_options
from phasegate.errors import Problem

if TYPE_CHECKING:
    from phasegate.core.pipeline.model import Pipeline


@click.group(epilog=example("phasegate config check shared/pipelines/flights.yaml"))
def command() -> None:
    """Check pipeline files, print their JSON Schema, show settings."""


@command.command(epilog=example("phasegate config check shared/pipelines/flights.yaml"))
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--secrets", is_flag=True, help="Also check the secrets that alert destinations need.")
@location_options("pipelines")
def check(path: Path | None, secrets: bool, pipelines: str | None) -> int:
    """Check a pipeline file, or all files of a folder.

    Reports every problem with its line. SQL is also parsed; SQL that runs only on BigQuery is a note, not a problem.
    """
    from phasegate.app.pipeline_file import load_all
    from phasegate.app.pipeline_sql import bigquery_only, pattern_problems, syntax_problems
    from phasegate.app.wiring import Wiring

    # A file can be checked where there is no state and no warehouse, as in CI.
    settings = Settings.resolve({"pipelines": str(path) if path else pipelines}, os.environ, Path())
    wiring = Wiring(settings)

    def more(pipeline: "Pipeline") -> Iterator[Problem]:
        yield from syntax_problems(pipeline, wiring.check_sql)
        yield from pattern_problems(pipeline, wiring.check_pattern)

    loaded = load_all(settings.pipelines, more=more)
    if secrets:
        wiring.check_secrets()
    for pipeline in loaded:
        checks = sum(len(placed) for phase in pipeline.phases for placed in pipeline.checks(phase).values())
        outputs = sum(len(phase.outputs) for phase in pipeline.phases.values())
        click.echo(f"{pipeline.name}: {len(pipeline.phases)} phases, {outputs} outputs, {checks} checks, no problems")
        if not pipeline.alerts.routes:
            click.echo(f"note: {pipeline.name} has no alerts.routes, so no alert goes out", err=True)
        for note in bigquery_only(pipeline, wiring.check_sql):
            click.echo(f"note: only BigQuery can run {note}", err=True)
    return 0


@command.command(epilog=example("phasegate config schema > pipeline.schema.json"))
def schema() -> int:
    """Print the JSON Schema of the pipeline file, for editors."""
    from phasegate.app.pipeline_file import schema_text

    click.echo(schema_text(), nl=False)
    return 0


@command.command(epilog=example("phasegate config env"))
@location_options("pipelines", "warehouse", "state", "bus")
def env(pipelines: str | None, warehouse: str | None, state: str | None, bus: str | None) -> int:
    """Show every setting, its value and where the value comes from."""
    options = {"pipelines": pipelines, "warehouse": warehouse, "state": state, "bus": bus}
    for setting in Settings.resolve(options, os.environ, Path()).entries:
        click.echo(f"{setting.name:<21} {setting.value or '(not set)':<45} {setting.source}")
    return 0
