"""docs/extending.md is right: its blocks apply to a copy of the repository, and its commands then succeed there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, which
from textwrap import dedent

import pytest

REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "extending.md"
BLOCK = re.compile(r"(?:(New file|In) `([^`]+)`:\n\n)?^( *)```(\w+)\n(.*?)^\3```$", re.MULTILINE | re.DOTALL)
SECTIONS = {section.partition("\n")[0]: section.partition("\n")[2] for section in PAGE.read_text().split("\n## ")[1:]}


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of the page.

    Args:
        path: The file that it is about; a block without one is about the same file as the block before.
    """

    path: str
    language: str
    text: str


def blocks(section: str) -> Iterator[Block]:
    path = ""
    for _, named, _, language, text in BLOCK.findall(section):
        path = named or path
        yield Block(path, language, dedent(text))


def patched(text: str, patch: str, path: str) -> str:
    """A file's text with a block applied; the lines that it removes or shows must be there once."""
    lines = [(line[:1] or " ", line[1:]) for line in patch.splitlines()]
    before = "\n".join(line for sign, line in lines if sign in "- ")
    after = "\n".join(line for sign, line in lines if sign in "+ ")
    assert f"\n{text}".count(f"\n{before}\n") == 1, f"{path} does not have these lines once:\n{before}"
    return f"\n{text}".replace(f"\n{before}\n", f"\n{after}\n")[1:]


def apply(block: Block, repo: Path) -> None:
    target = repo / block.path
    if block.language == "diff":
        target.write_text(patched(target.read_text(), block.text, block.path))
    else:
        assert not target.exists(), f"{block.path} exists already"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text)


PROGRAMS = {
    "ruff": '-m ruff "$@"',
    "pytest": '-m pytest -q -p no:cacheprovider "$@"',
    "phasegate": "-c 'from phasegate.cli.main import main; main()' \"$@\"",
}


@pytest.fixture
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository to change. Not in `tmp_path`, which is searched for the secrets that the tests contain."""
    root = tmp_path_factory.mktemp("repository")
    for folder in ("shared", "tests", "docs"):
        copytree(REPO / folder, root / folder, symlinks=True)
    for file in ("Makefile", "README.md", "pytest.ini", "ruff.toml"):
        (root / file).write_bytes((REPO / file).read_bytes())
    (root / "bin").mkdir()
    # The programs of the environment, with the package of the copy.
    programs = {name: f'exec "{sys.executable}" {arguments}' for name, arguments in PROGRAMS.items()}
    programs["make"] = f'exec {which("make")} --old-file .venv/dev BIN="{root / "bin"}" "$@"'
    for name, line in programs.items():
        (root / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (root / "bin" / name).chmod(0o755)
    return root


def run(command: str, repo: Path) -> "subprocess.CompletedProcess[str]":
    environ = {
        **os.environ,
        "PATH": f"{repo / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(repo / "shared"),
        "PHASEGATE_EMULATORS": "none",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # loading them takes longer than most of the tests
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=repo, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_works_as_it_is_written(title: str, copy: Path) -> None:
    commands: list[str] = []
    changed: set[str] = set()
    printed = ""
    for block in blocks(SECTIONS[title]):
        if block.language == "sh":
            for command in block.text.splitlines():
                done = run(command, copy)
                assert done.returncode in ((0, 1) if command.startswith("phasegate") else (0,)), done.stdout + done.stderr
                printed = done.stdout
                commands.append(command)
        elif block.language == "text":
            missing = [line for line in block.text.splitlines() if line not in printed]
            assert not missing, f"{commands[-1]} printed:\n{printed}"
        else:
            apply(block, copy)
            changed.add(block.path)
    assert commands, "a section shows that it works"
    python = " ".join(path for path in changed if path.endswith(".py"))
    style = run(f"ruff check {python} && ruff format --check {python}", copy)
    assert style.returncode == 0, style.stdout


def test_every_test_that_it_names_exists() -> None:
    names = set(re.findall(r"\btest_\w+\.py\b", PAGE.read_text()))
    assert names
    assert not [name for name in names if not list((REPO / "tests").rglob(name)) and f"/{name}`:" not in PAGE.read_text()]
