"""GoogleSQL on DuckDB gives the result of BigQuery's reference, or is refused, or is reported as wrong."""
# ruff: noqa: S608 (the SQL is the test's own)

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from itertools import product

import duckdb
import pytest
from phasegate.adapters.warehouse.googlesql import UnsupportedSql, _plain, _translated, check_sql, to_duckdb
from phasegate.core.checks.sql import SqlKind
from phasegate.errors import ConfigError

CONDITION, AGGREGATE, QUERY = SqlKind.CONDITION, SqlKind.AGGREGATE, SqlKind.QUERY

ROWS = """
CREATE SCHEMA raw;
CREATE TABLE raw.flights (
  d DATE, n BIGINT, m BIGINT, x DOUBLE, s VARCHAR, b BOOLEAN, dt TIMESTAMP, ts TIMESTAMPTZ, none BIGINT, "select" BIGINT
);
INSERT INTO raw.flights VALUES
  ('2013-01-31', 7, 2, 2.5, 'Zoë''s', true, '2013-02-28 23:59:59.9', '2013-02-28 23:59:59.9+00', NULL, 1),
  ('2013-01-31', -7, 0, -2.5, 'a\\b', false, '2013-03-01 00:00:01.1', '2013-03-01 00:00:01.1+00', NULL, 2),
  ('2013-02-01', 3, 2, 0.1, '', NULL, '1969-12-31 23:59:59.5', '1969-12-31 23:59:59.5+00', NULL, 3);
"""


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(ROWS)
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def answer(warehouse: duckdb.DuckDBPyConnection, text: str, kind: SqlKind, where: str = "true") -> list[object]:
    sql = to_duckdb(text, kind)
    statement = (
        f"SELECT {sql} FROM raw.flights WHERE {where} ORDER BY n DESC"
        if kind is CONDITION
        else f"SELECT {sql} FROM raw.flights"
    )
    dates = {"from": date(2013, 1, 31), "to": date(2013, 2, 1)}
    return [row[0] for row in warehouse.execute(statement, {k: v for k, v in dates.items() if f"${k}" in sql}).fetchall()]


# Values for the first row (n = 7), worked out from the GoogleSQL reference.
ON_THE_FIRST_ROW = [
    # Literals.
    ("s = 'Zoë\\'s'", True),
    ('s = "Zoë\'s"', True),
    ("s = '''Zoë's'''", True),
    ("`s` = 'x'", False),
    ("`select` = 1", True),
    ("n = 7 -- the number", True),
    ("n /* = 8 */ = 7 # the number", True),
    ("0.1 * 3", 0.1 * 3),  # FLOAT64, not a decimal: 0.30000000000000004
    ("n * 0.1", 0.7000000000000001),
    ("1.5e2", 150.0),
    (".5 + 5.", 5.5),
    ("NULL", None),
    ("TRUE", True),
    ("r'a\\d'", "a\\d"),
    ("'a\\\\d'", "a\\d"),
    ("'a\\nb'", "a\nb"),
    ("DATE '2013-01-31' = d", True),
    ("CAST('2013-01-31' AS DATE) = d", True),
    ("DATETIME '2013-02-28 23:59:59.9' = dt", True),
    ("TIMESTAMP '2013-02-28T18:59:59.9-05:00' = ts", True),
    ("TIMESTAMP '2013-02-28 23:59:59.9' = ts", True),  # UTC
    ("d = '2013-01-31'", True),
    # Logic and comparison.
    ("n = 7 AND NOT b", False),
    ("n = 8 OR b AND m = 2", True),
    ("(n = 8 OR b) AND m = 3", False),
    ("none > 1 OR b", True),
    ("none > 1 AND b", None),
    ("NOT none > 1", None),
    ("n != 7", False),
    ("n <> 8", True),
    ("n IS NOT NULL", True),
    ("none IS NULL", True),
    ("b IS TRUE", True),
    ("(none > 1) IS NOT TRUE", True),
    ("(none > 1) IS FALSE", False),
    ("n BETWEEN 7 AND 8", True),
    ("n NOT BETWEEN 1 AND 7", False),
    ("n IN (1, 7)", True),
    ("n NOT IN (1, none)", None),
    ("n IN (1, none)", None),
    ("s LIKE 'Z%'", True),
    ("s NOT LIKE '_o%'", False),
    ("s LIKE 'z%'", False),
    ("@from = d", True),
    ("d BETWEEN @from AND @to", True),
    # Numbers.
    ("-n + 3 - 1 * 2", -6),
    ("n - -m", 9),
    ("n / 2", 3.5),
    ("n / 2 / 7", 0.5),
    ("CONCAT(s, '-', s) = s", False),
    ("CONCAT('a', 'b', 'c')", "abc"),
    ("CONCAT('a', none)", None),
    ("CONCAT('a') = 'a'", True),
    ("none IS NOT DISTINCT FROM NULL", True),
    ("n IS DISTINCT FROM none", True),
    ("n IS NOT DISTINCT FROM 7", True),
    ("SAFE_DIVIDE(n, m)", 3.5),
    ("SAFE_DIVIDE(n, m - 2)", None),
    ("SAFE_DIVIDE(n + 1, m * 2)", 2.0),
    ("SAFE_DIVIDE(n, none)", None),
    ("MOD(n, 4)", 3),
    ("MOD(-n, 4)", -3),
    ("MOD(n + 1, 5)", 3),
    ("ABS(-n)", 7),
    ("FLOOR(-x)", -3.0),
    ("CEIL(x)", 3.0),
    ("ROUND(x)", 3.0),  # away from zero
    ("ROUND(-x)", -3.0),
    # Choice.
    ("IF(b, n, m)", 7),
    ("IF(none > 1, n, m)", 2),
    ("IFNULL(none, n)", 7),
    ("COALESCE(none, none, m)", 2),
    ("NULLIF(n, 7)", None),
    ("CASE WHEN n > 8 THEN 1 WHEN n > 6 THEN 2 END", 2),
    ("CASE n WHEN 8 THEN 1 ELSE 3 END", 3),
    # Text.
    ("LENGTH(s)", 5),
    ("STARTS_WITH(s, 'Zo')", True),
    ("ENDS_WITH(s, 'S')", False),
    ("SUBSTR(s, 2, 2)", "oë"),
    ("SUBSTR(s, 4)", "'s"),
    ("REPLACE(s, 'o', '00')", "Z00ë's"),
    ("REGEXP_CONTAINS(s, r'^Z..')", True),
    ("REGEXP_CONTAINS(s, r'\\d')", False),
    ("REGEXP_CONTAINS(none, 'x')", "error"),
    # Dates and times.
    ("DATE(ts)", date(2013, 2, 28)),
    ("DATE(dt) = d", False),
    ("DATE_ADD(d, INTERVAL 1 DAY)", date(2013, 2, 1)),
    ("DATE_ADD(d, INTERVAL 1 MONTH)", date(2013, 2, 28)),
    ("DATE_SUB(d, INTERVAL 2 WEEK)", date(2013, 1, 17)),
    ("DATE_SUB(d, INTERVAL 1 QUARTER)", date(2012, 10, 31)),
    ("DATE_ADD(d, INTERVAL 4 YEAR)", date(2017, 1, 31)),
    ("DATE_DIFF(d, DATE '2013-02-02', DAY)", -2),
    ("DATE_DIFF(DATE_ADD(d, INTERVAL 1 DAY), d, DAY) = 1", True),
    ("DATE_TRUNC(d, MONTH)", date(2013, 1, 1)),
    ("DATE_TRUNC(d, QUARTER)", date(2013, 1, 1)),
    ("DATE_TRUNC(d, YEAR)", date(2013, 1, 1)),
    ("TIMESTAMP_DIFF(TIMESTAMP '2013-03-01 00:00:01.1+00', ts, SECOND)", 1),  # 1.2 s; two borders are crossed
    ("TIMESTAMP_DIFF(ts, TIMESTAMP '2013-03-01 00:00:01.1+00', SECOND)", -1),
    ("TIMESTAMP_DIFF(TIMESTAMP '2013-03-01 00:00:00.1+00', ts, SECOND)", 0),
    ("TIMESTAMP_DIFF(TIMESTAMP '2013-03-01 00:00:01.1+00', ts, MILLISECOND)", 1200),
    ("UNIX_SECONDS(ts)", 1362095999),
    ("UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5')", -1),
    ("EXTRACT(YEAR FROM d)", 2013),
    ("EXTRACT(QUARTER FROM d)", 1),
    ("EXTRACT(MONTH FROM ts)", 2),
    ("EXTRACT(DAY FROM dt)", 28),
    ("EXTRACT(DAYOFYEAR FROM ts)", 59),
    ("EXTRACT(HOUR FROM ts)", 23),
    ("EXTRACT(MINUTE FROM ts)", 59),
    ("EXTRACT(SECOND FROM ts)", 59),
]


@pytest.mark.parametrize(("text", "expected"), ON_THE_FIRST_ROW)
def test_an_expression_gives_the_result_of_the_reference(
    warehouse: duckdb.DuckDBPyConnection, text: str, expected: object
) -> None:
    if expected == "error":
        with pytest.raises(duckdb.BinderException):
            answer(warehouse, text, CONDITION)
        return
    [got] = answer(warehouse, text, CONDITION, "n = 7")
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COUNT(*)", 3),
        ("COUNT(b)", 2),
        ("COUNT(DISTINCT m)", 2),
        ("COUNTIF(n > 0)", 2),
        ("COUNTIF(NOT b OR none = 1)", 1),
        ("SUM(n)", 3),
        ("SUM(DISTINCT m)", 2),
        ("SUM(none)", None),
        ("AVG(n)", 1.0),
        ("MIN(s)", ""),
        ("MAX(d)", date(2013, 2, 1)),
        ("LOGICAL_AND(n != 0)", True),
        ("LOGICAL_OR(n > 7)", False),
        ("STDDEV(n)", 52**0.5),
        ("STDDEV_SAMP(n)", 52**0.5),
        ("STDDEV_POP(n)", (104 / 3) ** 0.5),
        ("VARIANCE(n)", 52.0),
        ("VAR_SAMP(n)", 52.0),
        ("VAR_POP(n)", 104 / 3),
        ("STDDEV(none)", None),
        ("SAFE_DIVIDE(COUNTIF(n < 0), COUNT(*))", 1 / 3),
        ("SAFE_DIVIDE(COUNT(*), COUNT(none))", None),
        ("SAFE_DIVIDE(SUM(n), SUM(m) - 4)", None),
        ("IF(COUNT(*) > 2, MAX(n), 0)", 7),
        ("MAX(n) - MIN(n)", 14),
        ("AVG(IF(b, x, NULL))", 2.5),
    ],
)
def test_an_aggregate_gives_the_result_of_the_reference(
    warehouse: duckdb.DuckDBPyConnection, text: str, expected: object
) -> None:
    [got] = answer(warehouse, text, AGGREGATE)
    assert got == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT d FROM raw.flights WHERE n > 0 ORDER BY d DESC", [(date(2013, 2, 1),), (date(2013, 1, 31),)]),
        ("SELECT m FROM `my-project.raw.flights` ORDER BY b, m", [(2,), (0,), (2,)]),  # nulls first
        ("SELECT DISTINCT m FROM my-project.raw.flights ORDER BY m;", [(0,), (2,)]),
        ("SELECT d, COUNT(*) AS c FROM raw.flights AS f GROUP BY f.d HAVING c > 1", [(date(2013, 1, 31), 2)]),
        ("SELECT d, SUM(n) FROM raw.flights GROUP BY 1 ORDER BY 1", [(date(2013, 1, 31), 0), (date(2013, 2, 1), 3)]),
        ("SELECT a.n FROM raw.flights a LEFT JOIN raw.flights b ON b.n = -a.n WHERE b.n IS NULL", [(3,)]),
        ("SELECT n, b.m FROM raw.flights JOIN (SELECT n, m FROM raw.flights) AS b USING (n) WHERE n = 7", [(7, 2)]),
        ("SELECT COUNT(*) FROM raw.flights a, raw.flights b", [(9,)]),
        ("SELECT COUNT(*) FROM raw.flights a CROSS JOIN raw.flights b", [(9,)]),
        ("SELECT n FROM raw.flights f WHERE EXISTS (SELECT 1 FROM raw.flights g WHERE g.n = -f.n) ORDER BY n", [(-7,), (7,)]),
        ("SELECT n FROM raw.flights WHERE n NOT IN (SELECT none FROM raw.flights)", []),
        ("SELECT n FROM raw.flights WHERE n IN (SELECT MAX(n) FROM raw.flights)", [(7,)]),
        ("WITH a AS (SELECT n FROM raw.flights), b AS (SELECT n FROM a WHERE n > 3) SELECT n FROM b", [(7,)]),
        ("SELECT 1 UNION ALL SELECT 1", [(1,), (1,)]),
        ("(SELECT 1) UNION DISTINCT (SELECT 1)", [(1,)]),
        ("SELECT m FROM raw.flights EXCEPT DISTINCT SELECT 2", [(0,)]),
        ("SELECT m FROM raw.flights INTERSECT DISTINCT SELECT 2", [(2,)]),
        (
            "SELECT n FROM raw.flights WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY d ORDER BY n) = 1 ORDER BY n",
            [(-7,), (3,)],
        ),
        ("SELECT LAG(n) OVER (ORDER BY n) AS p FROM raw.flights ORDER BY n", [(None,), (-7,), (3,)]),
        ("SELECT LEAD(n) OVER (ORDER BY n) AS p FROM raw.flights ORDER BY n", [(3,), (7,), (None,)]),
        ("SELECT RANK() OVER (ORDER BY m DESC) AS r FROM raw.flights ORDER BY r", [(1,), (1,), (3,)]),
        ("SELECT DENSE_RANK() OVER (ORDER BY m DESC) AS r FROM raw.flights ORDER BY r", [(1,), (1,), (2,)]),
        ("SELECT SUM(n) OVER (PARTITION BY d) AS t FROM raw.flights ORDER BY t", [(0,), (0,), (3,)]),
        (
            "SELECT day FROM UNNEST(GENERATE_DATE_ARRAY(@from, @to)) AS day LEFT JOIN raw.flights f ON f.d = day AND n > 5 WHERE n IS NULL",
            [(date(2013, 2, 1),)],
        ),
        ("SELECT day FROM UNNEST(GENERATE_DATE_ARRAY(@from, @to, INTERVAL 1 WEEK)) AS day", [(date(2013, 1, 31),)]),
        ("SELECT d FROM raw.flights WHERE d = DATE_ADD(@from, INTERVAL 1 DAY)", [(date(2013, 2, 1),)]),
        ("SELECT * FROM (SELECT 1 AS a, 2 AS b) AS t", [(1, 2)]),
    ],
)
def test_a_query_gives_the_result_of_the_reference(
    warehouse: duckdb.DuckDBPyConnection, text: str, expected: list[tuple[object, ...]]
) -> None:
    sql = to_duckdb(text, QUERY)
    dates = {"from": date(2013, 1, 31), "to": date(2013, 2, 1)}
    assert warehouse.execute(sql, {k: v for k, v in dates.items() if f"${k}" in sql}).fetchall() == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("n / m > 1", "n / m"),
        ("n / 0 > 1", "n / 0"),
        ("n / 0.0 > 1", "SAFE_DIVIDE"),
        ("DIV(n, 2) = 1", "DIV"),
        ("MOD(n, m) = 1", "MOD"),
        ("SAFE_CAST(s AS INT64) IS NULL", "SAFE_CAST"),
        ("CAST(x AS INT64) = 2", "CAST"),
        ("CAST(x AS STRING) = '2.5'", "CAST"),
        ("CAST(s AS DATE) = d", "CAST"),
        ("TIMESTAMP_DIFF(ts, ts, MINUTE) > 1", "TIMESTAMP_DIFF in MINUTE"),
        ("TIMESTAMP_DIFF(ts, ts, DAY) > 1", "number of seconds"),
        ("DATETIME_DIFF(dt, dt, SECOND) > 1", "DATETIME_DIFF"),
        ("DATE_DIFF(d, d, WEEK) > 1", "DATE_DIFF"),
        ("DATE_TRUNC(d, WEEK) = d", "DATE_TRUNC"),
        ("DATE_TRUNC(d, ISOWEEK) = d", "DATE_TRUNC"),
        ("TIMESTAMP_TRUNC(ts, DAY) = ts", "TIMESTAMP_TRUNC"),
        ("DATE_ADD(d, INTERVAL n DAY) = d", "DATE_ADD"),
        ("EXTRACT(DAYOFWEEK FROM d) = 1", "DAYOFWEEK"),
        ("EXTRACT(WEEK FROM d) = 1", "WEEK"),
        ("EXTRACT(ISOYEAR FROM d) = 1", "ISOYEAR"),
        ("EXTRACT(HOUR FROM ts AT TIME ZONE 'Asia/Tokyo') = 1", "in UTC"),
        ("ts > CURRENT_TIMESTAMP()", "CURRENT_TIMESTAMP"),
        ("a[OFFSET(0)] = 1", "a[OFFSET(0)]"),
        ("FORMAT('%d', n) = '1'", "FORMAT"),
        ("s || s = 'x'", "s || s"),
        ("GREATEST(n, m) > 1", "GREATEST"),
        ("TRIM(s) = ''", "TRIM"),
        ("LOWER(s) = ''", "LOWER"),
        ("s LIKE '50\\\\%'", "LIKE"),
        ("s LIKE s", "LIKE"),
        ("SUBSTR(s, 0, 2) = 'x'", "SUBSTR"),
        ("SUBSTR(s, -2) = 'x'", "SUBSTR"),
        ("REGEXP_CONTAINS(s, s)", "REGEXP_CONTAINS"),
        ("ROUND(x, 1) = 1", "ROUND with DECIMALS"),
        ("n IN UNNEST([1, 2])", "UNNEST"),
        ("n IN (SELECT n FROM raw.flights)", "query"),
        ("EXISTS (SELECT 1)", "EXISTS"),
        ("SUM(n) OVER () > 1", "OVER"),
        ("my_function(n) = 1", "my_function"),
        ("SAFE.SUBSTR(s, 1, -1) = 'x'", "SAFE.SUBSTR"),
        ("n & 1 = 1", "n & 1"),
        ("n = 0x1F", "0x1F"),
        ("s = b'x'", "b'x'"),
        ("n = m = b", "brackets"),
        ("n IN (1) = b", "brackets"),
        ("a.b.c = 1", "a.b.c"),
        ("COUNT(DISTINCT n, m) = 1", "DISTINCT"),
    ],
)
def test_sql_that_may_differ_is_refused_by_name(text: str, named: str) -> None:
    reason = check_sql(text, CONDITION)
    assert reason is not None and named in reason
    with pytest.raises(UnsupportedSql, match="DuckDB"):
        to_duckdb(text, CONDITION)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("APPROX_QUANTILES(n, 2)[OFFSET(1)]", "APPROX_QUANTILES"),
        ("ANY_VALUE(n)", "ANY_VALUE"),
        ("ARRAY_AGG(n LIMIT 1)", "ARRAY_AGG"),
        ("STRING_AGG(s)", "STRING_AGG"),
        ("SUM(n) / COUNT(*)", "SUM(n) / COUNT(*)"),
    ],
)
def test_aggregates_that_differ_are_refused(text: str, named: str) -> None:
    assert named in (check_sql(text, AGGREGATE) or "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SELECT d FROM raw.flights LIMIT 1", "LIMIT"),
        ("SELECT * EXCEPT (n) FROM raw.flights", "EXCEPT"),
        ("SELECT x FROM UNNEST([1, 2]) AS x", "[1, 2]"),
        ("SELECT x FROM UNNEST(GENERATE_DATE_ARRAY(@from, @to)) AS x WITH OFFSET AS o", "OFFSET"),
        ("SELECT d FROM raw.`flights_*`", "flights_*"),
        ("SELECT d FROM raw.flights FOR SYSTEM_TIME AS OF TIMESTAMP '2013-01-01 00:00:00'", "flights"),
        ("WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) SELECT n FROM a", "RECURSIVE"),
        ("SELECT SUM(n) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM raw.flights", "OVER"),
        ("SELECT d FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT d FROM raw.flights TABLESAMPLE SYSTEM (10 PERCENT)", "TABLESAMPLE"),
    ],
)
def test_queries_that_differ_are_refused(text: str, named: str) -> None:
    assert named.lower() in (check_sql(text, QUERY) or "").lower()


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("dep_time >", CONDITION, 'SQL "dep_time >": expected an expression after ">" (character 10)'),
        ("n = (1", CONDITION, 'SQL "n = (1": expected ")" after "1" (character 6)'),
        ("n = 1)", CONDITION, 'SQL "n = 1)": unexpected ")" (character 6)'),
        ("n, m", CONDITION, 'SQL "n, m": unexpected "," (character 2)'),
        ("n AS m", CONDITION, 'SQL "n AS m": unexpected "AS" (character 4)'),
        ("SELECT 1", CONDITION, 'SQL "SELECT 1": unexpected "SELECT" (character 6)'),
        ("n = 1; m = 2", CONDITION, 'SQL "n = 1; m = 2": expected one expression, got several, separated by a semicolon'),
        ("", CONDITION, 'SQL "": expected an expression, got nothing'),
        ("-- nothing", AGGREGATE, 'SQL "-- nothing": expected an expression, got nothing'),
        ("s = 'x", CONDITION, 'SQL "s = \'x": a string, a quoted name or a comment does not end'),
        ("s = '\\d'", CONDITION, "expected only the escapes"),
        ("DROP TABLE raw.flights", CONDITION, "unexpected"),
        ("DROP TABLE raw.flights", QUERY, 'expected a query that begins with SELECT or WITH, got "DROP"'),
        ("INSERT INTO raw.flights (n) VALUES (1)", QUERY, 'got "INSERT"'),
        ("WITH a AS (SELECT 1) DELETE FROM raw.flights WHERE TRUE", QUERY, "expected one query"),
        ("SELECT 1; DROP TABLE raw.flights", QUERY, "expected one query, got several, separated by a semicolon"),
        ("SELECT d\nFROM raw.flights\nWHERE", QUERY, "line 3"),
        ("n = @day", CONDITION, "SQL parameter @day: expected @from or @to"),
    ],
)
def test_sql_that_does_not_parse_gives_one_line(text: str, kind: SqlKind, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_sql(text, kind)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


# Over every combination of a few values, nulls among them; s and t are text, the rest numbers.
PLAIN = [
    (CONDITION, "s = 'x'"),
    (CONDITION, "a * 60 <= 75 * b"),
    (CONDITION, "s = 'x' OR b IS NOT NULL"),
    (CONDITION, "a > 0 OR b IS NULL"),
    (CONDITION, "a > 0 OR b > 0 AND s = 'x' OR b IS NULL"),
    (CONDITION, "s in ('x','y') and b Not In (1, -2.5)"),
    (CONDITION, "a BETWEEN 1 AND 2 AND b NOT BETWEEN -1.5 AND a+1"),
    (CONDITION, "s<>'x'and t!='Zoë — ok'"),
    (CONDITION, "a * 0.1 = 0.2 OR a - b * 2 >= -1"),
    (CONDITION, "s < t"),
    (AGGREGATE, "COUNT(*)"),
    (AGGREGATE, "count( DISTINCT s )"),
    (AGGREGATE, "SUM(a)"),
    (AGGREGATE, "AVG(b)"),
    (AGGREGATE, "MIN(t)"),
    (AGGREGATE, "COUNTIF(a > 1 AND s = 'x')"),
    (AGGREGATE, "SAFE_DIVIDE(COUNTIF(s = 'x'), COUNT(*))"),
    (AGGREGATE, "SAFE_DIVIDE(SUM(a), COUNTIF(a > 100))"),
]
COMBINATIONS = """
  (SELECT unnest([NULL, -3, 0, 1, 2]) AS a) CROSS JOIN (SELECT unnest([NULL, -2.5, 0, 1, 2]::DOUBLE[]) AS b)
  CROSS JOIN (SELECT unnest([NULL, '', 'x', 'X']) AS s) CROSS JOIN (SELECT unnest([NULL, 'x', 'Zoë — ok']) AS t)
"""


@pytest.mark.parametrize(("kind", "text"), PLAIN)
def test_plain_sql_gives_the_same_result_as_the_parsers_translation(kind: SqlKind, text: str) -> None:
    plain, (parsed, refused) = _plain(text, kind), _translated(text, kind)

    assert plain is not None and refused is None
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT {plain}, {parsed} FROM {COMBINATIONS}").fetchall()
    assert [mine for mine, _ in rows] == [theirs for _, theirs in rows]


@pytest.mark.parametrize(
    "text",
    [
        "a --5 > 3",
        "a = 'x' 'y'",
        "a = 'it\\'s'",
        'a = "x"',
        "a = r'x'",
        "a = NULL",
        "a IN (NULL)",
        "a = CURRENT_DATE",
        "a.b = 1",
        "a = b = c",
        "a = 1 AND",
        "AND a = 1",
        "a = 1 b = 2",
        "a = 0x1F",
        "a = 1e5",
        "a = 1..2",
        "a = 1_000",
        "a = 'x\ny'",
        "f (a) = 1",
        "a = 1 -- x",
        "a = @from",
        "date '2013-01-01' = a",
        "case = 1",
        "a",
        "NOT a = 1",
        "COUNT(a) > 1",
    ],
)
def test_sql_that_is_not_certainly_plain_goes_to_the_parser(text: str) -> None:
    assert _plain(text, CONDITION) is None


@pytest.mark.parametrize(
    "text",
    [
        "".join(parts)
        for parts in product(("a", "1", "'x'", "and"), (" ", ""), ("=", "and", "in"), (" ", ""), ("a", "(1)", "1 "))
    ],
)
def test_plain_sql_also_parses(text: str) -> None:
    if _plain(text, CONDITION) is not None:
        assert _translated(text, CONDITION)[1] is None


def test_plain_sql_does_not_import_the_parser() -> None:
    code = (
        "import sys; from phasegate.adapters.warehouse.googlesql import check_sql; from phasegate.core.checks.sql import SqlKind;"
        "check_sql('a > 1', SqlKind.CONDITION); sys.exit('sqlglot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("d = DATE '2024-1-1'", "DATE '2024-1-1' is not written in full; write it like DATE '2024-01-31'"),
        (
            "ts > TIMESTAMP '2024-02-05 10:00'",
            "TIMESTAMP '2024-02-05 10:00' is not written in full; write it like TIMESTAMP '2024-",
        ),
        (
            "dt > DATETIME '2024-02-05'",
            "DATETIME '2024-02-05' is not written in full; write it like DATETIME '2024-01-31 10:00:00'",
        ),
        ("LOWER(s) = 'x'", "compare with REGEXP_CONTAINS(a, r'(?i)^b$')"),
        ("GREATEST(n, m) > 1", "write CASE WHEN a >= b THEN a ELSE b END"),
        ("CAST(s AS INT64) > 1", "compare columns with values of their own type"),
    ],
)
def test_what_is_refused_says_what_to_write(text: str, reason: str) -> None:
    assert reason in str(check_sql(text, CONDITION))


def test_an_approximate_count_is_exact_here(warehouse: duckdb.DuckDBPyConnection) -> None:
    exact = answer(warehouse, "COUNT(DISTINCT n)", SqlKind.AGGREGATE)
    assert answer(warehouse, "APPROX_COUNT_DISTINCT(n)", SqlKind.AGGREGATE) == exact


def test_a_median_is_no_function_of_bigquery() -> None:
    assert "BigQuery has no MEDIAN either" in str(check_sql("MEDIAN(n)", SqlKind.AGGREGATE))
