"""The floor: the numbers for the checks of the flights pipeline, in hand-written SQL on the bare client.

Prints the seconds within the process. Usage: floor.py WAREHOUSE FIRST LAST
"""

import sys
import time

import duckdb

QUERIES = [
    """SELECT flight_date, count(DISTINCT flight_id) FROM raw.schedule
       WHERE flight_date BETWEEN $first AND $last AND status = 'scheduled' GROUP BY flight_date""",
    """SELECT flight_date, count(*),
         count(*) - count(DISTINCT (carrier, flight, origin)) AS surplus,
         count(*) FILTER (carrier IS NULL OR flight IS NULL OR origin IS NULL), epoch(max(loaded_at)), count(DISTINCT carrier),
         count(*) FILTER (dest IS NULL), count(*) FILTER (distance IS NULL), count(*) FILTER (scheduled_at IS NULL),
         count(*) FILTER (status = 'flown'), count(*) FILTER (tailnum IS NULL AND status = 'flown'),
         count(*) FILTER (origin NOT IN ('EWR', 'JFK', 'LGA')), count(*) FILTER (status NOT IN ('flown', 'cancelled')),
         count(*) FILTER (NOT (dep_time BETWEEN 1 AND 2400)), count(*) FILTER (NOT (dep_delay BETWEEN -60 AND 1440)),
         count(*) FILTER (NOT (distance * 60 <= 750 * air_time)), count(*) FILTER (NOT regexp_matches(tailnum, '^N[0-9A-Z]{1,5}$')),
         count(*) FILTER (dep_time IS NULL AND status = 'flown'), count(*) FILTER (arr_time IS NULL AND status = 'flown'),
         count(*) FILTER (air_time IS NULL AND status = 'flown'),
         count(*) FILTER (status = 'cancelled') / count(*), avg(dep_delay)
       FROM raw.flights WHERE flight_date BETWEEN $first AND $last GROUP BY flight_date""",
    """SELECT weather_date, count(*), count(*) - count(DISTINCT (origin, observed_at)), count(*) - count(DISTINCT (origin, hour)),
         count(*) FILTER (origin IS NULL OR observed_at IS NULL), count(DISTINCT origin), epoch(max(loaded_at)),
         count(*) FILTER (temp IS NULL), count(*) FILTER (precip IS NULL), count(*) FILTER (visib IS NULL),
         count(*) FILTER (pressure IS NULL), count(*) FILTER (NOT (temp BETWEEN -20 AND 110)),
         count(*) FILTER (NOT (wind_speed BETWEEN 0 AND 120)), count(*) FILTER (NOT (dewp <= temp))
       FROM raw.weather WHERE weather_date BETWEEN $first AND $last GROUP BY weather_date""",
    """SELECT flight_date, count(*), count(*) - count(DISTINCT flight_id), count(*) FILTER (flight_id IS NULL),
         count(*) FILTER (airline IS NULL), count(*) FILTER (scheduled_at IS NULL), count(*) FILTER (status IS NULL),
         count(*) FILTER (temp IS NULL), count(*) FILTER (NOT (wind_speed BETWEEN 0 AND 120)),
         count(*) FILTER (NOT (status = 'cancelled' OR departed_at IS NOT NULL))
       FROM clean.flights WHERE flight_date BETWEEN $first AND $last GROUP BY flight_date""",
    """SELECT flight_date, count(*), count(*) - count(DISTINCT flight_id), count(*) FILTER (flight_id IS NULL),
         count(*) FILTER (NOT (days_seen BETWEEN 7 AND 7)), count(*) FILTER (carrier_delay IS NULL),
         count(*) FILTER (carrier_cancelled IS NULL), count(*) FILTER (route_delay IS NULL),
         count(*) FILTER (NOT (carrier_cancelled BETWEEN 0 AND 1)), count(*) FILTER (NOT (route_flights > 0 OR route_delay IS NULL))
       FROM features.flights WHERE flight_date BETWEEN $first AND $last GROUP BY flight_date""",
    """SELECT flight_date, count(*), count(*) - count(DISTINCT flight_id), count(*) FILTER (flight_id IS NULL),
         epoch(max(predicted_at)), count(*) FILTER (predicted_delay IS NULL), count(*) FILTER (probability IS NULL),
         count(*) FILTER (model_version IS NULL), count(*) FILTER (NOT (predicted_delay BETWEEN -60 AND 600)),
         count(*) FILTER (NOT (probability BETWEEN 0 AND 1)), count(DISTINCT model_version), count(DISTINCT predicted_delay),
         avg(predicted_delay)
       FROM predictions.delays WHERE flight_date BETWEEN $first AND $last GROUP BY flight_date""",
    """SELECT flight_date, count(*), count(*) FILTER (NOT EXISTS (FROM raw.planes p WHERE p.tailnum = f.tailnum))
       FROM raw.flights f WHERE flight_date BETWEEN $first AND $last AND tailnum IS NOT NULL GROUP BY flight_date""",
    """SELECT flight_date, count(*), count(*) FILTER (NOT EXISTS (FROM raw.airports a WHERE a.faa = f.dest))
       FROM raw.flights f WHERE flight_date BETWEEN $first AND $last AND dest IS NOT NULL GROUP BY flight_date""",
    """WITH k AS (SELECT DISTINCT flight_date, carrier, flight, origin FROM raw.flights WHERE flight_date BETWEEN $first AND $last),
         c AS (SELECT DISTINCT flight_date, carrier, flight, origin FROM clean.flights WHERE flight_date BETWEEN $first AND $last)
       SELECT flight_date, count(*), count(c.carrier) FROM k LEFT JOIN c USING (flight_date, carrier, flight, origin)
       GROUP BY flight_date""",
    """SELECT f.flight_date, count(*), count(*) FILTER (c.flight_id IS NULL) FROM features.flights f
       LEFT JOIN (SELECT DISTINCT flight_date, flight_id FROM clean.flights WHERE flight_date BETWEEN $first AND $last) c
       USING (flight_date, flight_id) WHERE f.flight_date BETWEEN $first AND $last GROUP BY f.flight_date""",
    """WITH f AS (SELECT DISTINCT flight_date, flight_id FROM features.flights WHERE flight_date BETWEEN $first AND $last),
         p AS (SELECT flight_date, flight_id FROM predictions.delays WHERE flight_date BETWEEN $first AND $last)
       SELECT flight_date, count(*), count(p.flight_id) FILTER (f.flight_id IS NULL), count(f.flight_id) FILTER (p.flight_id IS NULL)
       FROM f FULL JOIN p USING (flight_date, flight_id) GROUP BY flight_date""",
]

if __name__ == "__main__":
    warehouse, first, last = sys.argv[1:]
    started = time.perf_counter()
    with duckdb.connect(warehouse, read_only=True) as connection:
        for query in QUERIES:
            connection.execute(query, {"first": first, "last": last}).fetchall()
    print(time.perf_counter() - started)
