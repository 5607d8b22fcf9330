"""What commands print, to the character and colour: golden files; PHASEGATE_GOLDEN=write writes them again.

A command that draws with rich has three: for a terminal of 80 and of 120 columns, and for a pipe. An escape character is shown as ␛.
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shop import Shop, opened

GOLDEN = Path(__file__).parent / "golden"
WRITE = os.environ.get("PHASEGATE_GOLDEN") == "write"

DRAWN = {
    "status": "status",
    "status_of_a_week": "status 2026-03-02..2026-03-09",
    "explain_overridden": "explain raw 2026-03-05",
    "explain_stale": "explain clean 2026-03-02",
    "explain_held": "explain clean 2026-03-05",
    "explain_degraded": "explain raw 2026-03-07",
    "explain_gap": "explain raw 2026-03-04",
    "explain_unverified": "explain report 2026-03-05",
    "explain_paused": "explain raw 2026-03-02",
    "explain_unknown": "explain raw 2026-03-10",
    "explain_measured_now": "explain raw 2026-03-03 --measure",
    "validate_a_date": "validate 2026-03-03",
    "validate_months": "validate 2026-01-01..2026-03-09",
    "validate_a_phase": "validate 2026-01-01..2026-03-09 --phase raw",
    "validate_an_accepted_gap": "validate 2026-03-04 --phase raw",
    "alerts": "alerts",
    "alerts_with_deliveries": "alerts --deliveries",
    "doctor": "doctor",
}
"""Commands that draw with rich: tables, colours, lines as wide as the terminal."""

PLAIN = {
    "preflight_go": "preflight raw 2026-03-09",
    "preflight_warning": "preflight clean 2026-03-07",
    "preflight_no_go": "preflight clean 2026-03-03",
    "preflight_unmeasured": "preflight report 2026-03-04",
    "preflight_json": "preflight clean 2026-03-03 --format json",
    "replay": "replay",
    "replay_dry_run": "replay --all --dry-run",
    "replay_since": "replay --since 2026-03-10 --dry-run",
    "silences": "silence",
    "override_dry_run": "override raw 2026-03-03 --check raw.orders.row_count --reason known --until 24h --by ann --dry-run",
    "override_of_several_dry_run": "override raw 2026-03-03..2026-03-08 --check raw.orders.row_count --reason known --until 24h --by ann --dry-run",
    "end_override_dry_run": "end-override raw 2026-03-05 --by ann --dry-run",
    "hold_dry_run": "hold raw 2026-03-05 --reason reload --until 4h --by ann --dry-run",
    "release_dry_run": "release clean 2026-03-05 --by ann --dry-run",
    "accept_gap_dry_run": "accept-gap raw 2026-03-03 --reason lost --owner bob --until 2026-12-31 --by ann --dry-run",
    "end_gap_dry_run": "end-gap raw 2026-03-04 --by ann --dry-run",
    "pause_dry_run": "pause raw --reason moving --until 4h --by ann --dry-run",
    "resume_dry_run": "resume report --by ann --dry-run",
    "refused": "release raw 2026-03-03 --by ann",
}
"""Commands that print lines as they are, wherever they go."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Read only."""
    with opened(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


def to_terminal(patch: pytest.MonkeyPatch, columns: int) -> None:
    """Let what follows print as to a terminal of that width and 256 colours."""
    for name in ("NO_COLOR", "COLORTERM"):
        patch.delenv(name, raising=False)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(columns)}.items():
        patch.setenv(name, value)


def to_pipe(patch: pytest.MonkeyPatch, columns: int) -> None:
    """Let what follows print as to a pipe that was opened in a terminal of that width."""
    patch.delenv("FORCE_COLOR", raising=False)
    patch.setenv("COLUMNS", str(columns))


def check(name: str, text: str) -> None:
    """Compare with a golden file, or write it."""
    path = GOLDEN / f"{name}.txt"
    shown = text.replace("\x1b", "␛")
    if WRITE:
        path.write_text(shown, "utf-8")
    assert shown == path.read_text("utf-8")


def printed(shop: Shop, command: str) -> str:
    """What a command prints, without what differs from run to run and from machine to machine."""
    done = shop.run(*command.split())
    text = done.stdout + "".join(f"stderr: {line}\n" for line in done.stderr.splitlines())
    text = re.sub(r"\d+\.\d\d s\b", "0.00 s", text)
    text = re.sub(r"\b[0-9a-f]{8}\b(?=  until)", "00000000", text)
    return re.sub(r"rules of \S+, from \S+", "rules of VERSION, from FOLDER", text) + f"exit code {done.returncode}\n"


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", DRAWN)
def test_in_a_terminal(shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    to_terminal(monkeypatch, columns)
    check(f"{name}.{columns}", printed(shop, DRAWN[name]))


@pytest.mark.parametrize("name", DRAWN)
def test_in_a_pipe(shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No colours, and lines of one width whatever the terminal's, for a log or for `grep`."""
    for columns in (80, 120):
        to_pipe(monkeypatch, columns)
        check(f"{name}.pipe", printed(shop, DRAWN[name]))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_lines_are_the_same_everywhere(shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    to_pipe(monkeypatch, 80)
    check(name, printed(shop, PLAIN[name]))
    to_terminal(monkeypatch, 80)
    check(name, printed(shop, PLAIN[name]))


def test_in_a_real_terminal(shop: Shop) -> None:
    """The same as where the environment says that it is one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environ = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "COLORTERM", "NO_COLOR")
    }
    command = [str(Path(sys.executable).parent / "phasegate"), "alerts"]
    done = subprocess.run(
        command,
        cwd=shop.folder,
        env={**environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    shown = read_all(ours).replace("\r\n", "\n").replace("\x1b", "␛")
    assert shown + f"exit code {done.returncode}\n" == (GOLDEN / "alerts.80.txt").read_text("utf-8")


def read_all(descriptor: int) -> str:
    """What is left in a terminal whose other end is closed; on Linux its end is an error."""
    pieces = []
    try:
        while piece := os.read(descriptor, 65_536):
            pieces.append(piece)
    except OSError:
        pass
    os.close(descriptor)
    return b"".join(pieces).decode()


def test_every_golden_file_belongs_to_a_test() -> None:
    expected = {f"{name}.{form}.txt" for name in DRAWN for form in ("80", "120", "pipe")} | {f"{name}.txt" for name in PLAIN}
    assert {path.name for path in GOLDEN.glob("*.txt") if not path.name.startswith("limits.")} == expected
