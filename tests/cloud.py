"""The demo's pipeline on the emulators: its tables in BigQuery, its topics in Pub/Sub, the function behind a push subscription."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
from google.api_core.exceptions import DeadlineExceeded
from google.cloud.bigquery import Client, LoadJobConfig
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, PubsubMessage, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from grpc import insecure_channel
from phasegate.adapters.state.firestore import FirestoreStore
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import Gate

from tests.bigquery import SOON, connect
from tests.serving import PHASE_MONITOR, REPO, serving

FLIGHTS = REPO / "shared/pipelines/flights.yaml"
PHASES = ("raw", "clean", "features", "predictions")
TABLES = ("raw.flights", "raw.weather", "clean.flights", "features.flights", "predictions.delays", "raw.schedule")
REFERENCES = ("raw.planes", "raw.airports")
DATES = {"raw.weather": "weather_date"}


@dataclass
class Cloud:
    """One project in the emulators, and the function that watches it."""

    project: str
    environ: Mapping[str, str]
    folder: Path
    store: FirestoreStore
    bigquery: Client
    publisher: PublisherClient
    subscriber: SubscriberClient

    def complete(self, phase: str, producer: str, day: date, run: int, **more: object) -> None:
        """A producer reports on the completion topic, now."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        body = {"pipeline": "flights", "phase": phase, "producer": producer, "run_date": str(day), "status": "done"}
        body |= {"run_id": f"run-{run}", "started_at": now, "finished_at": now, **more}
        topic = f"projects/{self.project}/topics/completions"
        self.publisher.publish(topic=topic, messages=[{"data": json.dumps(body).encode()}])

    def signals(self, phase: str, wait: float = 1.0) -> list[Mapping[str, object]]:
        """Go-signals of a phase that have come since the last look, each with the key that consumers see."""
        taken = self.taken(f"{phase}-go", wait)
        return [{**json.loads(message.data), "key": message.attributes["decision_id"]} for message in taken]

    def taken(self, name: str, wait: float = 1.0) -> list[PubsubMessage]:
        """Messages that a subscription has brought since the last look."""
        path = f"projects/{self.project}/subscriptions/{name}"
        found: list[PubsubMessage] = []
        until = time.monotonic() + wait
        while not found and time.monotonic() < until:
            # A pull that waits ends with DeadlineExceeded when nothing comes.
            try:
                received = self.subscriber.pull(subscription=path, max_messages=100, retry=None, timeout=wait).received_messages
            except DeadlineExceeded:
                break
            if not received:
                break
            self.subscriber.acknowledge(subscription=path, ack_ids=[message.ack_id for message in received])
            found += [each.message for each in received]
        return found

    def gates(self, span: Span) -> Mapping[tuple[date, str], Gate]:
        """Every gate of a span."""
        return {(day, phase): gate for day, gates in self.store.load("flights", span).items() for phase, gate in gates.items()}


@contextmanager
def cloud(
    hosts: Mapping[str, str],
    project: str,
    folder: Path,
    warehouse: Path,
    span: Span,
    source: Path = PHASE_MONITOR,
    seen: Mapping[str, str] | None = None,
    pipeline: Path = FLIGHTS,
) -> Iterator[Cloud]:
    """The demo's dates of *span* in the emulators, and the function behind a push subscription.

    Args:
        hosts: Where the emulators listen, by the variables in which Google's clients look for them.
        source: The file with the function; the product's own, when left out.
        seen: Where the function finds the emulators, when that is not where the test finds them.
        pipeline: Its file; the demo's own, when left out.
    """
    environ = {
        **(seen or hosts),
        "PHASEGATE_PIPELINES": str(pipeline),
        "PHASEGATE_WAREHOUSE": f"bigquery:{project}",
        "PHASEGATE_STATE": f"firestore:{project}/(default)",
        "PHASEGATE_BUS": f"pubsub:{project}",
    }
    channel = insecure_channel(hosts["PUBSUB_EMULATOR_HOST"])
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    with in_environment(hosts), connect(hosts["BIGQUERY_EMULATOR_HOST"].removeprefix("http://"), project) as client, channel:
        load_tables(client, warehouse, folder, span)
        made = Cloud(project, environ, folder, FirestoreStore(project, "(default)"), client, publisher, subscriber)
        make_topics(made)
        with serving(folder, environ, source) as address:
            push_to(made, address)
            yield made


@contextmanager
def in_environment(hosts: Mapping[str, str]) -> Iterator[None]:
    """Google's own variables, for the clients of this process."""
    before = {name: os.environ.get(name) for name in hosts}
    os.environ.update(hosts)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def load_tables(
    client: Client, warehouse: Path, folder: Path, span: Span, tables: Sequence[str] = (*TABLES, *REFERENCES)
) -> None:
    """Copy the demo's tables into BigQuery: the dates of the span, and the reference tables whole."""
    for dataset in ("raw", "clean", "features", "predictions"):
        client.create_dataset(dataset, exists_ok=True, retry=SOON, timeout=10)
    with duckdb.connect(warehouse, read_only=True) as con:
        for table in tables:
            where = (
                ""
                if table in REFERENCES
                else f"WHERE {DATES.get(table, 'flight_date')} BETWEEN '{span.first}' AND '{span.last}'"
            )
            path = folder / f"{table}.parquet"
            con.execute(f"COPY (SELECT * FROM {table} {where}) TO '{path}' (FORMAT parquet)")  # noqa: S608
            config = LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE")
            with path.open("rb") as file:
                job = client.load_table_from_file(file, f"{client.project}.{table}", job_config=config, timeout=60)
            job.result(retry=SOON, timeout=60)


def make_topics(made: Cloud) -> None:
    """The completion topic, and every topic that the product publishes to; subscriptions to read go-signals and events."""
    root = f"projects/{made.project}"
    for topic in (
        "completions",
        "phasegate-alerts",
        "phasegate-events",
        *(f"phasegate-flights-{phase}-go" for phase in PHASES),
    ):
        made.publisher.create_topic(name=f"{root}/topics/{topic}")
    for name, topic in {"events": "events", **{f"{phase}-go": f"flights-{phase}-go" for phase in PHASES}}.items():
        made.subscriber.create_subscription(name=f"{root}/subscriptions/{name}", topic=f"{root}/topics/phasegate-{topic}")


def push_to(made: Cloud, address: str) -> None:
    """Deliver completions to the function, as production does: a long deadline, and patience between attempts."""
    root = f"projects/{made.project}"
    request = {
        "name": f"{root}/subscriptions/completions",
        "topic": f"{root}/topics/completions",
        "push_config": {"push_endpoint": address},
        "ack_deadline_seconds": 600,
        "retry_policy": {"minimum_backoff": Duration(seconds=1), "maximum_backoff": Duration(seconds=2)},
    }
    made.subscriber.create_subscription(request=request)


def wait_for(what: str, true: object, seconds: float = 180.0) -> None:
    """Wait until something is true."""
    assert callable(true)
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)
