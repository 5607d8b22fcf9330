"""The history on both backends: the rows of the demo's week, and the queries of docs/history.md over them."""

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.cloud.bigquery import Client, LoadJobConfig, SchemaField, Table, TimePartitioning
from phasegate.adapters.state.sqlite import SQLiteHistory
from phasegate.demo.story import Story
from phasegate.messaging.bodies import EVENTS
from phasegate.ports import Outgoing
from phasegate.schemas import history_table

from tests.bigquery import SOON

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

QUESTIONS = re.findall(r"```sql (\w+)\n(.*?)```", (REPO / "docs/history.md").read_text(), re.DOTALL)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state file of the demo."""
    folder = tmp_path_factory.mktemp("history")
    Story(folder, REPO / "shared/pipelines/flights.yaml", lambda _: None).play()
    return folder / "state.sqlite"


@pytest.fixture(scope="session")
def events(state: Path) -> Sequence[Outgoing]:
    """Every event of the demo, as it was sent."""
    with closing(sqlite3.connect(state)) as connection:
        rows = connection.execute("SELECT message FROM outbox ORDER BY seq").fetchall()
    return [message for (text,) in rows if (message := Outgoing(**json.loads(text))).topic == EVENTS]


def asked(state: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(state)) as connection:
        return connection.execute(query).fetchall()


def test_every_decision_of_the_week_is_a_row(state: Path, events: Sequence[Outgoing]) -> None:
    """One for each entry of the gates' histories; releases have the key of their go-signal."""
    (decided,), (kept,), (signals,) = (
        asked(state, f"SELECT COUNT(*) FROM {what}")[0]  # noqa: S608
        for what in ("event", "history", "outbox WHERE message LIKE '%-go\"%'")
    )
    assert kept == decided == len(events) >= 40
    assert asked(state, "SELECT COUNT(DISTINCT decision_id) FROM history") == [(signals,)]
    assert asked(state, "SELECT COUNT(*) FROM history WHERE verdict IS NOT NULL AND checks = '[]' AND state <> 'off'") == [(0,)]


def test_a_duplicate_row_is_stored_once(tmp_path: Path, events: Sequence[Outgoing]) -> None:
    """In any order; the first one stays."""
    history = SQLiteHistory(str(tmp_path / "history.sqlite"))
    for event in (*events, *reversed(events)):
        history.add(event)
    assert asked(tmp_path / "history.sqlite", "SELECT COUNT(*) FROM history") == [(len(events),)]


def test_a_new_column_is_added_to_the_table_of_an_older_version(tmp_path: Path, events: Sequence[Outgoing]) -> None:
    file = tmp_path / "history.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE history (key TEXT PRIMARY KEY, pipeline TEXT) WITHOUT ROWID")
        connection.execute("INSERT INTO history VALUES ('old', 'flights')")
        connection.commit()
    SQLiteHistory(str(file)).add(events[0])
    assert asked(file, "SELECT key, pipeline, phase FROM history ORDER BY key DESC") == [
        ("old", "flights", None),
        (events[0].key, "flights", "raw"),
    ]


@pytest.fixture
def warehouse(bigquery_client: Client, events: Sequence[Outgoing]) -> Client:
    """The table as Terraform creates it, with the rows of the week."""
    made = history_table()
    bigquery_client.create_dataset("phasegate", exists_ok=True, retry=SOON, timeout=10)
    schema = [SchemaField.from_api_repr(column) for column in made["columns"]]
    table = Table(f"{bigquery_client.project}.phasegate.history", schema)
    table.time_partitioning = TimePartitioning(field=made["partition"]["field"], type_=made["partition"]["type"])
    table.clustering_fields = made["clustering"]
    bigquery_client.create_table(table, retry=SOON, timeout=10)
    config = LoadJobConfig(schema=schema, write_disposition="WRITE_APPEND")
    rows = [dict(event.body) for event in events]
    job = bigquery_client.load_table_from_json([*rows, rows[0]], table, job_config=config, timeout=10)
    job.result(retry=SOON, timeout=30)
    return bigquery_client


def test_the_queries_have_the_same_results_in_the_cloud_and_on_one_machine(warehouse: Client, state: Path) -> None:
    """BigQuery's table has one row twice; the queries are those of the page."""
    cloud = [text for dialect, text in QUESTIONS if dialect == "bigquery"]
    local = [text for dialect, text in QUESTIONS if dialect == "sqlite"]
    assert len(cloud) == len(local) == 2
    for there, here in zip(cloud, local, strict=True):
        rows = warehouse.query_and_wait(there, retry=SOON, job_retry=None)
        found = [tuple(str(v) if not isinstance(v, int | float | str) else v for v in row.values()) for row in rows]
        assert found == asked(state, here)
        assert found, here
