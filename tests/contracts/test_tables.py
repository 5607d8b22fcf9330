"""The contract of `phasegate.installation.platform.Tables`: how warehouses describe their tables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.errors import WarehouseError
from phasegate.installation.platform import Table, Tables

from tests.contracts.conftest import WAREHOUSES

if TYPE_CHECKING:
    from google.cloud.bigquery import Client


@dataclass(frozen=True)
class Backend:
    """A warehouse with `raw.orders`, partitioned where possible, and `raw.plain`."""

    tables: Tables
    partition: Callable[[str], str | None]


@pytest.fixture
def duckdb_tables(tmp_path: Path) -> Backend:
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (Day DATE, id BIGINT, made TIMESTAMPTZ)")
        con.execute("CREATE TABLE raw.plain (id VARCHAR)")
    return Backend(DuckDBWarehouse(path), lambda _: None)


@pytest.fixture
def bigquery_tables(bigquery_client: "Client") -> Backend:
    from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse

    from tests.bigquery import create

    create(bigquery_client, "raw.orders", "Day DATE, id INT64, made TIMESTAMP", partition="Day")
    create(bigquery_client, "raw.plain", "id STRING")
    warehouse = BigQueryWarehouse(bigquery_client.project, client=bigquery_client, timeout=30, retry_timeout=5)
    return Backend(warehouse, lambda column: column)


@pytest.fixture(params=WAREHOUSES)
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = request.getfixturevalue(f"{request.param}_tables")
    return made


def test_a_table_has_its_columns_and_partitioning(backend: Backend) -> None:
    types = {"day": "DATE", "id": "INT64", "made": "TIMESTAMP"}
    assert backend.tables.describe_table("raw.orders") == Table(types, backend.partition("Day"))
    assert backend.tables.describe_table("raw.plain") == Table({"id": "STRING"}, backend.partition(""))


def test_a_missing_table_is_none_and_a_missing_dataset_is_empty(backend: Backend) -> None:
    assert backend.tables.describe_table("raw.nothing") is None
    assert backend.tables.describe_table("nowhere.orders") is None
    assert list(backend.tables.tables_in("nowhere")) == []


def test_a_dataset_lists_its_tables(backend: Backend) -> None:
    assert list(backend.tables.tables_in("raw")) == ["raw.orders", "raw.plain"]


def test_a_folder_lists_its_files_even_unreadable_ones(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/orders.csv").write_text("day,id\n2026-01-01,1\n")
    (tmp_path / "raw/broken.parquet").write_text("no parquet")
    tables = DuckDBWarehouse(tmp_path)
    assert list(tables.tables_in("raw")) == ["raw.broken", "raw.orders"]
    assert tables.describe_table("raw.orders") == Table({"day": "DATE", "id": "INT64"}, None)
    with pytest.raises(WarehouseError, match=r"table raw\.broken \(broken\.parquet\) can't be read"):
        tables.describe_table("raw.broken")


def test_a_missing_warehouse_is_an_error(tmp_path: Path) -> None:
    tables = DuckDBWarehouse(tmp_path / "none.duckdb")
    with pytest.raises(WarehouseError):
        tables.describe_table("raw.orders")
    with pytest.raises(WarehouseError):
        tables.tables_in("raw")


def test_a_project_that_refuses_is_an_error() -> None:
    from google.api_core.exceptions import Forbidden
    from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse

    class Refusing:
        def get_table(self, *_: object, **__: object) -> None:
            raise Forbidden("Access Denied: Table p:raw.orders: Permission bigquery.tables.get denied")  # type: ignore[no-untyped-call]

        list_tables = get_table

    tables = BigQueryWarehouse("some-project", client=Refusing(), timeout=1, retry_timeout=1)  # type: ignore[arg-type]
    with pytest.raises(WarehouseError, match=r"raw\.orders"):
        tables.describe_table("raw.orders")
    with pytest.raises(WarehouseError):
        tables.tables_in("raw")
