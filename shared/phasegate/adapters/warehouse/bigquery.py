"""The tables of BigQuery: one job for each query, all at once; what is free is looked at first.

**What a table is like** comes from its metadata, which costs nothing, so a missing table or column is told without a job. A
statement that is refused all the same is looked into by dry runs, which are free too: they find the numbers at fault, and one
job measures all others.

**Ids of jobs** are `phasegate-<measurement>-<digest>-<attempt>`: a fresh id for each call of `measure`, a digest of statement
and values, and a count that rises when a job itself failed and is started again. A request that is repeated because its answer
was lost names the same job, is told that it exists, and takes its result: one job, billed once. Another call of `measure` never
names it. An id that lived longer (made from the statement and the hour, say) would save a few jobs after a crash and answer a
gate from a table as it was before the loader repaired it.

**The cache of results** is used for BigQuery's own tables only. It is dropped when such a table changes, so asking again about
a table that nobody has touched is free, and is never an old answer. For views and external tables that is not promised.

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

from phasegate.adapters.google_errors import GoogleError, is_retryable
from phasegate.adapters.warehouse.catalogue import Catalogue, Table, sql_of
from phasegate.adapters.warehouse.dialect import Dialect, Statement, render, table_name
from phasegate.adapters.warehouse.googlesql import check_sql
from phasegate.adapters.warehouse.isolation import IsolatedQuery, PartialAnswer, StatementFailed, numbers, unusable
from phasegate.core.checks.metrics import (
    MIN_BYTES_BILLED,
    Answer,
    AnyMetric,
    Cost,
    CustomSource,
    ExpectedKeys,
    Fault,
    PairSource,
    PresentKeys,
    Query,
    Source,
    Unmeasured,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError, WarehouseError
from phasegate.installation import platform as described

DEFAULT_MAX_BYTES_BILLED = 100 * 2**30
"""Bytes that one query may be billed, unless said otherwise."""

WITHIN = 120.0
"""Seconds after which BigQuery stops a job."""

RETRY_TIMEOUT = 20.0
"""Seconds for which a request that fails is tried again."""

PARALLEL_QUERIES = 10
"""Queries that are under way at once: as many as the client keeps connections, far below BigQuery's limit of 1,000 queued."""

EMULATOR = "BIGQUERY_EMULATOR_HOST"

_FAILED = (*GoogleError, requests.RequestException, OSError)
"""What the client raises when it was used rightly; a wait that lasted too long is an OSError too."""

_STARTED_AGAIN = frozenset(
    ("backendError", "internalError", "rateLimitExceeded", "jobBackendError", "jobInternalError", "jobRateLimitExceeded")
)
"""Reasons for which a job fails through no fault of its own."""

_PASSING = _STARTED_AGAIN | {"badGateway", "quotaExceeded", "stopped", "tableUnavailable", "timeout"}
"""Reasons that may go away by themselves."""

_NAMES: Mapping[str, str] = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
"""The API says some types by their names in legacy SQL."""


class BigQueryWarehouse:
    """Measures the tables of BigQuery. Read only; safe for several threads.

    Args:
        project: Runs and pays the jobs, and has the tables that are named `dataset.table`.
        client: Made on first use when left out, so that nothing is connected before a fork.
        location: Where the jobs run; where the tables are, when left out.
        maximum_bytes_billed: A query that would cost more is refused by BigQuery, and costs nothing.
        timeout: Seconds after which a job is stopped.
        patience: Seconds for which a request that fails is tried again.
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
        timeout: float = WITHIN,
        retry_timeout: float = RETRY_TIMEOUT,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        if maximum_bytes_billed < MIN_BYTES_BILLED:
            raise ConfigError(f"maximum_bytes_billed: expected at least {MIN_BYTES_BILLED}, got {maximum_bytes_billed}")
        self._project = project
        self._made = client
        self._making = Lock()
        self._location = location
        self._most_billed = maximum_bytes_billed
        self._within = timeout
        self._patience = retry_timeout
        self._new_id = new_id

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """See `Warehouse.measure`."""
        with self._prepared(queries, span) as (pool, asked):
            for answer in as_completed([pool.submit(one.answer) for one in asked]):
                yield answer.result()

    def estimate(self, queries: Sequence[Query], span: Span) -> int:
        """Bytes that measuring would be billed at most, found out by dry runs; what can't be measured costs nothing.

        Raises:
            ConfigError: As `measure`.
            WarehouseError: As `measure`, and when a query's cost could not be found out.
        """
        with self._prepared(queries, span) as (pool, asked):
            return sum(pool.map(_Asked.cost, asked))

    @contextmanager
    def _prepared(self, queries: Sequence[Query], span: Span) -> Iterator[tuple[ThreadPoolExecutor, "list[_Asked]"]]:
        """The queries, ready to be asked, once it is known what their tables are like."""
        _check(queries, span)
        service = self._service()
        measurement = self._new_id()
        pool = ThreadPoolExecutor(PARALLEL_QUERIES, "phasegate-bigquery")
        try:
            names = tuple(dict.fromkeys(name for query in queries for name in _tables(query.source)))
            seen = dict(zip(names, pool.map(service.look_at, names), strict=True))
            if names and all(one.silent for one in seen.values()):
                raise WarehouseError(f"project {self._project}: {seen[names[0]].silent}", retryable=True)
            yield pool, [_Asked(service, query, span, seen, self._location, measurement) for query in queries]
        finally:
            # A caller that has stopped listening does not wait for jobs that BigQuery will stop by itself.
            pool.shutdown(wait=False, cancel_futures=True)

    def describe_table(self, name: str) -> described.Table | None:
        """See `Tables.describe_table`."""
        return self._service().describe(name)

    def tables_in(self, dataset: str) -> Sequence[str]:
        """See `Tables.tables_in`."""
        return self._service().tables_in(dataset)

    def _service(self) -> "_Service":
        return _Service(self._client(), self._project, self._most_billed, self._within, self._patience)

    def _client(self) -> Client:
        with self._making:
            if self._made is None:
                self._made = _connect(self._project)
            return self._made


def _connect(project: str) -> Client:
    host = os.environ.get(EMULATOR)
    if host:
        endpoint = host if "://" in host else f"http://{host}"
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(project, credentials=anonymous, client_options={"api_endpoint": endpoint})
    try:
        return Client(project)
    except GoogleAuthError as exc:
        raise _unasked(project, exc) from exc


def _check(queries: Iterable[Query], span: Span) -> None:
    """Raise `ConfigError` for what is no SQL, or no name, before anything is asked."""
    for query in queries:
        for metric in query.metrics:
            for text, kind in sql_of(query.source, metric):
                check_sql(text, kind)
        render(query, span, Dialect.BIGQUERY)


def _tables(source: Source) -> tuple[str, ...]:
    match source:
        case CustomSource():
            return ()
        case PairSource(table=table, other=other):
            return (table, other)
        case _:
            return (source.table,)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What BigQuery says of a table without being asked for its rows.

    Args:
        silent: Why nothing was said, which may go away by itself.
        native: It is one of BigQuery's own tables, neither a view nor external.
    """

    table: Table = field(default_factory=Table)
    types: Mapping[str, str] = field(default_factory=dict)
    silent: str = ""
    native: bool = False
    location: str | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """Rows of a job, the GoogleSQL types of its columns, and what it was billed."""

    types: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    bytes_billed: int


class _Service:
    """BigQuery's API, as far as it is needed; raises the client's errors, but for `look_at`."""

    def __init__(self, client: Client, project: str, most_billed: int, within: float, retry_timeout: float) -> None:
        self.project = project
        self._client = client
        self._most_billed = most_billed
        self._within = within
        self._again = DEFAULT_RETRY.with_timeout(retry_timeout)
        self._start_again = Retry(predicate=_may_start_again, timeout=retry_timeout)
        self._find_again = Retry(predicate=_may_find_again, timeout=retry_timeout)

    def look_at(self, name: str) -> _Seen:
        """What a table is like; `WarehouseError` when that is nothing of the table's."""
        try:
            table = self._client.get_table(".".join(self.full_name(name)), retry=self._again, timeout=self._within)
        except _FAILED as exc:
            none = _explained(exc, self.project, f"table {name}")
            reason = none.why.reason
            return _Seen(silent=reason) if none.why.retryable else _Seen(Table(broken=reason))
        types = {column.name.lower(): _type(column) for column in table.schema}
        # What can be compared with a NUMERIC can be compared with its bigger kin.
        known = {column: "NUMERIC" if kind == "BIGNUMERIC" else kind for column, kind in types.items()}
        if table.time_partitioning is not None and table.time_partitioning.field is None:
            known |= {"_partitiondate": "DATE", "_partitiontime": "TIMESTAMP"}
        return _Seen(Table(known), types, "", table.table_type == "TABLE", table.location)

    def describe(self, name: str) -> described.Table | None:
        """A table as it is; None when there is none."""
        try:
            table = self._client.get_table(".".join(self.full_name(name)), retry=self._again, timeout=self._within)
        except NotFound:
            return None
        except _FAILED as exc:
            raise self._unlooked(exc, f"table {name}") from exc
        types = {column.name.lower(): _type(column) for column in table.schema}
        by = table.time_partitioning
        # A view has none of its own, and an external table's is the files'.
        partition = (by.field or "_PARTITIONTIME" if by else "") if table.table_type == "TABLE" else None
        return described.Table(types, partition)

    def tables_in(self, dataset: str) -> Sequence[str]:
        """The tables of a dataset; none when there is no such dataset."""
        full = dataset if "." in dataset else f"{self.project}.{dataset}"
        try:
            found = self._client.list_tables(full, retry=self._again, timeout=self._within)
            return tuple(sorted(f"{dataset}.{table.table_id}" for table in found))
        except NotFound:
            return ()
        except _FAILED as exc:
            raise self._unlooked(exc, f"dataset {dataset}") from exc

    def _unlooked(self, error: Exception, where: str) -> WarehouseError:
        why = _explained(error, self.project, where).why
        return WarehouseError(why.reason, retryable=why.retryable)

    def full_name(self, name: str) -> tuple[str, ...]:
        """Project, dataset and table."""
        parts = table_name(name)
        return parts if len(parts) == 3 else (self.project, *parts)

    def run(self, statement: Statement, config: QueryJobConfig, location: str | None, job_id: str) -> _Result:
        """The rows of a statement; its job is started again when it failed through no fault of its own."""
        attempts = count(1)
        config.maximum_bytes_billed = self._most_billed
        config.job_timeout_ms = int(self._within * 1000)

        def once() -> _Result:
            return self._result(self._start(statement, config, location, f"{job_id}-{next(attempts)}"))

        return self._start_again(once)()

    def _start(self, statement: Statement, config: QueryJobConfig, location: str | None, job_id: str) -> QueryJob:
        try:
            return self._client.query(
                statement.text,
                job_config=config,
                job_id=job_id,
                location=location,
                retry=self._again,
                timeout=self._within,
                job_retry=None,
            )
        except Conflict:
            # The request was heard, its answer was lost, and it was sent again.
            job = self._client.get_job(job_id, location=location, retry=self._find_again, timeout=self._within)
            assert isinstance(job, QueryJob)
            return job

    def _result(self, job: QueryJob) -> _Result:
        try:
            # BigQuery stops the job by itself; a little later we stop waiting.
            rows = job.result(retry=self._again, timeout=self._within + 10, job_retry=None)
            types = tuple(_type(column) for column in rows.schema)
            return _Result(types, [row.values() for row in rows], job.total_bytes_billed or 0)
        except GoogleAPICallError as exc:
            raise _InData(exc) from exc

    def rehearse(self, statement: Statement, config: QueryJobConfig, location: str | None) -> int:
        """Bytes that a statement would be billed at most; nothing is run."""
        config.dry_run = True
        job = self._client.query(
            statement.text, job_config=config, location=location, retry=self._again, timeout=self._within, job_retry=None
        )
        return max(job.total_bytes_processed or 0, MIN_BYTES_BILLED * len(job.referenced_tables))


class _InData(Exception):
    """A job that was accepted failed: what is said may quote the data."""

    def __init__(self, error: GoogleAPICallError) -> None:
        super().__init__(str(error))
        self.error = error


def _type(column: SchemaField) -> str:
    name = _NAMES.get(column.field_type, column.field_type)
    return f"ARRAY<{name}>" if column.mode == "REPEATED" else name


class _Asked:
    """One query, to be answered."""

    def __init__(
        self,
        service: _Service,
        query: Query,
        span: Span,
        seen: Mapping[str, _Seen],
        location: str | None,
        measurement: str,
    ) -> None:
        self._service = service
        self._query = query
        self._span = span
        self._seen = {name: seen[name] for name in _tables(query.source)}
        # A query of the user's names tables that were not looked at; they are most likely where the others are.
        near = (*self._seen.values(), *seen.values())
        self._location = location or next((one.location for one in near if one.location), None)
        self._measurement = measurement
        self._catalogue = Catalogue({".".join(table_name(name)[-2:]): one.table for name, one in self._seen.items()})
        self._asking = IsolatedQuery(self._run, self._rehearse)
        self._jobs = 0
        self._billed = 0
        self._foreseen: dict[tuple[AnyMetric, ...], int] = {}

    def answer(self) -> Answer:
        """What came back, and what did not and why."""
        self._asking.ask(self._wanted())
        query, found = self._query, self._asking.unmeasured
        for part in self._asking.parts:
            found |= unusable(query.source, part)
        unmeasured = {metric: found[metric] for metric in query.metrics if metric in found}
        cost = Cost(self._jobs, self._billed)
        return Answer(query, numbers(query, self._asking.parts, unmeasured), unmeasured, self._types(), cost)

    def cost(self) -> int:
        """Bytes that the answer would be billed at most."""
        sound = self._asking.sound(self._wanted())
        for fault in self._asking.unmeasured.values():
            if fault.retryable:
                raise WarehouseError(fault.reason, retryable=True)
        if sound and sound not in self._foreseen:
            self._rehearse(sound)
        return self._foreseen.get(sound, 0)

    def _wanted(self) -> tuple[AnyMetric, ...]:
        """The metrics that the metadata does not rule out."""
        silent = next((one.silent for one in self._seen.values() if one.silent), "")
        found = self._asking.unmeasured
        if silent:
            found |= dict.fromkeys(self._query.metrics, Unmeasured(Fault.UNAVAILABLE, silent))
        elif self._told_apart():
            # What DuckDB refuses, because it would answer otherwise than BigQuery, BigQuery answers.
            faults = self._catalogue.faults(self._query)
            found |= {metric: fault for metric, fault in faults.items() if fault.fault is not Fault.REFUSED}
        return tuple(metric for metric in self._query.metrics if metric not in found)

    def _told_apart(self) -> bool:
        """False for two tables of one name in two projects, of which the catalogue knows one."""
        return len({table_name(name)[-2:] for name in self._seen}) == len(self._seen)

    def _types(self) -> Mapping[str, str] | Unmeasured | None:
        if not self._query.types:
            return None
        seen = self._seen[self._query.source.table]
        if seen.silent:
            return Unmeasured(Fault.UNAVAILABLE, seen.silent)
        return Unmeasured(Fault.TABLE, seen.table.broken) if seen.table.broken else seen.types

    def _run(self, metrics: tuple[AnyMetric, ...]) -> PartialAnswer:
        statement = self._statement(metrics)
        self._jobs += 1
        with self._explaining(metrics):
            result = self._service.run(statement, self._config(statement), self._location, self._job_id(statement))
        self._billed += result.bytes_billed
        return PartialAnswer(metrics, result.types, result.rows)

    def _rehearse(self, metrics: tuple[AnyMetric, ...]) -> None:
        statement = self._statement(metrics)
        with self._explaining(metrics):
            self._foreseen[metrics] = self._service.rehearse(statement, self._config(statement), self._location)

    def _statement(self, metrics: tuple[AnyMetric, ...]) -> Statement:
        return render(Query(self._query.source, metrics), self._span, Dialect.BIGQUERY)

    def _config(self, statement: Statement) -> QueryJobConfig:
        return QueryJobConfig(
            labels={"tool": "phasegate", "table": label(self._query.source.table)},
            query_parameters=[ScalarQueryParameter(param.name, param.type, param.value) for param in statement.params],
            use_query_cache=bool(self._seen) and all(one.native for one in self._seen.values()),
        )

    def _job_id(self, statement: Statement) -> str:
        digest = sha256(repr(statement).encode()).hexdigest()[:16]
        return f"phasegate-{self._measurement}-{digest}"

    @contextmanager
    def _explaining(self, metrics: tuple[AnyMetric, ...]) -> Iterator[None]:
        """Tell an error as one of the first metric: it is told of no other, unless all are meant."""
        source = self._query.source
        of_other = isinstance(metrics[0], ExpectedKeys | PresentKeys)
        table = source.other if isinstance(source, PairSource) and of_other else source.table
        where = "the query" if isinstance(source, CustomSource) else f"table {table}"
        try:
            yield
        except (*_FAILED, _InData) as exc:
            none = _explained(exc, self._service.project, where)
            raise self._of_column(none, table) from exc

    def _of_column(self, none: StatementFailed, table: str) -> StatementFailed:
        """Says which column may have been meant, where the metadata knows."""
        named = re.search(r"has no column (\w+)$", none.why.reason)
        if named and none.why.fault is Fault.COLUMN and self._seen and self._told_apart():
            meant = self._catalogue.missing(table, named[1])
            return StatementFailed(meant, of_all=False) if meant else none
        return none


def label(text: str) -> str:
    """A text as the value of a label: at most 63 lower-case letters, digits, dashes and underscores.

    >>> label("my-project.raw.Flights")
    'my-project-raw-flights'
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:63]


def _reason(error: Exception) -> str:
    """BigQuery's word for what went wrong; empty when it was not BigQuery that spoke."""
    details = getattr(error, "errors", None) or ()
    return str(details[0].get("reason", "")) if details and isinstance(details[0], Mapping) else ""


def _may_start_again(error: Exception) -> bool:
    return isinstance(error, _InData) and _reason(error.error) in _STARTED_AGAIN


def _may_find_again(error: Exception) -> bool:
    """A job that exists may take a moment to be found."""
    return isinstance(error, NotFound | requests.ConnectionError) or is_retryable(error)


def _said(error: Exception, *, in_data: bool = False) -> str:
    """What an error says in one line, without addresses, places in our statement, and values of the data."""
    details = getattr(error, "errors", None) or ()
    first = details[0] if details and isinstance(details[0], Mapping) else {}
    line = str(first.get("message") or getattr(error, "message", "") or type(error).__name__).strip().partition("\n")[0]
    line = re.sub(r"\w+://\S+", "…", line)
    line = re.sub(r"\s*\bat \[\d+:\d+\]$", "", line)
    if in_data:
        line = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", line).partition(":")[0]
    return line.rstrip(" .")


_NO_COLUMN = r"Unrecognized name: `?(?:\w+\.)*(\w+)|Name (\w+) not found inside|No such column (\w+)"


def _explained(error: Exception, project: str, where: str) -> StatementFailed:
    """What an error of the client means for the numbers that were asked for.

    Raises:
        WarehouseError: It means that nothing can be asked.
    """
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    in_data = isinstance(error, _InData)
    if isinstance(error, _InData):
        error = error.error
    reason, said = _reason(error), _said(error)
    if reason in ("bytesBilledLimitExceeded", "billingTierLimitExceeded"):
        return _none(Fault.SQL, f"{where}: {said}; maximum_bytes_billed is what one query may cost", of_all=True)
    if reason in _PASSING or said.startswith("Not found: Job"):
        return _none(Fault.UNAVAILABLE, f"BigQuery could not answer for {where}: {said}", of_all=True)
    if isinstance(error, GoogleAuthError):
        raise _unasked(project, error)
    if not isinstance(error, GoogleAPICallError) or is_retryable(error):
        return _none(Fault.UNAVAILABLE, f"BigQuery does not answer: {said}", of_all=True)
    if error.code == 404 and not said.startswith(f"Not found: Project {project}"):
        return _none(Fault.TABLE, f"there is no {_named(said, project) or where}")
    if error.code == 403 and "jobs.create" not in said and re.search(r"\b(Table|Dataset|View|Drive)\b", said):
        return _none(Fault.TABLE, f"{where} may not be read: {said}")
    if error.code in (401, 403, 404):
        raise _unasked(project, error)
    if named := re.match(_NO_COLUMN, said):
        return _none(Fault.COLUMN, f"{where} has no column {named[1] or named[2] or named[3]}")
    return _none(Fault.SQL, f"{where}: {_said(error, in_data=in_data)}")


def _none(fault: Fault, reason: str, *, of_all: bool = False) -> StatementFailed:
    return StatementFailed(Unmeasured(fault, reason), of_all=of_all)


def _named(said: str, project: str) -> str | None:
    """The table, or dataset, that was not found; without the project, when it is ours."""
    found = re.match(r"Not found: (Table|Dataset|View|Project) ([\w-]+)(?:[:.]([\w.$-]+))?", said)
    if found is None:
        return None
    parts = [part for part in (found[2], found[3]) if part and part != project]
    return f"{found[1].lower()} {'.'.join(parts)}"


def _unasked(project: str, error: Exception) -> WarehouseError:
    """Why nothing can be asked of a project."""
    if isinstance(error, GoogleAuthError):
        # What the library says ends in an address, or quotes what a token server answered.
        kind = type(error).__name__
        said = f"no credentials for Google Cloud ({kind}); `gcloud auth application-default login` gives a person some"
        return WarehouseError(f"project {project}: {said}", retryable=is_retryable(error))
    return WarehouseError(f"project {project}: {_said(error)}", retryable=False)
