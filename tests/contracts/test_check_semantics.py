"""phasegate on DuckDB says of random small tables what a plain Python reference says of them."""

import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.core.gates.verdict import judge_phase
from phasegate.gates.measurement import measure

from tests.check_reference import COLUMNS, DAYS, Check, Row, a_check, a_table, outcomes

pytestmark = pytest.mark.slow  # hundreds of random tables

TABLES = int(os.environ.get("CHECKED_TABLES", "500"))
"""How many are compared; set it higher to compare more."""
AT_ONCE = 250


def the_pipeline(checks: list[list[Check]]) -> str:
    """One output for each table; bounds stand in the file as they are written."""
    outputs = "".join(
        f"      raw.t{n}: {{date: day, may_be_empty: true, checks: {_written(each, n)}}}\n" for n, each in enumerate(checks)
    )
    return (
        "pipeline: random\ncalendar: {from: 2024-01-01}\nphases:\n  raw:\n    due: 06:00 +1d\n    outputs:\n"
        f"      raw.other: {{date: day, may_be_empty: true}}\n{outputs}"
    )


def _written(checks: list[Check], n: int) -> str:
    named = [{kind: {**said, "name": f"t{n}c{at}"}} for at, each in enumerate(checks) for kind, said in each.items()]
    return _flow(named).replace("{table}", f"raw.t{n}")


def _flow(value: object, key: str = "") -> str:
    """YAML, with the texts that are numbers left bare."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {_flow(each, name)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(_flow(each, key) for each in value) + "]"
        case _:
            bare = key in ("between", "at_least", "at_most", "above", "below", "min", "max", "null_ok")
            bare |= key == "values" and str(value).lstrip("-")[:1].isdigit()
            return str(value) if bare else json.dumps(value)


def create(path: Path, tables: dict[str, list[Row]]) -> None:
    """Write the tables into a DuckDB file."""
    declared = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    with duckdb.connect(path) as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA raw")
        for name, rows in tables.items():
            connection.execute(f"CREATE TABLE raw.{name} ({declared})")
            for row in rows:
                values = [value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for value in row.values()]
                connection.execute(f"INSERT INTO raw.{name} VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608


def differences(seed: int, count: int, folder: Path) -> Iterator[str]:
    """Where the two don't agree, for so many tables with three checks each."""
    dice = random.Random(seed)  # noqa: S311
    other = a_table(dice, 12)
    tables = [a_table(dice) for _ in range(count)]
    checks = [[a_check(dice) for _ in range(3)] for _ in range(count)]
    create(folder / f"{seed}.duckdb", {"other": other} | {f"t{n}": rows for n, rows in enumerate(tables)})
    (folder / "random.yaml").write_text(the_pipeline(checks))
    pipeline = load(folder / "random.yaml")
    answers = measure(DuckDBWarehouse(folder / f"{seed}.duckdb"), pipeline, ["raw"], Span(DAYS[0], DAYS[-1]))
    for day in DAYS:
        for output in judge_phase(pipeline, "raw", day, answers).outputs[1:]:
            n = int(output.table.removeprefix("raw.t"))
            by_name = sorted(output.results, key=lambda each: each.name)
            for at, wanted in enumerate(outcomes(checks[n], tables[n], other, day)):
                result = by_name[at]
                if result.outcome != wanted:
                    yield f"{checks[n][at]} on {day}: expected {wanted}, got {result.outcome} ({result.message}): {tables[n]}"


@pytest.mark.parametrize("seed", range(-(-TABLES // AT_ONCE)))
def test_every_kind_says_what_the_reference_says(seed, tmp_path):
    assert list(differences(seed, min(AT_ONCE, TABLES), tmp_path)) == []
