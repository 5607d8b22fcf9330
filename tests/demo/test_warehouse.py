"""The demo's year has the known numbers, and its loaders change a date as real ones do."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from phasegate.core.field_syntax import Span
from phasegate.demo import warehouse
from phasegate.demo.warehouse import YEAR
from phasegate.errors import ConfigError

DAY = date(2013, 6, 5)
DAYS = {"raw.flights": "flight_date", "raw.weather": "weather_date"}
PHASE_TABLES = ("raw.flights", "raw.weather", "clean.flights", "features.flights", "predictions.delays")


@pytest.fixture
def year(demo_warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(demo_warehouse, read_only=True) as con:
        yield con


@pytest.fixture
def own(demo_warehouse: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of the year that a test may change."""
    with duckdb.connect(shutil.copy(demo_warehouse, tmp_path)) as con:
        yield con


def on(day: date) -> Span:
    return Span(day, day)


def number(con: duckdb.DuckDBPyConnection, expression: str, table: str, where: str = "true") -> object:
    [value] = con.execute(f"SELECT {expression} FROM {table} WHERE {where}").fetchone() or [None]  # noqa: S608
    return value


def rows(con: duckdb.DuckDBPyConnection, table: str, day: date = DAY) -> int:
    return int(str(number(con, "count(*)", table, f"{DAYS.get(table, 'flight_date')} = DATE '{day}'")))


def contents(con: duckdb.DuckDBPyConnection, table: str, day: date | None = None) -> list[tuple[object, ...]]:
    where = f"WHERE {DAYS.get(table, 'flight_date')} = DATE '{day}'" if day else ""
    return con.execute(f"SELECT CAST(t AS VARCHAR) FROM {table} AS t {where}").fetchall()  # noqa: S608


@pytest.mark.parametrize(
    ("expression", "table", "expected"),
    [
        ("count(*)", "raw.flights", 336_776),
        ("count(DISTINCT flight_date)", "raw.flights", 365),
        ("count(DISTINCT (flight_date, carrier, flight, origin))", "raw.flights", 336_776),
        ("count(*) - count(dep_time)", "raw.flights", 8_255),
        ("count(*) - count(arr_delay)", "raw.flights", 9_430),
        ("count_if(status = 'cancelled')", "raw.flights", 8_255),
        ("count(*) - count(tailnum)", "raw.flights", 2_512),
        ("count_if(tailnum NOT IN (SELECT tailnum FROM raw.planes))", "raw.flights", 50_094),
        ("count_if(dest NOT IN (SELECT faa FROM raw.airports))", "raw.flights", 7_602),
        ("count(DISTINCT flight_id)", "raw.schedule", 336_776),
        ("count(*)", "raw.weather", 26_115),
        ("count(DISTINCT weather_date)", "raw.weather", 364),
        ("count(*) - count(DISTINCT (weather_date, origin, hour))", "raw.weather", 3),
        ("count(*) - count(DISTINCT (origin, observed_at))", "raw.weather", 0),
        ("round(max(wind_speed))", "raw.weather", 1_048),
        ("count(*)", "raw.planes", 3_322),
        ("count(*)", "raw.airports", 1_458),
        ("count(*)", "raw.airlines", 16),
        ("count(*)", "clean.flights", 336_776),
        ("count(DISTINCT flight_id)", "clean.flights", 336_776),
        ("count_if(visib IS NULL)", "clean.flights", 1_556),
        ("count(*) - count(airline)", "clean.flights", 0),
        ("max(wind_speed) < 60", "clean.flights", True),
        ("min(flight_date)", "features.flights", date(2013, 1, 8)),
        ("min(days_seen)", "features.flights", 7),
        ("count(DISTINCT flight_id)", "predictions.delays", 330_677),
        ("count_if(isfinite(predicted_delay) AND probability BETWEEN 0 AND 1)", "predictions.delays", 330_677),
    ],
)
def test_the_year_has_the_known_numbers(year: duckdb.DuckDBPyConnection, expression: str, table: str, expected: object) -> None:
    assert number(year, expression, table) == expected


def test_load_times_follow_local_time_through_the_clock_change(year: duckdb.DuckDBPyConnection) -> None:
    """05:20 in New York is 10:20 UTC in winter and 09:20 in summer."""
    loaded = "DISTINCT strftime(timezone('UTC', loaded_at), '%H:%M')"

    assert number(year, loaded, "raw.flights", "flight_date = DATE '2013-03-08'") == "10:20"
    assert number(year, loaded, "raw.flights", "flight_date = DATE '2013-03-09'") == "09:20"


@pytest.mark.parametrize("day", [DAY, date(2013, 2, 9), date(2013, 11, 3), date(2013, 12, 31)])
def test_a_date_run_alone_equals_the_date_in_the_range(own: duckdb.DuckDBPyConnection, day: date) -> None:
    before = {table: contents(own, table, day) for table in PHASE_TABLES}

    warehouse.run_phases(own, on(day))

    assert {table: contents(own, table, day) for table in PHASE_TABLES} == before


def test_a_year_built_twice_is_the_same(year: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Every row, in the same place."""
    rowwise = "sum(hash(rowid, t))"
    warehouse.build_warehouse(tmp_path / "second.duckdb")

    with duckdb.connect(tmp_path / "second.duckdb", read_only=True) as second:
        for table in (*PHASE_TABLES, "raw.schedule"):
            assert number(year, rowwise, f"{table} AS t") == number(second, rowwise, f"{table} AS t")


def test_half_of_a_file_is_its_first_half_and_nothing_else_changes(own: duckdb.DuckDBPyConnection) -> None:
    everything, total = contents(own, "raw.flights", DAY), number(own, "count(*)", "raw.flights")

    warehouse.load_flights(own, on(DAY), share=0.5)

    half = contents(own, "raw.flights", DAY)
    assert half == everything[: (len(everything) + 1) // 2]
    assert number(own, "count(*)", "raw.flights") == int(str(total)) - len(everything) + len(half)


def test_an_empty_file_leaves_an_empty_date(own: duckdb.DuckDBPyConnection) -> None:
    warehouse.load_flights(own, on(DAY), share=0)

    assert rows(own, "raw.flights") == 0


def test_a_load_that_runs_twice_doubles_the_date_down_to_clean(own: duckdb.DuckDBPyConnection) -> None:
    once = rows(own, "raw.flights")

    warehouse.load_flights(own, on(DAY), again=True)
    warehouse.build_clean(own, on(DAY))

    assert (rows(own, "raw.flights"), rows(own, "clean.flights")) == (2 * once, 2 * once)


def test_a_repaired_load_leaves_no_trace(own: duckdb.DuckDBPyConnection) -> None:
    before = contents(own, "raw.flights", DAY)

    warehouse.load_flights(own, on(DAY), again=True)
    warehouse.load_flights(own, on(DAY))

    assert contents(own, "raw.flights", DAY) == before


def test_clean_builds_only_what_raw_has(own: duckdb.DuckDBPyConnection) -> None:
    warehouse.load_flights(own, on(DAY), share=0.25)
    warehouse.build_clean(own, on(DAY))

    assert rows(own, "clean.flights") == rows(own, "raw.flights") > 0


def test_features_that_run_before_clean_are_empty() -> None:
    with duckdb.connect() as con:
        warehouse.create(con)
        warehouse.load_flights(con, Span(DAY - timedelta(days=7), DAY))
        warehouse.build_clean(con, Span(DAY - timedelta(days=7), DAY - timedelta(days=1)))
        warehouse.build_features(con, on(DAY))
        assert rows(con, "features.flights") == 0

        warehouse.build_clean(con, on(DAY))
        warehouse.build_features(con, on(DAY))
        assert rows(con, "features.flights") == rows(con, "raw.flights") > 0


def test_features_show_a_gap_in_the_week_before(own: duckdb.DuckDBPyConnection) -> None:
    gap = DAY - timedelta(days=3)
    warehouse.load_flights(own, on(gap), share=0)
    warehouse.build_clean(own, on(gap))

    warehouse.build_features(own, Span(gap, DAY + timedelta(days=7)))

    seen = own.execute("SELECT DISTINCT flight_date, days_seen FROM features.flights WHERE days_seen < 7").fetchall()
    assert sorted(seen) == [(gap + timedelta(days=n), 6) for n in range(1, 8)]


def test_the_warm_up_has_no_features(year: duckdb.DuckDBPyConnection) -> None:
    assert rows(year, "features.flights", YEAR.first) == rows(year, "predictions.delays", YEAR.first) == 0
    assert rows(year, "clean.flights", YEAR.first) == 842


def test_a_missing_package_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse, "find_spec", {}.get)

    with duckdb.connect() as con, pytest.raises(ConfigError, match=r"pip install 'phasegate\[demo\]'"):
        warehouse.create(con)
