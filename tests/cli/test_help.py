"""The help of every command: one description, help for each option, and an example that parses."""

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from phasegate.cli.main import COMMANDS, load, phasegate, summary

CLI = Path(__file__).parents[2] / "shared/phasegate/cli"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its full name, those of groups too."""
    for name in COMMANDS:
        command = load(name)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", sub) for each, sub in command.commands.items())


ALL = dict(commands())


def help_of(name: str) -> str:
    """The help of one command, 80 columns wide."""
    parts = name.split()
    context = click.Context(phasegate, info_name="phasegate", terminal_width=80)
    command: click.Command = phasegate
    for part in parts:
        assert isinstance(command, click.Group)
        found = command.get_command(context, part)
        assert found is not None
        command = found
        context = click.Context(command, info_name=part, parent=context, terminal_width=80)
    return command.get_help(context)


def test_the_list_shows_the_first_line_of_each_docstring() -> None:
    """On one line each, so no description of a command is written a second time, or longer than the list has room for."""
    text = phasegate.get_help(click.Context(phasegate, info_name="phasegate", terminal_width=80))
    width = max(map(len, COMMANDS))
    for name in COMMANDS:
        function = ALL[name].callback
        assert function is not None
        first = (function.__doc__ or "").partition("\n")[0]
        assert f"  {name:<{width}}  {first}\n" in text
        assert summary(ALL[name]) == first


def test_no_description_is_written_twice() -> None:
    """Of the words for people, the module that lists the commands has none."""
    for where in COMMANDS.values():
        module, _, attribute = where.partition(":")
        assert (CLI / f"{module}.py").exists()
        assert attribute.isidentifier()
    literals = [
        node.value
        for path in CLI.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for name, command in ALL.items():
        assert sum(summary(command) in literal for literal in literals) == 1, name


@pytest.mark.parametrize("name", ALL)
def test_a_description_is_a_short_imperative_sentence(name: str) -> None:
    text = summary(ALL[name])
    assert text[0].isupper()
    assert text.endswith(".")
    assert len(text) <= 62
    first = text.split()[0]
    assert not first.endswith("s") or first == "Reprocess", f"{first} is no imperative"


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_help(name: str) -> None:
    for parameter in ALL[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("name", ALL)
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    """On one line, to paste; whether it then does something is another matter."""
    last = help_of(name).rstrip().splitlines()[-1]
    before, _, example = last.partition("Example: ")
    assert not before.strip()
    words = shlex.split(example.partition(" > ")[0])
    assert words[0] == "phasegate"
    assert words[1 : 1 + len(name.split())] == name.split()
    parse(words[1:])


def parse(words: list[str]) -> None:
    """Parse a command line as far as its command, and run nothing."""
    command, rest = ALL[words[0]], words[1:]
    if isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest)


def test_the_help_of_all_ends_with_the_exit_codes_and_an_example() -> None:
    text = phasegate.get_help(click.Context(phasegate, info_name="phasegate", terminal_width=80))
    assert [line.split()[0] for line in text.partition("Exit codes:\n")[2].splitlines()[:8]] == [*"012345", "130", "141"]
    assert text.rstrip().splitlines()[-1].startswith("  Example: phasegate validate ")


def test_a_command_imports_no_other() -> None:
    """Start-up is most of what a short command takes."""
    code = "from phasegate.cli.main import load; load('status'); import sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("phasegate.cli.")}
    assert loaded == {"phasegate.cli.encoding", "phasegate.cli.main", "phasegate.cli.options", "phasegate.cli.status"}


@pytest.mark.parametrize(
    ("instruction", "words", "answer"),
    [
        ("bash_source", {}, "complete -o nosort -F _phasegate_completion phasegate"),
        ("bash_complete", {"COMP_WORDS": "phasegate val", "COMP_CWORD": "1"}, "plain,validate"),
        ("bash_complete", {"COMP_WORDS": "phasegate validate --form", "COMP_CWORD": "2"}, "plain,--format"),
    ],
)
def test_shells_can_ask_for_completions(instruction: str, words: dict[str, str], answer: str) -> None:
    code = "from phasegate.cli.main import main; main([])"
    environ = {**os.environ, "_PHASEGATE_COMPLETE": instruction, **words}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
    assert answer in done.stdout
