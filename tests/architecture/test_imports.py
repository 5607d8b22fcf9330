"""Which modules may import which, and what a cold start loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
ROOT = SHARED / "phasegate"
MODULES = sorted(ROOT.rglob("*.py"))

CLIENTS = {"google", "duckdb", "sqlglot", "sqlite3", "requests", "httpx", "grpc"}
# The demo's loaders play the watched pipeline: they write to the warehouse, which everything else only reads.
LOADERS = {"phasegate.demo.warehouse", "phasegate.demo.story"}

# All packages, lowest first. A package may import itself and those above it in this list.
ORDER = [
    "errors",
    "schemas",
    "core.secret",
    "core.field_syntax",
    "core.checks",
    "core.pipeline",
    "core.gates",
    "core.alerts",
    "core.installation",
    "logs",
    "serialization",
    "ports",
    "messaging",
    "gates",
    "alerts",
    "installation",
    "testing",
    "adapters",
    "app",
    "client",
    "demo",
    "cli",
]
# The package itself may import any: its `__getattr__` loads what a job's code uses on first use.
EXPORTS = "phasegate"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SHARED).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in MODULES}


def imports(path: Path, *, top_only: bool = False, types: bool = True) -> Iterator[str]:
    """The modules that a module imports, imports for types included; with *top_only*, those that importing it loads."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and (top_only or not types):
            node.body.clear()
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in NAMES else node.module for name in below)


def package_of(module: str) -> str:
    """The entry of `ORDER` that a module belongs to."""
    parts = module.split(".")[1:]
    depth = 2 if parts[0] == "core" and len(parts) > 1 else 1
    return ".".join(parts[:depth])


def own_imports(path: Path) -> set[str]:
    return {module for module in imports(path) if module.startswith("phasegate")} - {EXPORTS}


def test_every_module_is_in_a_package_of_the_order() -> None:
    missing = {package_of(name) for name in NAMES if name not in (EXPORTS, "phasegate.core")} - set(ORDER)
    assert not missing, f"add {missing} to ORDER in {__file__}, below everything they import"


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) != EXPORTS], ids=name_of)
def test_imports_run_one_way_including_those_for_types(path: Path) -> None:
    if name_of(path) == "phasegate.core":
        return
    place = ORDER.index(package_of(name_of(path)))
    upwards = {module for module in own_imports(path) if ORDER.index(package_of(module)) > place}
    assert not upwards, f"{name_of(path)} imports {upwards}, which come after it in ORDER"


def test_imports_have_no_cycles() -> None:
    graph = {name: own_imports(path) & set(NAMES) for name, path in NAMES.items() if name != EXPORTS}
    # Take away modules whose imports are all taken away; what remains imports each other in a cycle.
    done: set[str] = set()
    while ready := {name for name, needed in graph.items() if needed <= done} - done:
        done |= ready
    assert done == set(graph), f"an import cycle among {sorted(set(graph) - done)}"


@pytest.mark.parametrize("path", sorted((ROOT / "core").rglob("*.py")), ids=name_of)
def test_core_imports_only_itself_errors_and_the_standard_library(path: Path) -> None:
    for module in imports(path):
        top = module.partition(".")[0]
        allowed = top in sys.stdlib_module_names or module.startswith("phasegate.core") or module == "phasegate.errors"
        assert allowed, f"{name_of(path)} imports {module}"
    assert not {"os", "logging", "sqlite3", "time"} & set(imports(path)), "no environment, no log, no clock"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_wiring_and_other_adapters_import_adapters(path: Path) -> None:
    importer = name_of(path)
    if importer == "phasegate.app.wiring" or importer.startswith("phasegate.adapters"):
        return
    assert not [module for module in imports(path) if module.startswith("phasegate.adapters")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_adapters_import_client_libraries(path: Path) -> None:
    importer = name_of(path)
    if importer.startswith("phasegate.adapters") or importer in LOADERS:
        return
    assert not {module.partition(".")[0] for module in imports(path)} & CLIENTS


def test_wiring_imports_adapters_inside_its_factories() -> None:
    wiring = ROOT / "app/wiring.py"
    assert not [module for module in imports(wiring, top_only=True) if module.startswith("phasegate.adapters")]


def loaded_by(statement: str, **environ: str) -> set[str]:
    """Modules in `sys.modules` after a statement in a fresh process."""
    code = f"{statement}\nimport sys; print('\\n' + '\\n'.join(sys.modules))"
    env = {"PATH": "/usr/bin:/bin", "PHASEGATE_PIPELINES": str(SHARED / "pipelines"), **environ}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return set(done.stdout.splitlines())


def test_a_function_starts_without_client_libraries_or_template_engines() -> None:
    """Flask, a part of the framework, imports Jinja; phasegate adds nothing like it."""
    framework = loaded_by("import functions_framework")
    folder = SHARED.parent / "functions" / "phase_monitor"
    loaded = loaded_by(
        f"import sys; sys.path.insert(0, {str(folder)!r}); import main",
        PHASEGATE_WAREHOUSE="duckdb:w.duckdb",
        PHASEGATE_STATE="sqlite:s.sqlite",
        PHASEGATE_BUS="local:",
    )
    added = {module.partition(".")[0] for module in loaded - framework}
    assert "phasegate" in added
    assert not added & {"duckdb", "sqlglot", "sqlite3", "jinja2", "rich", "grpc", "pandas", "pyarrow", "click"}
    assert not {module for module in loaded - framework if module.startswith(("google.cloud.", "google.api_core"))}


def test_the_validate_command_loads_no_google_client() -> None:
    loaded = loaded_by("from phasegate.cli.validate import command")
    assert not {module for module in loaded if module.startswith("google.cloud.")}
    assert not {"rich", "duckdb", "sqlglot"} & loaded
