"""Every adapter that the settings can name is tested against the contract of its port."""

import pytest
from phasegate.app.settings import SCHEMES

from tests.adapters.test_secrets import PLACES
from tests.contracts.conftest import BUSES, STORES, WAREHOUSES
from tests.contracts.test_adapter_errors import rows

CONFTEST = "tests/contracts/conftest.py"
TESTED = {
    "state": (STORES, f"to STORES in {CONFTEST}, with a fixture NAME_store beside it"),
    "warehouse": (
        WAREHOUSES,
        f"to WAREHOUSES in {CONFTEST}, with NAME_backend in test_warehouse.py and NAME_tables in test_tables.py",
    ),
    "bus": (BUSES, f"to BUSES in {CONFTEST}, with a fixture NAME_bus in test_publisher.py"),
    "secrets": (PLACES, "to PLACES in tests/adapters/test_secrets.py, with a fixture NAME_place beside it"),
}


@pytest.mark.parametrize("setting", SCHEMES)
def test_every_registered_adapter_has_a_contract_suite(setting: str) -> None:
    assert setting in TESTED, f"{setting} is a new kind of adapter: write a suite for its port, and add it to TESTED"
    tested, where = TESTED[setting]
    missing = SCHEMES[setting].keys() - set(tested)
    assert not missing, f"{setting}: add {missing} {where}"


@pytest.mark.parametrize("setting", ["state", "bus"])
def test_the_errors_of_every_client_library_are_in_the_table(setting: str) -> None:
    """A shared system is reached over a network, so its client has retryable errors and others."""
    documented = {adapter for adapter, *_ in rows()}
    missing = {scheme for scheme, way in SCHEMES[setting].items() if way.is_shared} - documented
    assert not missing, (
        f"add rows for {missing} to the table in shared/phasegate/adapters/README.md, and to CALLS in test_adapter_errors.py"
    )
