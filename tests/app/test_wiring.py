"""Every scheme that the settings accept has a factory in the wiring, and every adapter is used."""

import re
from pathlib import Path

import phasegate
import pytest
from phasegate.app.settings import SCHEMES
from phasegate.app.wiring import FACTORIES

ROOT = Path(phasegate.__file__).parent


@pytest.mark.parametrize("setting", sorted(SCHEMES.keys() | FACTORIES.keys()))
def test_schemes_and_factories_match(setting: str) -> None:
    schemes, factories = set(SCHEMES.get(setting, {})), set(FACTORIES.get(setting, {}))
    without_factory, without_scheme = schemes - factories, factories - schemes
    assert not without_factory, f"add {without_factory} to FACTORIES[{setting!r}] in shared/phasegate/app/wiring.py"
    assert not without_scheme, f"add {without_scheme} to SCHEMES[{setting!r}] in shared/phasegate/app/settings.py"


def test_every_adapter_module_is_used() -> None:
    """An adapter that nothing imports was written and then forgotten."""
    importers = [ROOT / "app/wiring.py", *(ROOT / "adapters").rglob("*.py")]
    imported = {name for path in importers for name in re.findall(r"phasegate\.(adapters[\w.]*)", path.read_text())}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "adapters").rglob("[!_]*.py")}
    forgotten = modules - imported
    assert not forgotten, f"add what makes {forgotten} to FACTORIES in shared/phasegate/app/wiring.py"
