"""`phasegate`: every command, and what its errors look like."""

import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from phasegate.errors import ActionRefused, AdapterError, ConfigError, MessageError, PhasegateError

if TYPE_CHECKING:
    from phasegate.ports import Clock  # brings most of core, which `phasegate --version` need not wait for

COMMANDS = {
    "accept-gap": "Live with a gap until a date.",
    "ack": "Say that you look after an incident.",
    "alerts": "Show the incidents that last, and whether alerts arrive.",
    "complete": "Report a completion by hand, as a producer would.",
    "config": "Check a pipeline file, print its schema, show the settings.",
    "demo": "Play a week of a real pipeline on this machine.",
    "doctor": "Look whether everything is as it must be, and say what mends it.",
    "end-gap": "No longer live with a gap.",
    "end-override": "End an override.",
    "explain": "Say why a gate stands where it stands.",
    "hold": "Let a gate release nothing, by hand.",
    "override": "Let named failing checks pass, until a time.",
    "pause": "Let a pipeline or a phase release nothing, until a time.",
    "preflight": "Say whether a phase may start.",
    "release": "End a hold.",
    "replay": "Put messages that had no effect through again.",
    "resume": "End a pause.",
    "serve": "Take completions over HTTP and tick every minute, in one process.",
    "silence": "Let nobody be told of something for a while.",
    "status": "Show the gates of the last days.",
    "validate": "Judge past run dates by the rules of the gates.",
}

_BY_HAND = ("accept-gap", "end-gap", "end-override", "hold", "override", "pause", "release", "resume")

EXIT_CODES = """\b
Exit codes:
  0  all passed
  1  a gate would be held; something is wrong
  2  wrong usage: an option, a date, a pipeline file, a setting
  3  could not find out: warehouse or state did not answer
  4  warnings, with --strict
"""


def load(name: str) -> click.Command:
    """A command, from the module of its name, or from the one of everything that is done by hand."""
    module, found = ("actions", name.replace("-", "_")) if name in _BY_HAND else (name, "command")
    command: click.Command = getattr(import_module(f"phasegate.cli.{module}"), found)
    return command


class Commands(click.Group):
    """The commands, each imported when it is called, so that one costs nothing to the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, from the module of its name."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their names and lines, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, epilog=EXIT_CODES + "\n\nExample: phasegate validate 2013-02-01..2013-02-28")
@click.option("--debug", is_flag=True, help="Add the traceback to an error.")
@click.version_option(package_name="phasegate")
def phasegate(debug: bool) -> None:
    """Gates between the phases of a data pipeline: judge what a phase wrote, open the way to the next, or say why not."""


def main(args: list[str] | None = None, *, clock: "Clock | None" = None) -> None:
    """Run the command line: one line per known error, and an exit code that says which kind it is.

    Args:
        clock: The system's, when left out.
    """
    arguments = sys.argv[1:] if args is None else args
    try:
        code: Any = phasegate.main(arguments, standalone_mode=False, obj=clock)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except PhasegateError as error:
        for line in str(error).splitlines() or ["unknown error"]:
            click.echo(f"error: {line}", err=True)
        if "--debug" in arguments:
            traceback.print_exc()
        sys.exit(exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)


def exit_code(error: PhasegateError) -> int:
    """2 when the asker can mend it, 3 when an outside system did not answer."""
    return 3 if isinstance(error, AdapterError) else 2 if isinstance(error, ConfigError | MessageError | ActionRefused) else 3
