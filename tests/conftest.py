"""Fixtures that several folders share."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import TYPE_CHECKING
from uuid import uuid4

import duckdb
import pytest
import trustme
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.demo.warehouse import build_warehouse

from tests import emulators
from tests.canaries import pytest_runtest_makereport  # noqa: F401 - a hook of every test

if TYPE_CHECKING:
    from google.cloud.bigquery import Client
    from phasegate.adapters.state.firestore import FirestoreStore

REPO = Path(__file__).parents[1]

# Programs of their own, which need settings to be imported.
collect_ignore = ["flow/killed_alerts.py", "flow/killed_function.py"]


@pytest.fixture(scope="session")
def demo_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's year in a DuckDB file. Read only: copy it before changing it.

    It stays open, so that whoever opens it again in this process finds it read already.
    """
    path = tmp_path_factory.mktemp("demo") / "flights.duckdb"
    build_warehouse(path)
    with duckdb.connect(path, read_only=True):
        yield path


@pytest.fixture(scope="session")
def demo_folder(demo_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as `make demo` leaves it: the pipeline file, the warehouse, and the state of one week."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".phasegate/demo").mkdir(parents=True)
    copy(demo_warehouse, folder / ".phasegate/demo/warehouse.duckdb")
    (folder / "shared").mkdir()
    (folder / "shared/pipelines").symlink_to(REPO / "shared/pipelines")
    SQLiteStore(str(folder / ".phasegate/demo/state.sqlite"))
    return folder


def pytest_report_header() -> str:
    """Which emulators the tests of this run use."""
    return emulators.describe()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who vouches for the servers of the tests."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """The same, trusted by whatever the test starts, as the authorities of the system are elsewhere."""
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return authority


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[str]:
    """Where the Firestore emulator listens; one for each worker, started when it is first needed."""
    with emulators.running(emulators.FIRESTORE) as host:
        yield host


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[str]:
    """Where the Pub/Sub emulator listens; one for each worker, started when it is first needed."""
    with emulators.running(emulators.PUBSUB) as host:
        yield host


@pytest.fixture(scope="session")
def bigquery_emulator() -> Iterator[str]:
    """Where the BigQuery emulator listens; one for each worker, started when it is first needed."""
    with emulators.running(emulators.BIGQUERY) as host:
        yield host


@pytest.fixture
def project() -> str:
    """A project that no other test uses, so that nothing need be wiped in an emulator."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def bigquery_project() -> str:
    """One project for all tests of a worker: every project that it has ever seen makes the emulator slower."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def bigquery_client(bigquery_emulator: str, bigquery_project: str) -> Iterator["Client"]:
    """A client of an empty project in the BigQuery emulator, which is emptied at the end."""
    from tests.bigquery import connect, empty

    with connect(bigquery_emulator.removeprefix("http://"), bigquery_project) as client:
        yield client
    with connect(bigquery_emulator.removeprefix("http://"), bigquery_project) as client:
        empty(client)


@pytest.fixture
def firestore_store(firestore_emulator: str, project: str, monkeypatch: pytest.MonkeyPatch) -> "FirestoreStore":
    """An empty store in the Firestore emulator."""
    from phasegate.adapters.state.firestore import FirestoreStore

    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    return FirestoreStore(project, "(default)")
