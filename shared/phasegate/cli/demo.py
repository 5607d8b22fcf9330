"""`phasegate demo`: a week of a real pipeline, on this machine."""

from pathlib import Path

import click

from phasegate.cli.options import located, wired

FOLDER = Path(".phasegate/demo")


@click.command(epilog="Example: phasegate demo")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, show_default=True)
@located("pipelines")
def command(folder: Path, pipelines: str | None) -> int:
    """Play a week of the flights of New York 2013: what goes wrong, how it is held, how it is repaired.

    Leaves warehouse, state and mails in the folder, where the other commands find them.
    """
    from phasegate.cli.output.validation import print_validation
    from phasegate.demo.story import Story

    found, seconds = Story(folder, wired(pipelines=pipelines).settings.pipelines, click.echo).play()
    print_validation(found, seconds)
    click.echo(_NEXT.format(folder=folder))
    return 0


_NEXT = """
What happened is kept in {folder}/; the alerts of the week are mails in {folder}/mails/team/. Try next:

  phasegate status 2013-02-04..2013-02-10        the week as a grid, and why what is not open is not
  phasegate explain raw 2013-02-06               one gate: who reported, what was measured, what was decided
  phasegate validate 2013-12-31                  a date that fails, check by check
  phasegate validate 2013-03-01..2013-03-31 --format json
  phasegate complete raw 2013-02-11 --producer flights_loader
  phasegate config check shared/pipelines/flights.yaml

(`make demo` has put the command into .venv/bin; `source .venv/bin/activate` brings it to hand.)
"""
