"""Fixtures that several folders share."""

from pathlib import Path
from shutil import copy

import pytest
from phasegate.adapters.sqlite import SQLiteStore
from phasegate.demo.warehouse import build_warehouse

REPO = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def demo_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's year in a DuckDB file. Read only: copy it before changing it."""
    path = tmp_path_factory.mktemp("demo") / "flights.duckdb"
    build_warehouse(path)
    return path


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
