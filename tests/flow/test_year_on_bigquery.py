"""The demo's year has the same verdicts on BigQuery, through its client, as on DuckDB: all 365 dates, every number."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from google.cloud.bigquery import Client, LoadJobConfig, SchemaField, SourceFormat, Table, TimePartitioning
from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse
from phasegate.adapters.warehouse.catalogue import googlesql_type
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.checks.base import CheckResult
from phasegate.demo.warehouse import YEAR
from phasegate.gates.backfill import Validation, validate
from phasegate.ports import Warehouse

from tests.bigquery import SOON

PIPELINE = load(Path(__file__).parents[2] / "shared/pipelines/flights.yaml")
LATER = datetime(2014, 1, 2, tzinfo=UTC)
UNDATED = ("raw.planes", "raw.airports", "raw.airlines")


@pytest.fixture
def loaded(bigquery_client: Client, demo_warehouse: Path, tmp_path: Path) -> Client:
    """The emulator with the demo's tables, each partitioned by its run date and not read without a filter on it."""
    with duckdb.connect(demo_warehouse, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in (*UNDATED, *PIPELINE.date_columns):
            kinds = connection.execute(f"DESCRIBE {name}").fetchall()
            file = tmp_path / f"{name}.parquet"
            connection.execute(f"COPY {name} TO '{file}' (FORMAT parquet)")
            upload(bigquery_client, name, [SchemaField(column, googlesql_type(kind)) for column, kind, *_ in kinds], file)
    return bigquery_client


def upload(client: Client, name: str, schema: list[SchemaField], file: Path) -> None:
    client.create_dataset(name.partition(".")[0], exists_ok=True, retry=SOON, timeout=10)
    table = Table(f"{client.project}.{name}", schema)
    if name not in UNDATED:
        table.time_partitioning = TimePartitioning(field=PIPELINE.date_columns[name])
        table.require_partition_filter = True
    client.create_table(table, retry=SOON, timeout=10)
    config = LoadJobConfig(source_format=SourceFormat.PARQUET, schema=schema, write_disposition="WRITE_APPEND")
    with file.open("rb") as content:
        job = client.load_table_from_file(content, table, job_config=config, size=file.stat().st_size, timeout=60)
        job.result(retry=SOON, timeout=120)


def judged(warehouse: Warehouse) -> Validation:
    return validate(PIPELINE, PIPELINE.phases, YEAR, warehouse=warehouse, now=LATER)


def rounded(result: CheckResult) -> CheckResult:
    """A result without the last digits of an average, which depend on the order of addition."""
    measured = float(f"{result.measured:.9g}") if isinstance(result.measured, float) else result.measured
    return replace(result, measured=measured)


def test_the_year_has_the_same_verdicts_as_on_one_machine(loaded: Client, demo_warehouse: Path) -> None:
    here = judged(DuckDBWarehouse(demo_warehouse))
    there = judged(BigQueryWarehouse(loaded.project, client=loaded, timeout=120, retry_timeout=5))

    assert there.cost.queries == here.cost.queries
    for ours, theirs in zip(here.dates, there.dates, strict=True):
        for own, other in zip(ours.phases, theirs.phases, strict=True):
            assert [rounded(result) for result in own.results] == [rounded(result) for result in other.results]
        assert (ours.run_date, ours.verdict, ours.score) == (theirs.run_date, theirs.verdict, theirs.score)
