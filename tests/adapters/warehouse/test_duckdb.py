"""DuckDB files and folders: what goes beyond the contract of every warehouse."""
# ruff: noqa: S608 (the SQL is the test's own)

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.warehouse.catalogue import googlesql_type
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.core.checks.metrics import (
    Aggregate,
    Answer,
    AnyMetric,
    Cost,
    CustomSource,
    Distinct,
    ExpectedKeys,
    Fault,
    Newest,
    NotMatching,
    Nulls,
    Orphans,
    OutOfRange,
    PairSource,
    PresentKeys,
    Query,
    Referencing,
    Rows,
    Source,
    Surplus,
    TableSource,
    Unmeasured,
    Violating,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError, WarehouseError

DAY = date(2013, 6, 3)
DAYS = Span(DAY, DAY)
FLIGHTS = TableSource("raw.flights", "d")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file with one table of three rows."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.flights (d DATE, dep_time BIGINT, x DOUBLE, s VARCHAR)")
        connection.execute(
            "INSERT INTO raw.flights VALUES ('2013-06-03', 1, 1.5, 'a'), ('2013-06-03', 2, 2.5, NULL), ('2013-06-03', 3, 0, 'b')"
        )
    return path


def ask(path: Path, source: Source, *metrics: AnyMetric, types: bool = False) -> Answer:
    [answer] = DuckDBWarehouse(path).measure([Query(source, metrics, types)], DAYS)
    return answer


def fault(path: Path, metric: AnyMetric, source: Source = FLIGHTS) -> Unmeasured:
    return ask(path, source, metric).unmeasured[metric]


def insert(path: Path, values: str) -> None:
    with duckdb.connect(path) as connection:
        connection.execute(f"INSERT INTO raw.flights VALUES {values}")


# Files.


@pytest.mark.parametrize("name", ["nowhere.duckdb", "no/folder"])
def test_a_missing_warehouse_gives_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(WarehouseError, match=r"^no warehouse at .*") as error:
        ask(tmp_path / name, FLIGHTS, Rows())

    assert not error.value.retryable and not (tmp_path / name).exists()


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look like one" * 200)

    with pytest.raises(WarehouseError, match="can't open the warehouse") as error:
        ask(path, FLIGHTS, Rows())

    assert not error.value.retryable and "\n" not in str(error.value)


def test_a_file_that_this_process_has_open_for_writing_is_retried(path: Path) -> None:
    with duckdb.connect(path), pytest.raises(WarehouseError, match="open for writing") as error:
        ask(path, FLIGHTS, Rows())

    assert error.value.retryable


def test_a_file_that_another_process_has_open_for_writing_is_retried(path: Path) -> None:
    code = f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as loader:
        assert loader.stdout is not None and loader.stdout.readline()
        with pytest.raises(WarehouseError, match="open for writing") as error:
            ask(path, FLIGHTS, Rows())
        loader.communicate(b"\n")

    assert error.value.retryable
    assert ask(path, FLIGHTS, Rows()).numbers == {DAY: (3,)}


def test_a_loader_can_write_between_two_measurements(path: Path) -> None:
    warehouse, query = DuckDBWarehouse(path), Query(FLIGHTS, (Rows(),))

    assert [answer.numbers[DAY] for answer in warehouse.measure([query], DAYS)] == [(3,)]
    insert(path, "('2013-06-03', 4, 1, 'c')")
    assert [answer.numbers[DAY] for answer in warehouse.measure([query], DAYS)] == [(4,)]


def test_the_file_is_not_changed(path: Path) -> None:
    before = path.read_bytes()

    ask(path, FLIGHTS, Rows(), Surplus(("d", "s")), types=True)

    assert path.read_bytes() == before and sorted(path.parent.iterdir()) == [path]


def test_a_project_in_a_table_name_is_ignored(path: Path) -> None:
    assert ask(path, TableSource("my-project.raw.flights", "d"), Rows()).numbers == {DAY: (3,)}


# Folders.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tables as a Parquet file, a CSV file, a folder of Parquet files, and a folder with one folder per date."""
    folder = tmp_path / "it's a lake"
    (folder / "raw/weather").mkdir(parents=True)
    (folder / "clean").mkdir()
    rows = "SELECT DATE '2013-06-03' AS d, unnest([1, 2]) AS x"
    with duckdb.connect() as connection:
        root = str(folder).replace("'", "''")
        connection.execute(f"COPY ({rows}) TO '{root}/raw/flights.parquet'")
        connection.execute(f"COPY ({rows}) TO '{root}/raw/weather/1.parquet'")
        connection.execute(f"COPY ({rows}) TO '{root}/raw/weather/2.parquet'")
        connection.execute(f"COPY ({rows}) TO '{root}/clean/days' (FORMAT parquet, PARTITION_BY d)")
    (folder / "clean/flights.csv").write_text("d,x,s\n2013-06-03,1,a\n2013-06-04,2,b\n")
    (folder / "README.md").write_text("not a dataset")
    (folder / "raw/notes.txt").write_text("not a table")
    return folder


@pytest.mark.parametrize(
    ("table", "rows"),
    [("raw.flights", 2), ("raw.weather", 4), ("clean.flights", 1), ("clean.days", 2), ("p-roject.raw.flights", 2)],
)
def test_files_and_folders_of_files_are_tables(folder: Path, table: str, rows: int) -> None:
    answer = ask(folder, TableSource(table, "d"), Rows(), Aggregate("SUM(x)"), types=True)

    assert not answer.unmeasured and answer.numbers[DAY][0] == rows
    assert isinstance(answer.types, dict) and answer.types["d"] == "DATE" and answer.types["x"] == "INT64"


def test_two_tables_of_a_folder_are_compared(folder: Path) -> None:
    pair = PairSource("raw.flights", "d", "clean.flights", "d")

    assert ask(folder, pair, Referencing(("x",)), Orphans(("x",), ("x",), dated=True)).numbers == {DAY: (2, 1)}


def test_an_unreadable_file_fails_its_own_table_only(folder: Path) -> None:
    (folder / "raw/broken.parquet").write_text("no Parquet")

    assert "can't be read" in fault(folder, Rows(), TableSource("raw.broken", "d")).reason
    assert ask(folder, FLIGHTS, Rows()).numbers == {DAY: (2,)}


def test_a_table_that_exists_twice_is_an_error(folder: Path) -> None:
    (folder / "raw/flights.csv").write_text("d,x\n2013-06-03,1\n")

    got = fault(folder, Rows())

    assert (got.fault, got.reason) == (
        Fault.TABLE,
        "table raw.flights exists twice, as flights.csv and as flights.parquet",
    )


# Errors.


@pytest.mark.parametrize(
    ("source", "metric", "expected", "reason"),
    [
        (TableSource("raw.flihgts", "d"), Rows(), Fault.TABLE, "there is no table raw.flihgts; did you mean raw.flights?"),
        (TableSource("raw.Flights", "d"), Rows(), Fault.TABLE, "there is no table raw.Flights; did you mean raw.flights?"),
        (TableSource("xyz.qqq", "d"), Rows(), Fault.TABLE, "there is no table xyz.qqq"),
        (TableSource("raw.flights", "e"), Rows(), Fault.COLUMN, "table raw.flights has no column e"),
        (
            TableSource("raw.flights", "dep_time"),
            Rows(),
            Fault.COLUMN,
            "raw.flights.dep_time is INT64, a run date column must be DATE",
        ),
        (FLIGHTS, Nulls("dep_tme"), Fault.COLUMN, "table raw.flights has no column dep_tme; did you mean dep_time?"),
        (FLIGHTS, Violating("Dep_Tme > 1"), Fault.COLUMN, "table raw.flights has no column Dep_Tme; did you mean dep_time?"),
        (
            FLIGHTS,
            Aggregate("MAX(flights.dep_tme)"),
            Fault.COLUMN,
            "table raw.flights has no column dep_tme; did you mean dep_time?",
        ),
        (FLIGHTS, Newest("s"), Fault.COLUMN, "raw.flights.s is STRING, expected DATE, DATETIME, TIMESTAMP"),
        (FLIGHTS, OutOfRange("s", 1, None), Fault.COLUMN, "raw.flights.s is STRING, which can't be compared with 1"),
        (
            FLIGHTS,
            OutOfRange("dep_time", "1", None),
            Fault.COLUMN,
            'raw.flights.dep_time is INT64, which can\'t be compared with the text "1"',
        ),
        (FLIGHTS, Aggregate("MAX(s)"), Fault.SQL, "MAX(s) is STRING, expected a number"),
        (FLIGHTS, Aggregate("LOGICAL_AND(x > 1)"), Fault.SQL, "LOGICAL_AND(x > 1) is BOOL, expected a number"),
        (FLIGHTS, NotMatching("s", "("), Fault.SQL, "table raw.flights: missing ): ("),
        (
            CustomSource("SELECT e FROM raw.flights WHERE d BETWEEN @from AND @to", "e"),
            Rows(),
            Fault.COLUMN,
            "the query has no column e",
        ),
        (
            CustomSource("SELECT d FROM raw.flights WHERE d BETWEEN @from AND @to", "e"),
            Rows(),
            Fault.COLUMN,
            "the query has no column e",
        ),
        (
            CustomSource("SELECT dt AS d FROM (SELECT DATETIME '2013-06-03 00:00:00' AS dt) AS q WHERE @from <= @to", "d"),
            Rows(),
            Fault.COLUMN,
            "column d of the query is DATETIME, expected DATE",
        ),
        (
            CustomSource("SELECT d, s FROM raw.flights WHERE d BETWEEN @from AND @to", "d", "s"),
            Rows(),
            Fault.SQL,
            "column s of the query is STRING, expected a number",
        ),
        (
            CustomSource("SELECT d FROM raw.nothing WHERE d BETWEEN @from AND @to", "d"),
            Rows(),
            Fault.TABLE,
            "there is no table nothing",
        ),
    ],
)
def test_a_metric_that_cannot_be_measured_has_a_reason(
    path: Path, source: Source, metric: AnyMetric, expected: Fault, reason: str
) -> None:
    assert fault(path, metric, source) == Unmeasured(expected, reason)


def test_an_error_in_a_condition_on_the_other_table_names_that_table(path: Path) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE raw.planes (day DATE, s VARCHAR, seats BIGINT)")
    pair = PairSource("raw.flights", "d", "raw.planes", "day")

    assert (
        fault(path, ExpectedKeys(("s",), "seat > 1"), pair).reason == "table raw.planes has no column seat; did you mean seats?"
    )
    assert fault(path, Referencing(("s",), "dep > 1"), pair).reason.startswith("table raw.flights has no column dep")


def test_values_of_the_data_are_not_in_errors(path: Path) -> None:
    insert(path, "('2013-06-03', 9, 1, 'a secret')")

    got = fault(path, Violating("s = 1 OR s > 0"))

    assert got.fault is Fault.SQL and "a secret" not in got.reason


@pytest.mark.parametrize(
    ("source", "metric"),
    [
        (FLIGHTS, Violating("dep_time / x > 1")),
        (FLIGHTS, Rows("SAFE_CAST(s AS INT64) IS NULL")),
        (FLIGHTS, Aggregate("APPROX_QUANTILES(x, 4)[OFFSET(2)]")),
        (FLIGHTS, NotMatching("x", "1")),
        (CustomSource("SELECT d FROM raw.flights WHERE d BETWEEN @from AND @to LIMIT 1", "d"), Rows()),
        (PairSource("raw.flights", "d", "raw.flights", "d"), Orphans(("x",), ("x",), dated=True)),
    ],
)
def test_sql_that_duckdb_might_answer_differently_is_refused(path: Path, source: Source, metric: AnyMetric) -> None:
    got = fault(path, metric, source)

    assert got.fault is Fault.REFUSED and "BigQuery" in got.reason and not got.retryable


def test_refused_sql_fails_its_own_metric_only(path: Path) -> None:
    refused = Violating("dep_time / x > 1")

    answer = ask(path, FLIGHTS, Rows(), refused, Nulls("s"))

    assert set(answer.unmeasured) == {refused} and answer.numbers == {DAY: (3, None, 1)} and answer.cost == Cost(1)


def test_no_statement_runs_when_every_metric_is_ruled_out(path: Path) -> None:
    assert ask(path, TableSource("raw.nothing", "d"), Rows(), Nulls("x")).cost == Cost(0)


def test_one_bad_metric_among_many_costs_a_few_more_statements(path: Path) -> None:
    good = tuple(Rows(f"dep_time > {n}") for n in range(31))
    bad = Aggregate("AVG(s)")

    answer = ask(path, FLIGHTS, *good[:20], bad, *good[20:])

    assert set(answer.unmeasured) == {bad}
    assert answer.numbers[DAY] == (3, 2, 1, *[0] * 17, None, *[0] * 11)
    assert answer.cost.queries <= 11


def test_sql_that_does_not_parse_stops_before_any_statement(tmp_path: Path) -> None:
    queries = [Query(FLIGHTS, (Rows(),)), Query(FLIGHTS, (Rows("dep_time >"),))]

    with pytest.raises(ConfigError, match='SQL "dep_time >": expected an expression after ">"'):
        next(DuckDBWarehouse(tmp_path / "nowhere.duckdb").measure(queries, DAYS))


# NaN, which DuckDB treats as the greatest number.


def test_users_sql_on_a_column_with_nan_is_refused(path: Path) -> None:
    insert(path, "('2013-06-03', 4, 'NaN', 'c')")
    on_x = (Violating("x < 9"), Aggregate("MIN(x)"), Rows("X > 1"))

    answer = ask(path, FLIGHTS, Rows(), *on_x, Violating("dep_time < 9"), OutOfRange("x", 0, 9))

    assert answer.unmeasured == dict.fromkeys(on_x, answer.unmeasured[on_x[0]])
    assert answer.unmeasured[on_x[0]] == Unmeasured(
        Fault.REFUSED, "column x holds NaN, which DuckDB does not compare as BigQuery does"
    )
    assert answer.numbers == {DAY: (4, None, None, None, 0, 1)} and answer.cost == Cost(1)


def test_users_sql_on_a_column_without_nan_costs_no_extra_statement(path: Path) -> None:
    answer = ask(path, FLIGHTS, Violating("x < 2"), Aggregate("MIN(x)"))

    assert not answer.unmeasured and answer.numbers == {DAY: (1, 0.0)} and answer.cost == Cost(1)


def test_nan_on_another_date_is_ignored(path: Path) -> None:
    insert(path, "('2013-06-04', 4, 'NaN', 'c')")

    assert ask(path, FLIGHTS, Violating("x < 2")).numbers == {DAY: (1,)}


def test_nan_is_checked_on_both_sides_of_a_pair(path: Path) -> None:
    insert(path, "('2013-06-03', 4, 'NaN', 'c')")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE raw.other AS SELECT * FROM raw.flights WHERE NOT isnan(x)")
    pair = PairSource("raw.flights", "d", "raw.other", "d")
    own, others = (
        (Referencing(("s",), "x > 1"), Orphans(("s",), ("s",), True, "x > 1")),
        (ExpectedKeys(("s",), "x > 1"), PresentKeys(("s",), ("s",), "x > 1")),
    )

    answer = ask(path, pair, *own, *others)

    assert set(answer.unmeasured) == set(own)
    assert answer.numbers[DAY] == (None, None, 1, 1)


# Types and numbers.


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("INTEGER", "INT64"),
        ("UBIGINT", "INT64"),
        ("FLOAT", "FLOAT64"),
        ("DECIMAL(10,2)", "NUMERIC"),
        ("TIMESTAMP_NS", "DATETIME"),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP"),
        ("TIME", "TIME"),
        ("BLOB", "BYTES"),
        ("JSON", "JSON"),
        ("ENUM('a', 'b[]')", "STRING"),
        ("VARCHAR[]", "ARRAY<STRING>"),
        ("INTEGER[3]", "ARRAY<INT64>"),
        ("STRUCT(x INTEGER, y VARCHAR)", "STRUCT"),
        ("STRUCT(x INTEGER)[]", "ARRAY<STRUCT>"),
        ("MAP(VARCHAR, INTEGER)", "MAP"),
    ],
)
def test_types_have_googlesql_names(declared: str, name: str) -> None:
    assert googlesql_type(declared) == name


def test_types_are_returned_even_without_the_run_date_column(path: Path) -> None:
    answer = ask(path, TableSource("raw.flights", "day"), Rows(), types=True)

    assert answer.types == {"d": "DATE", "dep_time": "INT64", "x": "FLOAT64", "s": "STRING"}


def test_the_time_zone_of_the_session_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("ALTER TABLE raw.flights ADD COLUMN seen TIMESTAMPTZ DEFAULT '2013-06-03 22:30:00+00'")
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    numbers = ask(
        path,
        FLIGHTS,
        Newest("seen"),
        Aggregate("MAX(EXTRACT(HOUR FROM seen))"),
        OutOfRange("seen", "2013-06-03 22:30:00", None),
    ).numbers

    assert numbers == {DAY: (1370298600, 22, 0)}


def test_a_year_of_all_flights_gives_the_known_totals(demo_warehouse: Path) -> None:
    year = Span(date(2013, 1, 1), date(2013, 12, 31))
    metrics = (
        Rows(),
        Nulls("dep_time"),
        Surplus(("carrier", "flight", "origin")),
        Distinct("carrier"),
        Rows("status = 'cancelled'"),
    )
    [answer] = DuckDBWarehouse(demo_warehouse).measure([Query(TableSource("raw.flights", "flight_date"), metrics)], year)

    totals = [sum(numbers[n] or 0 for numbers in answer.numbers.values()) for n in range(len(metrics))]

    assert len(answer.numbers) == 365 and (totals[0], totals[1], totals[2], totals[4]) == (336_776, 8_255, 0, 8_255)


@pytest.mark.parametrize(
    ("column", "zone", "utc"),
    [
        ("TIMESTAMP '2024-02-05 22:00:00'", "Asia/Tokyo", "2024-02-05T13:00:00+00:00"),
        ("TIMESTAMP '2024-02-06 05:20:00'", "America/New_York", "2024-02-06T10:20:00+00:00"),
        ("TIMESTAMP '2024-07-06 05:20:00'", "America/New_York", "2024-07-06T09:20:00+00:00"),
        ("DATE '2024-02-06'", "Asia/Tokyo", "2024-02-05T15:00:00+00:00"),
        ("TIMESTAMPTZ '2024-02-05 22:00:00+00'", "Asia/Tokyo", "2024-02-05T22:00:00+00:00"),
        ("TIMESTAMPTZ '2024-02-05 22:00:00-05'", "UTC", "2024-02-06T03:00:00+00:00"),
        ("TIMESTAMP '2024-02-05 22:00:00'", "UTC", "2024-02-05T22:00:00+00:00"),
    ],
)
def test_a_time_without_a_zone_is_local(tmp_path: Path, column: str, zone: str, utc: str) -> None:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute(f"CREATE SCHEMA raw; CREATE TABLE raw.flights AS SELECT DATE '{DAY}' AS d, {column} AS loaded_at")
    answer = ask(tmp_path / "w.duckdb", FLIGHTS, Newest("loaded_at", None, zone))
    assert answer.numbers[DAY] == (int(datetime.fromisoformat(utc).timestamp()),)
