"""`phasegate serve`: everything in one process."""

import os
from pathlib import Path

import click

from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.cli.options import example, location_options


@click.command(epilog=example("phasegate serve --state sqlite:state.sqlite --warehouse duckdb:tables.duckdb"))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to bind to. Requests are not authenticated: put an authenticating proxy in front of any other address.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one.")
@location_options("pipelines", "warehouse", "state", "bus")
def command(host: str, port: int, **locations: str | None) -> int:
    """Receive completions over HTTP and tick every minute.

    POST completions to /, in the formats that the function phase_monitor takes. POST anything to /tick to run a tick
    immediately. SIGTERM or Ctrl-C stops it.
    """
    from phasegate.app.serve import serve

    # Not `wired`, which keeps no log: a server logs what it does, like the functions.
    serve(Wiring(Settings.resolve(locations, os.environ, Path())), host, port)
    return 0
