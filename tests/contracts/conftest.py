"""The backends that each port's contract is tested against."""

from pathlib import Path

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.ports import Store

STORES = ("sqlite", "sqlite_memory", "firestore")
"""State stores, by scheme; each NAME has a fixture `NAME_store` that is empty. `sqlite_memory` is `sqlite::memory:`."""

WAREHOUSES = ("duckdb", "bigquery")
"""Warehouses, by scheme; each NAME has a fixture `NAME_backend` in `test_warehouse.py` and `NAME_tables` in `test_tables.py`."""

BUSES = ("local", "pubsub")
"""Buses, by scheme; each NAME has a fixture `NAME_bus` in `test_publisher.py`."""


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Store:
    """State in a file."""
    return SQLiteStore(str(tmp_path / "folder" / "state.sqlite"))


@pytest.fixture
def sqlite_memory_store() -> Store:
    """State in memory."""
    return SQLiteStore(":memory:")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store of each backend."""
    made: Store = request.getfixturevalue(f"{request.param}_store")
    return made
