"""`phasegate adopt`: what it prints, its exit codes, and that a dry run leaves nothing behind."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from phasegate.testing import ManualClock

from tests.cli.test_actions import Done, run

pytestmark = pytest.mark.slow  # it opens files

FILE = """\
pipeline: shop
calendar: {from: 2024-02-01}
phases:
  raw: {due: 06:00 +1d, outputs: {raw.orders: {date: day}, raw.items: {date: day}}}
"""
CLOCK = ManualClock(datetime(2024, 2, 6, 12, tzinfo=UTC))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.yaml").write_text(FILE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    rows = "".join(f"2024-02-0{n},1\n" for n in range(1, 6))
    (tmp_path / "tables/raw/orders.csv").write_text(f"day,id\n{rows}")
    (tmp_path / "tables/raw/items.csv").write_text(f"day,id\n{rows.replace('2024-02-03,1', '2024-01-03,1')}")
    for name, value in {"PIPELINES": "shop.yaml", "WAREHOUSE": "duckdb:tables", "STATE": "sqlite:state.sqlite"}.items():
        monkeypatch.setenv(f"PHASEGATE_{name}", value)
    return tmp_path


def adopt(folder: Path, *args: str) -> Done:
    return run(folder, "adopt", *args, clock=CLOCK)


def test_a_history_is_adopted_up_to_yesterday(folder: Path) -> None:
    dry = adopt(folder, "--dry-run", "--by", "ann")
    assert dry.returncode == 0
    assert dry.stderr == (
        "would adopt: 4 gates open, 1 known gap, 0 off\n"
        "known gap: raw 2024-02-03\n"
        "end a known gap with: phasegate end-gap PHASE DATES\n"
        "nothing was changed\n"
    )
    assert not (folder / "state.sqlite").exists()
    done = adopt(folder, "--format", "json", "--by", "ann")
    assert done.stderr.startswith("adopted: 4 gates open, 1 known gap, 0 off\n")
    assert [day["verdict"] for day in json.loads(done.stdout)["dates"]] == ["pass", "pass", "fail", "pass", "pass"]
    status = run(folder, "status", "2024-02-01..2024-02-05", clock=CLOCK)
    assert "○ adopted" in status.stdout
    assert "phasegate end-gap raw 2024-02-03 --pipeline shop" in status.stdout
    again = adopt(folder)
    assert again.stderr.startswith("adopted: 0 gates open, 0 known gaps, 0 off\nknown already: raw 2024-02-01, ")


def test_what_could_not_be_measured_is_named_and_the_exit_code_says_so(folder: Path) -> None:
    (folder / "tables/raw/items.csv").unlink()
    done = adopt(folder, "2024-02-01..2024-02-02")
    assert done.returncode == 3
    assert "could not be measured: raw 2024-02-01, raw 2024-02-02\n" in done.stderr
    assert "0 known gaps" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["2024-02-06", "--phase", "rwa"], 'unknown phase "rwa"'),
        (["2024-03-01"], "is in the future"),
        (["2023-01-01"], "contains no run date"),
        (["tomorrow"], "expected a date"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(folder: Path, args: list[str], message: str) -> None:
    done = adopt(folder, *args)
    assert (done.returncode, message in done.stderr) == (2, True)
    assert not (folder / "state.sqlite").exists()


def test_a_calendar_that_begins_today_has_no_history(folder: Path) -> None:
    (folder / "shop.yaml").write_text(FILE.replace("2024-02-01", "2024-02-06"))
    done = adopt(folder)
    assert (done.returncode, done.stderr) == (
        2,
        "error: pipeline shop has no run date before today; its calendar begins on 2024-02-06\n",
    )
