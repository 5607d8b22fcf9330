"""Write the generated parts of README.md: what happens when, kinds of checks, commands, settings.

Run as `make docs`; a test fails while the committed text is not what this writes.
"""

import re
from dataclasses import fields
from pathlib import Path

import click
from phasegate.cli.main import COMMANDS, load
from phasegate.config import DESCRIPTIONS, OPTIONS
from phasegate.core.checks import BaseCheck
from phasegate.core.decide import RULES
from phasegate.core.kinds import KINDS

README = Path(__file__).parents[1] / "README.md"


def rules() -> str:
    """The gate's rules, row by row."""
    rows = [(str(n), rule.when, rule.then, rule.said) for n, rule in enumerate(RULES, 1)]
    return table(("", "when", "the gate is then", "published"), rows)


def kinds() -> str:
    """Every kind of check, what it says and what it takes of its own."""
    common = {field.name for field in fields(BaseCheck)}
    rows = []
    for name, kind in KINDS.items():
        own = [field.name for field in fields(kind) if field.name not in common]
        rows.append((f"`{name}`", first_sentence(kind), ", ".join(f"`{field}`" for field in own)))
    every = ", ".join(f"`{field.name}`" for field in fields(BaseCheck))
    return table(("kind", "passes when", "its own keys"), rows) + f"\nEvery kind also takes {every}.\n"


def commands() -> str:
    """Every command with its arguments and options."""
    rows = []
    for name in COMMANDS:
        command = load(name)
        group = command.commands.values() if isinstance(command, click.Group) else [command]
        for each in group:
            full = name if each is command else f"{name} {each.name}"
            arguments = [f" {p.name.upper()}" for p in each.params if isinstance(p, click.Argument) and p.name]
            options = [f"`{p.opts[0]}`" for p in each.params if isinstance(p, click.Option)]
            rows.append((f"`{full}{''.join(arguments)}`", first_sentence(each.callback), " ".join(options)))
    return table(("command", "does", "options"), rows)


def settings() -> str:
    """Every setting, its option and its variable."""
    rows = [
        (f"`--{name}`" if name in OPTIONS else "", f"`PHASEGATE_{name.upper()}`", text) for name, text in DESCRIPTIONS.items()
    ]
    return table(("option", "environment", "what"), rows)


def first_sentence(thing: object) -> str:
    """The first line of a docstring, without its full stop."""
    return (thing.__doc__ or "").strip().splitlines()[0].strip().rstrip(".")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


PARTS = {"rules": rules, "kinds": kinds, "commands": commands, "settings": settings}


def generated(text: str) -> str:
    """The text with every generated part as it should be."""
    for name, write in PARTS.items():
        pattern = re.compile(rf"(<!-- {name}: generated -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, write=write: found[1] + write() + found[2], text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"README.md: expected one part <!-- {name}: generated --> … <!-- end -->, got {count}")
    return text


if __name__ == "__main__":
    README.write_text(generated(README.read_text()))
