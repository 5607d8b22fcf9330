"""`phasegate`: every command, and what its errors look like."""

import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from phasegate.errors import ActionRefused, ConfigError, MessageError, PhasegateError

if TYPE_CHECKING:
    from phasegate.ports import Clock  # brings most of core, which `phasegate --version` need not wait for

COMMANDS = {
    "accept-gap": "actions:accept_gap",
    "ack": "ack:command",
    "alerts": "alerts:command",
    "complete": "complete:command",
    "config": "config:command",
    "demo": "demo:command",
    "doctor": "doctor:command",
    "end-gap": "actions:end_gap",
    "end-override": "actions:end_override",
    "explain": "explain:command",
    "hold": "actions:hold",
    "override": "actions:override",
    "pause": "actions:pause",
    "preflight": "preflight:command",
    "release": "actions:release",
    "replay": "replay:command",
    "resume": "actions:resume",
    "serve": "serve:command",
    "silence": "silence:command",
    "status": "status:command",
    "validate": "validate:command",
}
"""Module and name of each command. Its description is the first line of its docstring, and is written nowhere else."""

EXIT_CODES = """\b
Exit codes:
  0  all passed
  1  a gate would be held, or something is wrong
  2  wrong usage: an option, a date, a pipeline file, a setting
  3  could not find out: the warehouse or the state store did not answer
  4  warnings, with --strict
"""


def load(name: str) -> click.Command:
    """A command, from the module it is in."""
    module, _, attribute = COMMANDS[name].partition(":")
    command: click.Command = getattr(import_module(f"phasegate.cli.{module}"), attribute)
    return command


def summary(command: click.Command) -> str:
    """The one line that describes a command."""
    return (command.help or "").partition("\n")[0]


class Commands(click.Group):
    """The commands. Calling one imports only its module; listing all imports all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, or None."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their names and descriptions, uncut: click itself would shorten them to fit a line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(load(name))) for name in COMMANDS])


@click.command(cls=Commands, epilog=EXIT_CODES + "\n\nExample: phasegate validate 2013-02-01..2013-02-28")
@click.option("--debug", is_flag=True, help="Print the traceback of an error, too.")
@click.version_option(package_name="phasegate")
def phasegate(debug: bool) -> None:
    """Open or hold the gates between the phases of a data pipeline, by what each phase wrote."""


def main(args: list[str] | None = None, *, clock: "Clock | None" = None) -> None:
    """Run the command line: one line per known error, and an exit code that says which kind it is.

    Args:
        clock: The system's, when left out.
    """
    arguments = sys.argv[1:] if args is None else args
    try:
        # In standalone mode click would print errors itself and choose the exit code.
        code: Any = phasegate.main(arguments, standalone_mode=False, obj=clock)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)  # what shells report for a command that SIGINT ended
    except PhasegateError as error:
        for line in str(error).splitlines() or ["unknown error"]:
            click.echo(f"error: {line}", err=True)
        if "--debug" in arguments:
            traceback.print_exc()
        sys.exit(exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)


def exit_code(error: PhasegateError) -> int:
    """2 when the caller can fix it, 3 when an outside system did not answer."""
    return 2 if isinstance(error, ConfigError | MessageError | ActionRefused) else 3
