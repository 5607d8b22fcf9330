"""The tables of BigQuery: one job per query, all jobs in parallel, and free requests first.

**Table metadata** is free, so a missing table or column is found without a job. When BigQuery refuses a statement all the same,
dry runs, which are free too, find the metrics at fault, and one job measures all others.

**Job ids** are `phasegate-<measurement>-<digest>-<attempt>`: a fresh id for each call of `measure`, a digest of statement and
parameters, and a counter for jobs that failed by themselves and are restarted. A request that is repeated because its response
was lost names the same job, gets the conflict that it exists, and takes its result: one job, billed once. Another call of
`measure` never names that job. A longer-lived id (from the statement and the hour, say) would save a few jobs after a crash,
but would answer a gate from the table as it was before the loader repaired it.

**The result cache** is used for BigQuery's own tables only. BigQuery drops it when such a table changes, so measuring an
unchanged table again is free and never gives an old answer. For views and external tables that is not guaranteed.

Source: BigQuery REST reference (jobs.insert, JobConfiguration), "Using cached query results", "Estimate and control costs".
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from threading import Lock
from typing import assert_never
from uuid import uuid4

import requests
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound, RetryError
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery import (
    DEFAULT_RETRY,
    Client,
    QueryJob,
    QueryJobConfig,
    ScalarQueryParameter,
    SchemaField,
)
from google.cloud.bigquery import Table as ApiTable

from phasegate.adapters.google_errors import GoogleError, is_retryable
from phasegate.adapters.warehouse.catalogue import Catalogue, Table, counted_table, sql_of
from phasegate.adapters.warehouse.dialect import Dialect, Statement, render, table_name
from phasegate.adapters.warehouse.googlesql import check_sql, values_of_nothing
from phasegate.adapters.warehouse.isolation import IsolatedQuery, PartialAnswer, StatementFailed, numbers, unusable
from phasegate.core.checks.metrics import (
    MIN_BYTES_BILLED,
    Answer,
    AnyMetric,
    Cost,
    CustomSource,
    Fault,
    PairSource,
    Query,
    Source,
    TableSource,
    Unmeasured,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError, WarehouseError
from phasegate.installation import platform as described

DEFAULT_MAX_BYTES_BILLED = 100 * 2**30
"""The most bytes that one query may be billed, by default."""

JOB_TIMEOUT = 120.0
"""Seconds after which BigQuery stops a job."""

RETRY_TIMEOUT = 20.0
"""Seconds for which a failing request is retried."""

PARALLEL_QUERIES = 10
"""Queries that run at the same time: as many as the client has connections, far below BigQuery's limit of 1,000 queued."""

EMULATOR = "BIGQUERY_EMULATOR_HOST"

_CLIENT_ERRORS = (*GoogleError, requests.RequestException, OSError)
"""What the client raises when it is used correctly; a timeout is an OSError, too."""

_JOB_ERRORS = frozenset(
    ("backendError", "internalError", "rateLimitExceeded", "jobBackendError", "jobInternalError", "jobRateLimitExceeded")
)
"""Reasons for which a job fails without being at fault; it is restarted."""

_TRANSIENT = _JOB_ERRORS | {"badGateway", "quotaExceeded", "stopped", "tableUnavailable", "timeout"}
"""Reasons that may go away by themselves."""

_TYPE_NAMES: Mapping[str, str] = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
"""The API reports some types by their legacy SQL names."""


class BigQueryWarehouse:
    """Measures the tables of BigQuery. Read only; safe for several threads.

    Args:
        project: Runs and pays for the jobs, and holds the tables that are named `dataset.table`.
        client: Created on first use by default, so that there is no connection before a fork.
        location: Where the jobs run; by default where the tables are.
        maximum_bytes_billed: BigQuery refuses a query that would cost more, and bills nothing.
        timeout: Seconds after which a job is stopped.
        retry_timeout: Seconds for which a failing request is retried.
        new_id: Makes the id of one call of `measure`, from letters, digits and dashes.

    Raises:
        ConfigError: The limit is below what the smallest query is billed.
    """

    def __init__(
        self,
        project: str,
        *,
        client: Client | None = None,
        location: str | None = None,
        maximum_bytes_billed: int = DEFAULT_MAX_BYTES_BILLED,
        timeout: float = JOB_TIMEOUT,
        retry_timeout: float = RETRY_TIMEOUT,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        if maximum_bytes_billed < MIN_BYTES_BILLED:
            raise ConfigError(f"maximum_bytes_billed: expected at least {MIN_BYTES_BILLED}, got {maximum_bytes_billed}")
        self._project = project
        self._made_client = client
        self._client_lock = Lock()
        self._location = location
        self._max_bytes_billed = maximum_bytes_billed
        self._job_timeout = timeout
        self._retry_timeout = retry_timeout
        self._new_id = new_id

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """See `Warehouse.measure`."""
        _validate(queries, span)
        api = self._api()
        measurement = self._new_id()
        pool = ThreadPoolExecutor(PARALLEL_QUERIES, "phasegate-bigquery")
        try:
            names = tuple(dict.fromkeys(name for query in queries for name in _tables(query.source)))
            tables = dict(zip(names, pool.map(api.metadata, names), strict=True))
            # One table that does not answer fails its own metrics only. When none answers, BigQuery can't be reached.
            if names and all(table.unavailable for table in tables.values()):
                raise WarehouseError(f"project {self._project}: {tables[names[0]].unavailable}", retryable=True)
            measurements = [_Measurement(api, query, span, tables, self._location, measurement) for query in queries]
            for answer in as_completed([pool.submit(each.answer) for each in measurements]):
                yield answer.result()
        finally:
            # A caller that stops iterating does not wait for running jobs; BigQuery stops them at their timeout.
            pool.shutdown(wait=False, cancel_futures=True)

    def describe_table(self, name: str) -> described.Table | None:
        """See `Tables.describe_table`."""
        return self._api().describe(name)

    def tables_in(self, dataset: str) -> Sequence[str]:
        """See `Tables.tables_in`."""
        return self._api().tables_in(dataset)

    def _api(self) -> "_Api":
        return _Api(self._client(), self._project, self._max_bytes_billed, self._job_timeout, self._retry_timeout)

    def _client(self) -> Client:
        with self._client_lock:
            if self._made_client is None:
                self._made_client = _connect(self._project)
            return self._made_client


def _connect(project: str) -> Client:
    host = os.environ.get(EMULATOR)
    if host:
        endpoint = host if "://" in host else f"http://{host}"
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(project, credentials=anonymous, client_options={"api_endpoint": endpoint})
    try:
        return Client(project)
    except GoogleAuthError as exc:
        raise _project_error(project, exc) from exc


def _validate(queries: Iterable[Query], span: Span) -> None:
    """Raise `ConfigError` for wrong SQL and wrong names before any request is sent."""
    for query in queries:
        for metric in query.metrics:
            for text, kind in sql_of(query.source, metric):
                check_sql(text, kind)
        render(query, span, Dialect.BIGQUERY)


def _tables(source: Source) -> tuple[str, ...]:
    match source:
        case TableSource(table):
            return (table,)
        case PairSource(table=table, other=other):
            return (table, other)
        case CustomSource():
            return ()
        case _:
            assert_never(source)


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The metadata of a table.

    Args:
        table: Its columns for the catalogue, or why it can't be read.
        types: The GoogleSQL types of its columns, as the API reports them.
        unavailable: Why there is no metadata; set only when that may go away by itself.
        native: It is one of BigQuery's own tables, neither a view nor external.
    """

    table: Table = field(default_factory=Table)
    types: Mapping[str, str] = field(default_factory=dict)
    unavailable: str = ""
    native: bool = False
    location: str | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """Rows of a job, the GoogleSQL types of its columns, and the bytes that it was billed."""

    types: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    bytes_billed: int


class _Api:
    """The requests to BigQuery. Those about tables raise `WarehouseError`, those about jobs the client's errors."""

    def __init__(self, client: Client, project: str, max_bytes_billed: int, job_timeout: float, retry_timeout: float) -> None:
        self.project = project
        self._client = client
        self._max_bytes_billed = max_bytes_billed
        self._job_timeout = job_timeout
        self._retry = DEFAULT_RETRY.with_timeout(retry_timeout)
        self._restart_job = Retry(predicate=_may_restart, timeout=retry_timeout)
        self._find_job = Retry(predicate=_may_appear, timeout=retry_timeout)

    def metadata(self, name: str) -> _Metadata:
        """The metadata of a table, or why there is none; raises only when the whole project can't be queried."""
        try:
            table = self._get_table(name)
        except _CLIENT_ERRORS as exc:
            fault = _failure(exc, self.project, f"table {name}").unmeasured
            return _Metadata(unavailable=fault.reason) if fault.retryable else _Metadata(Table(broken=fault.reason))
        types = {column.name.lower(): _type(column) for column in table.schema}
        # A BIGNUMERIC can be compared with everything that a NUMERIC can.
        comparable = {column: "NUMERIC" if kind == "BIGNUMERIC" else kind for column, kind in types.items()}
        # Tables partitioned by ingestion time have pseudo-columns, which the schema does not list.
        if table.time_partitioning is not None and table.time_partitioning.field is None:
            comparable |= {"_partitiondate": "DATE", "_partitiontime": "TIMESTAMP"}
        digits = {column: (38, 38) for column, kind in types.items() if kind == "BIGNUMERIC"}
        return _Metadata(Table(comparable, digits=digits), types, "", table.table_type == "TABLE", table.location)

    def describe(self, name: str) -> described.Table | None:
        """A table's columns and partitioning; None when there is no such table."""
        try:
            table = self._get_table(name)
        except NotFound:
            return None
        except _CLIENT_ERRORS as exc:
            raise self._error(exc, f"table {name}") from exc
        types = {column.name.lower(): _type(column) for column in table.schema}
        by = table.time_partitioning
        # A view has no partitions of its own, and those of an external table belong to its files.
        partition = (by.field or "_PARTITIONTIME" if by else "") if table.table_type == "TABLE" else None
        return described.Table(types, partition)

    def tables_in(self, dataset: str) -> Sequence[str]:
        """The tables of a dataset; none when there is no such dataset."""
        full = dataset if "." in dataset else f"{self.project}.{dataset}"
        try:
            tables = self._client.list_tables(full, retry=self._retry, timeout=self._job_timeout)
            return tuple(sorted(f"{dataset}.{table.table_id}" for table in tables))
        except NotFound:
            return ()
        except _CLIENT_ERRORS as exc:
            raise self._error(exc, f"dataset {dataset}") from exc

    def _get_table(self, name: str) -> ApiTable:
        parts = table_name(name)
        full = parts if len(parts) == 3 else (self.project, *parts)
        return self._client.get_table(".".join(full), retry=self._retry, timeout=self._job_timeout)

    def _error(self, error: Exception, where: str) -> WarehouseError:
        fault = _failure(error, self.project, where).unmeasured
        return WarehouseError(fault.reason, retryable=fault.retryable)

    def run(self, statement: Statement, config: QueryJobConfig, location: str | None, job_id: str) -> _Result:
        """The rows of a statement; a job that fails by itself is restarted under the next attempt's id."""
        attempts = count(1)
        config.maximum_bytes_billed = self._max_bytes_billed
        config.job_timeout_ms = int(self._job_timeout * 1000)

        def once() -> _Result:
            return self._result(self._start(statement, config, location, f"{job_id}-{next(attempts)}"))

        return self._restart_job(once)()

    def _start(self, statement: Statement, config: QueryJobConfig, location: str | None, job_id: str) -> QueryJob:
        try:
            return self._client.query(
                statement.text,
                job_config=config,
                job_id=job_id,
                location=location,
                retry=self._retry,
                timeout=self._job_timeout,
                job_retry=None,  # the client would restart a failed job under an id of its own
            )
        except Conflict:
            # The first request was received, its response was lost, and the client sent it again: the job is ours.
            job = self._client.get_job(job_id, location=location, retry=self._find_job, timeout=self._job_timeout)
            assert isinstance(job, QueryJob)
            return job

    def _result(self, job: QueryJob) -> _Result:
        try:
            # Wait a little longer than BigQuery lets the job run, so that its own timeout comes first and names the cause.
            rows = job.result(retry=self._retry, timeout=self._job_timeout + 10, job_retry=None)
            types = tuple(_type(column) for column in rows.schema)
            return _Result(types, [row.values() for row in rows], job.total_bytes_billed or 0)
        except GoogleAPICallError as exc:
            raise _JobFailed(exc) from exc

    def dry_run(self, statement: Statement, config: QueryJobConfig, location: str | None) -> None:
        """Let BigQuery validate a statement without running it."""
        config.dry_run = True
        self._client.query(
            statement.text, job_config=config, location=location, retry=self._retry, timeout=self._job_timeout, job_retry=None
        )


class _JobFailed(Exception):
    """An accepted job failed; its message may quote values of the data."""

    def __init__(self, error: GoogleAPICallError) -> None:
        super().__init__(str(error))
        self.error = error


def _type(column: SchemaField) -> str:
    name = _TYPE_NAMES.get(column.field_type, column.field_type)
    return f"ARRAY<{name}>" if column.mode == "REPEATED" else name


class _Measurement:
    """One query in progress."""

    def __init__(
        self,
        api: _Api,
        query: Query,
        span: Span,
        tables: Mapping[str, _Metadata],
        location: str | None,
        measurement: str,
    ) -> None:
        self._api = api
        self._query = query
        self._span = span
        self._tables = {name: tables[name] for name in _tables(query.source)}
        # The tables in a user's query are unknown; most likely they are where the other tables are.
        nearby = (*self._tables.values(), *tables.values())
        self._location = location or next((table.location for table in nearby if table.location), None)
        self._measurement = measurement
        self._catalogue = Catalogue({".".join(table_name(name)[-2:]): each.table for name, each in self._tables.items()})
        self._isolated = IsolatedQuery(self._run, self._dry_run)
        self._jobs = 0
        self._billed = 0

    def answer(self) -> Answer:
        """The numbers, and why some could not be measured."""
        query, faults = self._query, self._isolated.unmeasured
        faults |= self._ruled_out()
        self._isolated.run(tuple(metric for metric in query.metrics if metric not in faults))
        for part in self._isolated.parts:
            faults |= unusable(query.source, part)
        unmeasured = {metric: faults[metric] for metric in query.metrics if metric in faults}
        cost = Cost(self._jobs, self._billed)
        by_date = numbers(query, self._isolated.parts, unmeasured)
        return Answer(query, by_date, unmeasured, self._types(), cost, values_of_nothing(query.metrics))

    def _ruled_out(self) -> Mapping[AnyMetric, Unmeasured]:
        """The metrics that the metadata rules out."""
        if unavailable := next((table.unavailable for table in self._tables.values() if table.unavailable), ""):
            return dict.fromkeys(self._query.metrics, Unmeasured(Fault.UNAVAILABLE, unavailable))
        if not self._names_are_unique():
            return {}
        # The catalogue also refuses what DuckDB would answer differently from BigQuery; that is no fault here.
        faults = self._catalogue.faults(self._query)
        return {metric: fault for metric, fault in faults.items() if fault.fault is not Fault.REFUSED}

    def _names_are_unique(self) -> bool:
        """False for tables of the same name in two projects; the catalogue has only one of them."""
        return len({table_name(name)[-2:] for name in self._tables}) == len(self._tables)

    def _types(self) -> Mapping[str, str] | Unmeasured | None:
        if not self._query.types:
            return None
        metadata = self._tables[self._query.source.table]
        if metadata.unavailable:
            return Unmeasured(Fault.UNAVAILABLE, metadata.unavailable)
        return Unmeasured(Fault.TABLE, metadata.table.broken) if metadata.table.broken else metadata.types

    def _run(self, metrics: tuple[AnyMetric, ...]) -> PartialAnswer:
        statement = self._statement(metrics)
        self._jobs += 1
        with self._translating_errors(metrics):
            result = self._api.run(statement, self._config(statement), self._location, self._job_id(statement))
        self._billed += result.bytes_billed
        return PartialAnswer(metrics, result.types, result.rows)

    def _dry_run(self, metrics: tuple[AnyMetric, ...]) -> None:
        statement = self._statement(metrics)
        with self._translating_errors(metrics):
            self._api.dry_run(statement, self._config(statement), self._location)

    def _statement(self, metrics: tuple[AnyMetric, ...]) -> Statement:
        source = self._query.source
        types = self._catalogue.column_types(source) if self._names_are_unique() else {}
        return render(Query(source, metrics), self._span, Dialect.BIGQUERY, types)

    def _config(self, statement: Statement) -> QueryJobConfig:
        return QueryJobConfig(
            labels={"tool": "phasegate", "table": label(self._query.source.table)},
            query_parameters=[ScalarQueryParameter(param.name, param.type, param.value) for param in statement.params],
            use_query_cache=bool(self._tables) and all(table.native for table in self._tables.values()),
        )

    def _job_id(self, statement: Statement) -> str:
        digest = sha256(repr(statement).encode()).hexdigest()[:16]
        return f"phasegate-{self._measurement}-{digest}"

    @contextmanager
    def _translating_errors(self, metrics: tuple[AnyMetric, ...]) -> Iterator[None]:
        """Turn the client's errors into `StatementFailed`, worded for the first metric: it counts when that one is alone."""
        counted = counted_table(self._query.source, metrics[0])
        where = "the query" if counted is None else f"table {counted.table}"
        try:
            yield
        except (*_CLIENT_ERRORS, _JobFailed) as exc:
            failure = _failure(exc, self._api.project, where)
            raise failure if counted is None else self._with_suggestion(failure, counted.table) from exc

    def _with_suggestion(self, failure: StatementFailed, table: str) -> StatementFailed:
        """The failure of a missing column, with the closest name where the metadata has one."""
        missing = re.search(r"has no column (\w+)$", failure.unmeasured.reason)
        if missing and failure.unmeasured.fault is Fault.COLUMN and self._names_are_unique():
            suggested = self._catalogue.missing(table, missing[1])
            return StatementFailed(suggested, of_all=False) if suggested else failure
        return failure


def label(text: str) -> str:
    """A text as the value of a label: at most 63 lower-case letters, digits, dashes and underscores.

    >>> label("my-project.raw.Flights")
    'my-project-raw-flights'
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:63]


def _reason(error: Exception) -> str:
    """BigQuery's reason code for an error; empty when the error is not from BigQuery."""
    details = getattr(error, "errors", None) or ()
    return str(details[0].get("reason", "")) if details and isinstance(details[0], Mapping) else ""


def _may_restart(error: Exception) -> bool:
    return isinstance(error, _JobFailed) and _reason(error.error) in _JOB_ERRORS


def _may_appear(error: Exception) -> bool:
    """An existing job may take a moment to be found."""
    return isinstance(error, NotFound | requests.ConnectionError) or is_retryable(error)


def _message(error: Exception, *, in_data: bool = False) -> str:
    """An error in one line, without addresses and positions in our statement; with *in_data*, without values of the data."""
    details = getattr(error, "errors", None) or ()
    first = details[0] if details and isinstance(details[0], Mapping) else {}
    line = str(first.get("message") or getattr(error, "message", "") or type(error).__name__).strip().partition("\n")[0]
    line = re.sub(r"\w+://\S+", "…", line)
    line = re.sub(r"\s*\bat \[\d+:\d+\]$", "", line)
    if in_data:
        line = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", line).partition(":")[0]
    return line.rstrip(" .")


_NO_COLUMN = r"Unrecognized name: `?(?:\w+\.)*(\w+)|Name (\w+) not found inside|No such column (\w+)"


def _failure(error: Exception, project: str, where: str) -> StatementFailed:
    """What an error of the client means for the metrics of a statement.

    Raises:
        WarehouseError: Nothing in the project can be queried.
    """
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    in_data = isinstance(error, _JobFailed)
    if isinstance(error, _JobFailed):
        error = error.error
    reason, message = _reason(error), _message(error)
    # The reason decides before the class: the client takes a reason that it does not know for a server error.
    if reason in ("bytesBilledLimitExceeded", "billingTierLimitExceeded"):
        return _failed(Fault.SQL, f"{where}: {message}; maximum_bytes_billed is what one query may cost", of_all=True)
    if reason in _TRANSIENT or message.startswith("Not found: Job"):
        return _failed(Fault.UNAVAILABLE, f"BigQuery could not answer for {where}: {message}", of_all=True)
    if isinstance(error, GoogleAuthError):
        raise _project_error(project, error)
    if not isinstance(error, GoogleAPICallError) or is_retryable(error):
        return _failed(Fault.UNAVAILABLE, f"BigQuery does not answer: {message}", of_all=True)
    if error.code == 404 and not message.startswith(f"Not found: Project {project}"):
        return _failed(Fault.TABLE, f"there is no {_named(message, project) or where}")
    if error.code == 403 and "jobs.create" not in message and re.search(r"\b(Table|Dataset|View|Drive)\b", message):
        return _failed(Fault.TABLE, f"{where} may not be read: {message}")
    if error.code in (401, 403, 404):
        raise _project_error(project, error)
    if column := re.match(_NO_COLUMN, message):
        return _failed(Fault.COLUMN, f"{where} has no column {column[1] or column[2] or column[3]}")
    return _failed(Fault.SQL, f"{where}: {_message(error, in_data=in_data)}")


def _failed(fault: Fault, reason: str, *, of_all: bool = False) -> StatementFailed:
    return StatementFailed(Unmeasured(fault, reason), of_all=of_all)


def _named(message: str, project: str) -> str | None:
    """The table or dataset that was not found; without the project, when it is ours."""
    match = re.match(r"Not found: (Table|Dataset|View|Project) ([\w-]+)(?:[:.]([\w.$-]+))?", message)
    if match is None:
        return None
    parts = [part for part in (match[2], match[3]) if part and part != project]
    return f"{match[1].lower()} {'.'.join(parts)}"


def _project_error(project: str, error: Exception) -> WarehouseError:
    """Why nothing in a project can be queried."""
    if isinstance(error, GoogleAuthError):
        # The library's own message ends in an address, or quotes the response of a token server.
        kind = type(error).__name__
        message = f"no credentials for Google Cloud ({kind}); to get some, run `gcloud auth application-default login`"
        return WarehouseError(f"project {project}: {message}", retryable=is_retryable(error))
    return WarehouseError(f"project {project}: {_message(error)}", retryable=False)
