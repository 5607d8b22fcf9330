"""The README is true: its generated parts are current, its commands run, and its example is a valid pipeline file."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
SCREEN = 24
"""Lines of a terminal as it opens."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


LINES = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("phasegate ")]


def test_the_generated_parts_are_current() -> None:
    generate = runpy.run_path(str(REPO / "docs" / "generate.py"))
    assert generate["generated"](README) == README, "run `make docs`"


def test_the_first_command_is_on_the_first_screen() -> None:
    assert "```sh" in README.splitlines()[:SCREEN]


def test_every_make_target_exists() -> None:
    makefile = (REPO / "Makefile").read_text()
    calls = [line for line in LINES if line.startswith("make ")] + re.findall(r"`(make [a-z -]+)`", README)
    targets = {word for call in calls for word in call.split()[1:] if "=" not in word}
    assert {"demo", "test", "check", "deploy"} <= targets
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command: str, demo_folder: Path) -> None:
    """As a newcomer would run it after `make demo`; exit code 1 is a valid answer, too: a gate would be held."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "phasegate"), *shlex.split(command)[1:]],
        cwd=demo_folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.strip()
    assert not done.stderr


def test_the_example_is_a_valid_pipeline_file(tmp_path: Path) -> None:
    path = tmp_path / "readme.yaml"
    path.write_text(blocks("yaml")[0])
    done = subprocess.run(
        [str(Path(sys.executable).parent / "phasegate"), "config", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
