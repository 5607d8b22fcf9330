"""Bad input: one clear line on standard error, nothing on standard output, and the right exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_actions import run

BROKEN = {
    "broken.yaml": "pipeline: [shop\n",
    "kind.yaml": """
pipeline: shop
calendar: {from: 2013-01-01}
phases:
  raw:
    outputs:
      raw.flights: {date: flight_date, checks: [{rowcount: {at_least: 1}}]}
""",
    "column.yaml": """
pipeline: shop
calendar: {from: 2013-01-01}
phases:
  raw:
    outputs:
      raw.flights: {date: flight_date, checks: [{not_null: {columns: [dep_tme]}}, {distinct: {column: origin, at_least: 1}}]}
""",
    "sql.yaml": """
pipeline: shop
calendar: {from: 2013-01-01}
phases:
  raw:
    outputs:
      raw.flights: {date: flight_date, checks: [{invariant: {that: "dep_delay > "}}]}
""",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in BROKEN.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["validate", "2013-02-08", "--pipeline", "trains"], 2, 'unknown pipeline "trains"; known pipelines: flights'),
        (["validate", "2013-02-08", "--phase", "cleen"], 2, 'unknown phase "cleen" in pipeline "flights"; known phases: raw, clean, features, predictions'),
        (["validate", "TODAY"], 2, 'expected a date like 2013-02-08 or a range like 2013-02-01..2013-02-28, got "TODAY"'),
        (["validate", "2013-02-30"], 2, 'got "2013-02-30"'),
        (["validate", "2999-01-01"], 2, "2999-01-01 is in the future"),
        (["validate", "2013-02-28..2013-02-01"], 2, "the range is reversed: 2013-02-28 is after 2013-02-01"),
        (["validate", "2012-02-01..2012-02-28"], 2, "contains no run date of pipeline flights; its calendar runs from 2013-01-01 to 2013-12-31"),
        (["validate", "2013-02-08", "--warehouse", "duckdb:nowhere.duckdb"], 3, "no warehouse at nowhere.duckdb"),
        (["validate", "2013-02-08", "--warehouse", "oracle:x"], 2, "--warehouse: expected duckdb:PATH or bigquery:PROJECT"),
        (["validate", "2013-02-08", "--pipelines", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["validate", "2013-02-08", "--format", "xml"], 2, "'xml' is not one of"),
        (["explain", "raw", "2013-02-01..2013-02-02"], 2, "expected one date"),
        (["complete", "raw", "2013-02-08"], 2, "choose one with --producer (flights_loader, weather_loader)"),
        (["complete", "raw", "TODAY", "--producer", "flights_loader"], 2, 'got "TODAY"'),
        (["complete", "raw", "2013-02-08", "--producer", "nobody"], 2, 'unknown producer "nobody" of phase raw'),
        (["complete", "raw", "2999-02-08", "--producer", "flights_loader"], 2, "too far in the future"),
    ],
)  # fmt: skip
def test_the_answer_is_one_line_and_the_right_exit_code(demo_folder: Path, args: list[str], code: int, error: str) -> None:
    done = run(demo_folder, *args)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "Error: "))]
    assert len(lines) == 1
    assert error in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("broken.yaml", "broken.yaml:"),
        ("kind.yaml", "row_count"),
        ("sql.yaml", "dep_delay >"),
    ],
)
def test_a_broken_pipeline_file_is_refused_with_its_place(files: Path, file: str, error: str) -> None:
    done = run(files, "config", "check", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert error in done.stderr
    assert file in done.stderr


def test_a_missing_column_affects_only_its_check(files: Path, demo_folder: Path) -> None:
    warehouse = f"duckdb:{demo_folder / '.phasegate/demo/warehouse.duckdb'}"
    done = run(files, "validate", "2013-02-08", "--pipelines", "column.yaml", "--warehouse", warehouse)
    assert done.returncode == 3
    assert "no column dep_tme" in done.stdout
    assert "3 distinct values" in done.stdout


def test_invalid_sql_is_wrong_usage_for_validate_too(files: Path, demo_folder: Path) -> None:
    warehouse = f"duckdb:{demo_folder / '.phasegate/demo/warehouse.duckdb'}"
    done = run(files, "validate", "2013-02-08", "--pipelines", "sql.yaml", "--warehouse", warehouse)
    assert (done.returncode, done.stdout) == (2, "")
    assert "dep_delay >" in done.stderr


def test_the_installed_command_does_the_same(demo_folder: Path) -> None:
    command = [str(Path(sys.executable).parent / "phasegate"), "validate", "TODAY"]
    done = subprocess.run(command, cwd=demo_folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: expected a date like 2013-02-08")


def test_debug_adds_the_traceback(demo_folder: Path) -> None:
    assert "Traceback" in run(demo_folder, "--debug", "validate", "TODAY").stderr


def test_a_missing_setting_says_how_to_set_it(tmp_path: Path) -> None:
    done = run(tmp_path, "validate", "2013-02-08")
    assert done.returncode == 2
    assert "PHASEGATE_PIPELINES" in done.stderr
