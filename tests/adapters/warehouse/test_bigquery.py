"""The requests of the BigQuery adapter, how it reads responses, and that the emulator accepts every statement."""

import json
import socket
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Lock
from urllib.parse import urlsplit

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud.bigquery import Client, QueryJobConfig, ScalarQueryParameter
from phasegate.adapters.warehouse.bigquery import PARALLEL_QUERIES, BigQueryWarehouse
from phasegate.adapters.warehouse.dialect import Dialect, render
from phasegate.app.pipeline_file import load
from phasegate.core.checks.kinds import KINDS
from phasegate.core.checks.metrics import (
    MIN_BYTES_BILLED,
    Aggregate,
    Answer,
    AnyMetric,
    Cost,
    CustomSource,
    ExpectedKeys,
    Fault,
    Nulls,
    Orphans,
    PairSource,
    Query,
    Rows,
    Source,
    TableSource,
    Unmeasured,
)
from phasegate.core.field_syntax import Span
from phasegate.core.gates.verdict import queries
from phasegate.errors import ConfigError, WarehouseError

from tests.bigquery import SOON, create

DAY = date(2013, 6, 3)
DAYS = Span(date(2013, 6, 1), date(2013, 6, 30))
FLIGHTS = TableSource("raw.flights", "d")

Answered = tuple[int, object]


class Wire(AuthorizedSession):
    """A session that records every request to BigQuery and can answer it.

    Args:
        meet: Takes method, path and body; returns status and JSON as the response, or None to send the request on.
    """

    def __init__(self, meet: Callable[[str, str, dict], Answered | None] = lambda *_: None) -> None:
        super().__init__(AnonymousCredentials())  # type: ignore[no-untyped-call]
        self.sent: list[tuple[str, str, dict]] = []
        self.lost = 0
        """How many of the next responses to POST requests are lost."""
        self._meet = meet
        self._keeping = Lock()

    def request(self, method, url, data=None, **kwargs):
        body = json.loads(data) if data and "/upload/" not in url else {}
        with self._keeping:
            self.sent.append((method, urlsplit(url).path, body))
        met = self._meet(method, urlsplit(url).path, body)
        if met is None:
            through = super().request(method, url, data=data, **kwargs)
            if method == "POST" and self.lost:
                self.lost -= 1
                raise requests.ConnectionError("the answer was lost")
            return through
        answer = requests.Response()
        answer.status_code, answer.headers["Content-Type"] = met[0], "application/json"
        answer.request = requests.Request(method, url).prepare()
        answer._content = json.dumps(met[1]).encode()
        return answer

    def jobs(self, *, dry: bool = False) -> list[dict]:
        """The jobs that were sent; with *dry*, the dry runs."""
        jobs = [body for method, path, body in self.sent if method == "POST" and path.endswith("/jobs")]
        return [job for job in jobs if job["configuration"].get("dryRun", False) is dry]


def table(project: str = "test-project", kind: str = "TABLE", **columns: str) -> dict:
    """A table as the API describes it."""
    return {
        "tableReference": {"projectId": project, "datasetId": "raw", "tableId": "flights"},
        "schema": {"fields": [{"name": name, "type": declared} for name, declared in ({"d": "DATE"} | columns).items()]},
        "type": kind,
        "location": "EU",
    }


def api_error(status: int, reason: str, message: str) -> Answered:
    """An error as the API returns it."""
    return status, {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


def done(body: Mapping, *, billed: int = 0, error: Mapping | None = None) -> Answered:
    """A finished job."""
    status = {"state": "DONE"} | ({"errorResult": error, "errors": [error]} if error else {})
    reference = {**body["jobReference"], "location": "EU"}
    statistics = {"query": {"totalBytesBilled": str(billed)}}
    return 200, {
        "jobReference": reference,
        "configuration": body["configuration"],
        "status": status,
        "statistics": statistics,
    }


def rows(path: str, *values: object) -> Answered:
    """The one row of a job's result: Monday, and some whole numbers."""
    fields = [{"name": "d", "type": "DATE"}, *({"name": f"f{n}", "type": "INTEGER"} for n in range(len(values)))]
    row = {"f": [{"v": str(DAY)}, *({"v": str(value)} for value in values)]}
    reference = {"projectId": "test-project", "jobId": path.rpartition("/")[2], "location": "EU"}
    return 200, {
        "jobComplete": True,
        "schema": {"fields": fields},
        "rows": [row],
        "totalRows": "1",
        "jobReference": reference,
    }


def scripted(job: Callable[[dict], Answered], *, like: Mapping | None = None) -> Wire:
    """A service with one table; *job* returns the end of each job, and successful jobs return one row."""

    def meet(method: str, path: str, body: dict) -> Answered:
        if "/tables/" in path:
            return 200, like or table(x="INTEGER")
        return job(body) if method == "POST" else rows(path, 7)

    return Wire(meet)


def warehouse(wire: Wire, **options: object) -> BigQueryWarehouse:
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = Client("test-project", credentials=anonymous, _http=wire)
    return BigQueryWarehouse("test-project", client=client, **{"timeout": 5, "retry_timeout": 0.1, **options})


def ask(warehouse: BigQueryWarehouse, *metrics: AnyMetric, source: Source = FLIGHTS) -> Answer:
    [answer] = warehouse.measure([Query(source, metrics)], DAYS)
    return answer


@pytest.fixture
def wire(bigquery_client: Client) -> Wire:
    """The recorded session to the emulator."""
    wire = Wire()
    bigquery_client._http_internal = wire
    return wire


@pytest.fixture
def emulated(bigquery_client: Client, wire: Wire) -> BigQueryWarehouse:
    """A warehouse in the emulator with three rows on Monday in raw.flights, which requires a partition filter."""
    there = [(DAY, 1, "a"), (DAY, 2, "b"), (DAY, 0, None)]
    create(bigquery_client, "raw.flights", "d DATE, x INT64, s STRING", there, partition="d")
    wire.sent.clear()
    return BigQueryWarehouse(bigquery_client.project, client=bigquery_client, timeout=30, retry_timeout=5)


# Statements for every kind of check.

TABLES = {
    "raw.schedule": "day DATE, id INT64, status STRING",
    "raw.flights": "d DATE, id INT64, carrier STRING, dep_time INT64, delay FLOAT64, fare NUMERIC, late BOOL, loaded_at TIMESTAMP",
    "clean.flights": "day DATE, id INT64, carrier STRING",
}
EVERY_KIND = """\
pipeline: flights
calendar:
  from: 2013-01-01
  expected: {table: raw.schedule, date: day, count: id, where: status = 'planned'}
phases:
  raw:
    due: 06:00 +1d
    outputs:
      raw.flights:
        date: d
        key: [d, carrier, id]
        checks:
          - row_count: {per: expected, between: [0.9, 1.1]}
          - unique: {columns: [carrier, id], where: carrier != 'XX'}
          - unique: {columns: [id]}
          - not_null: {columns: [dep_time, delay], where: carrier != 'XX'}
          - accepted_values: {column: carrier, values: [AA, UA]}
          - in_range: {column: delay, min: -60, max: 1440.5}
          - in_range: {column: fare, min: 0}
          - in_range: {column: dep_time, max: 2400, where: late = TRUE}
          - matches: {column: carrier, pattern: "^[A-Z0-9]{2}$"}
          - invariant: {that: dep_time >= 0 OR late}
          - distinct: {column: carrier, between: [1, 20]}
          - fresh: {column: loaded_at, within: 3h}
          - aggregate: {sql: AVG(delay), between: [0, 60]}
          - aggregate: {sql: "SAFE_DIVIDE(COUNTIF(late), COUNT(*))", at_most: 0.5, where: carrier = 'AA'}
          - schema: {columns: {id: INT64, delay: FLOAT64, fare: NUMERIC, late: BOOL, loaded_at: TIMESTAMP}}
          - sql: {query: "SELECT d FROM raw.flights WHERE d BETWEEN @from AND @to AND delay < -60"}
  clean:
    after: [raw]
    outputs:
      clean.flights:
        date: day
        checks:
          - row_count: {per: raw.flights, between: [1, 1]}
          - coverage: {of: raw.flights, key: [carrier, id]}
          - references: {columns: [id], table: raw.flights, to: [id]}
"""


@pytest.fixture
def every_kind(tmp_path: Path) -> tuple[Query, ...]:
    file = tmp_path / "flights.yaml"
    file.write_text(EVERY_KIND)
    pipeline = load(file)
    checks = [placed.check for phase in pipeline.phases for placed in sum(pipeline.checks(phase).values(), ())]
    missing = set(KINDS) - {check.kind for check in checks}
    assert not missing, f"add a check of kind {missing} to EVERY_KIND, and the columns that it needs to TABLES"
    return queries(pipeline, pipeline.phases)


def test_every_kind_of_check_has_a_statement(every_kind: tuple[Query, ...]) -> None:
    """The tests below send them to the emulator, and test_zetasql.py to Google's analyser."""
    assert all(render(query, DAYS, Dialect.BIGQUERY).text for query in every_kind)


@pytest.fixture
def tables(bigquery_client: Client) -> None:
    """Tables that all require a filter on the run date."""
    for name, columns in TABLES.items():
        create(bigquery_client, name, columns, partition=columns.partition(" ")[0])


@pytest.mark.usefixtures("tables")
def test_every_kind_of_check_is_measured(bigquery_client: Client, every_kind: tuple[Query, ...]) -> None:
    """Each statement filters each of its tables, or it would not run."""
    warehouse = BigQueryWarehouse(bigquery_client.project, client=bigquery_client, timeout=30, retry_timeout=5)
    answers = list(warehouse.measure(every_kind, DAYS))

    assert [answer.unmeasured for answer in answers] == [{}] * len(every_kind)
    assert [answer.cost.queries for answer in answers] == [1] * len(every_kind)
    [types] = [answer.types for answer in answers if answer.types is not None]
    assert isinstance(types, Mapping) and types["late"] == "BOOL" and types["fare"] == "NUMERIC"


@pytest.mark.usefixtures("tables")
def test_without_their_filter_the_same_statements_are_refused(bigquery_client: Client, every_kind: tuple[Query, ...]) -> None:
    for query in every_kind:
        statement = render(query, DAYS, Dialect.BIGQUERY)
        whole = statement.text.replace("`d` BETWEEN @from AND @to", "TRUE").replace("`day` BETWEEN @from AND @to", "TRUE")
        whole = whole.replace(" OR `d` IS NULL", "")
        whole = whole.replace("d BETWEEN @from AND @to", "@from <= @to").replace("WHERE TRUE", "WHERE @from <= @to")
        params = [ScalarQueryParameter(param.name, param.type, param.value) for param in statement.params]
        config = QueryJobConfig(query_parameters=params)
        with pytest.raises(Exception, match="without a filter"):
            bigquery_client.query(whole, config, retry=SOON, timeout=10, job_retry=None).result(retry=SOON, timeout=10)


# Requests.


def test_a_job_has_limits_of_cost_and_time_and_labels() -> None:
    wire = scripted(done)

    answer = ask(warehouse(wire, maximum_bytes_billed=MIN_BYTES_BILLED, timeout=7), Rows())

    assert answer.numbers == {DAY: (7,)}
    [job] = wire.jobs()
    configuration = job["configuration"]
    assert configuration["query"]["maximumBytesBilled"] == str(MIN_BYTES_BILLED)
    assert configuration["jobTimeoutMs"] == "7000"
    assert configuration["labels"] == {"tool": "phasegate", "table": "raw-flights"}
    assert configuration["query"]["useLegacySql"] is False
    assert configuration["query"]["parameterMode"] == "NAMED"
    assert [param["name"] for param in configuration["query"]["queryParameters"]] == ["from", "to"]
    assert job["jobReference"]["location"] == "EU", "where the table is"


def test_a_job_runs_where_its_table_is_unless_a_location_is_set() -> None:
    def meet(method: str, path: str, body: dict) -> Answered:
        if "/tables/" in path:
            return 200, table() | {"location": path.rpartition("/")[2].upper()}
        return done(body) if method == "POST" else rows(path, 7)

    custom = CustomSource("SELECT d FROM raw.v WHERE d BETWEEN @from AND @to", "d")
    queries = [Query(source, (Rows(),)) for source in (TableSource("raw.eu", "d"), TableSource("raw.us", "d"), custom)]
    for location, expected in (
        (None, {"raw-eu": "EU", "raw-us": "US", "query": "EU"}),
        ("X", dict.fromkeys(("raw-eu", "raw-us", "query"), "X")),
    ):
        wire = Wire(meet)
        list(warehouse(wire, location=location).measure(queries, DAYS))
        locations = {job["configuration"]["labels"]["table"]: job["jobReference"]["location"] for job in wire.jobs()}
        assert locations == expected


def test_a_limit_below_the_minimum_bill_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected at least 10485760, got 1"):
        BigQueryWarehouse("p", maximum_bytes_billed=1)


@pytest.mark.parametrize(("kind", "cached"), [("TABLE", True), ("VIEW", False), ("EXTERNAL", False)])
def test_only_native_tables_use_the_result_cache(kind: str, cached: bool) -> None:
    wire = scripted(done, like=table(kind=kind))

    ask(warehouse(wire), Rows())

    assert wire.jobs()[0]["configuration"]["query"]["useQueryCache"] is cached


def test_a_users_query_never_uses_the_result_cache() -> None:
    wire = scripted(done)

    ask(warehouse(wire), Rows(), source=CustomSource("SELECT d FROM raw.v WHERE d BETWEEN @from AND @to", "d"))

    [job] = wire.jobs()
    assert job["configuration"]["query"]["useQueryCache"] is False
    assert job["configuration"]["labels"]["table"] == "query"


def test_the_billed_bytes_of_all_jobs_are_counted() -> None:
    wire = scripted(lambda body: done(body, billed=2 * MIN_BYTES_BILLED))
    queries = [Query(FLIGHTS, (Rows(),)), Query(FLIGHTS, (Nulls("x"),))]

    costs = [answer.cost for answer in warehouse(wire).measure(queries, DAYS)]

    assert sum(costs, Cost()) == Cost(2, 4 * MIN_BYTES_BILLED)


def test_queries_run_in_parallel_up_to_a_limit() -> None:
    """Jobs up to the limit wait for each other; a barrier for one more breaks."""
    full, more = Barrier(PARALLEL_QUERIES), Barrier(PARALLEL_QUERIES + 1)

    def job(body: dict) -> Answered:
        full.wait(10)
        with pytest.raises(BrokenBarrierError):
            more.wait(0.05)
        return done(body)

    queries = [Query(TableSource(f"raw.t{n}", "d"), (Rows(),)) for n in range(2 * PARALLEL_QUERIES)]
    assert len(list(warehouse(scripted(job)).measure(queries, DAYS))) == 2 * PARALLEL_QUERIES


# Job ids.


def test_a_request_whose_response_was_lost_finds_its_job(emulated: BigQueryWarehouse, wire: Wire) -> None:
    wire.lost = 1

    answer = ask(emulated, Rows())

    assert answer.numbers == {DAY: (3,)} and answer.cost == Cost(1)
    first, second = (job["jobReference"]["jobId"] for job in wire.jobs())
    assert first == second
    assert ("GET", f"/bigquery/v2/projects/{emulated._project}/jobs/{first}", {}) in wire.sent


def test_a_later_measurement_never_reuses_an_old_job(emulated: BigQueryWarehouse, bigquery_client: Client, wire: Wire) -> None:
    assert ask(emulated, Rows()).numbers == {DAY: (3,)}
    bigquery_client.query("DELETE FROM raw.flights WHERE d = '2013-06-03' AND x = 1", retry=SOON, job_retry=None).result()
    wire.sent.clear()

    assert ask(emulated, Rows()).numbers == {DAY: (2,)}


def test_a_job_id_has_measurement_statement_and_attempt() -> None:
    wire = scripted(done)
    ids = iter("abc")
    bigquery = warehouse(wire, new_id=lambda: next(ids))

    for metric in (Rows(), Nulls("x"), Rows()):
        ask(bigquery, metric)

    first, other, again = [job["jobReference"]["jobId"].split("-") for job in wire.jobs()]
    assert (first[:2], other[:2], again[:2]) == (["phasegate", "a"], ["phasegate", "b"], ["phasegate", "c"])
    assert first[2] == again[2] != other[2] and first[3] == "1"


def test_a_job_that_failed_by_itself_is_restarted_under_another_id() -> None:
    failures = iter([{"reason": "jobBackendError", "message": "try again"}])
    wire = scripted(lambda body: done(body, error=next(failures, None)))

    answer = ask(warehouse(wire, retry_timeout=10), Rows())

    assert answer.numbers == {DAY: (7,)} and not answer.unmeasured
    assert [job["jobReference"]["jobId"][-2:] for job in wire.jobs()] == ["-1", "-2"]


# Errors.


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            api_error(400, "invalidQuery", "Unrecognized name: dep_tme; Did you mean dep_time? at [2:9]"),
            Unmeasured(Fault.COLUMN, "table raw.flights has no column dep_tme; did you mean dep_time?"),
        ),
        (
            api_error(400, "invalidQuery", "Name z not found inside flights at [2:9]"),
            Unmeasured(Fault.COLUMN, "table raw.flights has no column z"),
        ),
        (
            api_error(400, "invalidQuery", "No matching signature for function AVG\nArgument types: STRING at [2:3]"),
            Unmeasured(Fault.SQL, "table raw.flights: No matching signature for function AVG"),
        ),
        (
            api_error(404, "notFound", "Not found: Table test-project:raw.flights was not found in location EU"),
            Unmeasured(Fault.TABLE, "there is no table raw.flights"),
        ),
        (
            api_error(404, "notFound", "Not found: Dataset other-project:raw was not found in location EU"),
            Unmeasured(Fault.TABLE, "there is no dataset other-project.raw"),
        ),
        (
            api_error(403, "accessDenied", "Access Denied: Table test-project:raw.flights: User does not have permission."),
            Unmeasured(
                Fault.TABLE,
                "table raw.flights may not be read: Access Denied: Table test-project:raw.flights: "
                "User does not have permission",
            ),
        ),
        (
            api_error(
                400, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 10485760. 20971520 or higher required."
            ),
            Unmeasured(
                Fault.SQL,
                "table raw.flights: Query exceeded limit for bytes billed: 10485760. 20971520 or higher required; "
                "maximum_bytes_billed is what one query may cost",
            ),
        ),
        (api_error(503, "backendError", "Try https://x.y/z"), "BigQuery could not answer for table raw.flights: Try …"),
        (api_error(429, "rateLimitExceeded", "Too many"), "BigQuery could not answer for table raw.flights: Too many"),
        (api_error(403, "quotaExceeded", "Custom quota"), "BigQuery could not answer for table raw.flights: Custom quota"),
        ((502, {}), "BigQuery does not answer: "),
        ((500, {"error": {"message": "internal"}}), "BigQuery does not answer: "),
    ],
)
def test_an_error_of_a_job_becomes_one_line(error: Answered, expected: Unmeasured | str) -> None:
    wire = scripted(lambda _: error, like=table(dep_time="INTEGER"))

    answer = ask(warehouse(wire), Rows())

    got = answer.unmeasured[Rows()]
    assert "\n" not in got.reason and "http" not in got.reason and answer.numbers == {}
    if isinstance(expected, Unmeasured):
        assert got == expected and not got.retryable
    else:
        assert got.fault is Fault.UNAVAILABLE and got.retryable and got.reason.startswith(expected)


@pytest.mark.parametrize(
    ("reason", "fault", "message"),
    [
        ("bytesBilledLimitExceeded", Fault.SQL, "table raw.flights: 1 < 2; maximum_bytes_billed is what one query may cost"),
        ("stopped", Fault.UNAVAILABLE, "BigQuery could not answer for table raw.flights: 1 < 2"),
        ("timeout", Fault.UNAVAILABLE, "BigQuery could not answer for table raw.flights: 1 < 2"),
        ("internalError", Fault.UNAVAILABLE, "BigQuery could not answer for table raw.flights: 1 < 2"),
        ("somethingNew", Fault.UNAVAILABLE, "BigQuery does not answer: 1 < 2"),
        ("invalidQuery", Fault.SQL, "table raw.flights: 1 < 2"),
    ],
)
def test_a_failed_job_gives_its_reason(reason: str, fault: Fault, message: str) -> None:
    """The client treats a reason that it does not know, such as an exceeded limit, as a server error."""
    wire = scripted(lambda body: done(body, error={"reason": reason, "message": "1 < 2"}))

    assert ask(warehouse(wire), Rows()).unmeasured == {Rows(): Unmeasured(fault, message)}


@pytest.mark.parametrize(
    "lost", [requests.ConnectionError("http://user:secret@host"), requests.Timeout("slow"), TimeoutError()]
)
def test_a_lost_connection_makes_metrics_unavailable(lost: Exception) -> None:
    def job(_: dict) -> Answered:
        raise lost

    got = ask(warehouse(scripted(job)), Rows()).unmeasured[Rows()]

    assert got == Unmeasured(Fault.UNAVAILABLE, f"BigQuery does not answer: {type(lost).__name__}")


@pytest.mark.parametrize(
    "error",
    [
        api_error(
            403, "accessDenied", "Access Denied: Project test-project: User does not have bigquery.jobs.create permission."
        ),
        api_error(403, "accessNotConfigured", "BigQuery API has not been used in project 1 before or it is disabled."),
        api_error(404, "notFound", "Not found: Project test-project"),
        api_error(401, "authError", "Invalid Credentials"),
    ],
)
def test_a_project_that_may_not_be_queried_is_an_error(error: Answered) -> None:
    with pytest.raises(WarehouseError, match=r"^project test-project: ") as caught:
        ask(warehouse(scripted(lambda _: error)), Rows())

    assert not caught.value.retryable and "\n" not in str(caught.value)


def test_one_table_that_does_not_answer_fails_its_own_metrics_only() -> None:
    def meet(method: str, path: str, body: dict) -> Answered:
        if path.endswith("/tables/flights"):
            return 503, {}
        return (200, table()) if "/tables/" in path else done(body) if method == "POST" else rows(path, 7)

    queries = [Query(FLIGHTS, (Rows(),), types=True), Query(TableSource("raw.weather", "d"), (Rows(),))]
    answers = {answer.query: answer for answer in warehouse(Wire(meet)).measure(queries, DAYS)}

    silent = answers[queries[0]]
    assert silent.unmeasured[Rows()].retryable and isinstance(silent.types, Unmeasured) and silent.cost == Cost(0)
    assert answers[queries[1]].numbers == {DAY: (7,)}


def test_when_no_table_answers_the_warehouse_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(WarehouseError, match="project test-project: BigQuery does not answer") as caught:
            ask(BigQueryWarehouse("test-project", retry_timeout=0.1), Rows())

    assert caught.value.retryable and "127.0.0.1" not in str(caught.value)


def test_missing_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/secret.json")

    with pytest.raises(WarehouseError, match="no credentials for Google Cloud") as caught:
        ask(BigQueryWarehouse("test-project"), Rows())

    assert not caught.value.retryable and "secret" not in str(caught.value) and "http" not in str(caught.value)


def test_wrong_sql_is_reported_before_anything_is_sent() -> None:
    wire = scripted(done)

    with pytest.raises(ConfigError, match="x >"):
        ask(warehouse(wire), Rows("x >"))
    assert wire.sent == []


# A bad metric fails alone.


def test_metrics_at_fault_are_found_by_dry_runs(emulated: BigQueryWarehouse, wire: Wire) -> None:
    good = tuple(Rows(f"x > {n}") for n in range(15))
    bad = (Aggregate("AVG(s)"), Aggregate("SUM(nope)"))

    answer = ask(emulated, *good[:7], bad[0], *good[7:], bad[1])

    assert {metric: fault.fault for metric, fault in answer.unmeasured.items()} == {bad[0]: Fault.SQL, bad[1]: Fault.COLUMN}
    assert answer.unmeasured[bad[1]].reason == "table raw.flights has no column nope"
    assert answer.numbers[DAY] == (2, 1, *[0] * 5, None, *[0] * 8, None)
    assert len(wire.jobs()) == 2 and answer.cost.queries == 2, "the one that was refused, and the one that measured"
    assert len(wire.jobs(dry=True)) <= 16


def test_a_metric_that_fails_on_the_data_is_found_by_running() -> None:
    """A dry run does not read data. (The emulator's does.)"""
    bad = Aggregate("SUM(1 / x)")

    def job(body: dict) -> Answered:
        fails = "1 / x" in body["configuration"]["query"]["query"] and not body["configuration"].get("dryRun")
        return done(body, error={"reason": "invalidQuery", "message": "division by zero: 1 / 0"} if fails else None)

    wire = scripted(job)
    answer = ask(warehouse(wire), Rows(), bad)

    assert answer.unmeasured == {bad: Unmeasured(Fault.SQL, "table raw.flights: division by zero")}
    assert answer.numbers == {DAY: (7, None)} and answer.cost.queries == len(wire.jobs()) == 3


def test_a_metric_that_fails_on_the_data_fails_alone(emulated: BigQueryWarehouse) -> None:
    bad = Aggregate("SUM(1 / x)")

    answer = ask(emulated, Rows(), Nulls("s"), bad, Aggregate("MAX(x)"))

    assert answer.unmeasured[bad].reason.startswith("table raw.flights: division by zero")
    assert set(answer.unmeasured) == {bad} and answer.numbers == {DAY: (3, 1, None, 2)}


def test_values_of_the_data_are_not_in_errors(emulated: BigQueryWarehouse, bigquery_client: Client) -> None:
    create(bigquery_client, "raw.secrets", "d DATE, s STRING", [(DAY, "a secret")])
    source = TableSource("raw.secrets", "d")

    got = ask(emulated, Aggregate("SUM(CAST(s AS INT64))"), source=source).unmeasured.values()

    assert [fault.fault for fault in got] == [Fault.SQL] and not [fault for fault in got if "a secret" in fault.reason]


def test_no_job_runs_when_the_metadata_rules_out_all_metrics(emulated: BigQueryWarehouse, wire: Wire) -> None:
    answer = ask(emulated, Nulls("y"), source=TableSource("raw.flights", "x"))

    assert answer.unmeasured == {Nulls("y"): Unmeasured(Fault.COLUMN, "raw.flights.x is INT64, a run date column must be DATE")}
    assert wire.jobs() == wire.jobs(dry=True) == [] and answer.cost == Cost(0)


@pytest.mark.parametrize(
    ("source", "metric", "reason"),
    [
        (TableSource("raw.flihgts", "d"), Rows(), "there is no table raw.flihgts"),
        (TableSource("nope.flights", "d"), Rows(), "there is no table nope.flights"),
        (TableSource("other-project.raw.flights", "d"), Rows(), "there is no table other-project.raw.flights"),
        (PairSource("raw.flights", "d", "raw.planes", None), Orphans(("s",), ("s",), False), "there is no table raw.planes"),
        (CustomSource("SELECT d FROM raw.nope WHERE d BETWEEN @from AND @to", "d"), Rows(), "there is no table raw.nope"),
        (CustomSource("SELECT e FROM raw.flights WHERE d BETWEEN @from AND @to", "e"), Rows(), "the query has no column e"),
        (
            CustomSource("SELECT d, s FROM raw.flights WHERE d BETWEEN @from AND @to", "d", "s"),
            Rows(),
            "column s of the query is STRING, expected a number",
        ),
        (
            CustomSource("SELECT x AS d FROM raw.flights WHERE d BETWEEN @from AND @to", "d", "d"),
            Rows(),
            "the query: Cannot mix values",
        ),
    ],
)
def test_missing_tables_and_columns_are_named(
    emulated: BigQueryWarehouse, source: Source, metric: AnyMetric, reason: str
) -> None:
    assert ask(emulated, metric, source=source).unmeasured[metric].reason.startswith(reason)


def test_tables_of_the_same_name_in_two_projects_are_compared(emulated: BigQueryWarehouse, bigquery_client: Client) -> None:
    create(bigquery_client, "other-project.raw.flights", "d DATE, x INT64", [(DAY, 1)])
    pair = PairSource("raw.flights", "d", "other-project.raw.flights", "d")

    answer = ask(emulated, Orphans(("x",), ("x",), True), ExpectedKeys(("x",)), source=pair)

    assert not answer.unmeasured and answer.numbers == {DAY: (2, 1)}


def test_sql_that_duckdb_refuses_runs_on_bigquery(emulated: BigQueryWarehouse) -> None:
    answer = ask(emulated, Rows("SAFE_CAST(s AS INT64) IS NULL"), Aggregate("APPROX_COUNT_DISTINCT(s)"))

    assert not answer.unmeasured and answer.numbers == {DAY: (3, 2)}


# The emulator.


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_emulator_is_used_at_the_address_in_its_variable(
    bigquery_client: Client, bigquery_emulator: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", scheme + bigquery_emulator.removeprefix("http://"))

    assert ask(BigQueryWarehouse(bigquery_client.project, retry_timeout=5), Rows()).numbers == {DAY: (3,)}
