"""Folders of files as their writers leave them: unfinished files, new columns, keys in paths, headers alone, odd names."""

import datetime
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.core.checks.metrics import Aggregate, CustomSource, Nulls, Number, OutOfRange, Query, Rows, TableSource
from phasegate.core.field_syntax import Span

DAY = datetime.date(2024, 2, 5)
SPAN = Span(datetime.date(2024, 2, 1), datetime.date(2024, 2, 29))
ORDERS = TableSource("raw.orders", "day")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path


def measured(warehouse: Path, *metrics: object, source: object = ORDERS) -> tuple[Number | None, ...]:
    """The numbers of the day; all 0 or None without rows. What can't be measured fails the test."""
    (answer,) = DuckDBWarehouse(warehouse).measure([Query(source, metrics or (Rows(),))], SPAN)  # type: ignore[arg-type]
    assert not answer.unmeasured, answer.unmeasured
    return answer.numbers.get(DAY, (0,) * len(answer.query.metrics))


def reason(warehouse: Path, *metrics: object, source: object = ORDERS) -> str:
    """Why the first metric could not be measured."""
    (answer,) = DuckDBWarehouse(warehouse).measure([Query(source, metrics or (Rows(),))], SPAN)  # type: ignore[arg-type]
    return next(iter(answer.unmeasured.values())).reason


def parquet(path: Path, select: str = "SELECT DATE '2024-02-05' AS day, i AS id FROM range(5) t(i)") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quoted = str(path).replace("'", "''")
    duckdb.execute(f"COPY ({select}) TO '{quoted}' (FORMAT parquet)")


# -- only finished data files count ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unfinished",
    [
        "_temporary/0/t1/part-0.parquet",
        ".part-0.parquet",
        "_part-0.parquet",
        ".tmp/part-0.parquet",
        "part-0.parquet.crc",
        "part-0.parquet.tmp",
        "_SUCCESS",
    ],
)
def test_what_is_not_finished_is_no_data(folder: Path, unfinished: str) -> None:
    parquet(folder / "raw/orders" / unfinished)
    assert reason(folder) == "there is no table raw.orders"
    parquet(folder / "raw/orders/part-0.parquet")
    assert measured(folder) == (5,)


def test_a_hidden_dataset_or_file_is_no_table(folder: Path) -> None:
    parquet(folder / ".raw/orders.parquet")
    parquet(folder / "raw/.orders.parquet")
    assert reason(folder) == "there is no table raw.orders"


# -- many files are one table ---------------------------------------------------------------------------------------------------


def test_a_column_that_came_later_is_null_before(folder: Path) -> None:
    parquet(folder / "raw/orders/2024-02-04.parquet", "SELECT DATE '2024-02-04' AS day, 1 AS id")
    parquet(folder / "raw/orders/2024-02-05.parquet", "SELECT DATE '2024-02-05' AS day, 1 AS id, 7 AS qty")
    assert measured(folder, Nulls("qty"), Aggregate("MAX(qty)")) == (0, 7)
    (answer,) = DuckDBWarehouse(folder).measure([Query(ORDERS, (Nulls("qty"),))], SPAN)
    assert answer.numbers[datetime.date(2024, 2, 4)] == (1,)


def test_types_are_widened_and_columns_matched_by_name(folder: Path) -> None:
    parquet(folder / "raw/orders/a.parquet", "SELECT DATE '2024-02-05' AS day, 1::INT AS qty")
    parquet(folder / "raw/orders/b.parquet", "SELECT 1.4::DOUBLE AS qty, DATE '2024-02-05' AS day")
    assert measured(folder, OutOfRange("qty", None, 1)) == (1,)


@pytest.mark.parametrize("second", ["b.csv", "b.json", "deeper/b.CSV"])
def test_files_of_two_formats_are_named(folder: Path, second: str) -> None:
    parquet(folder / "raw/orders/a.parquet")
    (folder / "raw/orders" / second).parent.mkdir(exist_ok=True)
    (folder / "raw/orders" / second).write_text("day,id\n2024-02-05,1\n")
    text = reason(folder)
    assert text.startswith("table raw.orders can't be read: its folder has files of several formats: ")
    assert "a.parquet" in text and Path(second).name in text


@pytest.mark.parametrize(("log", "kind"), [("_delta_log/0.json", "Delta"), ("metadata/v1.metadata.json", "Iceberg")])
def test_a_table_that_deletes_rows_elsewhere_is_not_read_as_its_files(folder: Path, log: str, kind: str) -> None:
    parquet(folder / "raw/orders/data/x.parquet")
    (folder / "raw/orders" / log).parent.mkdir()
    (folder / "raw/orders" / log).write_text("{}")
    assert reason(folder).startswith(f"table raw.orders can't be read: it is a{'n' if kind == 'Iceberg' else ''} {kind} table")


# -- formats --------------------------------------------------------------------------------------------------------------------

LINES = "day,id\n2024-02-05,1\n2024-02-05,2\n"


@pytest.mark.parametrize("name", ["orders.csv", "orders.CSV", "orders.csv.gz", "orders.Csv.GZ", "orders/a.csv.gz"])
def test_csv_in_any_spelling(folder: Path, name: str) -> None:
    (folder / "raw" / name).parent.mkdir(exist_ok=True)
    data = LINES.encode()
    (folder / "raw" / name).write_bytes(gzip.compress(data) if name.lower().endswith("gz") else data)
    assert measured(folder) == (2,)


@pytest.mark.parametrize("name", ["orders.json", "orders.jsonl", "orders.ndjson", "orders.json.gz"])
def test_json(folder: Path, name: str) -> None:
    data = "\n".join(json.dumps({"day": "2024-02-05", "id": n}) for n in range(3)).encode()
    (folder / "raw" / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert measured(folder) == (3,)


@pytest.mark.parametrize("ending", ["parquet", "PARQUET"])
def test_parquet_in_any_spelling(folder: Path, ending: str) -> None:
    parquet(folder / f"raw/orders.{ending}")
    assert measured(folder) == (5,)


@pytest.mark.parametrize("dates", ["02/05/2024", "05.02.2024", "2024/02/05", "20240205", "5 Feb 2024"])
def test_a_date_that_could_be_another_is_refused(folder: Path, dates: str) -> None:
    """However the other rows look."""
    for more in ("", f"{dates.replace('05', '13')},2\n"):
        (folder / "raw/orders.csv").write_text(f"day,id\n{dates},1\n{more}")
        assert "a run date column must be DATE" in reason(folder)
    (folder / "raw/orders.csv").write_text("day,id\n02/05/2024,1\n")
    assert reason(folder).endswith("must be DATE; in a CSV file, write dates like 2024-02-05")


def test_a_header_alone_is_an_empty_table(folder: Path) -> None:
    (folder / "raw/orders.csv").write_text("day,id\n")
    assert measured(folder, Rows(), Nulls("id"), Aggregate("MAX(id)")) == (0, 0, 0)
    assert reason(folder, Nulls("price")) == "table raw.orders has no column price"
    (folder / "raw/orders.csv").unlink()
    (folder / "raw/orders").mkdir()
    for name in ("a", "b"):
        (folder / f"raw/orders/{name}.csv").write_text("day,id\n")
    assert measured(folder) == (0,)
    (folder / "raw/orders/c.csv").write_text(LINES)
    assert measured(folder) == (2,)


def test_the_line_that_says_what_is_wrong_is_kept_without_the_value(folder: Path) -> None:
    (folder / "raw/orders.csv").write_text("day,id\n" + "2024-02-05,1\n" * 30_000 + "2024-02-05,secret\n")
    text = reason(folder, Aggregate("SUM(id)"))
    assert "CSV Error on Line: 30002" in text
    assert 'Error when converting column "id"' in text
    assert "secret" not in text


# -- names ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["a[1]b", "a*b", "a?b", "it's", "Ünïcode", "2024 x", "a=b"])
def test_paths_are_taken_literally(tmp_path: Path, odd: str) -> None:
    warehouse = tmp_path / odd
    parquet(warehouse / "raw/orders/x.parquet")
    parquet(tmp_path / "a1b/raw/orders/x.parquet")
    assert measured(warehouse) == (5,)
    (warehouse / "raw/orders" / odd).mkdir()
    parquet(warehouse / "raw/orders" / odd / f"{odd}.parquet")
    assert measured(warehouse) == (10,)


@pytest.mark.parametrize("dataset", ["memory", "temp", "system", "main"])
def test_a_dataset_may_be_called_like_a_catalogue(tmp_path: Path, dataset: str) -> None:
    parquet(tmp_path / dataset / "orders.parquet")
    assert measured(tmp_path, source=TableSource(f"{dataset}.orders", "day")) == (5,)


def test_one_bad_dataset_harms_no_other(folder: Path) -> None:
    parquet(folder / "information_schema/orders.parquet")
    parquet(folder / "raw/orders.parquet")
    assert measured(folder) == (5,)
    assert "can't be read" in reason(folder, source=TableSource("information_schema.orders", "day"))


@pytest.mark.parametrize(
    ("file", "dataset"),
    [
        ("raw.duckdb", "raw"),
        ("raw", "raw"),
        ("wh.duckdb", "temp"),
        ("wh.duckdb", "system"),
        ("my-wh.db", "raw"),
        ("it's.duckdb", "raw"),
    ],
)
def test_a_database_may_be_called_like_its_dataset(tmp_path: Path, file: str, dataset: str) -> None:
    with duckdb.connect(tmp_path / file) as connection:
        (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        catalogue = '"' + name.replace('"', '""') + '"'
        connection.execute(f'CREATE SCHEMA {catalogue}."{dataset}"')
        select = "SELECT DATE '2024-02-05' AS day, i AS id FROM range(5) t(i)"
        connection.execute(f'CREATE TABLE {catalogue}."{dataset}".orders AS {select}')
    assert measured(tmp_path / file, source=TableSource(f"{dataset}.orders", "day")) == (5,)
    query = f"SELECT o.day FROM {dataset}.orders AS o WHERE o.day BETWEEN @from AND @to"  # noqa: S608
    assert measured(tmp_path / file, source=CustomSource(query, "day")) == (5,)


# -- folders as other tools write them ------------------------------------------------------------------------------------------


def by_pandas(table: Path) -> None:
    frame = pandas.DataFrame({"day": [DAY] * 3 + [datetime.date(2024, 2, 6)], "id": range(4), "shop": list("aabb")})
    frame.to_parquet(table, partition_cols=["shop"])


def by_polars(table: Path) -> None:
    frame = polars.DataFrame({"day": [DAY] * 3 + [datetime.date(2024, 2, 6)], "id": range(4), "shop": list("aabb")})
    for (shop,), part in frame.group_by("shop"):
        (table / f"shop={shop}").mkdir(parents=True)
        part.drop("shop").write_parquet(table / f"shop={shop}/00000000.parquet")


def by_pyarrow(table: Path) -> None:
    rows = {"day": [DAY] * 3 + [datetime.date(2024, 2, 6)], "id": list(range(4)), "shop": list("aabb")}
    pyarrow.parquet.write_to_dataset(pyarrow.table(rows), table, partition_cols=["shop"])


def by_duckdb(table: Path) -> None:
    select = "SELECT DATE '2024-02-05' + (i // 3)::INT AS day, i AS id, ['a', 'a', 'b', 'b'][i + 1] AS shop FROM range(4) t(i)"
    duckdb.execute(f"COPY ({select}) TO '{table}' (FORMAT parquet, PARTITION_BY (shop))")


def by_spark(table: Path) -> None:
    for shop, first, rows in (("a", 0, 2), ("b", 2, 1)):
        select = f"SELECT DATE '2024-02-05' AS day, i + {first} AS id FROM range({rows}) t(i)"  # noqa: S608
        name = f"shop={shop}/part-00000-5a4c.c000.snappy.parquet"
        parquet(table / name, select)
        (table / f"shop={shop}/.part-00000-5a4c.c000.snappy.parquet.crc").write_bytes(b"crc")
        parquet(table / f"_temporary/0/_temporary/attempt_1/{name}", select)
    (table / "_SUCCESS").touch()


@pytest.mark.parametrize("write", [by_pandas, by_polars, by_pyarrow, by_duckdb, by_spark])
def test_a_folder_of_another_tool_is_a_table(folder: Path, write: Callable[[Path], None]) -> None:
    write(folder / "raw/orders")
    assert measured(folder, Rows(), Aggregate("SUM(id)"), Aggregate("COUNTIF(shop = 'a')")) == (3, 3, 2)


def test_a_run_date_in_the_path_is_a_date(folder: Path) -> None:
    parquet(folder / "raw/orders/day=2024-02-05/x.parquet", "SELECT i AS id FROM range(5) t(i)")
    parquet(folder / "raw/orders/day=2024-02-06/x.parquet", "SELECT i AS id FROM range(5) t(i)")
    assert measured(folder) == (5,)


def test_keys_in_the_path_above_are_no_columns(tmp_path: Path) -> None:
    warehouse = tmp_path / "team=a"
    parquet(warehouse / "raw/orders/x.parquet")
    (answer,) = DuckDBWarehouse(warehouse).measure([Query(ORDERS, (Rows(),), types=True)], SPAN)
    assert answer.types == {"day": "DATE", "id": "INT64"}
