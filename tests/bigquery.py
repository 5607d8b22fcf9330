"""Small tables in the BigQuery emulator, created with the real client."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import DEFAULT_RETRY, Client, LoadJobConfig, SchemaField, Table, TimePartitioning

SOON = DEFAULT_RETRY.with_timeout(5)
"""An emulator answers immediately or never; no test should hang for the ten minutes of the client's default."""


def connect(host: str, project: str) -> Client:
    """A client of the emulator."""
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return Client(project, credentials=anonymous, client_options={"api_endpoint": f"http://{host}"})


def create(
    client: Client, table: str, columns: str, rows: Sequence[tuple[object, ...]] = (), *, partition: str | None = None
) -> None:
    """Create a table: its name, with a project if it is another one; its columns in GoogleSQL; its rows.

    With *partition*, it is partitioned by that column and requires a filter on it.
    """
    name = table if table.count(".") == 2 else f"{client.project}.{table}"
    client.create_dataset(name.rpartition(".")[0], exists_ok=True, retry=SOON, timeout=10)
    schema = [SchemaField(*column.split()) for column in columns.split(", ")]
    made = Table(name, schema)
    if partition is not None:
        made.time_partitioning = TimePartitioning(field=partition)
        made.require_partition_filter = True
    client.create_table(made, retry=SOON, timeout=10)
    if rows:
        lines = [{column.name: _json(value) for column, value in zip(schema, row, strict=True)} for row in rows]
        config = LoadJobConfig(schema=schema, write_disposition="WRITE_APPEND")
        client.load_table_from_json(lines, name, job_config=config, timeout=10).result(retry=SOON, timeout=30)


def empty(client: Client) -> None:
    """Drop every dataset of the client's project."""
    for dataset in client.list_datasets(retry=SOON, timeout=10):
        client.delete_dataset(dataset.reference, delete_contents=True, retry=SOON, timeout=10)


def _json(value: object) -> object:
    return str(value) if isinstance(value, date | datetime | Decimal | float) else value
