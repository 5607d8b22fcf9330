"""`phasegate validate` on the demo's year: formats, exit codes, and the number of queries."""

import csv
import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from phasegate.cli.formats import as_json
from phasegate.cli.output.validation import print_validation
from phasegate.core.checks.metrics import Cost
from phasegate.core.field_syntax import Span
from phasegate.core.gates.verdict import DateVerdict, Verdict
from phasegate.gates.backfill import Validation

from tests.cli.test_actions import run

# Five outputs, five pairs compared by key, one calendar.
QUERIES = 11


YEAR = pytest.param("2013-01-01..2013-12-31", marks=pytest.mark.slow)


@pytest.mark.parametrize("dates", ["2013-02-07", "2013-02-01..2013-02-28", YEAR])
def test_the_number_of_queries_does_not_depend_on_the_number_of_dates(demo_folder: Path, dates: str) -> None:
    assert json.loads(run(demo_folder, "validate", dates, "--format", "json").stdout)["queries"] == QUERIES


def test_json_has_the_keys_that_scripts_rely_on(demo_folder: Path) -> None:
    done = run(demo_folder, "validate", "2013-12-30..2013-12-31", "--format", "json")
    shown = json.loads(done.stdout)
    assert done.returncode == 1
    assert done.stderr == ""
    assert list(shown) == ["pipeline", "from", "to", "queries", "bytes_billed", "cost_usd", "seconds", "summary", "dates"]
    assert (shown["pipeline"], shown["from"], shown["to"]) == ("flights", "2013-12-30", "2013-12-31")
    assert shown["summary"] == {"pass": 0, "acceptable": 0, "fail": 2, "unverified": 0, "not_due": 0, "off": 0, "accepted": 0}
    last = shown["dates"][1]
    assert list(last) == ["date", "verdict", "score", "phases"]
    assert [phase["phase"] for phase in last["phases"]] == ["raw", "clean", "features", "predictions"]
    raw = last["phases"][0]
    assert list(raw) == ["phase", "verdict", "score", "checks"]
    failed = [check for check in raw["checks"] if check["outcome"] == "failed"]
    assert failed == [
        {
            "name": "raw.weather.row_count",
            "kind": "row_count",
            "table": "raw.weather",
            "severity": "block",
            "outcome": "failed",
            "measured": 0,
            "expected": "69 to 75",
            "message": "table raw.weather has 0 rows, expected 69 to 75",
        }
    ]


def test_the_cost_on_bigquery_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Next to the queries, as text and as JSON; for a warehouse that bills nothing the text leaves it out."""
    day = date(2013, 2, 8)
    billed = Validation("flights", Span(day, day), (DateVerdict(day, Verdict.PASS, 100.0, ()),), Cost(5, 2**30))
    print_validation(billed, 0.5)
    print_validation(replace(billed, cost=Cost(5)), 0.5)
    assert [line.partition("pass   ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "5 queries, 1,024 MiB billed ($0.0061), 0.50 s",
        "5 queries, 0.50 s",
    ]
    shown = json.loads(next(as_json(billed, 0.5)))
    assert (shown["queries"], shown["bytes_billed"], shown["cost_usd"]) == (5, 2**30, 0.006104)


def test_json_lines_has_a_date_per_line(demo_folder: Path) -> None:
    lines = run(demo_folder, "validate", "2013-02-01..2013-02-05", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["date"] for line in lines] == [f"2013-02-0{n}" for n in range(1, 6)]


def test_csv_has_a_row_per_check(demo_folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(demo_folder, "validate", "2013-02-08", "--format", "csv").stdout)))
    assert {row["date_verdict"] for row in rows} == {"acceptable"}
    assert len(rows) == len({row["name"] for row in rows}) > 40


def test_one_phase_queries_only_its_own_tables(demo_folder: Path) -> None:
    shown = json.loads(run(demo_folder, "validate", "2013-02-08", "--phase", "clean", "--format", "json").stdout)
    assert [phase["phase"] for phase in shown["dates"][0]["phases"]] == ["clean"]
    assert shown["queries"] < QUERIES


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["2013-02-07"], 0),
        (["2013-02-08"], 0),
        (["2013-02-08", "--strict"], 4),
        (["2013-12-31"], 1),
        (["2013-12-31", "--strict"], 1),
    ],
)
def test_exit_codes(demo_folder: Path, args: list[str], code: int) -> None:
    assert run(demo_folder, "validate", *args).returncode == code


@pytest.mark.slow
def test_the_table_of_a_range_shows_each_month_and_groups_by_cause(demo_folder: Path) -> None:
    shown = run(demo_folder, "validate", "2013-01-01..2013-12-31").stdout
    assert all(f"2013-{month:02} " in shown for month in range(1, 13))
    assert shown.count("raw.weather.row_count") == 2, "one line for what fails, one for what is amber"
    assert "flights 2013-01-01..2013-12-31: " in shown
