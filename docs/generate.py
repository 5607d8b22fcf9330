"""Write the generated parts of README.md, docs/alerts.md and infra/README.md.

Run it with `make docs`. A test fails when a committed text differs from what this writes.
"""

import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from email import message_from_bytes, policy
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from phasegate.app.settings import DESCRIPTIONS, OPTIONS
from phasegate.cli.main import COMMANDS, load, summary
from phasegate.core.checks.base import BaseCheck
from phasegate.core.checks.kinds import KINDS
from phasegate.core.gates.decide import RULES
from phasegate.demo.story import Story

README = Path(__file__).parents[1] / "README.md"
SHARED = README.parent / "shared"
INFRA = README.parent / "infra"


def rules() -> str:
    """The gate's rules, row by row."""
    rows = [(str(n), rule.when, rule.then, rule.published) for n, rule in enumerate(RULES, 1)]
    return table(("", "when", "the gate is then", "published"), rows)


def kinds() -> str:
    """Every kind of check: when it passes, and its own keys."""
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
        group = [command]
        if isinstance(command, click.Group):
            group = [*([command] if command.invoke_without_command else []), *command.commands.values()]
        for each in group:
            full = name if each is command else f"{name} {each.name}"
            arguments = [f" {p.make_metavar(click.Context(each))}" for p in each.params if isinstance(p, click.Argument)]
            options = [f"`{p.opts[0]}`" for p in each.params if isinstance(p, click.Option)]
            rows.append((f"`{full}{''.join(arguments)}`", summary(each).rstrip("."), " ".join(options)))
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


def events() -> str:
    """The demo's five incidents, each as the plain part of its first mail."""
    with TemporaryDirectory() as folder:
        Story(Path(folder), SHARED / "pipelines", lambda _: None).play()
        paths = Path(folder, "mails", "team").glob("*_first-*.eml")
        mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in paths]
    mails.sort(key=lambda mail: mail["Date"].datetime)
    texts = ["\n".join(mail.get_body(("plain",)).get_content().strip().splitlines()) for mail in mails]
    parts = [f"### {mail['Subject']}\n\n```text\n{text}\n```\n" for mail, text in zip(mails, texts, strict=True)]
    return "\n" + "\n".join(parts) + "\n"


def blocks(file: Path, kind: str) -> Iterator[tuple[str, str]]:
    """The blocks `KIND "NAME" {` of a Terraform file, as `terraform fmt` writes them: names and what is in them."""
    yield from re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}', file.read_text(), re.MULTILINE | re.DOTALL)


def argument(block: str, name: str) -> str:
    """The value of an argument of a block, as it is written; empty when it is absent."""
    match = re.search(rf"^  {name} += (<<-EOT\n.*?^  EOT|.*?)$(?=\n  \w|\n\n|\n?\Z)", block, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


def description(block: str) -> str:
    """The description of a variable or output, on one line; each field of an object begins a new one, with its default."""
    text = argument(block, "description")
    if not text.startswith("<<"):
        return text[1:-1].replace('\\"', '"')
    defaults = dict(re.findall(r"^    (\w+) += optional\(.*?, (.*)\)$", argument(block, "type"), re.MULTILINE))
    lines = [line.strip() for line in text.splitlines()[1:-1]]
    return " ".join(
        re.sub(
            r"^(\w+): ",
            lambda name: f"<br>`{name[1]}`{f' (`{defaults[name[1]]}`)' if name[1] in defaults else ''}: ",
            line,
        )
        for line in lines
    )


def variables() -> str:
    """Every variable of the module; one without a default is required."""
    rows = []
    for name, block in blocks(INFRA / "variables.tf", "variable"):
        default = argument(block, "default")
        rows.append((f"`{name}`", description(block), f"`{default}`" if default else "required"))
    return table(("variable", "what", "default"), rows)


def outputs() -> str:
    """Every output of the module."""
    rows = [(f"`{name}`", description(block)) for name, block in blocks(INFRA / "outputs.tf", "output")]
    return table(("output", "what"), rows)


def deployers() -> str:
    """The project roles of the accounts of Cloud Build, and why each is needed."""
    text = (INFRA / "bootstrap/main.tf").read_text()
    rows = []
    for account in ("deploy", "check"):
        (listed,) = re.findall(rf"^  {account} = {{\n(.*?)^  }}", text, re.MULTILINE | re.DOTALL)
        roles = re.findall(r'"roles/([\w.]+)" += "(.*)"', listed)
        rows += [(f"`{account}`", f"`{role}`", "project", why) for role, why in roles]
    return table(("account", "role", "on", "why"), rows)


def cost() -> str:
    """What an installation costs, and under which assumptions."""
    costs = runpy.run_path(str(INFRA / "costs.py"))
    return str(costs["table"]((10, 100, 1_000), costs["Assumptions"]()))


PARTS = {"rules": rules, "kinds": kinds, "commands": commands, "settings": settings}
"""Of the README."""

ALERTS = {"events": events}
"""Of docs/alerts.md."""

INFRA_PARTS = {"cost": cost, "deployers": deployers, "variables": variables, "outputs": outputs}
"""Of infra/README.md."""


def generated(text: str, parts: Mapping[str, Callable[[], str]] = PARTS) -> str:
    """The text with every generated part rewritten."""
    for name, write in parts.items():
        pattern = re.compile(rf"(<!-- {name}: generated -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda markers, write=write: markers[1] + write() + markers[2], text)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"expected one part <!-- {name}: generated --> … <!-- end -->, got {count}")
    return text


if __name__ == "__main__":
    for path, parts in ((README, PARTS), (README.parent / "docs" / "alerts.md", ALERTS), (INFRA / "README.md", INFRA_PARTS)):
        path.write_text(generated(path.read_text(), parts))
