"""Every scheme that the settings accept has a factory in the wiring."""

import pytest
from phasegate.app.settings import SCHEMES
from phasegate.app.wiring import FACTORIES


@pytest.mark.parametrize("setting", sorted(SCHEMES.keys() | FACTORIES.keys()))
def test_schemes_and_factories_match(setting: str) -> None:
    schemes, factories = set(SCHEMES.get(setting, {})), set(FACTORIES.get(setting, {}))
    without_factory, without_scheme = schemes - factories, factories - schemes
    assert not without_factory, f"add {without_factory} to FACTORIES[{setting!r}] in shared/phasegate/app/wiring.py"
    assert not without_scheme, f"add {without_scheme} to SCHEMES[{setting!r}] in shared/phasegate/app/settings.py"
