"""What checks of small tables in files say, from the pipeline file to the message."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.core.gates.verdict import PhaseVerdict, Verdict, judge_phase
from phasegate.errors import ConfigError
from phasegate.gates.measurement import measure

DAY, NEXT = date(2021, 1, 1), date(2021, 1, 2)
SHOP = """\
pipeline: shop
calendar: {{from: 2021-01-01}}
phases:
  raw:
    due: 06:00 +1d
    outputs:
      raw.items: {{date: run_date, may_be_empty: true}}
      raw.orders: {{date: run_date, may_be_empty: {empty}, checks: [{check}]}}
"""
ORDERS = """\
run_date,id,status,amount,loaded_at
2021-01-01,9007199254740992,ok,10,2031-01-01T00:00:00Z
2021-01-01,2,ok,inf,2021-01-02T05:59:15Z
"""
UNDATED = (
    "SELECT i.run_date FROM raw.orders AS o LEFT JOIN raw.items AS i ON i.id = o.id AND i.run_date = o.run_date "
    "WHERE o.run_date BETWEEN @from AND @to AND i.id IS NULL"
)


def judged(folder: Path, check: str, *, day: date = DAY, empty: bool = False) -> PhaseVerdict:
    """The verdict on the phase with one check of raw.orders."""
    (folder / "raw").mkdir()
    (folder / "raw/orders.csv").write_text(ORDERS)
    (folder / "raw/items.csv").write_text("run_date,id\n2021-01-02,5\n")
    (folder / "shop.yaml").write_text(SHOP.format(check=check, empty=str(empty).lower()))
    pipeline = load(folder / "shop.yaml")
    now = datetime(2021, 1, 3, tzinfo=UTC)
    answers = measure(DuckDBWarehouse(folder), pipeline, ["raw"], Span(DAY, NEXT), now=now)
    return judge_phase(pipeline, "raw", day, answers)


@pytest.mark.parametrize(
    ("check", "outcome", "message"),
    [
        # A count of nothing is 0.
        ("aggregate: {sql: COUNT(*), where: status = 'error', at_most: 0}", "passed", "is 0"),
        ("aggregate: {sql: COUNTIF(status = 'error'), where: id < 0, at_most: 0}", "passed", "is 0"),
        (
            "aggregate: {sql: COUNT(DISTINCT id), where: id < 0, at_least: 1, null_ok: true}",
            "failed",
            "is 0, expected at least 1",
        ),
        ("aggregate: {sql: COUNT(*) - COUNT(DISTINCT id), where: id < 0, at_most: 0}", "passed", "is 0"),
        ("aggregate: {sql: 'COALESCE(SUM(id), 0)', where: id < 0, at_most: 0}", "passed", "is 0"),
        ("aggregate: {sql: SUM(id), where: id < 0, at_most: 0}", "failed", "is null, expected at most 0"),
        # Rows against nothing, and rows without a date.
        ("row_count: {per: raw.items, between: [1, 1]}", "failed", "has 2 rows, compared with the 0 rows of raw.items"),
        ("row_count: {per: raw.items, at_most: 5}", "failed", "has 2 rows, compared with the 0 rows of raw.items"),
        ("row_count: {per: raw.items, where: id < 0, at_most: 5}", "not_evaluated", "nothing to judge"),
        (f"sql: {{query: '{UNDATED}'}}", "not_evaluated", "the query returns rows whose run_date is null"),
        # Infinity is a number.
        ("aggregate: {sql: MAX(amount), at_most: 100, null_ok: true}", "failed", "is infinity, expected at most 100"),
        ("in_range: {column: amount, max: 100}", "failed", "amount is not at most 100 in 1 of 2 rows (50%), expected none"),
        # Whole numbers are exact.
        ("in_range: {column: id, min: 9007199254740993, where: id > 2}", "failed", "1 of 1 rows where id > 2"),
        ("in_range: {column: id, max: 9007199254740991.5}", "failed", "in 1 of 2 rows (50%)"),
        ("accepted_values: {column: id, values: [2, 9007199254740993]}", "failed", "in 1 of 2 rows (50%)"),
        ("aggregate: {sql: SUM(id), between: [9007199254740994, 9007199254740994]}", "passed", "is 9,007,199,254,740,994"),
        ("aggregate: {sql: SUM(id), below: 9007199254740994}", "failed", "expected below 9,007,199,254,740,994"),
        ("aggregate: {sql: SUM(id), at_least: 123456789012345678901234567890}", "failed", "expected at least 123,456,789,012"),
        # A time in the future is no freshness, and seconds count.
        ("fresh: {column: loaded_at, within: 3h}", "failed", "the newest raw.orders.loaded_at is 3,650 days in the future"),
        (
            "fresh: {column: loaded_at, within: 44s, where: id = 2}",
            "failed",
            "45 s older than the due time, expected within 44 s",
        ),
        ("fresh: {column: loaded_at, within: 45s, where: id = 2}", "passed", "where id = 2 is 45 s older than the due time"),
        # Passing checks are told positively; what is tolerated is named.
        (
            "accepted_values: {column: status, values: [ok, paid]}",
            "passed",
            "all 2 rows of raw.orders have status in ok or paid",
        ),
        ("unique: {columns: [status], at_most: 0.5}", "passed", "(50% of 2 rows); up to 50% is allowed"),
        (
            "unique: {columns: [status], at_most: 0.49}",
            "failed",
            "1 duplicate row for (status) (50% of 2 rows), expected at most 49%",
        ),
        (
            "not_null: {columns: [status], where: id > 2}",
            "passed",
            "the only row of raw.orders where id > 2 has a value in status",
        ),
        # Schemas.
        ("schema: {columns: {id: bigint, status: any}}", "passed", "all declared columns exist"),
        (
            "schema: {columns: {run_date: date, id: INT64}, exact: true}",
            "failed",
            "status is not declared; amount is not declared",
        ),
        ("schema: {columns: {id: INT64, run_date: DATE}, ordered: true}", "failed", "the order is run_date, id"),
    ],
)
def test_a_check_says(tmp_path, check, outcome, message):
    result = next(each for each in judged(tmp_path, check).results if each.name != "raw.orders.not_empty")
    assert (str(result.outcome), message in result.message) == (outcome, True), result.message


def test_rows_without_a_date_leave_the_gate_unverified_on_every_date(tmp_path):
    found = judged(tmp_path, f"sql: {{query: '{UNDATED}'}}", empty=True)
    assert (found.verdict, found.score) == (Verdict.UNVERIFIED, None)


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        ("aggregate: {sql: COUNT(*), where: status = 'error', at_most: 0}", Verdict.PASS),
        ("aggregate: {sql: COUNT(*), at_least: 1}", Verdict.FAIL),
        ("aggregate: {sql: MAX(amount), at_most: 100}", Verdict.PASS),
        ("aggregate: {sql: MAX(amount), at_most: 100, judge_empty: true}", Verdict.FAIL),
        ("distinct: {column: status, at_least: 2}", Verdict.PASS),
        ("distinct: {column: status, at_least: 2, judge_empty: true}", Verdict.FAIL),
        ("fresh: {column: loaded_at, within: 3h}", Verdict.PASS),
        ("fresh: {column: loaded_at, within: 3h, judge_empty: true}", Verdict.FAIL),
        ("not_null: {columns: [status]}", Verdict.PASS),
        ("row_count: {at_least: 1}", Verdict.FAIL),
        ("row_count: {per: raw.items, at_least: 1}", Verdict.FAIL),
        ("coverage: {of: raw.items, key: [id]}", Verdict.FAIL),
    ],
)
def test_what_may_be_empty_is_judged_only_where_there_are_rows(tmp_path, check, verdict):
    """But for checks that count rows, and those that say that they are judged anyway."""
    assert judged(tmp_path, check, day=NEXT, empty=True).verdict is verdict


def test_a_row_count_that_allows_no_rows_stands_in_place_of_the_implied_one(tmp_path):
    found = judged(tmp_path, "row_count: {between: [0, 10]}", day=NEXT)
    assert (found.verdict, [each.name for each in found.outputs[1].results]) == (Verdict.PASS, ["raw.orders.row_count"])


def test_columns_and_tables_may_have_any_name_that_bigquery_allows(tmp_path):
    (tmp_path / "2024_raw").mkdir()
    (tmp_path / "2024_raw/Bestellungen für-alle 1.csv").write_text(
        "Tag der Bestellung,Order ID,größe,2nd-try\n2021-01-01,1,2,x\n"
    )
    (tmp_path / "shop.yaml").write_text(
        "pipeline: shop\ncalendar: {from: 2021-01-01}\nphases: {raw: {outputs: {'2024_raw.Bestellungen für-alle 1': "
        "{date: Tag der Bestellung, key: [Order ID], checks: [in_range: {column: größe, max: 1}, "
        "accepted_values: {column: 2nd-try, values: [x]}, invariant: {that: '`Order ID` = 1'}]}}}}\n"
    )
    pipeline = load(tmp_path / "shop.yaml")
    answers = measure(DuckDBWarehouse(tmp_path), pipeline, ["raw"], Span(DAY, DAY))
    found = judge_phase(pipeline, "raw", DAY, answers)
    assert [str(each.outcome) for each in found.results] == ["passed", "failed", "passed", "passed", "passed"]


@pytest.mark.parametrize("name", ['a"b', "a`b", "a\\b", "a.b", "a;b", " a", "a ", "a\nb", "a(b)"])
def test_a_name_can_not_end_its_quotes(tmp_path, name):
    with pytest.raises(ConfigError, match="expected a column name"):
        judged(tmp_path, f"not_null: {{columns: [{json.dumps(name)}]}}")


@pytest.mark.parametrize(
    ("bound", "outcome"), [("max: 2021-01-02", "passed"), ("max: 2021-01-01", "failed"), ("min: 2021-01-03", "failed")]
)
def test_a_date_means_the_whole_day_of_a_timestamp(tmp_path, bound, outcome):
    found = judged(tmp_path, f"in_range: {{column: loaded_at, {bound}, where: id = 2}}")
    assert str(next(each for each in found.results if each.kind == "in_range").outcome) == outcome
