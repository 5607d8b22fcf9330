"""The state in a file that can't be written, is not there, or is made by two processes at once."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from phasegate.adapters.state.sqlite import SQLiteHistory, SQLiteStore
from phasegate.errors import StateError
from phasegate.ports import Change

pytestmark = pytest.mark.slow  # each test starts processes of its own

PHASEGATE = Path(sys.executable).parent / "phasegate"
PIPELINE = """
pipeline: shop
calendar: {from: 2024-01-01}
phases:
  raw:
    outputs:
      raw.orders: {date: day}
"""
DAY = "2024-02-05"
READING = [
    ("status", DAY),
    ("explain", "raw", DAY),
    ("alerts",),
    ("alerts", "--deliveries"),
    ("replay",),
    ("silence",),
    ("validate", DAY),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(PIPELINE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    (tmp_path / "tables/raw/orders.csv").write_text(f"day,id\n{DAY},1\n")
    (tmp_path / "kept").mkdir()
    return tmp_path


def command(folder: Path, *args: str, state: str = "kept/state.sqlite") -> subprocess.CompletedProcess[str]:
    places = {"PHASEGATE_PIPELINES": "shop.yaml", "PHASEGATE_WAREHOUSE": "duckdb:tables", "PHASEGATE_STATE": f"sqlite:{state}"}
    # Root may write everything, unless that right is dropped.
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    line = [*prefix, str(PHASEGATE), *args]
    return subprocess.run(line, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True, check=False)


def close(folder: Path) -> None:
    """Let nobody write the state."""
    for path in (folder / "kept").iterdir():
        path.chmod(0o444)
    (folder / "kept").chmod(0o555)


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_reading_commands_work_on_a_state_that_cannot_be_written(folder: Path, args: tuple[str, ...]) -> None:
    assert command(folder, "complete", "raw", DAY).returncode == 0
    before = command(folder, *args)
    close(folder)
    done = command(folder, *args)
    assert (done.returncode, done.stderr) == (before.returncode, before.stderr) == (0, ""), done.stderr
    if args[0] != "validate":  # which says how long it took
        assert done.stdout == before.stdout
    assert [path.name for path in (folder / "kept").iterdir()] == ["state.sqlite"]


@pytest.mark.parametrize(
    "args",
    [("complete", "raw", DAY), ("hold", "raw", DAY, "--reason", "x", "--by", "ann"), ("pause", "--reason", "x", "--until", "1d", "--by", "a")],
    ids=" ".join,
)  # fmt: skip
def test_writing_commands_say_that_the_state_cannot_be_written(folder: Path, args: tuple[str, ...]) -> None:
    assert command(folder, "complete", "raw", DAY).returncode == 0
    close(folder)
    done = command(folder, *args)
    assert done.returncode == 3
    assert done.stderr == "error: state at kept/state.sqlite: it can be read, but not written\n"


@pytest.mark.parametrize("args", [args for args in READING if args[0] != "validate"], ids=" ".join)
@pytest.mark.parametrize("state", ["typo/new.sqlite", "kept/stat.sqlite"])
def test_reading_commands_never_create_a_state(folder: Path, args: tuple[str, ...], state: str) -> None:
    done = command(folder, *args, state=state)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"error: no state at {state}; check the path, or start phasegate serve, which creates it\n"
    assert not list((folder / "kept").iterdir())
    assert not (folder / "typo").exists()


def test_explain_without_a_date_takes_the_newest_that_needs_a_person(folder: Path) -> None:
    none = command(folder, "explain", "raw")
    assert (none.returncode, none.stderr.startswith("error: no state at")) == (3, True)
    for day in ("2024-02-03", "2024-02-04", DAY):
        command(folder, "complete", "raw", day)
    assert command(folder, "explain", "raw").stdout.startswith("✗ shop/raw/2024-02-04 is held")
    (folder / "tables/raw/orders.csv").write_text("day,id\n2024-02-03,1\n2024-02-04,1\n2024-02-05,1\n")
    for day in ("2024-02-03", "2024-02-04"):
        command(folder, "complete", "raw", day)
    assert command(folder, "explain", "raw").stdout.startswith("● shop/raw/2024-02-05 is open")


def test_validate_needs_no_state_but_says_that_it_has_none(folder: Path) -> None:
    done = command(folder, "validate", DAY, "--format", "jsonl", state="typo/new.sqlite")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert done.stderr == "note: no state at typo/new.sqlite, so no override and no accepted gap counts here\n"
    assert not (folder / "typo").exists()


def test_a_log_that_was_not_written_back_is_no_reason_to_show_old_gates(folder: Path) -> None:
    """A copy of a database without its write-ahead log lacks the last commits."""
    assert command(folder, "complete", "raw", DAY).returncode == 0
    (folder / "kept/state.sqlite-wal").write_bytes(b"not empty")
    close(folder)
    done = command(folder, "status", DAY)
    assert (done.returncode, done.stdout) == (3, "")


def test_a_state_that_can_be_read_only_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(folder / "kept/state.sqlite")
    SQLiteStore(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    store = SQLiteStore(path)
    assert store.latest("shop") is None
    with pytest.raises(StateError, match="not written") as caught:
        store.commit(Change(handled="m"))
    assert not caught.value.retryable


def _open_both(path: str, start: Callable[[], object], failures: "multiprocessing.Queue[str]") -> None:
    start()
    try:
        SQLiteStore(path)
        SQLiteHistory(path)
    except StateError as error:
        failures.put(str(error))


def test_first_use_by_two_processes_at_once_is_safe(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    for pair in range(60):
        barrier = context.Barrier(2)
        path = str(tmp_path / f"{pair}.sqlite")
        both = [context.Process(target=_open_both, args=(path, barrier.wait, failures)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join()
            assert process.exitcode == 0
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert failures.empty(), failures.get()
