"""docs/operating.md is right: its commands run in order after the demo, and each action has the undo command that it names."""

import re
import shlex
from pathlib import Path
from shutil import copytree

from phasegate.cli.main import load

from tests.cli.test_actions import run

TEXT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_its_commands_run_in_order(demo_folder: Path, tmp_path: Path) -> None:
    """Exit code 1 is fine, too: a gate is held."""
    copytree(demo_folder, tmp_path, dirs_exist_ok=True, symlinks=True)
    for command in COMMANDS:
        done = run(tmp_path, *shlex.split(command)[1:])
        assert done.returncode in (0, 1), f"{command}: {done.stderr}"
        assert done.stdout, command
        assert "refused" not in done.stderr, command
    overridden = run(tmp_path, "explain", "raw", "2013-10-25").stdout
    assert "is failing, generation 1" in overridden, "the override has ended, and the table is as it was"
    assert "by hand: " in overridden
    gap = run(tmp_path, "explain", "raw", "2013-12-30").stdout
    assert gap.index(": gap accepted until ") < gap.index(": end of the accepted gap")


def test_each_command_of_its_table_exists() -> None:
    rows = re.findall(r"^\| to .*?\| `([a-z-]+) .*\| `([a-z-]+)` \|$", TEXT, re.MULTILINE)
    assert len(rows) == 4
    for pair in rows:
        assert [load(name).name for name in pair] == list(pair)
