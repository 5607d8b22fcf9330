"""`phasegate serve`: everything in one process."""

import os
from pathlib import Path

import click

from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.cli.options import located


@click.command(epilog="Example: phasegate serve --state sqlite:state.sqlite --warehouse duckdb:tables.duckdb")
@click.option("--host", default="127.0.0.1", show_default=True, help="Whoever reaches it can report completions.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@located("pipelines", "warehouse", "state", "bus")
def command(host: str, port: int, **locations: str | None) -> int:
    """Take completions over HTTP and tick every minute, until stopped.

    POST completions to /, in the bodies that the function phase_monitor takes; POST anything to /tick for a tick at once.
    """
    from phasegate.app.serve import serve

    serve(Wiring(Settings.resolve(locations, os.environ, Path())), host, port)
    return 0
