"""`phasegate demo`: a week of a real pipeline, on this machine."""

from pathlib import Path

import click

from phasegate.cli.options import example, location_options, wired

FOLDER = Path(".phasegate/demo")


@click.command(epilog=example("phasegate demo"))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default=True,
    help="Folder for the warehouse, the state and the mails.",
)
@location_options("pipelines")
def command(folder: Path, pipelines: str | None) -> int:
    """Play a week of a real pipeline on this machine.

    The data are flights from New York in February 2013. The demo shows what breaks, how gates are held, and how each problem is
    repaired. The warehouse, the state and the mails stay in the folder, where the other commands find them.
    """
    from phasegate.cli.output.validation import print_validation
    from phasegate.demo.story import Story

    validation, seconds = Story(folder, wired(pipelines=pipelines).settings.pipelines, click.echo).play()
    print_validation(validation, seconds)
    click.echo(_NEXT.format(folder=folder))
    return 0


_NEXT = """
The week's state and tables are in {folder}/, its alerts as mails in {folder}/mails/team/. Try next:

  phasegate status 2013-02-04..2013-02-10        the week as a grid, and why some gates are not open
  phasegate explain raw 2013-02-06               one gate: reports, measurements, decisions
  phasegate validate 2013-12-31                  a date that fails, check by check
  phasegate validate 2013-03-01..2013-03-31 --format json
  phasegate complete raw 2013-02-11 --producer flights_loader
  phasegate config check shared/pipelines/flights.yaml

(`make demo` installed the command in .venv/bin; run `source .venv/bin/activate` to use it.)
"""
