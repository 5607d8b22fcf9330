"""The README says what is so: generated parts are current, and its commands run."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
MAKE = {"demo", "test", "check", "schema", "docs", "bench"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("phasegate ")]


def test_the_generated_parts_are_current() -> None:
    generate = runpy.run_path(str(REPO / "docs" / "generate.py"))
    assert generate["generated"](README) == README, "run `make docs`"


def test_every_make_target_that_it_names_exists() -> None:
    makefile = (REPO / "Makefile").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert named
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in named)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command: str, demo_folder: Path) -> None:
    """As a newcomer would run it after `make demo`; 1 is an answer too: a gate would be held."""
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


def test_its_pipeline_file_is_right(tmp_path: Path) -> None:
    path = tmp_path / "readme.yaml"
    path.write_text(blocks("yaml")[0])
    done = subprocess.run(
        [str(Path(sys.executable).parent / "phasegate"), "config", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
