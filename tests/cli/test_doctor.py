"""`phasegate doctor` on one machine: its findings as a table and as JSON, and its exit codes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.cli.main import main
from phasegate.gates.heartbeat import Heartbeats

FILE = """
pipeline: shop
calendar: {from: 2026-01-01}
phases:
  raw:
    outputs:
      raw.orders: {date: day, key: [day, id]}
alerts:
  destinations: {screen: {kind: console}}
  routes: [{to: [screen]}]
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A healthy installation on this machine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(FILE)
    with duckdb.connect(str(tmp_path / "w.duckdb")) as con:
        con.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (day DATE, id VARCHAR)")
    for name, value in {
        "PIPELINES": "shop.yaml",
        "WAREHOUSE": "duckdb:w.duckdb",
        "STATE": "sqlite:s.sqlite",
        "BUS": "local:",
    }.items():
        monkeypatch.setenv(f"PHASEGATE_{name}", value)
    store = SQLiteStore(str(tmp_path / "s.sqlite"))
    Heartbeats(store, store).record("watch", datetime.now(UTC))
    return tmp_path


def doctor(*options: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *options])
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("shop")
def test_a_healthy_installation_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--format", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["summary"] == {"ok": 8, "wrong": 0, "could not look": 0}
    assert {finding["subject"] for finding in shown["findings"]} == {
        "destinations of shop", "gates of shop", "table raw.orders", "dataset raw", "calendar of shop", "time zones (UTC)", "clock", "heartbeat",
    }  # fmt: skip
    assert {finding["health"] for finding in shown["findings"]} == {"ok"}


def test_problems_come_first_each_with_its_fix(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with duckdb.connect(str(shop / "w.duckdb")) as con:
        con.execute("ALTER TABLE raw.orders DROP id; CREATE TABLE raw.strange (x INT)")
    assert doctor() == 1
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        "✗ wrong          table raw.orders      column id is missing",
        "    correct the table, or its columns in the pipeline file of shop",
        "✗ wrong          dataset raw           no pipeline file names raw.strange",
        "    list each under outputs: of a phase, or under unwatched:, in a pipeline file",
    ]
    assert lines[-1] == "2 wrong, 6 ok"


def test_what_could_not_be_checked_has_an_exit_code_of_its_own(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "w.duckdb").unlink()
    assert doctor() == 3
    assert "? could not look table raw.orders      no warehouse at w.duckdb" in capsys.readouterr().out


def test_wait_checks_again_until_the_time_is_up(shop: Path) -> None:
    (shop / "w.duckdb").unlink()
    assert doctor("--wait", "1s") == 3
    assert doctor("--wait", "soon") == 2


def test_an_unreadable_secret_is_wrong_and_the_fix_names_its_variable(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = FILE.replace("{screen: {kind: console}}", "{screen: {kind: slack, webhook: secret://chat}}")
    (shop / "shop.yaml").write_text(chat)
    assert doctor() == 1
    assert "wrong          secret chat           secret://chat is missing: set PHASEGATE_SECRET_CHAT" in capsys.readouterr().out
    monkeypatch.setenv("PHASEGATE_SECRET_CHAT", "https://hooks.slack.com/services/x")
    assert doctor() == 0
    assert "hooks.slack.com" not in capsys.readouterr().out
