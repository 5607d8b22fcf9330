"""The function `dead_letter`, as functions-framework serves it, and the command that replays what it stored."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.field_syntax import Span

from tests.flow.test_replay import given_up
from tests.serving import REPO, serving

PIPELINE = """
pipeline: tiny
calendar: {from: 2026-01-01}
phases:
  raw:
    outputs:
      raw.rows: {date: d}
"""
DAY = date(2026, 1, 5)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "tiny.yaml").write_text(PIPELINE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    (tmp_path / "tables/raw/rows.csv").write_text(f"d,n\n{DAY},1\n")
    environ = {
        "PHASEGATE_PIPELINES": str(tmp_path / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with serving(tmp_path, environ, REPO / "functions/dead_letter/main.py", target="dead_letter") as address:
        yield address


def post(address: str, body: bytes) -> int:
    request = urllib.request.Request(address, body, {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def replay(*args: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "phasegate"), "replay", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_dead_letter_is_stored_listed_and_replayed(served: str, tmp_path: Path) -> None:
    body = {"phase": "raw", "run_date": str(DAY), "status": "done"}
    hostile = json.dumps({"phase": "\x1b]0;owned\x07", "note": "[red]\u202e"}, ensure_ascii=False).encode()
    assert post(served, given_up(json.dumps(body).encode(), "d1", "phasegate-tiny-raw-complete")) == 204
    assert post(served, given_up(hostile, "\x1b[2Jd2", "\x1b[31mx", evil="\x1b[5m\u202e")) == 204
    assert post(served, b"\xff") == 204
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(served, timeout=10)

    listed = replay()
    assert listed.returncode == 0, listed.stderr
    assert "given up by phasegate-tiny-raw-complete after 20 attempts" in listed.stdout
    assert r"\x1b[2Jd2" in listed.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(listed.stdout), "nothing of it reaches the terminal"
    assert [each["id"] for each in json.loads(replay("--format", "json").stdout)][1:] == ["\x1b[2Jd2", "d1"]

    dry = replay("d1", "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[0]) == (
        0,
        "● d1: would be handled: raw reports done for tiny/raw/2026-01-05",
    )
    store = SQLiteStore(str(tmp_path / "state.sqlite"))
    assert store.load("tiny", Span(DAY, DAY)) == {}

    again = replay("d1")
    assert again.returncode == 0, again.stderr
    assert "tiny/raw/2026-01-05 is open" in again.stdout
    assert store.load("tiny", Span(DAY, DAY))[DAY]["raw"].is_open
    assert [event.trigger for event in store.history(store.load("tiny", Span(DAY, DAY))[DAY]["raw"].run)] == ["replay/d1"]

    gone = replay("d1")
    assert (gone.returncode, gone.stderr.splitlines()) == (
        2,
        ["error: not stored, or already replayed: d1; phasegate replay lists stored messages"],
    )
    rest = replay("--all")
    assert rest.returncode == 1
    assert rest.stdout.count("stays listed, still invalid") == 2
    assert "\x1b" not in rest.stdout
    assert replay(r"\x1b[2Jd2").returncode == 1, "an id as it is shown is understood"
    tomorrow = date.today() + timedelta(days=1)
    assert replay("--since", str(tomorrow)).stdout == "0 messages reprocessed\n"
    assert replay("--all", "d1").returncode == 2


def test_a_dead_letter_that_cannot_be_stored_is_redelivered(tmp_path: Path, served: str) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"no database")
    for name in ("state.sqlite-wal", "state.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(urllib.error.HTTPError, match="500"):
        post(served, given_up(b"{}"))
